//! When the share of dead addresses or complaints is so high that a campaign must not go on (S-54, S-55).
//!
//! In: what was counted of one edition. Out: a [`Verdict`]. The bounds are those that large mailbox providers judge a sender by: they
//! stop taking mail from one that passes them, that of other campaigns too.

/// What was counted among mails that have had an attempt with an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Mails that the relay took, or that failed.
    pub mails: u64,
    /// Those of them whose address does not exist.
    pub hard_bounces: u64,
    /// Those of them whose recipient called them junk.
    pub complaints: u64,
}

/// What is too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Dead addresses.
    HardBounces,
    /// Complaints.
    Complaints,
}

/// What follows from a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// The organiser is told.
    Warn(Rate),
    /// The campaign is paused, and the organiser told.
    Pause(Rate),
}

/// So few complaints are no rate yet: among three hundred mails a single one would be 0.33 %.
const COMPLAINTS: u64 = 3;

/// S-55: hard bounces above 5 % pause. S-54: complaints warn at 0.10 % and pause at 0.30 %. Nothing follows from fewer than `sample`
/// mails.
#[must_use]
pub fn judge(tally: Tally, sample: u64) -> Verdict {
    let Tally { mails, hard_bounces, complaints } = tally;
    if mails < sample.max(1) {
        return Verdict::Fine;
    }
    let reaches = |count: u64, of_thousand: u64| count.saturating_mul(1000) >= mails.saturating_mul(of_thousand);
    if complaints >= COMPLAINTS && reaches(complaints, 3) {
        Verdict::Pause(Rate::Complaints)
    } else if hard_bounces.saturating_mul(100) > mails.saturating_mul(5) {
        Verdict::Pause(Rate::HardBounces)
    } else if complaints > 0 && reaches(complaints, 1) {
        Verdict::Warn(Rate::Complaints)
    } else {
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-54, S-55, at both sides of each bound.
    #[test]
    fn a_rate_that_is_too_high_pauses_once_there_are_enough_mails() {
        let verdict = |mails, hard_bounces, complaints| judge(Tally { mails, hard_bounces, complaints }, 100);
        assert_eq!(verdict(99, 99, 99), Verdict::Fine);
        assert_eq!(verdict(100, 5, 0), Verdict::Fine);
        assert_eq!(verdict(100, 6, 0), Verdict::Pause(Rate::HardBounces));
        assert_eq!(verdict(1_001, 0, 1), Verdict::Fine);
        assert_eq!(verdict(1_000, 0, 1), Verdict::Warn(Rate::Complaints));
        assert_eq!(verdict(1_001, 0, 3), Verdict::Warn(Rate::Complaints));
        assert_eq!(verdict(1_000, 0, 3), Verdict::Pause(Rate::Complaints));
        assert_eq!(verdict(300, 0, 2), Verdict::Warn(Rate::Complaints), "two people are no rate");
        assert_eq!(judge(Tally::default(), 0), Verdict::Fine);
    }
}
