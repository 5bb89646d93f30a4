//! A spreadsheet's export becomes people.
//!
//! In: the bytes of a CSV file in whatever encoding, with whatever delimiter, under Swedish or English headings. Out:
//! [`People`], who are read from the text anew each time they are asked for, so that a million of them cost no more than
//! the file and their addresses; and a remark for each line that cannot be taken, with its number as an editor shows it.
//!
//! A line that is wrong is a [`Remark`]. Where the file as a whole cannot be trusted it is an [`Error`], and that is known
//! before the first person is handed out. All cells are trimmed and NFC, and lose bidi controls and invisible characters.
//! Sources: RFC 4180; S-8, S-232.

mod columns;
mod language;
mod records;
mod text;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use csv::StringRecord;

use self::columns::{Column, Layout};
use self::records::{Quotes, Records};
use crate::model::address::{Address, AddressError};
use crate::model::contact::Person;

/// The most columns a file may have.
pub const MAX_COLUMNS: usize = 200;
/// The most characters a cell may have.
pub const MAX_FIELD: usize = 10_000;
/// The most characters of a name that its bearer wrote.
const MAX_OWN_NAME: usize = 120;

/// The people of a file.
pub struct People<'a> {
    /// The columns in their order: the heading as written, and what it became, a field or the name of an attribute.
    pub columns: Vec<(String, String)>,
    /// How many people there are.
    pub count: usize,
    /// The lines that hold a person svar cannot take, by line.
    pub skipped: Vec<Remark>,
    /// What was left out of a person who was taken, by line.
    pub warnings: Vec<Remark>,
    text: Cow<'a, str>,
    layout: Layout,
}

/// What is to be said of a line.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Remark {
    /// The line on which the record begins, counted from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// Why a file cannot be read at all. Trying again does not help; changing the file does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing but white space.
    #[error("the file is empty; export the sheet again, with a line of headings and one person a line")]
    Empty,
    /// A spreadsheet in its own format.
    #[error("this is a workbook and not CSV; save the sheet as \"CSV UTF-8\" and give that file")]
    Workbook,
    /// A NUL, as in UTF-16 without a byte order mark.
    #[error("line {line} holds a NUL character; save the file as UTF-8")]
    Nul {
        /// The line, counted from 1.
        line: usize,
    },
    /// Bytes that mean nothing in the encoding of the rest.
    #[error("the letters on line {line} are not in the encoding of the rest of the file; open it, check that line and save it as UTF-8")]
    Encoding {
        /// The line, counted from 1.
        line: usize,
    },
    /// A quotation mark that would swallow the rest of the file.
    #[error("line {line} opens a quotation mark that is never closed; close it, or remove it")]
    OpenQuote {
        /// The line, counted from 1.
        line: usize,
    },
    /// More than [`MAX_COLUMNS`].
    #[error("the file has {found} columns and svar takes {MAX_COLUMNS}; remove those that no mail needs")]
    TooManyColumns {
        /// How many.
        found: usize,
    },
    /// The first line is a person already.
    #[error("line {line} holds an address where the headings should be; put a line such as \"email,first name,last name\" above it")]
    NoHeadings {
        /// The line, counted from 1.
        line: usize,
    },
    /// No heading is understood as that of the address.
    #[error("no column holds the address; found {found}; call the column {understood}", understood = columns::ADDRESS_HEADINGS)]
    NoAddress {
        /// The headings, quoted.
        found: String,
    },
}

/// Reads a file once from end to end and finds all that is wrong with it.
///
/// # Errors
/// [`Error`] where the file cannot be read, or reading on would guess.
pub fn read(bytes: &[u8]) -> Result<People<'_>, Error> {
    let text = text::decode(bytes)?;
    let layout = columns::layout(&text)?;
    let columns = layout.columns.iter().map(|(heading, column)| (heading.clone(), column.name().to_owned())).collect();
    let mut people = People { columns, count: 0, skipped: Vec::new(), warnings: Vec::new(), text, layout };
    people.check()?;
    Ok(people)
}

impl People<'_> {
    /// Everybody who can be taken, with the line they stand on.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Person)> + Send + '_ {
        let mut records = self.layout.records(&self.text);
        let mut skipped = self.skipped.iter().map(|remark| remark.line).peekable();
        let mut record = StringRecord::new();
        std::iter::from_fn(move || {
            while let Some(place) = records.read(&mut record) {
                if skipped.next_if_eq(&place.line).is_some() || is_blank(&record) {
                    continue;
                }
                if let Ok((person, _)) = self.layout.person(&record) {
                    return Some((place.line, person));
                }
            }
            None
        })
    }

    fn check(&mut self) -> Result<(), Error> {
        let mut records = self.layout.records(&self.text);
        let mut record = StringRecord::new();
        let mut lines: HashMap<Box<str>, usize> = HashMap::new();
        while let Some(place) = records.read(&mut record) {
            let line = place.line;
            let quotes = records.quotes(&place);
            if let Quotes::Open { line } = quotes {
                return Err(Error::OpenQuote { line });
            }
            if is_blank(&record) {
                continue;
            }
            let person = if quotes == Quotes::Stray { Err(STRAY_QUOTE.to_owned()) } else { self.layout.person(&record) };
            let person = person.and_then(|(person, warning)| match lines.entry(person.address.key().into()) {
                std::collections::hash_map::Entry::Occupied(first) => Err(format!("the same address as line {}", first.get())),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(line);
                    Ok(warning)
                }
            });
            match person {
                Ok(warning) => {
                    self.count += 1;
                    self.warnings.extend(warning.map(|reason| Remark { line, reason }));
                }
                Err(reason) => self.skipped.push(Remark { line, reason: reason + &reach(&records, line) }),
            }
        }
        Ok(())
    }
}

/// A closing quotation mark inside a cell of several lines: most likely the lines below went into it.
const STRAY_QUOTE: &str = "a quotation mark stands inside a cell; remove it, or write it twice";

/// Where a record that is skipped has more lines than one, the others go with it: that must be said.
fn reach(records: &Records<'_>, line: usize) -> String {
    let last = records.last_line();
    if last > line {
        format!(" (this goes for all down to line {last}; if that is too much, a quotation mark is missing)")
    } else {
        String::new()
    }
}

impl Layout {
    /// A person and what was left out of them, or why it is none.
    fn person(&self, record: &StringRecord) -> Result<(Person, Option<String>), String> {
        self.check_size(record)?;
        let (mut first, mut last, mut language, mut warning) = (String::new(), String::new(), String::new(), None);
        let mut attributes = std::collections::BTreeMap::new();
        let mut mailbox = None;
        for ((heading, column), cell) in self.columns.iter().zip(record) {
            let cell = clean(cell);
            match column {
                Column::Address => mailbox = Some(read_mailbox(&cell).map_err(|error| error.to_string())?),
                Column::FirstName => first = checked(heading, cell)?,
                Column::LastName => last = checked(heading, cell)?,
                Column::Name => (first, last) = split_name(&checked(heading, cell)?),
                Column::Language if cell.is_empty() => {}
                Column::Language => match language::code(&cell) {
                    Some(code) => code.clone_into(&mut language),
                    None => warning = Some(unknown_language(&cell)),
                },
                Column::Attribute(_) if cell.is_empty() => {}
                Column::Attribute(name) => {
                    attributes.insert(name.clone(), checked(heading, on_one_line(cell))?);
                }
            }
        }
        let Some((name, address)) = mailbox else { return Err(AddressError::Empty.to_string()) };
        if first.is_empty() && last.is_empty() {
            (first, last) = split_name(&checked("the name before the address", name)?);
        }
        Ok((Person { address, first_name: first, last_name: last, language, attributes }, warning))
    }

    fn check_size(&self, record: &StringRecord) -> Result<(), String> {
        let (found, wanted) = (record.len(), self.columns.len());
        if found < wanted {
            return Err(format!("too few fields: {found} under {wanted} headings; add what is missing"));
        }
        if found > wanted {
            return Err(format!(
                "too many fields: {found} under {wanted} headings; put quotation marks around text that holds the delimiter"
            ));
        }
        let too_long = |cell: &&str| cell.len() > MAX_FIELD && cell.chars().count() > MAX_FIELD;
        match record.iter().zip(&self.columns).find(|(cell, _)| too_long(cell)) {
            Some((_, (heading, _))) => Err(format!("{heading:?} has more than {MAX_FIELD} characters; shorten it")),
            None => Ok(()),
        }
    }
}

/// Lines of nothing but delimiters are how spreadsheets end.
fn is_blank(record: &StringRecord) -> bool {
    record.iter().all(|cell| cell.trim().is_empty())
}

fn clean(cell: &str) -> String {
    text::visible(cell).trim().to_owned()
}

fn on_one_line(cell: String) -> String {
    if !cell.contains(is_break) {
        return cell;
    }
    cell.split(is_break).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Passes a cell that no header can be broken with (S-8).
fn checked(heading: &str, cell: String) -> Result<String, String> {
    match cell.chars().find(|c| c.is_control() || is_break(*c)) {
        Some(c) if is_break(c) => Err(format!("{heading:?} holds a line break; write it on one line")),
        Some(c) => Err(format!("{heading:?} holds a control character (U+{:04X}); remove it", u32::from(c))),
        None => Ok(cell),
    }
}

/// First and family name: `Berg, Eva` is turned round, else the last blank parts them.
fn split_name(name: &str) -> (String, String) {
    let (first, last) = match name.split_once(',').map(|(last, first)| (first.trim(), last.trim())) {
        Some((first, last)) if !first.is_empty() && !last.is_empty() => (first, last),
        _ => name.trim_matches(',').trim().rsplit_once(char::is_whitespace).unwrap_or((name.trim_matches(','), "")),
    };
    (first.trim().to_owned(), last.trim().to_owned())
}

/// First and family name, as somebody writes their own in From: on one line and with nothing in it that cannot be seen (S-8,
/// S-232). An address is no name.
#[must_use]
pub fn own_name(name: &str) -> (String, String) {
    let line: String =
        text::visible(name).chars().map(|c| if c.is_control() || is_break(c) { ' ' } else { c }).take(MAX_OWN_NAME).collect();
    let bare = line.trim().trim_matches(['"', '\'']);
    if bare.contains('@') { (String::new(), String::new()) } else { split_name(bare) }
}

/// Name and address of `eva@example.org`, `Eva Berg <eva@example.org>` or `mailto:eva@example.org`.
fn read_mailbox(cell: &str) -> Result<(String, Address), AddressError> {
    let (name, address) = cell.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')).unwrap_or(("", cell));
    let address = match address.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("mailto:") => address[7..].split('?').next().unwrap_or(""),
        _ => address,
    };
    Ok((name.trim().trim_matches(['"', '\'']).trim().to_owned(), Address::parse(address)?))
}

fn unknown_language(cell: &str) -> String {
    let shown: String = cell.chars().take(40).collect();
    format!("the language {shown:?} is not known and was left out; write a code such as \"sv\" or \"en\"")
}

impl fmt::Debug for People<'_> {
    /// Without the people: what is logged holds no addresses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").field("columns", &self.columns).field("count", &self.count).finish_non_exhaustive()
    }
}
