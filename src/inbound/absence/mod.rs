//! When an absence ends, where an automatic reply states it.
//!
//! In: the reply's own words and the day it was written. Out: the day its writer is said to be back, or until which they
//! are away, with the words that say so; nothing where the text does not tell. A day counts only beside a word of being
//! back, or beside "until" or at the end of a span in a sentence of absence; being back goes before. The words of each
//! language are data (`words/`); a text may be in several. Whatever the text, the work is bounded by its first
//! [`MOST_CHARS`](token::MOST_CHARS) characters.
//! Sources: S-143; there is no standard for the words.

mod day;
mod token;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use chrono::{Datelike, Months, NaiveDate};

use self::day::Day;
use self::token::{Token, What, tokens_of};
use crate::inbound::words::{ALL, Words};

/// How many months ahead a return is believed.
const MOST_MONTHS: u32 = 24;
/// Without a year: a day further ahead has gone by, in a reply that was left on too long.
const MOST_MONTHS_UNSAID: u32 = 10;
/// Tokens between a word of being back and the day after it, and between "until" and its day.
const AFTER: usize = 9;
const AFTER_UNTIL: usize = 6;
/// Tokens between a day and the word behind it.
const BEFORE: usize = 7;
/// Characters of a text's words that are shown.
const SHOWN: usize = 120;

/// The end of an absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// The day of being back, or the last day of being away.
    pub on: NaiveDate,
    /// The words it stood in, as they stand in the text.
    pub words: String,
}

/// When the writer of an automatic reply is back. `written`: the day of the message, for a year that is not said.
#[must_use]
pub fn read(text: &str, written: Option<NaiveDate>) -> Option<Return> {
    let tokens = tokens_of(text);
    let said = Said::of(&tokens);
    let found = LEXICONS.iter().flat_map(|lexicon| lexicon.find(&said));
    let dated = found.filter_map(|found| Some((date_of(&found.day, written)?, found)));
    let (on, found) = dated.max_by_key(|(_, found)| (found.rank, Reverse(found.first)))?;
    let place = tokens[found.first].place.start..tokens[found.last].place.end;
    let words = text[place].split_whitespace().collect::<Vec<_>>().join(" ");
    Some(Return { on, words: words.chars().take(SHOWN).collect() })
}

/// The date of a day: not before the day before the message, nor too far ahead; without a year the next such day, if that is within ten months.
fn date_of(day: &Day, written: Option<NaiveDate>) -> Option<NaiveDate> {
    let exact = |year| NaiveDate::from_ymd_opt(year, day.month, day.day);
    let Some(written) = written else { return exact(day.year?) };
    let first = written.pred_opt().unwrap_or(written);
    let months = if day.year.is_some() { MOST_MONTHS } else { MOST_MONTHS_UNSAID };
    let last = written.checked_add_months(Months::new(months)).unwrap_or(NaiveDate::MAX);
    let possible = |date: &NaiveDate| (first..=last).contains(date);
    match day.year {
        Some(year) => exact(year).filter(possible),
        None => (0..=1).filter_map(|n| exact(first.year().checked_add(n)?)).find(possible),
    }
}

/// What a day says of an absence, from the least to the most certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Span,
    Until,
    Back,
}

/// A day with the words around it that give it its meaning.
#[derive(Clone, Debug)]
struct Found {
    rank: Rank,
    day: Day,
    /// The first and the last token of day and words.
    first: usize,
    last: usize,
}

impl Found {
    fn of(rank: Rank, day: Day, cue: (usize, usize)) -> Self {
        Self { rank, day, first: day.start.min(cue.0), last: day.end.max(cue.1) - 1 }
    }
}

/// Words as they follow each other; the last may end in `*`.
type Phrase = Vec<String>;

/// The phrases of one language, ready to be compared.
struct Lexicon {
    words: &'static Words,
    back: Vec<Phrase>,
    until: Vec<Phrase>,
    until_after: Vec<Phrase>,
    stops: Vec<Phrase>,
}

static LEXICONS: LazyLock<Vec<Lexicon>> = LazyLock::new(|| {
    let known = ALL.iter().filter(|w| !w.absence.months.is_empty());
    known.map(Lexicon::of).collect()
});

/// Phrases of all languages: a foreign word is often among one's own ("OOO till 3 december"), and what "meeting" means, it
/// means beside every month's name.
static AWAY: LazyLock<Vec<Phrase>> = LazyLock::new(|| ALL.iter().flat_map(|w| phrases(&w.absence.away)).collect());
static OTHERS: LazyLock<Vec<Phrase>> = LazyLock::new(|| ALL.iter().flat_map(|w| phrases(&w.absence.others)).collect());
static MASKED: LazyLock<Vec<Phrase>> = LazyLock::new(|| ALL.iter().flat_map(|w| phrases(&w.absence.masked)).collect());

fn phrases(list: &[String]) -> Vec<Phrase> {
    list.iter().map(|phrase| phrase_of(phrase)).collect()
}

fn phrase_of(text: &str) -> Phrase {
    let mut phrase: Phrase = tokens_of(text.trim_end_matches('*')).into_iter().map(|t| t.word).collect();
    if let Some(last) = phrase.last_mut().filter(|_| text.ends_with('*')) {
        last.push('*');
    }
    phrase
}

fn is_word(pattern: &str, word: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == word, |start| word.starts_with(start))
}

/// Whether a list holds a word.
fn among(list: &[String], word: &str) -> bool {
    list.iter().any(|pattern| is_word(pattern, word))
}

/// Whether one of some lists holds a word.
fn has(lists: &[&[String]], word: &str) -> bool {
    lists.iter().any(|list| among(list, word))
}

/// Where the longest of the phrases ends that begins with a token.
fn phrase_at(phrases: &[Phrase], tokens: &[Token], at: usize) -> Option<usize> {
    let stands = |p: &&Phrase| tokens.len() - at >= p.len() && p.iter().zip(&tokens[at..]).all(|(pattern, t)| is_word(pattern, &t.word));
    phrases.iter().filter(stands).map(|p| at + p.len()).max()
}

fn any_in(phrases: &[Phrase], tokens: &[Token]) -> bool {
    (0..tokens.len()).any(|at| phrase_at(phrases, tokens, at).is_some())
}

/// The numbers of the sentences that hold one of the phrases.
fn sentences_with(phrases: &[Phrase], tokens: &[Token]) -> BTreeSet<usize> {
    (0..tokens.len()).filter(|at| phrase_at(phrases, tokens, *at).is_some()).map(|at| tokens[at].sentence).collect()
}

/// A text with what is known of it whatever its language.
struct Said<'a> {
    tokens: &'a [Token],
    /// The sentences of absence.
    away: BTreeSet<usize>,
    /// The sentences of other matters.
    others: BTreeSet<usize>,
    /// For each token whether it is part of a phrase in which words mean something else.
    masked: Vec<bool>,
}

impl<'a> Said<'a> {
    fn of(tokens: &'a [Token]) -> Self {
        let mut masked = vec![false; tokens.len()];
        for at in 0..tokens.len() {
            if let Some(end) = phrase_at(&MASKED, tokens, at) {
                masked[at..end].fill(true);
            }
        }
        Self { tokens, away: sentences_with(&AWAY, tokens), others: sentences_with(&OTHERS, tokens), masked }
    }

    /// Whether "until" a day, or a span, speaks of an absence: its sentence does, or it opens a sentence in a text that does;
    /// and no other matter is named in it.
    fn is_of_absence(&self, day: &Day, first: usize) -> bool {
        let sentence = self.tokens[day.start].sentence;
        let opens = self.tokens[..first.min(day.start)].last().is_none_or(|before| before.sentence != sentence);
        let speaks = self.away.contains(&sentence) || opens && !self.away.is_empty();
        speaks && !self.others.contains(&sentence)
    }
}

impl Lexicon {
    fn of(words: &'static Words) -> Self {
        let a = &words.absence;
        let [back, until, until_after, stops] = [&a.back, &a.until, &a.until_after, &a.stops].map(|list| phrases(list));
        Self { words, back, until, until_after, stops }
    }

    /// The days of this language that say something of an absence.
    fn find(&self, said: &Said<'_>) -> Vec<Found> {
        let days = day::list(said.tokens, self.words);
        if days.is_empty() {
            return Vec::new();
        }
        let text = Text { said, days: &days };
        let cues = (0..said.tokens.len()).filter(|at| !said.masked[*at]);
        let cued = cues.filter_map(|at| self.back(&text, at).or_else(|| self.until(&text, at)).or_else(|| self.until_after(&text, at)));
        days.iter().filter_map(|day| text.span(day)).chain(cued).collect()
    }

    /// "back on 3 December", "ab dem 3. Dezember bin ich wieder".
    fn back(&self, text: &Text<'_>, at: usize) -> Option<Found> {
        let tokens = text.said.tokens;
        let end = phrase_at(&self.back, tokens, at)?;
        let after = text.day_after(end, AFTER).filter(|day| {
            let between = &tokens[end..day.since.unwrap_or(day.start).max(end)];
            !any_in(&self.stops, between) && !any_in(&OTHERS, between)
        });
        let before = || text.day_before(at, BEFORE).filter(|day| self.links(&tokens[day.end..at]));
        Some(Found::of(Rank::Back, after.or_else(before)?, (at, end)))
    }

    /// "until Monday 30 November".
    fn until(&self, text: &Text<'_>, at: usize) -> Option<Found> {
        let tokens = text.said.tokens;
        let end = phrase_at(&self.until, tokens, at)?;
        let day = text.day_after(end, AFTER_UNTIL).filter(|day| self.leads(&tokens[end..day.start]))?;
        text.said.is_of_absence(&day, at).then(|| Found::of(Rank::Until, day, (at, end)))
    }

    /// "3.12. asti".
    fn until_after(&self, text: &Text<'_>, at: usize) -> Option<Found> {
        let tokens = text.said.tokens;
        let end = phrase_at(&self.until_after, tokens, at)?;
        let day = text.day_before(at, 2).filter(|day| self.leads(&tokens[day.end..at]))?;
        text.said.is_of_absence(&day, day.start).then(|| Found::of(Rank::Until, day, (at, end)))
    }

    fn leads(&self, tokens: &[Token]) -> bool {
        let a = &self.words.absence;
        tokens.iter().all(|t| t.is_mark(".,:/(") || t.what == What::Word && has(&[&a.lead, &a.ordinals], &t.word))
    }

    fn links(&self, tokens: &[Token]) -> bool {
        tokens.iter().all(|t| t.is_mark(".") || t.what == What::Word && among(&self.words.absence.link, &t.word))
    }
}

/// A text in the forms of one language.
struct Text<'a> {
    said: &'a Said<'a>,
    days: &'a [Day],
}

impl Text<'_> {
    /// "from 1 to 14 December".
    fn span(&self, day: &Day) -> Option<Found> {
        let since = day.since?;
        self.said.is_of_absence(day, since).then(|| Found::of(Rank::Span, *day, (since, since + 1)))
    }

    /// The first day that begins at a token or not far behind it, in the sentence of the token before.
    fn day_after(&self, at: usize, within: usize) -> Option<Day> {
        let day = self.days.get(self.days.partition_point(|day| day.start < at))?;
        let tokens = self.said.tokens;
        let near = day.start - at < within && at > 0 && tokens[at - 1].sentence == tokens[day.start].sentence;
        near.then_some(*day)
    }

    /// The last day that ends before a token and not far from it, in the same sentence.
    fn day_before(&self, at: usize, within: usize) -> Option<Day> {
        let day = self.days[..self.days.partition_point(|day| day.end <= at)].last()?;
        let tokens = self.said.tokens;
        let near = at - day.end < within && tokens[at].sentence == tokens[day.start].sentence;
        near.then_some(*day)
    }
}
