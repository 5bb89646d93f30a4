//! What is a person's and what a machine's, by fields, by subject and by words.

use super::*;
use crate::inbound::parse::read;

/// Of the machines among the examples of the learnt reader.
const MACHINES_TOLD: usize = 243;

/// The fields of a person's reply.
const PERSON: &str = "Return-Path: <eva@example.com>\r\nFrom: Eva <eva@example.com>\r\nTo: reply+abcdefgh1234@example.org\r\n\
    Subject: Sv: Inbjudan\r\nIn-Reply-To: <1@example.org>\r\n";

fn kind(fields: &str, body: &str) -> Kind {
    of(&read(format!("{fields}\r\n{body}\r\n").as_bytes()), &Envelope::default(), false).kind
}

fn never(fields: &str) -> Option<&'static str> {
    never_answer(&read(format!("{fields}\r\nHej\r\n").as_bytes()), &Envelope::default())
}

#[test]
fn a_persons_reply_is_a_reply() {
    for body in [
        "Ja, jag kommer!",
        "Jag är på semester den veckan, så nej tyvärr.",
        "I will be out of the office that entire week, so I must decline.",
        "Kan inte, är bortrest.",
        "Ist im Urlaub, leider nein",
    ] {
        assert_eq!(kind(PERSON, body), Kind::Reply, "{body}");
    }
    let list_like = format!("{PERSON}Precedence: bulk\r\nX-Auto-Response-Suppress: DR, RN\r\nAuto-Submitted: no\r\n");
    assert_eq!(kind(&list_like, "Ja tack"), Kind::Reply);
}

/// S-143, RFC 3834.
#[test]
fn an_automatic_reply_is_known_by_its_fields() {
    for field in ["Auto-Submitted: auto-replied (vacation)", "X-Autoreply: yes", "X-Autorespond: x", "Precedence: auto_reply"] {
        assert_eq!(kind(&format!("{PERSON}{field}\r\n"), "Ja!"), Kind::AutoReply, "{field}");
    }
    assert_eq!(kind(&PERSON.replace("<eva@example.com>\r\nFrom", "<>\r\nFrom"), "Ja!"), Kind::AutoReply);
    for subject in [
        "Automatiskt svar: Inbjudan",
        "Out of office Re: Invitation",
        "Abwesenheitsnotiz: Einladung",
        "Frånvaro: Inbjudan",
        "[Autosvar] Inbjudan",
    ] {
        assert_eq!(kind(&PERSON.replace("Sv: Inbjudan", subject), "Ja!"), Kind::AutoReply, "{subject}");
    }
}

#[test]
fn an_absence_is_known_by_its_words() {
    for body in [
        "Hej! Jag är på semester och är tillbaka den 3 december.",
        "I am out of the office until Monday. For urgent matters contact reception.",
        "Thank you for your email. I will reply when I return; I have limited access to my email.",
        "Ich bin bis 30.11. nicht im Büro. In dringenden Fällen wenden Sie sich an die Zentrale.",
    ] {
        assert_eq!(kind(PERSON, body), Kind::AutoReply, "{body}");
    }
}

#[test]
fn a_mail_system_that_follows_no_standard_is_known_by_sender_and_words() {
    let daemon = "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\nSubject: failure notice\r\n";
    assert_eq!(kind(daemon, "Hi. This is the qmail-send program. I'm afraid I wasn't able to deliver your message."), Kind::Bounce);
    assert_eq!(kind(PERSON, "The invitation to Bo said delivery failed, but I will come."), Kind::Reply);
}

/// S-115: what svar signed came back, so it is an answer, whatever the address is called and the mail program left out.
#[test]
fn what_is_tied_by_a_token_is_a_reply() {
    let bare = "Return-Path: <eva@example.com>\r\nFrom: Eva <eva@example.com>\r\nTo: inbjudan.a@example.org\r\nSubject: Hej\r\n";
    let sort = |fields: &str, is_tied| of(&read(format!("{fields}\r\nJa\r\n").as_bytes()), &Envelope::default(), is_tied).kind;
    assert_eq!((sort(bare, false), sort(bare, true)), (Kind::Unsolicited, Kind::Reply));
    assert_eq!(sort(&format!("{bare}List-Id: <x.example.net>\r\n"), true), Kind::Reply);
    assert_eq!(sort(&format!("{bare}X-Spam-Flag: YES\r\n"), true), Kind::Junk);
    assert_eq!(sort(&format!("{bare}Auto-Submitted: auto-replied\r\n"), true), Kind::AutoReply);
    assert_eq!(sort(&bare.replace("inbjudan.a@", "inbjudan+abcdefgh1234@"), false), Kind::Reply);
}

/// S-143: Postfix's pipe names the null path so.
#[test]
fn a_pipes_word_for_the_null_path_is_a_machines() {
    let envelope = Envelope { from: Some("MAILER-DAEMON".into()), to: None };
    assert_eq!(of(&read(format!("{PERSON}\r\nNej, jag kan inte svara nu.\r\n").as_bytes()), &envelope, true).kind, Kind::AutoReply);
}

#[test]
fn a_stranger_is_unsolicited_and_spam_is_junk() {
    let stranger = "From: Bo <bo@example.net>\r\nTo: monica@example.org\r\nSubject: Fråga\r\n";
    assert_eq!(kind(stranger, "Hej"), Kind::Unsolicited);
    assert_eq!(kind(&format!("{stranger}X-Spam-Flag: YES\r\n"), "Hej"), Kind::Junk);
    assert_eq!(kind(&format!("{PERSON}X-Spam-Flag: YES\r\n"), "Ja"), Kind::Reply);
    assert_eq!(kind(&format!("{stranger}List-Id: <x.example.net>\r\n"), "Hej"), Kind::Unsolicited);
}

/// S-125, S-129: each condition alone forbids an automatic answer.
#[test]
fn each_reason_alone_forbids_an_automatic_answer() {
    assert_eq!(never(PERSON), None);
    assert_eq!(never(&format!("{PERSON}Auto-Submitted: no\r\nPrecedence: first-class\r\nX-Auto-Response-Suppress: DR\r\n")), None);
    for (field, why) in [
        ("Auto-Submitted: auto-generated; x=y", "Auto-Submitted says that a machine wrote it"),
        ("List-Help: <mailto:x@y.org>", "it has a List- field"),
        ("List-Id: <x>", "it has a List- field"),
        ("Precedence: bulk", "Precedence says that it is bulk"),
        ("Precedence: list", "Precedence says that it is bulk"),
        ("Precedence: junk", "Precedence says that it is bulk"),
        ("Precedence: auto_reply", "Precedence says that it is bulk"),
        ("X-Auto-Response-Suppress: DR, AutoReply", "X-Auto-Response-Suppress forbids it"),
        ("X-Auto-Response-Suppress: All", "X-Auto-Response-Suppress forbids it"),
        ("Content-Type: multipart/report; report-type=x; boundary=b", "it is a report"),
        ("Svar-Ref: abc", "svar itself wrote it"),
        ("X-Spam-Flag: YES", "it is marked as spam"),
        ("Authentication-Results: mx.example; dmarc=fail", "DMARC failed"),
        ("X-Loop: eva", "it carries a loop marker"),
    ] {
        assert_eq!(never(&format!("{PERSON}{field}\r\n")), Some(why), "{field}");
    }
}

/// S-125: senders that are no persons, by From or by return path.
#[test]
fn a_system_or_a_list_is_never_answered() {
    for local in ["MAILER-DAEMON", "postmaster", "owner-list", "list-owner", "list-request", "list-bounces", "noreply"] {
        assert!(never(&PERSON.replace("eva@", &format!("{local}@"))).is_some(), "{local}");
    }
    assert!(never(&PERSON.replace("<eva@example.com>\r\nFrom", "<>\r\nFrom")).is_some());
    assert!(never(&PERSON.replace("Return-Path: <eva@example.com>\r\n", "")).is_some());
    assert!(never(&PERSON.replace("From: Eva <eva@example.com>\r\n", "")).is_some());
    let own = Envelope { from: Some("eva@example.com".into()), to: Some("EVA@example.com".into()) };
    assert!(never_answer(&read(PERSON.as_bytes()), &own).is_some());
}

/// S-129.
#[test]
fn a_loop_is_never_answered() {
    assert_eq!(never(&format!("{}{PERSON}", "Received: by x\r\n".repeat(50))), None);
    assert!(never(&format!("{}{PERSON}", "Received: by x\r\n".repeat(51))).is_some());
}

/// Lines of `tests/fixtures/kinds/NAME.tsv`, sorted as mail from a person's program: the words and what it was taken for.
fn sorted_table(name: &str) -> Vec<(String, Kind)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kinds");
    let table = std::fs::read_to_string(folder.join(name)).unwrap();
    let sort = |line: &str| {
        let [_, subject, text] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("three columns: {line}") };
        let fields = format!("{}Content-Type: text/plain; charset=utf-8\r\n", PERSON.replace("Sv: Inbjudan", subject));
        (format!("{subject}: {text}"), kind(&fields, &text.replace("\\n", "\r\n")))
    };
    table.lines().filter(|l| !l.starts_with('#')).map(sort).collect()
}

/// Holidays, tickets, receipts and machines that people speak of.
#[test]
fn no_persons_reply_is_taken_for_a_machines() {
    let people = sorted_table("people.tsv");
    assert!(people.len() >= 103, "examples are missing");
    let taken: Vec<_> = people.iter().filter(|(_, kind)| *kind != Kind::Reply).collect();
    assert!(taken.is_empty(), "{taken:#?}");
}

/// The floor only rises. What is not told here is left to the learnt reader.
#[test]
fn a_machine_that_hides_is_known_by_its_words() {
    let machines = sorted_table("machines.tsv");
    let missed: Vec<_> = machines.iter().filter(|(_, kind)| !matches!(kind, Kind::AutoReply | Kind::Receipt)).collect();
    println!("machines: {}/{}; not: {missed:#?}", machines.len() - missed.len(), machines.len());
    assert!(machines.len() >= 76, "examples are missing");
    assert!(machines.len() - missed.len() >= 71, "fewer are told");
}

/// The form of a delivery report, and a filter's words: nothing is wrong with the address.
#[test]
fn a_challenge_in_the_form_of_a_report_is_no_bounce() {
    let report = |status: &str, text: &str| {
        let fields = "Return-Path: <eva@example.com>\r\nFrom: Eva <eva@example.com>\r\nSubject: Re: Inbjudan\r\n\
            Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n";
        let body = format!(
            "--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; x.example\r\n\r\nFinal-Recipient: rfc822; eva@example.com\r\nAction: failed\r\nStatus: {status}\r\n\r\n--b--"
        );
        kind(fields, &body)
    };
    let challenge = "Please confirm that you are human and your mail will be delivered.";
    assert_eq!(report("4.7.0", challenge), Kind::AutoReply);
    assert_eq!(report("5.7.1", challenge), Kind::Bounce);
    assert_eq!(report("4.2.2", "The mailbox is full."), Kind::Bounce);
}

/// Fields that people's mail carries too tell nothing.
#[test]
fn what_people_and_redirections_carry_is_no_tell() {
    for field in [
        "X-MS-Exchange-Inbox-Rules-Loop: eva@example.com",
        "X-Sieve: CMU Sieve 2.2",
        "Feedback-ID: 1:2:example",
        "X-RT-Loop-Prevention: example.com",
        "X-Mailer: Microsoft Outlook 16.0",
        "X-Autoreply: no",
    ] {
        assert_eq!(kind(&format!("{PERSON}{field}\r\n"), "Ja!"), Kind::Reply, "{field}");
    }
    for field in
        ["X-POST-MessageClass: 9; Autoresponder", "X-Mailer: vacation 1.2.7", "X-FC-MachineGenerated: true", "Preference: auto_reply"]
    {
        assert_eq!(kind(&format!("{PERSON}{field}\r\n"), "Ja!"), Kind::AutoReply, "{field}");
    }
}

/// What the learnt reader was made with, read by words alone: of 31,529 people nine are taken for a machine,
/// and what they wrote is filed only where the learnt reader finds no answer in it. The floor of machines only rises.
#[test]
fn the_examples_of_the_learnt_reader_are_told_apart() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/intents/learn");
    let (mut people, mut machines, mut told, mut taken) = (0, 0, 0, Vec::new());
    for file in std::fs::read_dir(folder).unwrap() {
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let example: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = example["text"].as_str().unwrap();
            let is_machine = example["intent"] == "auto_reply";
            let kind = kind(&format!("{PERSON}Content-Type: text/plain; charset=utf-8\r\n"), &text.replace('\n', "\r\n"));
            people += usize::from(!is_machine);
            machines += usize::from(is_machine);
            told += usize::from(is_machine && kind != Kind::Reply);
            if !is_machine && kind != Kind::Reply {
                taken.push(text.to_owned());
            }
        }
    }
    println!("people: {people}, taken for machines: {}; machines: {told}/{machines}", taken.len());
    assert!(people > 9_000, "examples are missing");
    assert!(taken.len() * 3_500 <= people, "{taken:#?}");
    assert!(told >= MACHINES_TOLD, "fewer are told");
}

/// A footer of the mail system below a person's answer is not the answer; and a subject of marks alone costs no more than others.
#[test]
fn a_footer_and_a_subject_of_marks_make_no_machine() {
    for body in [
        "Yes, I'm coming!\r\n\r\nThis mailbox is not monitored. Please do not reply to this address, use bob@example.com.",
        "Ja tack, jag kommer gärna.\r\n\r\nDetta är ett automatiskt skickat mejl från vår växel.",
    ] {
        assert_eq!(kind(PERSON, body), Kind::Reply, "{body}");
    }
    let marked = PERSON.replace("Sv: Inbjudan", &format!("Sv: {}", "[".repeat(90_000)));
    assert_eq!(kind(&marked, "Ja tack"), Kind::Reply);
}
