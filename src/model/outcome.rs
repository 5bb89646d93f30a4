//! What a relay said about a delivery, and what that means.
//!
//! In: a reply code and its text. Out: an [`Outcome`] of one delivery, a [`RelayFault`] that is about the relay and no
//! delivery, and the [`Class`] of a refusal. A reply's text comes from outside: it is made safe here, once.
//! Sources: RFC 5321 §4.2.1 (first digit), RFC 3463 §2–3 (enhanced codes); S-71…S-73, S-77…S-80, S-222.

use std::fmt;

/// A status code `class.subject.detail` (RFC 3463 §2).
pub type Enhanced = (u8, u16, u16);

/// The characters of a reply that are kept.
const MAX_TEXT: usize = 500;

/// One SMTP reply, safe to store, log and show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// The enhanced status code, where one was given.
    pub enhanced: Option<Enhanced>,
    /// What was said besides: control characters escaped, 500 characters at most.
    pub text: String,
}

impl Reply {
    /// A reply in our own words, as when svar refuses before it asks the relay.
    #[must_use]
    pub fn new(code: u16, enhanced: Option<Enhanced>, text: &str) -> Self {
        Self { code, enhanced, text: readable(text) }
    }

    /// Reads a reply from its lines as they came, without code and line end. Octets that are not UTF-8 are taken as Latin-1.
    #[must_use]
    pub fn read(code: u16, lines: &[Vec<u8>]) -> Self {
        let lines: Vec<String> = lines.iter().map(|line| decode(line)).collect();
        let enhanced = lines.first().and_then(|line| find_enhanced(line)).map(|(enhanced, _)| enhanced);
        let rest = |line: &String| match find_enhanced(line) {
            Some((found, rest)) if Some(found) == enhanced => rest.to_owned(),
            _ => line.clone(),
        };
        let text: Vec<String> = lines.iter().map(rest).filter(|line| !line.is_empty()).collect();
        Self::new(code, enhanced, &text.join(" "))
    }

    /// The kind of refusal that this reply is.
    #[must_use]
    pub fn class(&self) -> Class {
        classify(self.code, self.enhanced)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some((class, subject, detail)) = self.enhanced {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, " {}", self.text) }
    }
}

fn decode(line: &[u8]) -> String {
    std::str::from_utf8(line).map_or_else(|_| line.iter().map(|octet| char::from(*octet)).collect(), str::to_owned)
}

/// Finds an enhanced code at the start of a text and gives what follows it.
#[must_use]
pub fn find_enhanced(text: &str) -> Option<(Enhanced, &str)> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = word.split('.');
    let mut number = |most: usize| {
        let part = parts.next()?;
        (part.len() <= most && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok()).flatten()
    };
    let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
    let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
    if parts.next().is_some() { None } else { Some(((class, subject, detail), rest.trim_start())) }
}

/// Escapes what would break a log line or turn a text round, and cuts what is too long (S-222).
fn readable(text: &str) -> String {
    let mut out = String::new();
    let mut left = MAX_TEXT;
    for c in text.chars() {
        let shown = if unsafe_to_show(c) { c.escape_default().to_string() } else { c.to_string() };
        let Some(rest) = left.checked_sub(shown.chars().count()) else { break };
        left = rest;
        out.push_str(&shown);
    }
    out.trim().to_owned()
}

fn unsafe_to_show(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The relay has taken it over.
    Accepted(Reply),
    /// Refused for now (4xx to RCPT, DATA or the message): this delivery is tried again.
    Transient(Reply),
    /// Refused for good (5xx to RCPT, DATA or the message, or by svar itself): this delivery ends. [`Reply::class`] says
    /// what follows for the address.
    Permanent(Reply),
    /// The whole message went out and no answer was read: it may have been taken (S-73). Says what happened.
    Uncertain(String),
}

/// The relay, not the message, stands in the way: the delivery goes back, and nobody is judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
#[must_use]
pub struct RelayFault {
    /// What is to be done about the relay.
    pub stop: RelayStop,
    /// What the relay said, where it said something.
    pub reply: Option<Reply>,
    /// What happened, for a person; holds the reply and never a secret.
    pub text: String,
    /// MAIL had been taken, so that it may be this delivery that the relay stumbles over: it is tried later, as after a 451
    /// (S-73). Otherwise it goes back untouched, and no attempt is counted.
    pub begun: bool,
}

/// What is to be done about a relay after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayStop {
    /// A kept connection had been closed while it stood idle: connect again, at once. No fault of anyone.
    Reconnect,
    /// Wait, longer each time, and connect again: 421, 4xx to greeting, EHLO, AUTH or MAIL, no connection (S-73, S-77).
    BackOff,
    /// Stop and tell a person: 5xx to greeting, EHLO, AUTH or MAIL, or settings that cannot work (S-72, S-87).
    Pause,
}

impl RelayFault {
    /// A fault without a reply.
    pub fn new(stop: RelayStop, text: impl Into<String>) -> Self {
        Self { stop, reply: None, text: text.into(), begun: false }
    }

    /// What happened without the relay's own words, which may name a person: for the log (S-222).
    #[must_use]
    pub fn for_log(&self) -> String {
        match &self.reply {
            Some(reply) if !reply.text.is_empty() => self.text.replace(&format!(" {}", reply.text), ""),
            _ => self.text.clone(),
        }
    }

    /// A fault made of what the relay said to `step`: 5xx pauses, all else backs off.
    pub fn from_reply(step: &str, reply: Reply) -> Self {
        let stop = if reply.code / 100 == 5 { RelayStop::Pause } else { RelayStop::BackOff };
        Self { stop, text: format!("the relay answered {step} with {reply}"), reply: Some(reply), begun: false }
    }
}

/// What a refusal is about (S-80).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The address does not exist: it is suppressed.
    Hard,
    /// It may pass, or nobody can tell: counted, suppressed only after several (S-139).
    Soft,
    /// The mailbox is full: as soft.
    Full,
    /// The message is too big for the recipient or the relay.
    TooBig,
    /// Something in our message is wrong: the operator's matter, never the recipient's.
    Content,
    /// Refused by policy: never suppresses, tells the operator, a burst pauses the relay.
    Policy,
    /// The relay's own limit, such as a daily one: pauses the relay.
    RelayLimit,
}

crate::model::inbound::as_words!(Class {
    Hard => "hard", Soft => "soft", Full => "full", TooBig => "too_big", Content => "content", Policy => "policy",
    RelayLimit => "relay_limit",
});

/// A row of the table: class (`None`: 4 and 5), subject, detail (`None`: every other one), meaning.
type Row = (Option<u8>, u16, Option<u16>, Class);

/// S-80, the first row that fits decides. Where a code is used for several things the milder meaning stands, since a wrong
/// suppression loses a person and a late one costs a few mails.
const TABLE: &[Row] = &[
    (Some(5), 1, Some(1), Class::Hard),
    (Some(5), 1, Some(2), Class::Hard),
    (Some(5), 1, Some(3), Class::Hard),
    (Some(5), 1, Some(6), Class::Hard),
    (Some(5), 1, Some(10), Class::Hard),
    // 5.1.7, 5.1.8: our sender address is refused (RFC 3463 §3.2).
    (Some(5), 1, Some(7), Class::Policy),
    (Some(5), 1, Some(8), Class::Policy),
    (None, 2, Some(2), Class::Full),
    (None, 2, Some(3), Class::TooBig),
    (None, 3, Some(4), Class::TooBig),
    (Some(5), 4, Some(5), Class::RelayLimit),
    (Some(5), 6, None, Class::Content),
    (Some(5), 7, None, Class::Policy),
    // 5.5.x is a protocol fault by RFC 3463, but Outlook.com says 550 5.5.0 of missing mailboxes: nobody can tell.
];

/// Reply codes that mean something without an enhanced code (RFC 5321 §4.2.2, RFC 7504, RFC 7505).
const BARE: &[(u16, Class)] = &[(552, Class::Full), (556, Class::Hard)];

/// What a 4xx or 5xx refusal is about. Detail falls back to subject, subject to the class alone (S-79), and that is soft.
#[must_use]
pub fn classify(code: u16, enhanced: Option<Enhanced>) -> Class {
    let Some((class, subject, detail)) = enhanced else {
        return BARE.iter().find(|(bare, _)| *bare == code).map_or(Class::Soft, |(_, meaning)| *meaning);
    };
    let fits = |row: &&Row| row.0.is_none_or(|c| c == class) && row.1 == subject && row.2.is_none_or(|d| d == detail);
    TABLE.iter().find(fits).map_or(Class::Soft, |row| row.3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// S-80, line by line.
    #[test]
    fn a_refusal_has_the_class_of_the_table() {
        use Class::*;
        for (code, enhanced, class) in [
            (550, Some((5, 1, 1)), Hard),
            (550, Some((5, 1, 2)), Hard),
            (553, Some((5, 1, 3)), Hard),
            (550, Some((5, 1, 6)), Hard),
            (556, Some((5, 1, 10)), Hard),
            (550, Some((5, 2, 1)), Soft),
            (552, Some((5, 2, 2)), Full),
            (452, Some((4, 2, 2)), Full),
            (550, Some((5, 4, 5)), RelayLimit),
            (552, Some((5, 2, 3)), TooBig),
            (552, Some((5, 3, 4)), TooBig),
            (550, Some((5, 4, 4)), Soft),
            (451, Some((4, 4, 5)), Soft),
            (554, Some((5, 6, 0)), Content),
            (550, Some((5, 6, 7)), Content),
            (550, Some((5, 7, 1)), Policy),
            (550, Some((5, 7, 26)), Policy),
            (550, Some((5, 7, 515)), Policy),
            (553, Some((5, 1, 8)), Policy),
            (450, Some((4, 7, 1)), Soft),
            (450, Some((4, 1, 1)), Soft),
        ] {
            assert_eq!(classify(code, enhanced), class, "{code} {enhanced:?}");
        }
    }

    /// S-79: an unknown detail falls back to its subject, an unknown subject to soft.
    #[test]
    fn an_unknown_detail_falls_back() {
        assert_eq!(classify(550, Some((5, 7, 999))), Class::Policy);
        assert_eq!(classify(550, Some((5, 6, 999))), Class::Content);
        assert_eq!(classify(550, Some((5, 1, 999))), Class::Soft);
        assert_eq!(classify(550, Some((5, 0, 0))), Class::Soft);
        assert_eq!(classify(550, None), Class::Soft);
        assert_eq!(classify(556, None), Class::Hard);
    }

    #[test]
    fn a_reply_is_read_with_its_enhanced_code_and_every_line() {
        let reply = Reply::read(550, &[b"5.1.1 no such".to_vec(), b"5.1.1 user".to_vec()]);
        assert_eq!(reply, Reply { code: 550, enhanced: Some((5, 1, 1)), text: "no such user".into() });
        assert_eq!(reply.to_string(), "550 5.1.1 no such user");
        assert_eq!(reply.class(), Class::Hard);
        assert_eq!(Reply::read(250, &[Vec::new()]).to_string(), "250");
        assert_eq!(Reply::read(550, &[b"5.1.1234 x".to_vec()]).enhanced, None);
        assert_eq!(Reply::read(550, &[b"127.0.0.1 is listed".to_vec()]).enhanced, None);
    }

    /// S-222: nothing that a relay says breaks a log line.
    #[test]
    fn a_reply_that_is_not_utf8_is_kept_and_made_safe() {
        let reply = Reply::read(550, &[b"bo\xeete supprim\xe9e\x1b[31m\r".to_vec()]);
        assert_eq!(reply.text, "boîte supprimée\\u{1b}[31m\\r");
        assert_eq!(Reply::new(550, None, "a\u{202e}b").text, "a\\u{202e}b");
    }

    /// S-72, S-87.
    #[test]
    fn a_fault_of_the_account_pauses_and_a_passing_one_backs_off() {
        for (code, stop) in [(421, RelayStop::BackOff), (454, RelayStop::BackOff), (535, RelayStop::Pause), (554, RelayStop::Pause)] {
            assert_eq!(RelayFault::from_reply("AUTH", Reply::new(code, None, "")).stop, stop);
        }
    }

    /// S-222.
    #[test]
    fn a_fault_in_the_log_holds_the_codes_and_not_the_words() {
        let fault = RelayFault::from_reply("RCPT", Reply::new(421, Some((4, 7, 0)), "<eva@example.org>: not now"));
        assert!(fault.text.contains("eva@example.org"));
        assert_eq!(fault.for_log(), "the relay answered RCPT with 421 4.7.0");
        assert_eq!(RelayFault::new(RelayStop::BackOff, "no answer").for_log(), "no answer");
    }

    proptest! {
        #[test]
        fn a_text_is_short_and_safe_whatever_came(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
            let text = Reply::read(550, &[octets]).text;
            prop_assert!(text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control));
        }
    }
}
