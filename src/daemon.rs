//! Starts the loops and the web server, and stops them in order.
//!
//! Each loop is a step repeated; what a step does stands in its own room. Stopping: sources first, so that nothing new
//! comes in; then the lanes, which finish the mail they are at and hand back what they have not begun; the settler, when
//! everything is settled; the keeper of the leases last.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::Config;
use crate::inbound::apply::{self, SentText};
use crate::inbound::correlate::Own;
use crate::inbound::intake::{Doorkeeper, take_in};
use crate::inbound::meters::Meters;
use crate::model::inbound::{Envelope, Source};
use crate::outbound::layout::Layout;
use crate::outbound::outbox::{End, Lane, Outbox, Settler, Step, settler};
use crate::outbound::{rates, schedule, tell};
use crate::store::{Error as StoreError, Store};
use crate::web::Watched;
use crate::wire::listener::{self, Listener, ListenerSettings, Protocol};
use crate::wire::maildir;

/// How often a loop looks for work that nobody woke it for, such as a command's in another process.
const LOOK: Duration = Duration::from_secs(1);
/// How often the rates of campaigns are judged, unless that costs much: then after fifty times its cost.
const JUDGE: (Duration, u32) = (Duration::from_secs(5), 50);
/// How long a loop waits after the database failed.
const AFTER_ERROR: Duration = Duration::from_secs(2);

/// The daemon could not start, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("{key}: cannot listen on {address}: {error}; is another svar running, or the port taken?")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address or path.
        address: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// Two daemons on one file.
    #[error("another svar serves the database {0}; stop it first, or use PostgreSQL for several daemons")]
    Taken(String),
    /// The lock file cannot be written.
    #[error("cannot lock {0}: {1}; svar must be able to write in that folder")]
    Lock(String, std::io::Error),
    /// The system gave no random octets.
    #[error("the system gave no randomness: {0}")]
    Random(getrandom::Error),
    /// The organiser's templates cannot be read.
    #[error("templates: {0}")]
    Templates(String),
    /// A loop panicked.
    #[error("a part of the daemon broke ({0}); start it again, and report what the log says")]
    Broken(String),
    /// The database failed at the start.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a daemon listens on, bound before it starts.
#[derive(Debug, Default)]
pub struct Sockets {
    lmtp: Option<TcpListener>,
    lmtp_unix: Option<UnixListener>,
    web: Option<TcpListener>,
}

impl Sockets {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// [`Error::Listen`] names the key.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let lmtp = bind_tcp("intake.lmtp", config.intake.lmtp).await?;
        let web = bind_tcp("web.listen", config.web_listen).await?;
        let lmtp_unix = match &config.intake.lmtp_socket {
            Some(path) => Some(bind_unix(path, config.intake.lmtp_socket_mode)?),
            None => None,
        };
        for (name, socket) in [("lmtp", &lmtp), ("web", &web)] {
            if let Some(address) = socket.as_ref().and_then(|s| s.local_addr().ok()) {
                info!(listener = name, address = %address, "listening");
            }
        }
        if let Some(path) = &config.intake.lmtp_socket {
            info!(listener = "lmtp_socket", address = %path.display(), "listening");
        }
        Ok(Self { lmtp, lmtp_unix, web })
    }

    /// The address of the LMTP listener.
    #[must_use]
    pub fn lmtp_address(&self) -> Option<SocketAddr> {
        self.lmtp.as_ref().and_then(|s| s.local_addr().ok())
    }
}

async fn bind_tcp(key: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address).await.map(Some).map_err(|error| Error::Listen { key, address: address.to_string(), error })
}

/// A socket that nobody serves any more is left over from a daemon that was killed: it is replaced. Who may write to it is
/// said by its mode, not by the daemon's umask: the mail server is another user.
fn bind_unix(path: &Path, mode: u32) -> Result<UnixListener, Error> {
    if std::os::unix::net::UnixStream::connect(path).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused) {
        _ = std::fs::remove_file(path);
    }
    let failed = |error| Error::Listen { key: "intake.lmtp_socket", address: path.display().to_string(), error };
    let socket = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(socket)
}

/// Holds the one right to serve a SQLite file; PostgreSQL needs none. Given back when dropped, also by a kill.
#[derive(Debug)]
pub struct Guard(#[allow(dead_code, reason = "held for its lock")] Option<File>);

impl Guard {
    /// Takes it.
    ///
    /// # Errors
    /// [`Error::Taken`] where another daemon serves that file.
    pub fn take(store: &Store) -> Result<Self, Error> {
        let Some(file) = store.file() else { return Ok(Self(None)) };
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let path = Path::new(&path);
        let shown = || path.display().to_string();
        let lock =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(|error| Error::Lock(shown(), error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self(Some(lock))),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::Taken(file.display().to_string())),
            Err(std::fs::TryLockError::Error(error)) => Err(Error::Lock(shown(), error)),
        }
    }
}

/// Everything a daemon works with.
pub struct Daemon {
    config: Config,
    store: Store,
    clock: Clock,
    own: Own,
    layout: Layout,
    outbox: Arc<Outbox>,
    /// Woken when an edition was opened.
    opened: Arc<Notify>,
    /// Woken when a message was stored.
    arrived: Arc<Notify>,
    /// Woken when there may be mail to send.
    to_send: Arc<Notify>,
    /// What the way in counts.
    inbound: Arc<Meters>,
    /// Why the Maildir cannot be read, where it cannot.
    maildir: watch::Sender<Option<String>>,
    /// Ends all loops: by the signal that the caller gave, or because one of them broke.
    stop: watch::Sender<bool>,
    _guard: Guard,
}

impl Daemon {
    /// Takes the right to serve, and makes everything ready.
    ///
    /// # Errors
    /// Where another daemon serves the file, or the organiser's templates cannot be read.
    pub fn new(config: Config, store: Store, clock: Clock) -> Result<Self, Error> {
        let guard = Guard::take(&store)?;
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(Error::Random)?;
        let holder = format!("{}-{}", std::process::id(), data_encoding::HEXLOWER.encode(&name));
        let layout = Layout::load(config.templates.as_deref()).map_err(Error::Templates)?;
        let own = own_of(&config);
        let outbox = Arc::new(Outbox::new(
            store.clone(),
            config.relay.clone(),
            config.sender.clone(),
            config.keys.clone(),
            config.outbox.clone(),
            clock.clone(),
            holder,
        ));
        let (opened, arrived, to_send) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        Ok(Self {
            config,
            store,
            clock,
            own,
            layout,
            outbox,
            opened,
            arrived,
            to_send,
            inbound: Arc::default(),
            maildir: watch::Sender::new(None),
            stop: watch::Sender::new(false),
            _guard: guard,
        })
    }

    /// Runs until `shutdown` turns true and everything has ended.
    ///
    /// # Errors
    /// Where the database fails at the very start; later it is waited for.
    pub async fn run(self, sockets: Sockets, mut asked: watch::Receiver<bool>) -> Result<(), Error> {
        self.outbox.keep().await?;
        self.store.set_providers(&self.config.outbox.throttle).await?;
        let daemon = Arc::new(self);
        let shutdown = daemon.stop.subscribe();
        let passing_on = tokio::spawn({
            let daemon = daemon.clone();
            async move {
                _ = asked.wait_for(|stop| *stop).await;
                _ = daemon.stop.send(true);
            }
        });
        let (last, end_of_keeper) = watch::channel(false);
        let keeper = tokio::spawn(daemon.clone().keep_leases(end_of_keeper));
        let mut loops = JoinSet::new();
        daemon.clone().open_doors(sockets, &shutdown, &mut loops);
        loops.spawn(daemon.clone().read_messages(shutdown.clone()));
        loops.spawn(daemon.clone().open_editions(shutdown.clone()));
        loops.spawn(daemon.clone().check_editions(shutdown.clone()));
        loops.spawn(daemon.clone().judge_rates(shutdown.clone()));
        let (ends, settler) = settler(daemon.outbox.clone());
        let settling = tokio::spawn(settle(settler));
        for _ in 0..daemon.config.connections {
            loops.spawn(daemon.clone().send_mail(ends.clone(), shutdown.clone()));
        }
        drop(ends);
        info!(version = env!("CARGO_PKG_VERSION"), lanes = daemon.config.connections, "started");
        let mut broken = None;
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                error!(%error, "a part of the daemon broke; everything stops, so that it is seen and started again");
                broken = Some(Error::Broken(error.to_string()));
                _ = daemon.stop.send(true);
            }
        }
        passing_on.abort();
        _ = settling.await;
        _ = last.send(true);
        _ = keeper.await;
        daemon.store.close().await;
        info!("stopped");
        broken.map_or(Ok(()), Err)
    }

    fn open_doors(self: Arc<Self>, sockets: Sockets, shutdown: &watch::Receiver<bool>, loops: &mut JoinSet<()>) {
        let doorkeeper = Arc::new(Doorkeeper {
            store: self.store.clone(),
            own: self.own.clone(),
            clock: self.clock.clone(),
            arrived: self.arrived.clone(),
            meters: self.inbound.clone(),
        });
        let doors = [sockets.lmtp.map(Listener::Tcp), sockets.lmtp_unix.map(Listener::Unix)];
        for door in doors.into_iter().flatten() {
            let mut settings = ListenerSettings::new(Protocol::Lmtp, self.own.reply.domain());
            settings.max_bytes = self.config.intake.max_bytes;
            let (doorkeeper, shutdown) = (doorkeeper.clone(), shutdown.clone());
            loops.spawn(async move {
                if let Err(error) = listener::serve(door, settings, doorkeeper, shutdown).await {
                    error!(%error, "the listener ended");
                }
            });
        }
        if let Some(web) = sockets.web {
            let lanes = self.config.connections;
            let watched = Watched::new(self.outbox.clone(), self.maildir.subscribe(), self.inbound.clone(), lanes);
            let shutdown = shutdown.clone();
            loops.spawn(async move {
                if let Err(error) = crate::web::serve(web, watched, shutdown).await {
                    error!(%error, "the web server ended");
                }
            });
        }
        if let Some(folder) = self.config.intake.maildir.clone() {
            loops.spawn(self.clone().watch_maildir(folder, shutdown.clone()));
        }
    }

    /// Renews this daemon's leases, and takes care of what daemons that ended left behind.
    async fn keep_leases(self: Arc<Self>, mut end: watch::Receiver<bool>) {
        let pause = self.config.outbox.lease / 3;
        while !wait(&mut end, pause).await {
            if let Err(error) = self.outbox.keep().await {
                warn!(%error, "leases could not be renewed");
            }
            self.to_send.notify_waiters();
        }
    }

    async fn open_editions(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let scheduler = schedule::Scheduler {
            zone: self.config.zone,
            layout: &self.layout,
            key_id: self.config.keys.current(),
            grace: self.config.outbox.grace,
        };
        loop {
            let pause = match schedule::step(&self.store, &scheduler, self.clock.now()).await {
                Ok(opened) => {
                    if opened > 0 {
                        self.opened.notify_one();
                    }
                    LOOK
                }
                Err(error) => after(&error),
            };
            if wait(&mut shutdown, pause).await {
                return;
            }
        }
    }

    /// Apart from the opening of others, because a large edition takes a while.
    async fn check_editions(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            let checked = tokio::select! {
                checked = schedule::check_opened(&self.store, &self.config.sender, &self.clock) => checked,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            let pause = match checked {
                Ok(passed) => {
                    if passed > 0 {
                        self.to_send.notify_waiters();
                    }
                    LOOK
                }
                Err(error) => after(&error),
            };
            tokio::select! {
                () = self.opened.notified() => {}
                _ = wait(&mut shutdown, pause) => {}
            }
        }
    }

    async fn judge_rates(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let (config, sample) = (&self.config, u64::from(self.config.outbox.rate_sample));
        let mut pause = JUDGE.0;
        while !wait(&mut shutdown, pause).await {
            let began = Instant::now();
            pause = match rates::step(&self.store, &config.sender, &config.keys, sample, self.clock.millis()).await {
                Ok(paused) => {
                    if paused > 0 {
                        self.to_send.notify_waiters();
                    }
                    JUDGE.0.max(began.elapsed() * JUDGE.1)
                }
                Err(error) => after(&error),
            };
        }
    }

    async fn read_messages(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let sent = Sent(self.outbox.clone());
        while !*shutdown.borrow() {
            match self.read_some(&sent).await {
                Ok(0) => {
                    tokio::select! {
                        () = self.arrived.notified() => {}
                        _ = wait(&mut shutdown, LOOK) => {}
                    }
                }
                Ok(_) => {}
                Err(error) => _ = wait(&mut shutdown, after(&error)).await,
            }
        }
    }

    async fn read_some(&self, sent: &Sent) -> Result<usize, StoreError> {
        let read = apply::step(&self.store, &self.own, sent, &self.inbound, self.clock.millis()).await?;
        let told = tell::step(&self.store, &self.config.sender, &self.config.keys, &self.layout, self.clock.millis()).await?;
        if told > 0 {
            self.to_send.notify_waiters();
        }
        Ok(read + told)
    }

    async fn send_mail(self: Arc<Self>, ends: mpsc::Sender<End>, mut shutdown: watch::Receiver<bool>) {
        let mut lane = Lane::new(self.outbox.clone(), ends);
        while !*shutdown.borrow() {
            let pause = match lane.step(&shutdown).await {
                Ok(Step::Attempted(_)) => continue,
                Ok(Step::Idle | Step::Paused) => LOOK,
                Ok(Step::Wait(duration)) => duration.min(Duration::from_secs(10)),
                Err(error) => after(&error),
            };
            tokio::select! {
                () = self.to_send.notified() => {}
                _ = wait(&mut shutdown, pause) => {}
            }
        }
        lane.hang_up().await;
    }

    async fn watch_maildir(self: Arc<Self>, folder: std::path::PathBuf, mut shutdown: watch::Receiver<bool>) {
        let name = folder.display().to_string();
        // Nothing is lost where the names are not known: what was taken is read again and known by its content.
        let mut seen = self.store.list_taken(&name).await.unwrap_or_default().into_iter().collect();
        loop {
            let max_bytes = u64::try_from(self.config.intake.max_bytes).unwrap_or(u64::MAX);
            let take = |bytes: Vec<u8>| async {
                let envelope = Envelope::default();
                let stored = take_in(&self.store, &self.own, Source::Maildir, &envelope, bytes, self.clock.millis()).await;
                self.inbound.taken(Source::Maildir, &stored);
                stored.map(|_| ())
            };
            match maildir::step(&folder, max_bytes, &mut seen, take).await {
                Ok(step) => {
                    self.maildir_is(None);
                    if step.taken > 0 {
                        self.arrived.notify_one();
                    }
                    if !step.names.is_empty() || !step.gone.is_empty() {
                        let remembered = self.store.remember_taken(self.clock.millis(), &name, &step.names, &step.gone).await;
                        remembered.unwrap_or_else(|error| warn!(%error, "what was taken from the Maildir is not remembered"));
                    }
                    for failure in step.failed {
                        warn!(file = %failure.path.display(), cause = %failure.cause, "left in the Maildir");
                    }
                }
                Err(error) => self.maildir_is(Some(format!("intake.maildir: {} cannot be read: {error}", folder.display()))),
            }
            if wait(&mut shutdown, LOOK).await {
                return;
            }
        }
    }

    /// Keeps what is wrong with the Maildir, and logs it when it changes.
    fn maildir_is(&self, trouble: Option<String>) {
        let changed = self.maildir.send_if_modified(|kept| {
            let changed = *kept != trouble;
            kept.clone_from(&trouble);
            changed
        });
        match trouble {
            Some(reason) if changed => warn!(reason, "the Maildir cannot be read"),
            None if changed => info!("the Maildir can be read again"),
            _ => {}
        }
    }
}

/// Our own addresses, as a configuration says them.
#[must_use]
pub fn own_of(config: &Config) -> Own {
    let sender = &config.sender;
    Own { reply: sender.reply.clone(), separator: sender.separator, keys: config.keys.clone(), asks_strangers: sender.confirmations }
}

/// Makes the text that was sent with a delivery again: composition is deterministic.
struct Sent(Arc<Outbox>);

impl SentText for Sent {
    async fn of(&self, delivery_id: i64) -> Option<String> {
        let delivery = self.0.store.find_composed(delivery_id).await.ok()??;
        let words = self.0.edition(delivery.edition_id).await.ok()?.ok()?.words(&delivery.contact.person).ok()?;
        Some(format!("{}\n{}", words.subject, words.text))
    }
}

/// Settles until the last lane is gone and everything is settled.
async fn settle(mut settler: Settler) {
    loop {
        match settler.step().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tokio::time::sleep(after(&error)).await,
        }
    }
}

/// Sleeps, or returns at once when it is time to stop; whether it is.
async fn wait(shutdown: &mut watch::Receiver<bool>, duration: Duration) -> bool {
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => true,
        () = tokio::time::sleep(duration) => false,
    }
}

fn after(error: &StoreError) -> Duration {
    error!(%error, "the database failed; trying again");
    AFTER_ERROR
}
