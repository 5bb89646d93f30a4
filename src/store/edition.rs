//! Editions: opened once for each occurrence, and expanded to one delivery a contact in the same transaction. Nothing of one
//! leaves before it is checked.

use sqlx::FromRow;

use super::campaign::{DueCampaign, set_next};
use super::contact::{self, PersonRow};
use super::db::values;
use super::throttle::provider_of;
use super::{Error, Store, event};
use crate::model::contact::Contact;
use crate::model::event::{Cause, Event};
use crate::model::schedule::Occurrence;

/// What an edition is sent from: a snapshot, so that a change of the campaign does not change what is on its way.
#[derive(Clone, Debug, FromRow)]
pub struct Edition {
    /// The row.
    pub id: i64,
    /// The campaign's row.
    pub campaign_id: i64,
    /// The campaign's name.
    pub campaign: String,
    /// The campaign file, whole.
    pub source: String,
    /// The layout's templates, as JSON: name to text.
    pub layout: String,
    /// The key that signs this edition's tokens.
    pub key_id: i64,
}

/// What became of a firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The edition was opened and has this many deliveries.
    Now(u64),
    /// Another daemon opened it before.
    Before,
}

/// One statement, whatever the number of contacts. Suppressed people are left out.
const EXPAND: &str = "
    INSERT INTO delivery (edition_id, contact_id, state, due_at, attempts, repeats, provider)
    SELECT $1, m.contact_id, 'queued', $2, 0, 0, {provider}
    FROM membership m JOIN contact c ON c.id = m.contact_id JOIN campaign ca ON ca.list_id = m.list_id
    WHERE ca.id = $3 AND m.left_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.address_key = c.address_key)
    ORDER BY m.contact_id";

const SELECT: &str = "
    SELECT e.id, e.campaign_id, c.name AS campaign, e.source, e.layout, e.key_id FROM edition e JOIN campaign c ON c.id = e.campaign_id";

impl Store {
    /// Opens the edition of a firing, once: the unique key (campaign, slot) decides. In the same transaction its
    /// deliveries are made and the campaign moves on to its `next` firing.
    ///
    /// # Errors
    /// Where the database fails; then nothing happened.
    pub async fn open_edition(
        &self,
        now: i64,
        due: &DueCampaign,
        layout: &str,
        key_id: u8,
        next: Option<&Occurrence>,
    ) -> Result<Opened, Error> {
        let mut tx = self.db.begin().await?;
        if !set_next(&mut tx, due, next).await? {
            return Ok(Opened::Before);
        }
        let sql = "INSERT INTO edition (campaign_id, slot, source, layout, key_id, opened_at) VALUES ($1, $2, $3, $4, $5, $6)
                   ON CONFLICT (campaign_id, slot) DO NOTHING RETURNING id";
        let row = tx.first::<(i64,)>(sql, values![due.id, &due.slot, &due.source, layout, i64::from(key_id), now]).await?;
        let Some((id,)) = row else {
            tx.commit().await?;
            return Ok(Opened::Before);
        };
        let sql = EXPAND.replace("{provider}", &provider_of("c.address_key", tx.dialect()));
        let count = tx.execute(&sql, values![id, now, due.id]).await?;
        let detail = serde_json::json!({ "slot": due.slot, "deliveries": count });
        event::write(&mut tx, now, &[Event::new("edition.opened", Cause::Clock).campaign(due.id).detail(detail)]).await?;
        tx.commit().await?;
        Ok(Opened::Now(count))
    }

    /// The editions that wait to be checked, of campaigns that are active.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_unchecked(&self) -> Result<Vec<Edition>, Error> {
        let sql = format!("{SELECT} WHERE e.checked_at IS NULL AND c.state = 'active' ORDER BY e.id");
        self.db.read().await?.all(&sql, vec![]).await
    }

    /// Up to `limit` contacts to whom an edition waits to be sent, with ids above `after`, by id.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_recipients(&self, edition_id: i64, after: i64, limit: i64) -> Result<Vec<Contact>, Error> {
        let sql = format!(
            "SELECT {} FROM delivery d JOIN contact c ON c.id = d.contact_id
             WHERE d.edition_id = $1 AND d.contact_id > $2 AND d.state = 'queued' ORDER BY d.contact_id LIMIT $3 + 0",
            contact::COLUMNS
        );
        let rows: Vec<PersonRow> = self.db.read().await?.all(&sql, values![edition_id, after, limit]).await?;
        rows.into_iter().map(Contact::try_from).collect()
    }

    /// From now on the edition leaves. `false` where another daemon said so before.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn pass_edition(&self, now: i64, edition: &Edition, recipients: usize) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "UPDATE edition SET checked_at = $1 WHERE id = $2 AND checked_at IS NULL";
        if tx.execute(sql, values![now, edition.id]).await? == 0 {
            return Ok(false);
        }
        let detail = serde_json::json!({ "recipients": recipients });
        event::write(&mut tx, now, &[Event::new("edition.checked", Cause::Clock).campaign(edition.campaign_id).detail(detail)]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The snapshot of an edition.
    ///
    /// # Errors
    /// [`Error::Gone`] where there is none.
    pub async fn get_edition(&self, id: i64) -> Result<Edition, Error> {
        let sql = format!("{SELECT} WHERE e.id = $1");
        self.db.read().await?.first(&sql, values![id]).await?.ok_or(Error::Gone)
    }
}
