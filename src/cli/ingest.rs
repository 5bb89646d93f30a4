//! `svar ingest`: stores messages from a mail server's pipe, or from files. Whatever goes wrong, the exit code is 75, so
//! that the server keeps the mail (sysexits.h, EX_TEMPFAIL; Postfix pipe(8)).

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::read::bytes_of;
use super::{Exit, Failure, Office, show};
use crate::clock::Clock;
use crate::daemon::own_of;
use crate::inbound::intake::take_in;
use crate::model::inbound::{Envelope, Source};

/// `svar ingest [FILE…]`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Message files; standard input where none is named.
    files: Vec<PathBuf>,
    /// MAIL FROM, as the mail server says it; empty for the null return path.
    #[arg(long, env = "SENDER")]
    sender: Option<String>,
    /// RCPT TO, as the mail server says it.
    #[arg(long, env = "ORIGINAL_RECIPIENT")]
    recipient: Option<String>,
}

/// Runs the command.
pub(super) async fn run(path: &Path, args: Args, clock: Clock) -> Result<Exit, Failure> {
    let office = Office::open(path, clock).await?;
    let own = own_of(&office.config);
    let envelope = Envelope { from: args.sender, to: args.recipient };
    let files = if args.files.is_empty() { vec![PathBuf::from("-")] } else { args.files };
    for file in &files {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::TryAgain, format!("{}: not stored: {error}; keep the mail and try again", file.display()))
        };
        let bytes = bytes_of(file).map_err(|error| failed(&error))?;
        if bytes.is_empty() {
            return Err(failed(&"it is empty"));
        }
        let stored = take_in(&office.store, &own, Source::Stdin, &envelope, bytes, office.now()).await.map_err(|error| failed(&error))?;
        show::line(&format!("{}: {} {}", file.display(), if stored.is_new { "stored as" } else { "was there already as" }, stored.id))?;
    }
    office.store.close().await;
    Ok(Exit::Done)
}
