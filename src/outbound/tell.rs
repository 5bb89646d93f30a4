//! Answers not yet told become confirmations, and what waits for a person becomes a word to the organiser.
//!
//! A confirmation goes to the return path, and only where that is the contact's own address (S-126); never to a
//! machine (S-125, found when the message was read), never twice for one message (a unique key), and not the same
//! within seven days (S-127, in the store).

use serde_json::json;

use super::compose::tagged;
use super::layout::{Layout, intent_in_words, reason_in_words};
use super::render::render_text;
use crate::config::Sender;
use crate::model::token::{Keys, Purpose};
use crate::store::{Error, NewNotice, Store, Untold};

/// How many messages are told of in one step.
const BATCH: i64 = 100;

/// Tells of what has come in. How many messages were taken up.
///
/// # Errors
/// Where the database fails; what was not told comes again.
pub async fn step(store: &Store, sender: &Sender, keys: &Keys, layout: &Layout, now: i64) -> Result<usize, Error> {
    let untold = store.list_untold(BATCH).await?;
    for about in &untold {
        let notices: Vec<NewNotice> =
            [confirmation(sender, keys, layout, about), word_to_organiser(sender, keys, layout, about)].into_iter().flatten().collect();
        store.tell(now, about, &notices).await?;
    }
    Ok(untold.len())
}

/// The confirmation of an answer that counts, where one is due. An answer that a later one has overtaken is not confirmed.
fn confirmation(sender: &Sender, keys: &Keys, layout: &Layout, about: &Untold) -> Option<NewNotice> {
    let intent = about.intent.as_deref()?;
    let counts = about.state != "review" && (intent == "unsubscribe" || about.recorded.as_deref() == Some(intent));
    if !sender.confirmations || !counts || about.no_reply_why.is_some() {
        return None;
    }
    let (address, delivery_id) = (about.contact_address.as_deref()?, about.delivery_id?);
    if !about.envelope_from.as_deref()?.eq_ignore_ascii_case(address) {
        return None;
    }
    let language = language_of(layout, about);
    let guests = about.recorded_guests.filter(|n| *n > 0 && intent == "yes");
    let data = json!({
        "first_name": about.first_name, "guests": guests, "organiser": { "name": sender.organiser },
        "yes": intent == "yes", "no": intent == "no", "maybe": intent == "maybe", "unsubscribe": intent == "unsubscribe",
    });
    let body = render_text(layout.localised("confirmation", language), &data).ok()?;
    let subject = about.subject.as_deref().unwrap_or("");
    let says = match intent {
        "unsubscribe" => "unsubscribe".to_owned(),
        _ => format!("{}:{intent}:{}", about.campaign_id.unwrap_or(0), guests.unwrap_or(0)),
    };
    Some(NewNotice {
        about: "confirmation",
        recipient: address.to_owned(),
        contact_id: about.contact_id,
        says,
        subject: reply_subject(subject, language),
        body,
        in_reply_to: about.message_id.clone().unwrap_or_default(),
        references: thread(about),
        key_id: keys.current(),
        reply_to: tagged(sender, &keys.write(Purpose::Reply, delivery_id)),
    })
}

/// A word to the organiser: something waits for them, or a question came with a clear answer.
fn word_to_organiser(sender: &Sender, keys: &Keys, layout: &Layout, about: &Untold) -> Option<NewNotice> {
    let notify = sender.notify.as_ref()?;
    let waits = about.state == "review";
    let asks = about.state == "applied" && about.secondary.as_deref().is_some_and(|s| s.contains("\"question\""));
    if !waits && !asks {
        return None;
    }
    let language = about.campaign_language.as_deref().filter(|l| layout.speaks("notice", l)).unwrap_or("en");
    let writer = writer_of(about);
    let reply_to = about.from_address.as_deref().filter(|a| crate::model::address::Address::parse(a).is_ok());
    let data = json!({
        "writer": writer, "campaign": about.campaign, "id": about.id, "asks": asks, "can_reply": reply_to.is_some(),
        "words": indented(about), "guess": intent_in_words(language, about.intent.as_deref().unwrap_or("other")),
        "why": reason_in_words(language, about.why.as_deref().unwrap_or("")),
    });
    let body = render_text(layout.localised("notice", language), &data).ok()?;
    let subject = match (language, asks || about.intent.as_deref() == Some("question")) {
        ("sv", true) => format!("Fråga från {writer}"),
        ("sv", false) => format!("Att avgöra: svar från {writer}"),
        (_, true) => format!("Question from {writer}"),
        (_, false) => format!("To decide: reply from {writer}"),
    };
    Some(NewNotice {
        about: if waits { "review" } else { "question" },
        recipient: notify.to_string(),
        contact_id: None,
        says: format!("message {}", about.id),
        subject: one_line(&subject),
        body,
        in_reply_to: String::new(),
        references: String::new(),
        key_id: keys.current(),
        reply_to: reply_to.map_or_else(|| sender.from.address.to_string(), str::to_owned),
    })
}

/// Name and address of who wrote, as the organiser knows them.
fn writer_of(about: &Untold) -> String {
    let address = about.contact_address.as_deref().or(about.from_address.as_deref()).unwrap_or("?");
    let name = format!("{} {}", about.first_name.as_deref().unwrap_or(""), about.last_name.as_deref().unwrap_or(""));
    let name = name.trim();
    if name.is_empty() { address.to_owned() } else { format!("{name} <{address}>") }
}

fn language_of<'a>(layout: &Layout, about: &'a Untold) -> &'a str {
    let known = |l: &Option<String>| l.as_deref().is_some_and(|l| layout.speaks("confirmation", l));
    match about {
        _ if known(&about.contact_language) => about.contact_language.as_deref().unwrap_or("en"),
        _ => about.campaign_language.as_deref().unwrap_or("en"),
    }
}

/// `Sv: …` or `Re: …` before the subject that was answered, once.
fn reply_subject(subject: &str, language: &str) -> String {
    let subject = one_line(subject);
    let mut bare = subject.trim();
    while let Some((prefix, rest)) = bare.split_once(':') {
        if !["re", "sv", "aw", "vs", "antw", "odp"].contains(&prefix.trim().to_lowercase().as_str()) {
            break;
        }
        bare = rest.trim();
    }
    let prefix = if ["sv", "da", "no"].contains(&language) { "Sv" } else { "Re" };
    format!("{prefix}: {bare}").trim().to_owned()
}

/// A stranger's subject, made safe for a header: no control characters, not endless.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn thread(about: &Untold) -> String {
    format!("{} {}", about.reference_ids.as_deref().unwrap_or(""), about.message_id.as_deref().unwrap_or("")).trim().to_owned()
}

/// The person's words, set off so that they are not taken for svar's.
fn indented(about: &Untold) -> String {
    let words = about.own_words.as_deref().filter(|w| !w.trim().is_empty()).or(about.subject.as_deref()).unwrap_or("");
    let shown: String = words.chars().take(4_000).collect();
    shown.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_gets_one_prefix() {
        assert_eq!(reply_subject("Re: SV: Vill du?", "sv"), "Sv: Vill du?");
        assert_eq!(reply_subject("Kl 9: vill du?", "en"), "Re: Kl 9: vill du?");
        assert_eq!(reply_subject("a\r\nBcc: x", "en"), "Re: a  Bcc: x");
    }
}
