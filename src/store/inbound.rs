//! Messages that came in: stored raw first, understood later, applied once.

use std::borrow::Cow;

use sqlx::FromRow;

use super::answer::{self, Asked};
use super::db::{Conn, values};
use super::suppression::{self, Suppress};
use super::wish::{self, Confirming};
use super::{Error, Store, contact, event};
use crate::model::address::Address;
use crate::model::answer::{Choice, Given, Meeting, Via};
use crate::model::contact::Person;
use crate::model::event::{Cause, Event};
use crate::model::inbound::{Intent, Kind, Source};
use crate::model::suppression::Reason;
use crate::model::wish::{ASKED, DECIDED, OPEN_FOR_MS};

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Raw<'a> {
    /// Where from.
    pub source: Source,
    /// MAIL FROM, where the source knows it.
    pub envelope_from: Option<&'a str>,
    /// The address of ours that it came to, in lower case; empty where none is known.
    pub recipient: &'a str,
    /// A hash over what makes it the same message.
    pub content_hash: &'a str,
    /// Its bytes, untouched.
    pub bytes: Vec<u8>,
}

/// The row of a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The row.
    pub id: i64,
    /// `false` where the same message was there already.
    pub is_new: bool,
}

/// A stored message that is not understood yet.
#[derive(Clone, Debug, FromRow)]
pub struct Waiting {
    /// The row.
    pub id: i64,
    /// MAIL FROM, where known.
    pub envelope_from: Option<String>,
    /// The address of ours that it came to.
    pub recipient: String,
    /// When it was stored.
    pub received_at: i64,
}

/// What svar knows of the delivery that a message comes back to.
#[derive(Clone, Debug, FromRow)]
pub struct Known {
    /// The delivery.
    pub delivery_id: i64,
    /// Its edition: the sent text is rendered again from it.
    pub edition_id: i64,
    /// Its campaign.
    pub campaign_id: i64,
    /// The campaign's state.
    pub campaign_state: String,
    /// The campaign's kind.
    pub campaign_kind: String,
    /// The language of its words.
    pub language: String,
    /// The contact.
    pub contact_id: i64,
    /// The contact's address, in lower case.
    pub address_key: String,
    /// Why the contact gets no mail, where that is so.
    pub suppressed: Option<String>,
}

/// What was made of a message, as it is kept.
#[derive(Clone, Debug, Default)]
pub struct Understanding {
    /// What sort of message.
    pub kind: Option<Kind>,
    /// What it means.
    pub intent: Option<Intent>,
    /// People besides the writer.
    pub guests: Option<u32>,
    /// How sure.
    pub confidence: f64,
    /// The writer's own words.
    pub own_words: String,
    /// The subject.
    pub subject: String,
    /// Who wrote, by From.
    pub from_address: String,
    /// Its Message-ID, without brackets.
    pub message_id: String,
    /// Its References, separated by blanks, without brackets.
    pub references: String,
    /// The language of its words.
    pub language: String,
    /// Why, as JSON.
    pub evidence: String,
    /// Further things in it, as JSON.
    pub secondary: String,
    /// How it was tied to a delivery: `token`, `message-id`, `reference`, `address`.
    pub matched_by: Option<&'static str>,
    /// What made it wait or file, in words for a person.
    pub why: String,
    /// Why no automatic mail may answer it (S-125); `None` where one may.
    pub no_reply_why: Option<String>,
    /// The delivery it comes back to.
    pub delivery_id: Option<i64>,
    /// Whose it is.
    pub contact_id: Option<i64>,
    /// What it is about.
    pub campaign_id: Option<i64>,
    /// The wish that it answers.
    pub wish_id: Option<i64>,
}

/// What a message does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Goes on record as an answer.
    Answer {
        /// Yes, no or maybe.
        choice: Choice,
        /// People besides the writer.
        guests: Option<u32>,
        /// How it came.
        via: Via,
    },
    /// Ends all mail to the contact.
    Suppress(Reason),
    /// The delivery did not arrive.
    Bounce {
        /// The address is dead.
        hard: bool,
        /// The words of the report.
        words: String,
    },
    /// Is kept, and changes nothing.
    File,
    /// Waits for a person.
    Review,
    /// Waits for a person too; but first its writer, who was not asked, is asked to confirm by mail what they wish.
    Ask(Person),
    /// Confirms a wish: its writer becomes a contact, and their yes goes on record.
    Confirm {
        /// The writer of the wish.
        who: Person,
        /// People besides them, where the confirmation says something of it.
        guests: Option<u32>,
    },
}

/// What a person decides about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is this answer.
    Answer(Choice, Option<u32>),
    /// The writer wants no more mail.
    Unsubscribe,
    /// Nothing is to be recorded.
    Nothing,
}

/// A message that a person decided.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct DecidedRow {
    /// The message.
    pub id: i64,
    /// What the person said that it means.
    pub intent: String,
    /// People besides the writer.
    pub guests: Option<i64>,
    /// What the writer wrote.
    pub own_words: String,
    /// The language it was read in; empty where unknown.
    pub language: Option<String>,
    /// Further things in it, as a JSON list.
    pub secondary: Option<String>,
}

/// A message that waits for a person.
#[derive(Clone, Debug, FromRow, serde::Serialize)]
pub struct ReviewRow {
    /// The row: `svar review ID …`.
    pub id: i64,
    /// When it came.
    pub received_at: i64,
    /// Who wrote.
    pub from_address: Option<String>,
    /// The contact it was tied to.
    pub contact: Option<String>,
    /// The campaign it was tied to.
    pub campaign: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The writer's own words.
    pub own_words: Option<String>,
    /// What sort of message svar takes it for.
    pub kind: Option<String>,
    /// The best guess.
    pub intent: Option<String>,
    /// Guests, by the best guess.
    pub guests: Option<i64>,
    /// How sure.
    pub confidence: Option<f64>,
    /// Why it waits.
    pub why: Option<String>,
    /// What the guess rests on, as JSON.
    pub evidence: Option<String>,
}

const KNOWN: &str = "
    SELECT d.id AS delivery_id, d.edition_id, e.campaign_id, ca.state AS campaign_state, ca.kind AS campaign_kind, ca.language,
        d.contact_id, c.address_key, s.reason AS suppressed
    FROM delivery d JOIN edition e ON e.id = d.edition_id JOIN campaign ca ON ca.id = e.campaign_id
    JOIN contact c ON c.id = d.contact_id LEFT JOIN suppression s ON s.address_key = c.address_key";

impl Store {
    /// Stores a message. When this returns, its bytes are durable; the same message again changes nothing.
    ///
    /// # Errors
    /// Where it could not be stored; then the source must keep it.
    pub async fn store_raw(&self, now: i64, message: &Raw<'_>) -> Result<Stored, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "INSERT INTO inbound (source, received_at, content_hash, recipient, envelope_from, raw, state)
                   VALUES ($1, $2, $3, $4, $5, $6, 'stored') ON CONFLICT (content_hash, recipient) DO NOTHING RETURNING id";
        let values =
            values![message.source.as_str(), now, message.content_hash, message.recipient, message.envelope_from, message.bytes.clone()];
        let stored = match tx.first::<(i64,)>(sql, values).await? {
            Some((id,)) => {
                let detail = serde_json::json!({ "source": message.source, "bytes": message.bytes.len() });
                event::write(&mut tx, now, &[Event::new("inbound.stored", Cause::Inbound).inbound(id).detail(detail)]).await?;
                Stored { id, is_new: true }
            }
            None => {
                let sql = "SELECT id FROM inbound WHERE content_hash = $1 AND recipient = $2";
                Stored { id: tx.number(sql, values![message.content_hash, message.recipient]).await?, is_new: false }
            }
        };
        tx.commit().await?;
        Ok(stored)
    }

    /// Up to `limit` stored messages that are not understood yet, oldest first; their bytes are asked for one by one.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_stored(&self, limit: i64) -> Result<Vec<Waiting>, Error> {
        let sql = "SELECT id, envelope_from, recipient, received_at FROM inbound WHERE state = 'stored' ORDER BY id LIMIT $1";
        self.db.read().await?.all(sql, values![limit]).await
    }

    /// The bytes of a message.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is no such message.
    pub async fn raw_of(&self, id: i64) -> Result<Vec<u8>, Error> {
        let row = self.db.read().await?.first::<(Vec<u8>,)>("SELECT raw FROM inbound WHERE id = $1", values![id]).await?;
        let missing = || Error::Unknown { noun: "message", name: id.to_string(), remedy: "svar review shows those that wait" };
        row.map(|(raw,)| raw).ok_or_else(missing)
    }

    /// The delivery of an id, as a message that comes back to it needs it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_known(&self, delivery_id: i64) -> Result<Option<Known>, Error> {
        self.db.read().await?.first(&format!("{KNOWN} WHERE d.id = $1"), values![delivery_id]).await
    }

    /// The deliveries of invitations to this address that were sent and have no answer: at most two are looked for,
    /// because only a single open question ties a message to it (S-115).
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn open_questions(&self, address: &Address) -> Result<Vec<Known>, Error> {
        let sql = format!(
            "{KNOWN} WHERE c.address_key = $1 AND ca.kind = 'invitation' AND ca.state <> 'cancelled' AND d.state IN ('sent', 'uncertain')
               AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.campaign_id = ca.id AND a.contact_id = c.id AND a.superseded_at IS NULL)
             ORDER BY d.id DESC LIMIT 2"
        );
        self.db.read().await?.all(&sql, values![address.key()]).await
    }

    /// Records what was understood of a stored message and does what follows from it, in one transaction and once:
    /// `false` where another daemon did.
    ///
    /// # Errors
    /// Where the database fails; then nothing was recorded and the message is taken up again.
    pub async fn apply(&self, now: i64, id: i64, received_at: i64, read: &Understanding, effect: &Effect) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let (read, effect) = completed(&mut tx, now, id, read, effect).await?;
        let read = &*read;
        if !record(&mut tx, now, id, read, effect).await? {
            return Ok(false);
        }
        let event = Event::new(what_of(effect), Cause::Inbound)
            .inbound(id)
            .contact(read.contact_id)
            .campaign(read.campaign_id)
            .delivery(read.delivery_id);
        let detail = serde_json::json!({
            "message_id": read.message_id, "kind": read.kind, "intent": read.intent, "confidence": read.confidence, "matched_by": read.matched_by,
            "why": read.why, "evidence": serde_json::from_str::<serde_json::Value>(&read.evidence).unwrap_or_default(),
        });
        event::write(&mut tx, now, &[event.detail(detail)]).await?;
        match effect {
            Effect::Answer { choice, guests, via } => {
                let given = Given { choice: *choice, guests: *guests, comment: read.own_words.clone(), via: *via, given_at: received_at };
                if let (Some(campaign_id), Some(contact_id)) = (read.campaign_id, read.contact_id) {
                    let asked =
                        Asked { campaign_id, contact_id, delivery_id: read.delivery_id, inbound_id: Some(id), cause: Cause::Inbound };
                    answer::register(&mut tx, now, asked, &given).await?;
                }
            }
            Effect::Suppress(reason) => match (read.contact_id, read.wish_id) {
                (None, Some(wish_id)) => wish::suppress_writer(&mut tx, now, id, wish_id, *reason).await?,
                (contact_id, _) => suppress_contact(&mut tx, now, id, contact_id, *reason, Cause::Inbound).await?,
            },
            Effect::Bounce { hard, words } => bounce(&mut tx, now, id, read, *hard, words).await?,
            Effect::Confirm { guests, .. } => confirm(&mut tx, now, id, received_at, read, *guests).await?,
            Effect::File | Effect::Review | Effect::Ask(_) => {}
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The messages that wait for a person, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_review(&self, limit: i64) -> Result<Vec<ReviewRow>, Error> {
        let sql = "SELECT i.id, i.received_at, i.from_address, c.address AS contact, ca.name AS campaign, i.subject, i.own_words, i.kind,
                       i.intent, i.guests, i.confidence, i.why, i.evidence
                   FROM inbound i LEFT JOIN contact c ON c.id = i.contact_id LEFT JOIN campaign ca ON ca.id = i.campaign_id
                   WHERE i.state = 'review' ORDER BY i.id LIMIT $1";
        self.db.read().await?.all(sql, values![limit]).await
    }

    /// A person is done with everything that waits and is tied to nobody, but for wishes whose question can still be confirmed, and
    /// replies to it. How many messages that were.
    ///
    /// # Errors
    /// Where the database fails; then nothing is changed.
    pub async fn dismiss_strangers(&self, now: i64) -> Result<usize, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "UPDATE inbound SET state = 'settled', intent = 'other', decided_at = $1, told_at = $1
                   WHERE state = 'review' AND contact_id IS NULL AND NOT EXISTS (
                       SELECT 1 FROM wish w JOIN inbound first ON first.id = w.inbound_id
                       LEFT JOIN notice n ON n.inbound_id = w.inbound_id AND n.about = 'wish'
                       WHERE w.inbound_id IN (inbound.id, inbound.wish_id) AND first.state = 'review'
                           AND COALESCE(n.settled_at, w.asked_at) >= $2)
                   RETURNING id";
        let dismissed: Vec<(i64,)> = tx.all(sql, values![now, now - OPEN_FOR_MS]).await?;
        let event = |id: i64| Event::new("inbound.decided", Cause::Operator).inbound(id).detail(serde_json::json!({ "as": "other" }));
        event::write(&mut tx, now, &dismissed.iter().map(|(id,)| event(*id)).collect::<Vec<_>>()).await?;
        tx.commit().await?;
        Ok(dismissed.len())
    }

    /// A person decides what a message means. `who` and `about` name contact and campaign where svar could not.
    ///
    /// An answer counts from when it was written, not from when it was decided: where the contact has said something else
    /// since, the decision is refused, and nothing is changed. The contact's address, where an answer is recorded of somebody
    /// who is suppressed and stays so.
    ///
    /// # Errors
    /// [`Error::Unknown`] for an unknown message; [`Error::Refused`] where it is tied to nobody, or a later answer stands.
    pub async fn decide(
        &self,
        now: i64,
        id: i64,
        decision: Decision,
        who: Option<i64>,
        about: Option<i64>,
    ) -> Result<Option<String>, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "SELECT state, contact_id, campaign_id, delivery_id, received_at, own_words, intent FROM inbound WHERE id = $1";
        let row =
            tx.first::<(String, Option<i64>, Option<i64>, Option<i64>, i64, Option<String>, Option<String>)>(sql, values![id]).await?;
        let missing = || Error::Unknown { noun: "message", name: id.to_string(), remedy: "svar review shows those that wait" };
        let (state, contact, campaign, delivery_id, received_at, own_words, guess) = row.ok_or_else(missing)?;
        if state == "stored" {
            return Err(Error::Refused(format!("message {id} is not read yet; try again in a moment")));
        }
        let (contact_id, campaign_id) = (who.or(contact), about.or(campaign));
        let event =
            Event::new("inbound.decided", Cause::Operator).inbound(id).contact(contact_id).campaign(campaign_id).delivery(delivery_id);
        let word = match decision {
            Decision::Answer(choice, _) => choice.as_str(),
            Decision::Unsubscribe => "unsubscribe",
            Decision::Nothing => "other",
        };
        event::write(&mut tx, now, &[event.detail(serde_json::json!({ "as": word, "guess": guess }))]).await?;
        let mut guests = None;
        match decision {
            Decision::Answer(choice, said) => {
                let (Some(campaign_id), Some(contact_id)) = (campaign_id, contact_id) else {
                    return Err(Error::Refused(format!(
                        "message {id} is tied to no contact and campaign; add --contact ADDRESS --campaign NAME"
                    )));
                };
                guests = said.map(i64::from);
                let comment = own_words.unwrap_or_default();
                let given = Given { choice, guests: said, comment, via: Via::Mail, given_at: received_at };
                let asked = Asked { campaign_id, contact_id, delivery_id, inbound_id: Some(id), cause: Cause::Operator };
                if answer::register(&mut tx, now, asked, &given).await? == Meeting::TooOld {
                    return Err(overtaken(id, choice));
                }
            }
            Decision::Unsubscribe => suppress_contact(&mut tx, now, id, contact_id, Reason::Unsubscribed, Cause::Operator).await?,
            Decision::Nothing => {}
        }
        let told_at = (decision == Decision::Nothing).then_some(now);
        let sql = "UPDATE inbound SET state = 'settled', intent = $1, guests = COALESCE($2, guests), contact_id = $3, campaign_id = $4,
                       decided_at = $5, told_at = $6 WHERE id = $7";
        tx.execute(sql, values![word, guests, contact_id, campaign_id, now, told_at, id]).await?;
        let sql = "SELECT c.address FROM contact c JOIN suppression s ON s.address_key = c.address_key WHERE c.id = $1";
        let silenced = match decision {
            Decision::Answer(..) => tx.first::<(String,)>(sql, values![contact_id]).await?.map(|(address,)| address),
            _ => None,
        };
        tx.commit().await?;
        Ok(silenced)
    }
}

impl Store {
    /// Up to `limit` messages of people that a person decided, after the one with id `after`: what svar can learn from.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_decided(&self, after: i64, limit: i64) -> Result<Vec<DecidedRow>, Error> {
        let sql = "SELECT id, intent, guests, own_words, language, secondary FROM inbound
                   WHERE id > $1 AND state = 'settled' AND kind IN ('reply', 'unsolicited') AND own_words <> '' ORDER BY id LIMIT $2";
        self.db.read().await?.all(sql, values![after, limit]).await
    }
}

fn overtaken(id: i64, choice: Choice) -> Error {
    Error::Refused(format!(
        "message {id} is older than the answer on record, which stands; to overrule that: svar respond ADDRESS NAME {choice}; \
         to be done with the message: svar review {id} other"
    ))
}

/// What is kept of a message that states or confirms a wish: only the tables tell what it is about, or whose it is; and with it
/// what the message does, for a person may have decided meanwhile.
async fn completed<'a>(
    tx: &mut Conn,
    now: i64,
    id: i64,
    read: &'a Understanding,
    effect: &'a Effect,
) -> Result<(Cow<'a, Understanding>, &'a Effect), Error> {
    let read = match (effect, read.wish_id) {
        (Effect::Ask(who), _) => match wish::ask(tx, now, id, who).await? {
            Ok(campaign_id) => Understanding { campaign_id: Some(campaign_id), why: ASKED.to_owned(), ..read.clone() },
            Err(why) => Understanding { why: why.to_owned(), ..read.clone() },
        },
        (Effect::Confirm { .. }, Some(wish_id)) if !wish::is_open(tx, now, wish_id).await? => {
            let read = Understanding { why: DECIDED.to_owned(), ..read.clone() };
            return Ok((Cow::Owned(read), &Effect::Review));
        }
        (Effect::Confirm { who, .. }, _) => {
            let contact_id = contact::find_or_add(tx, now, id, who).await?;
            Understanding { contact_id: Some(contact_id), ..read.clone() }
        }
        _ => return Ok((Cow::Borrowed(read), effect)),
    };
    Ok((Cow::Owned(read), effect))
}

async fn confirm(
    tx: &mut Conn,
    now: i64,
    inbound_id: i64,
    received_at: i64,
    read: &Understanding,
    guests: Option<u32>,
) -> Result<(), Error> {
    let (Some(wish_id), Some(contact_id)) = (read.wish_id, read.contact_id) else { return Ok(()) };
    let (words, from) = (&read.own_words, &read.from_address);
    wish::confirm(tx, now, Confirming { wish_id, inbound_id, received_at, contact_id, guests, words, from }).await
}

fn what_of(effect: &Effect) -> &'static str {
    match effect {
        Effect::Answer { .. } | Effect::Suppress(_) | Effect::Bounce { .. } | Effect::Confirm { .. } => "inbound.applied",
        Effect::File => "inbound.filed",
        Effect::Review | Effect::Ask(_) => "inbound.waits",
    }
}

async fn record(tx: &mut Conn, now: i64, id: i64, read: &Understanding, effect: &Effect) -> Result<bool, Error> {
    let (state, told_at) = match effect {
        Effect::Answer { .. } | Effect::Confirm { .. } | Effect::Suppress(Reason::Unsubscribed) => ("applied", None),
        Effect::Suppress(_) | Effect::Bounce { .. } => ("applied", Some(now)),
        Effect::File => ("filed", Some(now)),
        Effect::Review | Effect::Ask(_) => ("review", None),
    };
    let sql = "UPDATE inbound SET state = $1, kind = $2, intent = $3, guests = $4, confidence = $5, own_words = $6, subject = $7,
                   from_address = $8, message_id = $9, reference_ids = $10, language = $11, evidence = $12, secondary = $13,
                   matched_by = $14, why = $15, no_reply_why = $16, delivery_id = $17, contact_id = $18, campaign_id = $19, wish_id = $20,
                   told_at = $21
               WHERE id = $22 AND state = 'stored'";
    let values = values![
        state,
        read.kind.map(Kind::as_str),
        read.intent.map(Intent::as_str),
        read.guests.map(i64::from),
        Some(read.confidence),
        &read.own_words,
        &read.subject,
        &read.from_address,
        &read.message_id,
        &read.references,
        &read.language,
        &read.evidence,
        &read.secondary,
        read.matched_by,
        &read.why,
        read.no_reply_why.clone(),
        read.delivery_id,
        read.contact_id,
        read.campaign_id,
        read.wish_id,
        told_at,
        id,
    ];
    Ok(tx.execute(sql, values).await? > 0)
}

async fn suppress_contact(
    tx: &mut Conn,
    now: i64,
    inbound_id: i64,
    contact_id: Option<i64>,
    reason: Reason,
    cause: Cause,
) -> Result<(), Error> {
    let Some(contact_id) = contact_id else {
        return Err(Error::Refused(format!("message {inbound_id} is tied to no contact; add --contact ADDRESS")));
    };
    let key = tx.first::<(String,)>("SELECT address_key FROM contact WHERE id = $1", values![contact_id]).await?.ok_or(Error::Gone)?.0;
    let who = Suppress { address_key: &key, reason, cause, inbound_id: Some(inbound_id), contact_id: Some(contact_id), note: "" };
    suppression::add(tx, now, &who).await.map(|_| ())
}

/// A report says that a delivery did not arrive. Only a hard failure suppresses the address (S-139).
async fn bounce(tx: &mut Conn, now: i64, inbound_id: i64, read: &Understanding, hard: bool, words: &str) -> Result<(), Error> {
    let Some(delivery_id) = read.delivery_id else { return Ok(()) };
    let sql = "UPDATE delivery SET state = 'failed', reply = $1, settled_at = $2 WHERE id = $3 AND state IN ('sent', 'uncertain')";
    let changed = tx.execute(sql, values![words, now, delivery_id]).await? > 0;
    if changed {
        let event = Event::new("delivery.bounced", Cause::Inbound)
            .inbound(inbound_id)
            .contact(read.contact_id)
            .campaign(read.campaign_id)
            .delivery(delivery_id)
            .detail(serde_json::json!({ "hard": hard, "words": words }));
        event::write(tx, now, &[event]).await?;
    }
    if hard {
        suppress_contact(tx, now, inbound_id, read.contact_id, Reason::HardBounce, Cause::Inbound).await?;
    }
    Ok(())
}
