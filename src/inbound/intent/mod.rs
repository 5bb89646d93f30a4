//! Reads what a person means: the words are data, `words/<language>.toml`; what follows from them is here.
//!
//! In: the own words of a reply, its subject and a hint of its language. Out: a [`Reading`]. Never fails; a text that no
//! rule knows is `other`. A status is applied only where nothing speaks against it (S-147).
//!
//! Stations: `tokens` splits, `language` ranks, `matcher` finds rules, `decide` weighs them, `guests` counts; `model` is
//! the reader that has learnt, and `together` makes one reading of both.

mod decide;
mod guests;
mod language;
mod matcher;
mod model;
mod together;
mod tokens;

pub use language::of_text as language_of;

use crate::inbound::words::{ALL, fold};
use crate::model::inbound::{Evidence, Intent, Reading};
use matcher::Class;
use together::ByRules;
use tokens::Text;

/// Words that are the same in many languages when they stand almost alone.
const FEW: usize = 3;

/// Reads an answer. `hint` is the language it is likely to be in (ISO 639-1): that of the mail it answers.
#[must_use]
pub fn read(own_words: &str, subject: &str, hint: Option<&str>) -> Reading {
    let text = Text::of(own_words);
    if text.tokens.is_empty() {
        return read_subject(subject, hint);
    }
    let mut reading = together::read(own_words, read_text(own_words, &text, hint));
    // a sign alone is a guess
    reading.apply &= !text.cut && own_words.contains(char::is_alphabetic);
    reading
}

/// Tries the likeliest language first. Another one's rules are asked only where the first has nothing at all to say.
fn read_text(own_words: &str, text: &Text, hint: Option<&str>) -> ByRules {
    let ranked = language::rank(text, hint);
    let most = ranked.first().map_or(0, |(_, n)| *n);
    let mut first: Option<ByRules> = None;
    let of_mail = || ranked.iter().any(|(language, common)| 2 * common >= most && language.speaks_of_mail(text));
    let only_asks = text.tokens.iter().all(|token| text.asks[token.sentence]);
    for (language, common) in &ranked {
        let likely = *common > 0 && 2 * common >= most;
        if first.is_some() && !likely && text.tokens.len() > FEW {
            continue;
        }
        let found = matcher::find(text, language);
        let mut reading = decide::decide(own_words, text, &found, language.words);
        reading.apply &= first.is_none() || likely || text.tokens.len() <= FEW;
        let stays = decide::stays(text, &found);
        let understood = found.iter().any(|f| matches!(f.class, Class::Keep | Class::Mask));
        let is_decided = reading.intent != Intent::Other || (understood && first.is_none());
        let is_whole = is_whole(&reading, text);
        let by_rules = ByRules { guests: guests::count(&found), stays, only_asks, of_mail: !is_whole && of_mail(), is_whole, reading };
        if is_decided {
            return by_rules;
        }
        first.get_or_insert(by_rules);
    }
    first.unwrap_or_else(|| ByRules {
        reading: nothing("any.empty"),
        guests: None,
        is_whole: false,
        stays: false,
        only_asks: false,
        of_mail: false,
    })
}

/// The words that decided are all that there are.
fn is_whole(reading: &Reading, text: &Text) -> bool {
    reading.evidence.iter().map(|e| e.words.split_whitespace().count()).sum::<usize>() >= text.tokens.len()
}

/// An empty body: the subject is the answer where the person wrote it and it is nothing but an answer.
fn read_subject(subject: &str, hint: Option<&str>) -> Reading {
    let bare = without_prefixes(subject);
    let replied = bare.len() < subject.trim().len();
    let text = Text::of(bare);
    let most = if replied { 3 } else { 8 };
    if text.tokens.is_empty() || text.tokens.len() > most || text.asks[0] {
        return nothing("any.empty");
    }
    let by_rules = read_text(bare, &text, hint);
    if matches!(by_rules.reading.intent, Intent::Question | Intent::Other) {
        return nothing("any.empty");
    }
    let mut reading = together::read(bare, by_rules);
    for evidence in &mut reading.evidence {
        evidence.rule.push_str(".subject");
    }
    reading
}

/// The subject without `Re:`, `SV:` and their like, in any number.
#[must_use]
pub fn without_prefixes(subject: &str) -> &str {
    let mut rest = subject.trim();
    while let Some((prefix, after)) = rest.split_once([':', '：']) {
        let prefix = fold(prefix.split('[').next().unwrap_or_default());
        if !ALL.iter().any(|w| w.reply_prefixes.contains(&prefix)) {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

fn nothing(rule: &str) -> Reading {
    let evidence = vec![Evidence { rule: rule.to_owned(), words: String::new() }];
    Reading { intent: Intent::Other, secondary: Vec::new(), guests: None, confidence: 0.5, apply: false, language: None, evidence }
}

#[cfg(test)]
mod tests;
