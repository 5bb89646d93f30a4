//! Wishes of people who were not asked: put to them as a question, and on record once they confirm it.

use sqlx::FromRow;

use super::answer::{self, Asked};
use super::db::{Conn, values};
use super::suppression::{self, Suppress};
use super::{Error, Store, event};
use crate::model::answer::{Choice, Given, Via};
use crate::model::contact::Person;
use crate::model::event::{Cause, Event};
use crate::model::suppression::Reason;
use crate::model::wish::{ASKED_BEFORE, Circumstances, HOUR_MS, ONCE_IN_MS, campaign_to_ask_about};

/// A wish that was put to its writer as a question.
#[derive(Clone, Debug, FromRow)]
pub struct Wish {
    /// The message that states it.
    pub id: i64,
    /// What it is about.
    pub campaign_id: i64,
    /// That campaign's state.
    pub campaign_state: String,
    /// To whom the question went.
    pub address: String,
    /// Their first name by that message, empty where it gives none; likewise below.
    pub first_name: String,
    /// Their family name.
    pub last_name: String,
    /// The language it was written in.
    pub language: String,
    /// When the question left, in milliseconds since 1970; before that, when it was made.
    pub asked_at: i64,
    /// When it was confirmed.
    pub confirmed_at: Option<i64>,
    /// Where the message that states it stands: `review` until it is confirmed or a person decides.
    pub state: String,
    /// The contact of that address, where there is one.
    pub contact_id: Option<i64>,
    /// Why the address gets no mail, where that is so.
    pub suppressed: Option<String>,
    /// The subject of the question and its text, as it was sent.
    pub subject: Option<String>,
    /// Likewise.
    pub question: Option<String>,
}

const WISH: &str = "
    SELECT w.inbound_id AS id, w.campaign_id, ca.state AS campaign_state, w.address, w.first_name, w.last_name, w.language,
        COALESCE(n.settled_at, w.asked_at) AS asked_at, w.confirmed_at, i.state, c.id AS contact_id, s.reason AS suppressed,
        n.subject, n.body AS question
    FROM wish w JOIN inbound i ON i.id = w.inbound_id JOIN campaign ca ON ca.id = w.campaign_id
    LEFT JOIN contact c ON c.address_key = w.address_key LEFT JOIN suppression s ON s.address_key = w.address_key
    LEFT JOIN notice n ON n.inbound_id = w.inbound_id AND n.about = 'wish'
    WHERE w.inbound_id = $1";

impl Store {
    /// The wish that a message states, where its writer was asked.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_wish(&self, id: i64) -> Result<Option<Wish>, Error> {
        self.db.read().await?.first(WISH, values![id]).await
    }
}

/// Puts a wish to its writer as a question, by the rule of [`campaign_to_ask_about`]: the campaign, or why nobody is asked. What
/// the question says is written later, from the row.
pub(super) async fn ask(tx: &mut Conn, now: i64, inbound_id: i64, who: &Person) -> Result<Result<i64, &'static str>, Error> {
    let key = who.address.key();
    let mailbox = who.address.mailbox_key();
    let campaign_id = match campaign_to_ask_about(&circumstances(tx, now, &key, &mailbox).await?, now) {
        Ok(campaign_id) => campaign_id,
        Err(why) => return Ok(Err(why)),
    };
    let sql = "UPDATE wish SET superseded_at = $1 WHERE mailbox_key = $2 AND superseded_at IS NULL AND asked_at <= $3";
    tx.execute(sql, values![now, &mailbox, now - ONCE_IN_MS]).await?;
    // The unique key decides where two daemons ask at once.
    let sql = "INSERT INTO wish (inbound_id, campaign_id, address, address_key, mailbox_key, first_name, last_name, language, asked_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    let address = who.address.as_str();
    let values = values![inbound_id, campaign_id, address, key, mailbox, &who.first_name, &who.last_name, &who.language, now];
    if tx.execute(sql, values).await? == 0 {
        return Ok(Err(ASKED_BEFORE));
    }
    event::write(tx, now, &[Event::new("wish.asked", Cause::Inbound).inbound(inbound_id).campaign(campaign_id)]).await?;
    Ok(Ok(campaign_id))
}

async fn circumstances(tx: &mut Conn, now: i64, key: &str, mailbox: &str) -> Result<Circumstances, Error> {
    let sql = "SELECT id FROM campaign WHERE kind = 'invitation' AND state IN ('active', 'paused') ORDER BY id LIMIT 2";
    let open: Vec<(i64,)> = tx.all(sql, vec![]).await?;
    let suppressed = tx.number("SELECT COUNT(*) FROM suppression WHERE address_key = $1", values![key]).await?;
    let last = tx.first::<(i64,)>("SELECT asked_at FROM wish WHERE mailbox_key = $1 AND superseded_at IS NULL", values![mailbox]).await?;
    Ok(Circumstances {
        open: open.into_iter().map(|(id,)| id).collect(),
        is_suppressed: suppressed > 0,
        asked_at: last.map(|(at,)| at),
        asked_this_hour: tx.number("SELECT COUNT(*) FROM wish WHERE asked_at > $1", values![now - HOUR_MS]).await?,
    })
}

/// Whether a wish can still be confirmed: no person has decided about its message, and none does before this transaction ends.
pub(super) async fn is_open(tx: &mut Conn, now: i64, wish_id: i64) -> Result<bool, Error> {
    // A write, so that the row is held.
    let sql = "UPDATE inbound SET decided_at = $1 WHERE id = $2 AND (state = 'review'
                   OR EXISTS (SELECT 1 FROM wish w WHERE w.inbound_id = inbound.id AND w.confirmed_at IS NOT NULL))";
    Ok(tx.execute(sql, values![now, wish_id]).await? > 0)
}

/// A message that confirms a wish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirming<'a> {
    pub(super) wish_id: i64,
    pub(super) inbound_id: i64,
    pub(super) received_at: i64,
    /// Whose it is; made before, where there was no such contact.
    pub(super) contact_id: i64,
    pub(super) guests: Option<u32>,
    pub(super) words: &'a str,
    /// Who wrote it, by From.
    pub(super) from: &'a str,
}

#[derive(FromRow)]
struct StatedRow {
    campaign_id: i64,
    address_key: String,
    asked_at: i64,
    received_at: i64,
    own_words: Option<String>,
    guests: Option<i64>,
    says: Option<String>,
    question: Option<String>,
}

impl StatedRow {
    /// The guests of the first mail, where the question said so many: only then they are confirmed with it.
    fn confirmed_guests(&self) -> Option<u32> {
        let said: u32 = self.says.as_deref()?.rsplit(':').next()?.parse().ok()?;
        (said > 0 && self.guests == Some(i64::from(said))).then_some(said)
    }

    /// The words that confirm, then those of the first mail, which anybody may have written.
    fn comment(&self, confirmation: &str) -> String {
        let first = self.own_words.as_deref().filter(|words| !words.is_empty());
        let first = first.map(|words| format!("[first mail] {words}"));
        let words = [Some(confirmation.to_owned()).filter(|words| !words.is_empty()), first];
        words.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
    }
}

/// Puts the wish on record as its writer's yes, and keeps the proof of it (S-188). They were asked about this invitation alone, so
/// nothing makes them a member of the list that it goes to (S-180).
pub(super) async fn confirm(tx: &mut Conn, now: i64, by: Confirming<'_>) -> Result<(), Error> {
    let sql = "SELECT w.campaign_id, w.address_key, w.asked_at, i.received_at, i.own_words, i.guests, n.says,
                   n.body AS question
               FROM wish w JOIN inbound i ON i.id = w.inbound_id
               LEFT JOIN notice n ON n.inbound_id = w.inbound_id AND n.about = 'wish' WHERE w.inbound_id = $1";
    let stated = tx.first::<StatedRow>(sql, values![by.wish_id]).await?.ok_or(Error::Gone)?;
    let sql = "UPDATE wish SET confirmed_at = $1, confirmed_by = $2 WHERE inbound_id = $3 AND confirmed_at IS NULL";
    if tx.execute(sql, values![now, by.inbound_id, by.wish_id]).await? > 0 {
        let settled = close(tx, now, &stated, by.contact_id).await?;
        let event = Event::new("wish.confirmed", Cause::Inbound).inbound(by.inbound_id).contact(by.contact_id).campaign(stated.campaign_id);
        event::write(tx, now, &[event.detail(proof(&by, &stated, &settled))]).await?;
    }
    let asked = Asked {
        campaign_id: stated.campaign_id,
        contact_id: by.contact_id,
        delivery_id: None,
        inbound_id: Some(by.inbound_id),
        cause: Cause::Inbound,
    };
    let guests = by.guests.or(stated.confirmed_guests());
    let comment = stated.comment(by.words);
    let given = Given { choice: Choice::Yes, guests, comment, via: Via::Mail, given_at: by.received_at };
    answer::register(tx, now, asked, &given).await.map(|_| ())
}

/// What was written and when, what was asked, and what confirms it.
fn proof(by: &Confirming<'_>, stated: &StatedRow, settled: &[i64]) -> serde_json::Value {
    serde_json::json!({
        "wish": by.wish_id, "written": stated.own_words, "written_at": stated.received_at, "asked_at": stated.asked_at,
        "question": stated.question, "confirmed": by.words, "confirmed_at": by.received_at, "confirmed_by": by.from,
        "how": "a reply by mail to the signed address in the question", "settles": settled,
    })
}

/// All wishes of this address for the campaign wait no longer; they are its contact's now. Which messages those were.
async fn close(tx: &mut Conn, now: i64, stated: &StatedRow, contact_id: i64) -> Result<Vec<i64>, Error> {
    let sql = "UPDATE inbound SET state = 'applied', contact_id = $1, decided_at = $2, told_at = COALESCE(told_at, $2)
               WHERE state = 'review' AND id IN (SELECT inbound_id FROM wish WHERE address_key = $3 AND campaign_id = $4) RETURNING id";
    let settled: Vec<(i64,)> = tx.all(sql, values![contact_id, now, &stated.address_key, stated.campaign_id]).await?;
    Ok(settled.into_iter().map(|(id,)| id).collect())
}

/// Somebody who was asked wants no mail: their address gets none, whether there is a contact of it or not (S-186).
pub(super) async fn suppress_writer(tx: &mut Conn, now: i64, inbound_id: i64, wish_id: i64, reason: Reason) -> Result<(), Error> {
    let sql = "SELECT address_key FROM wish WHERE inbound_id = $1";
    let (key,) = tx.first::<(String,)>(sql, values![wish_id]).await?.ok_or(Error::Gone)?;
    let who = Suppress { address_key: &key, reason, cause: Cause::Inbound, inbound_id: Some(inbound_id), contact_id: None, note: "" };
    suppression::add(tx, now, &who).await.map(|_| ())
}
