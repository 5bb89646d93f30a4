//! Who lives in the demo, what they are asked, and what they answer when nobody is looking.
//!
//! Everybody is invented and lives on the example domains (RFC 2606 §3). The texts are files in `templates/demo/`, so
//! that they can be read and bettered as texts; a test holds them together.

use csv::StringRecord;

use super::office::{Person, Role};
use crate::model::inbound::Intent;

/// Where the organiser of the sample campaigns has her mailbox.
pub const ORGANISER: &str = "monica.berg@example.org";

/// Her name.
pub const ORGANISER_NAME: &str = "Monica Berg";

/// A list of contacts and the campaign that is sent to it, both in the form of their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The name of the list, as the campaign names it.
    pub list: &'static str,
    /// The contacts, as CSV with a head line: `address,name,language,time_zone,company`.
    pub contacts: &'static str,
    /// The file name of the campaign.
    pub file_name: &'static str,
    /// The campaign: front matter and Markdown.
    pub campaign: &'static str,
}

/// What the demo begins with: eight Swedish contacts and four who write English, each group with its invitation.
pub const SAMPLES: [Sample; 2] = [
    Sample {
        list: "chefer",
        contacts: include_str!("../../templates/demo/chefer.csv"),
        file_name: "natverk-2026.md",
        campaign: include_str!("../../templates/demo/natverk-2026.md"),
    },
    Sample {
        list: "managers",
        contacts: include_str!("../../templates/demo/managers.csv"),
        file_name: "network-2026.md",
        campaign: include_str!("../../templates/demo/network-2026.md"),
    },
];

const PEOPLE: &str = include_str!("../../templates/demo/people.csv");
const ANSWERS: &str = include_str!("../../templates/demo/answers.csv");

/// What should become of a built-in recipient's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is understood so.
    Intent(Intent),
    /// It is known for a machine's, and is no answer. It is sent with [`super::reply::absence`].
    AutoReply,
    /// None is sent.
    Silent,
}

impl Expected {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "silent" => Some(Self::Silent),
            "auto_reply" => Some(Self::AutoReply),
            word => Intent::from_word(word).map(Self::Intent),
        }
    }

    /// The word for it in JSON: that of the intent, `auto_reply` or `silent`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent(intent) => intent.as_str(),
            Self::AutoReply => "auto_reply",
            Self::Silent => "silent",
        }
    }
}

/// What one recipient answers by themselves in `svar demo --headless`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadlessAnswer {
    /// Who answers.
    pub address: String,
    /// In these words; empty for who stays silent.
    pub text: String,
    /// What should be understood.
    pub expected: Expected,
    /// How many people the writer says they bring; `None` where nothing is said.
    pub guests: Option<u32>,
}

/// Everybody with a mailbox: the recipients in the order of their lists, the organiser last.
#[must_use]
pub fn people() -> Vec<Person> {
    let recipients = SAMPLES.iter().flat_map(|sample| rows(sample.contacts));
    let mut people: Vec<Person> = recipients.map(|row| person(cell(&row, 0), cell(&row, 1), cell(&row, 2), Role::Recipient)).collect();
    people.push(person(ORGANISER, ORGANISER_NAME, "sv", Role::Organiser));
    people
}

/// One answer for each recipient: yes with and without guests, no, maybe, a question, a goodbye, an absence, silence.
#[must_use]
pub fn headless_answers() -> Vec<HeadlessAnswer> {
    let read = |row: StringRecord| {
        let expected = Expected::from_word(cell(&row, 1))?;
        Some(HeadlessAnswer {
            address: cell(&row, 0).to_owned(),
            text: cell(&row, 3).to_owned(),
            expected,
            guests: cell(&row, 2).parse().ok(),
        })
    };
    rows(ANSWERS).into_iter().filter_map(read).collect()
}

fn person(address: &str, name: &str, language: &str, role: Role) -> Person {
    let portraits = rows(PEOPLE).into_iter().find(|row| cell(row, 0) == address).unwrap_or_default();
    Person {
        address: address.to_owned(),
        name: name.to_owned(),
        language: language.to_owned(),
        portrait: cell(&portraits, 1).to_owned(),
        portrait_sv: cell(&portraits, 2).to_owned(),
        role,
    }
}

/// The rows under the head line; the files are embedded, and a test reads each of them.
fn rows(text: &str) -> Vec<StringRecord> {
    csv::Reader::from_reader(text.as_bytes()).into_records().filter_map(Result::ok).collect()
}

fn cell(row: &StringRecord, at: usize) -> &str {
    row.get(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn everybody_has_a_portrait_and_lives_on_an_example_domain() {
        let people = people();
        assert_eq!((people.iter().filter(|p| p.language == "sv").count(), people.len()), (9, 13));
        for p in &people {
            assert!(!p.portrait.is_empty() && !p.portrait_sv.is_empty(), "{}", p.address);
            let address = crate::model::address::Address::parse(&p.address).unwrap();
            assert!(["example.org", "example.com", "example.net"].contains(&address.domain()), "{}", p.address);
        }
        assert_eq!(people.iter().map(|p| &p.address).collect::<HashSet<_>>().len(), people.len());
    }

    #[test]
    fn every_recipient_has_one_headless_answer_and_every_kind_occurs() {
        let answers = headless_answers();
        let people = people();
        let recipients: Vec<_> = people.iter().filter(|p| p.role == Role::Recipient).map(|p| p.address.as_str()).collect();
        assert_eq!(answers.iter().map(|a| a.address.as_str()).collect::<Vec<_>>(), recipients);
        let words: HashSet<_> = answers.iter().map(|a| a.expected.as_str()).collect();
        assert_eq!(words, HashSet::from(["yes", "no", "maybe", "question", "unsubscribe", "auto_reply", "silent"]));
        for a in &answers {
            assert_eq!(a.text.is_empty(), a.expected == Expected::Silent, "{}", a.address);
        }
        assert_eq!(answers[0].guests, Some(1));
    }

    #[test]
    fn a_campaign_goes_to_its_own_list_and_asks_for_known_fields_only() {
        for sample in SAMPLES {
            assert!(sample.campaign.contains(&format!("\nlist: {}\n", sample.list)));
            assert!(sample.campaign.contains(&format!("\nname: {}\n", sample.file_name.trim_end_matches(".md"))));
            for field in sample.campaign.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
                assert!(["first_name", "company", "organiser.name"].contains(&field), "{field}");
            }
            for row in rows(sample.contacts) {
                assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
            }
        }
    }
}
