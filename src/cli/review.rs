//! `svar review`: what waits for a person, and the person's decision.

use clap::Args as ClapArgs;

use super::contacts::address_of;
use super::respond::guests;
use super::{Exit, Failure, Office, show};
use crate::model::answer::Choice;
use crate::store::{DecidedRow, Decision, ReviewRow};

/// `svar review`, `svar review ID yes`, `svar review export`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The message to decide; all that wait are listed where it is left out. "export" prints what was decided before as
    /// examples to learn from, one JSON object a line, without addresses and telephone numbers.
    #[arg(value_name = "ID|export")]
    id: Option<Which>,
    /// What it means: yes, no, maybe, unsubscribe, or other to record nothing.
    #[arg(requires = "id", value_parser = ["yes", "no", "maybe", "unsubscribe", "other"])]
    decision: Option<String>,
    /// Be done at once with all that wait and are tied to no contact, and are not asked to confirm; they are kept, and nothing is recorded.
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

/// What the command is about.
#[derive(Clone, Copy, Debug)]
enum Which {
    Message(i64),
    Export,
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "export" => Ok(Self::Export),
            number => number.parse().map(Self::Message).map_err(|_| "neither a message's number nor the word export".to_owned()),
        }
    }
}

/// Runs the command.
pub(super) async fn run(office: &Office, args: Args) -> Result<Exit, Failure> {
    if args.strangers {
        let dismissed = office.store.dismiss_strangers(office.now()).await?;
        show::line(&format!("{dismissed} messages tied to no contact are decided: other"))?;
        return Ok(Exit::Done);
    }
    match (args.id, &args.decision) {
        (Some(Which::Message(id)), Some(decision)) => decide(office, id, decision, &args).await?,
        (Some(Which::Message(id)), None) => list(office, Some(id), args.json).await?,
        (Some(Which::Export), _) => export(office).await?,
        (None, _) => list(office, None, args.json).await?,
    }
    Ok(Exit::Done)
}

/// What people decided, in the form of the examples that the learnt reader learns from.
async fn export(office: &Office) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let rows = office.store.list_decided(after, 500).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        for row in &rows {
            show::line(&example(row).to_string())?;
        }
    }
}

fn example(row: &DecidedRow) -> serde_json::Value {
    let secondary = row.secondary.as_deref().and_then(|list| serde_json::from_str(list).ok()).unwrap_or_else(|| serde_json::json!([]));
    serde_json::json!({ "lang": row.language, "intent": row.intent, "secondary": secondary, "guests": row.guests, "apply": false,
        "text": without_numbers(&without_addresses(&row.own_words)) })
}

/// Words that are addresses, of mail or of pages, become one that is nobody's.
fn without_addresses(text: &str) -> String {
    let hidden = |word: &str| match word {
        _ if word.contains('@') => "address@example.org".to_owned(),
        _ if word.contains("://") => "https://example.org".to_owned(),
        _ => word.to_owned(),
    };
    let line = |line: &str| line.split(' ').map(hidden).collect::<Vec<_>>().join(" ");
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Digits of what may be a telephone number, seven or more with signs and blanks between them, become noughts.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !(c.is_ascii_digit() || " -()/".contains(c))).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let long = number.bytes().filter(u8::is_ascii_digit).count() >= 7;
        out.push_str(before);
        out.push_str(&if long { number.replace(|c: char| c.is_ascii_digit(), "0") } else { number.to_owned() });
        rest = after;
    }
    out + rest
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_holds_no_address_and_no_telephone_number() {
        let row = DecidedRow {
            id: 1,
            intent: "maybe".into(),
            guests: None,
            own_words: "Kanske! Ring 070-123 45 67 den 25:e\neller skriv till <eva@firma.se>.\nhttps://firma.se/eva".into(),
            language: Some("sv".into()),
            secondary: Some("[\"question\"]".into()),
        };
        let text = "Kanske! Ring 000-000 00 00 den 25:e\neller skriv till address@example.org\nhttps://example.org";
        assert_eq!(example(&row)["text"], text);
        assert_eq!(example(&row)["secondary"][0], "question");
    }
}
