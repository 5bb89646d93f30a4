//! How far the newest edition of a campaign has come: counted by its deliveries' states, for somebody who waits for its end.

use sqlx::FromRow;

use super::db::values;
use super::delivery::MOST_REPEATS;
use super::{Error, OnUncertain, Store};
use crate::model::campaign::State;

/// How far a campaign's newest edition has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the campaign stands.
    pub state: State,
    /// Why it is paused, where the reason is not a person's command.
    pub paused_why: Option<String>,
    /// When it sends next, in milliseconds since 1970.
    pub next_at: Option<i64>,
    /// The edition; none before the first was opened.
    pub edition_id: Option<i64>,
    /// Its deliveries.
    pub counts: Counts,
}

/// Deliveries of one edition, by what they wait for or how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Counts {
    /// All of them.
    pub total: i64,
    /// The relay took them.
    pub sent: i64,
    /// Refused, bounced, or given up.
    pub failed: i64,
    /// Nobody knows whether they arrived.
    pub uncertain: i64,
    /// Of these, those that are not repeated any more by themselves.
    pub uncertain_for_good: i64,
    /// Stopped by a suppression, or by the organiser.
    pub stopped: i64,
    /// Wait for a later attempt.
    pub later: i64,
    /// When the first of these is tried, in milliseconds since 1970.
    pub next_try_at: Option<i64>,
}

impl Counts {
    /// Those that are not at an end.
    #[must_use]
    pub fn open(&self, on_uncertain: OnUncertain) -> i64 {
        let uncertain = if on_uncertain == OnUncertain::Hold { self.uncertain } else { self.uncertain_for_good };
        self.total - self.sent - self.failed - self.stopped - uncertain
    }
}

fn counts() -> String {
    format!(
        "SELECT COUNT(*) AS total, COUNT(CASE WHEN state = 'sent' THEN 1 END) AS sent, COUNT(CASE WHEN state = 'failed' THEN 1 END) AS failed,
             COUNT(CASE WHEN state = 'uncertain' THEN 1 END) AS uncertain,
             COUNT(CASE WHEN state = 'uncertain' AND repeats >= {MOST_REPEATS} THEN 1 END) AS uncertain_for_good,
             COUNT(CASE WHEN state IN ('suppressed', 'cancelled') THEN 1 END) AS stopped,
             COUNT(CASE WHEN state = 'queued' AND due_at > $2 THEN 1 END) AS later,
             MIN(CASE WHEN state = 'queued' AND due_at > $2 THEN due_at END) AS next_try_at
         FROM delivery WHERE edition_id = $1"
    )
}

impl Store {
    /// How far a campaign's newest edition has come.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is no such campaign.
    pub async fn progress(&self, now: i64, name: &str) -> Result<Progress, Error> {
        let campaign = self.get_campaign(name).await?;
        let mut conn = self.db.read().await?;
        let sql = "SELECT id FROM edition WHERE campaign_id = $1 ORDER BY id DESC LIMIT 1";
        let edition_id = conn.first::<(i64,)>(sql, values![campaign.id]).await?.map(|(id,)| id);
        let counts = match edition_id {
            Some(id) => conn.first(&counts(), values![id, now]).await?.ok_or(Error::Gone)?,
            None => Counts::default(),
        };
        Ok(Progress { state: campaign.state, paused_why: campaign.paused_why, next_at: campaign.next_at, edition_id, counts })
    }
}
