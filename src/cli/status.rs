//! `svar status` and `svar answers`.

use clap::Args as ClapArgs;

use super::{Exit, Failure, Office, serve, show, standing};
use crate::model::campaign::Kind;
use crate::model::standing::Standing;
use crate::store::{RelayPause, Slowed, Status};

/// `svar status [NAME]`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The campaign; all of them where it is left out.
    name: Option<String>,
    /// List the people behind the counts, with their last mail and why it failed.
    #[arg(long, requires = "name")]
    people: bool,
    /// Only people who stand like this, e.g. silent or failed.
    #[arg(long, requires = "people", value_parser = clap::builder::PossibleValuesParser::new(Standing::ALL.map(Standing::as_str)))]
    pub(super) state: Option<String>,
    /// Print the people as CSV, safe to open in a spreadsheet.
    #[arg(long, requires = "people", conflicts_with = "json")]
    pub(super) csv: bool,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// `svar answers NAME`
#[derive(Debug, ClapArgs)]
pub(super) struct AnswersArgs {
    /// The campaign.
    name: String,
    /// Print as CSV, safe to open in a spreadsheet.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `svar status`.
pub(super) async fn run(office: &Office, args: Args) -> Result<Exit, Failure> {
    if let Some(name) = &args.name {
        if args.people {
            return standing::run(office, name, &args).await;
        }
        let status = office.store.status(name).await?;
        if args.json {
            show::json(&as_json(&status))?
        } else {
            one(office, &status)?;
            in_the_way(office).await?;
        }
        return Ok(Exit::Done);
    }
    let mut all = Vec::new();
    for campaign in office.store.list_campaigns().await? {
        all.push(office.store.status(&campaign.name).await?);
    }
    let stray = office.store.count_stray_reviews().await?;
    if args.json {
        let campaigns: Vec<_> = all.iter().map(as_json).collect();
        let (relays, problems) = (office.store.paused_relays().await?, serve::problems(&office.config).await);
        let all = serde_json::json!({
            "campaigns": campaigns, "review_without_campaign": stray, "paused_relays": relays, "slowed": slowed(office).await?, "problems": problems,
        });
        show::json(&all)?;
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        show::line("no campaigns yet; svar campaign add FILE")?;
    }
    for status in &all {
        one(office, status)?;
    }
    if stray > 0 {
        show::line(&format!("{stray} messages tied to no campaign wait for you: svar review"))?;
    }
    in_the_way(office).await?;
    Ok(Exit::Done)
}

/// Why nothing moves, where nothing does: relays that are paused, rates that are used up, and what the daemon says.
pub(super) async fn in_the_way(office: &Office) -> Result<(), Failure> {
    what_is_in_the_way(office).await?.iter().try_for_each(|line| show::line(line))
}

/// The same as lines.
pub(super) async fn what_is_in_the_way(office: &Office) -> Result<Vec<String>, Failure> {
    let mut lines: Vec<String> = office.store.paused_relays().await?.iter().map(paused_in_words).collect();
    lines.extend(slowed(office).await?.iter().map(|slowed| in_words(office, slowed)));
    lines.extend(serve::problems(&office.config).await.iter().map(|problem| show::plain(problem)));
    Ok(lines)
}

/// That a relay is paused, why, and what to do.
pub(super) fn paused_in_words(relay: &RelayPause) -> String {
    format!("the relay {} is paused: {}\n  mend it, then: svar resume-relay", relay.name, show::plain(&relay.why))
}

async fn slowed(office: &Office) -> Result<Vec<Slowed>, Failure> {
    Ok(office.store.list_slowed(office.now(), &office.config.relay.host, &office.config.outbox.throttle).await?)
}

fn in_words(office: &Office, slowed: &Slowed) -> String {
    match slowed {
        Slowed::UsedUp { name, limit, hours: 1 } => {
            format!("{name} has been given its {limit} mails of an hour; more leave as the hour goes on")
        }
        Slowed::UsedUp { name, limit, .. } => format!("{name} has been given its {limit} mails of 24 hours; more leave as they go by"),
        Slowed::Rests { name, until, why } => {
            format!(
                "{name} said that it is too much, and is left alone until {}: {}",
                show::time(office.config.zone, *until),
                show::plain(why)
            )
        }
    }
}

/// The status as the pages and programs get it: times as RFC 3339.
pub(super) fn as_json(status: &Status) -> serde_json::Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    value["next_at"] = status.next_at.map(show::rfc3339).into();
    value
}

fn one(office: &Office, status: &Status) -> Result<(), Failure> {
    let next = status.next_at.map_or_else(String::new, |at| format!(", next {}", show::time(office.config.zone, at)));
    show::line(&format!("{} ({}{next})", status.campaign, status.state))?;
    if let Some(why) = &status.paused_why {
        show::line(&format!("  paused: {}", show::plain(why)))?;
    }
    let guests = match status.guests {
        0 => String::new(),
        1 => "and 1 guest".into(),
        guests => format!("and {guests} guests"),
    };
    let silent = format!("svar status {} --people --state silent", status.campaign);
    let people = [
        ("yes", status.answers.yes, guests),
        ("no", status.answers.no, String::new()),
        ("maybe", status.answers.maybe, String::new()),
        ("silent", status.silent, if status.silent > 0 { silent } else { String::new() }),
        ("unsubscribed", status.unsubscribed, String::new()),
        ("to decide", status.review, if status.review > 0 { "svar review".into() } else { String::new() }),
    ];
    // A newsletter asks nothing, so nobody is silent.
    let people = if status.kind == Kind::Newsletter { &people[4..] } else { &people[..] };
    let most = people.iter().map(|(_, n, _)| *n).max().unwrap_or(0).max(1);
    for (label, count, note) in people {
        let bar = "█".repeat(usize::try_from(count * 24 / most).unwrap_or(0));
        show::line(format!("  {label:<13}{count:>6}  {bar} {note}").trim_end())?;
    }
    let mails = [
        ("sent", status.sent),
        ("waiting", status.queued),
        ("being sent", status.sending),
        ("failed", status.failed),
        ("uncertain", status.uncertain),
        ("suppressed", status.suppressed),
        ("cancelled", status.cancelled),
    ];
    let shown: Vec<String> =
        mails.iter().filter(|(label, n)| *n > 0 || *label == "sent").map(|(label, n)| format!("{n} {label}")).collect();
    show::line(&format!("  mails to {} people: {}", status.contacts, shown.join(", ")))
}

/// "written by" is empty where it was the person themselves.
const ANSWER_HEAD: [&str; 8] = ["name", "address", "answer", "guests", "via", "when", "words", "written by"];

/// Runs `svar answers`.
pub(super) async fn answers(office: &Office, args: AnswersArgs) -> Result<Exit, Failure> {
    let answers = office.store.list_answers(&args.name).await?;
    if args.json {
        let rows: Vec<_> = answers
            .iter()
            .map(|a| {
                let mut value = serde_json::to_value(a).unwrap_or_default();
                value["given_at"] = show::rfc3339(a.given_at).into();
                value
            })
            .collect();
        show::json(&rows)?;
        return Ok(Exit::Done);
    }
    let zone = office.config.zone;
    let rows = answers.into_iter().map(|a| {
        let name = format!("{} {}", a.first_name, a.last_name).trim().to_owned();
        let guests = a.guests.map_or_else(String::new, |n| n.to_string());
        let writer = a.written_by.map_or_else(String::new, |writer| if writer.is_empty() { "?".to_owned() } else { writer });
        [name, a.address, a.answer, guests, a.via, show::time(zone, a.given_at), a.comment, writer]
    });
    if args.csv {
        return csv(&ANSWER_HEAD, rows);
    }
    show::table(
        &ANSWER_HEAD,
        rows.map(|mut row| {
            row[6] = show::brief(&row[6], 60);
            row.to_vec()
        }),
    )?;
    Ok(Exit::Done)
}

/// Prints rows under a head for a spreadsheet.
pub(super) fn csv<const N: usize>(head: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> Result<Exit, Failure> {
    let failed = |error: csv::Error| Failure::new(Exit::Failed, error);
    let mut writer = csv::Writer::from_writer(std::io::stdout());
    writer.write_record(head).map_err(failed)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| harmless(cell))).map_err(failed)?;
    }
    writer.flush()?;
    Ok(Exit::Done)
}

/// A spreadsheet takes a cell that begins like this for a formula (S-225).
fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\0']) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-225.
    #[test]
    fn a_formula_in_an_answer_is_only_text() {
        assert_eq!(harmless("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(harmless("@SUM(A1)"), "'@SUM(A1)");
        assert_eq!(harmless("Ja - gärna"), "Ja - gärna");
    }
}
