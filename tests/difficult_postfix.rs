//! A real Postfix that greylists, goes away, refuses and asks for TLS; what it says is told by a policy service of the test's own
//! (Postfix, SMTPD_POLICY_README). Needs root and Postfix.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::support::postfix::Postfix;
use super::support::stage::{guest, invite, invite_these, settings_for, status};
use super::support::svar::{Home, Settings};
use super::support::{port, process, servers, wait};

/// What Postfix asked at RCPT: `(sender, recipient)`, in order.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Answers Postfix's questions: `says` gets the recipient and how often it was asked for before, and gives an action.
fn policy(says: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked, says) = (listener.local_addr().unwrap(), Asked::default(), Arc::new(says));
    let kept = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (asked, says) = (kept.clone(), says.clone());
            thread::spawn(move || answer(&stream, &asked, &*says));
        }
    });
    (address, asked)
}

fn answer(stream: &TcpStream, asked: &Asked, says: &dyn Fn(&str, usize) -> String) {
    let mut about: HashMap<String, String> = HashMap::new();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        if let Some((key, value)) = line.split_once('=') {
            about.insert(key.to_owned(), value.to_owned());
            continue;
        }
        let (sender, recipient) = (about["sender"].clone(), about["recipient"].clone());
        about.clear();
        let before = {
            let mut asked = asked.lock().unwrap();
            let before = asked.iter().filter(|(_, to)| *to == recipient).count();
            asked.push((sender, recipient.clone()));
            before
        };
        let mut stream = stream;
        if write!(stream, "action={}\n\n", says(&recipient, before)).is_err() {
            return;
        }
    }
}

fn with_policy(address: SocketAddr) -> String {
    format!("smtpd_recipient_restrictions = check_policy_service inet:{address}\n")
}

fn somewhere() -> SocketAddr {
    ([127, 0, 0, 1], port::free()).into()
}

fn sent_by(postfix: &Postfix, n: usize) -> usize {
    postfix.log().lines().filter(|line| line.contains(&format!("to=<{}>", guest(n))) && line.contains("status=sent")).count()
}

/// S-76: the second attempt has the sender, recipient and host of the first.
#[test]
fn greylisting_delays_and_does_no_more() {
    if !servers::need("postfix") {
        return;
    }
    let (address, asked) =
        policy(|_, before| if before == 0 { "DEFER_IF_PERMIT 4.2.0 Greylisted, come again".into() } else { "DUNNO".into() });
    let postfix = Postfix::that_discards(somewhere(), &with_policy(address));
    let home = invite(5, settings_for(postfix.smtp()));
    let daemon = home.serve();
    status(&home, "all five sent", |s| s["sent"] == 5);
    let asked = asked.lock().unwrap().clone();
    for n in 0..5 {
        let triplets: Vec<_> = asked.iter().filter(|(_, to)| *to == guest(n)).collect();
        assert_eq!(triplets.len(), 2, "{triplets:?}");
        assert_eq!(triplets[0], triplets[1]);
        assert!(triplets[0].0.starts_with("svar+"), "{triplets:?}");
    }
    wait::until("Postfix to have delivered all", wait::LONG, || (0..5).all(|n| sent_by(&postfix, n) == 1).then_some(()));
    assert!(daemon.term().success());
}

/// S-77, promise 2: while the relay is gone nothing is judged, and afterwards nobody is mailed twice.
#[test]
fn a_postfix_that_goes_away_and_comes_back_gets_the_rest_once() {
    if !servers::need("postfix") {
        return;
    }
    let on = somewhere();
    // slow enough to be in the middle of it
    let (address, _asked) = policy(|_, _| {
        thread::sleep(std::time::Duration::from_millis(200));
        "DUNNO".into()
    });
    let home = invite(120, settings_for(on));
    // a log that outlives it, since it may take a last mail while it ends
    let logs = process::directory("maillog", Some(servers::user("postfix")));
    let log = logs.path().join("mail.log");
    let logging = format!("maillog_file = {}\nmaillog_file_prefixes = {}\n", log.display(), logs.path().display());
    let postfix = Postfix::that_discards(on, &(with_policy(address) + &logging));
    let daemon = home.serve();
    status(&home, "some of them sent", |s| s["sent"].as_i64().unwrap() > 10);
    drop(postfix);
    daemon.wait_for_log("the relay cannot be used now");
    let waiting = status(&home, "nothing under way", |s| s["sending"] == 0);
    assert!(waiting["queued"].as_i64().unwrap() > 0 && waiting["failed"] == 0, "{waiting}");
    let _postfix = Postfix::that_discards(on, &logging);
    status(&home, "all sent", |s| s["sent"] == 120);
    let log = std::fs::read_to_string(log).unwrap();
    let mut taken: Vec<&str> = log.lines().filter_map(|line| line.split_once("message-id=<")).map(|(_, id)| id).collect();
    let all = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), 120);
    assert!(all - taken.len() <= 4, "{all} taken; what each connection had under way may be twice there");
    assert!(daemon.term().success());
}

/// S-72, S-77…S-80: each refusal judges what it is about.
#[test]
fn what_postfix_refuses_is_told_apart() {
    if !servers::need("postfix") {
        return;
    }
    let says = |recipient: &str, before| match (recipient.split('@').next().unwrap(), before) {
        ("guest0", _) => "550 5.1.1 no such user here",
        ("guest1", _) => "552 5.2.2 mailbox is full",
        ("guest2", 0) => "452 4.2.2 mailbox is full for now",
        ("guest3", 0) => "421 4.3.2 shutting down",
        ("guest4", _) => "550 5.7.1 not from you",
        _ => "DUNNO",
    };
    let (address, _) = policy(move |recipient, before| says(recipient, before).into());
    let postfix = Postfix::that_discards(somewhere(), &with_policy(address));
    let home = invite(8, settings_for(postfix.smtp()));
    let daemon = home.serve();
    // 552 to RCPT is temporary, whatever comes behind it (S-78)
    let done = status(&home, "five sent and two failed", |s| s["sent"] == 5 && s["failed"] == 2 && s["queued"] == 1);
    assert_eq!(done["uncertain"], 0);
    for (n, words, suppressed) in [(0, "no such user", true), (1, "mailbox is full", false), (4, "not from you", false)] {
        let history = home.ok(["history", &guest(n), "--json"]);
        assert!(history.contains(words), "{history}");
        assert_eq!(history.contains("suppressed"), suppressed, "{history}");
    }
    assert!(daemon.term().success());
}

/// S-81: what is larger than Postfix takes is not sent at all.
#[test]
fn a_mail_larger_than_postfix_takes_fails_by_itself() {
    if !servers::need("postfix") {
        return;
    }
    let postfix = Postfix::that_discards(somewhere(), "message_size_limit = 900\n");
    let home = invite(2, settings_for(postfix.smtp()));
    let daemon = home.serve();
    status(&home, "both failed", |s| s["failed"] == 2);
    let history = home.ok(["history", &guest(0), "--json"]);
    assert!(history.contains("5.3.4"), "{history}");
    assert!(!postfix.log().contains("reject"), "{}", postfix.log());
    assert!(daemon.term().success());
}

/// A certificate for a name or address, and the settings that make Postfix show it and ask for TLS.
fn certificate(home: &Home, name: &str) -> String {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (cert, key) = (home.path("relay.pem"), home.path("relay.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    format!("smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = encrypt\n", cert.display(), key.display())
}

/// A home that trusts its own relay.pem; the file must be there before the configuration is read.
fn home_for(relay: SocketAddr, tls: &'static str) -> Home {
    let home = Home::new(Settings { tls, relay_too: "ca_file = \"relay.pem\"\n", ..settings_for(relay) });
    home.write("relay.pem", "");
    home.ok(["init"]);
    home
}

/// S-84: TLS that is required is used, and only with the relay that was named.
#[test]
fn tls_is_used_with_the_relay_that_was_named_and_with_no_other() {
    if !servers::need("postfix") {
        return;
    }
    for (name, may) in [("127.0.0.1", true), ("mail.elsewhere.example", false)] {
        let on = somewhere();
        let home = home_for(on, "starttls");
        let postfix = Postfix::that_discards(on, &certificate(&home, name));
        invite_these(&home, &format!("{};Eva\n", guest(0)));
        let daemon = home.serve();
        if may {
            status(&home, "it sent", |s| s["sent"] == 1);
            assert!(postfix.log().contains("status=sent"));
        } else {
            let said = daemon.wait_for_log("the relay cannot be used now")["reason"].to_string();
            assert!(said.contains("certificate not valid for name") && said.contains("127.0.0.1"), "{said}");
            let waiting = status(&home, "a status", |_| true);
            assert_eq!((&waiting["queued"], &waiting["failed"]), (&1.into(), &0.into()), "{waiting}");
            assert!(!postfix.log().contains("status=sent"));
        }
        assert!(daemon.term().success());
    }
}

/// S-72: a relay that wants TLS and does not get it refuses us, not the people.
#[test]
fn a_postfix_that_wants_tls_pauses_a_relay_without_it() {
    if !servers::need("postfix") {
        return;
    }
    let on = somewhere();
    let home = home_for(on, "none");
    let _postfix = Postfix::that_discards(on, &certificate(&home, "127.0.0.1"));
    invite_these(&home, &format!("{};Eva\n", guest(0)));
    let daemon = home.serve();
    daemon.wait_for_log("relay paused; mend it, then: svar resume-relay");
    let why = wait::until("the relay to be paused", wait::LONG, || Some(home.ok(["status"])).filter(|s| s.contains("STARTTLS")));
    assert!(why.contains("resume-relay"), "{why}");
    let waiting = status(&home, "nothing under way", |s| s["sending"] == 0);
    assert_eq!((&waiting["queued"], &waiting["failed"]), (&1.into(), &0.into()), "{waiting}");
    assert!(daemon.term().success());
}
