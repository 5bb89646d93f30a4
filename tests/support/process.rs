//! A server of the test's own: a foreground process under a guard that ends it, and removes its directory, when the test is gone.
//!
//! The guard is a shell that holds the reading end of a pipe. The writing end is in the test: dropped, or closed because the test
//! binary ended in whatever way, it makes the guard send the signal to the one process it started. So a server held by a static,
//! which is never dropped, ends as well, and nothing is ever ended by name.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::wait;

const GUARD: &str = r#"
exec 3<&0 </dev/null
log=$1 dir=$2 signal=$3
shift 3
"$@" >>"$log" 2>&1 3<&- &
server=$!
echo "$server"
(
    read -r _ <&3
    kill -s "$signal" "$server"
    left=50
    while kill -0 "$server" && [ "$left" -gt 0 ]; do sleep 0.2; left=$((left - 1)); done
    kill -s KILL "$server"
) >/dev/null 2>&1 &
watch=$!
wait "$server"
kill "$watch"
exec 3<&-
cd /
rm -rf "$dir" || { sleep 1; rm -rf "$dir"; }
"#;

/// A directory for one server, readable by the user it will run as.
pub(crate) fn directory(name: &str, owner: Option<(u32, u32)>) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix(&format!("svar-{name}-")).tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    if let Some((uid, gid)) = owner {
        chown(dir.path(), Some(uid), Some(gid)).unwrap();
    }
    dir
}

/// Makes a folder in a server's directory, for the given user.
pub(crate) fn folder(path: &Path, owner: Option<(u32, u32)>) -> PathBuf {
    fs::create_dir_all(path).unwrap();
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
    path.to_owned()
}

/// Sends a signal (`TERM`, `KILL`, `HUP` …) to one process. The shell's own kill, because a small machine has no other.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()]).output().unwrap();
    if !sent.status.success() {
        eprintln!("signal {name} to process {pid}: {}", String::from_utf8_lossy(&sent.stderr).trim());
    }
}

/// How to start one.
pub(crate) struct Start<'a> {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// The program and its arguments; it must stay in the foreground. What prepares it belongs in here too (`sh -c "… && exec …"`),
    /// so that the directory goes away also when the test is killed meanwhile.
    pub(crate) command: Vec<String>,
    /// Its directory, removed when it ends.
    pub(crate) dir: tempfile::TempDir,
    /// Where it logs besides its standard output.
    pub(crate) log: Option<PathBuf>,
    /// As whom it runs.
    pub(crate) user: Option<(u32, u32)>,
    /// The signal that ends it in good order.
    pub(crate) stop: &'static str,
    /// True once it can be used.
    pub(crate) ready: &'a dyn Fn() -> bool,
}

/// A running server; dropping it ends it and removes its directory.
pub(crate) struct Server {
    name: &'static str,
    dir: PathBuf,
    logs: Vec<PathBuf>,
    guard: Child,
    alive: Option<ChildStdin>,
    pid: u32,
}

impl Server {
    /// Starts it and waits until it is ready; otherwise the end of its log.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, String> {
        let dir = start.dir.keep();
        let output = dir.join("output.log");
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&output).arg(&dir).arg(start.stop).args(&start.command);
        command.current_dir(&dir).env("LC_ALL", "C.UTF-8").env_remove("MAIL_CONFIG");
        // a group of its own: an interrupt from the terminal ends the test, and the guard then ends the server
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        if let Some((uid, gid)) = start.user {
            command.uid(uid).gid(gid);
        }
        #[expect(clippy::zombie_processes, reason = "Drop waits for it")]
        let mut guard = command.spawn().unwrap();
        let alive = guard.stdin.take();
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().map_err(|_| format!("{}: the guard did not start it", start.name))?;
        let logs = [Some(output), start.log].into_iter().flatten().collect();
        let mut server = Self { name: start.name, dir, logs, guard, alive, pid };

        let came = wait::within(wait::LONG, || {
            if server.guard.try_wait().unwrap().is_some() {
                return Some(false);
            }
            (start.ready)().then_some(true)
        });
        let why = match came {
            Some(true) => return Ok(server),
            Some(false) => format!("{} ended at once", server.name),
            None => format!("{} was not ready in {} s", server.name, wait::LONG.as_secs()),
        };
        Err(format!("{why}\n{}", server.log_tail()))
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The last lines of what it logged.
    pub(crate) fn log_tail(&self) -> String {
        self.logs.iter().map(|log| tail(log)).collect()
    }

    /// Ends it as a power cut would, and waits until it is gone. Its directory goes with it.
    pub(crate) fn kill9(mut self) {
        signal(self.pid, "KILL");
        self.wait_gone();
    }

    fn wait_gone(&mut self) -> bool {
        let gone = wait::within(Duration::from_secs(20), || self.guard.try_wait().ok().flatten());
        gone.is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        drop(self.alive.take());
        if !self.wait_gone() {
            eprintln!("{} (process {}) does not end; it is killed", self.name, self.pid);
            signal(self.pid, "KILL");
            self.wait_gone();
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(40);
    if lines.is_empty() { String::new() } else { format!("--- the end of {}\n{}\n", log.display(), lines[from..].join("\n")) }
}
