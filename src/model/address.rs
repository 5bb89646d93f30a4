//! An address that has been checked.
//!
//! In: text from a file, a form or an envelope. Out: an [`Address`] that is safe in an SMTP command and in a header.
//! Sources: RFC 5321 §4.1.2 (grammar), §4.5.3.1 (sizes), RFC 5891 (domains outside ASCII); S-8, S-16, S-92. Compared case-insensitively, the spelling is kept.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One mail address: `local@domain`, without display name, checked once and trusted from then on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(String);

/// Why a text is not an address svar can mail to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing was given.
    #[error("the address is empty; write it as name@domain")]
    Empty,
    /// A control character: line breaks and NUL could smuggle commands (CWE-93).
    #[error("the address holds a control character (U+{0:04X}); remove it")]
    Control(u32),
    /// There is no `@`, or nothing on one side of it.
    #[error("\"{0}\" is not an address; write it as name@domain")]
    Shape(String),
    /// Local part over 64 octets, domain over 255 or the whole over 254.
    #[error("\"{0}\" is too long: at most 64 characters before the @ and 254 in all")]
    TooLong(String),
    /// A character that a dot-atom or domain may not hold.
    #[error("\"{address}\" holds {found:?}, which an address may not; correct it")]
    Character {
        /// The text as given.
        address: String,
        /// The first character that does not belong.
        found: char,
    },
    /// Needs SMTPUTF8, which is not offered yet (S-83).
    #[error("\"{0}\" has letters outside ASCII before the @; svar cannot mail to such an address yet")]
    NeedsUtf8(String),
}

impl Address {
    /// Reads an address. Surrounding white space and one pair of angle brackets are forgiven.
    ///
    /// A domain outside ASCII is kept in the form that the mail system knows, `xn--rksmrgs-5wao1o.se` (S-16): the two
    /// spellings are one address.
    ///
    /// # Errors
    /// [`AddressError`] names what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(AddressError::Control(c as u32));
        }
        let text = text.trim();
        let text = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err(AddressError::Shape(text.to_owned()));
        };
        if local.is_empty() || domain.is_empty() {
            return Err(AddressError::Shape(text.to_owned()));
        }
        let too_long = || AddressError::TooLong(text.to_owned());
        if local.len() > 64 || text.len() > 254 {
            return Err(too_long());
        }
        let domain = ascii_domain(text, domain)?;
        let whole = format!("{local}@{domain}");
        if whole.len() > 254 {
            return Err(too_long());
        }
        if !local.is_ascii() {
            return Err(AddressError::NeedsUtf8(text.to_owned()));
        }
        let stray = |c: &char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(*c));
        if let Some(found) = local.chars().find(stray) {
            return Err(AddressError::Character { address: text.to_owned(), found });
        }
        if local.split('.').any(str::is_empty) {
            return Err(AddressError::Character { address: text.to_owned(), found: '.' });
        }
        check_domain(text, &domain)?;
        Ok(Self(whole))
    }

    /// The address as it was spelled, its domain in ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that is compared and stored as a key: lower case throughout.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }

    /// The key less the tag that begins with a `+` in the local part: whatever the tag, it is mostly one mailbox (RFC 5233).
    #[must_use]
    pub fn mailbox_key(&self) -> String {
        let mailbox = self.local().split_once('+').map_or(self.local(), |(name, _)| name);
        if mailbox.is_empty() { self.key() } else { format!("{mailbox}@{}", self.domain()).to_lowercase() }
    }

    /// What stands before the last `@`.
    #[must_use]
    pub fn local(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(l, _)| l)
    }

    /// What stands after the last `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, d)| d)
    }
}

/// The domain in A-labels; one in ASCII as it is. What IDNA does not know is refused by its first letter outside ASCII.
fn ascii_domain<'a>(text: &str, domain: &'a str) -> Result<Cow<'a, str>, AddressError> {
    let Some(found) = domain.chars().find(|c| !c.is_ascii()) else { return Ok(Cow::Borrowed(domain)) };
    let refused = |_| AddressError::Character { address: text.to_owned(), found };
    idna::domain_to_ascii_strict(domain).map(Cow::Owned).map_err(refused)
}

/// Whether two texts are one address, however they are spelled. What is no address is the same as nothing.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    matches!((Address::parse(one), Address::parse(other)), (Ok(one), Ok(other)) if one.key() == other.key())
}

fn check_domain(text: &str, domain: &str) -> Result<(), AddressError> {
    let bad = |found| Err(AddressError::Character { address: text.to_owned(), found });
    if let Some(found) = domain.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '.')) {
        return bad(found);
    }
    for label in domain.split('.') {
        if label.is_empty() {
            return bad('.');
        }
        if label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
            return bad('-');
        }
    }
    Ok(())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0
    }
}

/// A display name and an address, as in `Monica Berg <monica@example.org>`: the form of From in configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, empty where none was given.
    pub name: String,
    /// The address.
    pub address: Address,
}

impl Mailbox {
    /// Reads `Name <address>`, `"Name" <address>` or a bare address.
    ///
    /// # Errors
    /// [`AddressError`] where the address is wrong or the name holds a control character (S-8).
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(AddressError::Control(c as u32));
        }
        let (name, address) = match text.trim().rsplit_once('<') {
            Some((name, rest)) => (name.trim().trim_matches('"').trim(), rest.trim().trim_end_matches('>')),
            None => ("", text),
        };
        Ok(Self { name: name.to_owned(), address: Address::parse(address)? })
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.address) } else { write!(f, "{} <{}>", self.name, self.address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_address_keeps_its_spelling_and_compares_in_lower_case() {
        let a = Address::parse(" <Eva.Berg+x@Example.ORG> ").unwrap();
        assert_eq!(a.as_str(), "Eva.Berg+x@Example.ORG");
        assert_eq!(a.key(), "eva.berg+x@example.org");
        assert_eq!((a.local(), a.domain()), ("Eva.Berg+x", "Example.ORG"));
    }

    #[test]
    fn a_mailbox_has_no_tag() {
        for (address, mailbox) in [
            ("Eva.Berg+x@Example.ORG", "eva.berg@example.org"),
            ("eva+x+y@example.org", "eva@example.org"),
            ("eva@example.org", "eva@example.org"),
            ("+x@example.org", "+x@example.org"),
        ] {
            assert_eq!(Address::parse(address).unwrap().mailbox_key(), mailbox);
        }
    }

    /// S-16: one address, whichever spelling its domain comes in.
    #[test]
    fn a_domain_outside_ascii_is_kept_as_the_mail_system_knows_it() {
        let a = Address::parse("Eva@Räksmörgås.se").unwrap();
        assert_eq!(a.as_str(), "Eva@xn--rksmrgs-5wao1o.se");
        assert!(is_same("eva@räksmörgås.SE", "eva@XN--rksmrgs-5wao1o.se"));
        assert!(!is_same("eva@räksmörgås.se", "eva@raksmorgas.se") && !is_same("", ""));
        for bad in ["eva@rä_k.se", "eva@ä..se", "eva@\u{202e}ä.se", "eva@ä b.se", "evä@räksmörgås.se"] {
            assert!(Address::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    /// S-8, S-92.
    #[test]
    fn what_could_break_a_command_or_a_header_is_refused() {
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a b@c.org",
            "a@b c.org",
            "a\r\nRCPT TO:<x@y>@b.org",
            "a\0@b.org",
            "a@b.org\n",
            "a@b..org",
            "a@-b.org",
            "a@b-.org",
            ".a@b.org",
            "a.@b.org",
            "a..b@c.org",
            "a@b.org>",
            "\"a b\"@c.org",
            "å@b.org",
            "a@[127.0.0.1]",
            "a,b@c.org",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?} was taken");
        }
        assert!(Address::parse(&format!("{}@b.org", "a".repeat(65))).is_err());
        assert!(Address::parse(&format!("a@{}.org", "b.".repeat(130))).is_err());
    }

    #[test]
    fn a_mailbox_has_a_name_or_none() {
        let m = Mailbox::parse("\"Berg, Eva\" <eva@example.org>").unwrap();
        assert_eq!((m.name.as_str(), m.address.as_str()), ("Berg, Eva", "eva@example.org"));
        assert_eq!(Mailbox::parse("eva@example.org").unwrap().name, "");
        assert!(Mailbox::parse("Eva\r\nBcc: x@y.org <eva@example.org>").is_err());
    }
}
