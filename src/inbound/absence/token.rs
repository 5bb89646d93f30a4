//! The text of an automatic reply as words, numbers and marks, each with its place and its sentence.
//!
//! In: any text. Out: at most [`MOST_CHARS`] tokens. A sentence ends at a mark of ending and at a blank line; not at the
//! full stop of an abbreviation, of "3. Dezember" or of "3.12.".

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use unicode_normalization::char::is_combining_mark;

use crate::inbound::words::{ALL, fold, fold_char};

/// Characters that are looked at: an absence is stated at the beginning.
pub(super) const MOST_CHARS: usize = 4000;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Letters.
    Word,
    /// ASCII digits.
    Number,
    /// One character that is neither.
    Mark,
}

/// A piece of a text.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Folded, as the words it is compared with are.
    pub(super) word: String,
    /// What it is.
    pub(super) what: What,
    /// Where it stands, in octets.
    pub(super) place: Range<usize>,
    /// The number of its sentence.
    pub(super) sentence: usize,
}

impl Token {
    /// The value of a number of at most four digits.
    pub(super) fn number(&self) -> Option<u32> {
        if self.what == What::Number && self.word.len() <= 4 { self.word.parse().ok() } else { None }
    }

    /// Whether it is one of these marks.
    pub(super) fn is_mark(&self, marks: &str) -> bool {
        self.what == What::Mark && marks.contains(self.word.as_str())
    }
}

/// The tokens of a text.
pub(super) fn tokens_of(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (at, c) in text.char_indices().take(MOST_CHARS).filter(|(_, c)| !c.is_whitespace()) {
        let what = what_of(c);
        match tokens.last_mut().filter(|last| last.what == what && what != What::Mark && last.place.end == at) {
            Some(last) => last.place.end += c.len_utf8(),
            None => tokens.push(Token { word: String::new(), what, place: at..at + c.len_utf8(), sentence: 0 }),
        }
    }
    for token in &mut tokens {
        token.word = fold(&text[token.place.clone()]);
    }
    tokens.retain(|token| !token.word.is_empty());
    number_sentences(text, &mut tokens);
    tokens
}

fn what_of(c: char) -> What {
    let vanishes = || {
        let mut folded = String::new();
        fold_char(c, &mut folded);
        folded.is_empty()
    };
    match c {
        '0'..='9' => What::Number,
        _ if c.is_alphabetic() || is_combining_mark(c) || vanishes() => What::Word,
        _ => What::Mark,
    }
}

fn number_sentences(text: &str, tokens: &mut [Token]) {
    let mut sentence = 0;
    for i in 0..tokens.len() {
        tokens[i].sentence = sentence;
        let Some(next) = tokens.get(i + 1) else { return };
        let gap = &text[tokens[i].place.end..next.place.start];
        let ends = tokens[i].is_mark("!?;") || (!gap.is_empty() && ends_at(text, tokens, i));
        if ends || gap.matches('\n').count() > 1 {
            sentence += 1;
        }
    }
}

/// Whether the full stop at `i` ends a sentence, where a blank follows it: after a number only before a capital.
fn ends_at(text: &str, tokens: &[Token], i: usize) -> bool {
    if !tokens[i].is_mark(".…") || i == 0 {
        return false;
    }
    let (before, after) = (&tokens[i - 1], &tokens[i + 1]);
    match before.what {
        What::Number => text[after.place.start..].starts_with(char::is_uppercase) && !SHORT.contains(after.word.as_str()),
        What::Word => before.word.chars().count() > 1 && !SHORT.contains(before.word.as_str()),
        What::Mark => true,
    }
}

/// The names of months and what else is written with a full stop.
static SHORT: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let words = ALL.iter().flat_map(|w| w.absence.months.iter().flatten().chain(&w.absence.abbreviations));
    words.map(String::as_str).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for token in tokens_of(text) {
            if token.sentence == out.len() {
                out.push(String::new());
            }
            out[token.sentence] += &token.word;
        }
        out
    }

    #[test]
    fn a_full_stop_within_a_date_or_an_abbreviation_ends_no_sentence() {
        assert_eq!(sentences("Bis 3. Dezember. Dann"), ["bis3.dezember.dann"]);
        assert_eq!(sentences("borta t.o.m. 3.12. och åter. Sen"), ["bortat.o.m.3.12.ochater.", "sen"]);
        assert_eq!(sentences("Jag är borta. Mötet!\nJa"), ["jagarborta.", "motet!", "ja"]);
        assert_eq!(sentences("Hej\n\nJag är borta till 30.11. Vid kris"), ["hej", "jagarbortatill30.11.", "vidkris"]);
    }

    #[test]
    fn a_letter_written_as_two_is_part_of_its_word() {
        let words: Vec<String> = tokens_of("a\u{30a}ter jusqu’au 3e").into_iter().map(|t| t.word).collect();
        assert_eq!(words, ["ater", "jusquau", "3", "e"]);
    }
}
