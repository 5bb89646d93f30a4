//! The bytes of a file become text.
//!
//! In: UTF-8 with or without a byte order mark, UTF-16 with one, or Windows-1252. Out: text without the mark; UTF-8 is
//! borrowed. What is neither is refused, because half of the names would be wrong. Source: WHATWG Encoding, S-232.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::Error;

/// The text of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\xD0\xCF\x11\xE0") {
        return Err(Error::Workbook);
    }
    let text = match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(UTF_16LE, rest)?,
        [0xFE, 0xFF, rest @ ..] => utf16(UTF_16BE, rest)?,
        [0xEF, 0xBB, 0xBF, rest @ ..] => Cow::Borrowed(utf8(rest)?),
        _ => std::str::from_utf8(bytes).map_or_else(|_| windows_1252(bytes), |text| Ok(Cow::Borrowed(text)))?,
    };
    if let Some(at) = text.find('\0') {
        return Err(Error::Nul { line: line_at(text.as_bytes(), at) });
    }
    if text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c)).is_empty() {
        return Err(Error::Empty);
    }
    Ok(text)
}

fn utf16<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> Result<Cow<'a, str>, Error> {
    encoding.decode_without_bom_handling_and_without_replacement(bytes).ok_or_else(|| {
        let text = encoding.decode_without_bom_handling(bytes).0;
        Error::Encoding { line: line_at(text.as_bytes(), text.find('\u{fffd}').unwrap_or(text.len())) }
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|error| Error::Encoding { line: line_at(bytes, error.valid_up_to()) })
}

fn windows_1252(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Error::Nul { line: line_at(bytes, at) });
    }
    let mut lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    let is_mixed = lines.any(|line| !line.is_ascii() && std::str::from_utf8(line).is_ok());
    if is_mixed {
        utf8(bytes)?;
    }
    if let Some(at) = bytes.iter().position(|byte| matches!(byte, 0x81 | 0x8D | 0x8F | 0x90 | 0x9D)) {
        return Err(Error::Encoding { line: line_at(bytes, at) });
    }
    Ok(WINDOWS_1252.decode_without_bom_handling(bytes).0)
}

fn line_at(bytes: &[u8], at: usize) -> usize {
    1 + breaks(bytes, 0, at)
}

/// How many lines end between two places, as editors count: CRLF, LF and CR each end one.
pub(super) fn breaks(bytes: &[u8], from: usize, to: usize) -> usize {
    let ends = |at: &usize| bytes[*at] == b'\n' || (bytes[*at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
    (from..to.min(bytes.len())).filter(ends).count()
}

/// Text in NFC without bidi controls and invisible characters (S-232).
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || (is_nfc(text) && !text.contains(is_invisible)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| !is_invisible(*c)).nfc().collect())
}

/// Bidi controls, joiners, fillers, tags and marks without a width. Variation selectors stay: they choose a glyph.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
