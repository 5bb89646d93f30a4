//! What comes in, from people and from strangers: promise 1, S-100…S-129, S-226.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use super::support::lmtp::Lmtp;
use super::support::message::{address, header};
use super::support::servers;
use super::support::sink::Sink;
use super::support::stage::{A_WHILE, bring, events, guest, invite, mail_of, reply, settings, status};
use super::support::svar::{Daemon, Home, Settings, setting};
use super::support::wait;

const YES: &str = "Ja, gärna! Vi blir två.";

/// So many guests who have the invitation, and the daemon.
fn party(guests: usize, change: impl FnOnce(&mut Settings)) -> (Sink, Home, Daemon) {
    let sink = Sink::start();
    let mut settings = settings(&sink);
    change(&mut settings);
    let home = invite(guests, settings);
    let daemon = home.serve();
    sink.wait_for(guests);
    status(&home, "all sent", |s| s["sent"] == guests);
    (sink, home, daemon)
}

fn reply_address(sink: &Sink, n: usize) -> String {
    address(&header(&mail_of(sink, n).bytes, "Reply-To").unwrap())
}

/// S-226: whatever a stranger sends is kept, nothing falls over, and the next answer is read.
#[test]
fn hostile_messages_are_kept_and_the_daemon_stays_up() {
    let (sink, home, daemon) = party(1, |_| {});
    let to = reply_address(&sink, 0);
    let nested: String = (0..1_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
    let rfc822: String = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
    let hostile: Vec<Vec<u8>> = vec![
        format!("From: x@example.org\r\n{nested}\r\nja\r\n").into_bytes(),
        format!("From: x@example.org\r\n{rfc822}\r\nja\r\n").into_bytes(),
        b"no header at all\r\n".to_vec(),
        b"\r\n".to_vec(),
        b"From: x@example.org\r\nSubject: a\0b\r\n\r\nja\0\xff\xfe\r\n".to_vec(),
        (0..200_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .filter(|b| *b != b'\r' && *b != b'\n')
            .collect::<Vec<u8>>()
            .chunks(900)
            .flat_map(|c| [c, b"\r\n"].concat())
            .collect(),
        format!("From: {}\r\n\r\nja\r\n", "a@example.org, ".repeat(20_000)).into_bytes(),
    ];
    let mut lmtp = Lmtp::connect(daemon.address("lmtp"));
    for bytes in &hostile {
        let said = lmtp.deliver("x@example.org", &to, bytes);
        assert!(said.starts_with("250") || said.starts_with('5'), "{said:?}");
    }
    assert!(bring(&daemon, &reply(&sink, 0, YES, "")).starts_with("250"));
    let now = status(&home, "the yes among the junk", |s| s["answers"]["yes"] == 1);
    assert_eq!(now["unsubscribed"], 0);
    assert!(daemon.term().success());
}

/// S-104: too large a message is refused by its size, the connection goes on; `svar ingest` keeps it and a person sees it.
#[test]
fn thirty_mebibytes_are_refused_by_lmtp_and_kept_by_ingest() {
    let (sink, home, daemon) = party(1, |_| {});
    let to = reply_address(&sink, 0);
    let line = format!("{}\r\n", "x".repeat(998));
    let big = format!("From: {}\r\nSubject: stort\r\n\r\n{}", guest(0), line.repeat(31_500));
    let mut lmtp = Lmtp::connect(daemon.address("lmtp"));
    assert!(lmtp.say("MAIL FROM:<x@example.org> SIZE=31457280").starts_with("552"));
    let said = Lmtp::connect(daemon.address("lmtp")).deliver("x@example.org", &to, big.as_bytes());
    assert!(said.starts_with("552") || said.is_empty(), "{said}");
    daemon.wait_for_log("a message was refused: it is larger than intake.max_bytes");
    let file = home.write("big.eml", &big);
    let output = home.run(["ingest", "--recipient", &to, "--sender", &guest(0), &setting(&file)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    status(&home, "the large message waiting for a person", |s| s["review"] == 1);
    assert!(bring(&daemon, &reply(&sink, 0, YES, "")).starts_with("250"));
    status(&home, "the yes", |s| s["answers"]["yes"] == 1);
    assert!(daemon.term().success());
}

/// S-102, S-210: forged, foreign and misused tokens are refused before a byte of the message.
#[test]
fn a_forged_token_is_refused_at_rcpt() {
    let (sink, home, daemon) = party(1, |_| {});
    let good = reply_address(&sink, 0);
    let (local, domain) = good.split_once('@').unwrap();
    let last = if local.ends_with('a') { "b" } else { "a" };
    let forged = format!("{}{last}@{domain}", &local[..local.len() - 1]);
    let message_id = header(&mail_of(&sink, 0).bytes, "Message-ID").unwrap();
    let misused = format!("svar+{}@{domain}", message_id.trim_matches(['<', '>']).split('@').next().unwrap());
    let mut lmtp = Lmtp::connect(daemon.address("lmtp"));
    assert!(lmtp.say("MAIL FROM:<x@example.org>").starts_with("250"));
    for to in [&forged, &misused, "svar+@natverket.example.org", "monica@natverket.example.org", "svar@example.net"] {
        let said = lmtp.say(&format!("RCPT TO:<{to}>"));
        assert!(said.starts_with("550 5.1.1"), "{to}: {said}");
    }
    for to in [&good.to_uppercase(), "svar@natverket.example.org"] {
        assert!(lmtp.say(&format!("RCPT TO:<{to}>")).starts_with("250"), "{to}");
    }
    drop((home, daemon));
}

/// A reply to a cancelled campaign is recorded and waits for a person, with that reason.
#[test]
fn a_reply_to_a_cancelled_campaign_waits_for_a_person() {
    let (sink, home, daemon) = party(1, |_| {});
    home.ok(["campaign", "cancel", "natverk"]);
    assert!(bring(&daemon, &reply(&sink, 0, YES, "")).starts_with("250"));
    status(&home, "the reply waiting", |s| s["review"] == 1);
    let waiting = home.ok(["review"]);
    assert!(waiting.contains("the campaign was cancelled") && waiting.contains(YES), "{waiting}");
    assert!(daemon.term().success());
}

/// S-213: one message by all three ways is one message, and nobody is told twice.
#[test]
fn the_same_message_by_three_ways_counts_once() {
    let inbox = tempfile::tempdir().unwrap();
    for folder in ["new", "cur", "tmp"] {
        fs::create_dir(inbox.path().join(folder)).unwrap();
    }
    let (sink, home, daemon) = party(1, |s| s.maildir = setting(inbox.path()));
    let mut answer = reply(&sink, 0, YES, "");
    answer.message = format!("Return-Path: <{}>\n{}", guest(0), answer.message);
    fs::write(inbox.path().join("tmp/1.a"), &answer.message).unwrap();
    fs::rename(inbox.path().join("tmp/1.a"), inbox.path().join("new/1.a")).unwrap();
    status(&home, "the yes by Maildir", |s| s["answers"]["yes"] == 1 && s["guests"] == 1);
    wait::until("the file moved to cur", wait::LONG, || (fs::read_dir(inbox.path().join("cur")).unwrap().count() == 1).then_some(()));
    assert!(bring(&daemon, &answer).starts_with("250"));
    let again = home.run_with_input(["ingest", "--sender", &guest(0)], answer.message.as_bytes());
    assert!(String::from_utf8_lossy(&again.stdout).contains("was there already"), "{again:?}");
    wait::until("one confirmation", wait::LONG, || (sink.received_by(&guest(0)).len() == 2).then_some(()));
    std::thread::sleep(A_WHILE);
    assert_eq!(sink.received_by(&guest(0)).len(), 2);
    assert_eq!(events(&home, 0).iter().filter(|e| *e == "answer.registered").count(), 1);
    assert!(daemon.term().success());
}

#[test]
fn an_answer_comes_in_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lmtp");
    let (sink, home, daemon) = party(1, |s| s.lmtp_socket = setting(&path));
    // the mail server is another user
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let answer = reply(&sink, 0, "Nej tyvärr, jag kan inte.", "");
    let mut lmtp = Lmtp::over(UnixStream::connect(&path).unwrap());
    assert!(lmtp.deliver(&answer.from, &answer.to, answer.message.replace('\n', "\r\n").as_bytes()).starts_with("250"));
    status(&home, "the no", |s| s["answers"]["no"] == 1);
    assert!(daemon.term().success());
}

/// S-28: the opt-out address unsubscribes whatever the mail says, and answers nobody. Stop means stop.
#[test]
fn the_opt_out_address_needs_no_words() {
    let (sink, home, daemon) = party(1, |_| {});
    let field = header(&mail_of(&sink, 0).bytes, "List-Unsubscribe").unwrap();
    let to = field.trim_matches(['<', '>']).strip_prefix("mailto:").unwrap().split('?').next().unwrap().to_owned();
    let bytes = format!("From: {}\r\nSubject: unsubscribe\r\n\r\n", guest(0));
    assert!(Lmtp::connect(daemon.address("lmtp")).deliver(&guest(0), &to, bytes.as_bytes()).starts_with("250"));
    status(&home, "the opt-out", |s| s["unsubscribed"] == 1);
    std::thread::sleep(A_WHILE);
    assert_eq!(sink.received_by(&guest(0)).len(), 1);
    home.write("people2.csv", format!("email\n{}\n", guest(0).to_uppercase()));
    assert!(home.ok(["contacts", "import", "people2.csv", "--list", "chefer"]).contains("stay suppressed"));
    assert!(daemon.term().success());
}

/// S-125, S-143: a machine's answer is no answer and is not answered; a delay is no failure; a failure with our token is.
#[test]
fn machines_are_read_for_what_they_are() {
    let (sink, home, daemon) = party(3, |_| {});
    assert!(
        bring(&daemon, &reply(&sink, 0, "Ja, jag är på semester till den 7 december.", "Auto-Submitted: auto-replied\n"))
            .starts_with("250")
    );
    for (n, action, code) in [(1, "delayed", "4.4.1"), (2, "failed", "5.1.1")] {
        let to = mail_of(&sink, n).from;
        let dsn = format!(
            "From: MAILER-DAEMON@guests.example.org\r\nTo: <{to}>\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsorry\r\n\
             --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; {}\r\n\
             Action: {action}\r\nStatus: {code}\r\nDiagnostic-Code: smtp; 550 {code} no such user\r\n\r\n--b--\r\n",
            guest(n)
        );
        assert!(Lmtp::connect(daemon.address("lmtp")).deliver("", &to, dsn.as_bytes()).starts_with("250"));
    }
    let now = status(&home, "one failed", |s| s["failed"] == 1);
    assert_eq!((&now["sent"], &now["answers"]["yes"], &now["review"]), (&2.into(), &0.into(), &0.into()), "{now}");
    assert!(events(&home, 2).contains(&"contact.suppressed".to_owned()));
    assert!(!events(&home, 1).contains(&"contact.suppressed".to_owned()));
    wait::until("the absence filed", wait::LONG, || events(&home, 0).contains(&"inbound.filed".to_owned()).then_some(()));
    std::thread::sleep(A_WHILE);
    assert_eq!(sink.received_by(&guest(0)).len(), 1);
    assert!(daemon.term().success());
}

/// S-117, S-126: a stranger who has the token changes the answer, and the organiser is told whose hand it was.
#[test]
fn an_answer_by_another_hand_is_told_to_the_organiser() {
    let (sink, home, daemon) = party(1, |_| {});
    assert!(bring(&daemon, &reply(&sink, 0, YES, "")).starts_with("250"));
    status(&home, "the yes", |s| s["answers"]["yes"] == 1);
    let mut forged = reply(&sink, 0, "Nej tack.", "");
    forged.message = forged.message.replace(&guest(0), "other@evil.example");
    forged.from = "other@evil.example".into();
    assert!(bring(&daemon, &forged).starts_with("250"));
    status(&home, "the no", |s| s["answers"]["no"] == 1);
    let told = wait::until("the word to the organiser", wait::LONG, || sink.received_by("monica@guests.example.org").into_iter().next());
    let text = super::support::message::text(&told.bytes);
    for part in ["other@evil.example skrev", &guest(0), "Nej tack.", "svar respond"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let answers = home.json(["answers", "natverk", "--json"]);
    assert_eq!(answers[0]["written_by"], "other@evil.example");
    assert!(home.ok(["answers", "natverk", "--csv"]).contains("other@evil.example"));
    assert!(daemon.term().success());
}

/// The latest clear answer counts and what came before stays on record; thanks change nothing.
#[test]
fn thanks_change_nothing_and_a_later_no_does() {
    let (sink, home, daemon) = party(1, |_| {});
    assert!(bring(&daemon, &reply(&sink, 0, YES, "")).starts_with("250"));
    status(&home, "the yes", |s| s["answers"]["yes"] == 1);
    assert!(bring(&daemon, &reply(&sink, 0, "Tack för bekräftelsen, vad trevligt!", "")).starts_with("250"));
    let thanked = status(&home, "the thanks taken in", |s| s["review"] == 1 || events(&home, 0).iter().any(|e| e == "inbound.filed"));
    assert_eq!((&thanked["answers"]["yes"], &thanked["guests"]), (&1.into(), &1.into()));
    assert!(bring(&daemon, &reply(&sink, 0, "Jag måste tyvärr ställa in, jag kan inte komma.", "")).starts_with("250"));
    let now = status(&home, "the no", |s| s["answers"]["no"] == 1);
    assert_eq!((&now["answers"]["yes"], &now["guests"]), (&0.into(), &0.into()));
    assert_eq!(events(&home, 0).iter().filter(|e| *e == "answer.registered").count(), 2);
    assert!(daemon.term().success());
}

/// S-139: an opt-out that was a mistake is put right by the organiser, who hears of it.
#[test]
fn a_yes_after_an_opt_out_waits_for_the_organiser_who_can_lift_it() {
    let (sink, home, daemon) = party(1, |_| {});
    assert!(bring(&daemon, &reply(&sink, 0, "Avregistrera mig", "")).starts_with("250"));
    status(&home, "the opt-out", |s| s["unsubscribed"] == 1);
    assert!(bring(&daemon, &reply(&sink, 0, YES, "")).starts_with("250"));
    status(&home, "the yes waiting", |s| s["review"] == 1 && s["answers"]["yes"] == 0);
    wait::until("the word to the organiser", wait::LONG, || (!sink.received_by("monica@guests.example.org").is_empty()).then_some(()));
    let id = home.json(["review", "--json"])[0]["id"].to_string();
    assert!(!home.run(["contacts", "allow", &guest(0)]).status.success(), "a reason is asked for");
    assert!(home.ok(["contacts", "allow", &guest(0), "--note", "ångrade sig"]).contains("may be mailed again"));
    home.ok(["review", &id, "yes"]);
    let now = status(&home, "the yes", |s| s["answers"]["yes"] == 1);
    assert_eq!(now["unsubscribed"], 0);
    wait::until("both confirmations", wait::LONG, || (sink.received_by(&guest(0)).len() == 3).then_some(()));
    assert!(daemon.term().success());
}

/// What svar is not sure of waits; a word decides it, and the writer is told once.
#[test]
fn a_person_decides_in_a_word() {
    let (sink, home, daemon) = party(1, |_| {});
    assert!(bring(&daemon, &reply(&sink, 0, "Vad roligt att ni hör av er! Vi hörs.", "")).starts_with("250"));
    status(&home, "it waiting", |s| s["review"] == 1);
    let waiting = home.json(["review", "--json"]);
    let id = waiting[0]["id"].to_string();
    home.ok(["review", &id, "yes", "--guests", "2"]);
    let now = home.json(["status", "natverk", "--json"]);
    assert_eq!((&now["answers"]["yes"], &now["guests"], &now["review"]), (&1.into(), &2.into(), &0.into()));
    wait::until("the confirmation", wait::LONG, || (sink.received_by(&guest(0)).len() == 2).then_some(()));
    wait::until("the confirmation settled", wait::LONG, || events(&home, 0).contains(&"notice.sent".to_owned()).then_some(()));
    let events = events(&home, 0);
    for event in ["inbound.waits", "inbound.decided", "answer.registered", "membership.joined", "notice.sent"] {
        assert!(events.contains(&event.to_owned()), "{event} is not in {events:?}");
    }
    home.ok(["respond", &guest(0), "natverk", "no", "--via", "phone", "--note", "=ringde=1+1"]);
    let csv = home.ok(["answers", "natverk", "--csv"]);
    assert!(csv.contains("'=ringde=1+1") && csv.contains("phone"), "{csv}");
    assert!(daemon.term().success());
}

/// Promise 1: what could not be stored stays with its sender, by exit code 75 and by 4xx. Needs root for a small disk.
#[test]
fn a_full_disk_loses_nothing() {
    if !servers::root() {
        eprintln!("not run: a small disk needs root");
        return;
    }
    let disk = SmallDisk::mount();
    let (sink, home, daemon) = party(1, |s| s.database = setting(&disk.0.path().join("svar.db")));
    let answer = reply(&sink, 0, YES, "");
    let filler = disk.0.path().join("filler");
    // what is left fills to the last block
    _ = fs::write(&filler, vec![0_u8; 64 << 20]);
    let large = answer.message.replace(YES, &format!("{YES}\n\n{}", "Det ska bli roligt att träffas.\n".repeat(20_000)));
    let refused = Lmtp::connect(daemon.address("lmtp")).deliver(&answer.from, &answer.to, large.replace('\n', "\r\n").as_bytes());
    assert!(refused.starts_with('4'), "{refused}");
    let kept = home.run_with_input(["ingest", "--recipient", &answer.to], large.as_bytes());
    assert_eq!(kept.status.code(), Some(75), "{kept:?}");
    fs::remove_file(&filler).unwrap();
    let taken = Lmtp::connect(daemon.address("lmtp")).deliver(&answer.from, &answer.to, large.replace('\n', "\r\n").as_bytes());
    assert!(taken.starts_with("250"), "{taken}");
    // so long a text is left to a person: what counts here is that it is there
    status(&home, "the message waiting for a person", |s| s["review"] == 1);
    assert!(daemon.term().success());
}

/// A file system of 16 MiB, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "svar-test"]).arg(dir.path()).status().unwrap();
        assert!(done.success());
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
