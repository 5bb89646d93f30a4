//! `svar init`: writes what is missing and never overwrites.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Exit, Failure, show};
use crate::config;
use crate::model::token::Keys;
use crate::store::Store;

/// Runs the command.
pub(super) async fn run(path: &Path) -> Result<Exit, Failure> {
    if write_new(path, config::SAMPLE.as_bytes(), 0o644)? {
        show::line(&format!("wrote {}", path.display()))?;
    }
    let places = config::places(path, |name| std::env::var(name).ok())?;
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret).map_err(|error| Failure::new(Exit::Failed, format!("the system gave no randomness: {error}")))?;
    if write_new(&places.secret_file, Keys::single(1, secret).to_file().as_bytes(), 0o600)? {
        show::line(&format!("wrote {} (keep it private, and keep it: it knows your reply addresses)", places.secret_file.display()))?;
    }
    let store = Store::open(&places.database).await?;
    store.close().await;
    show::line(&format!("made the database {}", places.database_shown))?;
    show::line(&next_steps(path))?;
    Ok(Exit::Done)
}

fn next_steps(path: &Path) -> String {
    format!(
        "\nnext:\n  1. write mail.from, mail.reply and the relay into {}\n  2. svar contacts import people.csv --list NAME\n  3. svar campaign check FILE, then: svar campaign add FILE\n  4. svar serve, and in another terminal: svar campaign start NAME",
        path.display()
    )
}

/// Writes a file that is not there yet; `false` where it is.
pub(super) fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("{} cannot be written: {error}", path.display()));
    match std::fs::File::options().write(true).create_new(true).mode(mode).open(path) {
        Ok(mut file) => file.write_all(content).and_then(|()| file.sync_all()).map(|()| true).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}
