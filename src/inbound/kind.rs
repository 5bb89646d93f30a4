//! Sorts a message: reply, automatic reply, bounce, complaint, calendar reply, receipt, stranger's mail or junk.
//!
//! In: a [`Parsed`] and its envelope. Out: a [`Sorted`] with its reasons; and, apart, whether an automatic answer may be
//! sent at all. Standard fields speak first, then what mail systems add, then words (`words/`). A person's reply must
//! never be taken for a machine's, nor the reverse: of doubtful words two kinds are needed.
//! Sources: RFC 3834 §2, §5; RFC 6522 §3; S-125, S-129, S-135, S-140, S-141, S-143, S-157.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::inbound::intent::without_prefixes;
use crate::inbound::parse::Parsed;
use crate::inbound::words::{ALL, Phrasebook, Phrases, Words, fold};
use crate::model::inbound::{Envelope, Evidence, Kind};

/// Characters of a text in which a machine shows itself.
const LOOKED_AT: usize = 3000;
/// More Received fields than this mean a loop (S-129).
const MOST_RECEIVED: usize = 50;

/// What a message is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorted {
    /// What it is.
    pub kind: Kind,
    /// What showed it: the field or rule, and the words.
    pub evidence: Vec<Evidence>,
}

/// Sorts a message. `is_tied`: something that svar signed came back with it, so a person's mail is an answer, whatever
/// fields it lacks. [`Kind::Command`] is never given: whose command it is only the caller knows.
#[must_use]
pub fn of(parsed: &Parsed, envelope: &Envelope, is_tied: bool) -> Sorted {
    let text = fold(&unquoted(&parsed.text));
    report(parsed)
        .or_else(|| bounce(parsed, envelope, &text))
        .or_else(|| automatic(parsed, envelope, &text))
        .or_else(|| is_tied.then(|| tied(parsed)).flatten())
        .or_else(|| junk(parsed, envelope))
        .unwrap_or_else(|| from_a_person(parsed, envelope))
}

fn sorted(kind: Kind, rule: &str, words: &str) -> Sorted {
    Sorted { kind, evidence: vec![Evidence { rule: rule.to_owned(), words: words.chars().take(120).collect() }] }
}

/// The start of the text less the quoted lines.
fn unquoted(text: &str) -> String {
    let lines = text.lines().filter(|l| !l.starts_with('>'));
    lines.flat_map(|l| l.chars().chain(['\n'])).take(LOOKED_AT).collect()
}

/// S-135, S-140, S-141, S-157: told by the parts alone.
fn report(parsed: &Parsed) -> Option<Sorted> {
    let declared = parsed.report_type.as_deref().unwrap_or_default();
    if declared == "feedback-report" || parsed.has_part("message/feedback-report") {
        return Some(sorted(Kind::Complaint, "Content-Type", "feedback-report"));
    }
    if parsed.has_header("X-HmXmrOriginalRecipient") || parsed.has_header("X-HmXmrOriginalRecipient-To") {
        return Some(sorted(Kind::Complaint, "X-HmXmrOriginalRecipient", ""));
    }
    if declared == "delivery-status" || parsed.has_part("message/delivery-status") {
        return Some(sorted(Kind::Bounce, "Content-Type", "delivery-status"));
    }
    if declared == "disposition-notification" || parsed.has_part("message/disposition-notification") {
        return Some(sorted(Kind::Receipt, "Content-Type", "disposition-notification"));
    }
    let reply = parsed.calendar_method.as_deref() == Some("REPLY");
    reply.then(|| sorted(Kind::CalendarReply, "METHOD", "REPLY"))
}

/// Mail systems that use no standard form: known by sender and words together.
fn bounce(parsed: &Parsed, envelope: &Envelope, text: &str) -> Option<Sorted> {
    if let Some(recipients) = parsed.header("X-Failed-Recipients") {
        return Some(sorted(Kind::Bounce, "X-Failed-Recipients", recipients));
    }
    let daemon = is_daemon(parsed);
    if !daemon && null_path(parsed, envelope) != Some(true) {
        return None;
    }
    let said = subject_of(&parsed.subject, |w| &w.bounce).or_else(|| phrase_in(text, &BOUNCES));
    match said {
        Some((rule, words)) => Some(sorted(Kind::Bounce, &rule, &words)),
        None if daemon && !is_automatic(parsed) => Some(sorted(Kind::Bounce, "From", parsed.from.as_deref().unwrap_or_default())),
        None => None,
    }
}

fn is_daemon(parsed: &Parsed) -> bool {
    let local = local_part(parsed.from.as_deref().or(parsed.header("From")).unwrap_or_default());
    let name = fold(parsed.from_name.as_deref().unwrap_or_default());
    let locals = ["mailer-daemon", "postmaster", "mail-daemon", "maildaemon", "mailerdaemon", "mailer_daemon", "mdaemon"];
    locals.iter().any(|d| local.starts_with(d))
        || ["mail delivery", "mailer-daemon", "mail administrator"].iter().any(|n| name.starts_with(n))
}

fn local_part(address: &str) -> String {
    let bare = address.trim().trim_matches(['<', '>', '"']);
    bare.split('@').next().unwrap_or_default().to_ascii_lowercase()
}

/// Whether the envelope sender is empty; `None` where nobody says.
fn null_path(parsed: &Parsed, envelope: &Envelope) -> Option<bool> {
    let path = envelope.from.as_deref().or(parsed.return_path.as_deref())?;
    let bare = path.trim_matches(['<', '>', ' ']);
    // Postfix's pipe(8) says MAILER-DAEMON for the null path where null_sender is not set
    Some(bare.is_empty() || bare.eq_ignore_ascii_case("MAILER-DAEMON"))
}

fn is_automatic(parsed: &Parsed) -> bool {
    parsed.header("Auto-Submitted").is_some_and(|v| auto_submitted(v) != "no")
}

/// The keyword of Auto-Submitted, its parameters and comments ignored (RFC 3834 §5).
fn auto_submitted(value: &str) -> String {
    value.split([';', '(', ' ']).next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// RFC 3834 and its forerunners, then words.
fn automatic(parsed: &Parsed, envelope: &Envelope, text: &str) -> Option<Sorted> {
    let auto = |rule: &str, words: &str| Some(sorted(Kind::AutoReply, rule, words));
    if let Some(value) = parsed.header("Auto-Submitted").filter(|v| auto_submitted(v) != "no") {
        return auto("Auto-Submitted", value);
    }
    for name in
        ["X-Autoreply", "X-Autorespond", "X-Autoreply-From", "X-Mail-Autoreply", "X-AutoReply-From", "X-Autogenerated", "X-Autoresponder"]
    {
        if let Some(value) = parsed.header(name).filter(|v| !v.eq_ignore_ascii_case("no")) {
            return auto(name, value);
        }
    }
    let precedence = parsed.header("Precedence").unwrap_or_default().to_ascii_lowercase();
    if matches!(precedence.as_str(), "auto_reply" | "auto-reply") {
        return auto("Precedence", &precedence);
    }
    if null_path(parsed, envelope) == Some(true) {
        return auto("Return-Path", "<>");
    }
    if let Some((rule, words)) = subject_of(&parsed.subject, |w| &w.auto) {
        return auto(&rule, &words);
    }
    let (rule, words) = phrase_in(text, &MACHINES).or_else(|| hints_in(parsed, text))?;
    auto(&rule, &words)
}

/// A subject that begins so, with nothing or more than a word after it.
fn subject_of(subject: &str, of: fn(&Words) -> &Phrases) -> Option<(String, String)> {
    let folded = fold(subject);
    let begins = |s: &str| folded.strip_prefix(s).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    ALL.iter().find_map(|w| {
        let found = of(w).subjects.iter().find(|s| begins(s))?;
        Some((format!("{}.subject", w.language), found.clone()))
    })
}

static BOUNCES: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| vec![&w.bounce.phrases]));
static MACHINES: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| vec![&w.auto.phrases]));
static ABSENCES: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| w.auto.hints.iter().map(Vec::as_slice).collect()));

fn phrase_in(text: &str, book: &Phrasebook) -> Option<(String, String)> {
    let (language, _, words) = book.find(text).next()?;
    Some((format!("{language}.phrase"), words.to_owned()))
}

/// Words of absence that a person may write too: one of each kind, in a text that quotes nothing.
fn hints_in(parsed: &Parsed, text: &str) -> Option<(String, String)> {
    if parsed.text.lines().any(|l| l.starts_with('>')) {
        return None;
    }
    let mut found: BTreeMap<&str, BTreeMap<usize, &str>> = BTreeMap::new();
    for (language, kind, words) in ABSENCES.find(text) {
        found.entry(language).or_default().entry(kind).or_insert(words);
    }
    let kinds = |language: &str| ALL.iter().find(|w| w.language == language).map_or(0, |w| w.auto.hints.len());
    let (language, words) = found.into_iter().find(|(language, words)| words.len() > 1 && words.len() == kinds(language))?;
    let words: Vec<&str> = words.into_values().collect();
    Some((format!("{language}.absence"), words.join(" … ")))
}

/// An answer, unless a filter on its way marked it as spam and it is no part of a thread.
fn tied(parsed: &Parsed) -> Option<Sorted> {
    (!is_marked_as_spam(parsed) || is_threaded(parsed)).then(|| sorted(Kind::Reply, "token", parsed.to.first().map_or("", String::as_str)))
}

fn is_marked_as_spam(parsed: &Parsed) -> bool {
    parsed.header("X-Spam-Flag").is_some_and(|v| v.trim().eq_ignore_ascii_case("yes"))
}

fn junk(parsed: &Parsed, envelope: &Envelope) -> Option<Sorted> {
    if is_marked_as_spam(parsed) && !is_threaded(parsed) {
        return Some(sorted(Kind::Junk, "X-Spam-Flag", "YES"));
    }
    let list = parsed.header_names().find(|n| is_list_field(n))?;
    let tagged = tagged_recipient(parsed, envelope).is_some();
    (!tagged).then(|| sorted(Kind::Unsolicited, list, parsed.header(list).unwrap_or_default()))
}

fn is_list_field(name: &str) -> bool {
    name.get(..5).is_some_and(|p| p.eq_ignore_ascii_case("List-"))
}

fn is_threaded(parsed: &Parsed) -> bool {
    !parsed.in_reply_to.is_empty() || !parsed.references.is_empty()
}

/// What a person wrote: an answer where anything ties it to a mail of ours.
fn from_a_person(parsed: &Parsed, envelope: &Envelope) -> Sorted {
    if let Some(id) = parsed.in_reply_to.first().or(parsed.references.last()) {
        return sorted(Kind::Reply, "In-Reply-To", id);
    }
    if let Some(address) = tagged_recipient(parsed, envelope) {
        return sorted(Kind::Reply, "To", &address);
    }
    if without_prefixes(&parsed.subject).len() < parsed.subject.trim().len() {
        return sorted(Kind::Reply, "Subject", &parsed.subject);
    }
    sorted(Kind::Unsolicited, "To", parsed.to.first().map_or("", String::as_str))
}

/// A recipient whose local part carries a tag, such as `reply+…` (S-116): what tells an answer where no key is at hand.
fn tagged_recipient(parsed: &Parsed, envelope: &Envelope) -> Option<String> {
    let all = envelope.to.iter().chain(&parsed.delivered_to).chain(&parsed.to).chain(&parsed.cc);
    all.into_iter().find(|a| is_tagged(a)).cloned()
}

fn is_tagged(address: &str) -> bool {
    let local = local_part(address);
    let parts = local
        .split_once('+')
        .or_else(|| ["reply", "svar"].iter().find_map(|base| Some((*base, local.strip_prefix(base)?.strip_prefix(['-', '=', '.'])?))));
    parts.is_some_and(|(base, tag)| !base.is_empty() && tag.len() > 8)
}

/// Why no automatic answer may be sent; `None` where one may (S-125, S-129).
///
/// The caller knows three reasons more: an author that is one of its own addresses, no valid token, and limits of
/// S-127.
#[must_use]
pub fn never_answer(parsed: &Parsed, envelope: &Envelope) -> Option<&'static str> {
    let from = local_part(parsed.from.as_deref().unwrap_or_default());
    let path = local_part(envelope.from.as_deref().or(parsed.return_path.as_deref()).unwrap_or_default());
    let value = |name: &str| parsed.header(name).unwrap_or_default().to_ascii_lowercase();
    let suppressed = |v: String| v.split(',').map(str::trim).any(|w| w == "autoreply" || w == "all");
    let checks: [(bool, &'static str); 14] = [
        (null_path(parsed, envelope) != Some(false), "the return path is empty or absent"),
        (is_automatic(parsed), "Auto-Submitted says that a machine wrote it"),
        (parsed.header_names().any(is_list_field), "it has a List- field"),
        (matches!(value("Precedence").trim(), "bulk" | "list" | "junk" | "auto_reply"), "Precedence says that it is bulk"),
        (suppressed(value("X-Auto-Response-Suppress")), "X-Auto-Response-Suppress forbids it"),
        (parsed.report_type.is_some() || parsed.has_part("multipart/report"), "it is a report"),
        (is_role(&from) || is_role(&path), "a mail system or a list wrote it"),
        (parsed.has_header("Svar-Ref"), "svar itself wrote it"),
        (is_own_recipient(parsed, envelope), "it was written by its own recipient"),
        (value("X-Spam-Flag").trim() == "yes", "it is marked as spam"),
        (parsed.headers("Authentication-Results").any(says_dmarc_fail), "DMARC failed"),
        (parsed.received_count > MOST_RECEIVED, "it has more than 50 Received fields"),
        (parsed.has_header("X-Loop"), "it carries a loop marker"),
        (parsed.from.is_none(), "it has no author"),
    ];
    checks.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

fn is_role(local: &str) -> bool {
    let exact = ["mailer-daemon", "postmaster", "noreply", "no-reply", "no_reply", "donotreply", "do-not-reply"];
    exact.contains(&local)
        || local.starts_with("owner-")
        || ["-owner", "-request", "-bounces", "-bounce"].iter().any(|end| local.ends_with(end))
}

fn is_own_recipient(parsed: &Parsed, envelope: &Envelope) -> bool {
    let (Some(from), Some(to)) = (&parsed.from, &envelope.to) else { return false };
    from.eq_ignore_ascii_case(to)
}

/// A failure is believed from anyone: it makes svar more silent, not less.
fn says_dmarc_fail(value: &str) -> bool {
    value.to_ascii_lowercase().contains("dmarc=fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::parse::read;

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
        for subject in ["Automatiskt svar: Inbjudan", "Out of office Re: Invitation", "Abwesenheitsnotiz: Einladung", "Frånvaro"] {
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
}
