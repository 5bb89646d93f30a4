//! Campaigns: added as drafts, started, paused, resumed, cancelled.

use sqlx::FromRow;

use super::db::{Conn, values};
use super::{Error, Store, contact, event};
use crate::model::campaign::{CampaignFile, Kind, State};
use crate::model::event::{Cause, Event};
use crate::model::schedule::Occurrence;

/// A campaign as it is kept.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Invitation or newsletter.
    pub kind: Kind,
    /// Where it stands.
    pub state: State,
    /// The name of its list.
    pub list: String,
    /// The language of its words.
    pub language: String,
    /// The campaign file, whole.
    pub source: String,
    /// When it was started, in milliseconds since 1970.
    pub started_at: Option<i64>,
    /// When it sends next.
    pub next_at: Option<i64>,
    /// Why it is paused, where the reason is not a person's command.
    pub paused_why: Option<String>,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    name: String,
    kind: String,
    state: String,
    list: String,
    language: String,
    source: String,
    started_at: Option<i64>,
    next_at: Option<i64>,
    paused_why: Option<String>,
}

impl TryFrom<Row> for Campaign {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self, Error> {
        let foreign = |what: &str| Error::Foreign(format!("campaign's {what}"));
        Ok(Self {
            id: row.id,
            name: row.name,
            kind: Kind::from_word(&row.kind).ok_or_else(|| foreign("kind"))?,
            state: State::from_word(&row.state).ok_or_else(|| foreign("state"))?,
            list: row.list,
            language: row.language,
            source: row.source,
            started_at: row.started_at,
            next_at: row.next_at,
            paused_why: row.paused_why,
        })
    }
}

/// A campaign whose time has come.
#[derive(Clone, Debug, FromRow)]
pub struct DueCampaign {
    /// The row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The campaign file, whole.
    pub source: String,
    /// The wall time that has come.
    pub slot: String,
    /// The instant it was planned for.
    pub at: i64,
    /// When the campaign was started.
    pub started_at: i64,
}

const SELECT: &str = "
    SELECT c.id, c.name, c.kind, c.state, l.name AS list, c.language, c.source, c.started_at, c.next_at, c.paused_why
    FROM campaign c JOIN list l ON l.id = c.list_id";

async fn named(conn: &mut Conn, name: &str) -> Result<Campaign, Error> {
    let row = conn.first::<Row>(&format!("{SELECT} WHERE c.name = $1"), values![name]).await?;
    let missing = || Error::Unknown { noun: "campaign", name: name.to_owned(), remedy: "svar campaign list shows those there are" };
    row.ok_or_else(missing)?.try_into()
}

impl Store {
    /// Adds a campaign as a draft, or replaces the draft of that name. `false` where it is the same already.
    ///
    /// # Errors
    /// Where a campaign of that name has been started: what was sent is not rewritten.
    pub async fn add_campaign(&self, now: i64, file: &CampaignFile, source: &str) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let list_id = contact::list_id(&mut tx, now, &file.list).await?;
        let on_yes = match &file.on_yes {
            Some(list) => Some(contact::list_id(&mut tx, now, list).await?),
            None => None,
        };
        let old = match named(&mut tx, &file.name).await {
            Ok(campaign) => Some(campaign),
            Err(Error::Unknown { .. }) => None,
            Err(error) => return Err(error),
        };
        let id = match old {
            Some(old) if old.source == source && old.state != State::Cancelled => return Ok(false),
            // A draft that was cancelled has sent nothing: its name is free.
            Some(old) if old.state != State::Draft && old.started_at.is_some() => {
                return Err(Error::Refused(format!(
                    "campaign \"{}\" has been started; give the new text another name, so that the history stays true",
                    old.name
                )));
            }
            Some(old) => {
                let sql = "UPDATE campaign SET state = 'draft', kind = $1, list_id = $2, on_yes_list_id = $3, language = $4, source = $5, updated_at = $6
                           WHERE id = $7";
                tx.execute(sql, values![file.kind.as_str(), list_id, on_yes, &file.language, source, now, old.id]).await?;
                old.id
            }
            None => {
                let sql = "INSERT INTO campaign (name, kind, state, list_id, on_yes_list_id, language, source, created_at, updated_at)
                           VALUES ($1, $2, 'draft', $3, $4, $5, $6, $7, $7) RETURNING id";
                tx.number(sql, values![&file.name, file.kind.as_str(), list_id, on_yes, &file.language, source, now]).await?
            }
        };
        event::write(&mut tx, now, &[Event::new("campaign.added", Cause::Operator).campaign(id)]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The campaign of a name.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is none.
    pub async fn get_campaign(&self, name: &str) -> Result<Campaign, Error> {
        named(&mut self.db.read().await?, name).await
    }

    /// All campaigns, by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_campaigns(&self) -> Result<Vec<Campaign>, Error> {
        let rows = self.db.read().await?.all::<Row>(&format!("{SELECT} ORDER BY c.name"), vec![]).await?;
        rows.into_iter().map(Campaign::try_from).collect()
    }

    /// Starts a draft: from now on it sends when its time comes. `next` is its first firing.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is no draft.
    pub async fn start_campaign(&self, now: i64, name: &str, next: &Occurrence) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let campaign = named(&mut tx, name).await?;
        if campaign.state != State::Draft {
            return Err(refused(&campaign, "started; only a draft can: give the text another name"));
        }
        let sql = "UPDATE campaign SET state = 'active', started_at = $1, next_at = $2, next_slot = $3, updated_at = $1
                   WHERE id = $4 AND state = 'draft'";
        tx.execute(sql, values![now, next.at.timestamp_millis(), &next.slot, campaign.id]).await?;
        let detail = serde_json::json!({ "next": next.at.to_rfc3339(), "slot": next.slot });
        event::write(&mut tx, now, &[Event::new("campaign.started", Cause::Operator).campaign(campaign.id).detail(detail)]).await?;
        tx.commit().await
    }

    /// Pauses a campaign: nothing of it leaves until it is resumed.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not active.
    pub async fn pause_campaign(&self, now: i64, name: &str, cause: Cause, why: Option<&str>) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        pause(&mut tx, now, name, cause, why).await?;
        tx.commit().await
    }

    /// Resumes a paused campaign: its rates are counted anew (S-54, S-55). A one-off whose time passed meanwhile is sent now; a series goes on by its plan, where a
    /// firing that is too late is skipped (S-166).
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not paused.
    pub async fn resume_campaign(&self, now: i64, name: &str) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let campaign = change(&mut tx, now, name, &[State::Paused], State::Active, ("campaign.resumed", Cause::Operator), None).await?;
        tx.execute("UPDATE campaign SET judged_from = $1, warned_at = NULL WHERE id = $2", values![now, campaign.id]).await?;
        if !CampaignFile::parse(&campaign.source).is_ok_and(|file| file.send.recurs()) {
            tx.execute("UPDATE campaign SET next_at = $1 WHERE id = $2 AND next_at < $1", values![now, campaign.id]).await?;
        }
        tx.commit().await
    }

    /// Cancels a campaign for good; what still waits is cancelled with it. The number of those deliveries.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is cancelled already.
    pub async fn cancel_campaign(&self, now: i64, name: &str) -> Result<u64, Error> {
        let from = [State::Draft, State::Active, State::Paused];
        let mut tx = self.db.begin().await?;
        let campaign = change(&mut tx, now, name, &from, State::Cancelled, ("campaign.cancelled", Cause::Operator), None).await?;
        let sql = "UPDATE delivery SET state = 'cancelled', settled_at = $1
                   WHERE state = 'queued' AND edition_id IN (SELECT id FROM edition WHERE campaign_id = $2) RETURNING id, contact_id";
        let stopped: Vec<(i64, i64)> = tx.all(sql, values![now, campaign.id]).await?;
        event::write(&mut tx, now, &about_each(&stopped, "delivery.cancelled", campaign.id, serde_json::Value::Null)).await?;
        tx.commit().await?;
        Ok(stopped.len() as u64)
    }

    /// Queues a campaign's failed deliveries again, as if they had never been tried, but for their history and Message-ID.
    /// Those of suppressed people stay failed. The number of rows.
    ///
    /// # Errors
    /// [`Error::Refused`] where the campaign is neither active nor paused.
    pub async fn retry_failed(&self, now: i64, name: &str) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let campaign = under_way(&mut tx, name, "retried").await?;
        let sql = "UPDATE delivery SET state = 'queued', due_at = $1, attempts = 0, repeats = 0, first_attempt_at = NULL, settled_at = NULL
                   WHERE state = 'failed' AND edition_id IN (SELECT id FROM edition WHERE campaign_id = $2)
                     AND NOT EXISTS (SELECT 1 FROM contact c JOIN suppression s ON s.address_key = c.address_key WHERE c.id = delivery.contact_id)
                   RETURNING id, contact_id";
        let queued: Vec<(i64, i64)> = tx.all(sql, values![now, campaign.id]).await?;
        event::write(&mut tx, now, &about_each(&queued, "delivery.retried", campaign.id, serde_json::Value::Null)).await?;
        tx.commit().await?;
        Ok(queued.len() as u64)
    }

    /// Settles a campaign's uncertain deliveries on a person's word: they arrived, or (`again`) they are sent again with the
    /// same Message-ID. The number of rows.
    ///
    /// # Errors
    /// [`Error::Refused`] where the campaign is neither active nor paused.
    pub async fn settle_uncertain(&self, now: i64, name: &str, again: bool) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let campaign = under_way(&mut tx, name, "settled").await?;
        let (change, what, note) = match again {
            true => {
                ("state = 'queued', due_at = $1, repeats = repeats + 1", "delivery.repeated", "may be sent twice, with the same Message-ID")
            }
            false => ("state = 'sent', settled_at = $1", "delivery.sent", "it was uncertain, and a person says that it arrived"),
        };
        let sql = format!(
            "UPDATE delivery SET {change} WHERE state = 'uncertain' AND edition_id IN (SELECT id FROM edition WHERE campaign_id = $2)
             RETURNING id, contact_id"
        );
        let settled: Vec<(i64, i64)> = tx.all(&sql, values![now, campaign.id]).await?;
        event::write(&mut tx, now, &about_each(&settled, what, campaign.id, serde_json::json!({ "note": note }))).await?;
        tx.commit().await?;
        Ok(settled.len() as u64)
    }

    /// The active campaigns whose time has come.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn due_campaigns(&self, now: i64) -> Result<Vec<DueCampaign>, Error> {
        let sql = "SELECT id, name, source, next_slot AS slot, next_at AS at, COALESCE(started_at, created_at) AS started_at
                   FROM campaign WHERE state = 'active' AND next_at <= $1 ORDER BY next_at, id";
        self.db.read().await?.all(sql, values![now]).await
    }

    /// Moves a campaign on to its next firing without sending this one, which is told in the history (S-166).
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn miss_occurrence(&self, now: i64, due: &DueCampaign, next: Option<&Occurrence>) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        if set_next(&mut tx, due, next).await? {
            let detail = serde_json::json!({ "slot": due.slot });
            event::write(&mut tx, now, &[Event::new("campaign.missed", Cause::Clock).campaign(due.id).detail(detail)]).await?;
        }
        tx.commit().await
    }
}

/// Pauses a campaign that is active.
pub(super) async fn pause(tx: &mut Conn, now: i64, name: &str, cause: Cause, why: Option<&str>) -> Result<(), Error> {
    change(tx, now, name, &[State::Active], State::Paused, ("campaign.paused", cause), why).await.map(|_| ())
}

/// Takes a campaign from one state to another, with its event; as it was before.
async fn change(
    tx: &mut Conn,
    now: i64,
    name: &str,
    from: &[State],
    to: State,
    (what, cause): (&'static str, Cause),
    why: Option<&str>,
) -> Result<Campaign, Error> {
    let campaign = named(tx, name).await?;
    if !from.contains(&campaign.state) {
        let verb = match to {
            State::Active => "resumed; only a paused one can",
            State::Paused => "paused; only an active one can",
            _ => "cancelled again",
        };
        return Err(refused(&campaign, verb));
    }
    let sql = "UPDATE campaign SET state = $1, paused_why = $2, updated_at = $3 WHERE id = $4 AND state = $5";
    if tx.execute(sql, values![to.as_str(), why, now, campaign.id, campaign.state.as_str()]).await? == 0 {
        return Err(Error::Gone);
    }
    let detail = why.map_or(serde_json::Value::Null, |why| serde_json::json!({ "why": why }));
    event::write(tx, now, &[Event::new(what, cause).campaign(campaign.id).detail(detail)]).await?;
    Ok(campaign)
}

/// A campaign whose deliveries a person may decide about.
async fn under_way(tx: &mut Conn, name: &str, verb: &str) -> Result<Campaign, Error> {
    let campaign = named(tx, name).await?;
    if matches!(campaign.state, State::Active | State::Paused) { Ok(campaign) } else { Err(refused(&campaign, verb)) }
}

/// The same line for each of several deliveries `(delivery, contact)` of a campaign, by a person.
fn about_each(deliveries: &[(i64, i64)], what: &'static str, campaign_id: i64, detail: serde_json::Value) -> Vec<Event> {
    let line = |(id, contact): &(i64, i64)| Event::new(what, Cause::Operator).delivery(*id).contact(*contact).campaign(campaign_id);
    deliveries.iter().map(|row| line(row).detail(detail.clone())).collect()
}

/// Sets the firing after this one; `false` where another daemon did.
pub(super) async fn set_next(tx: &mut Conn, due: &DueCampaign, next: Option<&Occurrence>) -> Result<bool, Error> {
    let sql = "UPDATE campaign SET next_at = $1, next_slot = $2 WHERE id = $3 AND next_slot = $4 AND next_at IS NOT NULL";
    let (at, slot) = (next.map(|o| o.at.timestamp_millis()), next.map(|o| o.slot.as_str()));
    Ok(tx.execute(sql, values![at, slot, due.id, &due.slot]).await? > 0)
}

fn refused(campaign: &Campaign, what: &str) -> Error {
    Error::Refused(format!("campaign \"{}\" is {} and cannot be {what}", campaign.name, campaign.state))
}
