//! Relays that told us off. Kept in the database, so that a restart alone does not begin to knock again (S-87).

use sqlx::FromRow;

use super::db::values;
use super::{Error, Store, event};
use crate::model::event::{Cause, Event};

/// A relay that is paused.
#[derive(Clone, Debug, FromRow, serde::Serialize)]
pub struct RelayPause {
    /// Its host name.
    pub name: String,
    /// Since when, in milliseconds since 1970.
    pub paused_at: i64,
    /// The relay's words.
    pub why: String,
}

impl Store {
    /// Pauses a relay; `false` where it already was.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn pause_relay(&self, now: i64, name: &str, why: &str) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let sql = "INSERT INTO relay (name, paused_at, why) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
        let changed = tx.execute(sql, values![name, now, why]).await? > 0;
        if changed {
            let detail = serde_json::json!({ "relay": name, "why": why });
            event::write(&mut tx, now, &[Event::new("relay.paused", Cause::Relay).detail(detail)]).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// Lets a relay be used again; `false` where it was not paused.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn resume_relay(&self, now: i64, name: &str) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let changed = tx.execute("DELETE FROM relay WHERE name = $1", values![name]).await? > 0;
        if changed {
            let detail = serde_json::json!({ "relay": name });
            event::write(&mut tx, now, &[Event::new("relay.resumed", Cause::Operator).detail(detail)]).await?;
        }
        tx.commit().await?;
        Ok(changed)
    }

    /// The relays that are paused.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn paused_relays(&self) -> Result<Vec<RelayPause>, Error> {
        self.db.read().await?.all("SELECT name, paused_at, why FROM relay ORDER BY name", vec![]).await
    }
}
