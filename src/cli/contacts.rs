//! `svar contacts`: import people, see lists, stop mail to somebody or let it go again.

use std::path::PathBuf;

use clap::Subcommand as ClapSubcommand;

use super::{Exit, Failure, Office, show};
use crate::model::address::Address;
use crate::model::campaign::is_name;
use crate::model::suppression::Reason;
use crate::wire::people;

/// `svar contacts …`
#[derive(Debug, ClapSubcommand)]
pub(super) enum Command {
    /// Take in people from a CSV file and make them members of a list.
    Import {
        /// A spreadsheet's export: comma, semicolon or tab; UTF-8 or Windows-1252; Swedish or English column names.
        file: PathBuf,
        /// The list they become members of.
        #[arg(long)]
        list: String,
        /// Print the summary as JSON.
        #[arg(long)]
        json: bool,
    },
    /// The lists there are.
    Lists {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send nothing more to an address.
    Suppress {
        /// The address.
        address: String,
        /// Why, for the history.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Let mail go to a suppressed address again, e.g. because the person asked for it. Not after a complaint.
    Allow {
        /// The address.
        address: String,
        /// Why, for the history.
        #[arg(long)]
        note: String,
    },
}

/// Runs the command.
pub(super) async fn run(office: &Office, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Import { file, list, json } => import(office, &file, &list, json).await,
        Command::Lists { json } => lists(office, json).await,
        Command::Suppress { address, note } => {
            let address = address_of(&address)?;
            let new = office.store.suppress(office.now(), &address, Reason::Operator, &note).await?;
            show::line(if new { "suppressed: no new mail to it starts" } else { "it was suppressed already" })?;
            Ok(Exit::Done)
        }
        Command::Allow { address, note } => {
            let address = address_of(&address)?;
            show::line(&match office.store.allow(office.now(), &address, &note).await? {
                Some(reason) => format!("{address} may be mailed again; it was suppressed as: {reason}"),
                None => format!("{address} is not suppressed"),
            })?;
            Ok(Exit::Done)
        }
    }
}

/// An address of the command line.
pub(super) fn address_of(text: &str) -> Result<Address, Failure> {
    Address::parse(text).map_err(|error| Failure::new(Exit::Failed, error))
}

async fn import(office: &Office, file: &std::path::Path, list: &str, json: bool) -> Result<Exit, Failure> {
    if !is_name(list) {
        return Err(Failure::new(Exit::Failed, format!("\"{list}\" cannot name a list; use letters, digits, - and _")));
    }
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("{}: {error}; nothing was imported", file.display()));
    let bytes = std::fs::read(file).map_err(|error| failed(&error))?;
    let people = people::read(&bytes).map_err(|error| failed(&error))?;
    let proof = format!("import of {}", file.file_name().unwrap_or_default().to_string_lossy());
    let bar = show::progress(people.count);
    let rows = people.iter().map(|(_, person)| person).inspect(|_| bar.inc(1));
    let done = office.store.import(office.now(), list, &proof, rows).await?;
    bar.finish_and_clear();
    if json {
        let skipped: Vec<_> = people.skipped.iter().map(|s| serde_json::json!({ "line": s.line, "reason": s.reason })).collect();
        show::json(&serde_json::json!({ "list": list, "added": done.added, "updated": done.updated, "unchanged": done.unchanged,
            "joined": done.joined, "suppressed": done.suppressed, "skipped": skipped }))?;
        return Ok(Exit::Done);
    }
    show::line(&format!(
        "{}: {} added, {} updated, {} unchanged, {} skipped; {} new on the list",
        list,
        done.added,
        done.updated,
        done.unchanged,
        people.skipped.len(),
        done.joined
    ))?;
    if done.suppressed > 0 {
        show::line(&format!("{} of them want no mail and stay suppressed", done.suppressed))?;
    }
    for warning in &people.warnings {
        show::line(&format!("  line {}: {}", warning.line, show::plain(&warning.reason)))?;
    }
    for skipped in &people.skipped {
        show::line(&format!("  line {}: {}", skipped.line, show::plain(&skipped.reason)))?;
    }
    Ok(Exit::Done)
}

async fn lists(office: &Office, json: bool) -> Result<Exit, Failure> {
    let lists = office.store.lists().await?;
    if json {
        let rows: Vec<_> = lists.iter().map(|(name, members)| serde_json::json!({ "list": name, "members": members })).collect();
        show::json(&rows)?;
    } else {
        show::table(&["list", "members"], lists.into_iter().map(|(name, members)| vec![name, members.to_string()]))?;
    }
    Ok(Exit::Done)
}
