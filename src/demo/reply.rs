//! Writes what a person's mail program would send: an answer above the quoted mail, or an absence notice.
//!
//! In: the mail that is answered, raw, and the words. Out: an envelope and final bytes, CRLF throughout (S-6). Sources:
//! RFC 5322 §3.6.4 and §3.6.5 (threads, `Re:`), RFC 3676 §4.5 (quotes), RFC 3834 §3.1.7 and §5 (automatic answers).

use chrono::{DateTime, Datelike, TimeZone, Utc};
use chrono_tz::Tz;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message as Composed, MessageBuilder};
use mail_parser::{HeaderValue as Value, Message, MessageParser};

use super::office::Person;

const MONTHS: [&str; 12] =
    ["januari", "februari", "mars", "april", "maj", "juni", "juli", "augusti", "september", "oktober", "november", "december"];

/// A message ready for an SMTP or LMTP transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// MAIL FROM; empty for the null return path.
    pub envelope_from: String,
    /// RCPT TO, one.
    pub envelope_to: String,
    /// The message, with CRLF line ends.
    pub bytes: Vec<u8>,
}

/// The answer of a person to a mail, as an ordinary mail program composes it: their words on top, then the attribution
/// line and the mail quoted. `unique` becomes the left side of the Message-ID: ASCII letters, digits and dots.
///
/// `None` where the mail names nobody who could be answered, or the person's address is none.
#[must_use]
pub fn reply_to(raw: &[u8], person: &Person, text: &str, now: DateTime<Utc>, unique: &str) -> Option<Outgoing> {
    let mail = MessageParser::default().parse(raw)?;
    let body = format!("{}\n\n{}", text.trim_end(), quoted(&mail, person));
    let builder = head(&mail, person, now, unique)?.subject(reply_subject(&mail, person));
    finish(builder, &person.address, &body)
}

/// The notice that a person's mail server sends by itself while they are away.
///
/// `None` as for [`reply_to`].
#[must_use]
pub fn absence(raw: &[u8], person: &Person, text: &str, now: DateTime<Utc>, unique: &str) -> Option<Outgoing> {
    let mail = MessageParser::default().parse(raw)?;
    let word = if swedish(person) { "Autosvar" } else { "Automatic reply" };
    let builder = head(&mail, person, now, unique)?
        .subject(format!("{word}: {}", mail.subject().unwrap_or_default()))
        .raw_header(plain_header("Auto-Submitted", "auto-replied")?)
        .raw_header(plain_header("X-Auto-Response-Suppress", "All")?);
    finish(builder, "", text)
}

fn head(mail: &Message<'_>, person: &Person, now: DateTime<Utc>, unique: &str) -> Option<MessageBuilder> {
    let from = Mailbox::new(Some(person.name.clone()), person.address.parse().ok()?);
    let host = person.address.rsplit_once('@').map_or("localhost", |(_, host)| host);
    let builder = Composed::builder().date(now.into()).message_id(Some(format!("<{unique}@{host}>"))).from(from).to(answer_address(mail)?);
    let Some(id) = mail.message_id() else { return Some(builder) };
    let ids = earlier_ids(mail.references()).chain([id]).map(|id| format!("<{id}>"));
    Some(builder.in_reply_to(format!("<{id}>")).references(ids.collect::<Vec<_>>().join(" ")))
}

fn finish(builder: MessageBuilder, envelope_from: &str, body: &str) -> Option<Outgoing> {
    let message = builder.header(MIME_VERSION_1_0).header(ContentType::TEXT_PLAIN).body(body.to_owned()).ok()?;
    let envelope_to = message.envelope().to().first()?.to_string();
    Some(Outgoing { envelope_from: envelope_from.to_owned(), envelope_to, bytes: message.formatted() })
}

/// Reply-To, else From: the first that lettre can mail to.
fn answer_address(mail: &Message<'_>) -> Option<Mailbox> {
    let read = |list: &mail_parser::Address<'_>| {
        let first = list.first()?;
        Some(Mailbox::new(first.name().map(str::to_owned), first.address()?.parse().ok()?))
    };
    mail.reply_to().and_then(read).or_else(|| mail.from().and_then(read))
}

fn earlier_ids<'a>(references: &'a Value<'_>) -> impl Iterator<Item = &'a str> {
    let (one, many) = match references {
        Value::Text(id) => (Some(id.as_ref()), &[][..]),
        Value::TextList(ids) => (None, ids.as_slice()),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(many.iter().map(AsRef::as_ref))
}

fn reply_subject(mail: &Message<'_>, person: &Person) -> String {
    let subject = mail.subject().unwrap_or_default();
    let start: String = subject.chars().take(3).collect::<String>().to_lowercase();
    match start.as_str() {
        "re:" | "sv:" => subject.to_owned(),
        _ if swedish(person) => format!("Sv: {subject}"),
        _ => format!("Re: {subject}"),
    }
}

fn quoted(mail: &Message<'_>, person: &Person) -> String {
    let mut out = attribution(mail, person);
    let text = mail.body_text(0).unwrap_or_default();
    for line in text.trim_end().lines() {
        out.push_str(if line.is_empty() || line.starts_with('>') { "\n>" } else { "\n> " });
        out.push_str(line);
    }
    out.push('\n');
    out
}

/// "Den 24 november 2026 kl. 10:02 skrev Monica Berg <…>:", at the clock on the reader's wall.
fn attribution(mail: &Message<'_>, person: &Person) -> String {
    let from = mail.from().and_then(|from| from.first());
    let address = from.and_then(|a| a.address()).unwrap_or("?");
    let who = from.and_then(|a| a.name()).map_or_else(|| format!("<{address}>"), |name| format!("{name} <{address}>"));
    let zone: Tz = if swedish(person) { chrono_tz::Europe::Stockholm } else { chrono_tz::Europe::London };
    let Some(date) = mail.date().and_then(|date| zone.timestamp_opt(date.to_timestamp(), 0).single()) else {
        return if swedish(person) { format!("{who} skrev:") } else { format!("{who} wrote:") };
    };
    if swedish(person) {
        let month = MONTHS.get(date.month0() as usize).unwrap_or(&"");
        format!("Den {} {month} {} kl. {} skrev {who}:", date.day(), date.year(), date.format("%H:%M"))
    } else {
        format!("On {} at {}, {who} wrote:", date.format("%a, %-d %b %Y"), date.format("%H:%M"))
    }
}

fn plain_header(name: &'static str, value: &str) -> Option<HeaderValue> {
    Some(HeaderValue::new(HeaderName::new_from_ascii(name.to_owned()).ok()?, value.to_owned()))
}

fn swedish(person: &Person) -> bool {
    person.language == "sv"
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = concat!(
        "From: Monica Berg <monica.berg@example.org>\r\nTo: anna@example.org\r\n",
        "Reply-To: Monica Berg <svar+abc@example.org>\r\nSubject: =?utf-8?Q?Vill_du_vara_med=3F_=C3=85?=\r\n",
        "Message-ID: <two@example.org>\r\nReferences: <zero@example.org> <one@example.org>\r\n",
        "Date: Tue, 24 Nov 2026 09:02:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        "Hej!\r\n\r\n> citat\r\nVälkommen\r\n"
    );

    fn person(language: &str) -> Person {
        Person { name: "Anna Öst".into(), language: language.into(), ..Person::stranger("anna@example.org") }
    }

    fn at() -> DateTime<Utc> {
        "2026-11-24T10:00:00Z".parse().unwrap()
    }

    fn answered(raw: &str, language: &str, text: &str) -> (Outgoing, String) {
        let out = reply_to(raw.as_bytes(), &person(language), text, at(), "u1").unwrap();
        let raw = String::from_utf8(out.bytes.clone()).unwrap();
        (out, raw)
    }

    #[test]
    fn an_answer_goes_to_reply_to_in_the_same_thread() {
        let (out, raw) = answered(MAIL, "sv", "Ja, gärna!");
        assert_eq!((out.envelope_from.as_str(), out.envelope_to.as_str()), ("anna@example.org", "svar+abc@example.org"));
        let mail = MessageParser::default().parse(raw.as_bytes()).unwrap();
        assert_eq!(mail.subject(), Some("Sv: Vill du vara med? Å"));
        assert_eq!(mail.message_id(), Some("u1@example.org"));
        assert_eq!(mail.in_reply_to().as_text(), Some("two@example.org"));
        assert_eq!(earlier_ids(mail.references()).collect::<Vec<_>>(), ["zero@example.org", "one@example.org", "two@example.org"]);
        assert_eq!(mail.date().unwrap().to_timestamp(), at().timestamp());
        assert_eq!(mail.from().and_then(|f| f.first()).and_then(|a| a.name()), Some("Anna Öst"));
    }

    /// S-6, S-14: CRLF only, and nothing but ASCII on the wire.
    #[test]
    fn the_words_stand_above_the_quoted_mail() {
        let (_, raw) = answered(MAIL, "sv", "Ja, gärna!\nVi blir två.\n\n");
        let mail = MessageParser::default().parse(raw.as_bytes()).unwrap();
        assert_eq!(
            mail.body_text(0).unwrap().replace("\r\n", "\n"),
            "Ja, gärna!\nVi blir två.\n\nDen 24 november 2026 kl. 10:02 skrev Monica Berg <monica.berg@example.org>:\n> Hej!\n>\n>> citat\n> Välkommen\n"
        );
        assert!(raw.contains("\r\nMIME-Version: 1.0\r\n"));
        assert!(raw.is_ascii() && !raw.replace("\r\n", "").contains(['\r', '\n']));
        let (_, raw) = answered(MAIL, "en", "Yes");
        assert!(raw.contains("On Tue, 24 Nov 2026 at 09:02, Monica Berg <monica.berg@example.org>"), "{raw}");
    }

    #[test]
    fn a_subject_gets_one_prefix_only() {
        for (given, expected) in [("Hej", "Re: Hej"), ("Re: Hej", "Re: Hej"), ("SV: Hej", "SV: Hej"), ("Resa", "Re: Resa")] {
            let (_, raw) = answered(&format!("From: m@example.org\r\nSubject: {given}\r\n\r\nx"), "en", "y");
            assert!(raw.contains(&format!("Subject: {expected}\r\n")), "{given}: {raw}");
        }
    }

    /// S-8: what is typed into the box cannot become a header.
    #[test]
    fn words_never_become_headers() {
        let (_, raw) = answered(MAIL, "sv", "\r\nBcc: x@example.net\r\n\r\n\0hej");
        let head = raw.split("\r\n\r\n").next().unwrap();
        assert!(!head.contains("Bcc"), "{head}");
    }

    #[test]
    fn a_mail_from_nobody_has_no_answer() {
        assert_eq!(reply_to(b"Subject: x\r\n\r\ny", &person("sv"), "Ja", at(), "u"), None);
        assert_eq!(reply_to(b"", &person("sv"), "Ja", at(), "u"), None);
        assert_eq!(reply_to(MAIL.as_bytes(), &Person::stranger("not an address"), "Ja", at(), "u"), None);
    }

    /// RFC 3834 §5: a machine says so.
    #[test]
    fn an_absence_notice_is_marked_as_automatic() {
        let out = absence(MAIL.as_bytes(), &person("sv"), "Jag är på semester.", at(), "u").unwrap();
        let raw = String::from_utf8(out.bytes).unwrap();
        assert_eq!((out.envelope_from.as_str(), out.envelope_to.as_str()), ("", "svar+abc@example.org"));
        assert!(raw.contains("Auto-Submitted: auto-replied\r\n") && !raw.contains("skrev"), "{raw}");
    }
}
