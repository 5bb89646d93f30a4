//! Who must not be mailed. From the commit of a row here no new mail to that address starts, on any node.

use super::db::{Conn, values};
use super::{Error, Store, event};
use crate::model::address::Address;
use crate::model::event::{Cause, Event};
use crate::model::suppression::Reason;

/// Who is to be suppressed, and what made it so.
pub(super) struct Suppress<'a> {
    pub(super) address_key: &'a str,
    pub(super) reason: Reason,
    pub(super) cause: Cause,
    pub(super) inbound_id: Option<i64>,
    pub(super) contact_id: Option<i64>,
    pub(super) note: &'a str,
}

/// Suppresses an address; `false` where it already was. A complaint outranks every other reason (S-247).
pub(super) async fn add(tx: &mut Conn, now: i64, who: &Suppress<'_>) -> Result<bool, Error> {
    let sql = "INSERT INTO suppression (address_key, reason, inbound_id, note, suppressed_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (address_key) DO UPDATE SET reason = excluded.reason, inbound_id = excluded.inbound_id
               WHERE excluded.reason = 'complaint' AND suppression.reason <> 'complaint'";
    let changed = tx.execute(sql, values![who.address_key, who.reason.as_str(), who.inbound_id, who.note, now]).await? > 0;
    if changed {
        let detail = serde_json::json!({ "reason": who.reason.as_str(), "note": who.note });
        let event = Event::new("contact.suppressed", who.cause).contact(who.contact_id).inbound(who.inbound_id).detail(detail);
        event::write(tx, now, &[event]).await?;
    }
    Ok(changed)
}

impl Store {
    /// Suppresses an address on an operator's word.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn suppress(&self, now: i64, address: &Address, reason: Reason, note: &str) -> Result<bool, Error> {
        let contact = self.find_contact(address).await?;
        let mut tx = self.db.begin().await?;
        let key = address.key();
        let contact_id = contact.map(|c| c.id);
        let who = Suppress { address_key: &key, reason, cause: Cause::Operator, inbound_id: None, contact_id, note };
        let changed = add(&mut tx, now, &who).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Lets mail go to an address again, on an operator's word (S-139). The reason that is lifted; `None` where there was none.
    ///
    /// # Errors
    /// [`Error::Refused`] for a complaint or an erasure (S-247).
    pub async fn allow(&self, now: i64, address: &Address, note: &str) -> Result<Option<Reason>, Error> {
        let contact_id = self.find_contact(address).await?.map(|c| c.id);
        let mut tx = self.db.begin().await?;
        let sql = "SELECT reason FROM suppression WHERE address_key = $1";
        let Some((word,)) = tx.first::<(String,)>(sql, values![address.key()]).await? else { return Ok(None) };
        let reason = Reason::from_word(&word).ok_or_else(|| Error::Foreign(format!("reason {word}")))?;
        if !reason.may_be_lifted() {
            return Err(Error::Refused(format!(
                "{address} is suppressed for good ({reason}): only the person can take that back, not an operator"
            )));
        }
        // A complaint that comes in between is not lifted with it.
        let sql = "DELETE FROM suppression WHERE address_key = $1 AND reason = $2";
        if tx.execute(sql, values![address.key(), reason.as_str()]).await? == 0 {
            return Err(Error::Gone);
        }
        let detail = serde_json::json!({ "before": reason, "note": note });
        event::write(&mut tx, now, &[Event::new("contact.allowed", Cause::Operator).contact(contact_id).detail(detail)]).await?;
        tx.commit().await?;
        Ok(Some(reason))
    }

    /// Why an address is suppressed, if it is: `(reason, since)`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn suppression_of(&self, address: &Address) -> Result<Option<(Reason, i64)>, Error> {
        let sql = "SELECT reason, suppressed_at FROM suppression WHERE address_key = $1";
        let row = self.db.read().await?.first::<(String, i64)>(sql, values![address.key()]).await?;
        row.map(|(reason, at)| Reason::from_word(&reason).map(|r| (r, at)).ok_or(Error::Foreign(format!("reason {reason}")))).transpose()
    }
}
