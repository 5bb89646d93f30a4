//! Cuts a text into the pieces that the model knows: the likeliest way to write each word with them.
//!
//! In: a text. Out: numbers of pieces. A piece that begins a word bears [`MARK`]. Source: the unigram model of
//! SentencePiece (Kudo 2018); each piece has the logarithm of its probability as score.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Stands before a word.
const MARK: char = '\u{2581}';
/// The pieces that every model begins with.
pub(super) const BEGIN: usize = 0;
pub(super) const END: usize = 2;
const UNKNOWN: usize = 3;
/// A character that is no piece costs so much more than the rarest piece.
const UNKNOWN_COST: f32 = 10.0;
/// Characters of a word that are looked at: more are no word.
const MOST_CHARS: usize = 80;
/// Words of a text that are looked at: an answer stands in the first thousand.
const MOST_WORDS: usize = 2000;

/// All pieces, by what they say.
#[derive(Debug)]
pub(super) struct Pieces {
    numbers: HashMap<&'static str, (usize, f32)>,
    longest: usize,
    unknown: f32,
}

impl Pieces {
    pub(super) fn new(pieces: &[(&'static str, f32)]) -> Self {
        let named = pieces.iter().enumerate().skip(UNKNOWN + 1);
        let numbers: HashMap<_, _> = named.map(|(number, (piece, score))| (*piece, (number, *score))).collect();
        let longest = numbers.keys().map(|piece| piece.chars().count()).max().unwrap_or(1);
        let least = pieces.iter().map(|(_, score)| *score).fold(0.0, f32::min);
        Self { numbers, longest, unknown: least - UNKNOWN_COST }
    }

    /// The pieces of a text; half of `most` from its beginning and its end.
    pub(super) fn of(&self, text: &str, most: usize) -> Vec<usize> {
        let clean: String = text.nfkc().filter(|c| c.is_whitespace() || !is_invisible(*c)).collect();
        let mut out = Vec::new();
        for word in clean.split_whitespace().take(MOST_WORDS) {
            out.extend(self.word(word));
        }
        let half = most / 2;
        if out.len() > most {
            out.drain(half..out.len() - half);
        }
        out
    }

    /// The likeliest pieces of a word (Viterbi).
    fn word(&self, word: &str) -> Vec<usize> {
        let marked: String = std::iter::once(MARK).chain(word.chars().take(MOST_CHARS)).collect();
        let ends: Vec<usize> = marked.char_indices().map(|(at, _)| at).chain([marked.len()]).collect();
        let last = ends.len() - 1;
        let mut best = vec![(f32::NEG_INFINITY, 0, UNKNOWN); ends.len()];
        best[0].0 = 0.0;
        for from in 0..last {
            let so_far = best[from].0;
            for to in from + 1..=last.min(from + self.longest) {
                if let Some((number, score)) = self.numbers.get(&marked[ends[from]..ends[to]])
                    && so_far + score > best[to].0
                {
                    best[to] = (so_far + score, from, *number);
                }
            }
            if so_far + self.unknown > best[from + 1].0 {
                best[from + 1] = (so_far + self.unknown, from, UNKNOWN);
            }
        }
        let mut out = Vec::new();
        let mut at = last;
        while at > 0 {
            let (_, from, number) = best[at];
            out.push(number);
            at = from;
        }
        out.reverse();
        out
    }
}

/// Whether a text holds nothing that could be read.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_invisible(c))
}

/// Control and format characters and loose marks; the joiner of emoji stays.
fn is_invisible(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || format || is_combining_mark(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: [(&str, f32); 9] =
        [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁ja", -2.0), ("▁", -3.0), ("g", -4.0), ("jag", -5.0), ("▁j", -3.0)];

    fn pieces_of(text: &str, most: usize) -> Vec<usize> {
        Pieces::new(&PIECES).of(text, most)
    }

    #[test]
    fn a_word_is_written_with_its_likeliest_pieces() {
        assert_eq!(pieces_of("ja", 10), [4]);
        assert_eq!(pieces_of(" jag \u{200b}\n ja", 10), [4, 6, 4]);
        assert_eq!(pieces_of("", 10), [0; 0]);
    }

    #[test]
    fn what_is_no_piece_is_unknown_and_much_is_cut_in_the_middle() {
        assert_eq!(pieces_of("jaζ", 10), [4, UNKNOWN]);
        assert_eq!(pieces_of(&format!("ja {} ja", "g ".repeat(50)), 6), [4, 5, 6, 5, 6, 4]);
        assert_eq!(pieces_of(&"ζ".repeat(10_000), 1000).len(), MOST_CHARS + 1);
    }
}
