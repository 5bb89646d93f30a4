//! Somebody who was not asked wants to take part: they are asked by mail, and only what they confirm counts. S-125…S-127, S-188, S-231.

use super::support::lmtp::Lmtp;
use super::support::message::{Reply, answer, header, subject, text};
use super::support::sink::{Received, Sink};
use super::support::stage::{A_WHILE, ATTRIBUTION, bring, invite, settings, status};
use super::support::svar::{Daemon, Home};
use super::support::wait;

const EVA: &str = "eva@elsewhere.example.org";
const WISH: &str = "Hej! Jag hörde om ert nätverk av en kollega och jag vill gärna vara med. Vi blir två.";
const TO: &str = "svar@natverket.example.org";

fn open_house() -> (Sink, Home, Daemon) {
    let sink = Sink::start();
    let home = invite(1, settings(&sink));
    let daemon = home.serve();
    sink.wait_for(1);
    status(&home, "the invitation sent", |s| s["sent"] == 1);
    (sink, home, daemon)
}

/// A mail to the bare address, as a stranger's program makes it.
fn first_mail(from: &str, id: &str, more: &str, words: &str) -> String {
    format!(
        "From: Eva Berg <{from}>\r\nTo: {TO}\r\nSubject: Buy now: pills\r\nMessage-ID: <{id}@elsewhere.example.org>\r\n{more}\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{words}\r\n"
    )
}

#[track_caller]
fn writes(daemon: &Daemon, path: &str, mail: &str) {
    let said = Lmtp::connect(daemon.address("lmtp")).deliver(path, TO, mail.as_bytes());
    assert!(said.starts_with("250"), "{said}");
}

/// The mails that Eva has, once there are so many.
#[track_caller]
fn mails(sink: &Sink, count: usize) -> Vec<Received> {
    wait::until(&format!("{count} mails to {EVA}"), wait::LONG, || {
        let mails = sink.received_by(EVA);
        (mails.len() >= count).then_some(mails)
    })
}

fn answered(mail: &Received, words: &str, more: &str) -> Reply {
    answer(&mail.bytes, "Eva Berg", EVA, words, ATTRIBUTION, more)
}

fn reasons(home: &Home) -> Vec<String> {
    let waiting = home.json(["review", "--json"]);
    waiting.as_array().unwrap().iter().map(|row| row["why"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_stranger_who_confirms_is_on_record() {
    let (sink, home, daemon) = open_house();
    let mail = first_mail(EVA, "1", "", WISH);
    writes(&daemon, EVA, &mail);
    let question = mails(&sink, 1).remove(0);
    assert_eq!((question.from.as_str(), header(&question.bytes, "Auto-Submitted").as_deref()), ("", Some("auto-replied")));
    assert_eq!(header(&question.bytes, "In-Reply-To").as_deref(), Some("<1@elsewhere.example.org>"));
    let words = text(&question.bytes);
    assert!(
        words.contains("natverk") && words.contains("ta med 1 till") && words.contains("ordet JA") && words.contains("AVREGISTRERA"),
        "{words}"
    );
    assert!(!subject(&question.bytes).contains("pills") && !words.contains("kollega"), "nothing of a stranger's words is carried on");
    let waiting = home.json(["review", "--json"]);
    assert_eq!((&waiting[0]["why"], &waiting[0]["campaign"]), (&"asked to confirm by mail".into(), &"natverk".into()));
    // S-213, S-231: the same again is the same, and another one within seven days is asked nothing
    writes(&daemon, EVA, &mail);
    writes(&daemon, EVA, &first_mail(EVA, "2", "", "Hej igen! Jag vill vara med i nätverket, anmäl mig."));
    wait::until("the second mail waiting", wait::LONG, || (reasons(&home).len() == 2).then_some(()));
    assert!(reasons(&home)[1].contains("within the last seven days"), "{:?}", reasons(&home));
    // S-125: a machine confirms nothing
    assert!(
        bring(&daemon, &answered(&question, "Ja, jag är på semester till den 7 december.", "Auto-Submitted: auto-replied\n"))
            .starts_with("250")
    );
    std::thread::sleep(A_WHILE);
    assert_eq!((sink.received_by(EVA).len(), status(&home, "nobody yet", |_| true)["answers"]["yes"].as_i64()), (1, Some(0)));

    assert!(bring(&daemon, &answered(&question, "JA", "")).starts_with("250"));
    let now = status(&home, "the yes", |s| s["answers"]["yes"] == 1);
    assert_eq!((&now["guests"], &now["review"]), (&1.into(), &0.into()), "{now}");
    let people = home.json(["status", "natverk", "--people", "--state", "yes", "--json"]);
    assert_eq!((&people[0]["address"], &people[0]["first_name"], &people[0]["last_name"]), (&EVA.into(), &"Eva".into(), &"Berg".into()));
    let history = home.json(["history", EVA, "--json"]);
    let proof = history.as_array().unwrap().iter().find(|e| e["event"] == "wish.confirmed").unwrap();
    for (name, part) in [("written", WISH), ("confirmed", "JA"), ("question", "ordet JA"), ("confirmed_by", EVA)] {
        assert!(proof["detail"][name].as_str().unwrap().contains(part), "{proof}");
    }

    // the thanks can be answered in one's own words, and the question a second time
    let thanks = mails(&sink, 2).remove(1);
    assert!(text(&thanks.bytes).contains("att du är med och att du tar med 1 till"), "{}", text(&thanks.bytes));
    assert!(bring(&daemon, &answered(&question, "Ja!", "")).starts_with("250"));
    assert!(bring(&daemon, &answered(&thanks, "Nej tyvärr, jag kan inte komma.", "")).starts_with("250"));
    let now = status(&home, "the change of mind", |s| s["answers"]["no"] == 1);
    assert_eq!(now["answers"]["yes"], 0);
    assert!(daemon.term().success());
}

/// S-125, S-126: no question goes where From may be another's, a machine wrote, or mail is not wanted.
#[test]
fn whoever_may_not_be_answered_gets_no_question() {
    let (sink, home, daemon) = open_house();
    let unwanted = "gone@elsewhere.example.org";
    home.write("gone.csv", format!("email\n{unwanted}\n"));
    home.ok(["contacts", "import", "gone.csv", "--list", "other"]);
    home.ok(["contacts", "suppress", unwanted]);
    let mails: [(&str, &str, &str); 8] = [
        (EVA, "other@evil.example", ""),
        (EVA, "", ""),
        (EVA, EVA, "Auto-Submitted: auto-generated\r\n"),
        (EVA, EVA, "X-Spam-Flag: YES\r\n"),
        (EVA, EVA, "List-Id: <x.example.org>\r\n"),
        (EVA, EVA, "Authentication-Results: mx.example.org; dmarc=fail\r\n"),
        (unwanted, unwanted, ""),
        (TO, TO, ""),
    ];
    for (n, (from, path, more)) in mails.iter().enumerate() {
        writes(&daemon, path, &first_mail(from, &format!("m{n}"), more, WISH));
    }
    wait::until("five that wait for a person", wait::LONG, || (reasons(&home).len() == 5).then_some(()));
    std::thread::sleep(A_WHILE);
    let asked: Vec<_> = [EVA, unwanted, TO, "other@evil.example"].iter().flat_map(|to| sink.received_by(to)).collect();
    assert!(asked.is_empty(), "{asked:?}");
    assert!(reasons(&home).iter().any(|why| why.contains("gets no mail from us")), "{:?}", reasons(&home));
    assert!(daemon.term().success());
}

#[test]
fn with_two_invitations_open_a_person_decides() {
    let (sink, home, daemon) = open_house();
    let other = super::support::stage::INVITATION.replace("name: natverk", "name: middag").replace("list: chefer", "list: andra");
    home.write("middag.md", other);
    home.write("andra.csv", "e-post;förnamn\nbo@guests.example.org;Bo\n");
    home.ok(["contacts", "import", "andra.csv", "--list", "andra"]);
    home.ok(["campaign", "add", "middag.md"]);
    home.ok(["campaign", "start", "middag"]);
    writes(&daemon, EVA, &first_mail(EVA, "1", "", WISH));
    wait::until("the reason", wait::LONG, || {
        reasons(&home).first().is_some_and(|why| why.contains("several invitations are open")).then_some(())
    });
    std::thread::sleep(A_WHILE);
    assert!(sink.received_by(EVA).is_empty());
    assert!(daemon.term().success());
}
