//! `svar history ADDRESS`: every event with its cause.

use clap::Args as ClapArgs;

use super::contacts::address_of;
use super::{Exit, Failure, Office, show};

/// `svar history ADDRESS`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Whose history.
    address: String,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(office: &Office, args: Args) -> Result<Exit, Failure> {
    let address = address_of(&args.address)?;
    let contact = office.store.find_contact(&address).await?;
    let contact = contact
        .ok_or_else(|| Failure::new(Exit::Failed, format!("there is no contact {address}; svar contacts import FILE --list NAME")))?;
    let rows = office.store.history(contact.id).await?;
    if args.json {
        let row = |r: &crate::store::HistoryRow| {
            serde_json::json!({ "at": show::rfc3339(r.at), "event": r.what, "cause": r.cause, "campaign": r.campaign,
                "message": r.inbound_id, "delivery": r.delivery_id, "detail": r.detail() })
        };
        show::json(&rows.iter().map(row).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let zone = office.config.zone;
    show::table(
        &["when", "what", "cause", "campaign", "detail"],
        rows.into_iter().map(|row| {
            let cause = row.inbound_id.map_or_else(|| row.cause.clone(), |id| format!("{} (message {id})", row.cause));
            vec![show::time(zone, row.at), row.what.clone(), cause, row.campaign.clone().unwrap_or_default(), detail(&row.detail())]
        }),
    )?;
    Ok(Exit::Done)
}

/// `code 250, reply 2.0.0 queued`: what is not empty, in a line.
fn detail(value: &serde_json::Value) -> String {
    let Some(fields) = value.as_object() else { return String::new() };
    let shown = fields.iter().filter_map(|(name, value)| {
        let text = match value {
            serde_json::Value::Null => return None,
            serde_json::Value::String(text) if text.is_empty() => return None,
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(items) => {
                items.iter().filter_map(|i| i["words"].as_str()).map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        Some(format!("{name} {text}"))
    });
    show::brief(&shown.collect::<Vec<_>>().join(", "), 160)
}
