//! A PostgreSQL cluster of the test's own: one for the whole test binary, and one per test where the database itself is to be killed.

use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::process::{self, Server, Start};
use super::{port, servers, wait};

/// Whether a commit survives the death of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Every commit is on disk: for tests that kill the database.
    Full,
    /// Nothing is forced to disk: for all others.
    Off,
}

/// A running cluster.
pub(crate) struct Postgres {
    server: Server,
    port: u16,
}

static SHARED: OnceLock<Postgres> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A fresh, empty database in the shared cluster, as `postgres://postgres@127.0.0.1:PORT/NAME`. Ask `servers::need` before.
pub(crate) async fn database() -> String {
    SHARED.get_or_init(|| Postgres::start(Durability::Off)).database().await
}

impl Postgres {
    /// Makes a cluster and starts it.
    #[track_caller]
    pub(crate) fn start(durability: Durability) -> Self {
        Self::try_start(durability).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_start(durability: Durability) -> Result<Self, String> {
        let bin = servers::postgres_bin().ok_or("there is no /usr/lib/postgresql/*/bin/initdb")?;
        // it refuses to run as root
        let user = servers::root().then(|| servers::user("postgres"));
        let dir = process::directory("postgres", user);

        let port = port::free();
        let mut settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nmax_connections = 200\nshared_buffers = 64MB\n\
             log_min_messages = warning\nlog_min_error_statement = panic\n"
        );
        if durability == Durability::Off {
            settings += "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n";
        }
        let bin = bin.display().to_string();
        let data = dir.path().join("data").display().to_string();
        let start = "\"$1\"/initdb --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions -D \"$2\" \
                     && printf %s \"$3\" >\"$2\"/postgresql.auto.conf && exec \"$1\"/postgres -D \"$2\"";

        let server = Server::start(Start {
            name: "postgres",
            command: ["sh", "-c", start, "sh", &bin, &data, &settings].map(String::from).to_vec(),
            dir,
            log: None,
            user,
            stop: "INT", // fast: open sessions are ended
            ready: &|| TcpStream::connect(("127.0.0.1", port)).is_ok(),
        })?;
        Ok(Self { server, port })
    }

    /// A fresh, empty database.
    pub(crate) async fn database(&self) -> String {
        let name = format!("svar_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut admin = self.admin().await;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"))).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        self.url(&name)
    }

    /// The address of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(self) {
        self.server.kill9();
    }

    /// A connection to the cluster; the port is open a moment before the first one is let in.
    async fn admin(&self) -> PgConnection {
        let end = std::time::Instant::now() + wait::LONG;
        loop {
            match PgConnection::connect(&self.url("postgres")).await {
                Ok(connection) => return connection,
                Err(why) if std::time::Instant::now() > end => {
                    panic!("no connection to the test's own PostgreSQL: {why}\n{}", self.server.log_tail())
                }
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }
}
