//! What the lanes ask of the database, asked once for all who ask at the same time: work, and whether a mail may still leave.

use super::Outbox;
use super::gathered::Gathered;
use crate::store::{Claimed, ClaimedNotice, Error, Limits, Stop};

/// Questions that wait to be asked.
#[derive(Debug, Default)]
pub(super) struct Desk {
    work: Gathered<i64, Work>,
    stops: Gathered<i64, Option<Stop>>,
}

/// What a lane is given to do.
#[derive(Debug)]
pub(super) enum Work {
    /// These, perhaps none.
    Jobs(Vec<Job>),
    /// Nothing: the relay is paused until a person resumes it.
    Paused,
}

/// One mail to be sent.
#[derive(Debug)]
pub(super) enum Job {
    Delivery(Claimed),
    Notice(ClaimedNotice),
}

impl Job {
    pub(super) fn id(&self) -> i64 {
        match self {
            Self::Delivery(delivery) => delivery.id,
            Self::Notice(notice) => notice.id,
        }
    }

    /// Whether it is a notice, and its row: as the outbox remembers what it holds.
    pub(super) fn held(&self) -> (bool, i64) {
        (matches!(self, Self::Notice(_)), self.id())
    }

    pub(super) fn attempts(&self) -> u32 {
        match self {
            Self::Delivery(delivery) => delivery.attempts,
            Self::Notice(notice) => u32::try_from(notice.attempts).unwrap_or(u32::MAX),
        }
    }

    /// The mailbox provider that it is counted by; none for a notice.
    pub(super) fn provider(&self) -> &str {
        match self {
            Self::Delivery(delivery) => &delivery.provider,
            Self::Notice(_) => "",
        }
    }

    /// When it was to be tried.
    pub(super) fn due_at(&self) -> i64 {
        match self {
            Self::Delivery(delivery) => delivery.due_at,
            Self::Notice(notice) => notice.due_at,
        }
    }

    /// The moment of the first composition, in milliseconds.
    pub(super) fn composed_at(&self) -> i64 {
        match self {
            Self::Delivery(delivery) => delivery.composed_at,
            Self::Notice(notice) => notice.composed_at,
        }
    }

    pub(super) fn first_attempt_at(&self) -> Option<i64> {
        match self {
            Self::Delivery(delivery) => delivery.first_attempt_at,
            Self::Notice(notice) => notice.first_attempt_at,
        }
    }
}

impl Outbox {
    /// Claims up to `limit` for a lane that is connected, together with what other lanes ask for.
    pub(super) async fn work(&self, limit: i64) -> Result<Work, Error> {
        self.desk.work.ask(limit, |limits| self.give_out(limits)).await
    }

    /// Whether a claimed mail must not leave any more. The answer is no older than the question (S-53).
    pub(super) async fn stop_of(&self, job: &Job) -> Result<Option<Stop>, Error> {
        match job {
            Job::Delivery(delivery) => self.desk.stops.ask(delivery.id, async |ids| self.store.stops_of_deliveries(&ids).await).await,
            Job::Notice(notice) => self.store.stop_of_notice(notice.id).await,
        }
    }

    async fn give_out(&self, limits: Vec<i64>) -> Result<Vec<Work>, Error> {
        if self.is_paused().await? {
            return Ok(limits.iter().map(|_| Work::Paused).collect());
        }
        let now = self.clock.millis();
        let mut jobs = Vec::new();
        // reading costs no write
        if self.store.more_is_due(now, 0).await? {
            let lease = (self.holder.as_str(), self.lease_to_claim());
            let rates = Limits { host: &self.relay.host, throttle: &self.config.throttle, now: now + self.ahead() };
            let claim = self.store.claim_due(now, limits.iter().sum(), lease, rates).await?;
            if let Some(at) = claim.not_before {
                self.pacer.nothing_before(at - self.ahead());
            }
            jobs.extend(claim.notices.into_iter().map(Job::Notice).chain(claim.deliveries.into_iter().map(Job::Delivery)));
        }
        // at once, so that no lease runs out while a lane has not looked yet what it was given
        self.hold(jobs.iter().map(Job::held), now + self.ahead());
        let mut jobs = jobs.into_iter();
        Ok(shares(jobs.len(), &limits).into_iter().map(|share| Work::Jobs(jobs.by_ref().take(share).collect())).collect())
    }

    /// Whether the relay waits for a person.
    pub(super) async fn is_paused(&self) -> Result<bool, Error> {
        Ok(self.store.paused_relays().await?.iter().any(|relay| relay.name == self.relay.host))
    }
}

/// How `jobs`, no more than all limits together, are dealt out: evenly as far as the limits let, and wholly.
fn shares(jobs: usize, limits: &[i64]) -> Vec<usize> {
    let limits: Vec<usize> = limits.iter().map(|limit| usize::try_from(*limit).unwrap_or(0)).collect();
    let mut left = jobs;
    let share = |(lane, limit): (usize, &usize)| {
        let others: usize = limits[lane + 1..].iter().sum();
        let share = left.div_ceil(limits.len() - lane).max(left.saturating_sub(others)).min(*limit);
        left -= share;
        share
    };
    limits.iter().enumerate().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_dealt_out_evenly_and_wholly() {
        assert_eq!(shares(0, &[16, 16]), [0, 0]);
        assert_eq!(shares(5, &[16, 16]), [3, 2]);
        assert_eq!(shares(17, &[16, 1]), [16, 1]);
        assert_eq!(shares(10, &[1, 16, 16]), [1, 5, 4]);
        assert_eq!(shares(33, &[16, 1, 16]), [16, 1, 16]);
        assert_eq!(shares(1, &[16, 16, 16]), [1, 0, 0]);
    }
}
