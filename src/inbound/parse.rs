//! Bytes become a [`Parsed`]; what they are is not asked here.
//!
//! In: one raw message. Out: its header, its text as `\n` lines and what its parts are. Never fails: what cannot be read
//! is absent, and a message over the limits is read by its header alone and says so.
//! Sources: RFC 5322, RFC 2045–2049; S-145, S-148 (charsets), S-149 (TNEF), S-226 (limits).

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use encoding_rs::{Encoding as Charset, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use mail_parser::decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode};
use mail_parser::{Address, Encoding, HeaderName, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use crate::wire::{flowed, html};

/// Octets of a message that are read whole (S-226).
const MAX_BYTES: usize = 25 * 1024 * 1024;
/// Octets of a header block that are kept (S-226).
const MAX_HEADER_BYTES: usize = 100 * 1024;
/// How often a message may hold another one: the parser calls itself for each.
const MAX_MESSAGES: usize = 50;
/// How many multiparts a message may hold.
const MAX_MULTIPARTS: usize = 100;
/// How many parts a message may hold (S-226).
const MAX_PARTS: usize = 500;
/// How many References and addresses are kept (S-226).
const MAX_REFERENCES: usize = 100;
const MAX_ADDRESSES: usize = 1000;
/// Octets of text that are read: more than a person writes, and quotes of a long thread besides.
const MAX_TEXT_BYTES: usize = 512 * 1024;

/// What the bytes of one message say.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// In-Reply-To, ids without angle brackets.
    pub in_reply_to: Vec<String>,
    /// References, ids without angle brackets, oldest first.
    pub references: Vec<String>,
    /// The address in From.
    pub from: Option<String>,
    /// The display name in From.
    pub from_name: Option<String>,
    /// The Return-Path field; `Some("")` is the null path.
    pub return_path: Option<String>,
    /// Addresses in To.
    pub to: Vec<String>,
    /// Addresses in Cc.
    pub cc: Vec<String>,
    /// Addresses in Delivered-To, X-Original-To and Envelope-To, in that order.
    pub delivered_to: Vec<String>,
    /// The decoded subject.
    pub subject: String,
    /// Date.
    pub date: Option<DateTime<Utc>>,
    /// The text a person reads, lines ending in `\n`; HTML is turned into text with its quotes marked by `>`.
    pub text: String,
    /// Values of Svar-Ref anywhere in the message: its header, a returned original, the text of a report.
    pub svar_refs: Vec<String>,
    /// Message-IDs of originals attached to the message.
    pub original_ids: Vec<String>,
    /// It holds winmail.dat (S-149).
    pub has_tnef: bool,
    /// How many Received fields it has (S-129).
    pub received_count: usize,
    /// METHOD of its calendar part, in capitals.
    pub calendar_method: Option<String>,
    /// Its calendar object as text.
    pub calendar: Option<String>,
    /// `report-type` of a multipart/report, lower case (RFC 6522).
    pub report_type: Option<String>,
    /// The message/delivery-status part as text (RFC 3464).
    pub delivery_status: Option<String>,
    /// The message/feedback-report part as text (RFC 5965).
    pub feedback_report: Option<String>,
    /// The types of its parts, lower case, outermost first.
    pub part_types: Vec<String>,
    /// Why no more than the header was read, or why some of it was left out.
    pub limits: Option<&'static str>,
    fields: Vec<(String, String)>,
}

impl Parsed {
    /// The first field of that name, unfolded, as it stands otherwise.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every field of that name, topmost first.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Whether there is such a field.
    #[must_use]
    pub fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    /// Names of all fields, as they stand.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(n, _)| n.as_str())
    }

    /// Whether it holds a part of that type, e.g. `message/delivery-status`.
    #[must_use]
    pub fn has_part(&self, kind: &str) -> bool {
        self.part_types.iter().any(|t| t == kind)
    }
}

/// Reads a message. Any bytes give a [`Parsed`].
#[must_use]
pub fn read(raw: &[u8]) -> Parsed {
    let head = header_block(raw);
    let mut parsed = Parsed { limits: over_limits(raw, head), fields: fields_of(head), ..Parsed::default() };
    read_fields(&mut parsed);
    let whole = parsed.limits.is_none();
    let message = MessageParser::default().parse(if whole { raw } else { head });
    if let Some(message) = &message {
        read_structured(&mut parsed, message);
        if whole {
            read_parts(&mut parsed, message, 0);
            parsed.text = text_of(message);
        }
    }
    if whole {
        collect_refs(&mut parsed.svar_refs, &String::from_utf8_lossy(raw));
    }
    parsed
}

/// Why a message is not parsed whole: the parser calls itself for each message in a message, and a thousand of those
/// would overflow the stack. What it would take for one is counted before, in one pass.
fn over_limits(raw: &[u8], head: &[u8]) -> Option<&'static str> {
    if raw.len() > MAX_BYTES {
        return Some("larger than 25 MiB");
    }
    if head.len() >= MAX_HEADER_BYTES {
        return Some("a header of more than 100 KiB");
    }
    let (mut messages, mut multiparts, mut parts) = (0, 0, 0);
    for at in 0..raw.len() {
        let starts = |word: &[u8]| raw[at..].get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word));
        match raw[at] | 0x20 {
            b'm' if starts(b"message/rfc822") || starts(b"message/global") => messages += 1,
            b'm' if starts(b"multipart/") => multiparts += 1,
            b'c' if starts(b"content-type") => parts += 1,
            _ => {}
        }
    }
    if messages > MAX_MESSAGES {
        Some("more than 50 messages within the message")
    } else if multiparts > MAX_MULTIPARTS {
        Some("more than 100 multiparts")
    } else if parts > MAX_PARTS {
        Some("more than 500 parts")
    } else {
        None
    }
}

/// The octets up to the first empty line, at most [`MAX_HEADER_BYTES`].
fn header_block(raw: &[u8]) -> &[u8] {
    let raw = &raw[..raw.len().min(MAX_HEADER_BYTES)];
    let mut line_start = 0;
    for (at, octet) in raw.iter().enumerate() {
        if *octet == b'\n' {
            if raw[line_start..at].iter().all(|b| *b == b'\r') {
                return &raw[..=at];
            }
            line_start = at + 1;
        }
    }
    raw
}

/// Every field with its folds undone (RFC 5322 §2.2.3). A line that is no field is left out.
fn fields_of(head: &[u8]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in head.split(|b| *b == b'\n') {
        let line = decode_unlabelled(line);
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let name = name.trim_end();
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()) {
                fields.push((name.to_owned(), value.trim().to_owned()));
            }
        }
    }
    fields
}

fn read_fields(parsed: &mut Parsed) {
    parsed.message_id = parsed.header("Message-ID").and_then(|v| ids_in(v).into_iter().next());
    parsed.in_reply_to = parsed.header("In-Reply-To").map(ids_in).unwrap_or_default();
    parsed.references = parsed.header("References").map(ids_in).unwrap_or_default();
    let surplus = parsed.references.len().saturating_sub(MAX_REFERENCES);
    parsed.references.drain(..surplus);
    parsed.return_path = parsed.header("Return-Path").map(|v| bare_address(v).to_owned());
    parsed.received_count = parsed.headers("Received").count();
    let delivered = ["Delivered-To", "X-Original-To", "Envelope-To"];
    parsed.delivered_to = delivered.iter().flat_map(|n| parsed.headers(n)).map(|v| bare_address(v).to_owned()).collect();
    parsed.svar_refs = parsed.headers("Svar-Ref").map(|v| v.trim().to_owned()).collect();
}

/// Ids in angle brackets; without any, the words that hold an `@`.
fn ids_in(value: &str) -> Vec<String> {
    let bracketed: Vec<String> = value
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>'))
        .map(|(id, _)| id.split_whitespace().collect())
        .filter(|id: &String| !id.is_empty())
        .collect();
    if !bracketed.is_empty() {
        return bracketed;
    }
    value.split_whitespace().filter(|w| w.contains('@')).map(str::to_owned).collect()
}

fn bare_address(value: &str) -> &str {
    let value = value.trim();
    match value.rsplit_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or("").trim(),
        None => value,
    }
}

fn read_structured(parsed: &mut Parsed, message: &Message<'_>) {
    parsed.subject = clean_line(message.subject().unwrap_or_default());
    if let Some(from) = message.from().and_then(Address::first) {
        parsed.from = from.address.as_deref().map(|a| a.trim().to_owned()).filter(|a| !a.is_empty());
        parsed.from_name = from.name.as_deref().map(clean_line).filter(|n| !n.is_empty());
    }
    parsed.to = addresses(message.to());
    parsed.cc = addresses(message.cc());
    parsed.date = message.date().filter(|d| d.is_valid()).and_then(|d| DateTime::from_timestamp(d.to_timestamp(), 0));
    let report = message.content_type().and_then(|c| c.attribute("report-type"));
    parsed.report_type = report.map(str::to_ascii_lowercase);
}

/// One line of text: no control characters, so that nothing of it can pass for another line.
fn clean_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

fn addresses(list: Option<&Address<'_>>) -> Vec<String> {
    let found = list.into_iter().flat_map(Address::iter).filter_map(|a| a.address.as_deref());
    found.take(MAX_ADDRESSES).map(|a| a.trim().to_owned()).collect()
}

/// What the parts are; those of attached messages are asked for their ids only.
fn read_parts(parsed: &mut Parsed, message: &Message<'_>, depth: usize) {
    for part in &message.parts {
        let kind = part_type(part);
        match &part.body {
            PartType::Message(inner) if depth < MAX_MESSAGES => read_original(parsed, inner, depth),
            PartType::Multipart(_) | PartType::Message(_) => {}
            _ if depth == 0 => read_leaf(parsed, part, &kind),
            _ => {}
        }
        if depth == 0 {
            parsed.part_types.push(kind);
        }
    }
}

fn part_type(part: &MessagePart<'_>) -> String {
    let Some(declared) = part.content_type() else { return "text/plain".to_owned() };
    format!("{}/{}", declared.ctype(), declared.subtype().unwrap_or("plain")).to_ascii_lowercase()
}

fn read_original(parsed: &mut Parsed, original: &Message<'_>, depth: usize) {
    parsed.original_ids.extend(original.message_id().map(str::to_owned));
    if let Some(HeaderValue::Text(value)) = original.header(HeaderName::Other(Cow::Borrowed("Svar-Ref"))) {
        add_ref(&mut parsed.svar_refs, value);
    }
    read_parts(parsed, original, depth + 1);
}

fn read_leaf(parsed: &mut Parsed, part: &MessagePart<'_>, kind: &str) {
    let name = part.attachment_name().unwrap_or_default().to_ascii_lowercase();
    match kind {
        "application/ms-tnef" | "application/vnd.ms-tnef" => parsed.has_tnef = true,
        "message/delivery-status" | "message/global-delivery-status" => keep_first(&mut parsed.delivery_status, part),
        "message/feedback-report" => keep_first(&mut parsed.feedback_report, part),
        "text/rfc822-headers" | "text/rfc822" | "message/global-headers" => read_returned_header(parsed, part),
        "text/calendar" | "application/ics" => read_calendar(parsed, part),
        _ if name == "winmail.dat" => parsed.has_tnef = true,
        _ if name.ends_with(".ics") => read_calendar(parsed, part),
        _ => {}
    }
    if let Some(text) = part.text_contents() {
        collect_refs(&mut parsed.svar_refs, text);
    }
}

fn keep_first(slot: &mut Option<String>, part: &MessagePart<'_>) {
    if slot.is_none() {
        *slot = Some(String::from_utf8_lossy(part.contents()).replace("\r\n", "\n"));
    }
}

fn read_returned_header(parsed: &mut Parsed, part: &MessagePart<'_>) {
    for (name, value) in fields_of(header_block(part.contents())) {
        if name.eq_ignore_ascii_case("message-id") {
            parsed.original_ids.extend(ids_in(&value));
        }
    }
}

/// The METHOD in the object wins over the parameter, which may be missing or wrong (S-156).
fn read_calendar(parsed: &mut Parsed, part: &MessagePart<'_>) {
    if parsed.calendar.is_some() {
        return;
    }
    let text = String::from_utf8_lossy(part.contents()).replace("\r\n", "\n");
    let stated = text.lines().find_map(|l| l.get(..7).filter(|p| p.eq_ignore_ascii_case("METHOD:")).map(|_| l[7..].trim()));
    let declared = part.content_type().and_then(|c| c.attribute("method"));
    parsed.calendar_method = stated.or(declared).map(str::to_ascii_uppercase);
    parsed.calendar = Some(text);
}

/// Values after `Svar-Ref:` at the start of a line, quoted or not.
fn collect_refs(refs: &mut Vec<String>, text: &str) {
    for line in text.lines() {
        let line = line.trim_start_matches(['>', ' ', '\t']);
        if line.get(..9).is_some_and(|p| p.eq_ignore_ascii_case("svar-ref:")) {
            add_ref(refs, &line[9..]);
        }
    }
}

fn add_ref(refs: &mut Vec<String>, value: &str) {
    let value = value.trim();
    if !value.is_empty() && value.len() <= 200 && refs.len() < MAX_REFERENCES && !refs.iter().any(|r| r == value) {
        refs.push(value.to_owned());
    }
}

/// The text a person reads: the plain parts, and HTML where there is nothing else (S-145).
fn text_of(message: &Message<'_>) -> String {
    let plain = joined(message, &message.text_body);
    if plain.trim().is_empty() { joined(message, &message.html_body) } else { plain }
}

fn joined(message: &Message<'_>, ids: &[u32]) -> String {
    let mut text = String::new();
    for part in ids.iter().filter_map(|id| message.part(*id)) {
        let piece = match &part.body {
            PartType::Text(_) if is_readable(part) => plain_text(message, part),
            PartType::Html(_) => html::to_text(&decoded(message, part)),
            _ => continue,
        };
        text.push_str(piece.trim_end());
        text.push('\n');
        if text.len() > MAX_TEXT_BYTES {
            break;
        }
    }
    cut_at(&mut text, MAX_TEXT_BYTES);
    text
}

fn is_readable(part: &MessagePart<'_>) -> bool {
    matches!(part_type(part).as_str(), "text/plain" | "text/enriched" | "text/markdown" | "text/x-amp-html")
}

fn plain_text(message: &Message<'_>, part: &MessagePart<'_>) -> String {
    let text = with_newlines(&decoded(message, part));
    let flag =
        |name: &str, wanted: &str| part.content_type().and_then(|c| c.attribute(name)).is_some_and(|v| v.eq_ignore_ascii_case(wanted));
    if flag("format", "flowed") { flowed::decode(&text, flag("delsp", "yes")) } else { text }
}

fn with_newlines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\0', "")
}

fn cut_at(text: &mut String, most: usize) {
    if text.len() > most {
        let at = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
    }
}

/// The text of a part in the charset it is really in: declared, or UTF-8 where the octets are that, or windows-1252.
fn decoded<'a>(message: &'a Message<'_>, part: &'a MessagePart<'_>) -> Cow<'a, str> {
    let fallback = || Cow::Borrowed(part.text_contents().unwrap_or_default());
    let Some(encoded) = message.raw_message.get(part.offset_body as usize..part.offset_end as usize) else { return fallback() };
    let octets = match part.encoding {
        Encoding::None => Cow::Borrowed(encoded),
        Encoding::QuotedPrintable => match quoted_printable_decode(encoded) {
            Some(octets) => Cow::Owned(octets),
            None => return fallback(),
        },
        Encoding::Base64 => match base64_decode(encoded) {
            Some(octets) => Cow::Owned(octets),
            None => return fallback(),
        },
    };
    let label = part.content_type().and_then(|c| c.attribute("charset")).unwrap_or("us-ascii");
    match Charset::for_label(label.trim().as_bytes()) {
        Some(charset) => Cow::Owned(decode_as(&octets, charset)),
        None if label.eq_ignore_ascii_case("utf-7") => fallback(),
        None => Cow::Owned(decode_unlabelled(&octets)),
    }
}

/// S-148: a declaration of one octet a character is doubted where the octets are well-formed UTF-8, and one of UTF-8
/// where they are not.
fn decode_as(octets: &[u8], charset: &'static Charset) -> String {
    let charset = if charset == UTF_16LE { utf16_order(octets) } else { charset };
    if charset == WINDOWS_1252 || charset == UTF_8 {
        return decode_unlabelled(octets);
    }
    let (text, _, broken) = charset.decode(octets);
    if broken && std::str::from_utf8(octets).is_ok() { decode_unlabelled(octets) } else { text.into_owned() }
}

/// UTF-16 without a byte order mark is big-endian (RFC 2781 §4.3), unless its zeros stand in the odd places.
fn utf16_order(octets: &[u8]) -> &'static Charset {
    let zeros = |odd: usize| octets.iter().skip(odd).step_by(2).take(200).filter(|b| **b == 0).count();
    if zeros(0) > zeros(1) { UTF_16BE } else { UTF_16LE }
}

fn decode_unlabelled(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => WINDOWS_1252.decode(octets).0.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_body(declared: &str, body: &[u8]) -> Parsed {
        let mut raw = format!("From: Eva <eva@example.org>\r\nContent-Type: {declared}\r\n\r\n").into_bytes();
        raw.extend_from_slice(body);
        read(&raw)
    }

    #[test]
    fn fields_are_read_without_their_brackets() {
        let p = read(
            b"Return-Path: <>\r\nDelivered-To: reply+x@example.org\r\nFrom: =?utf-8?q?Eva_L=C3=B6f?= <Eva@example.org>\r\n\
              To: a@example.org, B <b@example.org>\r\nSubject: =?iso-8859-1?q?Tr=E4ff?=\r\nMessage-ID: <1@x>\r\n\
              In-Reply-To: <2@y>\r\nReferences: <3@z>\r\n <2@y>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\n\r\nHej\r\n",
        );
        assert_eq!(p.return_path.as_deref(), Some(""));
        assert_eq!((p.from.as_deref(), p.from_name.as_deref()), (Some("Eva@example.org"), Some("Eva Löf")));
        assert_eq!((p.to.len(), p.subject.as_str(), p.text.as_str()), (2, "Träff", "Hej\n"));
        assert_eq!((p.message_id.as_deref(), p.references.as_slice()), (Some("1@x"), &["3@z".to_owned(), "2@y".into()][..]));
        assert_eq!(p.delivered_to, ["reply+x@example.org"]);
        assert_eq!(p.date.map(|d| d.to_rfc3339()).as_deref(), Some("2026-11-02T09:00:00+00:00"));
        assert_eq!(p.header("in-reply-to"), Some("<2@y>"));
    }

    /// S-148.
    #[test]
    fn a_wrong_charset_never_loses_the_text() {
        for declared in ["text/plain; charset=iso-8859-1", "text/plain; charset=utf-8", "text/plain", "text/plain; charset=x-none"] {
            assert_eq!(with_body(declared, b"Jag kommer g\xe4rna \x93nu\x94").text, "Jag kommer gärna “nu”\n", "{declared}");
            assert_eq!(with_body(declared, "Jag kommer gärna".as_bytes()).text, "Jag kommer gärna\n", "{declared}");
        }
        assert_eq!(with_body("text/plain; charset=iso-8859-15", b"10 \xa4").text, "10 €\n");
        let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> { "Ja, gärna!".encode_utf16().flat_map(order).collect() };
        assert_eq!(with_body("text/plain; charset=utf-16", &wide(u16::to_be_bytes)).text, "Ja, gärna!\n");
        assert_eq!(with_body("text/plain; charset=utf-16le", &wide(u16::to_le_bytes)).text, "Ja, gärna!\n");
    }

    #[test]
    fn a_reference_is_found_in_a_returned_original() {
        let raw = b"From: a@b.org\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\r\nSorry.\r\n\
            --x\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <orig@x>\r\nSvar-Ref: abc\r\n\r\nHej\r\n--x--\r\n";
        let p = read(raw);
        assert_eq!((p.svar_refs, p.original_ids), (vec!["abc".to_owned()], vec!["orig@x".to_owned()]));
        assert_eq!(p.report_type.as_deref(), Some("delivery-status"));
    }

    /// S-226: each of them gives a value and says why it is not read whole.
    #[test]
    fn what_is_over_a_limit_is_read_by_its_header() {
        let mut nested = String::from("Subject: deep\r\n");
        let mut multi = nested.clone();
        for n in 0..1000 {
            nested.push_str("Content-Type: Message/RFC822\r\n\r\n");
            multi.push_str(&format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"));
        }
        for raw in [nested, multi, format!("Subject: deep\r\n\r\n{}", "a".repeat(MAX_BYTES))] {
            let p = read(raw.as_bytes());
            assert!(p.limits.is_some() && p.text.is_empty());
            assert_eq!(p.subject, "deep");
        }
        assert!(read(format!("Subject: {}\r\n\r\n", "a".repeat(200_000)).as_bytes()).limits.is_some());
    }

    #[test]
    fn nothing_and_nonsense_give_a_value() {
        for raw in [&b""[..], b"\0\0\0", b"\r\n\r\n", b"\n", b":", b"no header at all", b"From:\r\n\r\n\0a\0"] {
            let _ = read(raw);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_give_a_value(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&raw);
        }
    }
}
