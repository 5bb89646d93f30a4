//! One connection to the relay: claims a few, sends them one after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use super::desk::{Job, Work};
use super::prepared::{compose_delivery, compose_notice};
use super::settler::End;
use super::{Outbox, chance, millis};
use crate::model::delivery::back_off;
use crate::model::event::Cause;
use crate::model::outcome::{Class, Outcome, RelayFault, RelayStop, Reply};
use crate::outbound::compose::Outgoing;
use crate::outbound::sign::sign;
use crate::store::{Error, Fate, Settled, Stop};
use crate::wire::smtp::{self, Session};

/// How many a lane claims at a time: what is in flight when a daemon is killed is at most this, times the lanes.
const CLAIM: i64 = 16;

/// After so many refusals in a row without a mail taken between them the relay is paused.
const BURST: u32 = 20;

/// An answer to whether a mail may leave is good for so long.
const FRESH: Duration = Duration::from_millis(500);

/// A connection that will not be used for so long is ended.
const IDLE: Duration = Duration::from_secs(10);

/// How long the mail under way may still take when it is time to stop: well within the 90 s that systemd waits.
const LAST_MAIL: Duration = Duration::from_secs(30);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing was due.
    Idle,
    /// So many were attempted.
    Attempted(usize),
    /// Nothing is to be tried before this long.
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
    /// The next claim, asked for while the last one is sent, so that the connection does not wait for the database.
    next: Option<Next>,
    /// Its connection is among those that are counted.
    is_counted: bool,
}

/// A claim that is under way, and how often the lease had lapsed when it was asked for.
#[derive(Debug)]
struct Next {
    work: JoinHandle<Result<Work, Error>>,
    lapses: u64,
}

/// What became of one attempt: how it is settled, and whether the lane may go on.
struct Attempt {
    settled: Settled,
    fault: Option<RelayFault>,
}

/// What became of one claim.
#[derive(Default)]
struct Batch {
    attempted: usize,
    fault: Option<RelayFault>,
}

impl Lane {
    /// A lane that is not connected yet.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>, ends: mpsc::Sender<End>) -> Self {
        Self { outbox, session: None, ends, next: None, is_counted: false }
    }

    /// Connects where something is due, claims a few and sends them. Connecting comes first, so that nothing is held while a
    /// relay does not answer. When `stop` turns true, a connection not yet open is dropped, what is claimed and not begun goes
    /// back untouched, and the mail under way is waited for, but not for ever.
    ///
    /// # Errors
    /// Where the database fails; what was claimed and not begun goes back untouched.
    pub async fn step(&mut self, stop: &watch::Receiver<bool>) -> Result<Step, Error> {
        let outbox = self.outbox.clone();
        let now = outbox.clock.millis();
        if let Some(wait) = outbox.gate.closed_for(now) {
            self.give_back_next().await;
            return Ok(Step::Wait(wait));
        }
        // what is used up of a rate comes back by itself: no connection is held, and nothing asked, until then
        if let Some(wait) = outbox.pacer.wait(now) {
            // relays do not like a connection that stands idle, and may need the place
            if wait > IDLE {
                self.hang_up().await;
            }
            return Ok(Step::Wait(wait));
        }
        let rests = outbox.gate.rests();
        let at_work = outbox.at_work.fetch_add(1, Ordering::AcqRel);
        let sent = self.send_what_is_due(now, at_work, stop).await;
        outbox.at_work.fetch_sub(1, Ordering::AcqRel);
        self.count_connection();
        match sent? {
            None => {
                self.hang_up().await;
                Ok(Step::Paused)
            }
            Some(batch) => self.end_of(batch, rests).await,
        }
    }

    async fn end_of(&mut self, batch: Batch, rests: u64) -> Result<Step, Error> {
        match batch {
            Batch { fault: Some(fault), .. } => self.stand_back(&fault, rests).await,
            Batch { attempted: 0, .. } => Ok(Step::Idle),
            Batch { attempted, .. } => Ok(Step::Attempted(attempted)),
        }
    }

    /// Hands back what was claimed and not begun, and says goodbye to the relay.
    pub async fn hang_up(&mut self) {
        self.give_back_next().await;
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
        self.count_connection();
    }

    /// Keeps the number of connected lanes right; within a step it may be behind.
    fn count_connection(&mut self) {
        let is_connected = self.session.is_some();
        if std::mem::replace(&mut self.is_counted, is_connected) != is_connected {
            self.outbox.meters.connected(is_connected);
        }
    }

    /// One claim and what comes of it, where there is more to do than the other lanes `at_work` take; `None` where the relay is
    /// paused.
    async fn send_what_is_due(&mut self, now: i64, at_work: usize, stop: &watch::Receiver<bool>) -> Result<Option<Batch>, Error> {
        let outbox = self.outbox.clone();
        if !self.is_connected().await {
            self.give_back_next().await;
            if outbox.is_paused().await? {
                return Ok(None);
            }
            // It leaves a little mail to those that are at it: one notice is worth one connection.
            if !outbox.store.more_is_due(now, CLAIM * i64::try_from(at_work).unwrap_or(0)).await? {
                return Ok(Some(Batch::default()));
            }
            match self.connect(stop).await {
                Ok(true) => {}
                Ok(false) => return Ok(Some(Batch::default())),
                Err(fault) => return Ok(Some(Batch { fault: Some(fault), ..Batch::default() })),
            }
        }
        let next = match self.next.take() {
            Some(next) => next,
            None => self.ask_for_work(0),
        };
        let lapses = next.lapses;
        match next.jobs().await? {
            Some(jobs) => {
                let sent = self.send_all(&jobs, lapses, stop).await;
                // without a connection nothing is held
                if self.session.is_none() || !matches!(sent, Ok(Batch { fault: None, .. })) {
                    self.give_back_next().await;
                }
                sent.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Asks for a claim that the connection can still send after `before` others.
    fn ask_for_work(&self, before: usize) -> Next {
        let (outbox, left) = (self.outbox.clone(), self.session.as_ref().map_or(0, |session| i64::from(session.left())));
        let limit = (left - i64::try_from(before).unwrap_or(left)).clamp(0, CLAIM);
        let lapses = outbox.lapses();
        Next { work: tokio::spawn(async move { outbox.work(limit).await }), lapses }
    }

    async fn give_back_next(&mut self) {
        give_back_next(&self.outbox, &self.ends, self.next.take()).await;
    }

    /// Attempts one after another while the connection, the lease and the database hold, the relay does not rest and nobody says
    /// stop; what is left goes back.
    async fn send_all(&mut self, jobs: &[Job], lapses: u64, stop: &watch::Receiver<bool>) -> Result<Batch, Error> {
        let (outbox, ends) = (self.outbox.clone(), self.ends.clone());
        let (mut rest, mut next) = (jobs.iter(), None);
        let mut batch = Batch::default();
        let may_go_on = || !*stop.borrow() && outbox.holds(lapses) && outbox.gate.closed_for(outbox.clock.millis()).is_none();
        while self.session.is_some() && batch.fault.is_none() && may_go_on() {
            if next.is_none() && rest.len() <= jobs.len() / 2 && !jobs.is_empty() {
                next = Some(self.ask_for_work(rest.len()));
            }
            let Some(job) = rest.next() else { break };
            let attempt = {
                let attempting = self.attempt(job, lapses, stop);
                tokio::pin!(attempting);
                tokio::select! {
                    biased;
                    attempt = &mut attempting => attempt,
                    () = stopped(stop) => {
                        give_back(&outbox, &ends, &mut rest).await;
                        give_back_next(&outbox, &ends, next.take()).await;
                        attempting.await
                    }
                }
            };
            match attempt {
                Ok(Attempt { settled, fault }) => {
                    batch.attempted += 1;
                    batch.fault = fault;
                    settle(&ends, job, settled).await;
                }
                Err(error) => {
                    // The database is asked before the relay: where it fails, nothing was sent.
                    self.next = next;
                    give_back(&outbox, &ends, &mut std::iter::once(job).chain(rest)).await;
                    return Err(error);
                }
            }
        }
        give_back(&outbox, &ends, &mut rest).await;
        self.next = next;
        Ok(batch)
    }

    /// Whether there is a connection, as far as one can see; one that was closed while it stood idle is nobody's fault (S-60).
    async fn is_connected(&mut self) -> bool {
        if let Some(session) = &mut self.session
            && !session.is_alive().await
        {
            self.session = None;
        }
        self.session.is_some()
    }

    /// Connects where there is no connection; `false` where it is time to stop.
    async fn connect(&mut self, stop: &watch::Receiver<bool>) -> Result<bool, RelayFault> {
        if self.session.is_none() {
            tokio::select! {
                session = smtp::connect(&self.outbox.relay) => {
                    self.session = Some(session?);
                    self.outbox.meters.connections.count();
                }
                () = stopped(stop) => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn attempt(&mut self, job: &Job, lapses: u64, stop: &watch::Receiver<bool>) -> Result<Attempt, Error> {
        let outbox = self.outbox.clone();
        let outgoing = match self.compose(job).await? {
            Ok(outgoing) => outgoing,
            Err(reason) => return self.not_composed(job, reason).await,
        };
        // Right before MAIL FROM, on a connection that is open: from the commit of an opt-out nothing starts any more (S-53).
        let halt = loop {
            let asked = Instant::now();
            let halt = outbox.stop_of(job).await?;
            // a process that stood still since has an old answer
            if asked.elapsed() < FRESH {
                break halt;
            }
        };
        if let Some(halt) = halt {
            let reply = if halt == Stop::Paused { String::new() } else { format!("not sent: {halt:?}").to_lowercase() };
            return Ok(Attempt { settled: ended(job, Fate::Stopped(halt), None, reply), fault: None });
        }
        // it was given out before its provider said that it is too much (S-59)
        if let Some(until) = outbox.pacer.rests_until(job.provider(), outbox.clock.millis()) {
            return Ok(untouched(job, until, None));
        }
        // while it stood still, another daemon may have been given it (S-242)
        if !outbox.holds(lapses) {
            return Ok(untouched(job, outbox.clock.millis(), None));
        }
        let began = Instant::now();
        let sent = self.send(&outgoing, stop).await;
        outbox.meters.attempted(began.elapsed(), sent.as_ref());
        Ok(match sent {
            Some(Ok(outcome)) => {
                heed(&outbox, job, &outcome).await;
                settled_by(&outbox, job, outcome)
            }
            Some(Err(fault)) if fault.stop == RelayStop::Reconnect => untouched(job, outbox.clock.millis(), None),
            Some(Err(fault)) => cut_off(&outbox, job, fault),
            None => untouched(job, outbox.clock.millis(), None),
        })
    }

    /// Sends over the lane's connection and keeps it where it is whole. `None` where nothing was sent: there is no connection,
    /// or the relay let a daemon wait that is to stop.
    async fn send(&mut self, mail: &Outgoing, stop: &watch::Receiver<bool>) -> Option<Result<Outcome, RelayFault>> {
        let mut session = self.session.take()?;
        let sent = tokio::select! {
            sent = session.send(mail.from.as_ref(), &mail.to, &mail.bytes) => sent,
            () = async { stopped(stop).await; tokio::time::sleep(LAST_MAIL).await } => {
                let what = "svar was stopped while the relay did not answer";
                return session.has_handed_over().then(|| Ok(Outcome::Uncertain(what.into())));
            }
        };
        if sent.usable {
            self.session = Some(session);
        } else {
            session.quit().await;
        }
        Some(sent.result)
    }

    async fn compose(&mut self, job: &Job) -> Result<Result<Outgoing, String>, Error> {
        let outbox = self.outbox.clone();
        let composed = match job {
            Job::Delivery(delivery) => match outbox.edition(delivery.edition_id).await? {
                Ok(edition) => compose_delivery(&outbox.sender, &outbox.keys, &edition, delivery),
                Err(reason) => Err(reason),
            },
            Job::Notice(notice) => compose_notice(&outbox, notice),
        };
        Ok(match composed {
            Ok(mail) => sign(&outbox.sender, mail, job.composed_at()).await,
            Err(reason) => Err(reason),
        })
    }

    /// A template that fails for one contact is a fault of the campaign: it is paused and says why, nobody is left out.
    async fn not_composed(&mut self, job: &Job, reason: String) -> Result<Attempt, Error> {
        let (now, id) = (self.outbox.clock.millis(), job.id());
        match job {
            Job::Delivery(delivery) => {
                let edition = self.outbox.store.get_edition(delivery.edition_id).await?;
                error!(campaign.name = edition.campaign, delivery.id = id, "paused: a mail cannot be made of its template");
                match self.outbox.store.pause_campaign(now, &edition.campaign, Cause::Clock, Some(&reason)).await {
                    Ok(()) | Err(Error::Refused(_)) => Ok(untouched(job, now, None)),
                    Err(error) => Err(error),
                }
            }
            Job::Notice(_) => {
                error!(notice.id = id, "a notice cannot be made of its template");
                Ok(Attempt { settled: ended(job, Fate::Failed, None, reason), fault: None })
            }
        }
    }

    async fn stand_back(&mut self, fault: &RelayFault, rests: u64) -> Result<Step, Error> {
        let outbox = self.outbox.clone();
        self.session = None;
        outbox.meters.faulted(fault.stop);
        // Before all else: the other lanes ask the gate before each mail.
        let rest = outbox.gate.close(outbox.clock.millis(), rests, &fault.for_log());
        if fault.stop == RelayStop::Pause {
            error!(relay.host = outbox.relay.host, reason = fault.for_log(), "relay paused; mend it, then: svar resume-relay");
            outbox.store.pause_relay(outbox.clock.millis(), &outbox.relay.host, &fault.text).await?;
            return Ok(Step::Paused);
        }
        if rest.is_first {
            warn!(relay.host = outbox.relay.host, reason = fault.for_log(), "the relay cannot be used now");
        } else {
            debug!(
                relay.host = outbox.relay.host,
                reason = fault.for_log(),
                wait_seconds = rest.wait.as_secs(),
                "the relay cannot be used yet"
            );
        }
        Ok(Step::Wait(rest.wait))
    }
}

impl Next {
    /// What it came to; `None` where the relay is paused.
    async fn jobs(self) -> Result<Option<Vec<Job>>, Error> {
        // it is never aborted
        match self.work.await.map_err(|_| Error::Gone)?? {
            Work::Jobs(jobs) => Ok(Some(jobs)),
            Work::Paused => Ok(None),
        }
    }
}

/// Ends when it is time to stop.
async fn stopped(stop: &watch::Receiver<bool>) {
    _ = stop.clone().wait_for(|stop| *stop).await;
}

async fn settle(ends: &mpsc::Sender<End>, job: &Job, settled: Settled) {
    // The settler outlives the lanes; were it gone, the lease would run out and the delivery be uncertain.
    _ = ends.send(End { is_notice: job.held().0, settled }).await;
}

async fn give_back(outbox: &Outbox, ends: &mpsc::Sender<End>, jobs: &mut (dyn Iterator<Item = &Job> + Send)) {
    for job in jobs {
        settle(ends, job, untouched(job, outbox.clock.millis(), None).settled).await;
    }
}

/// Waits for a claim that nobody will send, and gives it back. Where the claim failed there is nothing to give.
async fn give_back_next(outbox: &Outbox, ends: &mpsc::Sender<End>, next: Option<Next>) {
    let Some(next) = next else { return };
    match next.jobs().await {
        Ok(jobs) => give_back(outbox, ends, &mut jobs.unwrap_or_default().iter()).await,
        Err(error) => debug!(%error, "a claim failed that is of no use any more"),
    }
}

fn ended(job: &Job, fate: Fate, code: Option<u16>, reply: String) -> Settled {
    Settled { id: job.id(), fate, code, reply, hard: false, attempt: job.attempts() }
}

fn untouched(job: &Job, due_at: i64, fault: Option<RelayFault>) -> Attempt {
    let reply = fault.as_ref().map(|f| f.text.clone()).unwrap_or_default();
    Attempt { settled: ended(job, Fate::Untouched(due_at), None, reply), fault }
}

/// A fault of the relay: what had not begun goes back untouched; what had begun waits as after a 451 (S-73), so that one
/// mail over which the relay stumbles each time does not stand in the way of all the others.
fn cut_off(outbox: &Outbox, job: &Job, fault: RelayFault) -> Attempt {
    if !fault.begun {
        return untouched(job, outbox.clock.millis(), Some(fault));
    }
    let code = fault.reply.as_ref().map(|reply| reply.code);
    let settled = ended(job, again(outbox, job), code, fault.text.clone());
    Attempt { settled, fault: Some(fault) }
}

/// Later, longer each time, or given up: so long after the first attempt, whatever the relay did before it (S-75).
fn again(outbox: &Outbox, job: &Job) -> Fate {
    let wait = millis(back_off(outbox.config.retry_first, outbox.config.retry_cap, job.attempts(), chance()));
    let now = outbox.clock.millis();
    let at = now + wait;
    if at > job.first_attempt_at().unwrap_or(now) + millis(outbox.config.give_up) { Fate::Failed } else { Fate::Again(at) }
}

/// The brake: a burst of refusals that are no dead addresses says that something is wrong with us, not with everybody (S-80).
fn braked(outbox: &Outbox, reply: Reply) -> Option<RelayFault> {
    if outbox.refusals.fetch_add(1, Ordering::AcqRel) + 1 < BURST {
        return None;
    }
    outbox.refusals.store(0, Ordering::Release);
    let text = format!("{BURST} mails in a row were refused, the last with {reply}; after it is mended: svar campaign retry NAME");
    Some(RelayFault { reply: Some(reply), ..RelayFault::new(RelayStop::Pause, text) })
}

/// What an outcome says of its mailbox provider: one that is given too much rests, on all daemons (S-59).
async fn heed(outbox: &Outbox, job: &Job, outcome: &Outcome) {
    let name = job.provider();
    let Some(provider) = outbox.config.throttle.providers.get(name) else { return };
    let reply = match outcome {
        Outcome::Accepted(_) => return outbox.pacer.took(name),
        Outcome::Transient(reply) => reply,
        Outcome::Permanent(_) | Outcome::Uncertain(_) => return,
    };
    let now = outbox.clock.millis();
    let Some(until) = outbox.pacer.refused(name, provider, reply, now) else { return };
    let until_for_all = until + outbox.ahead();
    warn!(provider = name, code = reply.code, rest_seconds = provider.rest / 1_000, "told to slow down: nothing leaves for it meanwhile");
    // where it cannot be written this daemon lets it rest, and the others hear it themselves
    if let Err(error) = outbox.store.rest_provider(now, name, until_for_all, &reply.to_string()).await {
        warn!(%error, provider = name, "other daemons do not know that it rests");
    }
}

/// What an outcome does to its delivery (S-72, S-75, S-80).
fn settled_by(outbox: &Outbox, job: &Job, outcome: Outcome) -> Attempt {
    let settled = |fate, reply: &Reply, hard| Settled { hard, ..ended(job, fate, Some(reply.code), reply.to_string()) };
    match outcome {
        Outcome::Accepted(reply) => {
            outbox.meters.left(outbox.clock.millis() - job.due_at());
            outbox.refusals.store(0, Ordering::Release);
            if outbox.gate.forgive() {
                info!(relay.host = outbox.relay.host, "the relay is used again");
            }
            Attempt { settled: settled(Fate::Sent, &reply, false), fault: None }
        }
        Outcome::Uncertain(what) => Attempt { settled: ended(job, Fate::Uncertain, None, what), fault: None },
        Outcome::Transient(reply) => Attempt { settled: settled(again(outbox, job), &reply, false), fault: None },
        Outcome::Permanent(reply) if reply.class() == Class::Hard => Attempt { settled: settled(Fate::Failed, &reply, true), fault: None },
        Outcome::Permanent(reply) => Attempt { settled: settled(Fate::Failed, &reply, false), fault: braked(outbox, reply) },
    }
}
