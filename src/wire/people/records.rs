//! Text becomes records that know their line.
//!
//! The csv crate counts LF only, and counts one too few after CRLF, so lines are counted here, by where records stand.
//! It also forgives every use of quotation marks; what would swallow people is found here. Source: RFC 4180 §2.

use std::ops::Range;

use csv::{Reader, ReaderBuilder, StringRecord};

use super::text::breaks;

/// A walk over the records of a text.
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    reader: Reader<&'a [u8]>,
    delimiter: u8,
    start: usize,
    at: usize,
    line: usize,
}

/// Where a record stands.
pub(super) struct Place {
    /// The line it begins on, counted from 1.
    pub(super) line: usize,
    octets: Range<usize>,
}

/// How a record uses quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    /// So that nothing can be lost.
    Sound,
    /// One closes in the middle of a cell, in a record of several lines.
    Stray,
    /// One is never closed.
    Open {
        /// The line it stands on.
        line: usize,
    },
}

impl<'a> Records<'a> {
    /// The records from `start` on, which is on `line`.
    pub(super) fn new(text: &'a str, delimiter: u8, start: usize, line: usize) -> Self {
        let bytes = text.as_bytes();
        let reader = ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(&bytes[start..]);
        Self { bytes, reader, delimiter, start, at: start, line }
    }

    /// The next record. Reading text from memory cannot fail, so an error is the end.
    pub(super) fn read(&mut self, record: &mut StringRecord) -> Option<Place> {
        let before = self.end();
        if !self.reader.read_record(record).unwrap_or(false) {
            return None;
        }
        let skipped = self.bytes[before..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let begin = before + skipped;
        self.line += breaks(self.bytes, self.at, begin);
        self.at = begin;
        Some(Place { line: self.line, octets: begin..self.end().max(begin) })
    }

    /// Where the next record is looked for, and the line that is on.
    pub(super) fn position(&self) -> (usize, usize) {
        (self.end(), self.line + breaks(self.bytes, self.at, self.end()))
    }

    /// The line that the last record read ends on.
    pub(super) fn last_line(&self) -> usize {
        let record = self.bytes[self.at..self.end()].trim_ascii_end();
        self.line + breaks(self.bytes, self.at, self.at + record.len())
    }

    /// How a record that was read uses quotation marks.
    pub(super) fn quotes(&self, place: &Place) -> Quotes {
        let bytes = &self.bytes[place.octets.clone()];
        let ended = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let record = ended.strip_suffix(b"\r").unwrap_or(ended);
        let is_last = place.octets.end == self.bytes.len();
        let is_long = record.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        if !is_last && !is_long {
            return Quotes::Sound;
        }
        match scan(record, self.delimiter) {
            (Cell::Quoted, opened, _) => Quotes::Open { line: place.line + breaks(record, 0, opened) },
            (_, _, true) if is_long => Quotes::Stray,
            _ => Quotes::Sound,
        }
    }

    fn end(&self) -> usize {
        (self.start + usize::try_from(self.reader.position().byte()).unwrap_or(usize::MAX)).min(self.bytes.len())
    }
}

#[derive(Clone, Copy)]
enum Cell {
    Start,
    Bare,
    Quoted,
    Closed,
}

/// The state a record ends in, where its last quoted cell opens, and whether something follows a closing mark: the same
/// steps as those of the csv crate.
fn scan(record: &[u8], delimiter: u8) -> (Cell, usize, bool) {
    let (mut state, mut opened, mut is_stray) = (Cell::Start, 0, false);
    for (at, byte) in record.iter().enumerate() {
        state = match (state, *byte) {
            (Cell::Start, b'"') => {
                opened = at;
                Cell::Quoted
            }
            (Cell::Quoted, b'"') => Cell::Closed,
            (Cell::Quoted, _) | (Cell::Closed, b'"') => Cell::Quoted,
            (_, byte) if byte == delimiter => Cell::Start,
            (Cell::Closed, _) => {
                is_stray = true;
                Cell::Bare
            }
            _ => Cell::Bare,
        };
    }
    (state, opened, is_stray)
}
