//! A home with guests and an invitation, and a sink for a relay: the beginning of most outer tests.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::lmtp::Lmtp;
use super::message::{self, Reply};
use super::sink::{Received, Sink};
use super::svar::{Daemon, Home, Settings};
use super::wait;

/// The invitation that is sent; its name is `natverk`.
pub(crate) const INVITATION: &str = "---\nname: natverk\nkind: invitation\nlist: chefer\nsubject: \"{{first_name}}, vill du vara med?\"\nlanguage: sv\nsend: now\non_yes: join natverket\n---\nHej {{first_name}}!\n\nVill du vara med i vårt nätverk för chefer? Svara med egna ord.\n";

/// The line above a quote.
pub(crate) const ATTRIBUTION: &str = "Den tis 24 nov. 2026 kl 10:15 skrev Monica Berg <monica@natverket.example.org>:";

/// The address of the n-th guest, from 0.
pub(crate) fn guest(n: usize) -> String {
    format!("guest{n}@guests.example.org")
}

/// Settings for a relay, with short waits.
pub(crate) fn settings(sink: &Sink) -> Settings {
    settings_for(sink.address())
}

/// The same for a relay that is no sink.
pub(crate) fn settings_for(relay: SocketAddr) -> Settings {
    Settings { relay, retry_first_seconds: 1, lease_seconds: 3, ..Settings::default() }
}

/// A home with so many guests on the list `chefer` and the invitation started; the daemon is not.
#[track_caller]
pub(crate) fn invite(guests: usize, settings: Settings) -> Home {
    let home = Home::init(settings);
    let rows: String = (0..guests).map(|n| format!("{};Gäst {n}\n", guest(n))).collect();
    invite_these(&home, &rows);
    home
}

/// Puts the people of these lines, `address;first name`, on the list `chefer` and starts the invitation.
#[track_caller]
pub(crate) fn invite_these(home: &Home, rows: &str) {
    home.write("people.csv", format!("e-post;förnamn\n{rows}"));
    home.write("natverk.md", INVITATION);
    home.ok(["contacts", "import", "people.csv", "--list", "chefer"]);
    home.ok(["campaign", "add", "natverk.md"]);
    home.ok(["campaign", "start", "natverk"]);
}

/// Waits until the status of `natverk` is as awaited; at the limit it tells the last one.
#[track_caller]
pub(crate) fn status(home: &Home, what: &str, awaited: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = wait::within(wait::LONG, || {
        last = home.json(["status", "natverk", "--json"]);
        awaited(&last).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("waited in vain for {what}; the status is {last}"))
}

/// The first mail that the sink took for a guest.
#[track_caller]
pub(crate) fn mail_of(sink: &Sink, n: usize) -> Received {
    wait::until(&format!("a mail to {}", guest(n)), wait::LONG, || sink.received_by(&guest(n)).into_iter().next())
}

/// A guest's answer to the first mail they got, as their mail program makes it.
#[track_caller]
pub(crate) fn reply(sink: &Sink, n: usize, words: &str, more: &str) -> Reply {
    message::answer(&mail_of(sink, n).bytes, &format!("Gäst {n}"), &guest(n), words, ATTRIBUTION, more)
}

/// Brings a reply to the daemon's LMTP listener; its answer to the message.
#[track_caller]
pub(crate) fn bring(daemon: &Daemon, reply: &Reply) -> String {
    Lmtp::connect(daemon.address("lmtp")).deliver(&reply.from, &reply.to, reply.message.replace('\n', "\r\n").as_bytes())
}

/// The names of the events in a guest's history, oldest first.
#[track_caller]
pub(crate) fn events(home: &Home, n: usize) -> Vec<String> {
    let history = home.json(["history", &guest(n), "--json"]);
    history.as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap().to_owned()).collect()
}

/// Long enough for what should not come.
pub(crate) const A_WHILE: Duration = Duration::from_millis(1_500);
