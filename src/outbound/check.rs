//! Checks a campaign before it is started, and each edition before its first mail leaves: every mistake, with line and column,
//! and the contact it shows with.
//!
//! Everybody is rendered once, page by page on all processors, so that what one of them lacks holds the whole edition and not
//! its second half.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Arc, LazyLock};

use aho_corasick::AhoCorasick;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::task::JoinSet;

use super::layout::Layout;
use super::outbox::{Prepared, organiser};
use super::render::{Fault, Rendered, Renderer, tags};
use crate::config::Sender;
use crate::model::campaign::{CampaignFile, Mistake};
use crate::model::contact::{Contact, Person};
use crate::model::schedule::Occurrence;
use crate::store::{Edition, Error, Store};

/// How many members are read at a time.
const PAGE: i64 = 500;
/// Fields that every template has, whoever the contact is.
const BUILT_IN: [&str; 7] = ["organiser", "campaign", "language", "opt_out", "first_name", "last_name", "subject"];
/// Words that tell how to opt out, where a layout of the organiser's own does not use `{{opt_out}}`. Capitals of ASCII do not
/// matter.
const OPT_OUT_WORDS: [&str; 18] = [
    "avregistrera",
    "unsubscribe",
    "opt out",
    "opt-out",
    "avsluta prenumeration",
    "avmeld",
    "afmeld",
    "abmelden",
    "désinscrire",
    "dÉsinscrire",
    "desinscrire",
    "se désabonner",
    "se dÉsabonner",
    "darse de baja",
    "responda baja",
    "uitschrijven",
    "wypisz",
    "vastaa peru",
];

static OPT_OUT: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(OPT_OUT_WORDS).ok());

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
    let renderer = Arc::new(move |person: &Person| renderer.render(person));
    let found = render_all(store, Audience::List(&file.list), renderer).await?;
    let recipients = found.recipients;
    let mut mistakes = found.into_mistakes(&file, source);
    if recipients > 0 {
        mistakes.extend(asked_of_nobody(store, &file, source).await?);
    }
    Ok(if mistakes.is_empty() { Ok(Passed { file, recipients }) } else { Err(mistakes) })
}

/// Checks an edition against those to whom it waits to be sent: how many they are.
///
/// # Errors
/// The outer error where the database fails; the inner one says what is wrong, and with whom.
pub async fn edition(store: &Store, sender: &Sender, edition: &Edition) -> Result<Result<usize, String>, Error> {
    let prepared = match Prepared::new(edition, sender) {
        Ok(prepared) => prepared,
        Err(mistake) => return Ok(Err(mistake)),
    };
    let render = Arc::new(move |person: &Person| prepared.words(person));
    let found = render_all(store, Audience::Edition(edition.id), render).await?;
    let recipients = found.recipients;
    let mistakes = match CampaignFile::parse(&edition.source) {
        Ok(file) if recipients > 0 => found.into_mistakes(&file, &edition.source),
        _ => Vec::new(),
    };
    Ok(match mistakes.as_slice() {
        [] => Ok(recipients),
        [only] => Err(only.message.clone()),
        [first, others @ ..] => Err(format!("{}; and {} more mistakes", first.message, others.len())),
    })
}

/// Who is rendered.
#[derive(Clone, Copy)]
enum Audience<'a> {
    /// The members of a list who may be mailed.
    List(&'a str),
    /// Those to whom an edition waits to be sent.
    Edition(i64),
}

impl Audience<'_> {
    async fn page(self, store: &Store, after: i64) -> Result<Vec<Contact>, Error> {
        match self {
            Self::List(list) => store.list_members(list, after, PAGE).await,
            Self::Edition(id) => store.list_recipients(id, after, PAGE).await,
        }
    }
}

/// Renders page after page of contacts, each on a thread of its own while the next is read.
async fn render_all<R>(store: &Store, audience: Audience<'_>, render: Arc<R>) -> Result<Found, Error>
where
    R: Fn(&Person) -> Result<Rendered, Fault> + Send + Sync + 'static,
{
    let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
    let (mut found, mut after, mut pages) = (Found::default(), 0, JoinSet::new());
    loop {
        let contacts = audience.page(store, after).await?;
        let Some(last) = contacts.last() else { break };
        after = last.id;
        if pages.len() >= at_once
            && let Some(rendered) = pages.join_next().await
        {
            found.add(rendered.map_err(|_| Error::Gone)?);
        }
        let render = render.clone();
        pages.spawn_blocking(move || {
            let mut found = Found::default();
            for contact in &contacts {
                found.take(render(&contact.person), contact);
            }
            found
        });
    }
    while let Some(rendered) = pages.join_next().await {
        found.add(rendered.map_err(|_| Error::Gone)?);
    }
    Ok(found)
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
    /// A field and those who lack it: the first, by id and address, and how many.
    lacking: BTreeMap<String, (i64, String, usize)>,
    others: Vec<String>,
    no_way_out: bool,
}

/// Of other faults so many are told.
const OTHERS: usize = 20;

impl Found {
    fn take(&mut self, rendered: Result<Rendered, Fault>, contact: &Contact) {
        self.recipients += 1;
        match rendered {
            Ok(words) => self.no_way_out |= !tells_how_to_opt_out(&words.text) || !tells_how_to_opt_out(&words.html),
            Err(Fault::Missing { field, .. }) => {
                self.lacking.entry(field).or_insert_with(|| (contact.id, contact.person.address.to_string(), 0)).2 += 1;
            }
            Err(fault) if self.others.len() < OTHERS => self.others.push(fault.to_string()),
            Err(_) => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.recipients += other.recipients;
        for (field, (id, address, count)) in other.lacking {
            let so_far = self.lacking.entry(field).or_insert_with(|| (id, address.clone(), 0));
            so_far.2 += count;
            if id < so_far.0 {
                (so_far.0, so_far.1) = (id, address);
            }
        }
        self.others.extend(other.others);
        self.others.truncate(OTHERS);
        self.no_way_out |= other.no_way_out;
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
        for (field, (_, first, count)) in self.lacking {
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
    OPT_OUT.as_ref().is_some_and(|words| words.is_match(text))
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
