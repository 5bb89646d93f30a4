//! The answer goes on record, or to a person for review.
//!
//! [`step`] takes the stored messages through all stations: understood several at once, applied one after the other.
//! [`decide`] is the rule: from what was understood and whose it is to what it does. Below certainty nothing is done: it waits
//! with the best guess and the evidence.

use std::collections::VecDeque;

use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{info, warn};

use super::correlate::{Clue, Own};
use super::kind::{self, never_answer};
use super::meters::Meters;
use super::parse::{self, Parsed};
use super::understand::{Around, Understood, understand_parsed};
use super::wish;
use crate::model::address::{Address, is_same};
use crate::model::answer::{Choice, Via};
use crate::model::inbound::{Envelope, Evidence, Intent, Kind, Reading};
use crate::model::outcome::{Class, classify, find_enhanced};
use crate::model::suppression::Reason;
use crate::model::token::Purpose;
use crate::store::{Effect, Error, Known, NoticeTo, Store, Understanding, Waiting, Wish};
use crate::wire::report::{Report, ReportKind};

/// How many messages are taken up in one step.
const BATCH: i64 = 50;
/// At most so many are held whole in memory at once.
const AT_ONCE: usize = 8;
/// More Received fields than this are a loop (S-129).
const MAX_HOPS: usize = 50;

/// Gives the text that was sent with a delivery, so that its words are never taken for an answer. The way out knows it;
/// the daemon hands it in.
pub trait SentText: Sync {
    /// The text part of that delivery's mail, where it can still be made.
    fn of(&self, delivery_id: i64) -> impl Future<Output = Option<String>> + Send;
}

/// A message tied to a delivery.
#[derive(Clone, Debug)]
pub struct Tied {
    /// What tied it; `None` where only its author's address did, which is weak.
    pub clue: Option<Clue>,
    /// The delivery.
    pub known: Known,
}

/// What a message is tied to.
#[derive(Clone, Debug)]
pub enum Whose {
    /// Nothing: its writer was not asked.
    Nobody,
    /// A delivery.
    Delivery(Tied),
    /// The question whether its writer wants to take part.
    Wish(Wish),
    /// A notice that it complains about.
    Notice(NoticeTo),
}

impl Whose {
    /// The words of ours that it answers.
    async fn sent(&self, sent: &impl SentText) -> Option<String> {
        match self {
            Self::Nobody | Self::Notice(_) => None,
            Self::Delivery(tied) => sent.of(tied.known.delivery_id).await,
            Self::Wish(wish) => Some(format!("{}\n{}", wish.subject.as_deref()?, wish.question.as_deref()?)),
        }
    }

    /// Whether something that we signed ties it.
    fn is_signed(&self) -> bool {
        match self {
            Self::Nobody | Self::Notice(_) => false,
            Self::Delivery(tied) => tied.clue.is_some(),
            Self::Wish(_) => true,
        }
    }
}

/// Takes up stored messages. How many. They are understood on several processors at once and applied in the order they came.
///
/// # Errors
/// Where the database fails; what was not applied comes again.
pub async fn step(store: &Store, own: &Own, sent: &impl SentText, meters: &Meters, now: i64) -> Result<usize, Error> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE);
    let waiting = store.list_stored(BATCH).await?;
    let mut begun = VecDeque::with_capacity(at_once);
    for message in &waiting {
        if begun.len() >= at_once
            && let Some(first) = begun.pop_front()
        {
            finish(store, own, meters, now, first).await?;
        }
        begun.push_back(begin(store, own, sent, message).await?);
    }
    for first in begun {
        finish(store, own, meters, now, first).await?;
    }
    Ok(waiting.len())
}

/// A message that is being understood on a thread of its own.
struct Begun<'a> {
    message: &'a Waiting,
    envelope: Envelope,
    /// Gives `None` where it cannot be read.
    reading: JoinHandle<Option<Understood>>,
}

/// All that must be asked before a message can be understood.
async fn begin<'a>(store: &Store, own: &Own, sent: &impl SentText, message: &'a Waiting) -> Result<Begun<'a>, Error> {
    let to = (!message.recipient.is_empty()).then(|| message.recipient.clone());
    let envelope = Envelope { from: message.envelope_from.clone(), to };
    let raw = store.raw_of(message.id).await?;
    let Some(parsed) = apart(move || parse::read(&raw)).await else {
        return Ok(Begun { message, envelope, reading: spawn_blocking(|| None) });
    };
    let whose = whose(store, own, &envelope, &parsed).await?;
    let around = Around { envelope: envelope.clone(), is_tied: whose.is_signed(), sent: whose.sent(sent).await };
    let reading = spawn_blocking(move || Some(understand_parsed(parsed, &around)));
    Ok(Begun { message, envelope, reading })
}

/// Whose it is counts as it stands now, after the messages before it: one of them may have ended all mail, or confirmed a wish.
async fn finish(store: &Store, own: &Own, meters: &Meters, now: i64, begun: Begun<'_>) -> Result<(), Error> {
    let Begun { message, envelope, reading } = begun;
    let (read, effect) = match reading.await.ok().flatten() {
        Some(understood) => {
            let whose = whose(store, own, &envelope, &understood.parsed).await?;
            decide(&understood, &whose, own, &envelope, message.received_at)
        }
        None => unreadable(),
    };
    if read.kind.is_none() {
        warn!(inbound.id = message.id, "a message could not be read; it waits for a person");
    }
    if store.apply(now, message.id, message.received_at, &read, &effect).await? {
        meters.understood(read.kind, name_of(&effect));
        info!(
            inbound.id = message.id,
            kind = read.kind.map_or("", Kind::as_str),
            intent = read.intent.map_or("", Intent::as_str),
            effect = name_of(&effect),
            delivery.id = read.delivery_id,
            "message understood"
        );
    }
    Ok(())
}

/// Runs what reads a stranger's bytes on a thread apart: should it panic, the message waits for a person and the daemon
/// stays up.
pub(super) async fn apart<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn_blocking(read).await.ok()
}

fn unreadable() -> (Understanding, Effect) {
    let why = "svar could not read this message; open it with your mail program".to_owned();
    let read = Understanding { why, no_reply_why: Some("not read".into()), evidence: "[]".into(), ..Understanding::default() };
    (read, Effect::Review)
}

async fn whose(store: &Store, own: &Own, envelope: &Envelope, parsed: &Parsed) -> Result<Whose, Error> {
    if let Some(id) = own.wish(envelope, parsed)
        && let Some(wish) = store.find_wish(id).await?
    {
        return Ok(Whose::Wish(wish));
    }
    if let Some(clue) = own.clue(envelope, parsed)
        && let Some(known) = store.find_known(clue.delivery_id).await?
    {
        return Ok(Whose::Delivery(Tied { clue: Some(clue), known }));
    }
    let complained = own.notice(parsed).filter(|_| kind::of(parsed, envelope, false).kind == Kind::Complaint);
    if let Some(id) = complained {
        return Ok(Whose::Notice(store.find_notice_to(id).await?));
    }
    let Some(Ok(author)) = parsed.from.as_deref().map(Address::parse) else { return Ok(Whose::Nobody) };
    let mut open = store.open_questions(&author).await?;
    Ok(match (open.len(), open.pop()) {
        (1, Some(known)) => Whose::Delivery(Tied { clue: None, known }),
        _ => Whose::Nobody,
    })
}

/// What a message does, and what is kept of it.
#[must_use]
pub fn decide(understood: &Understood, whose: &Whose, own: &Own, envelope: &Envelope, received_at: i64) -> (Understanding, Effect) {
    let (effect, why) = match whose {
        _ if understood.parsed.received_count > MAX_HOPS => (Effect::File, "it went in a circle".to_owned()),
        Whose::Wish(wish) => effect_on_wish(understood, wish, received_at),
        Whose::Delivery(tied) => effect_of(understood, Some(tied)),
        Whose::Notice(NoticeTo { contact_id: None, wish_id: None }) => {
            (Effect::Review, "a complaint about a mail that went to nobody svar knows".to_owned())
        }
        Whose::Notice(_) => complaint(understood),
        Whose::Nobody => match wish::writer(understood, own, envelope) {
            Some(writer) => (Effect::Ask(writer), String::new()),
            None => effect_of(understood, None),
        },
    };
    let parsed = &understood.parsed;
    let reading = &understood.reading;
    let evidence: Vec<&Evidence> = understood.evidence.iter().chain(&reading.evidence).collect();
    let (tied, wish, told) = match whose {
        Whose::Nobody => (None, None, None),
        Whose::Delivery(tied) => (Some(tied), None, None),
        Whose::Wish(wish) => (None, Some(wish), None),
        Whose::Notice(told) => (None, None, Some(told)),
    };
    let no_reply_why = match tied.and_then(|t| t.clue) {
        Some(Clue { purpose: Purpose::Unsubscribe, .. }) => Some("the opt-out address answers nobody"),
        _ if parsed.from.as_deref().is_some_and(|from| own.is_ours(from)) => Some("written by ourselves"),
        _ if !whose.is_signed() => Some("no valid token"),
        _ => never_answer(parsed, envelope),
    };
    let read = Understanding {
        kind: Some(understood.kind),
        intent: Some(reading.intent),
        guests: reading.guests,
        confidence: (f64::from(reading.confidence) * 1000.0).round() / 1000.0,
        own_words: understood.own_words.clone(),
        subject: parsed.subject.clone(),
        from_address: parsed.from.clone().unwrap_or_default(),
        message_id: parsed.message_id.clone().unwrap_or_default(),
        references: parsed.references.join(" "),
        language: reading.language.clone().unwrap_or_default(),
        evidence: serde_json::to_string(&evidence).unwrap_or_else(|_| "[]".into()),
        secondary: serde_json::to_string(&reading.secondary).unwrap_or_else(|_| "[]".into()),
        matched_by: tied.map(|t| t.clue.map_or("address", |c| c.by)).or(wish.map(|_| "token")).or(told.map(|_| "reference")),
        why,
        no_reply_why: no_reply_why.map(str::to_owned),
        delivery_id: tied.map(|t| t.known.delivery_id),
        contact_id: tied.map(|t| t.known.contact_id).or(wish.and_then(|w| w.contact_id)).or(told.and_then(|t| t.contact_id)),
        campaign_id: tied.map(|t| t.known.campaign_id).or(wish.map(|w| w.campaign_id)),
        wish_id: wish.map(|w| w.id).or(told.and_then(|t| t.wish_id)),
    };
    (read, effect)
}

/// A reply to the question about a wish: read as an answer, and a yes confirms.
fn effect_on_wish(understood: &Understood, wish: &Wish, received_at: i64) -> (Effect, String) {
    match understood.kind {
        Kind::Reply | Kind::Unsolicited | Kind::Command => {
            wish::reply(understood, wish, received_at, answer(understood, &Question::of_wish(wish)))
        }
        Kind::Junk => (Effect::Review, "marked as junk on its way".to_owned()),
        Kind::Complaint => complaint(understood),
        _ => effect_of(understood, None),
    }
}

/// The rule, from the most certain to the least. With the effect, why it is not more, in words for a person.
fn effect_of(understood: &Understood, tied: Option<&Tied>) -> (Effect, String) {
    let file = |why: &str| (Effect::File, why.to_owned());
    let review = |why: &str| (Effect::Review, why.to_owned());
    match (understood.kind, tied) {
        (Kind::Bounce, Some(tied)) if tied.clue.is_some() => bounce(understood, &tied.known),
        (Kind::Bounce, _) => file("a report that names no delivery of ours"),
        (_, Some(Tied { clue: Some(Clue { purpose: Purpose::Unsubscribe, .. }), .. })) => {
            (Effect::Suppress(Reason::Unsubscribed), String::new())
        }
        (Kind::Complaint, Some(tied)) if tied.clue.is_some() => complaint(understood),
        (Kind::Complaint, _) => file("a complaint that names no delivery of ours"),
        (Kind::Receipt, _) => file("a read receipt is no answer"),
        (Kind::AutoReply, _) if !understood.reading.apply => {
            review("written by a machine, it seems: perhaps the address is no longer in use")
        }
        (Kind::AutoReply, _) => file("a machine's answer is no answer"),
        (Kind::CalendarReply, _) => review("an answer by calendar; read it and decide"),
        (Kind::Junk, None) => file("junk"),
        (Kind::Junk, Some(_)) => review("marked as junk on its way"),
        (_, None) => review("svar does not know whom it is from"),
        (_, Some(tied)) if tied.clue.is_none() => review("tied to the invitation by the writer's address alone"),
        (_, Some(tied)) => answer(understood, &Question::of_delivery(&tied.known)),
    }
}

/// What a person's words answer.
struct Question<'a> {
    campaign_kind: &'a str,
    campaign_state: &'a str,
    /// To whom it was put.
    address: &'a str,
    is_suppressed: bool,
}

impl<'a> Question<'a> {
    fn of_delivery(known: &'a Known) -> Self {
        Self {
            campaign_kind: &known.campaign_kind,
            campaign_state: &known.campaign_state,
            address: &known.address_key,
            is_suppressed: known.suppressed.is_some(),
        }
    }

    /// Only an invitation is asked about.
    fn of_wish(wish: &'a Wish) -> Self {
        Self {
            campaign_kind: "invitation",
            campaign_state: &wish.campaign_state,
            address: &wish.address,
            is_suppressed: wish.suppressed.is_some(),
        }
    }
}

/// A person's words that come back to what we asked.
fn answer(understood: &Understood, asked: &Question<'_>) -> (Effect, String) {
    let reading = &understood.reading;
    let review = |why: &str| (Effect::Review, why.to_owned());
    let flagged = flag_of(understood, asked.address);
    if let Some(limits) = understood.parsed.limits {
        return (Effect::Review, format!("not read whole: {limits}"));
    }
    match (reading.intent, Choice::from_intent(reading.intent)) {
        (Intent::Unsubscribe, _) if reading.apply => (Effect::Suppress(Reason::Unsubscribed), flagged),
        (Intent::Erase, _) => review("asks to be erased; a person must do it"),
        (Intent::Question, _) => review("a question"),
        (_, Some(choice)) if reading.apply => match (asked.campaign_kind, asked.campaign_state) {
            ("newsletter", _) => review("an answer, but a newsletter asks nothing"),
            (_, "cancelled") => review("an answer, but the campaign was cancelled"),
            // Not told, because suppressed; and perhaps the opt-out was the mistake: a person lifts it, or not.
            _ if choice != Choice::No && asked.is_suppressed => review("an answer, but its writer gets no mail from us"),
            _ => (Effect::Answer { choice, guests: guests_of(reading, choice), via: Via::Mail }, flagged),
        },
        _ => review("not sure what it means"),
    }
}

fn guests_of(reading: &Reading, choice: Choice) -> Option<u32> {
    reading.guests.filter(|_| choice != Choice::No)
}

/// S-117: a valid token and another author is an answer for the invitee, and says so.
fn flag_of(understood: &Understood, address: &str) -> String {
    match understood.parsed.from.as_deref() {
        Some(from) if is_same(from, address) => String::new(),
        Some(from) => format!("written by {from}"),
        None => "its writer gives no address".to_owned(),
    }
}

/// S-135…S-139: only a failure counts, and it suppresses only where the code says that the address is dead and the
/// report is about this address.
fn bounce(understood: &Understood, known: &Known) -> (Effect, String) {
    let Some(report) = &understood.report else {
        let words: String = understood.own_words.chars().take(500).collect();
        return (Effect::Bounce { hard: false, words }, "a report without a code counts as soft".to_owned());
    };
    match report.kind {
        ReportKind::Delay => (Effect::File, "delayed, not failed".to_owned()),
        ReportKind::Success => (Effect::File, "delivered".to_owned()),
        ReportKind::Bounce => {
            let (hard, words) = verdict(report, known);
            (Effect::Bounce { hard, words }, String::new())
        }
    }
}

fn verdict(report: &Report, known: &Known) -> (bool, String) {
    let about = report.recipients.iter().find(|r| r.address.eq_ignore_ascii_case(&known.address_key));
    let Some(recipient) = about.or(report.recipients.first()) else { return (false, String::new()) };
    let status = recipient.status.as_deref().unwrap_or("");
    let enhanced = find_enhanced(status).map(|(code, _)| code);
    let permanent = enhanced.is_some_and(|(class, ..)| class == 5);
    let hard = about.is_some() && permanent && classify(550, enhanced) == Class::Hard;
    let words = format!("{status} {}", recipient.diagnostic.as_deref().unwrap_or("")).trim().chars().take(500).collect();
    (hard, words)
}

/// S-141: `abuse` suppresses at once, `not-spam` does not, an unknown type goes to a person.
fn complaint(understood: &Understood) -> (Effect, String) {
    match understood.complaint.as_ref().map(|c| c.feedback_type.as_str()) {
        Some("abuse" | "fraud" | "opt-out" | "opt-out-list") => (Effect::Suppress(Reason::Complaint), String::new()),
        Some("not-spam") => (Effect::File, "the recipient says that it is not spam".to_owned()),
        _ => (Effect::Review, "a complaint of a kind svar does not know".to_owned()),
    }
}

fn name_of(effect: &Effect) -> &'static str {
    match effect {
        Effect::Answer { .. } => "answer",
        Effect::Suppress(_) => "suppress",
        Effect::Bounce { .. } => "bounce",
        Effect::File => "file",
        Effect::Review => "review",
        Effect::Ask(_) => "ask",
        Effect::Confirm { .. } => "confirm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::understand::understand;
    use crate::model::contact::Person;
    use crate::model::inbound::Source;
    use crate::model::token::Keys;
    use crate::store::tests::{send_all, sending_to, stores, wished};
    use crate::store::{NewNotice, Raw};

    const NOW: i64 = 1_795_500_000_000;

    struct NoText;

    impl SentText for NoText {
        async fn of(&self, _: i64) -> Option<String> {
            None
        }
    }

    fn own() -> Own {
        let reply = Address::parse("svar@example.org").unwrap();
        Own { reply, separator: '+', keys: Keys::single(1, vec![7; 32]), asks_strangers: true }
    }

    fn tagged(purpose: Purpose, id: i64) -> String {
        format!("svar+{}@example.org", own().keys.write(purpose, id))
    }

    fn mail(from: &str, to: &str, words: &str) -> String {
        format!("From: {from}\r\nTo: {to}\r\nSubject: Re: Natverket\r\n\r\n{words}\r\n")
    }

    async fn comes(store: &Store, to: &str, bytes: &str) {
        let recipient = to.to_lowercase();
        let envelope_from = Some("eva@example.net");
        let raw = Raw { source: Source::Stdin, envelope_from, recipient: &recipient, content_hash: bytes, bytes: bytes.into() };
        store.store_raw(NOW, &raw).await.unwrap();
    }

    async fn eva_wishes(store: &Store) -> String {
        let eva = Person::new(Address::parse("eva@example.net").unwrap());
        tagged(Purpose::Wish, wished(store, "1", NOW, &eva).await)
    }

    /// What is on record once so many words came to an address and were taken up in one step: yes, no, and what waits.
    async fn after(store: &Store, from: &str, to: &str, words: [&str; 2]) -> (i64, i64, i64) {
        for words in words {
            comes(store, to, &mail(from, to, words)).await;
        }
        assert_eq!(step(store, &own(), &NoText, &Meters::default(), NOW).await.unwrap(), 2);
        let status = store.status("natverk").await.unwrap();
        (status.answers.yes, status.answers.no, status.review)
    }

    /// S-53: what came before in the same step counts.
    #[tokio::test]
    async fn messages_of_one_step_follow_on_each_other() {
        for (store, _dir) in stores().await {
            sending_to(&store, 1).await;
            let delivery = tagged(Purpose::Reply, send_all(&store).await[0].id);
            let left = after(&store, "person0@example.org", &delivery, ["Avregistrera mig", "Ja"]).await;
            assert_eq!(left, (0, 0, 1));
        }
        for (words, counts) in [(["Avregistrera mig", "JA"], (0, 0, 2)), (["JA", "Nej tack"], (0, 1, 0))] {
            for (store, _dir) in stores().await {
                sending_to(&store, 1).await;
                let question = eva_wishes(&store).await;
                assert_eq!(after(&store, "eva@example.net", &question, words).await, counts, "{words:?}");
            }
        }
    }

    /// S-141: whoever got a notice and calls it junk gets no more mail; a word to the organiser is a person's affair.
    #[tokio::test]
    async fn a_complaint_about_a_notice_is_never_just_filed() {
        for (about, left) in [("wish", 0), ("review", 1)] {
            for (store, _dir) in stores().await {
                sending_to(&store, 1).await;
                let eva = Address::parse("eva@example.net").unwrap();
                eva_wishes(&store).await;
                let untold = store.list_untold(10).await.unwrap().remove(0);
                store.tell(NOW, &untold, &[notice(about)]).await.unwrap();
                store.dismiss_strangers(NOW + 365 * 24 * 3_600_000).await.unwrap();
                let id = store.claim_notices(NOW, 10, "d1", NOW + 60_000).await.unwrap()[0].id;
                comes(&store, "svar@example.org", &complaint_about(&own().keys.write(Purpose::Notice, id))).await;
                step(&store, &own(), &NoText, &Meters::default(), NOW).await.unwrap();
                let reason = store.suppression_of(&eva).await.unwrap().map(|(reason, ..)| reason);
                assert_eq!(reason, (about == "wish").then_some(Reason::Complaint));
                assert_eq!(store.list_review(10).await.unwrap().len(), left, "{about}");
            }
        }
    }

    fn notice(about: &'static str) -> NewNotice {
        NewNotice {
            about,
            recipient: "eva@example.net".into(),
            contact_id: None,
            says: String::new(),
            subject: "Vill du?".into(),
            body: "Svara JA".into(),
            in_reply_to: String::new(),
            references: String::new(),
            key_id: 1,
            reply_to: "svar@example.org".into(),
        }
    }

    fn complaint_about(token: &str) -> String {
        format!(
            "From: fbl@provider.example\r\nTo: svar@example.org\r\nSubject: Abuse report\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
             --b\r\nContent-Type: text/plain\r\n\r\nAn abuse report.\r\n\
             --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\nUser-Agent: x/1\r\n\r\n\
             --b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <{token}@example.org>\r\nSubject: Vill du?\r\n\r\nSvara JA\r\n\
             --b--\r\n"
        )
    }

    /// S-129: whosever it is.
    #[tokio::test]
    async fn what_went_in_a_circle_does_nothing() {
        for (store, _dir) in stores().await {
            sending_to(&store, 1).await;
            let to = eva_wishes(&store).await;
            let hops = "Received: from x by y; Mon, 23 Nov 2026 10:00:00 +0000\r\n".repeat(MAX_HOPS + 1);
            let around = Around { is_tied: true, ..Around::default() };
            let looped = understand(format!("{hops}{}", mail("eva@example.net", &to, "JA")).as_bytes(), &around);
            let envelope = Envelope { from: None, to: Some(to) };
            let asked = whose(&store, &own(), &envelope, &looped.parsed).await.unwrap();
            assert!(matches!(asked, Whose::Wish(_)));
            for whose in [asked, Whose::Nobody] {
                assert_eq!(decide(&looped, &whose, &own(), &envelope, NOW).1, Effect::File);
            }
        }
    }
}
