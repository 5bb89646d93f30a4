//! A delivery written into a local part, and read back.
//!
//! Layout, before base32 (RFC 4648 §6, lower case, no padding): key id · purpose · record id (big-endian, leading
//! zeros cut) · 16 octets of HMAC-SHA-256 over all that stands before. The record id is an opaque row number; nothing
//! about the person is in it. Sources: S-38 (alphabet and length), S-210 (shape, 128 bits), S-211 (several keys).

use data_encoding::{Encoding, Specification};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::sync::LazyLock;
use subtle::ConstantTimeEq;

/// Octets of MAC that a token carries: 128 bits (RFC 2104 §5 asks for half of the hash's output at least).
const MAC_BYTES: usize = 16;

static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    spec.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    #[allow(clippy::expect_used, reason = "a constant alphabet, tested below")]
    spec.encoding().expect("the alphabet is well formed")
});

/// What a token may be used for. It is part of what is signed, so one purpose never passes for another (S-210).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// `Reply-To`: an answer to a delivery.
    Reply = b'r',
    /// The envelope sender: a report about a delivery (VERP, S-39).
    Bounce = b'b',
    /// `List-Unsubscribe`: mail to it ends all mail to the contact, whatever it says (S-28).
    Unsubscribe = b'u',
    /// `Message-ID` of a delivery.
    Message = b'm',
    /// `Svar-Ref`, which survives a relay that replaces the Message-ID (S-5).
    Reference = b'f',
    /// `Reply-To` and Message-ID of a confirmation or a notice.
    Notice = b'n',
    /// `Reply-To` of the question whether somebody really wants to take part: an answer to it confirms their wish.
    Wish = b'w',
}

impl Purpose {
    /// Every purpose there is.
    pub const ALL: [Self; 7] = [Self::Reply, Self::Bounce, Self::Unsubscribe, Self::Message, Self::Reference, Self::Notice, Self::Wish];

    fn from_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|p| *p as u8 == octet)
    }
}

/// What a valid token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it may be used for.
    pub purpose: Purpose,
    /// The row it speaks of: a delivery; a notice for [`Purpose::Notice`], the message of a wish for [`Purpose::Wish`].
    pub id: i64,
}

/// The secret that signs tokens: an id and at least 256 bits from the operating system (S-211).
#[derive(Clone)]
pub struct Key {
    /// Which key it is, so that tokens of an older one stay valid after a rotation.
    pub id: u8,
    /// The secret octets.
    pub secret: Vec<u8>,
}

/// All keys of an installation: the first signs, each of them verifies.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

impl std::fmt::Debug for Keys {
    /// Never shows a secret (S-221).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({} of them, hidden)", self.0.len())
    }
}

/// Why a secret file is no set of keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No line holds a key.
    #[error("holds no key; a line is a number from 1 to 255, a space and 64 hexadecimal digits")]
    Empty,
    /// A line is not a key.
    #[error("line {0} is not a key; write a number from 1 to 255, a space and at least 64 hexadecimal digits")]
    Line(usize),
}

impl Keys {
    /// Reads a secret file: one key a line, `id hex`, the first one signs; `#` begins a comment.
    ///
    /// # Errors
    /// [`KeysError`] names the line.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let key = line.split_once(char::is_whitespace).and_then(|(id, hex)| {
                let id: u8 = id.parse().ok().filter(|id| *id > 0)?;
                let secret = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.trim().as_bytes()).ok()?;
                (secret.len() >= 32).then_some(Key { id, secret })
            });
            keys.push(key.ok_or(KeysError::Line(at + 1))?);
        }
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Self(keys)) }
    }

    /// One key made of given octets, for an installation's first secret file and for tests.
    #[must_use]
    pub fn single(id: u8, secret: Vec<u8>) -> Self {
        Self(vec![Key { id, secret }])
    }

    /// The secret file that [`Keys::parse`] reads back.
    #[must_use]
    pub fn to_file(&self) -> String {
        let mut out =
            String::from("# svar's secret: it signs reply addresses. Keep it private and keep it: without it old replies are not known.\n");
        for key in &self.0 {
            out.push_str(&format!("{} {}\n", key.id, data_encoding::HEXLOWER.encode(&key.secret)));
        }
        out
    }

    /// The id of the key that signs now.
    #[must_use]
    pub fn current(&self) -> u8 {
        self.0.first().map_or(0, |k| k.id)
    }

    /// Writes a token with the current key. 30 to 42 characters of `a-z2-7`.
    #[must_use]
    pub fn write(&self, purpose: Purpose, id: i64) -> String {
        self.0.first().map_or_else(String::new, |key| write_with(key, purpose, id))
    }

    /// Writes a token with the key of the given id, so that what was signed once comes out the same after a rotation.
    #[must_use]
    pub fn write_as(&self, key_id: u8, purpose: Purpose, id: i64) -> String {
        self.0.iter().find(|k| k.id == key_id).or(self.0.first()).map_or_else(String::new, |key| write_with(key, purpose, id))
    }

    /// Reads a token back, whatever its case. `None` for anything that these keys did not write.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Token> {
        if text.len() > 64 {
            return None;
        }
        let octets = BASE32.decode(text.as_bytes()).ok()?;
        let (head, mac) = octets.split_at_checked(octets.len().checked_sub(MAC_BYTES)?)?;
        let [key_id, purpose, id @ ..] = head else { return None };
        if id.len() > 8 || id.first() == Some(&0) {
            return None;
        }
        let key = self.0.iter().find(|k| k.id == *key_id)?;
        if !bool::from(mac_of(key, head).ct_eq(mac)) {
            return None;
        }
        let id = id.iter().fold(0_u64, |n, octet| n << 8 | u64::from(*octet));
        Some(Token { purpose: Purpose::from_octet(*purpose)?, id: i64::try_from(id).ok()? })
    }

    /// A keyed hash of any text, as a hexadecimal string: for MIME boundaries and for addresses that were erased.
    #[must_use]
    pub fn fingerprint(&self, label: &str, text: &str) -> String {
        let Some(key) = self.0.first() else { return String::new() };
        let mut head = Vec::with_capacity(label.len() + text.len() + 1);
        head.extend_from_slice(label.as_bytes());
        head.push(0);
        head.extend_from_slice(text.as_bytes());
        data_encoding::HEXLOWER.encode(&mac_of(key, &head))
    }
}

fn write_with(key: &Key, purpose: Purpose, id: i64) -> String {
    let mut octets = vec![key.id, purpose as u8];
    octets.extend(id.to_be_bytes().into_iter().skip_while(|octet| *octet == 0));
    let mac = mac_of(key, &octets);
    octets.extend_from_slice(&mac);
    BASE32.encode(&octets)
}

fn mac_of(key: &Key, head: &[u8]) -> [u8; MAC_BYTES] {
    #[allow(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 §2)")]
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key.secret).expect("any length is a key");
    mac.update(head);
    let full = mac.finalize().into_bytes();
    let mut cut = [0; MAC_BYTES];
    cut.copy_from_slice(&full[..MAC_BYTES]);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::parse(&format!("2 {}\n1 {} # the old one\n", "ab".repeat(32), "cd".repeat(32))).unwrap()
    }

    proptest! {
        /// S-38, S-210: what was written is read back, in any case, and fits a local part.
        #[test]
        fn a_token_comes_back(id in 0_i64.., which in 0_usize..7) {
            let purpose = Purpose::ALL[which];
            let text = keys().write(purpose, id);
            prop_assert!(text.len() <= 48 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
            prop_assert_eq!(keys().read(&text), Some(Token { purpose, id }));
            prop_assert_eq!(keys().read(&text.to_uppercase()), Some(Token { purpose, id }));
        }

        /// S-210: one changed character, or any invented text, is no token.
        #[test]
        fn a_forged_token_is_none(id in 0_i64..100_000, at in 0_usize..30, to in "[a-z2-7]", junk in "\\PC{0,80}") {
            let text = keys().write(Purpose::Reply, id);
            let mut forged = text.clone();
            forged.replace_range(at..=at, &to);
            if forged != text {
                prop_assert_eq!(keys().read(&forged), None);
            }
            prop_assert_eq!(keys().read(&junk), None);
        }
    }

    /// S-210: the purpose is signed, so no token can be turned into one of another purpose.
    #[test]
    fn a_purpose_cannot_be_exchanged() {
        for from in Purpose::ALL {
            for to in Purpose::ALL {
                let mut octets = BASE32.decode(keys().write(from, 7).as_bytes()).unwrap();
                octets[1] = to as u8;
                assert_eq!(keys().read(&BASE32.encode(&octets)).is_some(), from == to);
            }
        }
    }

    /// S-211: a rotation leaves old tokens valid; a key that is gone does not.
    #[test]
    fn an_older_key_still_reads() {
        let old = Keys::single(1, [0xcd; 32].to_vec());
        assert!(keys().read(&old.write(Purpose::Unsubscribe, 9)).is_some());
        assert_eq!(keys().write_as(1, Purpose::Message, 9), old.write(Purpose::Message, 9));
        assert!(old.read(&keys().write(Purpose::Unsubscribe, 9)).is_none());
    }

    #[test]
    fn a_bad_secret_file_names_its_line() {
        assert_eq!(Keys::parse("# nothing\n").unwrap_err(), KeysError::Empty);
        assert_eq!(Keys::parse("1 abcd\n").unwrap_err(), KeysError::Line(1));
        assert_eq!(Keys::parse(&format!("1 {}\nx y\n", "ab".repeat(32))).unwrap_err(), KeysError::Line(2));
        let again = Keys::parse(&keys().to_file()).unwrap();
        assert_eq!(again.write(Purpose::Reply, 1), keys().write(Purpose::Reply, 1));
        assert!(!format!("{:?}", keys()).contains("abab"));
    }
}
