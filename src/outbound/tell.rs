//! Answers not yet told become confirmations, and what waits for a person becomes a word to the organiser; somebody who was
//! not asked, and wants to take part, is asked whether it was them.
//!
//! A confirmation goes to the return path, and only where that is the contact's own address (S-126); never to a
//! machine (S-125, found when the message was read), never twice for one message (a unique key), and not the same
//! within seven days (S-127, in the store).

use serde_json::json;

use super::compose::tagged;
use super::layout::{Layout, intent_in_words, opt_out, reason_in_words, wish_subject};
use super::render::render_text;
use crate::config::Sender;
use crate::model::address::{Address, is_same};
use crate::model::campaign::CampaignFile;
use crate::model::token::{Keys, Purpose};
use crate::store::{Error, NewNotice, Store, Untold};

/// How many messages are told of in one step.
const BATCH: i64 = 100;
/// How many words one organiser gets in an hour.
const WORDS_AN_HOUR: i64 = 20;
const HOUR_MS: i64 = 3_600_000;
/// Not of one campaign and so in no campaign's language.
const SUMMARY: &str = "\
svar has written {count} mails to you within an hour about messages that wait for you. It will write no more of them until
the hour is over. Nothing is lost; see everything that waits, and be done at once with what strangers wrote:

  svar review
  svar review --strangers

svar har skrivit {count} mejl till dig inom en timme om meddelanden som väntar på dig, och skriver inga fler förrän timmen är
över. Inget är borta; kommandona ovan visar allt som väntar, och avfärdar på en gång vad främlingar skrivit.
";

/// Tells of what has come in. How many messages were taken up.
///
/// # Errors
/// Where the database fails; what was not told comes again.
pub async fn step(store: &Store, sender: &Sender, keys: &Keys, layout: &Layout, now: i64) -> Result<usize, Error> {
    let untold = store.list_untold(BATCH).await?;
    for about in &untold {
        let word = match word_to_organiser(sender, keys, layout, about) {
            Some(word) => within_the_hour(store, now, word).await?,
            None => None,
        };
        let question = question(sender, keys, layout, about);
        let notices: Vec<NewNotice> = confirmation(sender, keys, layout, about).into_iter().chain(question).chain(word).collect();
        store.tell(now, about, &notices).await?;
    }
    Ok(untold.len())
}

/// Whoever knows the address can make svar write to the organiser, so there is an end to it (S-127): after so many words
/// in an hour one that says so, then silence until the hour is over. What it is about waits in `svar review` all the same.
async fn within_the_hour(store: &Store, now: i64, word: NewNotice) -> Result<Option<NewNotice>, Error> {
    let (words, summaries) = store.count_words_to(&word.recipient, now - HOUR_MS).await?;
    Ok(match (words, summaries) {
        (0..WORDS_AN_HOUR, _) => Some(word),
        (_, 0) => Some(summary(word)),
        _ => None,
    })
}

fn summary(word: NewNotice) -> NewNotice {
    let subject = format!("svar: {WORDS_AN_HOUR} mails in an hour; more is waiting / {WORDS_AN_HOUR} mejl på en timme; mer väntar");
    NewNotice {
        about: "summary",
        says: "more is waiting".to_owned(),
        subject,
        body: SUMMARY.replace("{count}", &WORDS_AN_HOUR.to_string()),
        reply_to: word.recipient.clone(),
        ..word
    }
}

/// The confirmation of an answer that counts, where one is due. An answer that a later one has overtaken is not confirmed.
fn confirmation(sender: &Sender, keys: &Keys, layout: &Layout, about: &Untold) -> Option<NewNotice> {
    let intent = about.intent.as_deref()?;
    let counts = about.state != "review" && (intent == "unsubscribe" || about.recorded.as_deref() == Some(intent));
    if !sender.confirmations || !counts || about.no_reply_why.is_some() {
        return None;
    }
    let address = about.contact_address.as_deref()?;
    let token = match (about.delivery_id, about.wish_id) {
        (Some(delivery_id), _) => keys.write(Purpose::Reply, delivery_id),
        (None, wish_id) => keys.write(Purpose::Wish, wish_id?),
    };
    if !is_same(about.envelope_from.as_deref()?, address) {
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
        reply_to: tagged(sender, &token),
    })
}

/// The question to somebody who wants to take part, whether it was them: From can be forged (S-188). Nothing of what they wrote
/// is in it but the number of their guests, so that nobody can make us carry their words to somebody else; and the subject holds no
/// word that would confirm, whatever the invitation is called.
fn question(sender: &Sender, keys: &Keys, layout: &Layout, about: &Untold) -> Option<NewNotice> {
    let recipient = about.wish_address.as_deref().filter(|_| about.state == "review")?;
    let title = about.campaign_source.as_deref().and_then(title_of);
    let campaign = title.as_deref().or(about.campaign.as_deref())?;
    let spoken = |language: &&str| layout.speaks("wish", language);
    let written = [about.language.as_deref(), about.campaign_language.as_deref()];
    let language = written.into_iter().flatten().find(spoken).unwrap_or("en");
    let asked = |guests: Option<i64>| {
        let organiser = json!({ "name": sender.organiser });
        let data = json!({ "campaign": campaign, "guests": guests, "opt_out": opt_out(language), "organiser": organiser });
        render_text(layout.localised("wish", language), &data).ok()
    };
    let guests = about.guests.filter(|n| *n > 0);
    let body = asked(guests)?;
    // The organiser's own template may say nothing of guests; then nobody agrees to a number by saying yes.
    let said = guests.filter(|_| asked(None).as_ref() != Some(&body));
    Some(NewNotice {
        about: "wish",
        recipient: recipient.to_owned(),
        contact_id: None,
        says: format!("{}:wish:{}", about.campaign_id.unwrap_or(0), said.unwrap_or(0)),
        subject: wish_subject(language).to_owned(),
        body,
        in_reply_to: about.message_id.clone().unwrap_or_default(),
        references: thread(about),
        key_id: keys.current(),
        reply_to: tagged(sender, &keys.write(Purpose::Wish, about.id)),
    })
}

/// What an invitation shows people as its subject, where that is the same for all of them.
fn title_of(source: &str) -> Option<String> {
    CampaignFile::parse(source).ok().map(|file| file.subject).filter(|subject| !subject.contains("{{"))
}

/// A word to the organiser: something waits for them, a question came with a clear answer, or an answer was recorded
/// whose writer is not the contact (S-117, S-126).
fn word_to_organiser(sender: &Sender, keys: &Keys, layout: &Layout, about: &Untold) -> Option<NewNotice> {
    let notify = sender.notify.as_ref()?;
    let waits = about.state == "review";
    let asks = about.state == "applied" && about.secondary.as_deref().is_some_and(|s| s.contains("\"question\""));
    let stranger = (about.state == "applied").then(|| other_writer(about)).flatten();
    if !waits && !asks && stranger.is_none() {
        return None;
    }
    let language = about.campaign_language.as_deref().filter(|l| layout.speaks("notice", l)).unwrap_or("en");
    let (writer, contact) = (writer_of(about, language), contact_of(about));
    let reply_to = about.from_address.as_deref().filter(|a| Address::parse(a).is_ok());
    let data = json!({
        "writer": writer, "contact": contact.as_ref().filter(|contact| **contact != writer), "campaign": about.campaign, "id": about.id,
        "waits": waits, "asks": asks, "stranger": stranger, "can_reply": reply_to.is_some(), "words": indented(about),
        "guess": intent_in_words(language, about.intent.as_deref().unwrap_or("other")),
        "why": reason_in_words(language, about.why.as_deref().unwrap_or("")),
        "commands": if waits { ways_to_decide(about) } else { Vec::new() }, "undo": stranger.map(|_| way_to_undo(about)),
    });
    let body = render_text(layout.localised("notice", language), &data).ok()?;
    let subject = match (language, asks || about.intent.as_deref() == Some("question"), stranger.and(contact)) {
        ("sv", _, Some(contact)) => format!("Svar för {contact} från en annan adress"),
        (_, _, Some(contact)) => format!("Reply for {contact} from another address"),
        ("sv", true, None) => format!("Fråga från {writer}"),
        ("sv", false, None) => format!("Att avgöra: svar från {writer}"),
        (_, true, None) => format!("Question from {writer}"),
        (_, false, None) => format!("To decide: reply from {writer}"),
    };
    Some(NewNotice {
        about: match (waits, stranger) {
            (true, _) => "review",
            (false, Some(_)) => "writer",
            (false, None) => "question",
        },
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

/// Who wrote or sent a message, where that is not its contact: by From, which may be missing, or by the return path.
fn other_writer(about: &Untold) -> Option<&str> {
    let contact = about.contact_address.as_deref()?;
    let (from, path) = (about.from_address.as_deref().unwrap_or(""), about.envelope_from.as_deref().unwrap_or(""));
    if !is_same(from, contact) { Some(from) } else { Some(path).filter(|path| !path.is_empty() && !is_same(path, contact)) }
}

/// Who wrote, for the organiser: the contact by name, anybody else by their address.
fn writer_of(about: &Untold, language: &str) -> String {
    let from = about.from_address.as_deref().filter(|from| !from.trim().is_empty());
    match (from, about.contact_address.as_deref()) {
        (Some(from), Some(contact)) if is_same(from, contact) => contact_of(about).unwrap_or_default(),
        (Some(from), _) => from.to_owned(),
        (None, _) if language == "sv" => "någon som inte anger någon adress".to_owned(),
        (None, _) => "somebody who gives no address".to_owned(),
    }
}

/// Name and address of the contact a message is tied to, as the organiser knows them.
fn contact_of(about: &Untold) -> Option<String> {
    let address = about.contact_address.as_deref()?;
    let name = format!("{} {}", about.first_name.as_deref().unwrap_or(""), about.last_name.as_deref().unwrap_or(""));
    let name = name.trim();
    Some(if name.is_empty() { address.to_owned() } else { format!("{name} <{address}>") })
}

/// The commands that decide what a message means: those that will work on it, with what they still need.
fn ways_to_decide(about: &Untold) -> Vec<String> {
    let (no_contact, no_campaign) = (about.contact_id.is_none(), about.campaign_id.is_none());
    let who = if no_contact { " --contact ADDRESS" } else { "" };
    let what = if no_campaign { " --campaign NAME" } else { "" };
    let answers: &[&str] = if about.campaign_kind.as_deref() == Some("newsletter") { &[] } else { &["yes", "no", "maybe"] };
    let mut ways: Vec<String> = answers.iter().map(|word| format!("svar review {} {word}{who}{what}", about.id)).collect();
    ways.push(format!("svar review {} unsubscribe{who}", about.id));
    ways.push(format!("svar review {} other", about.id));
    ways
}

/// The command that takes back what a message of somebody else did.
fn way_to_undo(about: &Untold) -> String {
    let address = about.contact_address.as_deref().unwrap_or("ADDRESS");
    match about.intent.as_deref() {
        Some("yes" | "no" | "maybe") => format!("svar respond {address} {} yes|no|maybe", about.campaign.as_deref().unwrap_or("NAME")),
        _ => format!("svar contacts allow {address} --note WHY"),
    }
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

    /// S-117, S-126: From and the return path are looked at, whatever their spelling; a source that knows no return path is no stranger.
    #[test]
    fn a_writer_who_is_not_the_contact_is_seen() {
        let seen = |from: &str, path: Option<&str>| {
            let about = Untold {
                contact_address: Some("eva@example.org".into()),
                from_address: Some(from.into()),
                envelope_from: path.map(Into::into),
                ..Untold::default()
            };
            other_writer(&about).map(str::to_owned)
        };
        assert_eq!(seen("Eva@Example.ORG", None), None);
        assert_eq!(seen("eva@example.org", Some("EVA@example.org")), None);
        assert_eq!(seen("eva@example.org", Some("")), None);
        assert_eq!(seen("eva@example.org", Some("x@evil.example")), Some("x@evil.example".into()));
        assert_eq!(seen("x@evil.example", Some("eva@example.org")), Some("x@evil.example".into()));
        assert_eq!(seen("", None), Some(String::new()));
    }

    fn sender() -> Sender {
        Sender { notify: Some(Address::parse("monica@example.org").unwrap()), organiser: "Monica".into(), ..Sender::monica() }
    }

    /// S-188: the question carries nothing of a stranger's words, speaks their language, and is answered to a token of its own.
    #[test]
    fn a_wish_becomes_a_question_in_the_language_it_was_written_in() {
        let keys = Keys::single(1, vec![7; 32]);
        let about = Untold {
            id: 9,
            state: "review".into(),
            subject: Some("Buy pills".into()),
            own_words: Some("I want in, buy pills".into()),
            campaign: Some("natverk".into()),
            campaign_language: Some("sv".into()),
            message_id: Some("1@example.net".into()),
            wish_address: Some("eva@example.net".into()),
            ..Untold::default()
        };
        let asked = |about: &Untold| question(&sender(), &keys, &Layout::own(), about);
        for (language, word) in [("sv", "JA"), ("en", "YES"), ("da", "JA"), ("", "JA")] {
            let notice = asked(&Untold { language: Some(language.into()), ..about.clone() }).unwrap();
            assert!(notice.body.contains(&format!(" {word} ")) && !notice.subject.contains(word), "{language}: {}", notice.body);
            assert!(notice.body.contains("natverk") && !format!("{}{}", notice.subject, notice.body).contains("pills"));
            assert_eq!((notice.recipient.as_str(), notice.in_reply_to.as_str()), ("eva@example.net", "1@example.net"));
            let token = keys.read(notice.reply_to.split(['+', '@']).nth(1).unwrap()).unwrap();
            assert_eq!((token.purpose, token.id), (Purpose::Wish, 9));
        }
        let two = Untold { guests: Some(2), language: Some("sv".into()), ..about.clone() };
        let notice = asked(&two).unwrap();
        assert!(notice.body.contains("ta med 2 till") && notice.says.ends_with(":wish:2"), "{}", notice.body);
        assert!(asked(&about).unwrap().says.ends_with(":wish:0"));
        assert!(asked(&Untold { state: "settled".into(), ..about.clone() }).is_none());
        assert!(asked(&Untold { wish_address: None, ..about }).is_none());
    }

    /// A name that is one word with hyphens is for the organiser; people know the invitation by its subject.
    #[test]
    fn a_question_names_the_invitation_as_people_know_it() {
        let keys = Keys::single(1, vec![7; 32]);
        for (subject, name) in [("Nätverk för chefer", "”Nätverk för chefer”"), ("\"{{first_name}}, med?\"", "”natverk”")] {
            let source = format!("---\nname: natverk\nkind: invitation\nlist: l\nsubject: {subject}\nlanguage: sv\nsend: now\n---\nHej!\n");
            let about = Untold {
                state: "review".into(),
                campaign: Some("natverk".into()),
                campaign_language: Some("sv".into()),
                campaign_source: Some(source),
                wish_address: Some("eva@example.net".into()),
                ..Untold::default()
            };
            let notice = question(&sender(), &keys, &Layout::own(), &about).unwrap();
            assert!(notice.body.contains(name) && !notice.subject.contains("chefer"), "{}", notice.body);
        }
    }

    /// S-127: a flood of strangers becomes twenty mails and a summary, and one command is done with them.
    #[tokio::test]
    async fn a_flood_is_told_in_one_word() {
        use crate::model::inbound::Source;
        use crate::store::{Effect, Raw, Understanding};
        const NOW: i64 = 1_795_500_000_000;
        for (store, _dir) in crate::store::tests::stores().await {
            for n in 0..30 {
                let content_hash = n.to_string();
                let raw =
                    Raw { source: Source::Stdin, envelope_from: None, recipient: "", content_hash: &content_hash, bytes: b"x".to_vec() };
                let stored = store.store_raw(NOW, &raw).await.unwrap();
                let read = Understanding { evidence: "[]".into(), ..Understanding::default() };
                store.apply(NOW, stored.id, NOW, &read, &Effect::Review).await.unwrap();
            }
            let sender = sender();
            let keys = Keys::single(1, vec![7; 32]);
            assert_eq!(step(&store, &sender, &keys, &Layout::own(), NOW).await.unwrap(), 30);
            let queued = store.claim_notices(NOW, 100, "d1", NOW + 60_000).await.unwrap();
            assert_eq!((queued.len(), queued.iter().filter(|n| n.about == "summary").count()), (21, 1));
            assert!(queued[20].body.contains("20 mails"), "{}", queued[20].body);
            assert_eq!(store.dismiss_strangers(NOW).await.unwrap(), 30);
            assert_eq!((store.count_stray_reviews().await.unwrap(), store.count_open().await.unwrap().2), (0, 0));
        }
    }

    #[test]
    fn only_commands_that_will_work_are_offered() {
        let stray = ways_to_decide(&Untold { id: 4, ..Untold::default() });
        assert_eq!(stray[0], "svar review 4 yes --contact ADDRESS --campaign NAME");
        assert_eq!(stray[3..], ["svar review 4 unsubscribe --contact ADDRESS", "svar review 4 other"]);
        let letter =
            Untold { id: 4, contact_id: Some(1), campaign_id: Some(2), campaign_kind: Some("newsletter".into()), ..Untold::default() };
        assert_eq!(ways_to_decide(&letter), ["svar review 4 unsubscribe", "svar review 4 other"]);
    }

    #[test]
    fn a_subject_gets_one_prefix() {
        assert_eq!(reply_subject("Re: SV: Vill du?", "sv"), "Sv: Vill du?");
        assert_eq!(reply_subject("Kl 9: vill du?", "en"), "Re: Kl 9: vill du?");
        assert_eq!(reply_subject("a\r\nBcc: x", "en"), "Re: a  Bcc: x");
    }
}
