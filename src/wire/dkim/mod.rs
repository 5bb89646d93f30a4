//! Signs a message as its domain's own: one DKIM-Signature for each key.
//!
//! In: a message whose lines end in CRLF, and the moment it was composed. Out: the fields to be written before it. The same
//! message, keys and moment give the same octets: RSA with PKCS#1 v1.5 and Ed25519 use no chance, and `t=` is no clock.
//! Signed is rsa-sha256, with Ed25519 beside it and never alone (S-27), relaxed/relaxed, the whole body, and in `h=` what a
//! reader sees or answers by, with From, To, Subject and Date named once more than they occur, so that a second one breaks the
//! signature (S-25, S-26).
//! Sources: RFC 6376 (§3.5 tags, §3.7 what is hashed, §5.4 which fields), RFC 8301, RFC 8463; S-25…S-27.

mod canonical;
mod key;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use data_encoding::BASE64;

use canonical::Field;
pub use key::{Algorithm, Error, Key, generate_ed25519};

/// The fields that are signed where they occur, in the order of `h=`. The first four are there once more than they occur.
const SIGNED: [&str; 20] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Post",
    "List-Help",
    "List-Subscribe",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
];
/// How many of them are named once more than they occur.
const OVERSIGNED: usize = 4;
/// Characters of a line, as of any header of ours.
const LINE: usize = 76;

/// A domain and its keys.
#[derive(Clone, Debug)]
pub struct Signer {
    domain: Arc<str>,
    keys: Vec<(Arc<str>, Arc<Key>)>,
}

impl Signer {
    /// Signs for `domain`, in its ASCII form, with the key that is published under `selector`.
    #[must_use]
    pub fn new(domain: &str, selector: &str, key: Key) -> Self {
        Self { domain: domain.to_ascii_lowercase().into(), keys: vec![(selector.into(), Arc::new(key))] }
    }

    /// Signs with this key too.
    #[must_use]
    pub fn and(mut self, selector: &str, key: Key) -> Self {
        self.keys.push((selector.into(), Arc::new(key)));
        self
    }

    /// The message with its signatures before it. Takes about a millisecond of a processor for an RSA key of 2048 bits.
    ///
    /// # Errors
    /// [`Error::Unsigned`] where a key cannot sign, which was tried when it was read.
    pub fn sign(&self, message: &[u8], composed_at: DateTime<Utc>) -> Result<Vec<u8>, Error> {
        let (head, body) = canonical::parts(message);
        let fields = canonical::fields(head);
        let names = names_of(&fields);
        let selected = canonical::selected(&fields, &names);
        let body_hash = BASE64.encode(ring::digest::digest(&ring::digest::SHA256, &canonical::body(body)).as_ref());
        let mut signed = Vec::with_capacity(message.len() + 1024 * self.keys.len());
        for (selector, key) in &self.keys {
            let tags = self.tags(selector, key, composed_at, &names, &body_hash);
            let mut input = selected.clone();
            canonical::field(&mut input, b"DKIM-Signature", tags.as_bytes());
            let signature = BASE64.encode(&key.sign(&input)?);
            signed.extend_from_slice(format!("DKIM-Signature:{tags}{}\r\n", folded(&signature)).as_bytes());
        }
        signed.extend_from_slice(message);
        Ok(signed)
    }

    /// The value of a DKIM-Signature up to the signature itself.
    fn tags(&self, selector: &str, key: &Key, composed_at: DateTime<Utc>, names: &[&str], body_hash: &str) -> String {
        format!(
            " v=1; a={}; c=relaxed/relaxed; t={};\r\n d={};\r\n s={selector};\r\n h={};\r\n bh={body_hash};\r\n b=",
            key.algorithm().name(),
            composed_at.timestamp().max(0),
            self.domain,
            folded_names(names),
        )
    }
}

/// What `h=` names for these fields: each as often as it occurs, the first four once more.
fn names_of(fields: &[Field<'_>]) -> Vec<&'static str> {
    let occurs = |name: &str| fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).count();
    let times = |at: usize, name: &str| occurs(name) + usize::from(at < OVERSIGNED);
    SIGNED.iter().enumerate().flat_map(|(at, name)| std::iter::repeat_n(*name, times(at, name))).collect()
}

/// Names with colons, a new line where one grows too long (RFC 6376 §3.5: blanks may stand around a colon).
fn folded_names(names: &[&str]) -> String {
    let (mut out, mut column) = (String::new(), " h=".len());
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(':');
            column += 1;
        }
        if column + name.len() > LINE {
            out.push_str("\r\n ");
            column = 1;
        }
        out.push_str(name);
        column += name.len();
    }
    out
}

/// Base64 in lines: blanks in it are nothing (RFC 6376 §3.5).
fn folded(base64: &str) -> String {
    let (first, rest) = base64.split_at(base64.len().min(LINE - " b=".len()));
    let mut out = first.to_owned();
    let mut rest = rest;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE - 1));
        out.push_str("\r\n ");
        out.push_str(line);
        rest = after;
    }
    out
}
