//! Which servers this machine has. Where they are required (CI), a missing one is a failure; elsewhere the test says it was not run.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// True when the test can go on: `if !servers::need("postfix") { return }`.
///
/// Names: `postgresql`, `postfix`, `dovecot`, `chromium`, `dkimpy`. With `CI` set or `SVAR_TEST_SERVERS=required` a missing one panics.
#[track_caller]
pub(crate) fn need(name: &str) -> bool {
    let Some(lack) = lacking(name) else { return true };
    let required = env::var_os("CI").is_some_and(|v| !v.is_empty()) || env::var("SVAR_TEST_SERVERS").is_ok_and(|v| v == "required");
    assert!(!required, "this test needs {lack}; scripts/test installs what is missing");
    eprintln!("not run: needs {lack}");
    false
}

fn lacking(name: &str) -> Option<String> {
    let (there, package) = match name {
        "postgresql" => (postgres_bin().is_some(), "postgresql"),
        "postfix" => (Path::new("/usr/sbin/postfix").exists(), "postfix"),
        "dovecot" => (
            ["/usr/sbin/dovecot", "/usr/lib/dovecot/lmtp", "/usr/lib/dovecot/imap"].iter().all(|f| Path::new(f).exists()),
            "dovecot-lmtpd and dovecot-imapd",
        ),
        "chromium" => (chromium().is_some(), "chromium"),
        "dkimpy" => (dkimpy(), "python3-dkim and python3-nacl"),
        other => panic!("\"{other}\" is no server the tests know"),
    };
    if !there {
        return Some(format!("{name} (Debian package {package})"));
    }
    // Postfix refuses to be started by another user, and Dovecot gives each mailbox to its own
    (matches!(name, "postfix" | "dovecot") && !root()).then(|| format!("{name} started by root"))
}

/// The folder with initdb and postgres, of the highest version there is.
pub(crate) fn postgres_bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|e| e.path().join("bin"));
    versions.filter(|bin| bin.join("initdb").exists()).max_by_key(|bin| version_of(bin))
}

fn version_of(bin: &Path) -> u32 {
    bin.parent().and_then(Path::file_name).and_then(|v| v.to_str()).and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// The browser's program.
pub(crate) fn chromium() -> Option<PathBuf> {
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].iter().map(PathBuf::from).find(|p| p.exists())
}

/// Whether Python can verify DKIM, with Ed25519.
fn dkimpy() -> bool {
    Command::new("/usr/bin/python3").args(["-c", "import dkim, nacl"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether this process is root's.
pub(crate) fn root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// User and group id of a name in /etc/passwd.
pub(crate) fn user(name: &str) -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|l| l.split(':').next() == Some(name));
    let fields: Vec<&str> = line.unwrap_or_else(|| panic!("/etc/passwd has no user {name}")).split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}
