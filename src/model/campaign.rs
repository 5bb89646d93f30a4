//! What is to be sent, and its file form.
//!
//! In: a text with YAML front matter between two lines `---`, and Markdown with handlebars below. Out: a
//! [`CampaignFile`], or every mistake in the front matter with the place it stands at.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde::{Deserialize, Serialize};

use super::inbound::as_words;
use super::schedule::When;

/// What sort of campaign it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Asks for an answer.
    Invitation,
    /// A series to read.
    Newsletter,
}

as_words!(Kind { Invitation => "invitation", Newsletter => "newsletter" });

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Added, never started.
    Draft,
    /// Sends when its time comes.
    Active,
    /// Sends nothing until it is resumed.
    Paused,
    /// Ended by the organiser; it cannot be started again.
    Cancelled,
}

as_words!(State { Draft => "draft", Active => "active", Paused => "paused", Cancelled => "cancelled" });

/// A campaign as its file says it.
#[derive(Clone, Debug)]
pub struct CampaignFile {
    /// Its name: letters, digits and hyphens.
    pub name: String,
    /// Invitation or newsletter.
    pub kind: Kind,
    /// The name of the list it goes to.
    pub list: String,
    /// The subject, a handlebars text.
    pub subject: String,
    /// ISO 639-1 code of the language of its words.
    pub language: String,
    /// When it is sent.
    pub send: When,
    /// `send` as it was written.
    pub send_text: String,
    /// The list that a yes makes the contact a member of.
    pub on_yes: Option<String>,
    /// Markdown with handlebars.
    pub body: String,
    /// The line of the file that the body begins on, counted from 1.
    pub body_line: usize,
    /// Where the subject's value stands in the file, in octets.
    pub subject_at: Range<usize>,
}

/// One thing that is wrong with a campaign file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1 in characters.
    pub column: usize,
    /// What it is about, in octets of the file.
    pub at: Range<usize>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Mistake {
    /// A mistake about a range of octets of a text.
    #[must_use]
    pub fn at(text: &str, at: Range<usize>, message: impl Into<String>) -> Self {
        let start = at.start.min(text.len());
        let before = text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            at: start..at.end.clamp(start, text.len()),
            message: message.into(),
        }
    }

    /// A mistake at a line and column, both counted from 1.
    #[must_use]
    pub fn at_line(text: &str, line: usize, column: usize, message: impl Into<String>) -> Self {
        let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = text.get(start..).unwrap_or("").lines().next().unwrap_or("");
        let offset = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(n, _)| n);
        Self::at(text, start + offset..start + rest.len(), message)
    }
}

/// The keys front matter may have.
const KEYS: [&str; 7] = ["name", "kind", "list", "subject", "language", "send", "on_yes"];

/// One `key: value` of the front matter.
struct Entry {
    key: String,
    key_at: Range<usize>,
    value: String,
    value_at: Range<usize>,
}

impl CampaignFile {
    /// Reads a campaign file.
    ///
    /// # Errors
    /// Every mistake there is in the front matter, in the order of the file; never an empty list.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let (front, body_at) = front_matter(text).map_err(|mistake| vec![mistake])?;
        let entries = entries(text, front).map_err(|mistake| vec![mistake])?;
        let mut mistakes = unknown_keys(text, &entries);
        let file = Self::from_entries(text, &entries, body_at, &mut mistakes);
        mistakes.sort_by_key(|mistake| mistake.at.start);
        match file {
            Some(file) if mistakes.is_empty() => Ok(file),
            _ => Err(mistakes),
        }
    }

    fn from_entries(text: &str, entries: &[Entry], body_at: usize, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let mut fields = Fields { text, entries, mistakes };
        let name = fields.required("name").and_then(|e| fields.checked(e, is_name, "a name has letters, digits, - and _ only"));
        let kind = fields.required("kind").and_then(|e| {
            let kind = Kind::from_word(&e.value);
            if kind.is_none() {
                fields.mistake(e, format!("there is no kind \"{}\"; write invitation or newsletter", e.value));
            }
            kind
        });
        let list = fields.required("list").and_then(|e| fields.checked(e, is_name, "a list's name has letters, digits, - and _ only"));
        let subject_entry = fields.required("subject");
        let subject = subject_entry.and_then(|e| fields.checked(e, |s| !s.chars().any(char::is_control), "a subject is one line"));
        let language = fields.required("language").and_then(|e| fields.checked(e, is_language, "a language is a code as sv or en"));
        let send_entry = fields.required("send");
        let send = send_entry.and_then(|e| When::parse(&e.value).map_err(|message| fields.mistake(e, message)).ok());
        let on_yes = fields.get("on_yes").map(|e| match e.value.strip_prefix("join ").map(str::trim) {
            Some(list) if is_name(list) => Some(list.to_owned()),
            _ => {
                fields.mistake(e, format!("\"{}\" is nothing a yes can do; write: join LIST", e.value));
                None
            }
        });
        let body = text.get(body_at..).unwrap_or("");
        if body.trim().is_empty() {
            fields.mistakes.push(Mistake::at(text, body_at..text.len(), "the invitation has no words; write it below the second ---"));
        }
        Some(Self {
            name: name?,
            kind: kind?,
            list: list?,
            subject: subject?,
            language: language?,
            send: send?,
            send_text: send_entry?.value.clone(),
            on_yes: on_yes.flatten(),
            body: body.to_owned(),
            body_line: text.get(..body_at).unwrap_or("").matches('\n').count() + 1,
            subject_at: subject_entry?.value_at.clone(),
        })
    }
}

struct Fields<'a> {
    text: &'a str,
    entries: &'a [Entry],
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn required(&mut self, key: &str) -> Option<&'a Entry> {
        let entry = self.get(key).filter(|entry| !entry.value.is_empty());
        if entry.is_none() {
            self.mistakes.push(Mistake::at(self.text, 0..3, format!("\"{key}\" is missing; add a line {key}: … to the front matter")));
        }
        entry
    }

    fn mistake(&mut self, entry: &Entry, message: String) {
        self.mistakes.push(Mistake::at(self.text, entry.value_at.clone(), message));
    }

    fn checked(&mut self, entry: &Entry, good: impl Fn(&str) -> bool, rule: &str) -> Option<String> {
        if good(&entry.value) {
            return Some(entry.value.clone());
        }
        self.mistake(entry, format!("\"{}\" will not do for {}: {rule}", entry.value.escape_default(), entry.key));
        None
    }
}

/// Whether a text can name a campaign or a list.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

fn is_language(text: &str) -> bool {
    text.len() == 2 && text.chars().all(|c| c.is_ascii_lowercase())
}

/// Where the front matter stands, and where the body begins, in octets.
fn front_matter(text: &str) -> Result<(Range<usize>, usize), Mistake> {
    let bom = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut at = bom;
    let mut start = None;
    for line in text.get(bom..).unwrap_or("").split_inclusive('\n') {
        let is_fence = line.trim_end() == "---";
        match start {
            None if is_fence => start = Some(at + line.len()),
            None => return Err(Mistake::at(text, at..at + line.len(), "the file must begin with a line --- and then name: …")),
            Some(start) if is_fence => return Ok((start..at, at + line.len())),
            Some(_) => {}
        }
        at += line.len();
    }
    Err(Mistake::at(text, 0..text.len().min(3), "the front matter has no end; close it with a line ---"))
}

/// The front matter's keys and values, by the YAML parser's events: they carry the place of each.
fn entries(text: &str, front: Range<usize>) -> Result<Vec<Entry>, Mistake> {
    let yaml = text.get(front.clone()).unwrap_or("");
    let offsets: Vec<usize> = yaml.char_indices().map(|(n, _)| n).chain([yaml.len()]).collect();
    let octet = |index: usize| front.start + offsets.get(index).copied().unwrap_or(yaml.len());
    let mut found: Vec<Entry> = Vec::new();
    let mut key: Option<(String, Range<usize>)> = None;
    let mut depth = 0;
    for event in Parser::new_from_str(yaml) {
        let (event, span) = event.map_err(|error| {
            let at = octet(error.marker().index());
            Mistake::at(text, at..at + 1, format!("{}; a value with : or {{ in it needs \"…\" around it", error.info()))
        })?;
        let at = octet(span.start.index())..octet(span.end.index());
        match event {
            Event::MappingStart(..) if depth == 0 => depth = 1,
            Event::MappingEnd => depth -= 1,
            Event::Scalar(value, style, ..) if depth == 1 => match key.take() {
                None => key = Some((value.into_owned(), at)),
                Some((name, key_at)) => {
                    let empty = style == ScalarStyle::Plain && (value == "~" || value.is_empty());
                    let value = if empty { String::new() } else { value.into_owned() };
                    found.push(Entry { key: name, key_at, value, value_at: at });
                }
            },
            Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(_) | Event::Scalar(..) => {
                return Err(Mistake::at(
                    text,
                    at,
                    "a value is one text here; write key: value, with \"…\" around a value that begins with { or [",
                ));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn unknown_keys(text: &str, entries: &[Entry]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        if !KEYS.contains(&entry.key.as_str()) {
            let message = format!("there is no key \"{}\"; the keys are {}", entry.key.escape_default(), KEYS.join(", "));
            mistakes.push(Mistake::at(text, entry.key_at.clone(), message));
        } else if entries.iter().take(n).any(|earlier| earlier.key == entry.key) {
            mistakes.push(Mistake::at(text, entry.key_at.clone(), format!("\"{}\" stands here twice; keep one", entry.key)));
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "---\nname: natverk-2026\nkind: invitation            # or newsletter\nlist: chefer\nsubject: \"{{first_name}}, vill du vara med i ett nätverk?\"\nlanguage: sv\nsend: 2026-12-01 09:00      # wall time\non_yes: join natverket\n---\nHej {{first_name}}!\n";

    #[test]
    fn the_example_is_read() {
        let file = CampaignFile::parse(GOOD).unwrap();
        assert_eq!((file.name.as_str(), file.kind, file.list.as_str()), ("natverk-2026", Kind::Invitation, "chefer"));
        assert_eq!(file.subject, "{{first_name}}, vill du vara med i ett nätverk?");
        assert_eq!(file.on_yes.as_deref(), Some("natverket"));
        assert_eq!((file.body.as_str(), file.body_line), ("Hej {{first_name}}!\n", 10));
        assert!(GOOD[file.subject_at.clone()].contains("first_name"));
        assert!(CampaignFile::parse(&GOOD.replace('\n', "\r\n")).is_ok());
        assert!(CampaignFile::parse(&GOOD.replace("2026-12-01 09:00 ", "\"0 9 1 * *\"")).unwrap().send.recurs());
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let text = "---\nname: natverk 2026\nkind: invitaton\nlist: chefer\nsubjekt: Hej\nlanguage: swedish\nsend: 0 9 31 2 *\non_yes: dance\n---\nHej\n";
        let mistakes = CampaignFile::parse(text).unwrap_err();
        let places: Vec<_> = mistakes.iter().map(|m| (m.line, m.column)).collect();
        assert_eq!(places, [(1, 1), (2, 7), (3, 7), (5, 1), (6, 11), (7, 7), (8, 9)], "{mistakes:#?}");
        assert!(mistakes[0].message.contains("\"subject\" is missing"));
        assert!(mistakes[3].message.contains("subjekt"));
    }

    #[test]
    fn what_is_no_campaign_file_says_why() {
        for (text, part) in [
            ("", "no end"),
            ("Hej\n", "must begin"),
            ("---\nname: x\n", "no end"),
            ("---\nsubject: {{first_name}}\n---\nx", "\"…\""),
            ("---\nname: [a, b]\n---\nx", "one text"),
            ("---\nname: a\nname: b\n---\nx", "twice"),
        ] {
            let mistakes = CampaignFile::parse(text).unwrap_err();
            assert!(mistakes.iter().any(|m| m.message.contains(part)), "{text:?}: {mistakes:?}");
        }
    }

    #[test]
    fn a_mistake_points_into_the_body() {
        let mistake = Mistake::at_line(GOOD, 10, 5, "x");
        assert_eq!((mistake.line, mistake.column), (10, 5));
        assert_eq!(&GOOD[mistake.at], "{{first_name}}!");
    }
}
