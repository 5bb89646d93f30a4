//! Where each person of a campaign stands: who is behind the counts of its status, and why a mail failed.

use sqlx::FromRow;

use super::db::values;
use super::{Error, Store};
use crate::model::answer::Choice;
use crate::model::campaign::Kind;
use crate::model::delivery::State;
use crate::model::standing::{Known, Standing};
use crate::model::suppression::Reason;

/// One person of a campaign: their answer, and their last mail of it.
#[derive(Clone, Debug, FromRow, serde::Serialize)]
pub struct StandingRow {
    /// The contact's address.
    pub address: String,
    /// First name, empty where not known.
    pub first_name: String,
    /// Family name, likewise.
    pub last_name: String,
    /// The answer that counts.
    pub answer: Option<String>,
    /// People besides the contact.
    pub guests: Option<i64>,
    /// Where their last mail stands.
    pub mail: Option<String>,
    /// How often it was tried.
    pub attempts: Option<i64>,
    /// How often it was repeated after an end that nobody knows: so many times it may have come twice, the same mail.
    pub repeats: Option<i64>,
    /// When a mail that waits is tried next, in milliseconds since 1970.
    pub due_at: Option<i64>,
    /// When it was settled, likewise.
    pub settled_at: Option<i64>,
    /// The relay's code.
    pub code: Option<i64>,
    /// The relay's words, or those of a report.
    pub reply: Option<String>,
    /// Why they get no mail.
    pub suppressed: Option<String>,
    /// How many messages of theirs wait for a person.
    pub to_decide: i64,
}

const PEOPLE: &str = "
    SELECT c.address, c.first_name, c.last_name, a.choice AS answer, a.guests, d.state AS mail, d.attempts, d.repeats, d.due_at,
        d.settled_at, d.code, d.reply, s.reason AS suppressed,
        (SELECT COUNT(*) FROM inbound i WHERE i.campaign_id = $1 AND i.contact_id = c.id AND i.state = 'review') AS to_decide
    FROM contact c
    LEFT JOIN answer a ON a.campaign_id = $1 AND a.contact_id = c.id AND a.superseded_at IS NULL
    LEFT JOIN delivery d ON d.id = (
        SELECT MAX(l.id) FROM delivery l JOIN edition e ON e.id = l.edition_id WHERE l.contact_id = c.id AND e.campaign_id = $1)
    LEFT JOIN suppression s ON s.address_key = c.address_key
    WHERE d.id IS NOT NULL OR a.id IS NOT NULL
    ORDER BY c.last_name, c.first_name, c.address_key";

impl Store {
    /// The people of a campaign, by name; with `standing` only those who stand like that. Nobody before its first edition.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is no such campaign.
    pub async fn list_standing(&self, campaign: &str, standing: Option<Standing>) -> Result<Vec<StandingRow>, Error> {
        let campaign = self.get_campaign(campaign).await?;
        let rows: Vec<StandingRow> = self.db.read().await?.all(PEOPLE, values![campaign.id]).await?;
        let asks = campaign.kind == Kind::Invitation;
        Ok(rows.into_iter().filter(|row| standing.is_none_or(|standing| row.known(asks).is(standing))).collect())
    }
}

impl StandingRow {
    fn known(&self, asks: bool) -> Known {
        Known {
            asks,
            answer: self.answer.as_deref().and_then(Choice::from_word),
            mail: self.mail.as_deref().and_then(State::from_word),
            suppressed: self.suppressed.as_deref().and_then(Reason::from_word),
            to_decide: self.to_decide > 0,
        }
    }
}
