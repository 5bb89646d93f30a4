//! The pure stations in a row: bytes to parts, to a kind, to own words, to what they mean.
//!
//! In: one raw message, its envelope and, where it is known, the text of the mail it answers. Out: [`Understood`]. Never
//! fails and changes nothing; whose mail it is and what follows from it is asked elsewhere.

use std::sync::LazyLock;

use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::inbound::words::Phrasebook;
use crate::inbound::{absence, intent, kind, parse, quote, words};
use crate::model::inbound::{Envelope, Evidence, Intent, Kind, Reading};
use crate::wire::report::{self, Complaint, Report};

/// Everything svar understood of one message.
#[derive(Clone, Debug)]
pub struct Understood {
    /// What the bytes say.
    pub parsed: parse::Parsed,
    /// What it is.
    pub kind: Kind,
    /// What the person wrote, less quotes and signature; of a machine, its text.
    pub own_words: String,
    /// What that means.
    pub reading: Reading,
    /// Whether the reading is sure enough to be applied, were the message an answer.
    pub is_sure: bool,
    /// Why it is of that kind, and what says when its writer returns.
    pub evidence: Vec<Evidence>,
    /// When the writer of an automatic reply is back, or until when they are away, where it says so.
    pub returns: Option<NaiveDate>,
    /// The delivery report, where there is one.
    pub report: Option<Report>,
    /// The complaint, where there is one.
    pub complaint: Option<Complaint>,
}

/// What is known of a message beside its bytes.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The envelope it came in.
    pub envelope: Envelope,
    /// Something that svar signed ties it to a delivery, so that it is an answer whatever it looks like.
    pub is_tied: bool,
    /// The text of the mail it answers.
    pub sent: Option<String>,
}

/// Understands a message, from its bytes.
#[must_use]
pub fn understand(raw: &[u8], around: &Around) -> Understood {
    understand_parsed(parse::read(raw), around)
}

/// Understands a message that was parsed before.
#[must_use]
pub fn understand_parsed(parsed: parse::Parsed, around: &Around) -> Understood {
    let sent = around.sent.as_deref();
    let sorted = kind::of(&parsed, &around.envelope, around.is_tied);
    let own_words = quote::own_words(&parsed, sent);
    let read = reading_of(&parsed, &sorted, &own_words, sent);
    let is_sure = read.apply;
    let reading = Reading { apply: is_sure && !matches!(sorted.kind, Kind::Unsolicited | Kind::Junk), ..read };
    let kind = if reading.intent == Intent::AutoReply && sorted.kind == Kind::Reply { Kind::AutoReply } else { sorted.kind };
    let absence = (kind == Kind::AutoReply).then(|| absence::read(&own_words, parsed.date.map(|at| at.date_naive()))).flatten();
    let returns = absence.as_ref().map(|absence| absence.on);
    let stated = absence.map(|absence| Evidence { rule: "returns".to_owned(), words: absence.words });
    let evidence = sorted.evidence.into_iter().chain(stated).collect();
    let report = parsed.delivery_status.as_deref().map(report::read_delivery_status);
    let complaint = parsed.feedback_report.as_deref().and_then(report::read_feedback);
    Understood { kind, evidence, returns, own_words, reading, is_sure, report, complaint, parsed }
}

fn reading_of(parsed: &parse::Parsed, sorted: &kind::Sorted, own_words: &str, sent: Option<&str>) -> Reading {
    match sorted.kind {
        Kind::Reply | Kind::Command | Kind::Unsolicited | Kind::Junk => from_a_person(parsed, own_words, sent),
        Kind::CalendarReply => from_a_calendar(parsed, own_words, sent),
        Kind::AutoReply if sorted.is_by_words() => {
            // what only words show is filed unseen only where they hold no clear answer: a footer may stand below one
            let read = from_a_person(parsed, own_words, sent);
            let answers = read.apply && read.intent != Intent::AutoReply;
            let evidence = read.evidence.into_iter().filter(|e| answers || e.is_learnt()).collect();
            let machine = from_a_machine(sorted.kind, own_words);
            Reading { apply: machine.apply && !answers, evidence, ..machine }
        }
        Kind::AutoReply | Kind::Bounce | Kind::Complaint | Kind::Receipt => from_a_machine(sorted.kind, own_words),
    }
}

/// The language is likely that of the mail that is answered: all of the text shows it, quotes too.
fn from_a_person(parsed: &parse::Parsed, own_words: &str, sent: Option<&str>) -> Reading {
    let around = format!("{}\n{}\n{}", sent.unwrap_or_default(), parsed.text, intent::without_prefixes(&parsed.subject));
    intent::read(own_words, &parsed.subject, intent::language_of(&around))
}

/// PARTSTAT of the one attendee (RFC 5545 §3.2.12); what the person wrote besides must not say otherwise. Whose answer it
/// is, and whether the UID is ours, the caller asks (S-157).
fn from_a_calendar(parsed: &parse::Parsed, own_words: &str, sent: Option<&str>) -> Reading {
    let written = from_a_person(parsed, own_words, sent);
    let states = partstats(parsed.calendar.as_deref().unwrap_or_default());
    let intent = match states.as_slice() {
        [one] if one == "ACCEPTED" => Intent::Yes,
        [one] if one == "DECLINED" => Intent::No,
        [one] if one == "TENTATIVE" => Intent::Maybe,
        _ => return Reading { apply: false, ..written },
    };
    let agrees = written.intent == intent || !written.apply;
    let stated = Evidence { rule: "PARTSTAT".to_owned(), words: states.join(", ") };
    let beside = written.evidence.into_iter().filter(|e| !agrees || e.is_learnt());
    let evidence = [stated].into_iter().chain(beside).collect();
    Reading { intent, apply: agrees, confidence: if agrees { 0.99 } else { 0.5 }, evidence, ..written }
}

/// The states of all attendees, in capitals, folded lines joined (RFC 5545 §3.1).
fn partstats(calendar: &str) -> Vec<String> {
    let unfolded = calendar.replace("\n ", "").replace("\n\t", "").to_ascii_uppercase();
    let attendees = unfolded.lines().filter(|l| l.starts_with("ATTENDEE"));
    let states =
        attendees.filter_map(|l| l.split_once("PARTSTAT=")).filter_map(|(_, rest)| rest.split([';', ':', '"']).next().map(str::to_owned));
    states.take(2).collect()
}

/// A machine's mail is filed without a person, unless it says that the address is no longer in use.
fn from_a_machine(kind: Kind, own_words: &str) -> Reading {
    static GONE: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| vec![&w.auto.gone]));
    let gone = GONE.find(&words::fold(own_words)).next().is_some();
    Reading {
        intent: Intent::AutoReply,
        secondary: Vec::new(),
        guests: None,
        confidence: 0.95,
        apply: matches!(kind, Kind::AutoReply | Kind::Receipt) && !gone,
        language: intent::language_of(own_words).map(str::to_owned),
        evidence: Vec::new(),
    }
}

/// What `svar read --json` prints: one object for a message.
#[must_use]
pub fn to_json(understood: &Understood, file: &str) -> Value {
    let reading = &understood.reading;
    let evidence: Vec<&Evidence> = understood.evidence.iter().chain(&reading.evidence).collect();
    let mut out = json!({
        "file": file,
        "kind": understood.kind,
        "intent": reading.intent,
        "secondary": reading.secondary,
        "guests": reading.guests,
        "visible_text": understood.own_words,
        "confidence": (f64::from(reading.confidence) * 100.0).round() / 100.0,
        "apply": reading.apply,
        "evidence": evidence,
        "subject": understood.parsed.subject,
        "from": understood.parsed.from,
        "language": reading.language,
    });
    if let Some(returns) = understood.returns {
        out["returns"] = json!(returns);
    }
    if let Some(report) = &understood.report {
        out["report"] = json!(report);
    }
    if let Some(complaint) = &understood.complaint {
        out["complaint"] = json!(complaint);
    }
    if let Some(method) = &understood.parsed.calendar_method {
        out["calendar"] = json!({ "method": method, "partstat": partstats(understood.parsed.calendar.as_deref().unwrap_or_default()) });
    }
    if !(understood.parsed.in_reply_to.is_empty() && understood.parsed.references.is_empty()) {
        out["thread"] = json!({ "in_reply_to": understood.parsed.in_reply_to, "references": understood.parsed.references });
    }
    if let Some(limits) = understood.parsed.limits {
        out["limits"] = json!(limits);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_understood_from_its_bytes() {
        let raw = "From: Eva Berg <eva@example.com>\r\nTo: reply+abcdefgh1234@example.org\r\nSubject: Sv: Inbjudan\r\nIn-Reply-To: <1@example.org>\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\r\nJa, gärna! Vi blir två.\r\n\r\nMvh Eva\r\n\r\nDen 2 nov. 2026 kl. 09:00 skrev Monica <m@example.org>:\r\n\
            > Svara JA, NEJ eller AVREGISTRERA\r\n";
        let u = understand(raw.as_bytes(), &Around::default());
        assert_eq!((u.kind, u.reading.intent, u.reading.guests, u.reading.apply), (Kind::Reply, Intent::Yes, Some(1), true));
        let json = to_json(&u, "a.eml");
        assert_eq!((json["visible_text"].as_str(), json["language"].as_str()), (Some("Ja, gärna! Vi blir två."), Some("sv")));
        assert_eq!(json["thread"]["in_reply_to"][0], "1@example.org");
    }

    #[test]
    fn what_a_stranger_writes_is_read_and_never_applied() {
        let raw = b"From: Eva <eva@example.com>\r\nTo: svar@example.org\r\nSubject: Hej\r\n\r\nJa, anmal mig. Jag vill vara med.\r\n";
        let u = understand(raw, &Around::default());
        assert_eq!((u.kind, u.reading.intent, u.reading.apply, u.is_sure), (Kind::Unsolicited, Intent::Yes, false, true));
    }

    /// Where no field tells, an answer above a machine's words waits for a person.
    #[test]
    fn an_answer_beside_a_machines_words_is_not_filed() {
        let raw = |body: &str| format!("From: eva@example.com\r\nTo: reply+abcdefgh1234@example.org\r\nSubject: Re: x\r\n\r\n{body}\r\n");
        let read = |body: &str| understand(raw(body).as_bytes(), &Around::default());
        let both = read("Count me in, I will be there.\r\n\r\nThis is an automatically generated message from our switchboard.");
        assert!(both.kind == Kind::Reply || !both.reading.apply, "{:?}", both.reading);
        let machine = read("This is an automatically generated message. I am out of the office until 3 December.");
        assert_eq!((machine.kind, machine.reading.apply), (Kind::AutoReply, true));
    }

    #[test]
    fn nothing_a_machine_writes_is_an_answer() {
        let raw =
            b"Return-Path: <>\r\nFrom: eva@example.com\r\nTo: reply+abcdefgh1234@example.org\r\nAuto-Submitted: auto-replied\r\n\r\nJA\r\n";
        let u = understand(raw, &Around::default());
        assert_eq!((u.kind, u.reading.intent), (Kind::AutoReply, Intent::AutoReply));
    }

    /// S-143: the end of an absence is kept with the words that state it, whether header fields or the learnt reader know
    /// that a machine wrote it; and it is no answer.
    #[test]
    fn an_automatic_reply_says_when_its_writer_returns() {
        let person = "From: eva@example.com\r\nTo: reply+abcdefgh1234@example.org\r\nIn-Reply-To: <1@example.org>\r\n\
            Date: Tue, 03 Nov 2026 08:25:25 +0100\r\n";
        let understood = |fields: &str, text: &str| understand(format!("{person}{fields}\r\n{text}\r\n").as_bytes(), &Around::default());
        let known = understood("Auto-Submitted: auto-replied\r\n", "Back on 3 December.");
        assert_eq!(to_json(&known, "a.eml")["returns"], "2026-12-03");
        assert!(known.evidence.contains(&Evidence { rule: "returns".into(), words: "Back on 3 December".into() }));
        assert_eq!(known.reading.intent, Intent::AutoReply);
        let learnt = understood("", "Jestem na urlopie do 4 grudnia i nie mam dostepu do skrzynki.");
        assert_eq!((learnt.kind, learnt.returns), (Kind::AutoReply, NaiveDate::from_ymd_opt(2026, 12, 4)));
        let written = understood("", "Nej tack, jag är tillbaka först den 3 december. Hälsa alla!");
        assert_eq!((written.kind, written.returns), (Kind::Reply, None));
        assert!(to_json(&written, "a.eml").get("returns").is_none());
    }
}
