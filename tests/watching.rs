//! What a person or a program sees of the queue while the daemon runs: `svar queue`, `/metrics`, `svar campaign wait`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::support::port;
use super::support::process;
use super::support::sink::{Act, Sink, When};
use super::support::stage::{INVITATION, guest, invite, reply, settings, status};
use super::support::svar::{Home, Settings};
use super::support::wait;

fn lines(printed: &str) -> Vec<serde_json::Value> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect()
}

/// The page and its head, as the real listener gives them.
fn page(web: SocketAddr) -> (String, String) {
    let mut stream = TcpStream::connect(web).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// Reads a page as the text format 0.0.4 says, and panics where it is not that: each family has HELP and TYPE once and before its
/// samples, each series stands once, a histogram's buckets ascend to its count.
fn parsed(page: &str) -> HashMap<String, f64> {
    let (mut kinds, mut samples) = (HashMap::new(), HashMap::new());
    let mut family = String::new();
    let mut helped = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a help text").0.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "HELP stands before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} stands twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            family = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let bare = if kinds[&family] == "histogram" { name.rsplit_once('_').unwrap().0 } else { name };
            assert_eq!(bare, family, "a sample stands with its family");
            assert!(name.starts_with("svar_") || name.starts_with("process_"), "{name}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} stands twice");
        }
    }
    for name in kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let buckets = page.lines().filter(|line| line.starts_with(&format!("{name}_bucket")));
        let counts: Vec<f64> = buckets.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(counts.is_sorted(), "{name}: {counts:?}");
        assert_eq!(counts.last(), samples.get(&format!("{name}_count")), "{name}");
        assert!(samples.contains_key(&format!("{name}_sum")));
    }
    samples
}

#[test]
fn the_queue_is_told_by_domain_while_the_daemon_runs() {
    let sink = Sink::script().rule(When::To(guest(0)), Act::RefuseRecipient("450 4.2.0 greylisted, come back".into())).start();
    let home = invite(2, Settings { retry_first_seconds: 600, ..settings(&sink) });
    let daemon = home.serve();
    status(&home, "one sent, one waiting", |s| s["sent"] == 1 && s["queued"] == 1 && s["sending"] == 0);
    let seen = home.ok(["queue"]);
    for part in ["domain", "guests.example.org", "450 4.2.0 greylisted, come back"] {
        assert!(seen.contains(part), "{part} is not in {seen}");
    }
    let all = lines(&home.ok(["queue", "--json"]));
    assert_eq!((all.len(), &all[0]["domain"], &all[0]["retry"]), (1, &"guests.example.org".into(), &1.into()), "{all:?}");
    let one = lines(&home.ok(["queue", "GUESTS.example.org", "--json"]));
    assert_eq!((one.len(), &one[0]["to"], &one[0]["attempts"], &one[0]["code"]), (1, &guest(0).into(), &1.into(), &450.into()));
    assert!(home.ok(["queue", "--domain", "guests.example.org"]).contains("retry"));
    assert!(home.ok(["queue", "nowhere.example"]).contains("nothing waits for nowhere.example"));
    home.ok(["campaign", "pause", "natverk"]);
    assert!(home.ok(["queue"]).contains("natverk is paused, 1 mail waits behind it"), "{}", home.ok(["queue"]));
    home.ok(["campaign", "cancel", "natverk"]);
    assert!(home.ok(["queue"]).starts_with("nothing waits to be sent"));
    assert!(daemon.term().success());
}

/// Every family, the exact content type, and numbers that agree with the status.
#[test]
fn the_metrics_are_what_prometheus_reads_and_agree_with_the_status() {
    let sink = Sink::script()
        .rule(When::To(guest(0)), Act::RefuseRecipient("550 5.1.1 no such user".into()))
        .rule(When::To(guest(1)), Act::RefuseRecipient("450 4.2.0 greylisted".into()))
        .start();
    let home = invite(5, Settings { retry_first_seconds: 600, notify: String::new(), ..settings(&sink) });
    let daemon = home.serve();
    status(&home, "three sent", |s| s["sent"] == 3 && s["queued"] == 1 && s["failed"] == 1);
    let answer = reply(&sink, 4, "Ja, gärna!", "");
    assert!(super::support::stage::bring(&daemon, &answer).starts_with("250"));
    status(&home, "the yes", |s| s["answers"]["yes"] == 1);
    let web = daemon.address("web");
    let found = wait::within(wait::LONG, || {
        let samples = parsed(&page(web).1);
        let fresh = samples.get("svar_queue_mails{kind=\"delivery\",state=\"retry\"}") == Some(&1.0);
        (fresh && samples["svar_inbound_effects_total{effect=\"answer\"}"] == 1.0 && samples["svar_settled_total{fate=\"sent\"}"] >= 4.0)
            .then_some(samples)
    });
    let samples = found.unwrap_or_else(|| panic!("{}", page(web).1));
    let expected = [
        ("svar_database_up", 1.0),
        ("svar_queue_mails{kind=\"delivery\",state=\"due\"}", 0.0),
        ("svar_campaigns{state=\"active\"}", 1.0),
        ("svar_relay_paused{relay=\"127.0.0.1\"}", 0.0),
        ("svar_relay_resting{relay=\"127.0.0.1\"}", 0.0),
        ("svar_lanes", 4.0),
        ("svar_attempts_total{outcome=\"permanent_hard\"}", 1.0),
        ("svar_attempts_total{outcome=\"transient\"}", 1.0),
        // three of the edition, one confirmation
        ("svar_attempts_total{outcome=\"sent\"}", 4.0),
        ("svar_mail_wire_seconds_count", 6.0),
        ("svar_mail_wait_seconds_count", 4.0),
        ("svar_settled_total{fate=\"failed\"}", 1.0),
        ("svar_inbound_messages_total{kind=\"reply\"}", 1.0),
        ("svar_intake_messages_total{source=\"listener\"}", 1.0),
        ("svar_intake_errors_total{source=\"listener\"}", 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series} in {samples:#?}");
    }
    assert!(samples["svar_relay_connections_total"] >= 1.0 && samples["process_resident_memory_bytes"] > 1e6);
    let (head, body) = page(web);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(!body.contains('@') && !body.contains("guests.example.org"), "no labels about people");
    promtool(&body);
    assert!(daemon.term().success());
}

/// Prometheus' own linter, where the machine has it.
fn promtool(page: &str) {
    let started = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = started else { return eprintln!("not run: there is no promtool") };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Exit code 0 where all were sent; the lines of progress on standard error, the end on standard output.
#[test]
fn waiting_shows_progress_and_ends_when_all_are_sent() {
    let sink = Sink::script().rule(When::Always, Act::Slow(Duration::from_millis(20))).start();
    let home = invite(300, settings(&sink));
    let daemon = home.serve();
    let waited = home.run(["campaign", "wait", "natverk"]);
    let (out, err) = (String::from_utf8_lossy(&waited.stdout).into_owned(), String::from_utf8_lossy(&waited.stderr).into_owned());
    assert_eq!(waited.status.code(), Some(0), "{out}{err}");
    assert!(out.starts_with("natverk: all 300 mails sent") && err.contains("natverk: "), "{out}{err}");
    assert_eq!(sink.received().len(), 300);
    assert!(daemon.term().success());
}

/// `start --wait`: exit code 3 where some failed, with the command that names them.
#[test]
fn waiting_from_the_start_tells_who_failed() {
    let sink = Sink::script().rule(When::To(guest(1)), Act::RefuseRecipient("550 5.1.1 no such user".into())).start();
    let home = Home::init(settings(&sink));
    let rows: String = (0..3).map(|n| format!("{};Gäst {n}\n", guest(n))).collect();
    home.write("people.csv", format!("e-post;förnamn\n{rows}"));
    home.write("natverk.md", INVITATION);
    home.ok(["contacts", "import", "people.csv", "--list", "chefer"]);
    home.ok(["campaign", "add", "natverk.md"]);
    let draft = home.run(["campaign", "wait", "natverk"]);
    assert!(draft.status.code() == Some(1) && String::from_utf8_lossy(&draft.stdout).contains("svar campaign start natverk"));
    let daemon = home.serve();
    let waited = home.run(["campaign", "start", "natverk", "--wait"]);
    let out = String::from_utf8_lossy(&waited.stdout).into_owned();
    assert_eq!(waited.status.code(), Some(3), "{out}");
    assert!(out.contains("natverk: 2 of 3 mails sent\n  1 failed: svar status natverk --people --state failed"), "{out}");
    assert!(daemon.term().success());
}

/// What does not come by itself is not waited for: a paused campaign, a paused relay, no daemon. Ctrl-C ends the waiting alone.
#[test]
fn waiting_ends_where_nothing_will_come_and_says_why() {
    let sink = Sink::script().times(1, When::Always, Act::RefuseSender("550 5.7.1 not this account".into())).start();
    let web = format!("127.0.0.1:{}", port::free());
    let home = invite(3, Settings { web, ..settings(&sink) });
    let waited = |code: i32, part: &str| {
        let waited = home.run(["campaign", "wait", "natverk"]);
        let out = String::from_utf8_lossy(&waited.stdout).into_owned();
        assert!(waited.status.code() == Some(code) && out.contains(part), "{:?} {out}", waited.status);
    };
    waited(69, "start it with: svar serve");
    let daemon = home.serve();
    waited(75, "not this account");
    home.ok(["campaign", "pause", "natverk"]);
    home.ok(["resume-relay"]);
    waited(75, "svar campaign resume natverk");
    assert!(daemon.term().success());
}

#[test]
fn an_interrupt_ends_the_waiting_and_not_the_sending() {
    let sink = Sink::script().rule(When::Always, Act::Slow(Duration::from_millis(50))).start();
    let home = invite(100, Settings { connections: 1, ..settings(&sink) });
    let daemon = home.serve();
    let waiting = home.spawn(["campaign", "wait", "natverk"]);
    sink.wait_for(20);
    process::signal(waiting.id(), "INT");
    let output = waiting.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(75), "{out}");
    assert!(out.contains("svar serve goes on sending natverk"), "{out}");
    status(&home, "all sent", |s| s["sent"] == 100);
    assert!(daemon.term().success());
}
