//! `/metrics`: what the daemon counted, and how the queue stands, for Prometheus.
//!
//! Counters are read from the process. The queue is counted by the database over its partial indexes, and one count serves all who
//! ask within [`FRESH`] or fifty times its own cost, whichever is longer: asking often costs the database a fiftieth of its time at
//! most. No label holds an address or a domain but the relay's own name. Where the database does not answer the counters are told
//! all the same, and `svar_database_up` is 0.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Watched;
use crate::store::{Depth, Error, RelayPause, Store, Waits};
use crate::wire::exposition::{CONTENT_TYPE, Exposition, Labels};

/// A count of the queue serves for at least so long.
const FRESH: Duration = Duration::from_secs(5);
/// So long the database has to answer: Prometheus gives up after ten seconds, and sqlx asks for a connection for thirty.
const PATIENCE: Duration = Duration::from_secs(2);
/// And for so many times what it cost.
const COSTS: u32 = 50;

/// The last count of the queue, and the turn to make a new one: one counts at a time, and who will not wait for it takes the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    last: Arc<Mutex<Option<Count>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Debug)]
struct Count {
    at: Instant,
    cost: Duration,
    depth: Depth,
}

impl Counted {
    /// The last count or a new one, and whether the database answered in time. A count that takes longer goes on, and serves who asks
    /// then; meanwhile the one before it does.
    async fn within(&self, patience: Duration, store: &Store, now: i64) -> (Option<Count>, bool) {
        let counting = tokio::spawn({
            let (counted, store) = (self.clone(), store.clone());
            async move { counted.depth(&store, now).await }
        });
        match tokio::time::timeout(patience, counting).await {
            Ok(Ok(Ok(count))) => (Some(count), true),
            _ => (self.last().clone(), false),
        }
    }

    /// The last count, or a new one. Who asks meanwhile waits for that one.
    async fn depth(&self, store: &Store, now: i64) -> Result<Count, Error> {
        let _turn = self.turn.lock().await;
        if let Some(count) = self.last().as_ref().filter(|count| count.at.elapsed() < FRESH.max(count.cost * COSTS)) {
            return Ok(count.clone());
        }
        let began = Instant::now();
        let depth = store.depth(now).await?;
        let count = Count { at: Instant::now(), cost: began.elapsed(), depth };
        *self.last() = Some(count.clone());
        Ok(count)
    }

    fn last(&self) -> MutexGuard<'_, Option<Count>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The page.
pub(super) async fn metrics(State(watched): State<Watched>) -> Response {
    let outbox = &watched.outbox;
    let now = outbox.clock.millis();
    let (relays, (count, counted)) =
        tokio::join!(tokio::time::timeout(PATIENCE, outbox.store.paused_relays()), watched.counted.within(PATIENCE, &outbox.store, now));
    let relays = relays.ok().and_then(Result::ok);
    let mut page = Exposition::default();
    process(&mut page, watched.started_at);
    page.gauge("svar_database_up", "Whether the database answered this request.", u8::from(relays.is_some() && counted));
    if let Some(count) = count {
        queue(&mut page, &count, now);
    }
    relay(&mut page, &watched, relays.as_deref());
    outgoing(&mut page, &watched);
    incoming(&mut page, &watched);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.into_text()).into_response()
}

fn process(page: &mut Exposition, started_at: i64) {
    let version: Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
    page.gauges("svar_build_info", "The version that runs.", [(version, 1)]);
    page.gauge("process_start_time_seconds", "When the daemon started, in seconds since 1970.", seconds(started_at));
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory that the process holds.", bytes);
    }
}

/// As Linux tells it; nothing elsewhere.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn queue(page: &mut Exposition, count: &Count, now: i64) {
    let depth = &count.depth;
    let help = "Mails that wait, by kind and state: due, retry (later), sending (held by a daemon), uncertain.";
    let labels = |kind| ["due", "retry", "sending", "uncertain"].map(|state| [("kind", kind), ("state", state)]);
    let (deliveries, notices) = (labels("delivery"), labels("notice"));
    let numbers = |w: &Waits| [w.due, w.later, w.sending, w.uncertain];
    let samples = deliveries.iter().zip(numbers(&depth.deliveries)).chain(notices.iter().zip(numbers(&depth.notices)));
    page.gauges("svar_queue_mails", help, samples.map(|(labels, n)| (labels.as_slice(), n)));
    let age = depth.oldest_due_at.map_or(0.0, |at| seconds((now - at).max(0)));
    let help = "Age of the oldest delivery that is due and may leave; 0 where there is none.";
    page.gauge("svar_queue_oldest_due_seconds", help, age);
    page.gauge(
        "svar_queue_count_age_seconds",
        "How old these numbers of the queue and the campaigns are.",
        count.at.elapsed().as_secs_f64(),
    );
    page.gauge("svar_queue_count_duration_seconds", "How long the database took to count them.", count.cost.as_secs_f64());
    let campaigns: Vec<[(&str, &str); 1]> = depth.campaigns.iter().map(|(state, _)| [("state", state.as_str())]).collect();
    let numbers = depth.campaigns.iter().map(|(_, n)| *n);
    page.gauges("svar_campaigns", "Campaigns by state.", campaigns.iter().map(|labels| labels.as_slice()).zip(numbers));
}

fn relay(page: &mut Exposition, watched: &Watched, paused: Option<&[RelayPause]>) {
    let outbox = &watched.outbox;
    let host: Labels<'_> = &[("relay", &outbox.relay.host)];
    if let Some(paused) = paused {
        let is_paused = paused.iter().any(|relay| relay.name == outbox.relay.host);
        page.gauges("svar_relay_paused", "1 while the relay is paused until a person resumes it.", [(host, u8::from(is_paused))]);
    }
    let help = "1 while the relay rests by itself after it could not be used.";
    page.gauges("svar_relay_resting", help, [(host, u8::from(outbox.is_resting()))]);
    let meters = &outbox.meters;
    let help = "Faults of the relay that stopped a lane, by what was done: back_off rests it, pause waits for a person.";
    page.counters("svar_relay_faults_total", help, "stop", meters.faults.each());
    page.counter("svar_relay_connections_total", "Connections to the relay that were opened.", meters.connections.get());
    page.gauge("svar_lanes", "Connections that may be open to the relay at once.", watched.lanes);
    page.gauge("svar_lanes_connected", "Lanes with a connection.", meters.lanes_connected());
    page.gauge("svar_lanes_at_work", "Lanes that connect, claim or send.", outbox.lanes_at_work());
}

fn outgoing(page: &mut Exposition, watched: &Watched) {
    let meters = &watched.outbox.meters;
    let help = "Mails handed to the relay, by outcome; a permanent refusal with its class.";
    page.counters("svar_attempts_total", help, "outcome", meters.attempts.each());
    page.counters("svar_settled_total", "Claimed mails settled, by what became of them.", "fate", meters.settled.each());
    page.histogram("svar_mail_wire_seconds", "Time of one mail on the wire, from MAIL to the last reply.", &meters.wire);
    page.histogram("svar_mail_wait_seconds", "Time from when a mail was due until the relay took it.", &meters.wait);
    page.histogram("svar_settle_seconds", "Time to commit one settlement, which holds up to 256 mails.", &meters.commit);
}

fn incoming(page: &mut Exposition, watched: &Watched) {
    let meters = &watched.inbound;
    let help = "Messages taken in by this process, by the way they came; svar ingest is a process of its own.";
    page.counters("svar_intake_messages_total", help, "source", meters.stored.each());
    let help = "Messages that could not be stored and stayed with their source.";
    page.counters("svar_intake_errors_total", help, "source", meters.errors.each());
    page.counters("svar_inbound_messages_total", "Messages understood, by kind.", "kind", meters.kinds.each());
    page.counters("svar_inbound_effects_total", "Messages understood, by what they did.", "effect", meters.effects.each());
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of our times are exact in 53 bits")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::stores;

    #[tokio::test]
    async fn a_database_that_does_not_answer_is_told_in_time_and_the_old_count_serves() {
        for (store, _dir) in stores().await {
            let (counted, moment) = (Counted::default(), Duration::from_millis(20));
            assert!(counted.within(PATIENCE, &store, 0).await.1);
            // as if a count had been under way for long
            let busy = counted.turn.lock().await;
            let (old, answered) = counted.within(moment, &store, 0).await;
            assert!(old.is_some() && !answered);
            drop(busy);
            assert!(counted.within(PATIENCE, &store, 0).await.1);
            *counted.last() = None;
            store.close().await;
            assert!(!counted.within(PATIENCE, &store, 0).await.1, "it is closed");
        }
    }
}
