//! How fast mail may leave: steadily by the second and the minute, and no more than so many in an hour and a day.
//!
//! In: a [`Rate`] and what was [`Used`] of it. Out: how many more now, and when the next. Two kinds of limit, because they mean
//! different things: a pace is kept by equal gaps (S-59: steady, not in bursts; the generic cell rate algorithm), a quota
//! may be used up at once, as a volunteer with forty addresses and five hundred a day wants it. Times are milliseconds since 1970,
//! but for the gaps, which are microseconds.
//! Sources: S-59, S-89.

use std::collections::BTreeMap;

/// What is counted together for the quotas of an hour and a day, in milliseconds.
pub const SLOT: i64 = 300_000;
/// How many slots an hour and a day are made of.
const HOUR: i64 = 3_600_000 / SLOT;
const DAY: i64 = 24 * HOUR;
/// So much of a pace may be made up for at once: a daemon that looks every second loses nothing.
const BURST_US: i64 = 1_000_000;
/// The longest rest that may be asked for, in milliseconds.
pub const LONGEST_REST: i64 = 86_400_000;
/// After a rest one mail is under way at a time, and each minute one more, so long (S-59).
const CAREFUL: i64 = 20;

/// Limits of what may leave; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Mails a second.
    pub per_second: u32,
    /// Mails a minute.
    pub per_minute: u32,
    /// Mails in any hour.
    pub per_hour: u32,
    /// Mails in any 24 hours.
    pub per_day: u32,
}

/// What is known of what left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// When the pace lets the next one go, in microseconds since 1970.
    pub free_at: i64,
    /// Mails in the last hour, by whole slots: a little longer rather than shorter.
    pub hour: i64,
    /// The same of 24 hours.
    pub day: i64,
}

/// How many may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// So many, at least one.
    Now(i64),
    /// None before this time, in milliseconds since 1970.
    NotBefore(i64),
}

impl Rate {
    /// Whether there is any limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// The time between two mails, in microseconds; 0 without a pace.
    fn gap(&self) -> i64 {
        let gap = |unit: i64, n: u32| if n == 0 { 0 } else { (unit + i64::from(n) - 1) / i64::from(n) };
        gap(1_000_000, self.per_second).max(gap(60_000_000, self.per_minute))
    }

    /// How many more may leave at `now`.
    #[must_use]
    pub fn allows(&self, used: &Used, now: i64) -> Allowed {
        let quota = |limit: u32, used: i64| if limit == 0 { i64::MAX } else { i64::from(limit) - used };
        let quota = quota(self.per_hour, used.hour).min(quota(self.per_day, used.day));
        if quota <= 0 {
            // counted by slots, it can only change at the end of one
            return Allowed::NotBefore((now.div_euclid(SLOT) + 1) * SLOT);
        }
        let gap = self.gap();
        if gap == 0 {
            return Allowed::Now(quota);
        }
        let (ahead, most) = ((self.believed(used, now) - now * 1_000).max(0), (BURST_US / gap).max(1));
        match (most * gap - ahead) / gap {
            n if n > 0 => Allowed::Now(n.min(quota)),
            _ => Allowed::NotBefore(now + (ahead - (most - 1) * gap).div_euclid(1_000) + 1),
        }
    }

    /// When the pace lets another one go once `n` more have left at `now`, in microseconds since 1970.
    #[must_use]
    pub fn free_at(&self, used: &Used, now: i64, n: i64) -> i64 {
        self.believed(used, now).max(now * 1_000) + n * self.gap()
    }

    /// When the pace lets the next one go. What is later than can be was written by a clock that went wrong, and would stop all mail
    /// until then: it is not believed.
    fn believed(&self, used: &Used, now: i64) -> i64 {
        if used.free_at > now * 1_000 + BURST_US.max(self.gap()) { 0 } else { used.free_at }
    }

    /// The same for what may wait: a twentieth of the quotas is kept for confirmations and words to the organiser.
    #[must_use]
    pub fn for_editions(&self) -> Self {
        Self { per_hour: self.per_hour - self.per_hour / 20, per_day: self.per_day - self.per_day / 20, ..*self }
    }
}

/// The slot of a time.
#[must_use]
pub fn slot(now: i64) -> i64 {
    now.div_euclid(SLOT)
}

/// The first slot that counts for an hour and for a day.
#[must_use]
pub fn first_slots(now: i64) -> (i64, i64) {
    (slot(now) - HOUR, slot(now) - DAY)
}

/// A mailbox provider: domains that are counted together, and what makes svar slow down for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    /// Its domains, in lower case.
    pub domains: Vec<String>,
    /// How fast mail may leave for it.
    pub rate: Rate,
    /// What a temporary refusal says that means "slow down": an enhanced code as `4.7.28`, or a word of the text.
    pub rest_on: Vec<String>,
    /// How long it is left alone then, in milliseconds.
    pub rest: i64,
}

/// How fast mail may leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// Through the relay.
    pub relay: Rate,
    /// For each provider, by its name.
    pub providers: BTreeMap<String, Provider>,
}

impl Throttle {
    /// Whether anything is limited.
    #[must_use]
    pub fn any(&self) -> bool {
        self.relay.is_limited() || self.providers.values().any(|provider| provider.rate.is_limited())
    }

    /// The limits of a provider; none for what is not known.
    #[must_use]
    pub fn of(&self, provider: &str) -> Rate {
        self.providers.get(provider).map_or(Rate::default(), |provider| provider.rate)
    }
}

/// How many mails may be under way to a provider that rested until `rested_until`; `None` for any number. No rest is longer than
/// [`LONGEST_REST`]: one that is was written by a clock that went wrong.
#[must_use]
pub fn ceiling(rested_until: i64, now: i64) -> Option<i64> {
    if rested_until > now + LONGEST_REST {
        return None;
    }
    let minutes = (now - rested_until).div_euclid(60_000);
    (minutes < CAREFUL).then_some((minutes + 1).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_795_500_000_000;

    #[test]
    fn a_pace_lets_one_go_after_the_other() {
        let rate = Rate { per_minute: 30, ..Rate::default() };
        let mut used = Used::default();
        assert_eq!(rate.allows(&used, NOW), Allowed::Now(1));
        used.free_at = rate.free_at(&used, NOW, 1);
        assert_eq!(rate.allows(&used, NOW), Allowed::NotBefore(NOW + 2_001));
        assert_eq!(rate.allows(&used, NOW + 1_999), Allowed::NotBefore(NOW + 2_001));
        assert_eq!(rate.allows(&used, NOW + 2_001), Allowed::Now(1));
        assert_eq!(rate.allows(&used, NOW + 600_000), Allowed::Now(1), "what was not used is not made up for");
    }

    #[test]
    fn a_fast_pace_lets_a_seconds_worth_go_at_once() {
        let rate = Rate { per_second: 20, per_minute: 60_000, ..Rate::default() };
        let mut used = Used::default();
        assert_eq!(rate.allows(&used, NOW), Allowed::Now(20));
        used.free_at = rate.free_at(&used, NOW, 15);
        assert_eq!(rate.allows(&used, NOW), Allowed::Now(5));
    }

    #[test]
    fn a_quota_may_be_used_at_once_and_is_then_empty() {
        let rate = Rate { per_hour: 100, per_day: 500, ..Rate::default() };
        assert_eq!(rate.allows(&Used::default(), NOW), Allowed::Now(100));
        assert_eq!(rate.allows(&Used { hour: 99, day: 480, ..Used::default() }, NOW), Allowed::Now(1));
        let Allowed::NotBefore(at) = rate.allows(&Used { hour: 0, day: 500, ..Used::default() }, NOW) else { panic!("it is used up") };
        assert!(at > NOW && at <= NOW + SLOT && at % SLOT == 0);
    }

    /// S-244: a clock that was a year ahead, and is set right.
    #[test]
    fn a_clock_that_went_wrong_stops_nothing() {
        let rate = Rate { per_minute: 30, ..Rate::default() };
        let year = Used { free_at: (NOW + 31_536_000_000) * 1_000, ..Used::default() };
        assert_eq!(rate.allows(&year, NOW), Allowed::Now(1));
        assert_eq!(ceiling(NOW + 31_536_000_000, NOW), None);
    }

    #[test]
    fn some_of_a_quota_is_kept_for_what_cannot_wait() {
        let rate = Rate { per_minute: 30, per_hour: 19, per_day: 500, ..Rate::default() }.for_editions();
        assert_eq!((rate.per_minute, rate.per_hour, rate.per_day), (30, 19, 475));
    }

    /// S-59: one connection after the rest, and one more at a time.
    #[test]
    fn after_a_rest_mail_begins_slowly() {
        assert_eq!(ceiling(NOW, NOW), Some(1));
        assert_eq!(ceiling(NOW, NOW + 119_999), Some(2));
        assert_eq!(ceiling(NOW, NOW + 3_600_000), None);
        assert_eq!(ceiling(NOW, NOW - 1), Some(0), "none while it rests");
    }

    proptest! {
        /// Whoever asks whenever, no hour gets more than its pace and no window more than its quota.
        #[test]
        fn never_more_than_the_limit(
            (per_second, per_minute) in (0_u32..40, 0_u32..200), per_hour in 1_u32..500,
            steps in proptest::collection::vec((0_i64..90_000, 1_i64..64), 1..300),
        ) {
            let rate = Rate { per_second, per_minute, per_hour, per_day: 0 };
            let (mut now, mut used, mut left): (i64, Used, Vec<(i64, i64)>) = (NOW, Used::default(), Vec::new());
            for (wait, wants) in steps {
                now += wait;
                used.hour = left.iter().filter(|(at, _)| slot(*at) >= first_slots(now).0).map(|(_, n)| n).sum();
                match rate.allows(&used, now) {
                    Allowed::Now(n) => {
                        prop_assert!(n >= 1);
                        let n = n.min(wants);
                        used.free_at = rate.free_at(&used, now, n);
                        left.push((now, n));
                    }
                    Allowed::NotBefore(at) => prop_assert!(at > now),
                }
                let since = |ms: i64| left.iter().filter(|(at, _)| *at > now - ms).map(|(_, n)| n).sum::<i64>();
                prop_assert!(since(3_600_000) <= i64::from(per_hour));
                if per_second > 0 {
                    prop_assert!(since(10_000) <= i64::from(per_second) * 11);
                }
                if per_minute > 0 {
                    prop_assert!(since(60_000) <= i64::from(per_minute) + i64::from(per_minute).div_euclid(60) + 2);
                }
            }
        }
    }
}
