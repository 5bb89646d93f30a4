//! Tells which language a text is in, by its small words.
//!
//! In: a text, and the language it is likely to be in. Out: languages with rules, the likeliest first.

use super::matcher::{LANGUAGES, Language};
use super::tokens::Text;
use crate::inbound::words::ALL;

/// What a hint weighs, in small words found.
const HINT: usize = 2;

/// Languages with rules in the order in which their rules are tried, and how many small words speak for each.
pub(super) fn rank(text: &Text, hint: Option<&str>) -> Vec<(&'static Language, usize)> {
    let mut ranked: Vec<(&'static Language, usize)> = LANGUAGES.iter().map(|l| (l, score(text, &l.words.common))).collect();
    let weight = |(l, n): &(&Language, usize)| 2 * n + if hint == Some(l.words.language.as_str()) { HINT + 1 } else { 0 };
    ranked.sort_by_key(|entry| std::cmp::Reverse(weight(entry)));
    ranked
}

/// The language of a longer text, such as a whole mail with its quotes; `None` where it does not tell.
#[must_use]
pub fn of_text(text: &str) -> Option<&'static str> {
    let text = Text::of(text);
    let best = ALL.iter().map(|w| (score(&text, &w.common), w.language.as_str())).max_by_key(|(n, _)| *n)?;
    (best.0 >= 3).then_some(best.1)
}

fn score(text: &Text, common: &[String]) -> usize {
    text.tokens.iter().filter(|t| common.contains(&t.folded)).count()
}
