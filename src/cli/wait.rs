//! `svar campaign wait NAME` and `svar campaign start NAME --wait`: until everybody of the newest edition is at an end.
//!
//! It only looks: ending it ends nothing else. Progress goes to standard error, a bar on a terminal and a line every few seconds
//! elsewhere; how it ended goes to standard output, and the exit code tells programs.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Failure, Office, serve, show, status};
use crate::model::campaign::State;
use crate::store::{Counts, OnUncertain, Progress};

/// How often the counts are asked for, unless they cost much.
const LOOK: Duration = Duration::from_secs(1);
/// A count is not asked for more often than this many times its cost.
const COSTS: u32 = 20;
/// How often a line is written where there is no terminal.
const LINE: Duration = Duration::from_secs(5);
/// Nothing moved for so long: is there a daemon at all?
const STILL: Duration = Duration::from_secs(5);
/// A firing that is so near is waited for.
const SOON_MS: i64 = 60_000;
/// The speed is that of so many looks.
const LOOKS: usize = 10;

/// How waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    exit: Exit,
    words: String,
}

/// Waits, and says how it ended.
pub(super) async fn run(office: &Office, name: &str) -> Result<Exit, Failure> {
    let mut watch = Watch::new(name);
    let mut looking = std::pin::pin!(watch.until_end(office));
    let end = tokio::select! {
        end = &mut looking => end?,
        _ = tokio::signal::ctrl_c() => {
            let words = format!("no longer waiting; svar serve goes on sending {name}: svar campaign wait {name}");
            End { exit: Exit::TryAgain, words }
        }
    };
    show::line(&end.words)?;
    Ok(end.exit)
}

struct Watch<'a> {
    name: &'a str,
    bar: ProgressBar,
    began: Instant,
    /// When, and how many were at an end, the oldest first.
    looks: VecDeque<(Instant, i64)>,
    /// Since when nothing has moved.
    still_since: Instant,
    last: Option<Progress>,
    /// The last line, where there is no bar, and when it was written.
    line: Option<(String, Instant)>,
    /// What was said of why nothing moves.
    told: Vec<String>,
}

impl<'a> Watch<'a> {
    fn new(name: &'a str) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {wide_msg}") {
            bar.set_style(style);
        }
        let began = Instant::now();
        Self { name, bar, began, looks: VecDeque::new(), still_since: began, last: None, line: None, told: Vec::new() }
    }

    async fn until_end(&mut self, office: &Office) -> Result<End, Failure> {
        let on_uncertain = office.config.outbox.uncertain;
        loop {
            let asked = Instant::now();
            let now = office.now();
            let progress = office.store.progress(now, self.name).await?;
            let cost = asked.elapsed();
            self.show(&progress, on_uncertain, now);
            if let Some(end) = self.end(office, &progress, now).await? {
                self.bar.finish_and_clear();
                return Ok(end);
            }
            tokio::time::sleep(LOOK.max(cost * COSTS)).await;
        }
    }

    async fn end(&mut self, office: &Office, progress: &Progress, now: i64) -> Result<Option<End>, Failure> {
        let ended =
            end_of(self.name, progress, office.config.outbox.uncertain, now, self.began.elapsed(), |at| show::time(office.config.zone, at));
        if ended.is_some() {
            return Ok(ended);
        }
        let host = &office.config.relay.host;
        if let Some(relay) = office.store.paused_relays().await?.into_iter().find(|relay| relay.name == *host) {
            let words = format!("{}\n{}", self.so_far(&progress.counts), status::paused_in_words(&relay));
            return Ok(Some(End { exit: Exit::TryAgain, words }));
        }
        let opens_now = progress.next_at.is_some_and(|at| at <= now);
        let due =
            opens_now || progress.edition_id.is_none() || progress.counts.open(office.config.outbox.uncertain) > progress.counts.later;
        if due && self.still_since.elapsed() >= STILL {
            self.still_since = Instant::now();
            if let Some(why) = serve::absence(&office.config).await {
                return Ok(Some(End { exit: Exit::Unavailable, words: format!("{}\n{why}", self.so_far(&progress.counts)) }));
            }
            self.tell(status::what_is_in_the_way(office).await?);
        }
        Ok(None)
    }

    /// Says why nothing moves, when that is something else than it was.
    fn tell(&mut self, why: Vec<String>) {
        if why != self.told {
            self.bar.suspend(|| why.iter().for_each(|line| eprintln!("{line}")));
            self.told = why;
        }
    }

    fn so_far(&self, counts: &Counts) -> String {
        format!("{}: {} of {} sent", self.name, counts.sent, show::mails(counts.total))
    }

    fn show(&mut self, progress: &Progress, on_uncertain: OnUncertain, now: i64) {
        if self.last.as_ref() != Some(progress) {
            self.still_since = Instant::now();
        }
        let counts = &progress.counts;
        let ended = counts.total - counts.open(on_uncertain);
        self.looks.push_back((Instant::now(), ended));
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        let words = in_words(counts, speed(&self.looks), now);
        if self.bar.is_hidden() {
            if self.line.as_ref().is_none_or(|(line, at)| *line != words && at.elapsed() >= LINE) {
                eprintln!("{}: {words}", self.name);
                self.line = Some((words, Instant::now()));
            }
        } else {
            self.bar.set_message(words);
            self.bar.set_length(u64::try_from(counts.total.max(1)).unwrap_or(1));
            self.bar.set_position(u64::try_from(ended).unwrap_or(0));
        }
        self.last = Some(progress.clone());
    }
}

/// Mails a second over the last looks; none before there were two.
fn speed(looks: &VecDeque<(Instant, i64)>) -> Option<f64> {
    let ((from, before), (to, after)) = (looks.front()?, looks.back()?);
    let seconds = to.duration_since(*from).as_secs_f64();
    let mails = i32::try_from(after - before).unwrap_or(i32::MAX);
    (seconds > 0.0).then(|| f64::from(mails) / seconds)
}

/// `1200 of 5000 sent, 340 a second, 3797 to go, 3 failed, 2 wait for a retry (next in 4 min)`.
fn in_words(counts: &Counts, speed: Option<f64>, now: i64) -> String {
    if counts.total == 0 {
        return "waits to be opened".to_owned();
    }
    let mut words = vec![format!("{} of {} sent", counts.sent, counts.total)];
    words.extend(speed.filter(|speed| *speed >= 0.05).map(|speed| match speed {
        10.0.. => format!("{speed:.0} a second"),
        _ => format!("{speed:.1} a second"),
    }));
    let to_go = counts.total - counts.sent - counts.failed - counts.uncertain - counts.stopped;
    let next = counts.next_try_at.map_or_else(String::new, |at| format!(" (next in {})", show::span(at - now)));
    for (count, label) in [
        (to_go, "to go"),
        (counts.later, &format!("of them wait for a retry{next}")),
        (counts.failed, "failed"),
        (counts.uncertain, "uncertain"),
        (counts.stopped, "stopped"),
    ] {
        if count > 0 {
            words.push(format!("{count} {label}"));
        }
    }
    words.join(", ")
}

/// Whether there is nothing more to wait for, or nothing that would come by itself.
fn end_of(
    name: &str,
    progress: &Progress,
    on_uncertain: OnUncertain,
    now: i64,
    took: Duration,
    time: impl Fn(i64) -> String,
) -> Option<End> {
    let counts = &progress.counts;
    let end = |exit, words| Some(End { exit, words });
    let so_far = format!("{} of {} sent", counts.sent, show::mails(counts.total));
    let opens_soon = progress.state == State::Active && progress.next_at.is_some_and(|at| at <= now + SOON_MS);
    let is_over = progress.edition_id.is_some() && counts.open(on_uncertain) == 0;
    match (progress.state, progress.next_at) {
        (State::Draft, _) => end(Exit::Failed, format!("{name} is a draft; svar campaign start {name}")),
        (State::Cancelled, _) => end(Exit::Partly, format!("{name} is cancelled, {so_far}")),
        _ if opens_soon => None,
        _ if is_over => end(if counts.failed + counts.uncertain == 0 { Exit::Done } else { Exit::Partly }, finished(name, counts, took)),
        (State::Paused, _) => {
            let why = progress.paused_why.as_deref().map_or_else(String::new, |why| format!(": {}", show::plain(why)));
            end(Exit::TryAgain, format!("{name} is paused, {so_far}{why}\n  then: svar campaign resume {name}"))
        }
        (State::Active, Some(at)) if progress.edition_id.is_none() => {
            end(Exit::TryAgain, format!("{name} is sent at {}; svar campaign wait {name} then", time(at)))
        }
        (State::Active, _) => None,
    }
}

fn finished(name: &str, counts: &Counts, took: Duration) -> String {
    if counts.sent == counts.total {
        let millis = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let waited = if millis < 1_000 { String::new() } else { format!(", after {} of waiting", show::span(millis)) };
        return format!("{name}: all {} sent{waited}", show::mails(counts.total));
    }
    let others = [
        (counts.failed, "failed", format!("svar status {name} --people --state failed")),
        (counts.uncertain, "uncertain", format!("svar campaign settle {name} sent|again")),
        (counts.stopped, "stopped because nothing may go to them any more", String::new()),
    ];
    let mut words = format!("{name}: {} of {} sent", counts.sent, show::mails(counts.total));
    for (count, label, remedy) in others.into_iter().filter(|(count, ..)| *count > 0) {
        words.push_str(&format!("\n  {count} {label}"));
        if !remedy.is_empty() {
            words.push_str(&format!(": {remedy}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_500_000_000;

    fn progress(counts: Counts) -> Progress {
        Progress { state: State::Active, paused_why: None, next_at: None, edition_id: Some(1), counts }
    }

    fn exit(progress: &Progress, on_uncertain: OnUncertain) -> Option<Exit> {
        end_of("natverk", progress, on_uncertain, NOW, Duration::from_secs(3), |at| at.to_string()).map(|end| end.exit)
    }

    #[test]
    fn waiting_ends_when_everybody_is_at_an_end() {
        let (repeat, hold) = (OnUncertain::Repeat, OnUncertain::Hold);
        let counts = |sent, failed, uncertain| Counts { total: 10, sent, failed, uncertain, ..Counts::default() };
        assert_eq!(exit(&progress(counts(9, 0, 0)), repeat), None);
        assert_eq!(exit(&progress(counts(10, 0, 0)), repeat), Some(Exit::Done));
        assert_eq!(exit(&progress(counts(9, 1, 0)), repeat), Some(Exit::Partly));
        assert_eq!(exit(&progress(Counts { stopped: 1, ..counts(9, 0, 0) }), repeat), Some(Exit::Done));
        assert_eq!(exit(&progress(counts(9, 0, 1)), repeat), None, "it is repeated");
        assert_eq!(exit(&progress(counts(9, 0, 1)), hold), Some(Exit::Partly));
        assert_eq!(exit(&progress(Counts { uncertain_for_good: 1, ..counts(9, 0, 1) }), repeat), Some(Exit::Partly));
    }

    #[test]
    fn what_will_not_come_by_itself_is_not_waited_for() {
        let waiting = progress(Counts { total: 10, ..Counts::default() });
        let paused_at_the_end = Counts { total: 10, sent: 10, ..Counts::default() };
        let over = Progress { state: State::Paused, ..progress(paused_at_the_end) };
        assert_eq!(exit(&over, OnUncertain::Repeat), Some(Exit::Done), "nothing waits behind the pause");
        let with = |state| exit(&Progress { state, ..waiting.clone() }, OnUncertain::Repeat);
        assert_eq!(
            [with(State::Paused), with(State::Cancelled), with(State::Draft)],
            [Some(Exit::TryAgain), Some(Exit::Partly), Some(Exit::Failed)]
        );
        let planned =
            |next_at| exit(&Progress { edition_id: None, next_at: Some(next_at), ..progress(Counts::default()) }, OnUncertain::Repeat);
        assert_eq!([planned(NOW), planned(NOW + 3_600_000)], [None, Some(Exit::TryAgain)]);
    }

    #[test]
    fn progress_is_told_in_one_line() {
        let counts = Counts { total: 5_000, sent: 1_200, failed: 3, later: 2, next_try_at: Some(NOW + 240_000), ..Counts::default() };
        let told = "1200 of 5000 sent, 340 a second, 3797 to go, 2 of them wait for a retry (next in 4 min), 3 failed";
        assert_eq!(in_words(&counts, Some(340.2), NOW), told);
        assert_eq!(in_words(&Counts::default(), None, NOW), "waits to be opened");
    }
}
