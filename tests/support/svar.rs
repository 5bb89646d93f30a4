//! The real binary in a home of its own: commands that are run to their end, and the daemon, which can be killed.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::process;
use super::wait;

/// What stands in svar.toml; the rest is the same for all tests.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// A file in the home, or `postgres://…`.
    pub(crate) database: String,
    /// The relay; nothing listens on the default.
    pub(crate) relay: SocketAddr,
    /// At most so many connections to it.
    pub(crate) connections: u32,
    /// How long a delivery is one daemon's.
    pub(crate) lease_seconds: u32,
    /// How long the first retry waits.
    pub(crate) retry_first_seconds: u32,
    /// How long a delivery is tried again after its first attempt.
    pub(crate) give_up_seconds: u32,
    /// Of how many mails the rates of bounces and complaints are judged.
    pub(crate) rate_sample: u32,
    /// The LMTP listener, empty for none; port 0 is chosen by the system.
    pub(crate) lmtp: String,
    /// The LMTP socket, empty for none.
    pub(crate) lmtp_socket: String,
    /// A Maildir to read, empty for none.
    pub(crate) maildir: String,
    /// The web server, empty for none.
    pub(crate) web: String,
    /// Who gets notices.
    pub(crate) notify: String,
    /// How the relay is spoken to.
    pub(crate) tls: &'static str,
    /// Further lines of the section on the relay.
    pub(crate) relay_too: &'static str,
    /// Further sections.
    pub(crate) sections_too: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: "svar.db".into(),
            relay: ([127, 0, 0, 1], 9).into(),
            connections: 4,
            lease_seconds: 60,
            retry_first_seconds: 600,
            give_up_seconds: 432_000,
            rate_sample: 100,
            lmtp: "127.0.0.1:0".into(),
            lmtp_socket: String::new(),
            maildir: String::new(),
            web: "127.0.0.1:0".into(),
            notify: "monica@guests.example.org".into(),
            tls: "none",
            relay_too: "",
            sections_too: "",
        }
    }
}

impl Settings {
    /// The file.
    pub(crate) fn toml(&self) -> String {
        let Self {
            database,
            connections,
            lease_seconds,
            retry_first_seconds,
            give_up_seconds,
            rate_sample,
            lmtp,
            lmtp_socket,
            maildir,
            web,
            notify,
            tls,
            relay_too,
            sections_too,
            ..
        } = self;
        let (host, port) = (self.relay.ip(), self.relay.port());
        format!(
            r#"database = "{database}"
secret_file = "svar.secret"
time_zone = "Europe/Stockholm"

[organiser]
name = "Monica Berg"
notify = "{notify}"

[mail]
from = "Monica Berg <monica@natverket.example.org>"
reply = "svar@natverket.example.org"

[relay]
host = "{host}"
port = {port}
tls = "{tls}"
connections = {connections}
{relay_too}
[outbox]
lease_seconds = {lease_seconds}
retry_first_seconds = {retry_first_seconds}
give_up_seconds = {give_up_seconds}
rate_sample = {rate_sample}

[intake]
lmtp = "{lmtp}"
lmtp_socket = "{lmtp_socket}"
maildir = "{maildir}"

[web]
listen = "{web}"

[log]
format = "json"
{sections_too}"#
        )
    }
}

/// A directory with svar.toml in it, removed when dropped. Several daemons may share one.
pub(crate) struct Home {
    dir: TempDir,
    settings: Settings,
    program: Vec<OsString>,
}

impl Home {
    /// Writes svar.toml; nothing is run yet.
    pub(crate) fn new(settings: Settings) -> Self {
        let dir = process::directory("home", None);
        fs::write(dir.path().join("svar.toml"), settings.toml()).unwrap();
        Self { dir, settings, program: vec![env!("CARGO_BIN_EXE_svar").into()] }
    }

    /// Runs this instead of svar: for the tests of these helpers.
    pub(crate) fn with_program(mut self, program: Vec<OsString>) -> Self {
        self.program = program;
        self
    }

    /// Writes svar.toml and runs `svar init`.
    #[track_caller]
    pub(crate) fn init(settings: Settings) -> Self {
        let home = Self::new(settings);
        home.ok(["init"]);
        home
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs `svar --config svar.toml ARGS` to its end, whatever that is.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run_with_input(args, b"")
    }

    /// As [`Home::run`], with bytes on standard input.
    #[track_caller]
    pub(crate) fn run_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Output {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feed = thread::spawn(move || std::io::Write::write_all(&mut stdin, &input).ok());
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        let ended = wait::within(wait::LONG, || child.try_wait().unwrap());
        if ended.is_none() {
            child.kill().ok();
            child.wait().ok();
        }
        feed.join().ok();
        let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
        match ended {
            Some(status) => Output { status, stdout, stderr },
            None => panic!("{command:?} did not end in {} s\n{}{}", wait::LONG.as_secs(), text(&stdout), text(&stderr)),
        }
    }

    /// Runs a command that must succeed, and gives its standard output.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<_> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
        let output = self.run(&args);
        assert!(output.status.success(), "svar {args:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must succeed and print JSON.
    #[track_caller]
    pub(crate) fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Value {
        let printed = self.ok(args);
        serde_json::from_str(&printed).unwrap_or_else(|why| panic!("this is not JSON: {why}\n{printed}"))
    }

    /// Starts a command whose end the test waits for itself.
    #[track_caller]
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts `svar serve` and waits until every listener of the settings is open.
    #[track_caller]
    pub(crate) fn serve(&self) -> Daemon {
        let mut child = self.command(["serve"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().unwrap();
        let lines = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut daemon = Daemon { child, log, reader: Some(reader) };
        let wanted = [("lmtp", &self.settings.lmtp), ("web", &self.settings.web)];
        for (listener, _) in wanted.iter().filter(|(_, setting)| !setting.is_empty()) {
            daemon.wait_listening(listener);
        }
        daemon
    }

    /// The binary in this home, without the caller's own SVAR_ variables.
    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SVAR_")) {
            command.env_remove(name);
        }
        command.current_dir(self.dir.path()).env("NO_COLOR", "1").arg("--config").arg(self.path("svar.toml")).args(args);
        command
    }
}

/// A running `svar serve`; dropping it kills it, and shows the end of its log when the test has failed.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a listener (`lmtp`, `web`) is.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.listening(listener).unwrap_or_else(|| panic!("svar logged no address of a listener \"{listener}\"\n{}", self.log_tail()))
    }

    /// The log lines so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a log line with this message, and gives it.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, message: &str) -> Value {
        let found = wait::within(wait::LONG, || self.events().find(|e| field(e, "message") == Some(message)));
        found.unwrap_or_else(|| panic!("waited in vain for the log line \"{message}\"\n{}", self.log_tail()))
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub(crate) fn kill9(mut self) {
        self.end();
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    #[track_caller]
    pub(crate) fn term(mut self) -> ExitStatus {
        process::signal(self.child.id(), "TERM");
        let ended = wait::within(wait::LONG, || self.child.try_wait().unwrap());
        ended.unwrap_or_else(|| panic!("svar serve did not stop in {} s after SIGTERM", wait::LONG.as_secs()))
    }

    #[track_caller]
    fn wait_listening(&mut self, listener: &str) {
        let found = wait::within(wait::LONG, || match self.child.try_wait().unwrap() {
            Some(status) => Some(Err(status)),
            None => self.listening(listener).map(Ok),
        });
        match found {
            Some(Ok(_)) => {}
            Some(Err(status)) => {
                self.end(); // so that all it said has been read
                panic!("svar serve ended before it listened on \"{listener}\": {status}\n{}", self.log_tail())
            }
            None => panic!("svar serve logged no listener \"{listener}\" in {} s\n{}", wait::LONG.as_secs(), self.log_tail()),
        }
    }

    fn listening(&self, listener: &str) -> Option<SocketAddr> {
        let mut said = self.events().filter(|e| field(e, "message") == Some("listening"));
        said.find(|e| field(e, "listener") == Some(listener)).and_then(|e| field(&e, "address")?.parse().ok())
    }

    fn events(&self) -> impl Iterator<Item = Value> {
        self.log().into_iter().filter_map(|line| serde_json::from_str(&line).ok())
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(40);
        format!("--- the end of the log of svar serve (process {})\n{}", self.child.id(), log[from..].join("\n"))
    }

    fn end(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// A field of a log line, whether the fields stand at the top or under `fields`.
fn field<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    event.get(name).or_else(|| event.get("fields")?.get(name))?.as_str()
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).ok();
        bytes
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How long a test waits to be sure that something does not come.
pub(crate) const NOT_COMING: Duration = Duration::from_secs(3);

/// A path as the text of a setting.
pub(crate) fn setting(path: &Path) -> String {
    path.display().to_string()
}
