//! `svar review`: what waits for a person, and the person's decision.

use clap::Args as ClapArgs;

use super::contacts::address_of;
use super::respond::guests;
use super::{Exit, Failure, Office, show};
use crate::model::answer::Choice;
use crate::store::{Decision, ReviewRow};

/// `svar review`, `svar review ID yes`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The message to decide; all that wait are listed where it is left out.
    id: Option<i64>,
    /// What it means: yes, no, maybe, unsubscribe, or other to record nothing.
    #[arg(requires = "id", value_parser = ["yes", "no", "maybe", "unsubscribe", "other"])]
    decision: Option<String>,
    /// Be done at once with all that wait and are tied to no contact; they are kept, and nothing is recorded.
    #[arg(long, conflicts_with_all = ["id", "decision", "guests", "contact", "campaign"])]
    strangers: bool,
    /// People who come besides the writer.
    #[arg(long, value_parser = guests())]
    guests: Option<u32>,
    /// Whose answer it is, where svar could not tell.
    #[arg(long, value_name = "ADDRESS")]
    contact: Option<String>,
    /// What it answers, where svar could not tell.
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(office: &Office, args: Args) -> Result<Exit, Failure> {
    if args.strangers {
        let dismissed = office.store.dismiss_strangers(office.now()).await?;
        show::line(&format!("{dismissed} messages tied to no contact are decided: other"))?;
        return Ok(Exit::Done);
    }
    match (args.id, &args.decision) {
        (Some(id), Some(decision)) => decide(office, id, decision, &args).await?,
        (id, _) => list(office, id, args.json).await?,
    }
    Ok(Exit::Done)
}

async fn decide(office: &Office, id: i64, decision: &str, args: &Args) -> Result<(), Failure> {
    let decision = match (decision, Choice::from_word(decision)) {
        (_, Some(choice)) => Decision::Answer(choice, args.guests),
        ("unsubscribe", None) => Decision::Unsubscribe,
        _ => Decision::Nothing,
    };
    let who = match &args.contact {
        Some(address) => {
            let found = office.store.find_contact(&address_of(address)?).await?;
            Some(found.ok_or_else(|| Failure::new(Exit::Failed, format!("there is no contact {address}; import it first")))?.id)
        }
        None => None,
    };
    let about = match &args.campaign {
        Some(name) => Some(office.store.get_campaign(name).await?.id),
        None => None,
    };
    let silenced = office.store.decide(office.now(), id, decision, who, about).await?;
    show::line(&format!("message {id} is decided"))?;
    match silenced {
        Some(address) => show::line(&format!(
            "{address} is suppressed and is not told; if it was a mistake: svar contacts allow {address} --note \"asked to be back\""
        )),
        None => Ok(()),
    }
}

async fn list(office: &Office, id: Option<i64>, json: bool) -> Result<(), Failure> {
    let rows: Vec<ReviewRow> = office.store.list_review(1_000).await?.into_iter().filter(|row| id.is_none_or(|id| row.id == id)).collect();
    if json {
        let row = |r: &ReviewRow| {
            let mut value = serde_json::to_value(r).unwrap_or_default();
            value["received_at"] = show::rfc3339(r.received_at).into();
            value["evidence"] = r.evidence.as_deref().and_then(|e| serde_json::from_str(e).ok()).unwrap_or_default();
            value
        };
        return show::json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    if rows.is_empty() {
        return show::line("nothing waits for you");
    }
    for row in &rows {
        show::line(&shown(office, row))?;
    }
    show::line("decide with: svar review ID yes|no|maybe|unsubscribe|other")
}

fn shown(office: &Office, row: &ReviewRow) -> String {
    let text = |value: &Option<String>| show::plain(value.as_deref().unwrap_or("?"));
    let words = row.own_words.as_deref().filter(|w| !w.trim().is_empty()).or(row.subject.as_deref()).unwrap_or("(no words)");
    let words: String = show::plain(words).lines().take(12).map(|line| format!("    {line}\n")).collect();
    format!(
        "{}  {}  {}  {}\n  {}; best guess: {}{}\n{words}",
        row.id,
        show::time(office.config.zone, row.received_at),
        text(&row.from_address),
        row.campaign.as_deref().unwrap_or("(no campaign)"),
        text(&row.why),
        text(&row.intent),
        row.confidence.map_or_else(String::new, |c| format!(" ({:.0} %)", c * 100.0)),
    )
}
