//! Where a campaign stands, counted from the rows; nothing is kept that could differ from them (S-241).

use sqlx::FromRow;

use super::db::{Conn, values};
use super::{Error, Store};
use crate::model::campaign::Kind;

/// The counts of a campaign.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// Its name.
    pub campaign: String,
    /// Invitation or newsletter.
    pub kind: Kind,
    /// `draft`, `active`, `paused` or `cancelled`.
    pub state: String,
    /// Why it is paused, where the reason is not a person's command.
    pub paused_why: Option<String>,
    /// When it sends next, in milliseconds since 1970.
    pub next_at: Option<i64>,
    /// People it went or goes to; before its first edition, the members of its list who may be mailed.
    pub contacts: i64,
    /// Deliveries that wait.
    pub queued: i64,
    /// Deliveries that a daemon holds.
    pub sending: i64,
    /// Deliveries the relay took.
    pub sent: i64,
    /// Deliveries refused, bounced or given up.
    pub failed: i64,
    /// Deliveries that may have been sent.
    pub uncertain: i64,
    /// Deliveries stopped by a suppression.
    pub suppressed: i64,
    /// Deliveries stopped by the organiser.
    pub cancelled: i64,
    /// The answers that count.
    pub answers: Answers,
    /// People who come besides those who said yes.
    pub guests: i64,
    /// People of this campaign who want no more mail.
    pub unsubscribed: i64,
    /// Messages that wait for a person.
    pub review: i64,
    /// People who have the invitation and said nothing: no answer, no opt-out, nothing that waits for a person. Nobody where
    /// nothing is asked.
    pub silent: i64,
}

/// Answers that count.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Answers {
    /// Said yes.
    pub yes: i64,
    /// Said no.
    pub no: i64,
    /// Undecided.
    pub maybe: i64,
}

/// A message that came in lately, and what was made of it.
#[derive(Clone, Debug, FromRow)]
pub struct Recent {
    /// The row.
    pub id: i64,
    /// When it came, in milliseconds since 1970.
    pub received_at: i64,
    /// Who wrote.
    pub from_address: Option<String>,
    /// The contact's first name.
    pub first_name: Option<String>,
    /// The contact's family name.
    pub last_name: Option<String>,
    /// The writer's own words.
    pub own_words: Option<String>,
    /// What sort of message.
    pub kind: Option<String>,
    /// What it means.
    pub intent: Option<String>,
    /// Guests.
    pub guests: Option<i64>,
    /// How sure.
    pub confidence: Option<f64>,
    /// `applied`, `review`, `filed` or `settled`.
    pub state: String,
    /// Why, as JSON.
    pub evidence: Option<String>,
}

const SILENT: &str = "
    SELECT COUNT(DISTINCT d.contact_id) FROM delivery d JOIN edition e ON e.id = d.edition_id JOIN contact c ON c.id = d.contact_id
    WHERE e.campaign_id = $1 AND d.state IN ('sent', 'uncertain')
      AND NOT EXISTS (SELECT 1 FROM answer a WHERE a.campaign_id = $1 AND a.contact_id = d.contact_id AND a.superseded_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.address_key = c.address_key)
      AND NOT EXISTS (SELECT 1 FROM inbound i WHERE i.campaign_id = $1 AND i.contact_id = d.contact_id AND i.state = 'review')";

const UNSUBSCRIBED: &str = "
    SELECT COUNT(DISTINCT d.contact_id) FROM delivery d JOIN edition e ON e.id = d.edition_id JOIN contact c ON c.id = d.contact_id
    JOIN suppression s ON s.address_key = c.address_key
    WHERE e.campaign_id = $1 AND s.reason IN ('unsubscribed', 'complaint', 'erased')";

const MEMBERS: &str = "
    SELECT COUNT(*) FROM membership m JOIN campaign ca ON ca.list_id = m.list_id JOIN contact c ON c.id = m.contact_id
    WHERE ca.id = $1 AND m.left_at IS NULL AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.address_key = c.address_key)";

impl Store {
    /// Where a campaign stands.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is no such campaign.
    pub async fn status(&self, name: &str) -> Result<Status, Error> {
        let campaign = self.get_campaign(name).await?;
        let id = campaign.id;
        let mut conn = self.db.read().await?;
        let mut status = Status {
            campaign: campaign.name,
            state: campaign.state.to_string(),
            paused_why: campaign.paused_why,
            next_at: campaign.next_at.filter(|_| campaign.state != crate::model::campaign::State::Cancelled),
            kind: campaign.kind,
            contacts: 0,
            queued: 0,
            sending: 0,
            sent: 0,
            failed: 0,
            uncertain: 0,
            suppressed: 0,
            cancelled: 0,
            answers: Answers::default(),
            guests: 0,
            unsubscribed: 0,
            review: 0,
            silent: 0,
        };
        count_deliveries(&mut conn, id, &mut status).await?;
        count_answers(&mut conn, id, &mut status).await?;
        if campaign.kind == Kind::Invitation {
            status.silent = conn.number(SILENT, values![id]).await?;
        }
        status.unsubscribed = conn.number(UNSUBSCRIBED, values![id]).await?;
        status.review = conn.number("SELECT COUNT(*) FROM inbound WHERE campaign_id = $1 AND state = 'review'", values![id]).await?;
        Ok(status)
    }

    /// How many messages wait for a person that are tied to no campaign.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn count_stray_reviews(&self) -> Result<i64, Error> {
        self.db.read().await?.number("SELECT COUNT(*) FROM inbound WHERE campaign_id IS NULL AND state = 'review'", vec![]).await
    }

    /// What still has to happen of itself: `(deliveries and notices queued or sending, messages not understood, messages not told)`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn count_open(&self) -> Result<(i64, i64, i64), Error> {
        let mut conn = self.db.read().await?;
        // each state by its partial index; both at once would read all that was sent
        let count =
            "SELECT (SELECT COUNT(*) FROM delivery WHERE state = 'queued') + (SELECT COUNT(*) FROM delivery WHERE state = 'sending')
                   + (SELECT COUNT(*) FROM notice WHERE state = 'queued') + (SELECT COUNT(*) FROM notice WHERE state = 'sending')";
        let out = conn.number(count, vec![]).await?;
        let stored = conn.number("SELECT COUNT(*) FROM inbound WHERE state = 'stored'", vec![]).await?;
        let untold = conn.number("SELECT COUNT(*) FROM inbound WHERE told_at IS NULL AND state <> 'stored'", vec![]).await?;
        Ok((out, stored, untold))
    }

    /// The messages that came last, newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn recent(&self, limit: i64) -> Result<Vec<Recent>, Error> {
        let sql =
            "SELECT i.id, i.received_at, i.from_address, c.first_name, c.last_name, i.own_words, i.kind, i.intent, i.guests, i.confidence,
                       i.state, i.evidence
                   FROM inbound i LEFT JOIN contact c ON c.id = i.contact_id WHERE i.state <> 'stored' ORDER BY i.id DESC LIMIT $1";
        self.db.read().await?.all(sql, values![limit]).await
    }
}

async fn count_deliveries(conn: &mut Conn, id: i64, status: &mut Status) -> Result<(), Error> {
    let sql = "SELECT d.state, COUNT(*) FROM delivery d JOIN edition e ON e.id = d.edition_id WHERE e.campaign_id = $1 GROUP BY d.state";
    for (state, count) in conn.all::<(String, i64)>(sql, values![id]).await? {
        match state.as_str() {
            "queued" => status.queued = count,
            "sending" => status.sending = count,
            "sent" => status.sent = count,
            "failed" => status.failed = count,
            "uncertain" => status.uncertain = count,
            "suppressed" => status.suppressed = count,
            "cancelled" => status.cancelled = count,
            _ => return Err(Error::Foreign(format!("state {state}"))),
        }
    }
    let sql = "SELECT COUNT(DISTINCT d.contact_id) FROM delivery d JOIN edition e ON e.id = d.edition_id WHERE e.campaign_id = $1";
    status.contacts = conn.number(sql, values![id]).await?;
    if status.contacts == 0 {
        status.contacts = conn.number(MEMBERS, values![id]).await?;
    }
    Ok(())
}

async fn count_answers(conn: &mut Conn, id: i64, status: &mut Status) -> Result<(), Error> {
    let sql = "SELECT choice, COUNT(*), CAST(COALESCE(SUM(guests), 0) AS BIGINT) FROM answer
               WHERE campaign_id = $1 AND superseded_at IS NULL GROUP BY choice";
    for (choice, count, guests) in conn.all::<(String, i64, i64)>(sql, values![id]).await? {
        match choice.as_str() {
            "yes" => {
                status.answers.yes = count;
                status.guests = guests;
            }
            "no" => status.answers.no = count,
            _ => status.answers.maybe = count,
        }
    }
    Ok(())
}
