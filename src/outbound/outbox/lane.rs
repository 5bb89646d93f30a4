//! One connection to the relay: claims a few, sends them one after another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::prepared::{compose_delivery, compose_notice};
use super::settler::End;
use super::{Outbox, chance, millis};
use crate::model::delivery::back_off;
use crate::model::event::Cause;
use crate::model::outcome::{Class, Outcome, RelayFault, RelayStop, Reply};
use crate::outbound::compose::Outgoing;
use crate::store::{Claimed, ClaimedNotice, Error, Fate, Settled, Stop};
use crate::wire::smtp::{self, Session};

/// How many a lane claims at a time: what is in flight when a daemon is killed is at most this, times the lanes.
const CLAIM: i64 = 16;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing was due.
    Idle,
    /// So many were attempted.
    Attempted(usize),
    /// The relay is not to be tried before this long.
    Wait(Duration),
    /// The relay is paused until a person resumes it.
    Paused,
}

/// One connection to the relay, and the steps that use it.
#[derive(Debug)]
pub struct Lane {
    outbox: Arc<Outbox>,
    session: Option<Session>,
    ends: mpsc::Sender<End>,
}

/// What became of one attempt: how it is settled, and whether the lane may go on.
struct Attempt {
    settled: Settled,
    fault: Option<RelayFault>,
}

impl Lane {
    /// A lane that is not connected yet.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>, ends: mpsc::Sender<End>) -> Self {
        Self { outbox, session: None, ends }
    }

    /// Claims a few and sends them. `stopping` is asked between two mails: what is claimed and not begun
    /// then goes back untouched.
    ///
    /// # Errors
    /// Where the database fails; what was claimed and not begun goes back untouched.
    pub async fn step(&mut self, stopping: &(dyn Fn() -> bool + Sync)) -> Result<Step, Error> {
        let outbox = self.outbox.clone();
        let now = outbox.clock.millis();
        if let Some(wait) = outbox.gate.closed_for(now) {
            return Ok(Step::Wait(wait));
        }
        if outbox.store.paused_relays().await?.iter().any(|relay| relay.name == outbox.relay.host) {
            self.hang_up().await;
            return Ok(Step::Paused);
        }
        if !outbox.store.is_due(now).await? {
            return Ok(Step::Idle);
        }
        let (until, lapses, rests) = (outbox.leased_until(), outbox.lapses(), outbox.gate.rests());
        // Few and dear: notices go first. One claim a step, so that nothing is held when a second one fails.
        let notices = outbox.store.claim_notices(now, CLAIM, &outbox.holder, until).await?;
        let deliveries = match notices.is_empty() {
            true => outbox.store.claim_deliveries(now, CLAIM, &outbox.holder, until).await?,
            false => Vec::new(),
        };
        let jobs: Vec<Job<'_>> = notices.iter().map(Job::Notice).chain(deliveries.iter().map(Job::Delivery)).collect();
        if jobs.is_empty() {
            return Ok(Step::Idle);
        }
        outbox.hold(jobs.iter().map(Job::held));
        let (mut fault, mut failed) = (None, None);
        for job in &jobs {
            let go_on = fault.is_none() && failed.is_none() && !stopping() && outbox.holds(lapses);
            let mut attempt = untouched(job.id(), outbox.clock.millis(), None);
            if go_on {
                // The database is asked before the relay: where it fails, nothing was sent.
                match self.attempt(job).await {
                    Ok(made) => attempt = made,
                    Err(error) => failed = Some(error),
                }
            }
            fault = fault.or(attempt.fault);
            // The settler outlives the lanes; were it gone, the lease would run out and the delivery be uncertain.
            _ = self.ends.send(End { is_notice: job.held().0, settled: attempt.settled }).await;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        match fault {
            None => Ok(Step::Attempted(jobs.len())),
            Some(fault) => self.stand_back(&fault, rests).await,
        }
    }

    /// Says goodbye to the relay.
    pub async fn hang_up(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
    }

    async fn attempt(&mut self, job: &Job<'_>) -> Result<Attempt, Error> {
        let (outbox, id) = (self.outbox.clone(), job.id());
        let outgoing = match self.compose(job).await? {
            Ok(outgoing) => outgoing,
            Err(reason) => return self.not_composed(job, reason).await,
        };
        // Right before MAIL FROM: from the commit of an opt-out nothing starts any more (S-53).
        let stop = match job {
            Job::Delivery(_) => outbox.store.stop_of_delivery(id).await?,
            Job::Notice(_) => outbox.store.stop_of_notice(id).await?,
        };
        if let Some(stop) = stop {
            let reply = if stop == Stop::Paused { String::new() } else { format!("not sent: {stop:?}").to_lowercase() };
            return Ok(Attempt { settled: Settled { id, fate: Fate::Stopped(stop), code: None, reply, hard: false }, fault: None });
        }
        match self.send(&outgoing).await {
            Ok(outcome) => Ok(settled_by(&outbox, job, outcome)),
            Err(fault) => Ok(cut_off(&outbox, job, fault)),
        }
    }

    /// Sends over the lane's connection, opening it where there is none; a connection that was closed while it stood
    /// idle is replaced once (S-60).
    async fn send(&mut self, mail: &Outgoing) -> Result<Outcome, RelayFault> {
        let mut reconnected = false;
        loop {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => smtp::connect(&self.outbox.relay).await?,
            };
            let sent = session.send(mail.from.as_ref(), &mail.to, &mail.bytes).await;
            if sent.usable {
                self.session = Some(session);
            } else {
                session.quit().await;
            }
            match sent.result {
                Err(fault) if fault.stop == RelayStop::Reconnect && !reconnected => reconnected = true,
                result => return result,
            }
        }
    }

    async fn compose(&mut self, job: &Job<'_>) -> Result<Result<Outgoing, String>, Error> {
        let outbox = self.outbox.clone();
        match job {
            Job::Delivery(delivery) => Ok(match outbox.edition(delivery.edition_id).await? {
                Ok(edition) => compose_delivery(&outbox.sender, &outbox.keys, &edition, delivery),
                Err(reason) => Err(reason),
            }),
            Job::Notice(notice) => Ok(compose_notice(&outbox, notice)),
        }
    }

    /// A template that fails for one contact is a fault of the campaign: it is paused and says why, nobody is left out.
    async fn not_composed(&mut self, job: &Job<'_>, reason: String) -> Result<Attempt, Error> {
        let (now, id) = (self.outbox.clock.millis(), job.id());
        match job {
            Job::Delivery(delivery) => {
                let edition = self.outbox.store.get_edition(delivery.edition_id).await?;
                error!(campaign.name = edition.campaign, delivery.id = id, "paused: a mail cannot be made of its template");
                match self.outbox.store.pause_campaign(now, &edition.campaign, Cause::Clock, Some(&reason)).await {
                    Ok(()) | Err(Error::Refused(_)) => Ok(untouched(id, now, None)),
                    Err(error) => Err(error),
                }
            }
            Job::Notice(_) => {
                error!(notice.id = id, "a notice cannot be made of its template");
                Ok(Attempt { settled: Settled { id, fate: Fate::Failed, code: None, reply: reason, hard: false }, fault: None })
            }
        }
    }

    async fn stand_back(&mut self, fault: &RelayFault, rests: u64) -> Result<Step, Error> {
        let outbox = self.outbox.clone();
        self.session = None;
        if fault.stop == RelayStop::Pause {
            error!(relay.host = outbox.relay.host, reason = fault.text, "relay paused; mend it, then: svar resume-relay");
            outbox.store.pause_relay(outbox.clock.millis(), &outbox.relay.host, &fault.text).await?;
            return Ok(Step::Paused);
        }
        let rest = outbox.gate.close(outbox.clock.millis(), rests, &fault.text);
        if rest.is_first {
            warn!(relay.host = outbox.relay.host, reason = fault.text, "the relay cannot be used now");
        } else {
            debug!(relay.host = outbox.relay.host, reason = fault.text, wait_seconds = rest.wait.as_secs(), "the relay cannot be used yet");
        }
        Ok(Step::Wait(rest.wait))
    }
}

enum Job<'a> {
    Delivery(&'a Claimed),
    Notice(&'a ClaimedNotice),
}

impl Job<'_> {
    fn id(&self) -> i64 {
        match self {
            Self::Delivery(delivery) => delivery.id,
            Self::Notice(notice) => notice.id,
        }
    }

    /// Whether it is a notice, and its row: as the outbox remembers what it holds.
    fn held(&self) -> (bool, i64) {
        (matches!(self, Self::Notice(_)), self.id())
    }

    fn attempts(&self) -> u32 {
        match self {
            Self::Delivery(delivery) => delivery.attempts,
            Self::Notice(notice) => u32::try_from(notice.attempts).unwrap_or(u32::MAX),
        }
    }

    fn first_attempt_at(&self) -> Option<i64> {
        match self {
            Self::Delivery(delivery) => delivery.first_attempt_at,
            Self::Notice(notice) => notice.first_attempt_at,
        }
    }
}

fn untouched(id: i64, due_at: i64, fault: Option<RelayFault>) -> Attempt {
    let reply = fault.as_ref().map(|f| f.text.clone()).unwrap_or_default();
    Attempt { settled: Settled { id, fate: Fate::Untouched(due_at), code: None, reply, hard: false }, fault }
}

/// A fault of the relay: what had not begun goes back untouched; what had begun waits as after a 451 (S-73), so that one
/// mail over which the relay stumbles each time does not stand in the way of all the others.
fn cut_off(outbox: &Outbox, job: &Job<'_>, fault: RelayFault) -> Attempt {
    if !fault.begun {
        return untouched(job.id(), outbox.clock.millis(), Some(fault));
    }
    let code = fault.reply.as_ref().map(|reply| reply.code);
    let settled = Settled { id: job.id(), fate: again(outbox, job), code, reply: fault.text.clone(), hard: false };
    Attempt { settled, fault: Some(fault) }
}

/// Later, longer each time, or given up: so long after the first attempt, whatever the relay did before it (S-75).
fn again(outbox: &Outbox, job: &Job<'_>) -> Fate {
    let wait = millis(back_off(outbox.config.retry_first, outbox.config.retry_cap, job.attempts(), chance()));
    let now = outbox.clock.millis();
    let at = now + wait;
    if at > job.first_attempt_at().unwrap_or(now) + millis(outbox.config.give_up) { Fate::Failed } else { Fate::Again(at) }
}

/// What an outcome does to its delivery (S-72, S-75, S-80).
fn settled_by(outbox: &Outbox, job: &Job<'_>, outcome: Outcome) -> Attempt {
    let id = job.id();
    let settled = |fate, reply: &Reply, hard| Settled { id, fate, code: Some(reply.code), reply: reply.to_string(), hard };
    match outcome {
        Outcome::Accepted(reply) => {
            if outbox.gate.forgive() {
                info!(relay.host = outbox.relay.host, "the relay is used again");
            }
            Attempt { settled: settled(Fate::Sent, &reply, false), fault: None }
        }
        Outcome::Uncertain(what) => {
            Attempt { settled: Settled { id, fate: Fate::Uncertain, code: None, reply: what, hard: false }, fault: None }
        }
        Outcome::Transient(reply) => Attempt { settled: settled(again(outbox, job), &reply, false), fault: None },
        Outcome::Permanent(reply) => Attempt { settled: settled(Fate::Failed, &reply, reply.class() == Class::Hard), fault: None },
    }
}
