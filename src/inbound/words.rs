//! The words of each language that mail is recognised by: data, one file for each language, read once.
//!
//! In: `words/LANGUAGE.toml`, embedded. Out: [`Words`]. A language is added by its file and one line in `FILES`.
//! Sections: `quote` (attributions, header blocks, closings), `auto` and `bounce` (what machines write), `absence` (how
//! they state its end), `rules` (what people mean; the pattern syntax stands in `intent/matcher`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use serde::Deserialize;

const FILES: [&str; 13] = [
    include_str!("words/sv.toml"),
    include_str!("words/en.toml"),
    include_str!("words/no.toml"),
    include_str!("words/da.toml"),
    include_str!("words/fi.toml"),
    include_str!("words/de.toml"),
    include_str!("words/fr.toml"),
    include_str!("words/es.toml"),
    include_str!("words/nl.toml"),
    include_str!("words/pl.toml"),
    include_str!("words/it.toml"),
    include_str!("words/pt.toml"),
    include_str!("words/any.toml"),
];

/// Everything svar knows of one language.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    /// ISO 639-1 code; `any` for what belongs to no language.
    pub language: String,
    /// Small words that tell the language from others.
    pub common: Vec<String>,
    /// Words of mail, lists and data, and of taking away: whoever wants to be gone uses one. One that ends in `*` stands for all
    /// that begin so.
    pub mail_words: Vec<String>,
    /// Prefixes of a reply's or forward's subject, without the colon.
    pub reply_prefixes: Vec<String>,
    /// Numbers in words.
    pub numbers: BTreeMap<String, u32>,
    /// How quotes and signatures look.
    pub quote: Quote,
    /// What automatic replies say.
    pub auto: Phrases,
    /// What mail systems say of mail they could not deliver.
    pub bounce: Phrases,
    /// How the end of an absence is stated.
    pub absence: Absence,
    /// Intent class → rule → patterns.
    pub rules: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// How quotes and signatures look in a language.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quote {
    /// Names of From in a header block.
    pub from: Vec<String>,
    /// Names of the other fields in a header block.
    pub fields: Vec<String>,
    /// The verb of an attribution line: "skrev".
    pub wrote: Vec<String>,
    /// Words within the rule above an original: "Ursprungligt meddelande".
    pub original: Vec<String>,
    /// How a closing begins: "Med vänlig hälsning".
    pub closings: Vec<String>,
    /// How a phone's signature begins: "Skickat från min".
    pub mobile: Vec<String>,
    /// What a disclaimer says.
    pub disclaimers: Vec<String>,
}

/// Words in a subject and in a body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phrases {
    /// How the subject begins.
    pub subjects: Vec<String>,
    /// How the subject of a read receipt begins.
    pub receipts: Vec<String>,
    /// Words that alone give a machine away: no person writes them in an answer. After `^` only where a sentence begins.
    pub phrases: Vec<String>,
    /// Words that alone give away a filter which wants something of the sender before it delivers.
    pub challenges: Vec<String>,
    /// Name of a kind of mail → groups of words that a person may write too: the first group together with the second, or
    /// with all the later ones, gives a machine away, where none of `answers` stands beside them.
    pub together: BTreeMap<String, Vec<Vec<String>>>,
    /// Words that a person answers with, or speaks of the invitation with.
    pub answers: Vec<String>,
    /// Words that say the address is no longer in use: somebody should tend the list.
    pub gone: Vec<String>,
}

/// How automatic replies state when somebody is back. A word or phrase that ends in `*` stands for all that begin so.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Absence {
    /// Twelve lists: the names of each month, with short and inflected forms.
    pub months: Vec<Vec<String>>,
    /// A month may stand before its day: "December 3".
    pub month_first: bool,
    /// Being back; the day stands after it or before it.
    pub back: Vec<String>,
    /// Until: before the day.
    pub until: Vec<String>,
    /// Until: behind the day.
    pub until_after: Vec<String>,
    /// Being away: what makes "until" and a span speak of an absence.
    pub away: Vec<String>,
    /// Matters that have a day of their own: what is said until when in the same sentence is said of them.
    pub others: Vec<String>,
    /// Phrases in which the words above mean something else.
    pub masked: Vec<String>,
    /// What parts a word of being back from a day after it.
    pub stops: Vec<String>,
    /// What may stand between "until" and the day: articles, days of the week.
    pub lead: Vec<String>,
    /// What may stand between a day and the word of being back behind it.
    pub link: Vec<String>,
    /// What joins the two days of a span; a dash does in every language.
    pub joins: Vec<String>,
    /// What opens a span whose days are joined by "and".
    pub between: Vec<String>,
    /// What may stand between a day's number and its month: "rd", "of".
    pub ordinals: Vec<String>,
    /// What shows beside `9.10` that it is a time of day.
    pub clock: Vec<String>,
    /// Words whose full stop ends no sentence.
    pub abbreviations: Vec<String>,
}

impl Absence {
    fn lists(&mut self) -> impl Iterator<Item = &mut Vec<String>> {
        let words = [&mut self.back, &mut self.until, &mut self.until_after, &mut self.away, &mut self.others, &mut self.masked];
        let small = [&mut self.stops, &mut self.lead, &mut self.link, &mut self.joins, &mut self.between, &mut self.ordinals];
        words.into_iter().chain(small).chain([&mut self.clock, &mut self.abbreviations]).chain(&mut self.months)
    }
}

/// Every language, Swedish and English first.
pub static ALL: LazyLock<Vec<Words>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for file in FILES {
        #[allow(clippy::expect_used, reason = "embedded files, each read by a test")]
        let mut words: Words = toml::from_str(file).expect("an embedded word file is well formed");
        words.fold();
        all.push(words);
    }
    all
});

impl Words {
    /// Everything that is compared is compared folded.
    fn fold(&mut self) {
        let q = &mut self.quote;
        let lists = [&mut q.from, &mut q.fields, &mut q.wrote, &mut q.original, &mut q.closings, &mut q.mobile, &mut q.disclaimers];
        for list in lists.into_iter().chain([&mut self.common, &mut self.reply_prefixes]).chain(self.absence.lists()) {
            for word in list {
                *word = fold(word);
            }
        }
        for phrases in [&mut self.auto, &mut self.bounce] {
            let Phrases { subjects, receipts, phrases, challenges, together, answers, gone } = phrases;
            let lists = [subjects, receipts, phrases, challenges, answers, gone];
            for word in lists.into_iter().chain(together.values_mut().flatten()).flatten() {
                *word = fold(word);
            }
        }
        self.numbers = std::mem::take(&mut self.numbers).into_iter().map(|(word, n)| (fold(&word), n)).collect();
    }
}

/// Lower case without diacritics and apostrophes, one space between words: `Får inte, ça` becomes `far inte, ca`.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() || c == '\u{200b}' || c == '\u{feff}' {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            fold_char(c, &mut out);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// One character, folded. Apostrophes, soft hyphens, joiners and variation selectors vanish.
pub fn fold_char(c: char, out: &mut String) {
    match c {
        'ø' | 'Ø' => out.push('o'),
        'æ' | 'Æ' => out.push_str("ae"),
        'ß' => out.push_str("ss"),
        'ł' | 'Ł' => out.push('l'),
        'đ' | 'ð' => out.push('d'),
        'œ' | 'Œ' => out.push_str("oe"),
        '\'' | '’' | '‘' | '´' | '`' | 'ʼ' | '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' => {}
        _ if c.is_ascii() => out.push(c.to_ascii_lowercase()),
        _ => {
            let parts = unicode_normalization::UnicodeNormalization::nfkd(std::iter::once(c));
            let kept = parts.filter(|c| !unicode_normalization::char::is_combining_mark(*c));
            out.extend(kept.flat_map(char::to_lowercase));
        }
    }
}

/// The phrases of all languages, each of some group, sought in one pass over a text.
#[derive(Debug)]
pub struct Phrasebook {
    automaton: AhoCorasick,
    /// For each phrase its language, the number of its group, and whether it must begin a sentence.
    belongs: Vec<(&'static str, usize, bool)>,
}

/// A phrase in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Whose words they are.
    pub language: &'static str,
    /// The number of the group among those of the language.
    pub group: usize,
    /// Where in the text it begins.
    pub at: usize,
    /// It says something only where a sentence begins.
    pub at_start: bool,
    /// The words.
    pub words: &'a str,
}

impl Phrasebook {
    /// Of the groups that a language has.
    #[must_use]
    pub fn of(groups: impl Fn(&'static Words) -> Vec<&'static [String]>) -> Self {
        let mut belongs = Vec::new();
        let mut phrases = Vec::new();
        for words in ALL.iter() {
            for (number, group) in groups(words).into_iter().enumerate() {
                for phrase in group {
                    let bare = phrase.strip_prefix('^');
                    belongs.push((words.language.as_str(), number, bare.is_some()));
                    phrases.push(bare.unwrap_or(phrase));
                }
            }
        }
        #[allow(clippy::expect_used, reason = "embedded phrases, far fewer than an automaton holds; read by a test")]
        let automaton = AhoCorasick::new(phrases).expect("the phrases are no more than an automaton holds");
        Self { automaton, belongs }
    }

    /// Every phrase in a folded text, also within another: its language, its group and its words.
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'static str, usize, &'a str)> {
        self.find_placed(text).map(|f| (f.language, f.group, f.words))
    }

    /// As [`Phrasebook::find`], with the place of each.
    pub fn find_placed<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Found<'a>> {
        self.automaton.find_overlapping_iter(text).map(|found| {
            let (language, group, at_start) = self.belongs[found.pattern().as_usize()];
            Found { language, group, at: found.start(), at_start, words: &text[found.range()] }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_file_is_well_formed_and_named_once() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|w| w.language.as_str()).collect();
        assert_eq!(names.len(), FILES.len());
    }

    #[test]
    fn a_language_that_knows_absences_knows_twelve_months() {
        let months: Vec<usize> = ALL.iter().map(|w| w.absence.months.len()).filter(|n| *n > 0).collect();
        assert_eq!(months, [12; 10]);
    }

    #[test]
    fn phrases_are_found_within_each_other() {
        let book = Phrasebook::of(|w| w.auto.together.get("absence").into_iter().flatten().map(Vec::as_slice).collect());
        let found: Vec<_> = book.find("im out of office until monday").filter(|(language, ..)| *language == "en").collect();
        assert_eq!(found, [("en", 0, "out of office"), ("en", 2, "until")]);
        assert_eq!(book.find("").count(), 0);
    }

    #[test]
    fn folding_takes_away_what_keyboards_lack() {
        assert_eq!(fold("Jag kommer GÄRNA – den 25:e"), "jag kommer garna – den 25:e");
        assert_eq!(fold("Can’t  wait\nłódź Straße kjæm"), "cant wait lodz strasse kjaem");
    }
}
