//! What the outbox counts while it works, for whoever watches over the daemon.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::meter::{Counter, Counters, Histogram};
use crate::model::outcome::{Class, Outcome, RelayFault, RelayStop};
use crate::store::{Fate, Stop};

/// A mail on the wire takes milliseconds on loopback, and minutes where a relay is slow.
const WIRE: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// From its time to the relay's 250 a mail waits for those before it: from a second to a day.
const WAIT: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];
/// A commit takes a millisecond, or a busy disk's second.
const COMMIT: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Counters of one daemon's outbox, from its start.
#[derive(Debug)]
pub struct Meters {
    /// Mails handed to the relay, by what came of it.
    pub attempts: Counters<11>,
    /// Faults of the relay that kept a lane from going on, by what was done about them.
    pub faults: Counters<2>,
    /// Attempts settled, by what became of the mail.
    pub settled: Counters<7>,
    /// Connections that were opened.
    pub connections: Counter,
    /// How long a mail was on the wire, from MAIL to the last reply.
    pub wire: Histogram,
    /// How long a mail waited from its time until the relay took it.
    pub wait: Histogram,
    /// How long a settlement took, whatever the number of mails in it.
    pub commit: Histogram,
    connected: AtomicUsize,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            attempts: Counters::new([
                "sent",
                "transient",
                "permanent_hard",
                "permanent_soft",
                "permanent_full",
                "permanent_too_big",
                "permanent_content",
                "permanent_policy",
                "permanent_relay_limit",
                "uncertain",
                "relay_fault",
            ]),
            faults: Counters::new(["back_off", "pause"]),
            settled: Counters::new(["sent", "failed", "uncertain", "retry", "untouched", "suppressed", "stopped"]),
            connections: Counter::default(),
            wire: Histogram::new(WIRE),
            wait: Histogram::new(WAIT),
            commit: Histogram::new(COMMIT),
            connected: AtomicUsize::new(0),
        }
    }
}

impl Meters {
    /// A mail was on the wire for so long; `None` where it was not.
    pub(super) fn attempted(&self, took: Duration, sent: Option<&Result<Outcome, RelayFault>>) {
        let Some(sent) = sent else { return };
        self.wire.observe(took);
        self.attempts.count(match sent {
            Ok(Outcome::Accepted(_)) => "sent",
            Ok(Outcome::Transient(_)) => "transient",
            Ok(Outcome::Permanent(reply)) => match reply.class() {
                Class::Hard => "permanent_hard",
                Class::Soft => "permanent_soft",
                Class::Full => "permanent_full",
                Class::TooBig => "permanent_too_big",
                Class::Content => "permanent_content",
                Class::Policy => "permanent_policy",
                Class::RelayLimit => "permanent_relay_limit",
            },
            Ok(Outcome::Uncertain(_)) => "uncertain",
            Err(_) => "relay_fault",
        });
    }

    /// A mail that was due so many milliseconds ago has left.
    pub(super) fn left(&self, waited_ms: i64) {
        self.wait.observe(Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)));
    }

    /// A lane cannot go on.
    pub(super) fn faulted(&self, stop: RelayStop) {
        self.faults.count(if stop == RelayStop::Pause { "pause" } else { "back_off" });
    }

    /// An attempt was settled.
    pub(super) fn settled(&self, fate: Fate) {
        self.settled.count(match fate {
            Fate::Sent => "sent",
            Fate::Failed => "failed",
            Fate::Uncertain => "uncertain",
            Fate::Again(_) => "retry",
            Fate::Untouched(_) => "untouched",
            Fate::Stopped(Stop::Suppressed) => "suppressed",
            Fate::Stopped(Stop::Cancelled | Stop::Paused) => "stopped",
        });
    }

    /// A lane has a connection, or has one no more.
    pub(super) fn connected(&self, is: bool) {
        if is {
            self.connected.fetch_add(1, Ordering::Relaxed);
        } else {
            self.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many lanes have a connection.
    #[must_use]
    pub fn lanes_connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }
}
