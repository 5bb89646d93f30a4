//! One connection to the relay: claims a few, sends them one after another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use super::Outbox;
use super::desk::{Job, Work};
use super::prepared::{compose_delivery, compose_notice};
use super::settler::End;
use super::verdict::{Attempt, ended, untouched, verdict};
use crate::model::event::Cause;
use crate::model::outcome::{Outcome, RelayFault, RelayStop};
use crate::outbound::compose::Outgoing;
use crate::outbound::sign::sign;
use crate::store::{Error, Fate, Settled, Stop};
use crate::wire::smtp::{self, Session};

/// How many a lane claims at a time: what is in flight when a daemon is killed is at most this, times the lanes.
const CLAIM: i64 = 16;

/// An answer to whether a mail may leave is good for so long.
const FRESH: Duration = Duration::from_millis(500);

/// One that was given while the mail before was under way is asked again after so long: that a relay takes its time is no reason
/// to mail somebody who has opted out meanwhile.
const SOON: Duration = Duration::from_millis(100);

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

/// A mail that may leave.
struct Ready<'a> {
    job: &'a Job,
    mail: Outgoing,
    /// When it was asked whether it may.
    asked: Instant,
}

/// What is left of a claim, and how often the lease had lapsed when it was made.
struct Claim<'a> {
    rest: std::slice::Iter<'a, Job>,
    /// The one after that which is being sent.
    ahead: Option<Ready<'a>>,
    /// Why the database could not say whether that one may leave.
    failed: Option<Error>,
    lapses: u64,
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
    /// stop; what is left goes back. The next mail is made ready before one leaves, so that its envelope can leave with it.
    async fn send_all(&mut self, jobs: &[Job], lapses: u64, stop: &watch::Receiver<bool>) -> Result<Batch, Error> {
        let mut claim = Claim { rest: jobs.iter(), ahead: None, failed: None, lapses };
        let mut batch = Batch::default();
        let sent = self.send_each(&mut claim, &mut batch, jobs.len(), stop).await;
        // what has begun on the wire goes to nobody
        self.drop_begun().await;
        let left = claim.ahead.iter().map(|ready| ready.job).chain(claim.rest);
        give_back(&self.outbox, &self.ends, &mut { left }).await;
        sent.map(|()| batch)
    }

    /// Asks for the next claim when no more than half of this one `of` so many is left; after an empty one none, which nobody would send.
    async fn send_each<'a>(
        &mut self,
        claim: &mut Claim<'a>,
        batch: &mut Batch,
        of: usize,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let (outbox, ends) = (self.outbox.clone(), self.ends.clone());
        let may_go_on = |lapses| !*stop.borrow() && outbox.holds(lapses) && outbox.gate.closed_for(outbox.clock.millis()).is_none();
        while self.session.is_some() && batch.fault.is_none() && may_go_on(claim.lapses) {
            if self.next.is_none() && of > 0 && claim.rest.len() <= of / 2 {
                self.next = Some(self.ask_for_work(claim.rest.len() + usize::from(claim.ahead.is_some())));
            }
            let ready = match claim.ahead.take() {
                Some(ready) => ready,
                None => match self.make_ready(claim, batch).await? {
                    Some(ready) => ready,
                    None => break,
                },
            };
            let result = self.send_before_another(&ready, claim, batch, stop).await;
            match result {
                Ok(Attempt { settled, fault }) => {
                    batch.attempted += 1;
                    batch.fault = fault;
                    settle(&ends, ready.job, settled).await;
                    if let Some(error) = claim.failed.take() {
                        return Err(error);
                    }
                }
                Err(error) => {
                    // The database is asked before the relay: where it fails, nothing was sent.
                    give_back(&outbox, &ends, &mut std::iter::once(ready.job)).await;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The next mail of the claim that may leave; what may not is settled on the way.
    async fn make_ready<'a>(&mut self, claim: &mut Claim<'a>, batch: &mut Batch) -> Result<Option<Ready<'a>>, Error> {
        for job in claim.rest.by_ref() {
            let settled = match self.prepare(job, claim.lapses).await {
                Ok(Ok(ready)) => return Ok(Some(ready)),
                Ok(Err(settled)) => settled,
                Err(error) => {
                    give_back(&self.outbox, &self.ends, &mut std::iter::once(job)).await;
                    return Err(error);
                }
            };
            batch.attempted += 1;
            settle(&self.ends, job, settled).await;
        }
        Ok(None)
    }

    /// Sends one mail, and with its end the envelope of the next, where the relay is known to take that.
    async fn send_before_another<'a>(
        &mut self,
        ready: &Ready<'a>,
        claim: &mut Claim<'a>,
        batch: &mut Batch,
        stop: &watch::Receiver<bool>,
    ) -> Result<Attempt, Error> {
        let (outbox, ends) = (self.outbox.clone(), self.ends.clone());
        if !outbox.one_by_one.load(Ordering::Relaxed) && self.session.as_ref().is_some_and(Session::may_begin_another) {
            // one that cannot be made ready does not hold up the one that is
            match self.make_ready(claim, batch).await {
                Ok(next) => claim.ahead = next,
                Err(error) => claim.failed = Some(error),
            }
        }
        let next = self.next.take();
        let (attempt, next) = {
            let attempting = self.attempt(ready, claim.ahead.as_ref(), claim.lapses, stop);
            tokio::pin!(attempting);
            tokio::select! {
                biased;
                attempt = &mut attempting => (attempt, Some(next)),
                () = stopped(stop) => {
                    let mut left = claim.ahead.iter().map(|ready| ready.job).chain(claim.rest.by_ref());
                    give_back(&outbox, &ends, &mut left).await;
                    give_back_next(&outbox, &ends, next).await;
                    (attempting.await, None)
                }
            }
        };
        match next {
            Some(next) => self.next = next,
            None => claim.ahead = None,
        }
        attempt
    }

    /// Ends a connection on which a message has begun that will not be sent.
    async fn drop_begun(&mut self) {
        if let Some(session) = self.session.take_if(|session| session.has_begun()) {
            session.quit().await;
        }
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

    /// Composes a mail and asks whether it may leave; the inner error is what becomes of one that may not.
    async fn prepare<'a>(&self, job: &'a Job, lapses: u64) -> Result<Result<Ready<'a>, Settled>, Error> {
        let mail = match self.compose(job).await? {
            Ok(mail) => mail,
            Err(reason) => return Ok(Err(self.not_composed(job, reason).await?)),
        };
        let asked = Instant::now();
        Ok(match self.stays(job, lapses).await? {
            Some(settled) => Err(settled),
            None => Ok(Ready { job, mail, asked }),
        })
    }

    /// What becomes of a mail that must not leave now. Asked right before MAIL FROM, on a connection that is open: from the
    /// commit of an opt-out nothing starts any more (S-53).
    async fn stays(&self, job: &Job, lapses: u64) -> Result<Option<Settled>, Error> {
        if let Some(halt) = self.outbox.stop_of(job).await? {
            let reply = if halt == Stop::Paused { String::new() } else { format!("not sent: {halt:?}").to_lowercase() };
            return Ok(Some(ended(job, Fate::Stopped(halt), None, reply)));
        }
        Ok(self.waits(job, lapses))
    }

    /// Likewise, as far as this daemon knows without asking.
    fn waits(&self, job: &Job, lapses: u64) -> Option<Settled> {
        let now = self.outbox.clock.millis();
        // it was given out before its provider said that it is too much (S-59)
        if let Some(until) = self.outbox.pacer.rests_until(job.provider(), now) {
            return Some(untouched(job, until));
        }
        // while it stood still, another daemon may have been given it (S-242)
        (!self.outbox.holds(lapses)).then(|| untouched(job, now))
    }

    async fn attempt(
        &mut self,
        ready: &Ready<'_>,
        next: Option<&Ready<'_>>,
        lapses: u64,
        stop: &watch::Receiver<bool>,
    ) -> Result<Attempt, Error> {
        let (outbox, job) = (self.outbox.clone(), ready.job);
        let (mut asked, mut good_for) = (ready.asked, SOON);
        let mut stays = self.waits(job, lapses);
        // a process that stood still since has an old answer
        while stays.is_none() && asked.elapsed() >= good_for {
            (asked, good_for) = (Instant::now(), FRESH);
            stays = self.stays(job, lapses).await?;
        }
        if let Some(settled) = stays {
            self.drop_begun().await;
            return Ok(settled.into());
        }
        let had_begun = self.session.as_ref().is_some_and(Session::has_begun);
        let began = Instant::now();
        let sent = self.send(&ready.mail, next.map(|next| &next.mail), stop).await;
        outbox.meters.attempted(began.elapsed(), sent.as_ref());
        Ok(verdict(&outbox, job, sent, had_begun).await)
    }

    /// Sends over the lane's connection and keeps it where it is whole. `None` where nothing was sent: there is no connection,
    /// or the relay let a daemon wait that is to stop.
    async fn send(
        &mut self,
        mail: &Outgoing,
        next: Option<&Outgoing>,
        stop: &watch::Receiver<bool>,
    ) -> Option<Result<Outcome, RelayFault>> {
        let mut session = self.session.take()?;
        let sent = tokio::select! {
            sent = session.send(mail.letter(), next.map(Outgoing::letter)) => sent,
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

    async fn compose(&self, job: &Job) -> Result<Result<Outgoing, String>, Error> {
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
    async fn not_composed(&self, job: &Job, reason: String) -> Result<Settled, Error> {
        let (now, id) = (self.outbox.clock.millis(), job.id());
        match job {
            Job::Delivery(delivery) => {
                let edition = self.outbox.store.get_edition(delivery.edition_id).await?;
                error!(campaign.name = edition.campaign, delivery.id = id, "paused: a mail cannot be made of its template");
                match self.outbox.store.pause_campaign(now, &edition.campaign, Cause::Clock, Some(&reason)).await {
                    Ok(()) | Err(Error::Refused(_)) => Ok(untouched(job, now)),
                    Err(error) => Err(error),
                }
            }
            Job::Notice(_) => {
                error!(notice.id = id, "a notice cannot be made of its template");
                Ok(ended(job, Fate::Failed, None, reason))
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
        settle(ends, job, untouched(job, outbox.clock.millis())).await;
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
