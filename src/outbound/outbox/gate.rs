//! Whether the relay may be tried, shared by all lanes: closed for longer each time it cannot be used, until it takes a mail.
//!
//! One rest is one fault, however many lanes meet it: a lane says which count of rests it began its step with.
//! Sources: S-77.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{chance, millis};
use crate::model::delivery::back_off;

/// The first and the longest rest.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// So many rests without a mail between them are more than a hiccup.
const HICCUPS: u32 = 1;

#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open_at: i64,
    /// All rests there were.
    rests: u64,
    /// Those since the relay last took a mail.
    failures: u32,
    why: String,
}

/// What closing the gate came to.
#[derive(Debug)]
pub(super) struct Rest {
    /// How long the relay is not to be tried.
    pub(super) wait: Duration,
    /// Whether it is the first since the relay last took a mail.
    pub(super) is_first: bool,
}

impl Gate {
    /// How long the relay is not to be tried.
    pub(super) fn closed_for(&self, now: i64) -> Option<Duration> {
        self.state().closed_for(now)
    }

    /// The count of rests, to be given to [`Gate::close`] at the end of what begins now.
    pub(super) fn rests(&self) -> u64 {
        self.state().rests
    }

    /// The relay could not be used. Where another lane has closed the gate since `rests` were counted, that rest is this one's too.
    pub(super) fn close(&self, now: i64, rests: u64, why: &str) -> Rest {
        let mut state = self.state();
        if state.rests != rests {
            return Rest { wait: state.closed_for(now).unwrap_or_default(), is_first: false };
        }
        state.rests += 1;
        state.failures += 1;
        why.clone_into(&mut state.why);
        let wait = back_off(REST.0, REST.1, state.failures, chance());
        state.open_at = now + millis(wait);
        Rest { wait, is_first: state.failures == 1 }
    }

    /// The relay has taken a mail; whether it had been resting.
    pub(super) fn forgive(&self) -> bool {
        std::mem::take(&mut self.state().failures) > 0
    }

    /// Why the relay cannot be used, once that is more than a hiccup.
    pub(super) fn why_shut(&self) -> Option<String> {
        let state = self.state();
        (state.failures > HICCUPS).then(|| state.why.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn closed_for(&self, now: i64) -> Option<Duration> {
        let wait = self.open_at - now;
        (wait > 0).then(|| Duration::from_millis(wait.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-77: four lanes that lose one relay rest once, not for one, two, four and eight seconds.
    #[test]
    fn one_outage_is_one_rest_however_many_lanes_meet_it() {
        let gate = Gate::default();
        let began = gate.rests();
        let first = gate.close(0, began, "down");
        assert!(first.is_first && first.wait < REST.0 * 2);
        for _ in 0..3 {
            let same = gate.close(0, began, "down");
            assert!(!same.is_first && same.wait <= first.wait);
        }
        assert_eq!(gate.why_shut(), None);
        let second = gate.close(2_000, gate.rests(), "still down");
        assert!(!second.is_first && second.wait >= REST.0 * 2 && second.wait < REST.0 * 4);
        assert_eq!(gate.why_shut().as_deref(), Some("still down"));
        assert!(gate.forgive() && !gate.forgive());
        assert_eq!(gate.why_shut(), None);
        assert!(gate.close(9_000, gate.rests(), "down").is_first);
    }
}
