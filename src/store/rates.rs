//! What the rates of a campaign are counted from (S-54, S-55), and what follows from them: a pause or a warning, with its event and the
//! word to the organiser in one transaction.

use sqlx::FromRow;

use super::db::values;
use super::{Error, NewNotice, Store, campaign, event, notice};
use crate::model::event::{Cause, Event};
use crate::model::rates::Tally;

/// The newest edition of a campaign that is active, while something of it waits or it is young.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Judged {
    /// The campaign's row.
    pub campaign_id: i64,
    /// Its name.
    pub campaign: String,
    /// The edition.
    pub edition_id: i64,
    /// From when its mails are counted, in milliseconds since 1970: its opening, or a person's word to go on.
    pub since: i64,
    /// When the organiser was warned; none where that was before `since`, or never.
    pub warned_at: Option<i64>,
}

const JUDGED: &str = "
    SELECT ca.id AS campaign_id, ca.name AS campaign, e.id AS edition_id,
        CASE WHEN ca.judged_from > e.opened_at THEN ca.judged_from ELSE e.opened_at END AS since,
        CASE WHEN ca.warned_at >= e.opened_at THEN ca.warned_at END AS warned_at
    FROM campaign ca JOIN edition e ON e.id = (SELECT MAX(n.id) FROM edition n WHERE n.campaign_id = ca.id)
    WHERE ca.state = 'active' AND (e.opened_at > $1
        OR (SELECT d.id FROM delivery d WHERE d.state = 'queued' AND d.edition_id = e.id ORDER BY d.provider, d.due_at, d.id LIMIT 1) IS NOT NULL)
    ORDER BY ca.id";

/// So long after its opening an edition is judged though nothing of it waits, in milliseconds: complaints come late.
const YOUNG: i64 = 14 * 86_400_000;

/// By the addresses that were found dead since, which are few, and not by the mails.
const HARD_BOUNCES: &str = "
    SELECT COUNT(*) FROM suppression s JOIN contact c ON c.address_key = s.address_key JOIN delivery d ON d.contact_id = c.id
    WHERE s.reason = 'hard_bounce' AND s.suppressed_at >= $2 AND d.edition_id = $1 AND d.state = 'failed' AND d.first_attempt_at >= $2";

const COMPLAINTS: &str = "
    SELECT COUNT(DISTINCT d.id) FROM inbound i JOIN delivery d ON d.id = i.delivery_id
    WHERE i.campaign_id = $3 AND i.kind = 'complaint' AND i.state IN ('applied', 'settled') AND d.edition_id = $1 AND d.first_attempt_at >= $2";

const MAILS: &str = "SELECT COUNT(*) FROM delivery WHERE edition_id = $1 AND state IN ('sent', 'failed') AND first_attempt_at >= $2";

impl Store {
    /// The newest editions of active campaigns.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_judged(&self, now: i64) -> Result<Vec<Judged>, Error> {
        self.db.read().await?.all(JUDGED, values![now - YOUNG]).await
    }

    /// What was counted of an edition. The mails are counted only where there is something to compare them with: it is nought otherwise.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn tally(&self, judged: &Judged) -> Result<Tally, Error> {
        let mut conn = self.db.read().await?;
        let of_edition = || values![judged.edition_id, judged.since];
        let hard_bounces = conn.number(HARD_BOUNCES, of_edition()).await?;
        let complaints = conn.number(COMPLAINTS, values![judged.edition_id, judged.since, judged.campaign_id]).await?;
        let mails = if hard_bounces + complaints > 0 { conn.number(MAILS, of_edition()).await? } else { 0 };
        let whole = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Tally { mails: whole(mails), hard_bounces: whole(hard_bounces), complaints: whole(complaints) })
    }

    /// Pauses a campaign for its rates and queues the word to the organiser.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not active any more, or a person has resumed it since it was judged.
    pub async fn pause_for_rates(&self, now: i64, judged: &Judged, why: &str, word: Option<&NewNotice>) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let sql = "SELECT COUNT(*) FROM campaign WHERE id = $1 AND judged_from > $2";
        if tx.number(sql, values![judged.campaign_id, judged.since]).await? > 0 {
            return Err(Error::Refused(format!("{} was resumed since it was judged", judged.campaign)));
        }
        campaign::pause(&mut tx, now, &judged.campaign, Cause::Clock, Some(why)).await?;
        if let Some(word) = word {
            notice::queue(&mut tx, now, None, word).await?;
        }
        tx.commit().await
    }

    /// Keeps that the organiser was warned of a campaign's rates, and queues the word; `false` where another daemon did.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn warn_of_rates(&self, now: i64, judged: &Judged, why: &str, word: Option<&NewNotice>) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "UPDATE campaign SET warned_at = $1 WHERE id = $2 AND COALESCE(warned_at, 0) = $3";
        let before = "SELECT COALESCE(warned_at, 0) FROM campaign WHERE id = $1";
        let last = tx.number(before, values![judged.campaign_id]).await?;
        if last >= judged.since || tx.execute(sql, values![now, judged.campaign_id, last]).await? == 0 {
            return Ok(false);
        }
        let event = Event::new("campaign.warned", Cause::Clock).campaign(judged.campaign_id);
        event::write(&mut tx, now, &[event.detail(serde_json::json!({ "why": why }))]).await?;
        if let Some(word) = word {
            notice::queue(&mut tx, now, None, word).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
