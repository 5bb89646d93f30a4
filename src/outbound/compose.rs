//! The parts become final bytes and an envelope, once per delivery.
//!
//! Composition is deterministic: the same delivery, words and Date give the same bytes, Message-ID and boundary included,
//! so a retry after a crash needs no copy (S-4, S-74). Bodies are quoted-printable in UTF-8 (S-14), text before HTML
//! (S-12), one recipient (S-17). Sources: RFC 5322, RFC 2047, RFC 8058; S-1…S-20, S-29, S-35, S-38…S-40.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Utc};
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, MessageBuilder, MultiPart, MultiPartKind, SinglePart};

use super::render::Rendered;
use crate::config::Sender;
use crate::model::address::{Address, Mailbox};
use crate::model::token::{Keys, Purpose};
use crate::wire::phrase;
use crate::wire::smtp::Letter;

/// Bytes and the envelope they leave in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// MAIL FROM; `None` is the null return path.
    pub from: Option<Address>,
    /// RCPT TO.
    pub to: Address,
    /// The message, lines ending in CRLF.
    pub bytes: Vec<u8>,
    /// Its Message-ID, with brackets.
    pub message_id: String,
}

impl Outgoing {
    /// As a session takes it.
    #[must_use]
    pub fn letter(&self) -> Letter<'_> {
        Letter { from: self.from.as_ref(), to: &self.to, bytes: &self.bytes }
    }
}

/// A mail could not be made of its parts.
#[derive(Debug, thiserror::Error)]
#[error("the mail cannot be composed: {0}")]
pub struct Error(String);

/// What the mail of an edition needs to know beyond its words.
#[derive(Clone, Debug)]
pub struct EditionMail<'a> {
    /// The delivery: its tokens name it.
    pub delivery_id: i64,
    /// The key that signs the edition's tokens.
    pub key_id: u8,
    /// To whom, with the name that is shown.
    pub to: Mailbox,
    /// The list's name.
    pub list: &'a str,
    /// A newsletter says that it is bulk; an invitation wants absence notices (S-35).
    pub is_newsletter: bool,
    /// The moment of the first composition (S-3).
    pub date: DateTime<Utc>,
}

/// What a notice needs to know beyond its words.
#[derive(Clone, Debug)]
pub struct NoticeMail<'a> {
    /// The notice: its Message-ID names it.
    pub notice_id: i64,
    /// The key that signs its tokens.
    pub key_id: u8,
    /// To whom.
    pub to: Address,
    /// Reply-To.
    pub reply_to: &'a str,
    /// The subject.
    pub subject: &'a str,
    /// The text.
    pub text: &'a str,
    /// The Message-ID it answers, without brackets; empty for none.
    pub in_reply_to: &'a str,
    /// Its References, without brackets, separated by blanks.
    pub references: &'a str,
    /// It answers a mail, rather than reporting one (S-35).
    pub is_answer: bool,
    /// When it was written.
    pub date: DateTime<Utc>,
}

/// Lines of a body as quoted-printable. Most lines of an edition are the same for everybody: they are encoded once.
///
/// A line's encoding depends on nothing but the line (RFC 2045 §6.7), so the parts make the whole.
#[derive(Debug, Default)]
pub struct Lines(RwLock<HashMap<String, Vec<u8>>>);

/// How many lines are kept, and the octets of the longest of them: half a megabyte at most for an ordinary edition.
const KEPT: usize = 512;
const LONGEST: usize = 4096;

impl Lines {
    /// A text, whatever its line ends, as quoted-printable with CRLF.
    fn encode(&self, text: &str) -> Result<Vec<u8>, Error> {
        let text = if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(text) };
        let (mut out, mut fresh) = (Vec::with_capacity(text.len() + text.len() / 8), Vec::new());
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for line in text.split_inclusive('\n') {
            if let Some(encoded) = known.get(line) {
                out.extend_from_slice(encoded);
                continue;
            }
            let encoded = quoted_printable(line.replace('\n', "\r\n"))?;
            out.extend_from_slice(&encoded);
            if line.len() <= LONGEST && known.len() + fresh.len() < KEPT {
                fresh.push((line.to_owned(), encoded));
            }
        }
        drop(known);
        if !fresh.is_empty() {
            self.0.write().unwrap_or_else(PoisonError::into_inner).extend(fresh);
        }
        Ok(out)
    }
}

fn quoted_printable(text: String) -> Result<Vec<u8>, Error> {
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable);
    body.map(Body::into_vec).map_err(|_| Error("a body could not be written as quoted-printable".into()))
}

/// An address of ours that carries a token: `svar+TOKEN@example.org` (S-38).
#[must_use]
pub fn tagged(sender: &Sender, token: &str) -> String {
    format!("{}{}{token}@{}", sender.reply.local(), sender.separator, sender.reply.domain())
}

/// Composes one delivery of an edition; `lines` are those of the edition so far.
///
/// # Errors
/// Where a part will not do for a header.
pub fn edition(sender: &Sender, keys: &Keys, mail: &EditionMail<'_>, words: &Rendered, lines: &Lines) -> Result<Outgoing, Error> {
    let token = |purpose| keys.write_as(mail.key_id, purpose, mail.delivery_id);
    let message_id = format!("<{}@{}>", token(Purpose::Message), sender.reply.domain());
    let unsubscribe = format!("<mailto:{}?subject=unsubscribe>", tagged(sender, &token(Purpose::Unsubscribe)));
    let list_id = format!("<{}.lists.{}>", list_label(mail.list), sender.reply.domain());
    let mut builder = start(sender, &mail.to, &words.subject, mail.date, &message_id)?
        .reply_to(mailbox(&tagged(sender, &token(Purpose::Reply)))?)
        .raw_header(raw("List-Id", list_id))
        .raw_header(raw("List-Unsubscribe", unsubscribe))
        .raw_header(raw("Svar-Ref", token(Purpose::Reference)));
    if mail.is_newsletter {
        builder = builder.raw_header(raw("Precedence", "bulk")).raw_header(raw("X-Auto-Response-Suppress", "OOF, AutoReply"));
    }
    let boundary = format!("=_{}", keys.fingerprint("boundary", &message_id));
    let parts = MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        .boundary(boundary)
        .singlepart(part(ContentType::TEXT_PLAIN, &words.text, lines)?)
        .singlepart(part(ContentType::TEXT_HTML, &words.html, lines)?);
    let message = builder.multipart(parts).map_err(|error| Error(error.to_string()))?;
    let from = Address::parse(&tagged(sender, &token(Purpose::Bounce))).map_err(|error| Error(error.to_string()))?;
    Ok(Outgoing { from: Some(from), to: mail.to.address.clone(), bytes: message.formatted(), message_id })
}

/// Composes a confirmation or a word to the organiser: plain text from the null return path (S-40, S-128).
///
/// # Errors
/// Where a part will not do for a header.
pub fn notice(sender: &Sender, keys: &Keys, mail: &NoticeMail<'_>) -> Result<Outgoing, Error> {
    let message_id = format!("<{}@{}>", keys.write_as(mail.key_id, Purpose::Notice, mail.notice_id), sender.reply.domain());
    let to = Mailbox { name: String::new(), address: mail.to.clone() };
    let mut builder = start(sender, &to, mail.subject, mail.date, &message_id)?.reply_to(mailbox(mail.reply_to)?);
    builder = if mail.is_answer {
        builder.raw_header(raw("Auto-Submitted", "auto-replied")).raw_header(raw("X-Auto-Response-Suppress", "All"))
    } else {
        builder.raw_header(raw("Auto-Submitted", "auto-generated")).raw_header(raw("X-Auto-Response-Suppress", "OOF, AutoReply"))
    };
    if let Some(id) = bracketed(mail.in_reply_to).first() {
        builder = builder.raw_header(raw("In-Reply-To", id.clone()));
    }
    let references = bracketed(mail.references);
    if !references.is_empty() {
        builder = builder.raw_header(raw("References", references.join("\r\n ")));
    }
    let message =
        builder.singlepart(part(ContentType::TEXT_PLAIN, mail.text, &Lines::default())?).map_err(|error| Error(error.to_string()))?;
    Ok(Outgoing { from: None, to: mail.to.clone(), bytes: message.formatted(), message_id })
}

fn start(sender: &Sender, to: &Mailbox, subject: &str, date: DateTime<Utc>, message_id: &str) -> Result<MessageBuilder, Error> {
    if subject.chars().any(char::is_control) {
        return Err(Error("the subject holds a control character".into()));
    }
    // lettre would read it from the headers; nobody asks for it
    let nobody = Envelope::new(None, vec![lettre::Address::new_dangerous(to.address.local(), to.address.domain())]);
    Ok(lettre::Message::builder()
        .envelope(nobody.map_err(|error| Error(error.to_string()))?)
        .date(date.into())
        .raw_header(party("From", &sender.from)?)
        .raw_header(party("To", to)?)
        .subject(subject)
        .message_id(Some(message_id.to_owned())))
}

/// From or To: lettre reads the plain form, to see whether there is one author; the wire gets ours.
fn party(field: &'static str, who: &Mailbox) -> Result<HeaderValue, Error> {
    if who.name.chars().any(char::is_control) {
        return Err(Error("a name holds a control character".into()));
    }
    let encoded = phrase::mailbox(field, &who.name, who.address.as_str());
    Ok(HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(field), who.address.as_str().to_owned(), encoded))
}

fn mailbox(address: &str) -> Result<lettre::message::Mailbox, Error> {
    let address = address.parse().map_err(|error| Error(format!("{address}: {error}")))?;
    Ok(lettre::message::Mailbox::new(None, address))
}

fn part(kind: ContentType, text: &str, lines: &Lines) -> Result<SinglePart, Error> {
    let body = Body::dangerous_pre_encoded(lines.encode(text)?, ContentTransferEncoding::QuotedPrintable);
    Ok(SinglePart::builder().header(kind).body(body))
}

/// A label of a List-Id: letters, digits and hyphens (RFC 2919 §2).
fn list_label(list: &str) -> String {
    let label: String = list.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let label = label.trim_matches('-').to_owned();
    if label.is_empty() { "list".to_owned() } else { label }
}

/// Message ids of a stranger's mail, made safe for a header: printable ASCII without blanks, the last twenty.
fn bracketed(ids: &str) -> Vec<String> {
    let safe = |id: &&str| id.len() <= 250 && id.chars().all(|c| c.is_ascii_graphic() && !"<>".contains(c));
    let all: Vec<String> = ids.split_whitespace().filter(safe).map(|id| format!("<{id}>")).collect();
    all.into_iter().rev().take(20).rev().collect()
}

/// A header whose value is ASCII and made here, never a person's words: written as it is, without folding.
fn raw(name: &'static str, value: impl Into<String>) -> HeaderValue {
    let value = value.into();
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), value.clone(), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;
    use mail_parser::{HeaderName as Name, MessageParser};
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::single(1, vec![7; 32])
    }

    fn mail(name: &str) -> EditionMail<'static> {
        EditionMail {
            delivery_id: 4711,
            key_id: 1,
            to: Mailbox { name: name.into(), address: Address::parse("asa@example.org").unwrap() },
            list: "chefer",
            is_newsletter: false,
            date: Utc.with_ymd_and_hms(2026, 12, 1, 8, 0, 0).unwrap(),
        }
    }

    fn words(subject: &str) -> Rendered {
        Rendered { subject: subject.into(), text: "Hej Åsa!\n\n.\n-- \nMonica\n".into(), html: "<p>Hej Åsa!</p>\n".into() }
    }

    fn composed(name: &str, subject: &str) -> Outgoing {
        edition(&Sender::monica(), &keys(), &mail(name), &words(subject), &Lines::default()).unwrap()
    }

    /// S-6, S-7, S-9: what goes over the wire is ASCII, its lines end in CRLF and are short.
    fn is_well_formed(bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(text.is_ascii());
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in head.split("\r\n") {
            // The opt-out address and the token headers cannot be folded; everything else is at 78.
            let cannot_fold = ["List-Unsubscribe:", "Message-ID:", "Reply-To:", "Svar-Ref:"].iter().any(|name| line.starts_with(name));
            assert!(line.len() <= if cannot_fold { 200 } else { 78 }, "{line}");
            assert!(!line.contains("=?") || line.len() <= 76, "{line}");
        }
        assert!(body.split("\r\n").all(|line| line.len() <= 76));
    }

    /// S-1, S-3…S-5, S-12, S-20, S-29, S-38, S-39.
    #[test]
    fn an_edition_has_each_header_once_and_says_where_answers_go() {
        let out = composed("Åsa Öberg", "Påminnelse: höstmöte på Ångström – anmälan");
        is_well_formed(&out.bytes);
        let message = MessageParser::default().parse(&out.bytes).unwrap();
        for name in ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Reply-To", "List-Id", "List-Unsubscribe", "Svar-Ref"] {
            assert_eq!(message.headers().iter().filter(|h| h.name.as_str().eq_ignore_ascii_case(name)).count(), 1, "{name}");
        }
        assert_eq!(message.subject(), Some("Påminnelse: höstmöte på Ångström – anmälan"));
        assert_eq!(message.to().unwrap().first().unwrap().name(), Some("Åsa Öberg"));
        assert_eq!(message.body_text(0).unwrap().replace("\r\n", "\n"), "Hej Åsa!\n\n.\n-- \nMonica\n");
        assert_eq!(message.body_html(0).unwrap().trim(), "<p>Hej Åsa!</p>");
        assert_eq!(message.date().unwrap().to_rfc3339(), "2026-12-01T08:00:00Z");
        let text = String::from_utf8(out.bytes.clone()).unwrap();
        assert!(text.find("text/plain").unwrap() < text.find("text/html").unwrap());
        assert!(!text.contains("Precedence") && !text.contains("8bit"));
        let reply = message.reply_to().unwrap().first().unwrap().address().unwrap();
        let token = keys().read(reply.split(['+', '@']).nth(1).unwrap()).unwrap();
        assert_eq!((token.purpose, token.id), (Purpose::Reply, 4711));
        let from = out.from.unwrap();
        assert_eq!(keys().read(from.local().split_once('+').unwrap().1).unwrap().purpose, Purpose::Bounce);
        let unsubscribe = message.header(Name::ListUnsubscribe).unwrap();
        assert!(format!("{unsubscribe:?}").contains("mailto:svar+"), "{unsubscribe:?}");
    }

    /// S-4, S-74.
    #[test]
    fn the_same_delivery_composes_to_the_same_bytes() {
        assert_eq!(composed("Åsa", "Hej"), composed("Åsa", "Hej"));
        let other = EditionMail { delivery_id: 4712, ..mail("Åsa") };
        assert_ne!(
            edition(&Sender::monica(), &keys(), &other, &words("Hej"), &Lines::default()).unwrap().message_id,
            composed("Åsa", "Hej").message_id
        );
    }

    /// S-8.
    #[test]
    fn a_control_character_is_an_error() {
        assert!(edition(&Sender::monica(), &keys(), &mail("Åsa\r\nBcc: x@example.org"), &words("Hej"), &Lines::default()).is_err());
        assert!(edition(&Sender::monica(), &keys(), &mail("Åsa"), &words("Hej\nBcc: x@example.org"), &Lines::default()).is_err());
    }

    /// S-35, S-40, S-128: one test a row of the table is in `tests/`; here the bytes.
    #[test]
    fn a_notice_answers_in_plain_text_from_the_null_path_and_trusts_no_ids() {
        let mail = NoticeMail {
            notice_id: 9,
            key_id: 1,
            to: Address::parse("asa@example.org").unwrap(),
            reply_to: "svar+x@example.org",
            subject: "Sv: Hej",
            text: "Tack\n",
            in_reply_to: "abc@example.com",
            references: "one@example.com bad<>id\u{e5} abc@example.com",
            is_answer: true,
            date: Utc.with_ymd_and_hms(2026, 12, 1, 8, 0, 0).unwrap(),
        };
        let out = notice(&Sender::monica(), &keys(), &mail).unwrap();
        is_well_formed(&out.bytes);
        assert_eq!(out.from, None);
        let text = String::from_utf8(out.bytes).unwrap();
        for line in ["Auto-Submitted: auto-replied", "X-Auto-Response-Suppress: All", "In-Reply-To: <abc@example.com>", "MIME-Version: 1.0"]
        {
            assert!(text.contains(&format!("{line}\r\n")), "{line} is not in {text}");
        }
        assert!(text.contains("References: <one@example.com>\r\n <abc@example.com>\r\n"), "{text}");
        let report = notice(&Sender::monica(), &keys(), &NoticeMail { is_answer: false, in_reply_to: "", references: "", ..mail }).unwrap();
        let text = String::from_utf8(report.bytes).unwrap();
        assert!(text.contains("Auto-Submitted: auto-generated\r\n") && !text.contains("In-Reply-To"));
    }

    proptest! {
        /// S-14: line by line, whatever is known already, comes to the same as the whole at once, and is read back.
        #[test]
        fn lines_are_encoded_as_the_whole_would_be(texts in prop::collection::vec("([a= .åö€😀\t]{0,90}(\n|\r\n|\r)?){0,6}", 1..5)) {
            let lines = Lines::default();
            for text in &texts {
                let whole = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
                prop_assert_eq!(lines.encode(text).unwrap(), quoted_printable(whole).unwrap());
            }
        }

        /// S-1, S-9, S-10: any name and subject survive, whatever is in them.
        #[test]
        fn any_subject_and_name_come_back(subject in "[ -~åäöÅÄÖ–€😀]{0,200}", name in "[ -~åäöÅÄÖ😀]{0,60}") {
            let (subject, name) = (subject.split_whitespace().collect::<Vec<_>>().join(" "), name.split_whitespace().collect::<Vec<_>>().join(" "));
            let out = composed(&name, &subject);
            is_well_formed(&out.bytes);
            let message = MessageParser::default().parse(&out.bytes).unwrap();
            prop_assert_eq!(message.subject().unwrap_or(""), subject);
            prop_assert_eq!(message.to().unwrap().first().unwrap().name().unwrap_or(""), name);
        }
    }
}
