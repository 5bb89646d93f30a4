//! `svar status NAME --people`: who is behind the counts, and why a mail failed.

use super::status::{Args, csv};
use super::{Exit, Failure, Office, show};
use crate::model::standing::Standing;
use crate::store::StandingRow;

const HEAD: [&str; 7] = ["name", "address", "answer", "guests", "mail", "when", "why"];

/// Lists the people of a campaign, or those of one standing.
pub(super) async fn run(office: &Office, name: &str, args: &Args) -> Result<Exit, Failure> {
    let standing = args.state.as_deref().and_then(Standing::from_word);
    let people = office.store.list_standing(name, standing).await?;
    if args.json {
        show::json(&people.iter().map(as_json).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if args.csv {
        return csv(&HEAD, people.iter().map(|row| cells(office, row)));
    }
    if people.is_empty() {
        show::line("nobody")?;
        return Ok(Exit::Done);
    }
    show::table(
        &HEAD,
        people.iter().map(|row| {
            let mut cells = cells(office, row);
            cells[6] = show::brief(&cells[6], 100);
            cells.to_vec()
        }),
    )?;
    Ok(Exit::Done)
}

fn as_json(row: &StandingRow) -> serde_json::Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    value["due_at"] = waits_until(row).map(show::rfc3339).into();
    value["settled_at"] = row.settled_at.map(show::rfc3339).into();
    value
}

/// Only a mail that waits has a next time.
fn waits_until(row: &StandingRow) -> Option<i64> {
    row.due_at.filter(|_| row.mail.as_deref() == Some("queued"))
}

fn cells(office: &Office, row: &StandingRow) -> [String; 7] {
    let mail = match row.mail.as_deref() {
        Some("queued") => "waiting",
        Some(state) => state,
        None => "",
    };
    let when = waits_until(row).or(row.settled_at).map_or_else(String::new, |at| show::time(office.config.zone, at));
    [
        format!("{} {}", row.first_name, row.last_name).trim().to_owned(),
        row.address.clone(),
        row.answer.clone().unwrap_or_default(),
        row.guests.map_or_else(String::new, |n| n.to_string()),
        mail.to_owned(),
        when,
        why(row),
    ]
}

/// What keeps a person from having answered: the relay's words, a suppression, a message that waits.
fn why(row: &StandingRow) -> String {
    let spoke = !matches!(row.mail.as_deref(), Some("sent" | "sending" | "suppressed") | None);
    let relay = spoke.then(|| {
        let code = row.code.map_or_else(String::new, |code| code.to_string());
        format!("{code} {}", row.reply.as_deref().unwrap_or("")).trim().to_owned()
    });
    let suppressed = row.suppressed.as_ref().map(|reason| format!("gets no mail: {reason}"));
    let waits = (row.to_decide > 0).then(|| "a message waits for you: svar review".to_owned());
    [relay, suppressed, waits].into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}
