//! Tells a machine by what it says, where no field does.
//!
//! In: subject and text; the words are data (`words/`). Out: the rule and the words that show it. Three strengths: words that
//! no person writes; words that none begins a sentence with; words that a person writes too, of which two kinds are needed
//! in a text that quotes nothing and in which nobody answers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::LOOKED_AT;
use crate::inbound::intent::without_prefixes;
use crate::inbound::parse::Parsed;
use crate::inbound::quote;
use crate::inbound::words::{ALL, Found, Phrasebook, Words, fold};

/// Characters of a text in which its quotes are sought.
const CUT_FROM: usize = 20_000;
/// Characters of a subject that are looked at.
const SUBJECT_LOOKED_AT: usize = 500;
/// A line this short was ended by its writer and not by the width of the page.
const SHORT: usize = 40;
/// The machines that ask questions: whether this was helpful.
const TICKET: &str = "ticket";

static BOUNCES: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| vec![&w.bounce.phrases]));
static MACHINES: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| vec![&w.auto.phrases, &w.auto.challenges]));
static CHALLENGES: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| vec![&w.auto.challenges]));
static ANSWERS: LazyLock<Phrasebook> = LazyLock::new(|| Phrasebook::of(|w| vec![&w.auto.answers]));
static TOGETHER: LazyLock<Phrasebook> =
    LazyLock::new(|| Phrasebook::of(|w| w.auto.together.values().flatten().map(Vec::as_slice).collect()));

/// A subject that begins so, with nothing or more than a word after it. Brackets before it do not count.
pub(super) fn subject_of(subject: &str, of: fn(&Words) -> &[String]) -> Option<(String, String)> {
    let folded = fold(subject);
    let bare = folded.trim_start_matches(|c: char| !c.is_alphanumeric());
    let begins = |s: &str| bare.strip_prefix(s).is_some_and(|rest| s.ends_with(':') || !rest.starts_with(char::is_alphanumeric));
    ALL.iter().find_map(|w| {
        let found = of(w).iter().find(|s| begins(s))?;
        Some((format!("{}.subject", w.language), found.clone()))
    })
}

/// What a mail system says of mail that it could not deliver, in a folded text.
pub(super) fn bounce_in(text: &str) -> Option<(String, String)> {
    let (language, _, words) = BOUNCES.find(text).next()?;
    Some((format!("{language}.phrase"), words.to_owned()))
}

/// What a filter says that wants something of the sender, in a folded text.
pub(super) fn challenge_in(text: &str) -> Option<(String, String)> {
    let (language, _, words) = CHALLENGES.find(text).next()?;
    Some((format!("{language}.challenge"), words.to_owned()))
}

/// What a message says, folded, less what it quotes.
#[derive(Debug)]
pub(super) struct Said {
    /// Its start, signature and all.
    text: String,
    /// Where in it lines begin that begin a sentence.
    begins: Vec<usize>,
    /// The same without signature and disclaimer, after the subject.
    own: String,
    /// The same, less the subject and where the text names it.
    answer: String,
    quotes: bool,
}

impl Said {
    pub(super) fn of(parsed: &Parsed) -> Self {
        let looked_at: String = parsed.text.chars().take(CUT_FROM).collect();
        let (unquoted, quotes) = quote::unquoted(&looked_at);
        let unquoted: String = unquoted.chars().take(LOOKED_AT).collect();
        let name = parsed.from_name.as_deref().or(parsed.from.as_deref()).unwrap_or_default();
        let words = fold(&quote::cut(&unquoted, name, None));
        let subject: String = parsed.subject.chars().take(SUBJECT_LOOKED_AT).collect();
        let own = format!("{} {words}", fold(&own_subject(&subject)));
        let answer = without_subject(words, &answered_subject(&subject));
        let (text, begins) = folded_lines(&unquoted);
        Self { text, begins, own, answer, quotes }
    }

    /// The rule and the words that show a machine.
    pub(super) fn by_machine(&self) -> Option<(String, String)> {
        self.phrase().or_else(|| self.together())
    }

    fn phrase(&self) -> Option<(String, String)> {
        let answers = self.answers();
        // a footer may speak of its machine below a person's answer
        let found = MACHINES.find_placed(&self.text).find(|f| !(f.at_start && answers) && self.counts(f))?;
        let rule = if found.group == 1 { "challenge" } else { "phrase" };
        Some((format!("{}.{rule}", found.language), found.words.to_owned()))
    }

    fn counts(&self, found: &Found<'_>) -> bool {
        is_word_start(&self.text, found.at) && (!found.at_start || self.begins_sentence(found.at))
    }

    fn begins_sentence(&self, at: usize) -> bool {
        self.begins.contains(&at) || starts_after(&self.text[..at])
    }

    /// Somebody answers, or speaks of the invitation.
    fn answers(&self) -> bool {
        let alone =
            |f: &Found<'_>| starts_after(&self.answer[..f.at]) && !self.answer[f.at + f.words.len()..].starts_with(char::is_alphanumeric);
        ANSWERS.find_placed(&self.answer).any(|f| is_word_start(&self.answer, f.at) && (!f.at_start || alone(&f)))
    }

    /// Words that a person writes too, of kinds that give a machine away together.
    fn together(&self) -> Option<(String, String)> {
        if self.quotes || self.answers() {
            return None;
        }
        let mut found: BTreeMap<(&str, &str), BTreeMap<usize, &str>> = BTreeMap::new();
        for f in TOGETHER.find_placed(&self.own).filter(|f| is_word_start(&self.own, f.at)) {
            let asks = |name: &str| self.answer.contains('?') && name != TICKET;
            if let Some((name, kind)) = kind_of(f.language, f.group).filter(|(name, _)| !asks(name)) {
                found.entry((f.language, name)).or_default().entry(kind).or_insert(f.words);
            }
        }
        let ((language, name), words) = found.into_iter().find(|((language, name), words)| suffices(language, name, words))?;
        let words: Vec<&str> = words.into_values().collect();
        Some((format!("{language}.{name}"), words.join(" … ")))
    }
}

/// The subject where it is the writer's own, and else no more than the marks of a ticket system.
fn own_subject(subject: &str) -> String {
    if without_prefixes(subject).len() == subject.trim().len() {
        return subject.to_owned();
    }
    let marks = subject.split_inclusive(']').filter_map(|part| part.rfind('[').map(|at| &part[at..]));
    marks.filter(|mark| mark.ends_with(']')).collect()
}

/// The subject of the mail that is answered, folded: what follows the prefixes, whatever a ticket system set before them.
fn answered_subject(subject: &str) -> String {
    let unmarked = subject.rsplit_once(']').map_or(subject, |(_, after)| after);
    let bare = without_prefixes(unmarked);
    let folded = fold(bare);
    if bare.len() < unmarked.trim().len() { folded } else { String::new() }
}

/// Machines name the mail they answer, in quotation marks or after a label: those words are not theirs.
fn without_subject(text: String, subject: &str) -> String {
    if subject.is_empty() {
        return text;
    }
    let named = [format!("\"{subject}"), format!("“{subject}"), format!("„{subject}"), format!("«{subject}"), format!(": {subject}")];
    named.iter().fold(text, |text, name| text.replace(name, " "))
}

/// A text folded as a whole, and where in it a line begins after a line that its writer ended.
fn folded_lines(text: &str) -> (String, Vec<usize>) {
    let (mut out, mut begins, mut ended) = (String::new(), Vec::new(), true);
    for line in text.lines().map(fold) {
        if !line.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            if ended {
                begins.push(out.len());
            }
            out.push_str(&line);
        }
        ended = line.len() < SHORT || line.ends_with(|c: char| !c.is_alphanumeric());
    }
    (out, begins)
}

/// A sentence may begin after this.
fn starts_after(before: &str) -> bool {
    let before = before.trim_end();
    before.is_empty() || before.ends_with(|c: char| !c.is_alphanumeric() && c != ',')
}

fn is_word_start(text: &str, at: usize) -> bool {
    let inside = |c: char| text[..at].ends_with(char::is_alphanumeric) && c.is_alphanumeric();
    !text[at..].chars().next().is_some_and(inside)
}

/// Which kind of mail a group belongs to, and its number there.
fn kind_of(language: &str, group: usize) -> Option<(&'static str, usize)> {
    let words = ALL.iter().find(|w| w.language == language)?;
    let named = words.auto.together.iter().flat_map(|(name, groups)| (0..groups.len()).map(move |n| (name.as_str(), n)));
    named.into_iter().nth(group)
}

/// The first group and the second, or the first and all that come later.
fn suffices(language: &str, name: &str, found: &BTreeMap<usize, &str>) -> bool {
    let groups = ALL.iter().find(|w| w.language == language).and_then(|w| w.auto.together.get(name)).map_or(0, Vec::len);
    let has = |group: usize| found.contains_key(&group);
    has(0) && (has(1) || (groups > 2 && (2..groups).all(has)))
}
