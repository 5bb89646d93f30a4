//! Mails to one person that are no edition: confirmations, and words to the organiser. Made once for each message.

use sqlx::FromRow;

use super::db::{self, Conn, values};
use super::delivery::{Settled, latest, settle_rows};
use super::{Error, Stop, Store, event};
use crate::model::event::{Cause, Event};

/// A message that nobody has been told of yet.
#[derive(Clone, Debug, Default, FromRow)]
pub struct Untold {
    /// The row of the message.
    pub id: i64,
    /// `applied`, `settled` or `review`.
    pub state: String,
    /// What sort of message.
    pub kind: Option<String>,
    /// What it means.
    pub intent: Option<String>,
    /// Guests besides the writer.
    pub guests: Option<i64>,
    /// The writer's own words.
    pub own_words: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Who wrote, by From.
    pub from_address: Option<String>,
    /// MAIL FROM, where known.
    pub envelope_from: Option<String>,
    /// Its Message-ID.
    pub message_id: Option<String>,
    /// Its References.
    pub reference_ids: Option<String>,
    /// Further things in it, as JSON.
    pub secondary: Option<String>,
    /// Why no automatic mail may answer it.
    pub no_reply_why: Option<String>,
    /// Why it waits.
    pub why: Option<String>,
    /// The delivery it came back to.
    pub delivery_id: Option<i64>,
    /// Whose it is.
    pub contact_id: Option<i64>,
    /// The contact's address.
    pub contact_address: Option<String>,
    /// The contact's first name.
    pub first_name: Option<String>,
    /// The contact's family name.
    pub last_name: Option<String>,
    /// The contact's language.
    pub contact_language: Option<String>,
    /// The campaign's row.
    pub campaign_id: Option<i64>,
    /// The campaign's name.
    pub campaign: Option<String>,
    /// The campaign's kind.
    pub campaign_kind: Option<String>,
    /// The campaign's language.
    pub campaign_language: Option<String>,
    /// The contact's answer that counts now, from whichever message: only what stands is confirmed.
    pub recorded: Option<String>,
    /// The guests of that answer.
    pub recorded_guests: Option<i64>,
    /// The language of its words; empty where unknown.
    pub language: Option<String>,
    /// The wish that it answers.
    pub wish_id: Option<i64>,
    /// Who is to be asked whether they wish what it says, where it states a wish.
    pub wish_address: Option<String>,
    /// The invitation's file form as it was last sent, where the message states a wish.
    pub campaign_source: Option<String>,
}

/// A notice to be sent.
#[derive(Clone, Debug)]
pub struct NewNotice {
    /// `confirmation`, `wish`, `question`, `review`, `writer`, `summary` or `rates`: with the message it makes the notice unique.
    pub about: &'static str,
    /// To whom.
    pub recipient: String,
    /// The contact, where it goes to one.
    pub contact_id: Option<i64>,
    /// What it says, in one word, e.g. `campaign:yes:1`, the last the number of guests: the same is not said twice in seven days (S-127).
    pub says: String,
    /// The subject.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// The Message-ID it answers, without brackets.
    pub in_reply_to: String,
    /// The References it carries, separated by blanks.
    pub references: String,
    /// The key that signs its tokens.
    pub key_id: u8,
    /// Its Reply-To: a token of the delivery or the wish, for the organiser the writer's address.
    pub reply_to: String,
}

/// Whom a notice went to, where that is not the organiser.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromRow)]
pub struct NoticeTo {
    /// The contact.
    pub contact_id: Option<i64>,
    /// The wish that it asks about.
    pub wish_id: Option<i64>,
}

/// A notice that this daemon may send until its lease ends.
#[derive(Clone, Debug, FromRow)]
pub struct ClaimedNotice {
    /// The row.
    pub id: i64,
    /// What it is about.
    pub about: String,
    /// To whom.
    pub recipient: String,
    /// The subject.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// The Message-ID it answers.
    pub in_reply_to: String,
    /// The References it carries.
    pub reference_ids: String,
    /// The key that signs its tokens.
    pub key_id: i64,
    /// Its Reply-To: a token of the delivery or the wish, for the organiser the writer's address.
    pub reply_to: String,
    /// Attempts, this one included.
    pub attempts: i64,
    /// When it was written: its Date.
    pub composed_at: i64,
    /// When an attempt first had an end; `None` where none had.
    pub first_attempt_at: Option<i64>,
    /// When this attempt was due.
    pub due_at: i64,
}

const CLAIM: &str = "
    WITH due AS MATERIALIZED (
        SELECT d.id FROM notice d WHERE d.state = 'queued' AND d.due_at <= $1 ORDER BY d.due_at, d.id LIMIT $2 + 0 {lock})
    UPDATE notice SET state = 'sending', attempts = attempts + 1, leased_by = $3, leased_until = $4
    WHERE id IN (SELECT id FROM due) AND state = 'queued'
    RETURNING id, about, recipient, subject, body, in_reply_to, reference_ids, key_id, reply_to, attempts, composed_at,
        first_attempt_at, due_at";

/// The same to the same person within this time is said once (S-127).
const ONCE_IN_MS: i64 = 7 * 24 * 3_600_000;
/// At most so many confirmations to one address in a day (S-127).
const A_DAY: i64 = 5;

impl Store {
    /// Up to `limit` messages that somebody is to be told of, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_untold(&self, limit: i64) -> Result<Vec<Untold>, Error> {
        let sql = "SELECT i.id, i.state, i.kind, i.intent, i.guests, i.own_words, i.subject, i.from_address, i.envelope_from, i.message_id,
                       i.reference_ids, i.secondary, i.no_reply_why, i.why, i.delivery_id, i.contact_id, c.address AS contact_address,
                       c.first_name, c.last_name, c.language AS contact_language, i.campaign_id, ca.name AS campaign, ca.kind AS campaign_kind,
                       ca.language AS campaign_language, a.choice AS recorded, a.guests AS recorded_guests,
                       i.language, i.wish_id, w.address AS wish_address,
                       CASE WHEN w.inbound_id IS NOT NULL THEN COALESCE(
                           (SELECT e.source FROM edition e WHERE e.campaign_id = ca.id ORDER BY e.id DESC LIMIT 1), ca.source) END
                           AS campaign_source
                   FROM inbound i LEFT JOIN contact c ON c.id = i.contact_id LEFT JOIN campaign ca ON ca.id = i.campaign_id
                   LEFT JOIN wish w ON w.inbound_id = i.id
                   LEFT JOIN answer a ON a.campaign_id = i.campaign_id AND a.contact_id = i.contact_id AND a.superseded_at IS NULL
                   WHERE i.told_at IS NULL AND i.state IN ('applied', 'review', 'settled') ORDER BY i.id LIMIT $1";
        self.db.read().await?.all(sql, values![limit]).await
    }

    /// Queues the notices about a message and marks it told, in one transaction and once.
    ///
    /// # Errors
    /// Where the database fails; then the message stays untold.
    pub async fn tell(&self, now: i64, about: &Untold, notices: &[NewNotice]) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "UPDATE inbound SET told_at = $1 WHERE id = $2 AND told_at IS NULL";
        if tx.execute(sql, values![now, about.id]).await? == 0 {
            return Ok(0);
        }
        let mut queued = 0;
        for notice in notices {
            if said_before(&mut tx, now, notice).await? {
                continue;
            }
            if !queue(&mut tx, now, Some(about.id), notice).await? {
                continue;
            }
            queued += 1;
            let event = Event::new("notice.queued", Cause::Inbound).inbound(about.id).contact(about.contact_id).campaign(about.campaign_id);
            event::write(&mut tx, now, &[event.detail(serde_json::json!({ "about": notice.about, "says": notice.says }))]).await?;
        }
        tx.commit().await?;
        Ok(queued)
    }

    /// To whom a notice went; nobody where it is unknown, or went to the organiser.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_notice_to(&self, id: i64) -> Result<NoticeTo, Error> {
        let sql = "SELECT COALESCE(n.contact_id, c.id) AS contact_id, w.inbound_id AS wish_id
                   FROM notice n LEFT JOIN wish w ON w.inbound_id = n.inbound_id AND n.about = 'wish'
                   LEFT JOIN contact c ON c.address_key = w.address_key WHERE n.id = $1";
        Ok(self.db.read().await?.first(sql, values![id]).await?.unwrap_or_default())
    }

    /// The words to an organiser since a time, and the summaries among them: `(words, summaries)`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn count_words_to(&self, recipient: &str, since: i64) -> Result<(i64, i64), Error> {
        let sql = "SELECT COUNT(*), COUNT(CASE WHEN about = 'summary' THEN 1 END) FROM notice
                   WHERE recipient = $1 AND composed_at > $2 AND about NOT IN ('confirmation', 'wish')";
        self.db.read().await?.first::<(i64, i64)>(sql, values![recipient, since]).await?.ok_or(Error::Gone)
    }

    /// Claims notices alone.
    #[cfg(test)]
    pub(crate) async fn claim_notices(&self, now: i64, limit: i64, holder: &str, leased_until: i64) -> Result<Vec<ClaimedNotice>, Error> {
        let mut tx = self.db.begin().await?;
        let claimed = claim(&mut tx, now, limit, holder, leased_until).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// Whether a notice must not leave any more. The one that confirms an opt-out is the last mail there is.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn stop_of_notice(&self, id: i64) -> Result<Option<Stop>, Error> {
        let sql = "SELECT n.id FROM notice n JOIN contact c ON c.id = n.contact_id JOIN suppression s ON s.address_key = c.address_key
                   WHERE n.id = $1 AND (n.says <> 'unsubscribe' OR s.reason <> 'unsubscribed')
                   UNION ALL
                   SELECT n.id FROM notice n JOIN wish w ON w.inbound_id = n.inbound_id JOIN suppression s ON s.address_key = w.address_key
                   WHERE n.id = $1 AND n.about = 'wish'";
        let row = self.db.read().await?.first::<(i64,)>(sql, values![id]).await?;
        Ok(row.map(|_| Stop::Suppressed))
    }

    /// Settles attempts on notices. The ids that were really held.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn settle_notices(&self, now: i64, holder: &str, settled: &[Settled]) -> Result<Vec<i64>, Error> {
        if settled.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        let held = settle_rows(&mut tx, now, "notice", holder, &latest(settled)).await?;
        let events = ended(&mut tx, &held).await?;
        event::write(&mut tx, now, &events).await?;
        tx.commit().await?;
        Ok(held)
    }
}

/// Queues a notice; `false` where there is one about the same message already. One about no message is queued each time.
pub(super) async fn queue(tx: &mut Conn, now: i64, inbound_id: Option<i64>, notice: &NewNotice) -> Result<bool, Error> {
    let sql = "INSERT INTO notice (inbound_id, about, recipient, contact_id, says, subject, body, in_reply_to, reference_ids,
                   key_id, reply_to, state, due_at, attempts, repeats, composed_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'queued', $12, 0, 0, $12)
               ON CONFLICT (inbound_id, about) DO NOTHING";
    let values = values![
        inbound_id,
        notice.about,
        &notice.recipient,
        notice.contact_id,
        &notice.says,
        &notice.subject,
        &notice.body,
        &notice.in_reply_to,
        &notice.references,
        i64::from(notice.key_id),
        &notice.reply_to,
        now
    ];
    Ok(tx.execute(sql, values).await? > 0)
}

/// Claims up to `limit` notices that are due.
pub(super) async fn claim(tx: &mut Conn, now: i64, limit: i64, holder: &str, leased_until: i64) -> Result<Vec<ClaimedNotice>, Error> {
    let sql = CLAIM.replace("{lock}", tx.dialect().skip_locked());
    tx.all(&sql, values![now, limit, holder, leased_until]).await
}

/// The same line for each of several notices, by the clock.
pub(super) async fn events_about(tx: &mut Conn, ids: &[(i64,)], what: &'static str) -> Result<Vec<Event>, Error> {
    let ids: Vec<i64> = ids.iter().map(|(id,)| *id).collect();
    let sql = format!("SELECT about, inbound_id, contact_id FROM notice WHERE id {}", tx.dialect().among(1));
    let rows: Vec<(String, Option<i64>, Option<i64>)> = tx.all(&sql, vec![db::ids(&ids)]).await?;
    let line = |(about, inbound, contact): (String, Option<i64>, Option<i64>)| {
        Event::new(what, Cause::Clock).inbound(inbound).contact(contact).detail(serde_json::json!({ "about": about }))
    };
    Ok(rows.into_iter().map(line).collect())
}

async fn said_before(tx: &mut Conn, now: i64, notice: &NewNotice) -> Result<bool, Error> {
    if notice.about != "confirmation" {
        return Ok(false);
    }
    // The latest thing said counts: yes, then no, then yes again is worth three confirmations.
    let sql = "SELECT says, composed_at FROM notice WHERE recipient = $1 AND about = 'confirmation' AND composed_at > $2
               ORDER BY id DESC LIMIT $3";
    let week: Vec<(String, i64)> = tx.all(sql, values![&notice.recipient, now - ONCE_IN_MS, A_DAY]).await?;
    let same = week.first().is_some_and(|(says, _)| *says == notice.says);
    let today = week.iter().filter(|(_, at)| *at > now - 24 * 3_600_000).count();
    Ok(same || i64::try_from(today).unwrap_or(A_DAY) >= A_DAY)
}

#[derive(FromRow)]
struct EndedRow {
    about: String,
    state: String,
    code: Option<i64>,
    reply: Option<String>,
    inbound_id: Option<i64>,
    contact_id: Option<i64>,
}

async fn ended(tx: &mut Conn, ids: &[i64]) -> Result<Vec<Event>, Error> {
    let sql = format!("SELECT about, state, code, reply, inbound_id, contact_id FROM notice WHERE id {}", tx.dialect().among(1));
    let rows: Vec<EndedRow> = tx.all(&sql, vec![db::ids(ids)]).await?;
    Ok(rows
        .into_iter()
        .filter(|row| row.state != "queued" || row.code.is_some())
        .map(|row| {
            let what = match row.state.as_str() {
                "sent" => "notice.sent",
                "queued" => "notice.deferred",
                "uncertain" => "notice.uncertain",
                "suppressed" => "notice.suppressed",
                _ => "notice.failed",
            };
            let detail = serde_json::json!({ "about": row.about, "code": row.code, "reply": row.reply });
            Event::new(what, Cause::Relay).inbound(row.inbound_id).contact(row.contact_id).detail(detail)
        })
        .collect())
}
