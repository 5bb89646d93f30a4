//! Reads what a person means: the words are data, `words/<language>.toml`; what follows from them is here.
//!
//! In: the own words of a reply, its subject and a hint of its language. Out: a [`Reading`]. Never fails; a text that no
//! rule knows is `other`. A status is applied only where nothing speaks against it (S-147).
//!
//! Stations: `tokens` splits, `language` ranks, `matcher` finds rules, `decide` weighs them, `guests` counts.

mod decide;
mod guests;
mod language;
mod matcher;
mod tokens;

pub use language::of_text as language_of;

use crate::inbound::words::{ALL, fold};
use crate::model::inbound::{Evidence, Intent, Reading};
use matcher::Class;
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
    read_text(own_words, &text, hint)
}

/// Tries the likeliest language first. Another one's rules are asked only where the first has nothing at all to say.
fn read_text(own_words: &str, text: &Text, hint: Option<&str>) -> Reading {
    let ranked = language::rank(text, hint);
    let most = ranked.first().map_or(0, |(_, n)| *n);
    let mut first: Option<Reading> = None;
    for (language, common) in &ranked {
        let likely = *common > 0 && 2 * common >= most;
        if first.is_some() && !likely && text.tokens.len() > FEW {
            continue;
        }
        let found = matcher::find(text, language);
        let mut reading = decide::decide(own_words, text, &found, language.words);
        reading.apply &= first.is_none() || likely || text.tokens.len() <= FEW;
        let understood = found.iter().any(|f| matches!(f.class, Class::Mask | Class::Keep));
        if reading.intent != Intent::Other || (understood && first.is_none()) {
            return reading;
        }
        first.get_or_insert(reading);
    }
    first.unwrap_or_else(|| nothing("any.empty"))
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
    let mut reading = read_text(bare, &text, hint);
    if matches!(reading.intent, Intent::Question | Intent::Other) {
        return nothing("any.empty");
    }
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
