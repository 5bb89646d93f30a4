//! What this daemon knows of rates between two claims: when there may be something to send again, and which providers rest.
//!
//! The database holds the truth for all daemons; this only spares lanes the asking, and stops what they hold already.
//! Sources: S-59.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::outcome::Reply;
use crate::model::throttle::{LONGEST_REST, Provider, SLOT};

/// So many temporary refusals in a row, without a mail taken, are a storm: the provider rests, whatever it says.
const STORM: u32 = 20;

#[derive(Debug, Default)]
pub(super) struct Pacer {
    nothing_before: AtomicI64,
    providers: Mutex<HashMap<String, Heard>>,
}

/// What a provider's answers came to.
#[derive(Debug, Default)]
struct Heard {
    refusals: u32,
    rests_until: i64,
}

impl Pacer {
    /// A claim gave out nothing for a rate or a rest: it is not worth asking before `at`.
    pub(super) fn nothing_before(&self, at: i64) {
        self.nothing_before.store(at, Ordering::Release);
    }

    /// How long it is not worth asking for work.
    pub(super) fn wait(&self, now: i64) -> Option<Duration> {
        // what is longer was said before the clock was set back
        let wait = self.nothing_before.load(Ordering::Acquire) - now;
        (1..=SLOT).contains(&wait).then(|| Duration::from_millis(wait.unsigned_abs()))
    }

    /// Until when a provider rests, where it does.
    pub(super) fn rests_until(&self, provider: &str, now: i64) -> Option<i64> {
        let until = self.heard().get(provider)?.rests_until;
        (until > now && until <= now + LONGEST_REST).then_some(until)
    }

    /// A mail was taken.
    pub(super) fn took(&self, provider: &str) {
        if let Some(heard) = self.heard().get_mut(provider) {
            heard.refusals = 0;
        }
    }

    /// A mail was refused for now: until when the provider is to be left alone, where that is what it means.
    pub(super) fn refused(&self, name: &str, provider: &Provider, reply: &Reply, now: i64) -> Option<i64> {
        let mut providers = self.heard();
        let heard = providers.entry(name.to_owned()).or_default();
        heard.refusals += u32::from(!is_about_one(reply));
        if heard.refusals < STORM && !says_slow_down(provider, reply) {
            return None;
        }
        heard.refusals = 0;
        heard.rests_until = now + provider.rest;
        Some(heard.rests_until)
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a refusal is about a mailbox or a system and not about us (RFC 3463 §3.3, §3.4).
fn is_about_one(reply: &Reply) -> bool {
    reply.code == 452 || reply.enhanced.is_some_and(|(_, subject, _)| matches!(subject, 2 | 3))
}

fn says_slow_down(provider: &Provider, reply: &Reply) -> bool {
    let code = reply.enhanced.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}"));
    let says = |sign: &String| {
        code.as_deref() == Some(sign) || reply.text.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == sign)
    };
    provider.rest_on.iter().any(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_500_000_000;

    fn google() -> Provider {
        Provider { rest_on: vec!["4.7.28".into(), "TSS04".into()], rest: 600_000, ..Provider::default() }
    }

    /// S-59: ten minutes after Gmail's 4.7.28; other codes mean one mailbox.
    #[test]
    fn a_provider_that_says_slow_down_rests() {
        let pacer = Pacer::default();
        let reply = |code, text: &str| Reply::new(code, Some((4, 7, if code == 450 { 28 } else { 0 })), text);
        assert_eq!(pacer.refused("google", &google(), &reply(421, "try again"), NOW), None);
        assert_eq!(pacer.rests_until("google", NOW), None);
        assert_eq!(pacer.refused("google", &google(), &reply(450, "unusual rate"), NOW), Some(NOW + 600_000));
        assert_eq!(pacer.rests_until("google", NOW + 599_999), Some(NOW + 600_000));
        assert_eq!((pacer.rests_until("google", NOW + 600_000), pacer.rests_until("yahoo", NOW)), (None, None));
        assert!(pacer.refused("yahoo", &google(), &reply(421, "[TSS04] deferred"), NOW).is_some(), "a word of the text");
    }

    #[test]
    fn a_storm_of_refusals_is_a_rest_whatever_it_says() {
        let pacer = Pacer::default();
        let refused = |n| (0..n).filter_map(|_| pacer.refused("google", &google(), &Reply::new(451, None, "later"), NOW)).count();
        assert_eq!(refused(STORM - 1), 0);
        pacer.took("google");
        assert_eq!(refused(STORM - 1), 0, "a mail was taken between them");
        assert_eq!(refused(1), 1);
        let full = Reply::new(452, Some((4, 2, 2)), "mailbox full");
        assert!((0..100).all(|_| pacer.refused("google", &google(), &full, NOW).is_none()), "each is about one mailbox");
    }
}
