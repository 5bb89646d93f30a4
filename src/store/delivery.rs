//! Deliveries: claimed under a lease, settled by the one who holds it.
//!
//! The claim decides whether mail goes out twice, so it is one statement whose form was measured on both databases; a
//! settlement names its holder, so a daemon that lost its lease settles nothing (S-242). A lapsed lease makes a
//! delivery `uncertain`, never `queued` in silence (S-74).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::FromRow;

use super::contact::PersonRow;
use super::db::{self, Conn, values, without_nul};
use super::notice::ClaimedNotice;
use super::suppression::{self, Suppress};
use super::throttle::{self, Counted, OPEN, Ration};
use super::{Error, Store, event, notice};
use crate::model::contact::Contact;
use crate::model::delivery::State;
use crate::model::event::{Cause, Event};
use crate::model::suppression::Reason;
use crate::model::throttle::Throttle;

/// A delivery that this daemon may send until its lease ends.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The row.
    pub id: i64,
    /// What it is sent from.
    pub edition_id: i64,
    /// Its campaign.
    pub campaign_id: i64,
    /// To whom.
    pub contact: Contact,
    /// Attempts, this one included.
    pub attempts: u32,
    /// How often it was repeated after an uncertain end.
    pub repeats: u32,
    /// The time of its first composition, in milliseconds since 1970: the Date of the mail, the same on each retry (S-3).
    pub composed_at: i64,
    /// When an attempt first had an end, in milliseconds since 1970; `None` where none had.
    pub first_attempt_at: Option<i64>,
    /// When this attempt was due, in milliseconds since 1970.
    pub due_at: i64,
    /// The mailbox provider that it is counted by; empty for one of no name.
    pub provider: String,
}

/// What a daemon was given to send.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Notices, which go first.
    pub notices: Vec<ClaimedNotice>,
    /// Deliveries.
    pub deliveries: Vec<Claimed>,
    /// Where nothing was given out: what may leave next may not before this time by the clock of the limits, in milliseconds since 1970.
    pub not_before: Option<i64>,
}

/// How fast mail may leave, and what time it is for that: one clock for all daemons.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The relay's host.
    pub host: &'a str,
    /// What may leave.
    pub throttle: &'a Throttle,
    /// The time of [`Store::lease_clock`], in milliseconds since 1970.
    pub now: i64,
}

#[derive(FromRow)]
struct ClaimedRow {
    delivery_id: i64,
    edition_id: i64,
    campaign_id: i64,
    attempts: i64,
    repeats: i64,
    composed_at: i64,
    first_attempt_at: Option<i64>,
    provider: String,
    due_at: i64,
    #[sqlx(flatten)]
    person: PersonRow,
}

/// What becomes of a delivery or a notice after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The relay said 250.
    Sent,
    /// Refused, or given up after the last retry.
    Failed,
    /// Nobody knows whether it was taken.
    Uncertain,
    /// Try again at this time, in milliseconds since 1970.
    Again(i64),
    /// It was not attempted; it waits again, and the attempt does not count.
    Untouched(i64),
    /// Its contact or campaign was stopped before it left.
    Stopped(Stop),
}

/// Why something must not leave any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The address is suppressed.
    Suppressed,
    /// The campaign was cancelled.
    Cancelled,
    /// The campaign is paused: it waits on.
    Paused,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The row.
    pub id: i64,
    /// What becomes of it.
    pub fate: Fate,
    /// The relay's code, where it said one.
    pub code: Option<u16>,
    /// The relay's words, or why there are none.
    pub reply: String,
    /// The address is dead: suppress it (S-139).
    pub hard: bool,
    /// Which attempt it was, from 1, for the history.
    pub attempt: u32,
}

/// What is done with deliveries whose end nobody knows (S-73).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUncertain {
    /// They are sent again, with the same Message-ID, and the history says so.
    #[default]
    Repeat,
    /// They wait for a person.
    Hold,
}

impl Fate {
    fn state(self) -> State {
        match self {
            Self::Sent => State::Sent,
            Self::Failed => State::Failed,
            Self::Uncertain => State::Uncertain,
            Self::Again(_) | Self::Untouched(_) | Self::Stopped(Stop::Paused) => State::Queued,
            Self::Stopped(Stop::Suppressed) => State::Suppressed,
            Self::Stopped(Stop::Cancelled) => State::Cancelled,
        }
    }

    fn due_at(self) -> Option<i64> {
        match self {
            Self::Again(at) | Self::Untouched(at) => Some(at),
            _ => None,
        }
    }

    fn attempted(self) -> bool {
        !matches!(self, Self::Untouched(_) | Self::Stopped(_))
    }

    fn event(self) -> Option<&'static str> {
        Some(match self {
            Self::Sent => "delivery.sent",
            Self::Failed => "delivery.failed",
            Self::Uncertain => "delivery.uncertain",
            Self::Again(_) => "delivery.deferred",
            Self::Stopped(Stop::Suppressed) => "delivery.suppressed",
            Self::Stopped(Stop::Cancelled) => "delivery.cancelled",
            Self::Untouched(_) | Self::Stopped(Stop::Paused) => return None,
        })
    }
}

/// So often what is uncertain is repeated by itself; then it waits for a person.
pub(super) const MOST_REPEATS: u32 = 5;

/// Of one edition and one provider, so that nothing is read that may not leave. A limit that is a bare mark would have SQLite prepare the
/// statement anew for each value: 7 µs a mail.
const CLAIM: &str = "
    WITH due AS MATERIALIZED (
        SELECT d.id FROM delivery d
        WHERE d.state = 'queued' AND d.edition_id = $5 AND d.provider = $6 AND d.due_at <= $1
        ORDER BY d.due_at, d.id LIMIT $2 + 0 {lock})
    UPDATE delivery SET state = 'sending', attempts = attempts + 1, leased_by = $3, leased_until = $4,
        composed_at = COALESCE(composed_at, $1)
    WHERE id IN (SELECT id FROM due) AND state = 'queued' RETURNING id";

impl Store {
    /// Whether more than `others` deliveries and notices are due: asked before each claim, because reading costs no write.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn more_is_due(&self, now: i64, others: i64) -> Result<bool, Error> {
        let sql = format!(
            "WITH RECURSIVE {OPEN}
             SELECT COUNT(*) FROM (SELECT id FROM notice WHERE state = 'queued' AND due_at <= $1
                 UNION ALL SELECT d.id FROM part t
                     JOIN delivery d ON d.state = 'queued' AND d.edition_id = t.id AND d.provider = t.provider AND d.due_at <= $1
                 LIMIT $2 + 0) AS due"
        );
        Ok(self.db.read().await?.number(&sql, values![now, others + 1]).await? > others)
    }

    /// Claims up to `limit` of what is due, for `holder`, until `leased_until`, in one transaction, as far as the limits let. Notices go
    /// first: they are few and dear, and a part of the relay's quota is theirs alone. They are counted for no provider.
    ///
    /// # Errors
    /// Where the database fails; then nothing is claimed.
    pub async fn claim_due(&self, now: i64, limit: i64, (holder, leased_until): (&str, i64), limits: Limits<'_>) -> Result<Claim, Error> {
        let mut tx = self.db.begin().await?;
        let ration = Ration::of(&mut tx, limits.now, Counted::Relay(limits.host), limits.throttle.relay).await?;
        if let Some(at) = ration.as_ref().and_then(Ration::not_before) {
            return Ok(Claim { not_before: Some(at), ..Claim::default() });
        }
        let limit = ration.as_ref().map_or(limit, |ration| ration.most(limit));
        let notices = notice::claim(&mut tx, now, limit, holder, leased_until).await?;
        let first = i64::try_from(notices.len()).unwrap_or(limit);
        let left = ration.as_ref().map_or(limit - first, |ration| ration.most_after(limits.now, first, limit - first));
        let (deliveries, not_before) = claim_fairly(&mut tx, now, left, (holder, leased_until), &limits).await?;
        if let Some(ration) = ration {
            ration.take(&mut tx, limits.now, first + i64::try_from(deliveries.len()).unwrap_or(left)).await?;
        }
        if notices.is_empty() && deliveries.is_empty() {
            // what is left of the quota is kept for notices
            let kept = (left == 0 && limit > 0).then_some(limits.now + LOOK_AGAIN);
            return Ok(Claim { not_before: not_before.or(kept), ..Claim::default() });
        }
        tx.commit().await?;
        Ok(Claim { notices, deliveries, not_before: None })
    }

    /// Claims deliveries alone.
    #[cfg(test)]
    pub(crate) async fn claim_deliveries(&self, now: i64, limit: i64, holder: &str, leased_until: i64) -> Result<Vec<Claimed>, Error> {
        let mut tx = self.db.begin().await?;
        let limits = Limits { host: "", throttle: &Throttle::default(), now };
        let (claimed, _) = claim_fairly(&mut tx, now, limit, (holder, leased_until), &limits).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    /// A delivery as it was or will be composed, whoever holds it; `None` where there is none or it never was.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn find_composed(&self, delivery_id: i64) -> Result<Option<Claimed>, Error> {
        let sql = format!("{} WHERE d.id = $1 AND d.composed_at IS NOT NULL", select_claimed());
        self.db.read().await?.first::<ClaimedRow>(&sql, values![delivery_id]).await?.map(Claimed::try_from).transpose()
    }

    /// Which of these claimed deliveries must not leave any more, and why; in their order. Asked right before MAIL FROM (S-53).
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn stops_of_deliveries(&self, ids: &[i64]) -> Result<Vec<Option<Stop>>, Error> {
        let mut conn = self.db.read().await?;
        let sql = format!(
            "SELECT d.id, ca.state, s.address_key FROM delivery d
             JOIN edition e ON e.id = d.edition_id JOIN campaign ca ON ca.id = e.campaign_id
             JOIN contact c ON c.id = d.contact_id LEFT JOIN suppression s ON s.address_key = c.address_key
             WHERE d.id {}",
            conn.dialect().among(1)
        );
        let rows: Vec<(i64, String, Option<String>)> = conn.all(&sql, vec![db::ids(ids)]).await?;
        let rows: HashMap<i64, (String, Option<String>)> = rows.into_iter().map(|(id, state, key)| (id, (state, key))).collect();
        let stop = |id| match rows.get(id) {
            None | Some((_, Some(_))) => Some(Stop::Suppressed),
            Some((state, None)) if state == "cancelled" => Some(Stop::Cancelled),
            Some((state, None)) if state != "active" => Some(Stop::Paused),
            Some(_) => None,
        };
        Ok(ids.iter().map(stop).collect())
    }

    /// Settles attempts, all in one transaction. The ids that were really held by `holder`; the others it had lost.
    ///
    /// # Errors
    /// Where the database fails; then nothing is settled, and the leases run on.
    pub async fn settle_deliveries(&self, now: i64, holder: &str, settled: &[Settled]) -> Result<Vec<i64>, Error> {
        if settled.is_empty() {
            return Ok(Vec::new());
        }
        let settled = &*latest(settled);
        let mut tx = self.db.begin().await?;
        let held = settle_rows(&mut tx, now, "delivery", holder, settled).await?;
        if settled.iter().any(|end| end.fate.state() == State::Queued) {
            let events = cancel_requeued(&mut tx, &held).await?;
            event::write(&mut tx, now, &events).await?;
        }
        let is_held: HashSet<i64> = held.iter().copied().collect();
        let ended: Vec<&Settled> = settled.iter().filter(|end| is_held.contains(&end.id)).collect();
        write_ends(&mut tx, now, &ended).await?;
        let dead: Vec<&Settled> = ended.into_iter().filter(|end| end.hard && end.fate == Fate::Failed).collect();
        let about = subjects_of(&mut tx, &dead.iter().map(|end| end.id).collect::<Vec<_>>()).await?;
        for end in dead {
            let Some(row) = about.iter().find(|row| row.id == end.id) else { continue };
            let who = Suppress {
                address_key: &row.address_key,
                reason: Reason::HardBounce,
                cause: Cause::Relay,
                inbound_id: None,
                contact_id: Some(row.contact_id),
                note: &end.reply,
            };
            suppression::add(&mut tx, now, &who).await?;
        }
        tx.commit().await?;
        Ok(held)
    }

    /// The clock that leases go by, in milliseconds since 1970: PostgreSQL's own, since hosts share it and their clocks differ;
    /// on SQLite, where there is one daemon, it is `now`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn lease_clock(&self, now: i64) -> Result<i64, Error> {
        let mut conn = self.db.read().await?;
        match conn.dialect().clock() {
            Some(sql) => conn.number(sql, vec![]).await,
            None => Ok(now),
        }
    }

    /// Prolongs the leases of what `holder` knows that it holds: `(is a notice, row)`. The number of rows it still held.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn renew_leases(&self, holder: &str, leased_until: i64, held: &[(bool, i64)]) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let mut renewed = 0;
        for (table, of_notices) in [("delivery", false), ("notice", true)] {
            let ids: Vec<i64> = held.iter().filter(|(is_notice, _)| *is_notice == of_notices).map(|(_, id)| *id).collect();
            let among = tx.dialect().among(3);
            let sql = format!("UPDATE {table} SET leased_until = $1 WHERE state = 'sending' AND leased_by = $2 AND id {among}");
            renewed += tx.execute(&sql, values![leased_until, holder, db::ids(&ids)]).await?;
        }
        tx.commit().await?;
        Ok(renewed)
    }

    /// Makes `uncertain` whatever is held under a lease that ended before `now`, and on SQLite, where there is one
    /// daemon, whatever another than `holder` holds. The number of rows.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn lapse_leases(&self, now: i64, holder: &str) -> Result<u64, Error> {
        let alone = i64::from(self.file().is_some());
        let mut tx = self.db.begin().await?;
        let condition = "state = 'sending' AND (leased_until < $1 OR (leased_by <> $2 AND $3 = 1))";
        let sql = format!(
            "UPDATE delivery SET state = 'uncertain', settled_at = $1, leased_by = NULL, leased_until = NULL,
                reply = 'the daemon that held it ended before it was settled' WHERE {condition} RETURNING id"
        );
        let lapsed: Vec<(i64,)> = tx.all(&sql, values![now, holder, alone]).await?;
        let sql = format!(
            "UPDATE notice SET state = 'uncertain', settled_at = $1, leased_by = NULL, leased_until = NULL WHERE {condition}
             RETURNING id"
        );
        let notices: Vec<(i64,)> = tx.all(&sql, values![now, holder, alone]).await?;
        let ids: Vec<i64> = lapsed.into_iter().map(|(id,)| id).collect();
        let reply = "the daemon that held it ended before it was settled";
        let events = events_about(&mut tx, &ids, "delivery.uncertain", serde_json::json!({ "reply": reply })).await?;
        event::write(&mut tx, now, &events).await?;
        let events = notice::events_about(&mut tx, &notices, "notice.uncertain").await?;
        event::write(&mut tx, now, &events).await?;
        tx.commit().await?;
        Ok((ids.len() + notices.len()) as u64)
    }

    /// Puts uncertain deliveries back into the queue, to be sent again with the same Message-ID; each says so in its
    /// history. The first time at once, then after `wait`, three, seven and fifteen times that, in milliseconds; what is
    /// uncertain even then stays so, for a person. At most `limit`; the number of rows.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn repeat_uncertain(&self, now: i64, wait: i64, limit: i64) -> Result<u64, Error> {
        let mut tx = self.db.begin().await?;
        let ripe = format!(
            "state = 'uncertain' AND repeats < {MOST_REPEATS}
            AND settled_at <= $1 - $2 * ((CAST(1 AS BIGINT) << CAST(repeats AS INTEGER)) - 1)"
        );
        let sql = format!(
            "UPDATE delivery SET state = 'queued', due_at = $1, repeats = repeats + 1
             WHERE id IN (SELECT id FROM delivery WHERE {ripe} AND edition_id IN (
                SELECT e.id FROM edition e JOIN campaign c ON c.id = e.campaign_id WHERE c.state <> 'cancelled')
                ORDER BY id LIMIT $3) AND state = 'uncertain' RETURNING id"
        );
        let ids: Vec<i64> = tx.all::<(i64,)>(&sql, values![now, wait, limit]).await?.into_iter().map(|(id,)| id).collect();
        let note = "may be sent twice, with the same Message-ID";
        let events = events_about(&mut tx, &ids, "delivery.repeated", serde_json::json!({ "note": note })).await?;
        event::write(&mut tx, now, &events).await?;
        let sql = format!("UPDATE notice SET state = 'queued', due_at = $1, repeats = repeats + 1 WHERE {ripe} RETURNING id");
        let notices: Vec<(i64,)> = tx.all(&sql, values![now, wait]).await?;
        let events = notice::events_about(&mut tx, &notices, "notice.repeated").await?;
        event::write(&mut tx, now, &events).await?;
        tx.commit().await?;
        Ok((ids.len() + notices.len()) as u64)
    }
}

/// Counts claims, so that each part is the first in its turn.
static ROUND: AtomicUsize = AtomicUsize::new(0);

/// How often what rests is looked at, in milliseconds: other mail may have come meanwhile.
const LOOK_AGAIN: i64 = 15_000;

/// What a provider may be given in a claim.
struct Share {
    provider: String,
    ration: Option<Ration>,
    left: i64,
    given: i64,
}

impl Share {
    /// When to look again, where it may be given nothing.
    fn not_before(&self, now: i64) -> i64 {
        let at = self.ration.as_ref().and_then(Ration::not_before).unwrap_or(now + LOOK_AGAIN);
        at.min(now + LOOK_AGAIN)
    }
}

/// Claims deliveries that are due: of each edition and provider the same share, as far as it has so many and the provider's rate lets, and
/// of those that have more what is left. So forty guests do not wait behind a newsletter to a million, and none takes all.
///
/// Beside them, where nothing may leave for a rate or a rest, when to look again.
async fn claim_fairly(
    tx: &mut Conn,
    now: i64,
    limit: i64,
    holder: (&str, i64),
    limits: &Limits<'_>,
) -> Result<(Vec<Claimed>, Option<i64>), Error> {
    let (mut ids, mut left, mut more) = (Vec::new(), limit, Vec::new());
    let (parts, mut shares) = if limit > 0 { parts(tx, now, limit, limits).await? } else { Default::default() };
    let not_before = if parts.is_empty() { shares.iter().map(|share| share.not_before(limits.now)).min() } else { None };
    for (n, (edition, at)) in parts.iter().enumerate() {
        let part = left.unsigned_abs().div_ceil((parts.len() - n) as u64).cast_signed();
        let claimed = claim(tx, now, part, holder, *edition, &mut shares[*at], &mut ids).await?;
        if claimed == part {
            more.push((edition, at));
        }
        left -= claimed;
    }
    for (edition, at) in more {
        left -= claim(tx, now, left, holder, *edition, &mut shares[*at], &mut ids).await?;
    }
    for share in shares {
        if let Some(ration) = share.ration {
            ration.take(tx, limits.now, share.given).await?;
        }
    }
    if ids.is_empty() {
        return Ok((Vec::new(), not_before));
    }
    let sql = format!("{} WHERE d.id {} ORDER BY d.due_at, d.id", select_claimed(), tx.dialect().among(1));
    let rows: Vec<ClaimedRow> = tx.all(&sql, vec![db::ids(&ids)]).await?;
    Ok((rows.into_iter().map(Claimed::try_from).collect::<Result<_, _>>()?, None))
}

/// The editions and providers that have something due, none always first, and what each provider may be given.
async fn parts(tx: &mut Conn, now: i64, limit: i64, limits: &Limits<'_>) -> Result<(Vec<(i64, usize)>, Vec<Share>), Error> {
    let (mut parts, mut shares) = (Vec::new(), Vec::<Share>::new());
    for due in throttle::due(tx, now).await? {
        if shares.last().is_none_or(|share| share.provider != due.provider) {
            let ration = Ration::of(tx, limits.now, Counted::Provider(&due.provider), limits.throttle.of(&due.provider)).await?;
            let most = due.most(tx, limits.now, limit).await?;
            let left = ration.as_ref().map_or(most, |ration| ration.most(most));
            shares.push(Share { provider: due.provider, ration, left, given: 0 });
        }
        parts.push((due.edition_id, shares.len() - 1));
    }
    parts.retain(|(_, at)| shares[*at].left > 0);
    if let Some(first) = ROUND.fetch_add(1, Ordering::Relaxed).checked_rem(parts.len()) {
        parts.rotate_left(first);
    }
    Ok((parts, shares))
}

/// Claims what has been due longest of one edition and provider, and adds the ids; how many.
async fn claim(
    tx: &mut Conn,
    now: i64,
    limit: i64,
    holder: (&str, i64),
    edition: i64,
    share: &mut Share,
    ids: &mut Vec<i64>,
) -> Result<i64, Error> {
    let limit = limit.min(share.left);
    if limit <= 0 {
        return Ok(0);
    }
    let sql = CLAIM.replace("{lock}", tx.dialect().skip_locked());
    let claimed: Vec<(i64,)> = tx.all(&sql, values![now, limit, holder.0, holder.1, edition, &share.provider]).await?;
    ids.extend(claimed.iter().map(|(id,)| id));
    let claimed = i64::try_from(claimed.len()).unwrap_or(limit);
    (share.left, share.given) = (share.left - claimed, share.given + claimed);
    Ok(claimed)
}

/// The same line for each of several deliveries, by the clock.
async fn events_about(tx: &mut Conn, ids: &[i64], what: &'static str, detail: serde_json::Value) -> Result<Vec<Event>, Error> {
    let about = subjects_of(tx, ids).await?;
    let line = |row: Subject| Event::new(what, Cause::Clock).delivery(row.id).contact(row.contact_id).campaign(row.campaign_id);
    Ok(about.into_iter().map(|row| line(row).detail(detail.clone())).collect())
}

fn select_claimed() -> String {
    format!(
        "SELECT d.id AS delivery_id, d.edition_id, e.campaign_id, d.attempts, d.repeats, d.composed_at, d.first_attempt_at, d.provider, d.due_at, {}
         FROM delivery d JOIN edition e ON e.id = d.edition_id JOIN contact c ON c.id = d.contact_id",
        super::contact::COLUMNS
    )
}

impl TryFrom<ClaimedRow> for Claimed {
    type Error = Error;
    fn try_from(row: ClaimedRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.delivery_id,
            edition_id: row.edition_id,
            campaign_id: row.campaign_id,
            contact: row.person.try_into()?,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            repeats: u32::try_from(row.repeats).unwrap_or(u32::MAX),
            composed_at: row.composed_at,
            first_attempt_at: row.first_attempt_at,
            provider: row.provider,
            due_at: row.due_at,
        })
    }
}

/// Whom and what a delivery is about, for its events.
#[derive(FromRow)]
struct Subject {
    id: i64,
    contact_id: i64,
    campaign_id: i64,
    address_key: String,
}

async fn subjects_of(tx: &mut Conn, ids: &[i64]) -> Result<Vec<Subject>, Error> {
    let sql = format!(
        "SELECT d.id, d.contact_id, e.campaign_id, c.address_key
         FROM delivery d JOIN edition e ON e.id = d.edition_id JOIN contact c ON c.id = d.contact_id WHERE d.id {}",
        tx.dialect().among(1)
    );
    tx.all(&sql, vec![db::ids(ids)]).await
}

/// What came back to the queue of a campaign that was cancelled meanwhile waits for nothing: the events that tell of it.
async fn cancel_requeued(tx: &mut Conn, ids: &[i64]) -> Result<Vec<Event>, Error> {
    let sql = format!(
        "UPDATE delivery SET state = 'cancelled' WHERE state = 'queued' AND id {} AND edition_id IN (
            SELECT e.id FROM edition e JOIN campaign c ON c.id = e.campaign_id WHERE c.state = 'cancelled') RETURNING id",
        tx.dialect().among(1)
    );
    let rows: Vec<(i64,)> = tx.all(&sql, vec![db::ids(ids)]).await?;
    let ids: Vec<i64> = rows.into_iter().map(|(id,)| id).collect();
    events_about(tx, &ids, "delivery.cancelled", serde_json::json!({ "note": "its campaign was cancelled while it was under way" })).await
}

/// One line of history for each end that has one; in one statement, because it runs for each mail that leaves.
async fn write_ends(tx: &mut Conn, now: i64, ended: &[&Settled]) -> Result<(), Error> {
    let line = |end: &&Settled| {
        let detail = serde_json::json!({ "code": end.code, "reply": without_nul(end.reply.clone()), "attempt": end.attempt }).to_string();
        end.fate.event().map(|what| serde_json::json!([end.id, what, detail]))
    };
    let lines: Vec<serde_json::Value> = ended.iter().filter_map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO event (at, what, cause, contact_id, campaign_id, delivery_id, detail)
         SELECT $2, v.what, $3, d.contact_id, e.campaign_id, d.id, v.detail
         FROM (SELECT CAST(value ->> 0 AS BIGINT) AS id, value ->> 1 AS what, value ->> 2 AS detail FROM {}) AS v
         JOIN delivery d ON d.id = v.id JOIN edition e ON e.id = d.edition_id ORDER BY d.id",
        tx.dialect().each(1)
    );
    tx.execute(&sql, values![db::rows(lines), now, Cause::Relay.as_str()]).await?;
    Ok(())
}

/// Of several ends of one row the one of the last claim: a daemon that stood still for so long that it lost a row may have claimed it anew
/// while the old claim was under way.
pub(super) fn latest(settled: &[Settled]) -> Cow<'_, [Settled]> {
    let mut last: HashMap<i64, u32> = HashMap::with_capacity(settled.len());
    for end in settled {
        let attempt = last.entry(end.id).or_insert(end.attempt);
        *attempt = end.attempt.max(*attempt);
    }
    if last.len() == settled.len() {
        return Cow::Borrowed(settled);
    }
    Cow::Owned(settled.iter().filter(|end| last.get(&end.id) == Some(&end.attempt)).cloned().collect())
}

/// Ends attempts on rows of `delivery` or `notice`, which have these columns in common. The ids that were held.
pub(super) async fn settle_rows(tx: &mut Conn, now: i64, table: &str, holder: &str, settled: &[Settled]) -> Result<Vec<i64>, Error> {
    let row = |end: &Settled| {
        let back = i64::from(!end.fate.attempted());
        serde_json::json!([end.id, end.fate.state().as_str(), end.fate.due_at(), back, end.code, end.reply, end.attempt])
    };
    let sql = format!(
        "UPDATE {table} SET state = v.state, due_at = COALESCE(v.due_at, {table}.due_at), attempts = {table}.attempts - v.back,
            code = v.code, reply = v.reply, settled_at = $2, leased_by = NULL, leased_until = NULL,
            first_attempt_at = CASE WHEN v.back = 0 THEN COALESCE({table}.first_attempt_at, $2) ELSE {table}.first_attempt_at END
         FROM (SELECT CAST(value ->> 0 AS BIGINT) AS id, value ->> 1 AS state, CAST(value ->> 2 AS BIGINT) AS due_at,
                   CAST(value ->> 3 AS BIGINT) AS back, CAST(value ->> 4 AS BIGINT) AS code, value ->> 5 AS reply, CAST(value ->> 6 AS BIGINT) AS attempt FROM {}) AS v
         WHERE {table}.id = v.id AND {table}.state = 'sending' AND {table}.leased_by = $3 AND {table}.attempts = v.attempt
         RETURNING {table}.id",
        tx.dialect().each(1)
    );
    let values = values![db::rows(settled.iter().map(row)), now, holder];
    Ok(tx.all::<(i64,)>(&sql, values).await?.into_iter().map(|(id,)| id).collect())
}
