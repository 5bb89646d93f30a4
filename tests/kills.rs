//! The daemon is killed again and again in the middle of sending, and then the books are compared: promise 2, S-74, S-240.

use std::collections::HashMap;

use serde_json::Value;

use super::support::message::header;
use super::support::sink::{Received, Sink};
use super::support::svar::{Home, Settings};
use super::support::{postgres, servers, wait};

/// How many people are written to.
const PEOPLE: usize = 2_000;
/// How often the daemon is killed on the way.
const KILLS: usize = 10;
/// What one daemon may have under way: four lanes, sixteen each, and the next sixteen claimed.
const IN_FLIGHT: usize = 4 * 32;

const INVITATION: &str = "---\nname: natverk\nkind: invitation\nlist: chefer\nsubject: \"{{first_name}}, vill du vara med?\"\nlanguage: sv\nsend: now\n---\nHej {{first_name}}!\n";

#[test]
fn ten_kills_on_sqlite_leave_nobody_out_and_nobody_silently_doubled() {
    killed_again_and_again("svar.db".into());
}

#[test]
fn ten_kills_on_postgresql_leave_nobody_out_and_nobody_silently_doubled() {
    if !servers::need("postgresql") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    killed_again_and_again(runtime.block_on(postgres::database()));
}

fn killed_again_and_again(database: String) {
    let sink = Sink::start();
    // a short lease, so that what a dead daemon held on PostgreSQL is known for uncertain soon
    let home = Home::init(Settings { database, relay: sink.address(), lease_seconds: 2, retry_first_seconds: 1, ..Settings::default() });
    let rows: String = (0..PEOPLE).map(|n| format!("person{n}@guests.example.org;Person {n}\n")).collect();
    home.write("people.csv", format!("e-post;förnamn\n{rows}"));
    home.write("natverk.md", INVITATION);
    home.ok(["contacts", "import", "people.csv", "--list", "chefer"]);
    home.ok(["campaign", "add", "natverk.md"]);
    home.ok(["campaign", "start", "natverk"]);

    for kill in 1..=KILLS {
        let daemon = home.serve();
        sink.wait_for(PEOPLE * kill / (KILLS + 2));
        daemon.kill9();
    }
    let daemon = home.serve();
    let mut last = Value::Null;
    let done = wait::within(wait::LONG, || {
        last = home.json(["status", "natverk", "--json"]);
        (last["sent"] == PEOPLE).then_some(())
    });
    assert!(done.is_some(), "not everybody has the mail: {last}\n{}", daemon.log().join("\n"));
    assert!(daemon.term().success());
    compare_the_books(&home, &sink.received());
}

/// Every recipient in exactly one true state; a mail that came twice is the same mail, and its history says so.
fn compare_the_books(home: &Home, received: &[Received]) {
    let status = home.json(["status", "natverk", "--json"]);
    for (state, count) in
        [("sent", PEOPLE), ("queued", 0), ("sending", 0), ("failed", 0), ("uncertain", 0), ("suppressed", 0), ("cancelled", 0)]
    {
        assert_eq!(status[state], count, "{state} in {status}");
    }
    let mut mails: HashMap<&str, Vec<&Received>> = HashMap::new();
    for mail in received {
        mails.entry(mail.to[0].as_str()).or_default().push(mail);
    }
    assert_eq!(mails.len(), PEOPLE, "somebody was left out");
    let doubled: Vec<_> = mails.iter().filter(|(_, mails)| mails.len() > 1).collect();
    for (address, mails) in &doubled {
        let first = mails[0];
        assert!(header(&first.bytes, "Message-ID").is_some());
        assert!(mails.iter().all(|m| m.bytes == first.bytes && m.from == first.from), "{address} got two different mails");
        let history = home.json(["history", address, "--json"]);
        let count = |what: &str| history.as_array().unwrap().iter().filter(|e| e["event"] == what).count();
        assert!(count("delivery.repeated") >= mails.len() - 1, "a silent double: {history}");
        assert_eq!(count("delivery.sent"), 1, "{history}");
    }
    assert!(doubled.len() <= KILLS * IN_FLIGHT, "{} doubles are more than were under way", doubled.len());
    println!("{PEOPLE} people, {KILLS} kills: 0 left out, {} told twice with the same mail and a line in their history", doubled.len());
}
