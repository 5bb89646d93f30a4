//! Checks a campaign before it is started: every mistake, with line and column, and the contact it shows with.
//!
//! Everybody on the list is rendered once, so that a field somebody lacks is known before the first mail leaves.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::layout::Layout;
use super::outbox::organiser;
use super::render::{Fault, Renderer, tags};
use crate::config::Sender;
use crate::model::campaign::{CampaignFile, Mistake};
use crate::model::schedule::Occurrence;
use crate::store::{Error, Store};

/// How many members are read at a time.
const PAGE: i64 = 500;
/// Fields that every template has, whoever the contact is.
const BUILT_IN: [&str; 7] = ["organiser", "campaign", "language", "opt_out", "first_name", "last_name", "subject"];
/// Words that tell how to opt out, where a layout of the organiser's own does not use `{{opt_out}}`.
const OPT_OUT_WORDS: [&str; 16] = [
    "avregistrera",
    "unsubscribe",
    "opt out",
    "opt-out",
    "avsluta prenumeration",
    "avmeld",
    "afmeld",
    "abmelden",
    "désinscrire",
    "desinscrire",
    "se désabonner",
    "darse de baja",
    "responda baja",
    "uitschrijven",
    "wypisz",
    "vastaa peru",
];

/// A campaign that passed, and how many people it would go to.
#[derive(Debug)]
pub struct Passed {
    /// The campaign.
    pub file: CampaignFile,
    /// Members of its list who may be mailed.
    pub recipients: usize,
}

/// Checks a campaign's source against the list it goes to.
///
/// # Errors
/// The outer error where the database fails; the inner one holds every mistake, in the order of the file.
pub async fn campaign(store: &Store, sender: &Sender, layout: &Layout, source: &str) -> Result<Result<Passed, Vec<Mistake>>, Error> {
    let file = match CampaignFile::parse(source) {
        Ok(file) => file,
        Err(mistakes) => return Ok(Err(mistakes)),
    };
    let renderer = match Renderer::new(&file, source, layout, &organiser(sender)) {
        Ok(renderer) => renderer,
        Err(mistakes) => return Ok(Err(mistakes)),
    };
    let mut found = Found::default();
    let mut after = 0;
    loop {
        let members = store.list_members(&file.list, after, PAGE).await?;
        let Some(last) = members.last() else { break };
        after = last.id;
        for contact in &members {
            found.take(renderer.render(&contact.person).map(|rendered| (rendered.text, rendered.html)), contact.person.address.as_str());
        }
    }
    let recipients = found.recipients;
    let mut mistakes = found.into_mistakes(&file, source);
    if recipients > 0 {
        mistakes.extend(asked_of_nobody(store, &file, source).await?);
    }
    Ok(if mistakes.is_empty() { Ok(Passed { file, recipients }) } else { Err(mistakes) })
}

/// When a campaign is first sent, if it is started `now`.
///
/// # Errors
/// The mistake in `send` where that never comes or has passed (S-166).
pub fn first_firing(file: &CampaignFile, source: &str, zone: Tz, now: DateTime<Utc>) -> Result<Occurrence, Mistake> {
    let mistake =
        |what: &str| Mistake::at(source, place_of_value(source, "send", &file.send_text), format!("send: {} {what}", file.send_text));
    let next = file.send.next(zone, now, now).ok_or_else(|| mistake("never comes"))?;
    if next.at < now { Err(mistake("has passed; change it, or write: send: now")) } else { Ok(next) }
}

/// Conditions on a field that nobody on the list has, which is more likely a slip of the pen than meant: the engine
/// takes a missing field in a condition for an empty one, so a misspelt name would drop the words for everybody.
async fn asked_of_nobody(store: &Store, file: &CampaignFile, source: &str) -> Result<Vec<Mistake>, Error> {
    let mut asked: BTreeMap<&str, std::ops::Range<usize>> = BTreeMap::new();
    for (at, tag) in tags(source) {
        let words: Vec<&str> = tag.trim_matches(['{', '}', '~']).split_whitespace().collect();
        if let ["#if" | "#unless" | "#with" | "#each", field] = words[..]
            && !BUILT_IN.contains(&field.split('.').next().unwrap_or(field))
        {
            asked.entry(field).or_insert(at..at + tag.len());
        }
    }
    let mut after = 0;
    while !asked.is_empty() {
        let members = store.list_members(&file.list, after, PAGE).await?;
        let Some(last) = members.last() else { break };
        after = last.id;
        for contact in &members {
            let fields = contact.person.fields();
            asked.retain(|field, _| !fields.contains_key(*field));
        }
    }
    let mistake = |(field, at): (&str, _)| {
        Mistake::at(source, at, format!("nobody on the list has \"{field}\"; correct the name, add the column, or leave the condition out"))
    };
    Ok(asked.into_iter().map(mistake).collect())
}

/// What rendering everybody brought to light.
#[derive(Default)]
struct Found {
    recipients: usize,
    /// A field and those who lack it: the first, and how many.
    lacking: BTreeMap<String, (String, usize)>,
    others: Vec<String>,
    no_way_out: bool,
}

impl Found {
    fn take(&mut self, rendered: Result<(String, String), Fault>, address: &str) {
        self.recipients += 1;
        match rendered {
            Ok((text, html)) => self.no_way_out |= !tells_how_to_opt_out(&text) || !tells_how_to_opt_out(&html),
            Err(Fault::Missing { field, .. }) => {
                self.lacking.entry(field).or_insert_with(|| (address.to_owned(), 0)).1 += 1;
            }
            Err(fault) if self.others.len() < 20 => self.others.push(fault.to_string()),
            Err(_) => {}
        }
    }

    fn into_mistakes(self, file: &CampaignFile, source: &str) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.recipients == 0 {
            let at = place_of_value(source, "list", &file.list);
            mistakes.push(Mistake::at(
                source,
                at,
                format!("the list \"{0}\" has nobody who may be mailed; svar contacts import FILE --list {0}", file.list),
            ));
        }
        for (field, (first, count)) in self.lacking {
            let others = if count > 1 { format!(" and {} more lack", count - 1) } else { " lacks".to_owned() };
            let message =
                format!("{{{{{field}}}}}: {first}{others} it; add the column, or write {{{{#if {field}}}}}…{{{{/if}}}} around it");
            mistakes.push(Mistake::at(source, place_of_field(source, &field), message));
        }
        for fault in self.others {
            mistakes.push(Mistake::at(source, 0..0, fault));
        }
        if self.no_way_out {
            let message =
                "no way to opt out: the layout lacks {{opt_out}} in its text or its HTML; keep {{> footer.txt}} and {{> footer.html}}";
            mistakes.push(Mistake::at(source, 0..3.min(source.len()), message));
        }
        mistakes.sort_by_key(|mistake| mistake.at.start);
        mistakes
    }
}

/// S-30, S-183.
fn tells_how_to_opt_out(text: &str) -> bool {
    let text = text.to_lowercase();
    OPT_OUT_WORDS.iter().any(|word| text.contains(word))
}

fn place_of_field(source: &str, field: &str) -> std::ops::Range<usize> {
    let is_it =
        |tag: &str| tag.trim_matches(['{', '}', '~']).split(|c: char| !(c.is_alphanumeric() || "_.-".contains(c))).any(|w| w == field);
    tags(source).find(|(_, tag)| is_it(tag)).map_or(0..0, |(at, tag)| at..at + tag.len())
}

fn place_of_value(source: &str, key: &str, value: &str) -> std::ops::Range<usize> {
    let line = source.match_indices(&format!("{key}:")).find(|(at, _)| *at == 0 || source.as_bytes().get(at - 1) == Some(&b'\n'));
    line.and_then(|(at, _)| source.get(at..).and_then(|rest| rest.find(value)).map(|n| at + n..at + n + value.len())).unwrap_or(0..0)
}
