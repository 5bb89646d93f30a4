//! A line of headings says what the columns are.
//!
//! Headings are compared without case, diacritics and anything that is neither letter nor digit. What is not understood
//! becomes an attribute: lower case, letters and digits of any script as they are (`{{företag}}` is a name to handlebars),
//! all else one `_`. A name that svar or handlebars uses itself gets a `_` at its end, one that begins with "else" in front.

use csv::StringRecord;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::records::{Quotes, Records};
use super::{Error, MAX_COLUMNS, clean, text};
use crate::model::address::Address;

/// What to call the column of the address, for a message.
pub(super) const ADDRESS_HEADINGS: &str = "\"email\", \"e-mail\", \"mail\", \"address\", \"e-post\" or \"mejl\"";

const ADDRESS: &[&str] = &[
    "epost",
    "epostadress",
    "eposta",
    "epostadr",
    "mejl",
    "mejladress",
    "mail",
    "mailadress",
    "mailaddress",
    "email",
    "emailadress",
    "emailaddress",
    "email1",
    "email1value",
    "emailaddress1",
];
/// Says "address" and may mean a street: taken only where nothing else holds the address.
const VAGUE_ADDRESS: &[&str] = &["address"];
const FIRST_NAME: &[&str] = &["fornamn", "tilltalsnamn", "firstname", "first", "givenname", "forename"];
const LAST_NAME: &[&str] = &["efternamn", "lastname", "last", "surname", "familyname"];
const NAME: &[&str] = &["namn", "name", "fullname", "heltnamn", "fullstandigtnamn", "displayname", "visningsnamn"];
const LANGUAGE: &[&str] = &["sprak", "language", "lang", "locale"];

/// Fields that every template has already.
const FIELDS: &[&str] = &["first_name", "last_name", "name", "address", "email", "language", "organiser", "campaign", "opt_out", "subject"];
/// Words that handlebars takes for its own.
const KEYWORDS: &[&str] = &[
    "and", "as", "each", "eq", "false", "gt", "gte", "if", "inline", "len", "log", "lookup", "lt", "lte", "ne", "not", "null", "or", "raw",
    "root", "this", "true", "unless", "with",
];

/// An attribute's name is no longer than this, in characters; nor is a heading in a message.
const LONGEST_NAME: usize = 60;

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Address,
    FirstName,
    LastName,
    /// Both names in one.
    Name,
    Language,
    Attribute(String),
}

impl Column {
    /// The field's or the attribute's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Address => "address",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::Name => "name",
            Self::Language => "language",
            Self::Attribute(name) => name,
        }
    }
}

/// How a file is laid out.
pub(super) struct Layout {
    /// The headings as written, on one line, and what they mean.
    pub(super) columns: Vec<(String, Column)>,
    delimiter: u8,
    start: usize,
    line: usize,
}

impl Layout {
    /// The records below the headings.
    pub(super) fn records<'a>(&self, text: &'a str) -> Records<'a> {
        Records::new(text, self.delimiter, self.start, self.line)
    }
}

/// Finds the headings and the delimiter: the one that shows an address column, then the one with the most columns.
pub(super) fn layout(text: &str) -> Result<Layout, Error> {
    let (candidates, start, line) = match excel_delimiter(text) {
        Some((delimiter, length)) => (vec![delimiter], length, 2),
        None => (b",;\t".to_vec(), 0, 1),
    };
    let headings = candidates.into_iter().map(|delimiter| headings(text, delimiter, start, line));
    let headings = headings.max_by_key(|h| (find(&h.cells, ADDRESS).is_some(), find(&h.cells, VAGUE_ADDRESS).is_some(), h.cells.len()));
    let Some(Headings { delimiter, cells, line, quotes, next }) = headings else { return Err(Error::Empty) };
    if let Quotes::Open { line } = quotes {
        return Err(Error::OpenQuote { line });
    }
    if cells.is_empty() {
        return Err(Error::Empty);
    }
    if cells.len() > MAX_COLUMNS {
        return Err(Error::TooManyColumns { found: cells.len() });
    }
    let columns = meanings(&cells);
    if !columns.contains(&Column::Address) {
        let is_person = cells.iter().any(|cell| Address::parse(cell).is_ok());
        return Err(if is_person { Error::NoHeadings { line } } else { Error::NoAddress { found: listed(&cells) } });
    }
    Ok(Layout { columns: cells.into_iter().zip(columns).collect(), delimiter, start: next.0, line: next.1 })
}

/// The delimiter of a first line `sep=;`, which Excel reads and writes, and where that line ends.
fn excel_delimiter(text: &str) -> Option<(u8, usize)> {
    let line = text.split(['\r', '\n']).next().unwrap_or("");
    let bare = line.strip_prefix('"').and_then(|line| line.trim_end_matches([',', ';']).strip_suffix('"')).unwrap_or(line);
    let (key, value) = bare.split_at_checked(4)?;
    let delimiter = *value.as_bytes().first()?;
    let is_alone = value.bytes().skip(1).all(|b| matches!(b, b' ' | b',' | b';'));
    let is_mark = delimiter == b'\t' || (delimiter.is_ascii_punctuation() && delimiter != b'"');
    if !key.eq_ignore_ascii_case("sep=") || !is_mark || !is_alone {
        return None;
    }
    let rest = &text[line.len()..];
    let end = if rest.starts_with("\r\n") { 2 } else { usize::from(!rest.is_empty()) };
    Some((delimiter, line.len() + end))
}

struct Headings {
    delimiter: u8,
    cells: Vec<String>,
    line: usize,
    quotes: Quotes,
    next: (usize, usize),
}

/// The first line that holds more than delimiters, read with one of them.
fn headings(text: &str, delimiter: u8, start: usize, line: usize) -> Headings {
    let mut records = Records::new(text, delimiter, start, line);
    let mut record = StringRecord::new();
    while let Some(place) = records.read(&mut record) {
        if !record.iter().all(|cell| cell.trim_matches(|c: char| c.is_whitespace() || c == ',' || c == ';').is_empty()) {
            let quotes = records.quotes(&place);
            return Headings { delimiter, cells: record.iter().map(shown).collect(), line: place.line, quotes, next: records.position() };
        }
    }
    Headings { delimiter, cells: Vec::new(), line, quotes: Quotes::Sound, next: records.position() }
}

/// A heading on one line, of a length that can be shown.
fn shown(heading: &str) -> String {
    let words = clean(heading);
    words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn listed(cells: &[String]) -> String {
    let mut names: Vec<String> = cells.iter().take(30).map(|cell| format!("{:?}", shortened(cell))).collect();
    if cells.len() > names.len() {
        names.push(format!("and {} more", cells.len() - names.len()));
    }
    names.join(", ")
}

fn shortened(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

fn find(cells: &[String], known: &[&str]) -> Option<usize> {
    cells.iter().position(|cell| known.contains(&bare(cell).as_str()))
}

/// `E-Postadress:` is `epostadress`, `Språk` is `sprak`.
fn bare(heading: &str) -> String {
    let base = heading.nfd().filter(|c| !is_combining_mark(*c));
    base.flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()).collect()
}

fn meanings(cells: &[String]) -> Vec<Column> {
    let first_name = find(cells, FIRST_NAME);
    let last_name = find(cells, LAST_NAME);
    let name = if first_name.or(last_name).is_none() { find(cells, NAME) } else { None };
    let fields = [
        (find(cells, ADDRESS).or_else(|| find(cells, VAGUE_ADDRESS)), Column::Address),
        (first_name, Column::FirstName),
        (last_name, Column::LastName),
        (name, Column::Name),
        (find(cells, LANGUAGE), Column::Language),
    ];
    let mut taken: Vec<String> = Vec::new();
    let meaning = |(at, cell): (usize, &String)| match fields.iter().find(|(place, _)| *place == Some(at)) {
        Some((_, column)) => column.clone(),
        None => {
            let name = attribute(cell, at, &taken);
            taken.push(name.clone());
            Column::Attribute(name)
        }
    };
    cells.iter().enumerate().map(meaning).collect()
}

/// The name of an attribute: a name in a template, and one that no other column has.
fn attribute(heading: &str, at: usize, taken: &[String]) -> String {
    let lower: String = text::visible(&heading.to_lowercase()).into_owned();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut name = shortened(&words.join("_"));
    if name.is_empty() {
        name = format!("column_{}", at + 1);
    }
    // handlebars takes `{{elsewhere}}` for an else, and a name of digits alone for a number.
    if name.starts_with("else") {
        name.insert(0, '_');
    } else if FIELDS.contains(&name.as_str()) || KEYWORDS.contains(&name.as_str()) || name.chars().all(|c| c.is_ascii_digit()) {
        name.push('_');
    }
    let is_free = |name: &String| !taken.contains(name);
    if is_free(&name) {
        return name;
    }
    (2..).map(|n| format!("{name}_{n}")).find(is_free).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that [`attribute`] can make is one that a template can ask for and test.
    #[test]
    fn an_attribute_can_be_used_in_a_template() {
        let mut engine = handlebars::Handlebars::new();
        engine.set_strict_mode(true);
        let words = FIELDS.iter().chain(KEYWORDS).chain(&["else"]).copied();
        let headings = words.chain([
            "Företag",
            "2024",
            "2024 deltog",
            "Elsewhere",
            "This x",
            "Iffy",
            "As x",
            "True x",
            "Null1",
            "1e5",
            "Größe",
            "Город",
            "会社",
            "E–post #2",
            "",
            "@root",
            "{{x}}",
            "_a",
            ".",
        ]);
        for heading in headings {
            let name = attribute(heading, 0, &[]);
            let template = format!("{{{{{name}}}}} {{{{#if {name}}}}}yes {{{{{name}}}}}{{{{/if}}}}");
            let said = engine.render_template(&template, &serde_json::json!({ name.as_str(): "value" }));
            assert_eq!(said.unwrap(), "value yes value", "{heading:?} became {name:?}");
        }
    }

    #[test]
    fn a_keyword_is_not_a_name() {
        assert_eq!(attribute("Log", 0, &[]), "log_");
        assert_eq!(attribute("Ort / Kommun (2024)", 0, &[]), "ort_kommun_2024");
        assert_eq!(attribute("Fo\u{308}retag", 0, &[]), "företag");
        assert_eq!(attribute("Företag", 0, &["företag".into(), "företag_2".into()]), "företag_3");
        assert_eq!(attribute("", 6, &[]), "column_7");
        assert_eq!(attribute(&"lång ".repeat(50), 0, &[]).chars().count(), LONGEST_NAME);
    }
}
