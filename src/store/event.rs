//! The history: append-only lines, written in the transaction of the change they tell of.

use serde_json::Value;
use sqlx::FromRow;

use super::db::{self, Conn, values};
use super::{Error, Store};
use crate::model::event::Event;

/// One line of somebody's history.
#[derive(Clone, Debug, FromRow)]
pub struct HistoryRow {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// `noun.verb`.
    pub what: String,
    /// `inbound`, `operator`, `clock` or `relay`.
    pub cause: String,
    /// The message behind it.
    pub inbound_id: Option<i64>,
    /// The delivery it is about.
    pub delivery_id: Option<i64>,
    /// The campaign's name.
    pub campaign: Option<String>,
    /// What else there is to know, as JSON.
    pub detail: String,
}

/// How many lines go into one statement.
const CHUNK: usize = 2_000;

/// Writes lines of history.
pub(super) async fn write(conn: &mut Conn, now: i64, events: &[Event]) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO event (at, what, cause, inbound_id, contact_id, campaign_id, delivery_id, detail)
         SELECT $2, value ->> 0, value ->> 1, CAST(value ->> 2 AS BIGINT), CAST(value ->> 3 AS BIGINT), CAST(value ->> 4 AS BIGINT),
             CAST(value ->> 5 AS BIGINT), value ->> 6 FROM {}",
        conn.dialect().each(1)
    );
    let row = |e: &Event| {
        let detail = if e.detail.is_null() { String::new() } else { e.detail.to_string() };
        serde_json::json!([e.what, e.cause.as_str(), e.inbound_id, e.contact_id, e.campaign_id, e.delivery_id, detail])
    };
    for chunk in events.chunks(CHUNK) {
        conn.execute(&sql, vec![db::rows(chunk.iter().map(row)), now.into()]).await?;
    }
    Ok(())
}

/// A contact's own lines, and the opening of each edition that they have a delivery of.
const OF_CONTACT: &str = "
    SELECT e.at, e.what, e.cause, e.inbound_id, e.delivery_id, c.name AS campaign, e.detail
    FROM event e LEFT JOIN campaign c ON c.id = e.campaign_id
    WHERE e.contact_id = $1
       OR (e.contact_id IS NULL AND e.what = 'edition.opened' AND e.campaign_id IN (
            SELECT ed.campaign_id FROM delivery d JOIN edition ed ON ed.id = d.edition_id WHERE d.contact_id = $1))
    ORDER BY e.at, e.id";

impl Store {
    /// Everything that happened to a contact, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn history(&self, contact_id: i64) -> Result<Vec<HistoryRow>, Error> {
        self.db.read().await?.all(OF_CONTACT, values![contact_id]).await
    }
}

impl HistoryRow {
    /// The detail as a value; null where there is none.
    #[must_use]
    pub fn detail(&self) -> Value {
        serde_json::from_str(&self.detail).unwrap_or(Value::Null)
    }
}
