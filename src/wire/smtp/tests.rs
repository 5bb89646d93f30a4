//! The session against the listener, and against relays that misbehave as scripted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::model::address::Address;
use crate::model::outcome::{Outcome, RelayStop};
use crate::wire::listener::{self, Handler, Listener, ListenerSettings, Protocol, Refusal};

mod ahead;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn plain(port: u16) -> RelaySettings {
    RelaySettings::new("127.0.0.1", port, Security::Plain, "svar.example.org")
}

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.dot\r\n";

async fn send(session: &mut Session, to: &str) -> Sent {
    send_bytes(session, Some(&address("b+x@svar.example.org")), &address(to), MESSAGE).await
}

async fn send_bytes(session: &mut Session, from: Option<&Address>, to: &Address, bytes: &[u8]) -> Sent {
    session.send(Letter { from, to, bytes }, None).await
}

/// Keeps what it is given; refuses by the recipient's name.
#[derive(Default)]
struct Shelf(Mutex<Vec<Kept>>);

type Kept = (String, Vec<String>, Vec<u8>);

impl Handler for Shelf {
    async fn recipient(&self, _from: &str, to: &str) -> Result<(), Refusal> {
        match to.split('@').next() {
            Some("nobody") => Err(Refusal::unknown_recipient("no such person")),
            Some("later") => Err(Refusal::new(450, (4, 7, 1), "greylisted")),
            Some("many") => Err(Refusal::new(552, (5, 5, 3), "too many recipients")),
            _ => Ok(()),
        }
    }

    async fn message(&self, from: &str, to: &[String], bytes: Vec<u8>) -> Vec<Result<String, Refusal>> {
        if to.iter().any(|to| to.starts_with("spam")) {
            return vec![Err(Refusal::new(550, (5, 7, 1), "looks like spam"))];
        }
        self.0.lock().unwrap().push((from.to_owned(), to.to_vec(), bytes));
        vec![Ok("stored".into()); to.len()]
    }
}

/// The listener as a relay. The sender stops it when it is dropped.
async fn relay() -> (u16, Arc<Shelf>, watch::Sender<bool>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let (stop, stopped) = watch::channel(false);
    let shelf = Arc::new(Shelf::default());
    let settings = ListenerSettings { max_bytes: 100_000, ..ListenerSettings::new(Protocol::Smtp, "relay.example.org") };
    tokio::spawn(listener::serve(Listener::Tcp(socket), settings, shelf.clone(), stopped));
    (port, shelf, stop)
}

/// A relay that follows a script.
struct Fake(BufReader<TcpStream>);

impl Fake {
    async fn says(&mut self, text: &[u8]) {
        self.0.write_all(text).await.unwrap();
    }

    async fn says_in_single_octets(&mut self, text: &[u8]) {
        self.0.get_mut().set_nodelay(true).unwrap();
        for octet in text {
            self.0.write_all(&[*octet]).await.unwrap();
            self.0.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    }

    /// Reads one line and wants it to begin so.
    async fn hears(&mut self, start: &str) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        assert!(line.starts_with(start), "expected {start}, heard {line:?}");
        line
    }

    async fn greets(&mut self, extensions: &str) {
        self.says(b"220 fake\r\n").await;
        self.hears("EHLO svar.example.org\r\n").await;
        self.says(format!("250-fake\r\n{extensions}250 HELP\r\n").as_bytes()).await;
    }

    async fn takes_envelope(&mut self) {
        self.hears("MAIL FROM:<b+x@svar.example.org>").await;
        self.hears("RCPT TO:<").await;
        self.hears("DATA\r\n").await;
        self.says(b"250 ok\r\n250 ok\r\n354 go\r\n").await;
    }

    async fn takes_message(&mut self) {
        for line in ["Subject: x\r\n", "\r\n", "..dot\r\n", ".\r\n"] {
            assert_eq!(self.hears(line).await, line);
        }
    }
}

/// Runs a script for one connection; its panics reach the test when it is awaited.
async fn fake<F: Future<Output = ()> + Send + 'static>(script: impl FnOnce(Fake) -> F + Send + 'static) -> (RelaySettings, JoinHandle<()>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = plain(socket.local_addr().unwrap().port());
    let done = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        script(Fake(BufReader::new(stream))).await;
    });
    (settings, done)
}

const PIPELINING: &str = "250-PIPELINING\r\n";

fn stop_of(sent: &Sent) -> Option<RelayStop> {
    sent.result.as_ref().err().map(|fault| fault.stop)
}

#[tokio::test]
async fn a_message_arrives_as_it_was_given() {
    let (port, shelf, _stop) = relay().await;
    let mut session = connect(&plain(port)).await.unwrap();
    let sent =
        send_bytes(&mut session, Some(&address("b+x@svar.example.org")), &address("eva@example.org"), b"Subject: x\n\n.\n..\nend").await;
    assert!(sent.usable);
    assert!(matches!(sent.result, Ok(Outcome::Accepted(reply)) if reply.code == 250 && reply.text == "stored"));
    assert!(send_bytes(&mut session, None, &address("eva@example.org"), b"").await.result.is_ok());
    session.quit().await;
    let kept = shelf.0.lock().unwrap();
    assert_eq!(kept[0], ("b+x@svar.example.org".into(), vec!["eva@example.org".into()], b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n".to_vec()));
    assert_eq!((kept[1].0.as_str(), kept[1].2.as_slice()), ("", &b""[..]));
}

/// S-72, S-78: what RCPT and the message get judges the delivery, and the connection goes on.
#[tokio::test]
async fn a_refused_delivery_leaves_the_connection_whole() {
    let (port, shelf, _stop) = relay().await;
    let mut session = connect(&plain(port)).await.unwrap();
    for round in 1..=3 {
        let sent = send(&mut session, "nobody@example.org").await;
        assert!(sent.usable && matches!(sent.result, Ok(Outcome::Permanent(reply)) if reply.enhanced == Some((5, 1, 1))));
        assert!(matches!(send(&mut session, "later@example.org").await.result, Ok(Outcome::Transient(_))));
        assert!(matches!(send(&mut session, "many@example.org").await.result, Ok(Outcome::Transient(_))));
        assert!(matches!(send(&mut session, "spam@example.org").await.result, Ok(Outcome::Permanent(reply)) if reply.code == 550));
        assert!(matches!(send(&mut session, "eva@example.org").await.result, Ok(Outcome::Accepted(_))));
        assert_eq!(shelf.0.lock().unwrap().len(), round);
    }
}

/// S-81, S-91: nothing is sent that the relay would refuse by its own words.
#[tokio::test]
async fn a_message_that_cannot_be_sent_fails_here() {
    let (port, shelf, _stop) = relay().await;
    let mut session = connect(&plain(port)).await.unwrap();
    let (from, to) = (address("b@svar.example.org"), address("eva@example.org"));
    let big = send_bytes(&mut session, Some(&from), &to, &b"x\r\n".repeat(40_000)).await;
    assert!(matches!(big.result, Ok(Outcome::Permanent(reply)) if reply.enhanced == Some((5, 3, 4))));
    let long = send_bytes(&mut session, Some(&from), &to, &b"x".repeat(2_000)).await;
    assert!(matches!(long.result, Ok(Outcome::Permanent(reply)) if reply.enhanced == Some((5, 6, 0))));
    assert!(long.usable && send(&mut session, "eva@example.org").await.usable);
    assert_eq!(shelf.0.lock().unwrap().len(), 1);
}

/// S-89.
#[tokio::test]
async fn a_connection_ends_after_its_number_of_messages() {
    let (port, _shelf, _stop) = relay().await;
    let mut session = connect(&RelaySettings { max_messages_per_connection: 2, ..plain(port) }).await.unwrap();
    assert!(send(&mut session, "eva@example.org").await.usable);
    assert!(!send(&mut session, "eva@example.org").await.usable);
    assert_eq!(stop_of(&send(&mut session, "eva@example.org").await), Some(RelayStop::Reconnect));
    session.quit().await;
}

#[tokio::test]
async fn a_thousand_messages_pass_one_connection() {
    let (port, shelf, _stop) = relay().await;
    let mut session = connect(&RelaySettings { max_messages_per_connection: 2_000, ..plain(port) }).await.unwrap();
    for _ in 0..1_000 {
        assert!(matches!(send(&mut session, "eva@example.org").await.result, Ok(Outcome::Accepted(_))));
    }
    assert_eq!(shelf.0.lock().unwrap().len(), 1_000);
}

/// S-71: single octets, several lines, a bare code, Latin-1.
#[tokio::test]
async fn replies_are_read_in_whatever_form_they_come() {
    let (settings, done) = fake(|mut relay| async move {
        relay.says_in_single_octets(b"220-hello\r\n220 there\r\n").await;
        relay.hears("EHLO").await;
        relay.says_in_single_octets(b"250-fake\r\n250-SIZE 0\r\n250\n").await;
        relay.hears("MAIL FROM:<b+x@svar.example.org> SIZE=20\r\n").await;
        relay.says_in_single_octets(b"250\r\n").await;
        relay.hears("RCPT").await;
        relay.says(b"550-5.1.1 bo\xeete\r\n550 5.1.1 supprim\xe9e\r\n").await;
        relay.hears("RSET\r\n").await;
        relay.says(b"250\r\n").await;
        relay.hears("MAIL").await;
        relay.says(b"250 \r\n").await;
        relay.hears("RCPT").await;
        relay.says(b"299 strange\r\n").await;
        relay.hears("DATA").await;
        relay.says(b"399-stranger\r\n399\r\n").await;
        relay.takes_message().await;
        relay.says(b"250\r\n").await;
        relay.hears("QUIT\r\n").await;
        relay.says(b"221\r\n").await;
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    let Ok(Outcome::Permanent(reply)) = send(&mut session, "a@example.org").await.result else { panic!("not refused") };
    assert_eq!((reply.enhanced, reply.text.as_str()), (Some((5, 1, 1)), "boîte supprimée"));
    assert!(matches!(send(&mut session, "a@example.org").await.result, Ok(Outcome::Accepted(_))));
    session.quit().await;
    done.await.unwrap();
}

/// S-82: replies are counted; DATA accepted for a refused recipient gets a lone dot, and RSET opens the next group.
#[tokio::test]
async fn data_accepted_without_a_recipient_gets_a_lone_dot() {
    let (settings, done) = fake(|mut relay| async move {
        relay.greets(PIPELINING).await;
        for line in ["MAIL", "RCPT", "DATA"] {
            relay.hears(line).await;
        }
        relay.says(b"250 ok\r\n550 no\r\n354 go\r\n").await;
        assert_eq!(relay.hears(".").await, ".\r\n");
        relay.says(b"554 no recipients\r\n").await;
        for line in ["RSET", "MAIL", "RCPT", "DATA"] {
            relay.hears(line).await;
        }
        relay.says(b"250 ok\r\n250 ok\r\n550 no\r\n503 no recipients\r\n").await;
        relay.hears("RSET").await;
        relay.says(b"250 ok\r\n").await;
        relay.takes_envelope().await;
        relay.takes_message().await;
        relay.says(b"250 2.0.0 queued\r\n").await;
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    for _ in 0..2 {
        let sent = send(&mut session, "a@example.org").await;
        assert!(sent.usable && matches!(sent.result, Ok(Outcome::Permanent(reply)) if reply.text == "no"));
    }
    assert!(matches!(send(&mut session, "b@example.org").await.result, Ok(Outcome::Accepted(_))));
    done.await.unwrap();
}

/// S-72, S-77, S-87: what the opening is told is never about a message.
#[tokio::test]
async fn a_refused_opening_is_a_fault_of_the_relay() {
    use RelayStop::{BackOff, Pause};
    for (greeting, ehlo, stop) in [
        ("421 busy\r\n", "", BackOff),
        ("450 busy\r\n", "", BackOff),
        ("554 go away\r\n", "", Pause),
        ("hello\r\n", "", BackOff),
        ("220 hello\r\n", "421 busy\r\n", BackOff),
        ("220 hello\r\n", "550 bad name\r\n", Pause),
        ("220 hello\r\n", "", BackOff),
    ] {
        let (settings, done) = fake(move |mut relay| async move {
            relay.says(greeting.as_bytes()).await;
            if greeting.starts_with("220") {
                relay.hears("EHLO").await;
                relay.says(ehlo.as_bytes()).await;
            }
        })
        .await;
        assert_eq!(connect(&settings).await.unwrap_err().stop, stop, "{greeting:?} {ehlo:?}");
        done.await.unwrap();
    }
}

/// S-87; the account is in no text and no `Debug`.
#[tokio::test]
async fn a_refused_login_stops_the_relay_and_a_temporary_one_backs_off() {
    for (offer, answers, stop) in [
        ("250-AUTH LOGIN PLAIN\r\n", &["535 5.7.8 wrong\r\n"][..], RelayStop::Pause),
        ("250-AUTH PLAIN\r\n", &["534 5.7.9 too weak\r\n"], RelayStop::Pause),
        ("250-AUTH PLAIN\r\n", &["454 4.7.0 later\r\n"], RelayStop::BackOff),
        ("250-AUTH=LOGIN\r\n", &["334 VXNlcg==\r\n", "334 \r\n", "535 wrong\r\n"], RelayStop::Pause),
        ("250-AUTH XOAUTH2\r\n", &[], RelayStop::Pause),
    ] {
        let (mut settings, done) = fake(move |mut relay| async move {
            relay.greets(offer).await;
            for answer in answers {
                relay.hears("").await;
                relay.says(answer.as_bytes()).await;
            }
        })
        .await;
        settings.credentials = Some(Credentials::new("svar".into(), "hemlighet".into()));
        assert!(!format!("{settings:?}").contains("hemlighet"));
        let fault = connect(&settings).await.unwrap_err();
        assert_eq!(fault.stop, stop, "{offer}");
        assert!(!format!("{fault:?}").contains("hemlighet"));
        done.await.unwrap();
    }
}

#[tokio::test]
async fn a_login_is_written_as_its_mechanism_says() {
    for (offer, dialogue) in [
        ("250-AUTH PLAIN LOGIN\r\n", &[("AUTH PLAIN AHN2YXIAaGVtbGlnaGV0\r\n", "235 in\r\n")][..]),
        (
            "250-AUTH LOGIN\r\n",
            &[("AUTH LOGIN\r\n", "334 QW52w6RuZGFyZQ==\r\n"), ("c3Zhcg==\r\n", "334\r\n"), ("aGVtbGlnaGV0\r\n", "235 in\r\n")],
        ),
    ] {
        let (mut settings, done) = fake(move |mut relay| async move {
            relay.greets(offer).await;
            for (line, answer) in dialogue {
                relay.hears(line).await;
                relay.says(answer.as_bytes()).await;
            }
        })
        .await;
        settings.credentials = Some(Credentials::new("svar".into(), "hemlighet".into()));
        connect(&settings).await.unwrap();
        done.await.unwrap();
    }
}

/// S-72, S-77: MAIL speaks of the account, 421 of the relay, wherever it stands.
#[tokio::test]
async fn a_fault_in_the_middle_is_the_relays_and_says_whether_the_delivery_had_begun() {
    use RelayStop::{BackOff, Pause};
    for (answers, stop) in [
        ("550 5.7.1 sender refused\r\n503 x\r\n503 x\r\n", Pause),
        ("450 4.7.1 slow down\r\n503 x\r\n503 x\r\n", BackOff),
        ("421 bye\r\n", BackOff),
        ("250 ok\r\n421 bye\r\n", BackOff),
        ("250 ok\r\n250 ok\r\n421 bye\r\n", BackOff),
        ("250 ok\r\n550 5.4.5 daily limit\r\n503 x\r\n", BackOff),
        ("250 ok\r\n250 ok\r\n550 5.4.5 daily limit\r\n", BackOff),
        ("250 ok\r\n250 ok\r\n250 odd\r\n", BackOff),
        ("250 ok\r\n354 odd\r\n250 odd\r\n", BackOff),
        ("250 ok\r\n", BackOff),
        ("250 ok\r\nnonsense\r\n", BackOff),
        ("", BackOff),
    ] {
        let (settings, done) = fake(move |mut relay| async move {
            relay.greets(PIPELINING).await;
            for line in ["MAIL", "RCPT", "DATA"] {
                relay.hears(line).await;
            }
            relay.says(answers.as_bytes()).await;
        })
        .await;
        let mut session = connect(&settings).await.unwrap();
        let sent = send(&mut session, "a@example.org").await;
        assert_eq!((stop_of(&sent), sent.usable), (Some(stop), false), "{answers:?} gave {sent:?}");
        let begun = sent.result.as_ref().is_err_and(|fault| fault.begun);
        assert_eq!(begun, answers.starts_with("250") && !answers.contains("nonsense"), "{answers:?} gave {sent:?}");
        done.await.unwrap();
        session.quit().await;
    }
}

/// S-72, RFC 1870 §6.1: a 552 to MAIL is about the message; DATA refused is too.
#[tokio::test]
async fn a_refusal_of_the_message_is_an_outcome_wherever_it_stands() {
    for (answers, code, transient) in [
        ("552 5.3.4 too big\r\n503 x\r\n503 x\r\n", 552, false),
        ("250 ok\r\n452 4.5.3 enough\r\n503 x\r\n", 452, true),
        ("250 ok\r\n552 5.2.2 full\r\n503 x\r\n", 552, true),
        ("250 ok\r\n552 5.3.4 too big\r\n503 x\r\n", 552, false),
        ("250 ok\r\n250 ok\r\n451 later\r\n", 451, true),
        ("250 ok\r\n250 ok\r\n554 never\r\n", 554, false),
    ] {
        let (settings, done) = fake(move |mut relay| async move {
            relay.greets(PIPELINING).await;
            for line in ["MAIL", "RCPT", "DATA"] {
                relay.hears(line).await;
            }
            relay.says(answers.as_bytes()).await;
            relay.hears("QUIT").await;
        })
        .await;
        let mut session = connect(&settings).await.unwrap();
        let sent = send(&mut session, "a@example.org").await;
        match sent.result {
            Ok(Outcome::Transient(reply)) if transient => assert_eq!(reply.code, code),
            Ok(Outcome::Permanent(reply)) if !transient => assert_eq!(reply.code, code),
            other => panic!("{answers:?} gave {other:?}"),
        }
        assert!(sent.usable);
        session.quit().await;
        done.await.unwrap();
    }
}

/// S-73: with the final dot out and no answer read nobody knows; with a 421 everybody does.
#[tokio::test]
async fn silence_after_the_dot_is_uncertain() {
    for (answer, uncertain) in [("", true), ("2", true), ("nonsense\r\n", true), ("354 odd\r\n", true), ("421 bye\r\n", false)] {
        let (settings, done) = fake(move |mut relay| async move {
            relay.greets(PIPELINING).await;
            relay.takes_envelope().await;
            relay.takes_message().await;
            relay.says(answer.as_bytes()).await;
        })
        .await;
        let mut session = connect(&settings).await.unwrap();
        let sent = send(&mut session, "a@example.org").await;
        assert_eq!(matches!(sent.result, Ok(Outcome::Uncertain(_))), uncertain, "{answer:?} gave {sent:?}");
        assert!(!sent.usable && (uncertain || stop_of(&sent) == Some(RelayStop::BackOff)));
        done.await.unwrap();
    }
}

/// S-73: closed before the last octet was out, the message was certainly not taken.
#[tokio::test]
async fn a_connection_closed_in_the_middle_of_a_message_backs_off() {
    let (settings, done) = fake(|mut relay| async move {
        relay.greets(PIPELINING).await;
        relay.takes_envelope().await;
        relay.hears("x").await;
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    // Far more than the sockets of both sides hold.
    let big = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(400_000);
    let sent = send_bytes(&mut session, Some(&address("b+x@svar.example.org")), &address("a@example.org"), &big).await;
    assert_eq!((stop_of(&sent), sent.usable), (Some(RelayStop::BackOff), false), "{:?}", sent.result);
    done.await.unwrap();
}

/// A relay that refuses in the middle of a message and reads no more is heard.
#[tokio::test]
async fn a_refusal_in_the_middle_of_a_message_is_an_outcome() {
    let (release, mut held) = tokio::sync::oneshot::channel::<()>();
    let (mut settings, done) = fake(|mut relay| async move {
        relay.greets(PIPELINING).await;
        relay.takes_envelope().await;
        relay.says(b"552 5.3.4 too big\r\n").await;
        _ = (&mut held).await;
    })
    .await;
    settings.timeouts.block = Duration::from_millis(50);
    let mut session = connect(&settings).await.unwrap();
    let big = [&b"x".repeat(70)[..], b"\r\n"].concat().repeat(400_000);
    let sent = send_bytes(&mut session, Some(&address("b+x@svar.example.org")), &address("a@example.org"), &big).await;
    assert!(!sent.usable && matches!(&sent.result, Ok(Outcome::Permanent(reply)) if reply.code == 552), "{:?}", sent.result);
    release.send(()).unwrap();
    done.await.unwrap();
}

/// S-91, S-103: between our own client and our own listener no message ends early, grows a second one or changes but for its
/// line ends.
#[test]
fn any_message_arrives_alone_and_whole() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (port, shelf, _stop) = runtime.block_on(relay());
    let settings = RelaySettings { max_messages_per_connection: 1_000, ..plain(port) };
    let session = Mutex::new(runtime.block_on(connect(&settings)).unwrap());
    let part = prop_oneof![
        Just("\r\n".to_owned()),
        Just(".".to_owned()),
        Just("DATA\r\n".to_owned()),
        Just("QUIT\r\n".to_owned()),
        "[.\r\nx]{0,5}"
    ];
    let parts = prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat());
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&parts, |message| {
        let mut session = session.lock().unwrap();
        let to = address("eva@example.org");
        let sent = runtime.block_on(send_bytes(&mut session, None, &to, message.as_bytes()));
        prop_assert!(sent.usable && matches!(sent.result, Ok(Outcome::Accepted(_))));
        let mut expected = message.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
        if !expected.is_empty() && !expected.ends_with('\n') {
            expected.push_str("\r\n");
        }
        let kept: Vec<Vec<u8>> = shelf.0.lock().unwrap().drain(..).map(|kept| kept.2).collect();
        prop_assert_eq!(kept, [expected.into_bytes()]);
        Ok(())
    });
    outcome.unwrap();
}

/// The daemon spawns these.
#[test]
fn sending_and_fetching_can_be_spawned() {
    fn spawnable<T: Send>(_: &T) {}
    let (settings, to) = (plain(1), address("a@example.org"));
    spawnable(&connect(&settings));
    spawnable(&async {
        if let Ok(mut session) = connect(&settings).await {
            _ = send_bytes(&mut session, None, &to, b"").await;
            _ = session.is_alive().await;
            session.quit().await;
        }
    });
    spawnable(&async {
        let mut seen = std::collections::HashSet::new();
        crate::wire::maildir::step("".as_ref(), 1, &mut seen, |_| async { Ok::<(), String>(()) }).await
    });
}

/// S-70: every step has its own time.
#[tokio::test]
async fn a_silent_relay_is_given_up_in_time() {
    let tiny = Duration::from_millis(30);
    let (release, _) = tokio::sync::broadcast::channel::<()>(1);
    for quiet_after in 0..6 {
        let mut held = release.subscribe();
        let (mut settings, done) = fake(move |mut relay| async move {
            if quiet_after > 0 {
                relay.says(b"220 fake\r\n").await;
                relay.hears("EHLO").await;
            }
            for (step, line) in ["250 fake\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"].into_iter().enumerate() {
                if quiet_after > step + 1 {
                    relay.says(line.as_bytes()).await;
                    relay.hears("").await;
                }
            }
            _ = held.recv().await;
        })
        .await;
        let t = &mut settings.timeouts;
        match quiet_after {
            0 => t.greeting = tiny,
            1 => t.ehlo = tiny,
            2 => t.mail = tiny,
            3 => t.rcpt = tiny,
            4 => t.data = tiny,
            _ => t.finish = tiny,
        }
        match connect(&settings).await {
            Err(fault) => assert!(quiet_after < 2 && fault.stop == RelayStop::BackOff, "{quiet_after}: {fault:?}"),
            Ok(mut session) => {
                let sent = send(&mut session, "a@example.org").await;
                let right = if quiet_after == 5 {
                    matches!(sent.result, Ok(Outcome::Uncertain(_)))
                } else {
                    stop_of(&sent) == Some(RelayStop::BackOff)
                };
                assert!(right && !sent.usable, "{quiet_after}: {sent:?}");
            }
        }
        release.send(()).unwrap();
        done.await.unwrap();
    }
}

/// A kept connection that was closed while it stood idle is nobody's fault.
#[tokio::test]
async fn an_idle_connection_that_was_closed_is_opened_again() {
    for (last, stop) in [
        ("", RelayStop::Reconnect),
        ("421 4.4.2 idle\r\n", RelayStop::Reconnect),
        ("421 4.7.0 enough of you\r\n", RelayStop::BackOff),
        // Counted as the answer to MAIL it would shift all that follow.
        ("250 twice\r\n", RelayStop::Reconnect),
    ] {
        let (settings, done) = fake(move |mut relay| async move {
            relay.greets(PIPELINING).await;
            relay.takes_envelope().await;
            relay.takes_message().await;
            relay.says(format!("250 ok\r\n{last}").as_bytes()).await;
        })
        .await;
        let mut session = connect(&settings).await.unwrap();
        assert!(send(&mut session, "a@example.org").await.usable);
        done.await.unwrap();
        let sent = send(&mut session, "a@example.org").await;
        assert_eq!((stop_of(&sent), sent.usable), (Some(stop), false), "{last:?} gave {sent:?}");
        assert!(!session.is_alive().await);
    }
}

/// A send that is dropped half-way must not shift replies to the next message.
#[tokio::test]
async fn a_dropped_send_ends_the_session() {
    let (heard, mut was_heard) = tokio::sync::mpsc::channel(1);
    let (settings, done) = fake(|mut relay| async move {
        relay.greets(PIPELINING).await;
        relay.hears("MAIL").await;
        heard.send(()).await.unwrap();
        let mut rest = Vec::new();
        relay.0.read_to_end(&mut rest).await.unwrap();
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    assert!(session.is_alive().await);
    tokio::select! {
        sent = send(&mut session, "a@example.org") => panic!("{sent:?}"),
        _ = was_heard.recv() => {}
    }
    assert_eq!(stop_of(&send(&mut session, "a@example.org").await), Some(RelayStop::Reconnect));
    assert!(!session.is_alive().await);
    drop(session);
    done.await.unwrap();
}

/// S-40, S-93.
#[tokio::test]
async fn reports_are_asked_for_as_the_sender_needs_them() {
    let (settings, done) = fake(|mut relay| async move {
        relay.greets("250-DSN\r\n").await;
        relay.hears("MAIL FROM:<b+x@svar.example.org> RET=HDRS\r\n").await;
        relay.says(b"250 ok\r\n").await;
        relay.hears("RCPT TO:<a+b@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb@example.org\r\n").await;
        relay.says(b"451 no\r\n").await;
        relay.hears("RSET").await;
        relay.says(b"250 ok\r\n").await;
        relay.hears("MAIL FROM:<>\r\n").await;
        relay.says(b"250 ok\r\n").await;
        relay.hears("RCPT TO:<a@example.org> NOTIFY=NEVER\r\n").await;
        relay.says(b"451 no\r\n").await;
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    _ = send(&mut session, "a+b@example.org").await;
    _ = send_bytes(&mut session, None, &address("a@example.org"), b"").await;
    done.await.unwrap();
}

/// S-56, S-90: settings that cannot work are told at once and nothing is sent.
#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let away = connect(&RelaySettings { host: "192.0.2.1".into(), ..plain(25) }).await.unwrap_err();
    assert!(away.stop == RelayStop::Pause && away.text.contains("must be encrypted"));
    for name in ["", "a b", "x\r\nMAIL"] {
        assert_eq!(connect(&RelaySettings { ehlo_name: name.into(), ..plain(25) }).await.unwrap_err().stop, RelayStop::Pause);
    }
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    assert_eq!(connect(&plain(port)).await.unwrap_err().stop, RelayStop::BackOff);
}

mod encrypted {
    //! S-84, S-85: certificates made for the test.

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls_pki_types::PrivateKeyDer;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A relay's key and certificate for `name`, and the authority that made it, in a file.
    fn certificate(name: &str) -> (TlsAcceptor, tempfile::NamedTempFile) {
        let (ca_key, mut ca) = (KeyPair::generate().unwrap(), CertificateParams::default());
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
        (TlsAcceptor::from(Arc::new(config)), file)
    }

    /// A listener behind TLS: `clear` is said and heard before the handshake.
    async fn relay_for(name: &str, clear: &'static [(&'static str, &'static str)]) -> (RelaySettings, Arc<Shelf>, tempfile::NamedTempFile) {
        let (inner, shelf, stop) = relay().await;
        let (acceptor, file) = certificate(name);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let _stop = stop;
            let mut fake = Fake(BufReader::new(socket.accept().await.unwrap().0));
            for (say, hear) in clear {
                fake.says(say.as_bytes()).await;
                fake.hears(hear).await;
            }
            if !clear.is_empty() {
                fake.says(b"220 go\r\n").await;
            }
            let Ok(mut outer) = acceptor.accept(fake.0.into_inner()).await else { return };
            let mut inner = TcpStream::connect(("127.0.0.1", inner)).await.unwrap();
            if !clear.is_empty() {
                let mut greeting = [0; 256];
                _ = inner.read(&mut greeting).await;
            }
            _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
        });
        let security = if clear.is_empty() { Security::Implicit } else { Security::StartTls };
        let settings =
            RelaySettings { roots: Roots::file(file.path()), ..RelaySettings::new("localhost", port, security, "svar.example.org") };
        (settings, shelf, file)
    }

    const CLEAR: &[(&str, &str)] = &[("220 fake\r\n", "EHLO"), ("250-fake\r\n250 STARTTLS\r\n", "STARTTLS\r\n")];

    #[tokio::test]
    async fn a_message_passes_implicit_tls_and_starttls() {
        for clear in [&[], CLEAR] {
            let (settings, shelf, _file) = relay_for("localhost", clear).await;
            let mut session = connect(&settings).await.unwrap();
            for _ in 0..2 {
                let body = b"a line of the message\r\n".repeat(3_000);
                let sent = send_bytes(&mut session, Some(&address("b@svar.example.org")), &address("eva@example.org"), &body).await;
                assert!(matches!(sent.result, Ok(Outcome::Accepted(_))), "{sent:?}");
            }
            session.quit().await;
            assert_eq!(shelf.0.lock().unwrap()[1].2.len(), 69_000);
        }
    }

    #[tokio::test]
    async fn a_certificate_of_another_name_or_authority_is_refused() {
        for clear in [&[], CLEAR] {
            let (settings, _, _file) = relay_for("mail.example.org", clear).await;
            let fault = connect(&settings).await.unwrap_err();
            assert!(fault.stop == RelayStop::BackOff && fault.text.contains("trusted"), "{fault}");
            let (settings, _, _file) = relay_for("localhost", clear).await;
            let (_, other) = certificate("localhost");
            let fault = connect(&RelaySettings { roots: Roots::file(other.path()), ..settings }).await.unwrap_err();
            assert!(fault.stop == RelayStop::BackOff && fault.text.contains("trusted"), "{fault}");
        }
    }

    /// S-85: one octet behind the 220 ends it; so does a relay without STARTTLS.
    #[tokio::test]
    async fn octets_behind_starttls_end_the_session() {
        for (offer, answer) in [("250-STARTTLS\r\n", &b"220 go\r\n250 injected\r\n"[..]), ("250-SIZE 1\r\n", b"")] {
            let (settings, done) = fake(move |mut relay| async move {
                relay.greets(offer).await;
                if !answer.is_empty() {
                    relay.hears("STARTTLS").await;
                    relay.says(answer).await;
                }
                let mut rest = Vec::new();
                relay.0.read_to_end(&mut rest).await.unwrap();
                assert!(rest.is_empty());
            })
            .await;
            let fault = connect(&RelaySettings { security: Security::StartTls, ..settings }).await.unwrap_err();
            assert_eq!(fault.stop, RelayStop::BackOff);
            done.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_ca_file_that_holds_none_pauses_the_relay() {
        let (settings, _, file) = relay_for("localhost", &[]).await;
        for text in ["", "-----BEGIN CERTIFICATE-----\nnonsense\n"] {
            std::fs::write(file.path(), text).unwrap();
            let fault = connect(&RelaySettings { roots: Roots::file(file.path()), ..settings.clone() }).await.unwrap_err();
            assert!(fault.stop == RelayStop::Pause && fault.text.contains(&file.path().display().to_string()), "{fault}");
        }
    }
}
