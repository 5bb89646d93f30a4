//! One edition to one contact, and its states.
//!
//! `queued → sending → sent | failed | queued again | uncertain`; a lapsed lease makes `uncertain` too. A stop makes
//! what still waits `suppressed` or `cancelled`; an organiser may have what `failed` tried again. "Finished" is derived from these states, never kept (S-241).

use super::inbound::as_words;
use serde::{Deserialize, Serialize};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its time.
    Queued,
    /// A daemon holds it, until the end of a lease.
    Sending,
    /// The relay said 250.
    Sent,
    /// Refused for good, bounced, or given up.
    Failed,
    /// It may have been sent: the answer to the last byte was never read, or the daemon died (S-73, S-74).
    Uncertain,
    /// The contact said stop before it left.
    Suppressed,
    /// The organiser said stop before it left.
    Cancelled,
}

as_words!(State {
    Queued => "queued", Sending => "sending", Sent => "sent", Failed => "failed", Uncertain => "uncertain",
    Suppressed => "suppressed", Cancelled => "cancelled",
});

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [Self::Queued, Self::Sending, Self::Sent, Self::Failed, Self::Uncertain, Self::Suppressed, Self::Cancelled];

    /// The one place that says what may follow what.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{Cancelled, Failed, Queued, Sending, Sent, Suppressed, Uncertain};
        match self {
            Queued => matches!(next, Sending | Suppressed | Cancelled | Failed),
            Sending => matches!(next, Sent | Failed | Queued | Uncertain | Suppressed | Cancelled),
            // Repeated with the same Message-ID, or shown by a report or a reply to have arrived or not.
            Uncertain => matches!(next, Queued | Sent | Failed | Suppressed | Cancelled),
            // A bounce comes after the relay's 250.
            Sent => matches!(next, Failed),
            // Only on an organiser's word.
            Failed => matches!(next, Queued),
            Suppressed | Cancelled => false,
        }
    }
}

/// How long to wait before the next attempt: doubling from `first` up to `cap`, spread by up to a fifth (S-75).
///
/// `attempts` counts those already made, from 1; `chance` is a random number in 0..=65535.
#[must_use]
pub fn back_off(first: std::time::Duration, cap: std::time::Duration, attempts: u32, chance: u16) -> std::time::Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1).min(20)).unwrap_or(u32::MAX)).min(cap);
    doubled + doubled.mul_f64(0.2 * f64::from(chance) / 65_535.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_has_ended_stays_ended() {
        for end in [State::Suppressed, State::Cancelled] {
            assert!(State::ALL.into_iter().all(|next| !end.may_become(next)));
        }
        assert!(State::ALL.into_iter().all(|next| State::Failed.may_become(next) == (next == State::Queued)));
        assert!(State::ALL.into_iter().all(|next| State::Sent.may_become(next) == (next == State::Failed)));
        assert!(!State::Sending.may_become(State::Sending));
        assert!(!State::Queued.may_become(State::Sent));
    }

    /// S-75.
    #[test]
    fn waiting_doubles_up_to_the_cap_with_some_spread() {
        let wait = |attempts, chance| back_off(Duration::from_secs(600), Duration::from_secs(14_400), attempts, chance).as_secs();
        assert_eq!((wait(1, 0), wait(2, 0), wait(3, 0), wait(30, 0)), (600, 1_200, 2_400, 14_400));
        assert_eq!(wait(1, u16::MAX), 720);
    }
}
