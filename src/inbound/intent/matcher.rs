//! Finds the rules of a language in a text: longer patterns first, each word used once in each layer.
//!
//! A pattern is words with a space between: `vill .. vara med`. `a|b` is one of several words, `ord*` any word that
//! begins so, `..` up to four words of the same sentence, `#` a number. Everything is compared folded. What a class of
//! rules does is told in [`Class`]; a rule's name is `<language>.<class>.<rule>`.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::tokens::{Text, Token};
use crate::inbound::words::{ALL, Words, fold};

/// How many words `..` may stand for.
const GAP: usize = 4;

/// What a rule says of the text it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    /// Takes words away from other rules: figures of speech, quoted instructions, what was said earlier.
    Mask,
    /// Asks to stay on the list: takes an unsubscribe back.
    Keep,
    /// Wants personal data deleted.
    Erase,
    /// Wants no more mail.
    Unsubscribe,
    /// Declines.
    No,
    /// Undecided.
    Maybe,
    /// A condition that is mere courtesy: a yes stays a yes.
    Courtesy,
    /// Accepts.
    Yes,
    /// A verb of coming, which a negation turns round.
    Come,
    /// Would like to, which is not yet a yes.
    Wish,
    /// A bare "yes".
    Agree,
    /// A bare "no".
    Refuse,
    /// A picture or sign that agrees, declines or doubts.
    Thumb,
    Down,
    Doubt,
    /// "unsubscribe", which counts only as the whole message.
    Leaving,
    /// "delete", which counts only as the whole message.
    Erasing,
    /// Asks something without a question mark.
    Question,
    Negator,
    Contrast,
    Condition,
    // the second layer, which does not compete with the first
    Later,
    Delegate,
    AddressChange,
    Complaint,
    Partial,
    /// Somebody of one's family, whose address or data may be meant.
    Relative,
    // the third
    GuestsTotal,
    GuestsPlus,
    GuestsOne,
    GuestsNone,
}

impl Class {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "mask" => Self::Mask,
            "keep" => Self::Keep,
            "erase" => Self::Erase,
            "unsubscribe" => Self::Unsubscribe,
            "no" => Self::No,
            "maybe" => Self::Maybe,
            "courtesy" => Self::Courtesy,
            "yes" => Self::Yes,
            "come" => Self::Come,
            "wish" => Self::Wish,
            "agree" => Self::Agree,
            "refuse" => Self::Refuse,
            "thumb" => Self::Thumb,
            "down" => Self::Down,
            "doubt" => Self::Doubt,
            "leaving" => Self::Leaving,
            "erasing" => Self::Erasing,
            "question" => Self::Question,
            "negator" => Self::Negator,
            "contrast" => Self::Contrast,
            "condition" => Self::Condition,
            "later" => Self::Later,
            "delegate" => Self::Delegate,
            "address_change" => Self::AddressChange,
            "complaint" => Self::Complaint,
            "partial" => Self::Partial,
            "relative" => Self::Relative,
            "guests_total" => Self::GuestsTotal,
            "guests_plus" => Self::GuestsPlus,
            "guests_one" => Self::GuestsOne,
            "guests_none" => Self::GuestsNone,
            _ => return None,
        })
    }

    /// Whether a negation within the pattern leaves its meaning as it is.
    fn may_span_negation(self) -> bool {
        matches!(self, Self::No | Self::Mask | Self::Keep)
    }

    fn layer(self) -> u8 {
        match self {
            Self::GuestsTotal | Self::GuestsPlus | Self::GuestsOne | Self::GuestsNone => 2,
            Self::Later | Self::Delegate | Self::AddressChange | Self::Complaint | Self::Partial | Self::Relative => 1,
            _ => 0,
        }
    }
}

/// A rule found in a text.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) class: Class,
    pub(super) rule: &'static str,
    /// Tokens it covers, from and up to.
    pub(super) from: usize,
    pub(super) to: usize,
    /// The number that `#` stood for.
    pub(super) number: Option<u32>,
    weight: usize,
}

impl Found {
    /// Words between this and another, which it does not overlap.
    pub(super) fn apart(&self, other: &Self) -> usize {
        if self.from >= other.to { self.from - other.to } else { other.from.saturating_sub(self.to) }
    }
}

/// Every rule of a language that the text shows, in the order of the text.
pub(super) fn find(text: &Text, language: &'static Language) -> Vec<Found> {
    let mut all = Vec::new();
    for at in 0..text.tokens.len() {
        let first = text.tokens[at].folded.as_str();
        let exact = language.by_first.get(first).into_iter().flatten();
        for index in exact.chain(&language.by_prefix) {
            let pattern = &language.patterns[*index];
            let mut number = None;
            let guard = Guard { language, denies: pattern.class.may_span_negation() };
            if let Some(to) = match_at(&text.tokens, at, &pattern.pieces, &guard, &mut number) {
                all.push(Found { class: pattern.class, rule: &pattern.rule, from: at, to, number, weight: pattern.weight });
            }
        }
    }
    pick(all, text.tokens.len())
}

/// The heaviest first; a word that one rule has taken is not there for another of the same layer.
fn pick(mut all: Vec<Found>, words: usize) -> Vec<Found> {
    all.sort_by_key(|f| (std::cmp::Reverse(f.weight), f.class, f.from));
    let mut taken = [vec![false; words], vec![false; words], vec![false; words]];
    all.retain(|f| {
        let taken = &mut taken[usize::from(f.class.layer())][f.from..f.to];
        let free = taken.iter().all(|t| !t);
        if free {
            taken.fill(true);
        }
        free
    });
    all.sort_by_key(|f| f.from);
    all
}

/// What `..` may not skip: "vill .. vara med" is not found in "vill inte vara med".
struct Guard<'a> {
    language: &'a Language,
    denies: bool,
}

impl Guard<'_> {
    fn may_skip(&self, token: &Token) -> bool {
        self.denies || !self.language.negators.contains(&token.folded)
    }
}

fn match_at(tokens: &[Token], at: usize, pieces: &[Piece], guard: &Guard<'_>, number: &mut Option<u32>) -> Option<usize> {
    let Some((piece, rest)) = pieces.split_first() else { return Some(at) };
    let same = |t: &Token| at == 0 || t.sentence == tokens[at - 1].sentence;
    match piece {
        Piece::Gap => {
            (0..=GAP).take_while(|n| *n == 0 || tokens.get(at + n - 1).is_some_and(|t| same(t) && guard.may_skip(t))).find_map(|n| {
                let next = tokens.get(at + n).filter(|t| same(t))?;
                let fits = matches!(rest.first(), Some(Piece::Word(all)) if all.iter().any(|w| w.fits(&next.folded)))
                    || matches!(rest.first(), Some(Piece::Number));
                if fits { match_at(tokens, at + n, rest, guard, number) } else { None }
            })
        }
        Piece::Number => {
            let token = tokens.get(at).filter(|t| same(t))?;
            *number = Some(number_of(&token.folded, guard.language.words)?);
            next_in_sentence(tokens, at, rest, guard, number)
        }
        Piece::Word(all) => {
            let token = tokens.get(at)?;
            if !all.iter().any(|w| w.fits(&token.folded)) {
                return None;
            }
            next_in_sentence(tokens, at, rest, guard, number)
        }
    }
}

/// Goes on after the token at `at`, unless its sentence ends there and the pattern does not.
fn next_in_sentence(tokens: &[Token], at: usize, rest: &[Piece], guard: &Guard<'_>, number: &mut Option<u32>) -> Option<usize> {
    if !rest.is_empty() && tokens.get(at + 1).is_none_or(|t| t.sentence != tokens[at].sentence) {
        return None;
    }
    match_at(tokens, at + 1, rest, guard, number)
}

fn number_of(folded: &str, words: &Words) -> Option<u32> {
    let number = folded.parse().ok().or_else(|| words.numbers.get(folded).copied());
    number.filter(|n| (1..=20).contains(n))
}

/// The rules of one language, ready to be matched.
pub(super) struct Language {
    pub(super) words: &'static Words,
    /// Its place among all word files.
    pub(super) number: usize,
    patterns: Vec<Pattern>,
    by_first: HashMap<String, Vec<usize>>,
    by_prefix: Vec<usize>,
    negators: HashSet<String>,
    mail_words: Vec<Choice>,
}

struct Pattern {
    class: Class,
    rule: String,
    pieces: Vec<Piece>,
    weight: usize,
}

enum Piece {
    Word(Vec<Choice>),
    Gap,
    Number,
}

struct Choice {
    word: String,
    prefix: bool,
}

impl Choice {
    fn fits(&self, folded: &str) -> bool {
        if self.prefix { folded.starts_with(&self.word) } else { folded == self.word }
    }
}

/// Every language in the order of the word files, with the rules of no language in each.
pub(super) static LANGUAGES: LazyLock<Vec<Language>> = LazyLock::new(|| {
    let any = ALL.iter().find(|w| w.language == "any");
    let known = ALL.iter().enumerate().filter(|(_, w)| w.language != "any" && !w.rules.is_empty());
    known.map(|(number, words)| Language::of(number, words, any)).collect()
});

impl Language {
    fn of(number: usize, words: &'static Words, any: Option<&'static Words>) -> Self {
        let negators = words.rules.get("negator").into_iter().flat_map(|r| r.values().flatten()).map(|w| fold(w)).collect();
        let mail_words = words.mail_words.iter().map(|word| choice_of(word)).collect();
        let mut language =
            Self { words, number, patterns: Vec::new(), by_first: HashMap::new(), by_prefix: Vec::new(), negators, mail_words };
        for source in std::iter::once(words).chain(any) {
            for (class, rules) in &source.rules {
                for (rule, patterns) in rules {
                    for pattern in patterns {
                        language.add(class, format!("{}.{class}.{rule}", source.language), pattern);
                    }
                }
            }
        }
        language
    }

    /// The text speaks of mail, of a list or data, or of taking away.
    pub(super) fn speaks_of_mail(&self, text: &Text) -> bool {
        text.tokens.iter().any(|token| self.mail_words.iter().any(|word| word.fits(&token.folded)))
    }

    fn add(&mut self, class: &str, rule: String, pattern: &str) {
        let Some(class) = Class::from_word(class) else { return };
        let pieces: Vec<Piece> = pattern.split_whitespace().map(piece_of).collect();
        let weight = pieces.iter().filter(|p| !matches!(p, Piece::Gap)).count();
        let index = self.patterns.len();
        match pieces.first() {
            Some(Piece::Word(all)) => {
                for choice in all {
                    if choice.prefix {
                        self.by_prefix.push(index);
                    } else {
                        self.by_first.entry(choice.word.clone()).or_default().push(index);
                    }
                }
            }
            _ => self.by_prefix.push(index),
        }
        self.patterns.push(Pattern { class, rule, pieces, weight });
    }
}

fn piece_of(word: &str) -> Piece {
    match word {
        ".." => Piece::Gap,
        "#" => Piece::Number,
        _ => Piece::Word(word.split('|').map(choice_of).collect()),
    }
}

fn choice_of(word: &str) -> Choice {
    let bare = word.trim_end_matches('*');
    Choice { word: fold(bare).replace('-', ""), prefix: bare.len() < word.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_in_the_word_files_is_known() {
        for words in ALL.iter() {
            for class in words.rules.keys() {
                assert!(Class::from_word(class).is_some(), "{}.{class}", words.language);
            }
        }
    }

    #[test]
    fn a_longer_rule_takes_the_words_of_a_shorter_one() {
        let swedish = LANGUAGES.iter().find(|l| l.words.language == "sv").unwrap();
        let found = find(&Text::of("Jag är inte alls ointresserad"), swedish);
        assert!(found.iter().any(|f| f.class == Class::Yes) && found.iter().all(|f| f.class != Class::No), "{found:?}");
    }
}
