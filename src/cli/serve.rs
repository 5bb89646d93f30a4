//! `svar serve` and `svar health`.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Exit, Failure, show};
use crate::clock::Clock;
use crate::config;
use crate::daemon::{Daemon, Sockets};
use crate::store::Store;

/// Runs the daemon until SIGTERM or SIGINT.
pub(super) async fn run(path: &Path, clock: Clock) -> Result<Exit, Failure> {
    let (config, log) = config::load(path, |name| std::env::var(name).ok())?;
    crate::log::start(&log);
    let store = Store::open(&config.database).await?;
    let sockets_of = config.clone();
    let daemon = Daemon::new(config, store, clock)?;
    let sockets = Sockets::bind(&sockets_of).await?;
    let shutdown = stop_signal()?;
    daemon.run(sockets, shutdown).await?;
    Ok(Exit::Done)
}

/// Turns true at the first SIGTERM or SIGINT; a second one ends the process as a kill would.
pub(super) fn stop_signal() -> Result<watch::Receiver<bool>, Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        signalled().await;
        info!("stopping: what is under way is finished, nothing new is begun; a second signal stops at once");
        _ = sender.send(true);
        signalled().await;
        warn!("stopped at once: what was under way is uncertain");
        std::process::exit(1);
    });
    Ok(receiver)
}

/// Asks the daemon of this configuration whether it is well.
pub(super) async fn health(path: &Path) -> Result<Exit, Failure> {
    let (config, _) = config::load(path, |name| std::env::var(name).ok())?;
    let Some(address) = config.web_listen else {
        return Err(Failure::new(Exit::Config, "web.listen is empty, so nobody can be asked; set it to 127.0.0.1:8325"));
    };
    let unavailable =
        |why: String| Failure::new(Exit::Unavailable, format!("no svar answers at {address} ({why}); start it with: svar serve"));
    let answer = tokio::time::timeout(Duration::from_secs(5), ask(address)).await;
    let answer = answer.map_err(|_| unavailable("no answer in 5 seconds".into()))?.map_err(|error| unavailable(error.to_string()))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    show::line(body.trim())?;
    Ok(if head.starts_with("HTTP/1.1 200") { Exit::Done } else { Exit::Unavailable })
}

async fn ask(address: std::net::SocketAddr) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer).await?;
    Ok(answer)
}
