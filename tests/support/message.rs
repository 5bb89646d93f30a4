//! Messages as a guest sees and writes them: reading a header field, and answering with the original quoted below.

use std::sync::atomic::{AtomicU32, Ordering};

static WRITTEN: AtomicU32 = AtomicU32::new(0);

/// A header field's value, unfolded; the first of that name.
pub(crate) fn header(mail: &[u8], name: &str) -> Option<String> {
    headers(mail, name).into_iter().next()
}

/// All values of a header field, unfolded, in order.
pub(crate) fn headers(mail: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(mail);
    let mut fields: Vec<String> = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => *field = format!("{field} {}", line.trim_start()),
            _ => fields.push(line.to_owned()),
        }
    }
    let value = |field: &String| {
        let (found, value) = field.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    fields.iter().filter_map(value).collect()
}

/// The address in a field such as Reply-To, with or without a display name.
pub(crate) fn address(field: &str) -> String {
    let inner = field.rsplit_once('<').map_or(field, |(_, rest)| rest);
    inner.trim_end_matches('>').trim().to_owned()
}

/// The decoded plain text of a message.
pub(crate) fn text(mail: &[u8]) -> String {
    let parsed = mail_parser::MessageParser::default().parse(mail);
    parsed.and_then(|m| m.body_text(0).map(|t| t.replace("\r\n", "\n"))).unwrap_or_default()
}

/// The decoded subject of a message.
pub(crate) fn subject(mail: &[u8]) -> String {
    mail_parser::MessageParser::default().parse(mail).and_then(|m| m.subject().map(str::to_owned)).unwrap_or_default()
}

/// A reply that a guest's mail program made.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The writer's address.
    pub(crate) from: String,
    /// Where it goes: the original's Reply-To.
    pub(crate) to: String,
    /// Its Message-ID, with brackets.
    pub(crate) message_id: String,
    /// The whole message, lines ending in LF.
    pub(crate) message: String,
}

/// Answers a mail: own words on top, the original quoted below an attribution, threaded by In-Reply-To and References.
///
/// `name` is the writer's display name, `attribution` the line above the quote, `more` header lines each ending in LF.
#[track_caller]
pub(crate) fn answer(original: &[u8], name: &str, from: &str, own_words: &str, attribution: &str, more: &str) -> Reply {
    let reply_to = header(original, "Reply-To").or_else(|| header(original, "From")).unwrap();
    let to = address(&reply_to);
    let original_id = header(original, "Message-ID").unwrap();
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let message_id = format!("<{number}.{}>", from);
    let quoted: String = text(original).lines().map(|line| format!("> {line}").trim_end().to_owned() + "\n").collect();
    let (name, subject) = (encoded(name), encoded(&format!("{} {}", prefix(more), subject(original))));
    let message = format!(
        "From: {name} <{from}>\nTo: {reply_to}\nSubject: {subject}\nMessage-ID: {message_id}\nIn-Reply-To: {original_id}\n\
         References: {original_id}\n{more}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
         {own_words}\n\n{attribution}\n{quoted}"
    );
    Reply { from: from.to_owned(), to, message_id, message }
}

/// A program that answers by itself writes its own prefix.
fn prefix(more: &str) -> &'static str {
    if more.contains("Auto-Submitted") { "Autosvar:" } else { "Sv:" }
}

/// An encoded-word where the text needs one (RFC 2047), folded where it is long.
fn encoded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        if words.last().is_some_and(|w| w.len() + c.len_utf8() > 30) {
            words.push(String::new());
        }
        words.last_mut().unwrap().push(c);
    }
    let words: Vec<String> = words.iter().map(|w| format!("=?utf-8?B?{}?=", data_encoding::BASE64.encode(w.as_bytes()))).collect();
    words.join("\n ")
}
