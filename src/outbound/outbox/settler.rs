//! Commits the ends of attempts, as many at a time as have gathered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Outbox;
use crate::store::{Error, Fate, Settled};

/// How many ends may wait before lanes wait for the settler, and how many it commits at a time.
const WAITING: usize = 256;
const GROUP: usize = 256;

/// The end of one attempt, on its way to the settler.
#[derive(Debug)]
pub struct End {
    pub(super) is_notice: bool,
    pub(super) settled: Settled,
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
    let (sender, ends) = mpsc::channel(WAITING);
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
        let began = Instant::now();
        let held = outbox.store.settle_deliveries(now, &outbox.holder, &sent).await?.len()
            + outbox.store.settle_notices(now, &outbox.holder, &told).await?.len();
        outbox.meters.commit.observe(began.elapsed());
        self.open.iter().for_each(|end| outbox.meters.settled(end.settled.fate));
        if held < self.open.len() {
            warn!(deliveries = self.open.len() - held, "not settled here: the lease had ended, so they are uncertain");
        }
        give_back(outbox, &self.open).await;
        outbox.let_go(self.open.iter());
        tell_of(&self.open);
        self.open.clear();
        Ok(true)
    }
}

/// What did not leave does not count. Where that cannot be written it counts, which passes no limit.
async fn give_back(outbox: &Outbox, ends: &[End]) {
    let rates = &outbox.config.throttle;
    if !rates.any() {
        return;
    }
    // by the time of the claim, under which it was counted: so many notices, and these deliveries
    let mut claims: BTreeMap<i64, (i64, Vec<i64>)> = BTreeMap::new();
    for end in ends.iter().filter(|end| matches!(end.settled.fate, Fate::Untouched(_) | Fate::Stopped(_))) {
        let Some(claimed_at) = outbox.claimed_at((end.is_notice, end.settled.id)) else { continue };
        let (notices, deliveries) = claims.entry(claimed_at).or_default();
        if end.is_notice {
            *notices += 1;
        } else {
            deliveries.push(end.settled.id);
        }
    }
    for (claimed_at, (notices, deliveries)) in claims {
        if let Err(error) = outbox.store.give_back_rate(claimed_at, &outbox.relay.host, rates, notices, &deliveries).await {
            warn!(%error, "what did not leave stays counted for the rate");
        }
    }
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
