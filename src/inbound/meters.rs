//! What the way in counts while it works, for whoever watches over the daemon.

use crate::model::inbound::{Kind, Source};
use crate::model::meter::Counters;

/// Counters of one daemon's way in, from its start. What `svar ingest` stores is another process's.
#[derive(Debug)]
pub struct Meters {
    /// Messages stored, by the way they came; one that was there already counts too.
    pub stored: Counters<3>,
    /// Messages that could not be stored and stayed with their source.
    pub errors: Counters<3>,
    /// Messages understood, by kind.
    pub kinds: Counters<10>,
    /// Messages understood, by what they did.
    pub effects: Counters<7>,
}

impl Default for Meters {
    fn default() -> Self {
        let sources = [Source::Listener, Source::Maildir, Source::Stdin].map(Source::as_str);
        Self {
            stored: Counters::new(sources),
            errors: Counters::new(sources),
            kinds: Counters::new([
                "reply",
                "auto_reply",
                "bounce",
                "complaint",
                "calendar_reply",
                "receipt",
                "command",
                "unsolicited",
                "junk",
                "unreadable",
            ]),
            effects: Counters::new(["answer", "suppress", "bounce", "file", "review", "ask", "confirm"]),
        }
    }
}

impl Meters {
    /// A message was taken in, or could not be.
    pub fn taken<T, E>(&self, source: Source, result: &Result<T, E>) {
        let counters = if result.is_ok() { &self.stored } else { &self.errors };
        counters.count(source.as_str());
    }

    /// A message was understood and did this.
    pub(super) fn understood(&self, kind: Option<Kind>, effect: &str) {
        self.kinds.count(kind.map_or("unreadable", Kind::as_str));
        self.effects.count(effect);
    }
}
