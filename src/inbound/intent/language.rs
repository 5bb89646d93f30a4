//! Tells which language a text is in, by its small words.
//!
//! In: a text, and the language it is likely to be in. Out: languages with rules, the likeliest first.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::matcher::{LANGUAGES, Language};
use super::tokens::Text;
use crate::inbound::words::ALL;

/// What a hint weighs, in small words found.
const HINT: usize = 2;

/// Small words, each with the numbers of its languages in the order of the word files.
static COMMON: LazyLock<HashMap<&str, Vec<usize>>> = LazyLock::new(|| {
    let mut common: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, words) in ALL.iter().enumerate() {
        for word in &words.common {
            let languages = common.entry(word).or_default();
            if languages.last() != Some(&number) {
                languages.push(number);
            }
        }
    }
    common
});

/// Languages with rules in the order in which their rules are tried, and how many small words speak for each.
pub(super) fn rank(text: &Text, hint: Option<&str>) -> Vec<(&'static Language, usize)> {
    let scores = scores(text);
    let mut ranked: Vec<(&'static Language, usize)> = LANGUAGES.iter().map(|l| (l, scores[l.number])).collect();
    let weight = |(l, n): &(&Language, usize)| 2 * n + if hint == Some(l.words.language.as_str()) { HINT + 1 } else { 0 };
    ranked.sort_by_key(|entry| std::cmp::Reverse(weight(entry)));
    ranked
}

/// The language of a longer text, such as a whole mail with its quotes; `None` where it does not tell.
#[must_use]
pub fn of_text(text: &str) -> Option<&'static str> {
    let scores = scores(&Text::of(text));
    let best = ALL.iter().zip(scores).map(|(w, n)| (n, w.language.as_str())).max_by_key(|(n, _)| *n)?;
    (best.0 >= 3).then_some(best.1)
}

/// How many of a text's words are small words of each language.
fn scores(text: &Text) -> Vec<usize> {
    let mut scores = vec![0; ALL.len()];
    for number in text.tokens.iter().filter_map(|token| COMMON.get(token.folded.as_str())).flatten() {
        scores[*number] += 1;
    }
    scores
}
