//! Claims what is due, hands it to the relay, settles the outcome.
//!
//! A [`Lane`] is one connection and one [`Lane::step`]: connect, claim a few, send them one after another. The daemon runs as many
//! lanes as the relay may have connections. What they ask of the database while it is busy is asked once for all of them
//! ([`gathered::Gathered`]), and outcomes go to the one [`Settler`], which commits whatever has gathered while the last commit ran: groups
//! grow with the load, and what a kill leaves unsettled stays what one commit's time sends.
//! A claim is the state written before the attempt and the settlement the one after it: a crash between them leaves
//! `uncertain`, never silence (S-74). No transaction is open while a socket is in use.

mod desk;
mod gate;
mod gathered;
mod lane;
mod meters;
mod pacer;
mod prepared;
mod settler;
mod verdict;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::clock::Clock;
use crate::config::{OutboxConfig, Sender};
use crate::model::token::Keys;
use crate::store::{Error, OnUncertain, Store};
use crate::wire::smtp::RelaySettings;

use desk::Desk;
use gate::Gate;
pub use lane::{Lane, Step};
pub use meters::Meters;
use pacer::Pacer;
pub use prepared::{Prepared, organiser};
pub use settler::{End, Settler, settler};

/// How many editions are kept ready.
const EDITIONS: usize = 16;
/// The lease must have this much left for a transaction to begin (S-242).
const LEASE_MARGIN_MS: i64 = 500;
/// How many uncertain deliveries are put back into the queue at a time.
const REPEATS: i64 = 10_000;

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
    /// What is counted while it works.
    pub meters: Meters,
    gate: Gate,
    desk: Desk,
    pacer: Pacer,
    /// Refusals for good since the relay last took a mail, those of dead addresses apart.
    refusals: AtomicU32,
    /// The relay stumbled over an envelope that came together with the message before it.
    one_by_one: AtomicBool,
    /// Lanes that connect, claim or send.
    at_work: AtomicUsize,
    leased_until: AtomicI64,
    /// How far the clock that leases go by is ahead of this host's, in milliseconds; below zero where it is behind.
    ahead: AtomicI64,
    /// What this daemon holds: notices by `true`, deliveries by `false`, with the time of the claim. Only that is prolonged, so that a claim whose
    /// commit was lost on the way runs out like a dead daemon's.
    held: Mutex<HashMap<(bool, i64), i64>>,
    /// Counts the times that the lease ran out before it was renewed.
    lapses: AtomicU64,
    /// Editions that are ready to be rendered, by id.
    editions: Mutex<HashMap<i64, Arc<Prepared>>>,
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
            meters: Meters::default(),
            gate: Gate::default(),
            desk: Desk::default(),
            pacer: Pacer::default(),
            refusals: AtomicU32::new(0),
            one_by_one: AtomicBool::new(false),
            at_work: AtomicUsize::new(0),
            leased_until: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
            held: Mutex::default(),
            lapses: AtomicU64::new(0),
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
        let held: Vec<(bool, i64)> = self.held.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        let ahead = self.store.lease_clock(now).await? - now;
        self.ahead.store(ahead, Ordering::Release);
        self.store.renew_leases(&self.holder, until + ahead, &held).await?;
        // A daemon that stood still for longer than its lease has lost what it held, whatever it holds from now on.
        if self.leased_until.swap(until, Ordering::AcqRel) < now {
            self.lapses.fetch_add(1, Ordering::AcqRel);
        }
        let lapsed = self.store.lapse_leases(now + ahead, &self.holder).await?;
        if lapsed > 0 {
            warn!(deliveries = lapsed, "held by a daemon that ended: they are uncertain");
        }
        if self.config.uncertain == OnUncertain::Repeat {
            let repeated = self.store.repeat_uncertain(now, millis(self.config.retry_first), REPEATS).await?;
            if repeated > 0 {
                warn!(deliveries = repeated, "uncertain: sent again with the same Message-ID; some may arrive twice");
            }
        }
        Ok(())
    }

    /// Why the relay cannot be used now, once that is more than a hiccup; without its own words.
    #[must_use]
    pub fn why_shut(&self) -> Option<String> {
        self.gate.why_shut()
    }

    /// Whether the relay rests by itself now.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.gate.closed_for(self.clock.millis()).is_some()
    }

    /// Lanes that connect, claim or send now.
    #[must_use]
    pub fn lanes_at_work(&self) -> usize {
        self.at_work.load(Ordering::Relaxed)
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

    fn hold(&self, claimed: impl Iterator<Item = (bool, i64)>, claimed_at: i64) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).extend(claimed.map(|row| (row, claimed_at)));
    }

    /// When a row was claimed by the clock of the limits; `None` where it is not held.
    fn claimed_at(&self, row: (bool, i64)) -> Option<i64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&row).copied()
    }

    /// How far the clock that all daemons share is ahead of this host's, in milliseconds.
    fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Acquire)
    }

    fn let_go<'a>(&self, settled: impl Iterator<Item = &'a End>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        settled.for_each(|end| _ = held.remove(&(end.is_notice, end.settled.id)));
    }

    fn leased_until(&self) -> i64 {
        self.leased_until.load(Ordering::Acquire)
    }

    /// The end of this daemon's lease by the clock that leases go by.
    fn lease_to_claim(&self) -> i64 {
        self.leased_until() + self.ahead()
    }

    fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// Whether a transaction may begin for what was claimed when the lease had lapsed `lapses` times (S-242).
    fn holds(&self, lapses: u64) -> bool {
        self.leased_until() >= self.clock.millis() + LEASE_MARGIN_MS && self.lapses() == lapses
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Spread for waiting times; where the system has no randomness, none.
fn chance() -> u16 {
    let mut octets = [0; 2];
    getrandom::fill(&mut octets).map_or(0, |()| u16::from_le_bytes(octets))
}
