//! Answers. The one place where an answer goes on record: mail, page, telephone and command all end here.

use sqlx::FromRow;

use super::db::{Conn, values};
use super::{Error, Store, contact, event};
use crate::model::address::is_same;
use crate::model::answer::{Choice, Given, Meeting, Via, meet};
use crate::model::event::{Cause, Event};

/// Whose answer to what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) campaign_id: i64,
    pub(super) contact_id: i64,
    pub(super) delivery_id: Option<i64>,
    pub(super) inbound_id: Option<i64>,
    pub(super) cause: Cause,
}

/// An answer as it is listed.
#[derive(Clone, Debug, FromRow, serde::Serialize)]
pub struct AnswerRow {
    /// The contact's address.
    pub address: String,
    /// First name, empty where not known.
    pub first_name: String,
    /// Family name, likewise.
    pub last_name: String,
    /// `yes`, `no` or `maybe`.
    pub answer: String,
    /// People besides the contact, where something was said of them.
    pub guests: Option<i64>,
    /// The contact's words or an operator's note.
    pub comment: String,
    /// How it came.
    pub via: String,
    /// When, in milliseconds since 1970.
    pub given_at: i64,
    /// The message behind it.
    pub inbound_id: Option<i64>,
    /// Who wrote that message, where it was another than the contact (S-117); empty where it names nobody.
    pub written_by: Option<String>,
}

#[derive(FromRow)]
struct CurrentRow {
    id: i64,
    choice: String,
    guests: Option<i64>,
    comment: String,
    via: String,
    given_at: i64,
}

/// Puts an answer on record, by the rule of [`meet`]; joins the list that a yes leads to. Refused where nothing was asked.
pub(super) async fn register(tx: &mut Conn, now: i64, asked: Asked, given: &Given) -> Result<Meeting, Error> {
    let newsletter = "SELECT name FROM campaign WHERE id = $1 AND kind = 'newsletter'";
    if let Some((name,)) = tx.first::<(String,)>(newsletter, values![asked.campaign_id]).await? {
        return Err(Error::Refused(format!("campaign \"{name}\" is a newsletter: it asks nothing, so there is no answer to record")));
    }
    let sql = "SELECT id, choice, guests, comment, via, given_at FROM answer
               WHERE campaign_id = $1 AND contact_id = $2 AND superseded_at IS NULL";
    let current = tx.first::<CurrentRow>(sql, values![asked.campaign_id, asked.contact_id]).await?;
    let current = current.map(|row| Ok::<_, Error>((row.id, row.given()?))).transpose()?;
    let meeting = meet(current.as_ref().map(|(_, given)| given), given);
    let event = Event::new("answer.registered", asked.cause)
        .contact(asked.contact_id)
        .campaign(asked.campaign_id)
        .inbound(asked.inbound_id)
        .delivery(asked.delivery_id);
    let mut detail = serde_json::json!({ "answer": given.choice, "guests": given.guests, "via": given.via });
    if meeting != Meeting::Stands {
        detail["changes"] =
            serde_json::json!(if meeting == Meeting::Repeats { "nothing: the same again" } else { "nothing: a later answer stands" });
        event::write(tx, now, &[Event { what: "answer.repeated", ..event }.detail(detail)]).await?;
        return Ok(meeting);
    }
    if let Some((id, old)) = &current {
        tx.execute("UPDATE answer SET superseded_at = $1 WHERE id = $2", values![now, *id]).await?;
        detail["before"] = serde_json::json!(old.choice);
    }
    let sql = "INSERT INTO answer (campaign_id, contact_id, inbound_id, choice, guests, comment, via, given_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let guests = given.guests.map(i64::from);
    let values = values![
        asked.campaign_id,
        asked.contact_id,
        asked.inbound_id,
        given.choice.as_str(),
        guests,
        &given.comment,
        given.via.as_str(),
        given.given_at
    ];
    tx.execute(sql, values).await?;
    event::write(tx, now, &[event.detail(detail)]).await?;
    if given.choice == Choice::Yes {
        join_by_yes(tx, now, asked).await?;
    }
    Ok(meeting)
}

async fn join_by_yes(tx: &mut Conn, now: i64, asked: Asked) -> Result<(), Error> {
    let sql = "SELECT c.on_yes_list_id, l.name FROM campaign c JOIN list l ON l.id = c.on_yes_list_id WHERE c.id = $1";
    let Some((list_id, list)) = tx.first::<(i64, String)>(sql, values![asked.campaign_id]).await? else { return Ok(()) };
    let proof = asked.inbound_id.map_or_else(|| "an operator's entry".to_owned(), |id| format!("message {id}"));
    if contact::join(tx, now, list_id, asked.contact_id, "consent", &proof).await? {
        let detail = serde_json::json!({ "list": list, "proof": proof });
        let event = Event::new("membership.joined", asked.cause)
            .contact(asked.contact_id)
            .campaign(asked.campaign_id)
            .inbound(asked.inbound_id)
            .detail(detail);
        event::write(tx, now, &[event]).await?;
    }
    Ok(())
}

impl CurrentRow {
    fn given(&self) -> Result<Given, Error> {
        let foreign = |what: &str| Error::Foreign(format!("answer's {what}"));
        Ok(Given {
            choice: Choice::from_word(&self.choice).ok_or_else(|| foreign("choice"))?,
            guests: self.guests.and_then(|n| u32::try_from(n).ok()),
            comment: self.comment.clone(),
            via: Via::from_word(&self.via).ok_or_else(|| foreign("way"))?,
            given_at: self.given_at,
        })
    }
}

impl Store {
    /// Enters an answer that an operator heard, e.g. by telephone.
    ///
    /// # Errors
    /// [`Error::Unknown`] where the campaign is unknown; [`Error::Refused`] where it is no invitation.
    pub async fn respond(&self, now: i64, contact_id: i64, campaign: &str, given: &Given) -> Result<Meeting, Error> {
        let campaign = self.get_campaign(campaign).await?;
        let mut tx = self.db.begin().await?;
        let asked = Asked { campaign_id: campaign.id, contact_id, delivery_id: None, inbound_id: None, cause: Cause::Operator };
        let meeting = register(&mut tx, now, asked, given).await?;
        tx.commit().await?;
        Ok(meeting)
    }

    /// The answers to a campaign that count, by name and address.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is no such campaign.
    pub async fn list_answers(&self, campaign: &str) -> Result<Vec<AnswerRow>, Error> {
        let campaign = self.get_campaign(campaign).await?;
        let sql = "SELECT c.address, c.first_name, c.last_name, a.choice AS answer, a.guests, a.comment, a.via, a.given_at, a.inbound_id,
                       i.from_address AS written_by
                   FROM answer a JOIN contact c ON c.id = a.contact_id LEFT JOIN inbound i ON i.id = a.inbound_id
                   WHERE a.campaign_id = $1 AND a.superseded_at IS NULL ORDER BY a.choice DESC, c.last_name, c.first_name, c.address_key";
        let mut rows: Vec<AnswerRow> = self.db.read().await?.all(sql, values![campaign.id]).await?;
        for row in &mut rows {
            row.written_by = row.written_by.take().filter(|writer| !is_same(writer, &row.address));
        }
        Ok(rows)
    }
}
