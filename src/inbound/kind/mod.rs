//! Sorts a message: reply, automatic reply, bounce, complaint, calendar reply, receipt, stranger's mail or junk.
//!
//! In: a [`Parsed`] and its envelope. Out: a [`Sorted`] with its reasons; and, apart, whether an automatic answer may be
//! sent at all. Standard fields speak first, then what mail systems add, then words (`words/`). A person's reply must
//! never be taken for a machine's, nor the reverse: of doubtful words two kinds are needed, and what stays in doubt is
//! left to the learnt reader.
//! Sources: RFC 3834 §2, §5; RFC 6522 §3; S-125, S-129, S-135, S-140, S-141, S-143, S-157.

mod answerable;
mod machine;
mod report;
#[cfg(test)]
mod tests;
mod wording;

pub use answerable::never_answer;

use crate::inbound::intent::without_prefixes;
use crate::inbound::parse::Parsed;
use crate::inbound::words::fold;
use crate::model::inbound::{Envelope, Evidence, Kind};

/// Characters of a text in which a machine shows itself.
const LOOKED_AT: usize = 3000;

/// What a message is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorted {
    /// What it is.
    pub kind: Kind,
    /// What showed it: the field or rule, and the words.
    pub evidence: Vec<Evidence>,
}

impl Sorted {
    /// Words alone show it, of some language, and no field.
    #[must_use]
    pub fn is_by_words(&self) -> bool {
        self.evidence.iter().any(|e| e.rule.contains('.'))
    }
}

/// Sorts a message. `is_tied`: something that svar signed came back with it, so a person's mail is an answer, whatever
/// fields it lacks. [`Kind::Command`] is never given: whose command it is only the caller knows.
#[must_use]
pub fn of(parsed: &Parsed, envelope: &Envelope, is_tied: bool) -> Sorted {
    let text = fold(&unquoted(&parsed.text));
    report::declared(parsed, &text)
        .or_else(|| report::bounce(parsed, envelope, &text))
        .or_else(|| machine::automatic(parsed, envelope))
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
