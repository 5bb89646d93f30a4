//! A display name as it stands in a header.
//!
//! lettre encodes names too, but lets a line of encoded-words grow past 76 characters when the address follows.
//! Sources: RFC 5322 §3.2.5 (phrase), RFC 2047 §2 (75 characters a word, 76 a line) and §5(3); S-9, S-10.

use data_encoding::BASE64;

/// Octets of UTF-8 in one encoded-word: `=?utf-8?b?` + 60 + `?=` is 72 characters.
const WORD_OCTETS: usize = 45;
/// A quoted or bare name longer than this is encoded, so that it can be folded.
const LONGEST_PLAIN: usize = 60;

/// Name and address as the value of From or To, folded where a line would grow too long. The name holds no control
/// characters: that was checked.
#[must_use]
pub fn mailbox(field: &str, name: &str, address: &str) -> String {
    if name.is_empty() {
        return address.to_owned();
    }
    let phrase = phrase(name);
    let last_line = phrase.rsplit("\r\n").next().map_or(0, str::len) + if phrase.contains("\r\n") { 0 } else { field.len() + 2 };
    let gap = if last_line + address.len() + 3 > 76 { "\r\n " } else { " " };
    format!("{phrase}{gap}<{address}>")
}

fn phrase(name: &str) -> String {
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c);
    if !name.is_ascii() || name.len() > LONGEST_PLAIN || name.contains("=?") {
        encoded_words(name)
    } else if name.chars().all(atom) && !name.contains("  ") {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// Each word is whole in itself: none is cut inside a character.
fn encoded_words(text: &str) -> String {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if word.len() + c.len_utf8() > WORD_OCTETS {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    words.iter().map(|word| format!("=?utf-8?b?{}?=", BASE64.encode(word.as_bytes()))).collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bare_quoted_or_encoded() {
        assert_eq!(mailbox("To", "Eva Berg", "eva@example.org"), "Eva Berg <eva@example.org>");
        assert_eq!(mailbox("To", "Berg, \"Eva\"", "eva@example.org"), "\"Berg, \\\"Eva\\\"\" <eva@example.org>");
        assert_eq!(mailbox("To", "Åsa", "eva@example.org"), "=?utf-8?b?w4VzYQ==?= <eva@example.org>");
        assert_eq!(mailbox("To", "", "eva@example.org"), "eva@example.org");
    }
}
