//! Waits for something with a limit, and says what was awaited when it does not come.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what should take a moment: long, because the machine may be busy, and reached only by a failure.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Asks again and again until there is something, and panics with `what` when the limit is reached.
#[track_caller]
pub(crate) fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    match within(limit, &mut ask) {
        Some(found) => found,
        None => panic!("waited {} s in vain for {what}", limit.as_secs()),
    }
}

/// As [`until`], but a limit reached is `None`.
pub(crate) fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
