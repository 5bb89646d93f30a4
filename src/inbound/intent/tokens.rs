//! Splits a text into folded words that know their sentence, their clause and where they stand.
//!
//! In: a person's own words. Out: [`Text`]. Never fails; a text is read to [`MOST_WORDS`] words.

use crate::inbound::words::fold_char;

/// Words that are read: more than that is no answer a rule could judge.
const MOST_WORDS: usize = 1500;
/// A line shorter than this ends its sentence even without a full stop: people answer in lines.
const SHORT_LINE: usize = 50;

/// One word, folded.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) folded: String,
    /// Where it stands in the text, in octets.
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) sentence: usize,
    pub(super) clause: usize,
    /// A letter or digit is in it; otherwise it is a sign such as 👍.
    pub(super) is_word: bool,
}

/// A text in words.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) tokens: Vec<Token>,
    /// For each sentence, whether it ends with a question mark.
    pub(super) asks: Vec<bool>,
    /// It was too long to be read whole.
    pub(super) cut: bool,
}

impl Text {
    pub(super) fn of(text: &str) -> Self {
        let mut reader = Reader { text, out: Self { asks: vec![false], ..Self::default() }, clause: 0, word: None };
        reader.read();
        reader.out
    }

    /// The tokens of a sentence.
    pub(super) fn sentence(&self, number: usize) -> impl Iterator<Item = &Token> {
        let from = self.tokens.partition_point(|t| t.sentence < number);
        self.tokens[from..].iter().take_while(move |t| t.sentence == number)
    }
}

struct Reader<'a> {
    text: &'a str,
    out: Text,
    clause: usize,
    word: Option<(usize, String)>,
}

impl Reader<'_> {
    fn read(&mut self) {
        let mut line_start = 0;
        let mut chars = self.text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            if self.out.tokens.len() >= MOST_WORDS {
                self.out.cut = true;
                break;
            }
            if c.is_alphanumeric() || (c == '+' && next.is_some_and(|n| n.is_ascii_digit())) {
                self.letter(at, c);
            } else if self.word.is_some() && joins(c, next) {
                self.joint(c);
            } else {
                self.end_word(at);
                self.sign(at, c, next, &mut line_start);
            }
        }
        self.end_word(self.text.len());
    }

    fn letter(&mut self, at: usize, c: char) {
        let word = self.word.get_or_insert_with(|| (at, String::new()));
        fold_char(c, &mut word.1);
    }

    /// A hyphen or an apostrophe within a word vanishes; a slash stays ("50/50").
    fn joint(&mut self, c: char) {
        if let Some((_, word)) = &mut self.word
            && c == '/'
        {
            word.push('/');
        }
    }

    fn end_word(&mut self, end: usize) {
        if let Some((start, folded)) = self.word.take() {
            self.push(squeeze(&folded), start, end, true);
        }
    }

    fn push(&mut self, folded: String, start: usize, end: usize, is_word: bool) {
        let sentence = self.out.asks.len() - 1;
        self.out.tokens.push(Token { folded, start, end, sentence, clause: self.clause, is_word });
    }

    fn sign(&mut self, at: usize, c: char, next: Option<char>, line_start: &mut usize) {
        match c {
            '?' => self.end_sentence(true),
            '.' | '!' | '…' | '。' if next.is_none_or(|n| !n.is_alphanumeric()) => self.end_sentence(false),
            '\n' => {
                let short = at.saturating_sub(*line_start) < SHORT_LINE;
                *line_start = at + 1;
                if short || next == Some('\n') {
                    self.end_sentence(false);
                }
            }
            ',' | ';' | ':' | '(' | ')' | '–' | '—' | '-' => self.clause += 1,
            _ if is_emoji(c) => self.push(c.to_string(), at, at + c.len_utf8(), false),
            _ => {}
        }
    }

    fn end_sentence(&mut self, asks: bool) {
        let now = self.out.asks.len() - 1;
        if let Some(last) = self.out.asks.last_mut() {
            *last |= asks;
        }
        if self.out.tokens.last().is_some_and(|t| t.sentence == now) {
            self.out.asks.push(false);
            self.clause += 1;
        } else if asks && now > 0 {
            // "Ja!?": the mark belongs to the sentence before
            self.out.asks[now] = false;
        }
    }
}

fn joins(c: char, next: Option<char>) -> bool {
    let apostrophe = matches!(c, '\'' | '’' | '‘' | '´' | '`' | '-' | '‑' | '/');
    (apostrophe || matches!(c, '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}')) && next.is_some_and(char::is_alphanumeric)
        || matches!(c, '\u{300}'..='\u{36f}')
}

/// "jaaaa" is "ja", "yesss" is "yes": three of a letter are one.
fn squeeze(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        let mut run = 1;
        while chars.peek() == Some(&c) {
            chars.next();
            run += 1;
        }
        let keep = if run >= 3 && c.is_alphabetic() { 1 } else { run };
        out.extend(std::iter::repeat_n(c, keep));
    }
    out
}

/// Pictures only: no skin tones, no gender signs, which follow other pictures.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{2700}'..='\u{27bf}' | '\u{1f300}'..='\u{1f3fa}' | '\u{1f400}'..='\u{1faff}' | '\u{2600}'..='\u{263f}')
}

#[cfg(test)]
mod tests {
    use super::Text;

    fn words(text: &str) -> Vec<String> {
        Text::of(text).tokens.into_iter().map(|t| t.folded).collect()
    }

    #[test]
    fn words_are_folded_and_joined() {
        assert_eq!(words("Jaaa! Can’t come, e-post 50/50 +1 👍🏽"), ["ja", "cant", "come", "epost", "50/50", "+1", "👍"]);
    }

    #[test]
    fn a_sentence_ends_with_its_mark_or_a_short_line() {
        let t = Text::of("Ja tack. Kommer du kl 17.30?\nNej\nIngen");
        assert_eq!(t.tokens.last().map(|t| t.sentence), Some(3));
        assert_eq!(t.asks[..3], [false, true, false]);
    }

    #[test]
    fn a_very_long_text_is_cut() {
        assert!(Text::of(&"ja ".repeat(10_000)).cut);
    }
}
