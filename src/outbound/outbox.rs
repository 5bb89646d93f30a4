//! Claims what is due, hands it to the relay, settles the outcome.
//!
//! A [`Lane`] is one connection and one [`Lane::step`]: claim a few, send them one after another. The daemon runs as many
//! lanes as the relay may have connections. Outcomes go to the one [`Settler`], which commits whatever has gathered while
//! the last commit ran: the group grows with the load, and what a kill leaves unsettled stays what one commit's time sends.
//! A claim is the state written before the attempt and the settlement the one after it: a crash between them leaves
//! `uncertain`, never silence (S-74). No transaction is open while a socket is in use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::compose::{self, EditionMail, NoticeMail, Outgoing};
use super::layout::Layout;
use super::render::{Fault, Organiser, Rendered, Renderer};
use crate::clock::Clock;
use crate::config::{OutboxConfig, Sender};
use crate::model::address::{Address, Mailbox};
use crate::model::campaign::{CampaignFile, Kind};
use crate::model::contact::Person;
use crate::model::delivery::back_off;
use crate::model::event::Cause;
use crate::model::outcome::{Class, Outcome, RelayFault, RelayStop, Reply};
use crate::model::token::Keys;
use crate::store::{Claimed, ClaimedNotice, Edition, Error, Fate, OnUncertain, Settled, Stop, Store};
use crate::wire::smtp::{self, RelaySettings, Session};

/// How many a lane claims at a time: what is in flight when a daemon is killed is at most this, times the lanes.
const CLAIM: i64 = 16;
/// How many ends may wait for the settler before lanes wait for it, and how many it commits at a time.
const WAITING_ENDS: usize = 256;
const GROUP: usize = 256;
/// How many editions are kept ready.
const EDITIONS: usize = 16;
/// The first and the longest wait after the relay could not be used (S-77).
const RELAY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The lease must have this much left for a transaction to begin (S-242).
const LEASE_MARGIN_MS: i64 = 500;

/// What all lanes of a daemon share.
#[derive(Debug)]
pub struct Outbox {
    /// The database.
    pub store: Store,
    /// The relay.
    pub relay: RelaySettings,
    /// Who sends.
    pub sender: Sender,
    /// The keys that sign tokens.
    pub keys: Keys,
    /// The outbox's patience.
    pub config: OutboxConfig,
    /// The time.
    pub clock: Clock,
    /// This daemon's name in leases: new at each start.
    pub holder: String,
    gate: Gate,
    leased_until: AtomicI64,
    /// Editions that are ready to be rendered, by id.
    editions: Mutex<HashMap<i64, Arc<Prepared>>>,
}

/// Whether the relay may be tried, shared by all lanes.
#[derive(Debug, Default)]
struct Gate {
    failures: AtomicU32,
    open_at: AtomicI64,
}

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

impl Outbox {
    /// An outbox whose lanes share leases under `holder`.
    #[must_use]
    pub fn new(store: Store, relay: RelaySettings, sender: Sender, keys: Keys, config: OutboxConfig, clock: Clock, holder: String) -> Self {
        Self {
            store,
            relay,
            sender,
            keys,
            config,
            clock,
            holder,
            gate: Gate::default(),
            leased_until: AtomicI64::new(0),
            editions: Mutex::default(),
        }
    }

    /// Prolongs this daemon's leases, and sees to what others left behind: lapsed leases become uncertain, and by
    /// setting what is uncertain is repeated with the same Message-ID. Called every third of a lease.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn keep(&self) -> Result<(), Error> {
        let now = self.clock.millis();
        let until = now + millis(self.config.lease);
        self.store.renew_leases(&self.holder, until).await?;
        self.leased_until.store(until, Ordering::Release);
        let lapsed = self.store.lapse_leases(now, &self.holder).await?;
        if lapsed > 0 {
            warn!(deliveries = lapsed, "held by a daemon that ended: they are uncertain");
        }
        if self.config.uncertain == OnUncertain::Repeat {
            let repeated = self.store.repeat_uncertain(now, millis(self.config.retry_first), 10_000).await?;
            if repeated > 0 {
                warn!(deliveries = repeated, "uncertain: sent again with the same Message-ID; some may arrive twice");
            }
        }
        Ok(())
    }

    /// An edition's snapshot, ready to be rendered; the inner error is the first mistake in it.
    ///
    /// # Errors
    /// Where the database fails or there is no such edition.
    pub async fn edition(&self, id: i64) -> Result<Result<Arc<Prepared>, String>, Error> {
        let ready = self.editions.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(ready) = ready {
            return Ok(Ok(ready));
        }
        let edition = self.store.get_edition(id).await?;
        Ok(Prepared::new(&edition, &self.sender).map(Arc::new).inspect(|prepared| {
            let mut editions = self.editions.lock().unwrap_or_else(PoisonError::into_inner);
            if editions.len() >= EDITIONS {
                editions.clear();
            }
            editions.insert(id, prepared.clone());
        }))
    }

    fn leased_until(&self) -> i64 {
        self.leased_until.load(Ordering::Acquire)
    }
}

/// An edition that is ready to be rendered for anybody.
#[derive(Debug)]
pub struct Prepared {
    renderer: Renderer,
    file: CampaignFile,
    key_id: u8,
}

impl Prepared {
    /// Makes an edition's snapshot ready.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn new(edition: &Edition, sender: &Sender) -> Result<Self, String> {
        let first = |mistakes: Vec<crate::model::campaign::Mistake>| mistakes.into_iter().next().map(|m| m.message).unwrap_or_default();
        let file = CampaignFile::parse(&edition.source).map_err(first)?;
        let layout = Layout::from_snapshot(&edition.layout);
        let renderer = Renderer::new(&file, &edition.source, &layout, &organiser(sender)).map_err(first)?;
        Ok(Self { renderer, file, key_id: u8::try_from(edition.key_id).unwrap_or(0) })
    }
}

impl Prepared {
    /// The words that a person is or was sent.
    ///
    /// # Errors
    /// [`Fault`] names the field that is missing.
    pub fn words(&self, person: &Person) -> Result<Rendered, Fault> {
        self.renderer.render(person)
    }
}

/// What a mail says of its sender.
#[must_use]
pub fn organiser(sender: &Sender) -> Organiser<'_> {
    Organiser { name: &sender.organiser, postal_address: &sender.postal_address, address: sender.from.address.as_str() }
}

fn compose_delivery(sender: &Sender, keys: &Keys, edition: &Prepared, delivery: &Claimed) -> Result<Outgoing, String> {
    let person = &delivery.contact.person;
    let words = edition.words(person).map_err(|fault| fault.to_string())?;
    let name = format!("{} {}", person.first_name, person.last_name).trim().to_owned();
    let mail = EditionMail {
        delivery_id: delivery.id,
        key_id: edition.key_id,
        to: Mailbox { name, address: person.address.clone() },
        list: &edition.file.list,
        is_newsletter: edition.file.kind == Kind::Newsletter,
        date: DateTime::from_timestamp_millis(delivery.composed_at).unwrap_or_default(),
    };
    compose::edition(sender, keys, &mail, &words).map_err(|error| error.to_string())
}

/// One line for what went as it should, louder for what did not.
fn tell_of(ends: &[End]) {
    let count = |fate: fn(&Fate) -> bool| ends.iter().filter(|end| fate(&end.settled.fate)).count();
    let (sent, failed) = (count(|f| *f == Fate::Sent), count(|f| *f == Fate::Failed));
    let (deferred, uncertain) = (count(|f| matches!(f, Fate::Again(_))), count(|f| *f == Fate::Uncertain));
    if failed + deferred + uncertain > 0 {
        info!(sent, failed, deferred, uncertain, "attempts settled");
    } else {
        debug!(sent, "attempts settled");
    }
}

/// One connection to the relay, and the steps that use it.
#[derive(Debug)]
pub struct Lane {
    outbox: Arc<Outbox>,
    session: Option<Session>,
    ends: mpsc::Sender<End>,
}

/// The end of one attempt, on its way to the settler.
#[derive(Debug)]
pub struct End {
    is_notice: bool,
    settled: Settled,
}

/// Commits the ends of attempts, as many at a time as have gathered.
#[derive(Debug)]
pub struct Settler {
    outbox: Arc<Outbox>,
    ends: mpsc::Receiver<End>,
    /// What was received and is not committed: kept when the database fails.
    open: Vec<End>,
}

/// A settler, and the way to it for lanes. It ends when the last lane is gone and everything is settled.
#[must_use]
pub fn settler(outbox: Arc<Outbox>) -> (mpsc::Sender<End>, Settler) {
    let (sender, ends) = mpsc::channel(WAITING_ENDS);
    (sender, Settler { outbox, ends, open: Vec::new() })
}

impl Settler {
    /// Settles what has gathered, waiting for the first. `false` when there is nothing more to come.
    ///
    /// # Errors
    /// Where the database fails; what was gathered is kept for the next step.
    pub async fn step(&mut self) -> Result<bool, Error> {
        if self.open.is_empty() && self.ends.recv_many(&mut self.open, GROUP).await == 0 {
            return Ok(false);
        }
        let of = |notices: bool| self.open.iter().filter(move |end| end.is_notice == notices).map(|end| end.settled.clone()).collect();
        let (told, sent): (Vec<Settled>, Vec<Settled>) = (of(true), of(false));
        let (outbox, now) = (&self.outbox, self.outbox.clock.millis());
        let held = outbox.store.settle_deliveries(now, &outbox.holder, &sent).await?.len()
            + outbox.store.settle_notices(now, &outbox.holder, &told).await?.len();
        if held < self.open.len() {
            warn!(deliveries = self.open.len() - held, "not settled here: the lease had ended, so they are uncertain");
        }
        tell_of(&self.open);
        self.open.clear();
        Ok(true)
    }
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
    /// Where the database fails; what was claimed then runs out and becomes uncertain.
    pub async fn step(&mut self, stopping: &(dyn Fn() -> bool + Sync)) -> Result<Step, Error> {
        let outbox = self.outbox.clone();
        let now = outbox.clock.millis();
        let wait = outbox.gate.open_at.load(Ordering::Acquire) - now;
        if wait > 0 {
            return Ok(Step::Wait(Duration::from_millis(wait.unsigned_abs())));
        }
        if outbox.store.paused_relays().await?.iter().any(|relay| relay.name == outbox.relay.host) {
            self.hang_up().await;
            return Ok(Step::Paused);
        }
        if !outbox.store.is_due(now).await? {
            return Ok(Step::Idle);
        }
        let until = outbox.leased_until();
        let notices = outbox.store.claim_notices(now, CLAIM, &outbox.holder, until).await?;
        let room = CLAIM - i64::try_from(notices.len()).unwrap_or(CLAIM);
        let deliveries = if room > 0 { outbox.store.claim_deliveries(now, room, &outbox.holder, until).await? } else { Vec::new() };
        if notices.is_empty() && deliveries.is_empty() {
            return Ok(Step::Idle);
        }
        let jobs: Vec<Job<'_>> = notices.iter().map(Job::Notice).chain(deliveries.iter().map(Job::Delivery)).collect();
        let mut fault = None;
        for job in &jobs {
            let attempt = self.unless_stopped(fault.is_some() || stopping(), job).await?;
            fault = fault.or(attempt.fault);
            let is_notice = matches!(job, Job::Notice(_));
            // The settler outlives the lanes; were it gone, the lease would run out and the delivery be uncertain.
            _ = self.ends.send(End { is_notice, settled: attempt.settled }).await;
        }
        match fault {
            None => {
                outbox.gate.failures.store(0, Ordering::Release);
                Ok(Step::Attempted(jobs.len()))
            }
            Some(fault) => self.stand_back(&fault).await,
        }
    }

    /// Says goodbye to the relay.
    pub async fn hang_up(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
    }

    async fn unless_stopped(&mut self, stopped: bool, job: &Job<'_>) -> Result<Attempt, Error> {
        let now = self.outbox.clock.millis();
        if stopped || self.outbox.leased_until() < now + LEASE_MARGIN_MS {
            return Ok(untouched(job.id(), now, None));
        }
        self.attempt(job).await
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
            Err(fault) => Ok(untouched(id, outbox.clock.millis(), Some(fault))),
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

    async fn stand_back(&mut self, fault: &RelayFault) -> Result<Step, Error> {
        let outbox = self.outbox.clone();
        self.session = None;
        if fault.stop == RelayStop::Pause {
            error!(relay.host = outbox.relay.host, reason = fault.text, "relay paused; mend it, then: svar resume-relay");
            outbox.store.pause_relay(outbox.clock.millis(), &outbox.relay.host, &fault.text).await?;
            return Ok(Step::Paused);
        }
        let failures = outbox.gate.failures.fetch_add(1, Ordering::AcqRel) + 1;
        let wait = back_off(RELAY_WAIT.0, RELAY_WAIT.1, failures, chance());
        outbox.gate.open_at.store(outbox.clock.millis() + millis(wait), Ordering::Release);
        warn!(relay.host = outbox.relay.host, reason = fault.text, wait_seconds = wait.as_secs(), "the relay cannot be used now");
        Ok(Step::Wait(wait))
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

    fn attempts(&self) -> u32 {
        match self {
            Self::Delivery(delivery) => delivery.attempts,
            Self::Notice(notice) => u32::try_from(notice.attempts).unwrap_or(u32::MAX),
        }
    }

    fn composed_at(&self) -> i64 {
        match self {
            Self::Delivery(delivery) => delivery.composed_at,
            Self::Notice(notice) => notice.composed_at,
        }
    }
}

fn untouched(id: i64, due_at: i64, fault: Option<RelayFault>) -> Attempt {
    let reply = fault.as_ref().map(|f| f.text.clone()).unwrap_or_default();
    Attempt { settled: Settled { id, fate: Fate::Untouched(due_at), code: None, reply, hard: false }, fault }
}

/// What an outcome does to its delivery (S-72, S-75, S-80).
fn settled_by(outbox: &Outbox, job: &Job<'_>, outcome: Outcome) -> Attempt {
    let (now, id) = (outbox.clock.millis(), job.id());
    let settled = |fate, reply: &Reply, hard| Settled { id, fate, code: Some(reply.code), reply: reply.to_string(), hard };
    match outcome {
        Outcome::Accepted(reply) => Attempt { settled: settled(Fate::Sent, &reply, false), fault: None },
        Outcome::Uncertain(what) => {
            Attempt { settled: Settled { id, fate: Fate::Uncertain, code: None, reply: what, hard: false }, fault: None }
        }
        Outcome::Transient(reply) => {
            let wait = back_off(outbox.config.retry_first, outbox.config.retry_cap, job.attempts(), chance());
            let given_up = now + millis(wait) > job.composed_at() + millis(outbox.config.give_up);
            let fate = if given_up { Fate::Failed } else { Fate::Again(now + millis(wait)) };
            Attempt { settled: settled(fate, &reply, false), fault: None }
        }
        Outcome::Permanent(reply) if reply.class() == Class::RelayLimit => {
            untouched(id, now, Some(RelayFault { stop: RelayStop::Pause, text: reply.to_string(), reply: Some(reply) }))
        }
        Outcome::Permanent(reply) => Attempt { settled: settled(Fate::Failed, &reply, reply.class() == Class::Hard), fault: None },
    }
}

fn compose_notice(outbox: &Outbox, notice: &ClaimedNotice) -> Result<Outgoing, String> {
    let to = Address::parse(&notice.recipient).map_err(|error| error.to_string())?;
    let mail = NoticeMail {
        notice_id: notice.id,
        key_id: u8::try_from(notice.key_id).unwrap_or(0),
        to,
        reply_to: &notice.reply_to,
        subject: &notice.subject,
        text: &notice.body,
        in_reply_to: &notice.in_reply_to,
        references: &notice.reference_ids,
        is_answer: notice.about == "confirmation",
        date: DateTime::from_timestamp_millis(notice.composed_at).unwrap_or_default(),
    };
    compose::notice(&outbox.sender, &outbox.keys, &mail).map_err(|error| error.to_string())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Spread for waiting times; where the system has no randomness, none.
fn chance() -> u16 {
    let mut octets = [0; 2];
    getrandom::fill(&mut octets).map_or(0, |()| u16::from_le_bytes(octets))
}
