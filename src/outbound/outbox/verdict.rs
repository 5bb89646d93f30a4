//! What an attempt came to: how its delivery is settled, and what it says of the relay and the mailbox provider.
//!
//! Sources: S-59, S-72…S-80.

use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::desk::Job;
use super::{Outbox, chance, millis};
use crate::model::delivery::back_off;
use crate::model::outcome::{Class, Outcome, RelayFault, RelayStop, Reply};
use crate::store::{Fate, Settled};

/// After so many refusals in a row without a mail taken between them the relay is paused.
const BURST: u32 = 20;

/// What became of one attempt: how it is settled, and whether the lane may go on.
pub(super) struct Attempt {
    pub(super) settled: Settled,
    pub(super) fault: Option<RelayFault>,
}

impl From<Settled> for Attempt {
    fn from(settled: Settled) -> Self {
        Self { settled, fault: None }
    }
}

/// What was sent, or not, came to; nothing where it was not begun. `had_begun`: its envelope had left with the mail before.
pub(super) async fn verdict(outbox: &Outbox, job: &Job, sent: Option<Result<Outcome, RelayFault>>, had_begun: bool) -> Attempt {
    match sent {
        Some(Ok(outcome)) => {
            heed(outbox, job, &outcome).await;
            settled_by(outbox, job, outcome)
        }
        Some(Err(fault)) if fault.stop == RelayStop::Reconnect => untouched(job, outbox.clock.millis()).into(),
        Some(Err(fault)) if had_begun && is_about_beginning(&fault) => {
            outbox.one_by_one.store(true, Ordering::Relaxed);
            let reason = fault.for_log();
            warn!(relay.host = outbox.relay.host, reason, "it takes no envelope behind a message: one after another now");
            untouched(job, outbox.clock.millis()).into()
        }
        Some(Err(fault)) => {
            // then that was not why
            if is_about_beginning(&fault) {
                outbox.one_by_one.store(false, Ordering::Relaxed);
            }
            cut_off(outbox, job, fault)
        }
        None => untouched(job, outbox.clock.millis()).into(),
    }
}

/// The end of an attempt that took this to its fate.
pub(super) fn ended(job: &Job, fate: Fate, code: Option<u16>, reply: String) -> Settled {
    Settled { id: job.id(), fate, code, reply, hard: false, attempt: job.attempts() }
}

/// It was not attempted, and waits until then.
pub(super) fn untouched(job: &Job, due_at: i64) -> Settled {
    ended(job, Fate::Untouched(due_at), None, String::new())
}

/// Whether a fault may come of the envelope that was sent ahead and not of the relay's state, of which 4xx speaks.
fn is_about_beginning(fault: &RelayFault) -> bool {
    !fault.begun && fault.reply.as_ref().is_none_or(|reply| reply.code >= 500)
}

/// A fault of the relay: what had not begun goes back untouched; what had begun waits as after a 451 (S-73), so that one
/// mail over which the relay stumbles each time does not stand in the way of all the others.
fn cut_off(outbox: &Outbox, job: &Job, fault: RelayFault) -> Attempt {
    if !fault.begun {
        let settled = Settled { reply: fault.text.clone(), ..untouched(job, outbox.clock.millis()) };
        return Attempt { settled, fault: Some(fault) };
    }
    let code = fault.reply.as_ref().map(|reply| reply.code);
    let settled = ended(job, again(outbox, job), code, fault.text.clone());
    Attempt { settled, fault: Some(fault) }
}

/// Later, longer each time, or given up: so long after the first attempt, whatever the relay did before it (S-75).
fn again(outbox: &Outbox, job: &Job) -> Fate {
    let wait = millis(back_off(outbox.config.retry_first, outbox.config.retry_cap, job.attempts(), chance()));
    let now = outbox.clock.millis();
    let at = now + wait;
    if at > job.first_attempt_at().unwrap_or(now) + millis(outbox.config.give_up) { Fate::Failed } else { Fate::Again(at) }
}

/// The brake: a burst of refusals that are no dead addresses says that something is wrong with us, not with everybody (S-80).
fn braked(outbox: &Outbox, reply: Reply) -> Option<RelayFault> {
    if outbox.refusals.fetch_add(1, Ordering::AcqRel) + 1 < BURST {
        return None;
    }
    outbox.refusals.store(0, Ordering::Release);
    let text = format!("{BURST} mails in a row were refused, the last with {reply}; after it is mended: svar campaign retry NAME");
    Some(RelayFault { reply: Some(reply), ..RelayFault::new(RelayStop::Pause, text) })
}

/// What an outcome says of its mailbox provider: one that is given too much rests, on all daemons (S-59).
async fn heed(outbox: &Outbox, job: &Job, outcome: &Outcome) {
    let name = job.provider();
    let Some(provider) = outbox.config.throttle.providers.get(name) else { return };
    let reply = match outcome {
        Outcome::Accepted(_) => return outbox.pacer.took(name),
        Outcome::Transient(reply) => reply,
        Outcome::Permanent(_) | Outcome::Uncertain(_) => return,
    };
    let now = outbox.clock.millis();
    let Some(until) = outbox.pacer.refused(name, provider, reply, now) else { return };
    let until_for_all = until + outbox.ahead();
    warn!(provider = name, code = reply.code, rest_seconds = provider.rest / 1_000, "told to slow down: nothing leaves for it meanwhile");
    // where it cannot be written this daemon lets it rest, and the others hear it themselves
    if let Err(error) = outbox.store.rest_provider(now, name, until_for_all, &reply.to_string()).await {
        warn!(%error, provider = name, "other daemons do not know that it rests");
    }
}

/// What an outcome does to its delivery (S-72, S-75, S-80).
fn settled_by(outbox: &Outbox, job: &Job, outcome: Outcome) -> Attempt {
    let settled = |fate, reply: &Reply, hard| Settled { hard, ..ended(job, fate, Some(reply.code), reply.to_string()) };
    match outcome {
        Outcome::Accepted(reply) => {
            outbox.meters.left(outbox.clock.millis() - job.due_at());
            outbox.refusals.store(0, Ordering::Release);
            if outbox.gate.forgive() {
                info!(relay.host = outbox.relay.host, "the relay is used again");
            }
            Attempt { settled: settled(Fate::Sent, &reply, false), fault: None }
        }
        Outcome::Uncertain(what) => Attempt { settled: ended(job, Fate::Uncertain, None, what), fault: None },
        Outcome::Transient(reply) => Attempt { settled: settled(again(outbox, job), &reply, false), fault: None },
        Outcome::Permanent(reply) if reply.class() == Class::Hard => Attempt { settled: settled(Fate::Failed, &reply, true), fault: None },
        Outcome::Permanent(reply) => Attempt { settled: settled(Fate::Failed, &reply, false), fault: braked(outbox, reply) },
    }
}
