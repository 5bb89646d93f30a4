//! A reader that has learnt: what people mean beyond the words that rules know.
//!
//! In: a person's own words. Out: an [`Opinion`]. A small encoder for many languages (from multilingual-e5-small, MIT),
//! taught by `scripts/train-intent` with the examples in `tests/fixtures/intents/learn`; what it is worth stands in `docs/READING.md`. It runs
//! in this process, needs no network, and is read from the binary when it is first asked.
//!
//! Stations: `pieces` cuts the text, `network` asks.

mod file;
mod network;
mod pieces;

use std::sync::LazyLock;

use crate::inbound::words::fold;
use crate::model::inbound::Intent;

/// The answers' order in the file, that of `INTENTS` in `scripts/train-intent`.
const INTENTS: [Intent; 8] =
    [Intent::Yes, Intent::No, Intent::Maybe, Intent::Unsubscribe, Intent::Erase, Intent::Question, Intent::Other, Intent::AutoReply];
/// Where the other answers stand.
const APPLY: usize = 8;
const GUESTS: std::ops::Range<usize> = 9..18;
const SECONDARY: [(usize, &str); 4] = [(18, "question"), (19, "later"), (20, "delegate"), (21, "address_change")];
const OUTPUTS: usize = 22;

/// An intent so likely is not asked for twice.
const DECIDED: f32 = 0.90;

/// Absent where a fuzzer runs (`fuzz/`), which wants thousands of messages a second.
static MODEL: LazyLock<Option<Model>> = LazyLock::new(|| if cfg!(fuzzing) { None } else { Model::read(include_bytes!("intent.bin")) });

#[derive(Debug)]
struct Model {
    pieces: pieces::Pieces,
    weights: file::Weights,
}

/// What the learnt reader makes of a text.
#[derive(Clone, Debug)]
pub(super) struct Opinion {
    /// How likely each intent is, in the order of [`INTENTS`]; they sum to one.
    shares: [f32; 8],
    /// How likely it is that a careful person would record it without asking, from 0 to 1.
    pub(super) apply: f32,
    /// People besides the writer, and how likely that is; `None` where nothing is said.
    pub(super) guests: (Option<u32>, f32),
    /// Further things in the text.
    pub(super) secondary: Vec<&'static str>,
}

impl Opinion {
    /// The mean of two opinions of one text; all but shares and `apply` is the first one's.
    fn and(mut self, other: &Opinion) -> Self {
        self.shares.iter_mut().zip(other.shares).for_each(|(share, other)| *share = f32::midpoint(*share, other));
        self.apply = f32::midpoint(self.apply, other.apply);
        self
    }

    /// How likely each intent is when `intent` has `weight` times the likelihood it had.
    pub(super) fn weighed(&self, intent: Intent, weight: f32) -> [f32; 8] {
        let mut shares = self.shares;
        for (share, _) in shares.iter_mut().zip(INTENTS).filter(|(_, i)| *i == intent) {
            *share *= weight;
        }
        let sum: f32 = shares.iter().sum();
        shares.map(|share| share / sum)
    }

    /// The likeliest intent of such shares and how likely it is.
    pub(super) fn first(shares: &[f32; 8]) -> (Intent, f32) {
        INTENTS.into_iter().zip(*shares).fold((Intent::Other, 0.0), |best, next| if next.1 > best.1 { next } else { best })
    }

    /// How likely an intent is.
    pub(super) fn of(&self, intent: Intent) -> f32 {
        INTENTS.iter().zip(self.shares).find(|(i, _)| **i == intent).map_or(0.0, |(_, share)| share)
    }
}

/// Asks the learnt reader; `None` where the text holds nothing it could read.
///
/// Where it is not decided it is asked once more, of the text as a keyboard without accents and capitals would give it, and
/// the two answers count the same: that is right more often than either.
pub(super) fn ask(text: &str) -> Option<Opinion> {
    let model = MODEL.as_ref().filter(|_| !pieces::is_blank(text))?;
    let first = model.ask(&[text]).pop()?;
    if first.shares.iter().any(|share| *share >= DECIDED) {
        return Some(first);
    }
    Some(match model.ask(&[&fold(text)]).pop() {
        Some(second) => first.and(&second),
        None => first,
    })
}

/// Octets of a text whose sentences are asked one by one: twice what the network reads of a whole.
const MOST_SPOKEN: usize = 2000;

/// What each sentence of a text would say if it stood alone.
pub(super) fn by_sentence(text: &str) -> Vec<(&str, Opinion)> {
    let Some(model) = MODEL.as_ref() else { return Vec::new() };
    let mut octets = 0;
    let some = sentences(text).into_iter().take_while(|sentence| {
        let begun = octets < MOST_SPOKEN;
        octets += sentence.len();
        begun
    });
    let some: Vec<&str> = some.collect();
    let opinions = if some.is_empty() { Vec::new() } else { model.ask(&some) };
    some.into_iter().zip(opinions).collect()
}

/// The sentences of a text that have a letter, ended by a mark and a space or by a line's end.
fn sentences(text: &str) -> Vec<&str> {
    let mut after_mark = false;
    let ends = |c: char| {
        let ends = c == '\n' || (after_mark && c.is_whitespace());
        after_mark = matches!(c, '.' | '!' | '?' | '…');
        ends
    };
    text.split(ends).map(str::trim).filter(|sentence| sentence.contains(char::is_alphabetic)).collect()
}

impl Model {
    fn read(file: &'static [u8]) -> Option<Self> {
        let (pieces, weights) = file::read(file)?;
        (weights.sizes.outputs == OUTPUTS).then(|| Self { pieces: pieces::Pieces::new(&pieces), weights })
    }

    /// An opinion of each text.
    fn ask(&self, texts: &[&str]) -> Vec<Opinion> {
        let marked = |pieces: Vec<usize>| [pieces::BEGIN].into_iter().chain(pieces).chain([pieces::END]).collect();
        let pieces = texts.iter().map(|text| self.pieces.of(text, self.weights.sizes.longest - 2));
        let asked: Vec<Vec<usize>> = pieces.map(marked).collect();
        network::ask(&self.weights, &asked).iter().filter_map(|said| opinion(said)).collect()
    }
}

fn opinion(said: &[f32]) -> Option<Opinion> {
    let mut shares: [f32; 8] = said.get(..8)?.try_into().ok()?;
    network::to_shares(&mut shares);
    let mut guests = said.get(GUESTS)?.to_vec();
    network::to_shares(&mut guests);
    let chance = |at: usize| 1.0 / (1.0 + (-said[at]).exp());
    let class = guests.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
    let secondary = SECONDARY.iter().filter(|(at, _)| chance(*at) > 0.5).map(|(_, word)| *word).collect();
    let guests = (u32::try_from(class).ok().and_then(|n| n.checked_sub(1)), guests[class]);
    Some(Opinion { shares, apply: chance(APPLY), guests, secondary })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file in the binary is of this form and reads plain answers in ten languages.
    #[test]
    fn plain_answers_are_understood() {
        for (text, intent) in [
            ("Ja tack, jag kommer gärna!", Intent::Yes),
            ("Den kvällen sitter jag i en stuga utan el, tyvärr.", Intent::No),
            ("I have to check my roster first, I'll let you know on Friday.", Intent::Maybe),
            ("Vennligst stryk meg fra e-postlisten deres.", Intent::Unsubscribe),
            ("Ich verlange die Löschung aller meiner personenbezogenen Daten.", Intent::Erase),
            ("Est-ce qu'il y a un parking à côté ?", Intent::Question),
            ("Kiitos viestistä ja hyvää syksyä!", Intent::Other),
            ("Jestem na urlopie do 4 grudnia i nie mam dostępu do poczty.", Intent::AutoReply),
            ("Nee bedankt, ik kan die avond niet.", Intent::No),
            ("¡Claro que sí! Apúntame.", Intent::Yes),
            ("Det kan jeg da ikke sige nej til, skriv mig på", Intent::Yes),
        ] {
            let opinion = ask(text).unwrap();
            assert_eq!(Opinion::first(&opinion.shares).0, intent, "{text}: {opinion:?}");
            assert!((opinion.shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn any_text_gives_an_opinion_or_none() {
        assert!(ask("").is_none() && ask(" \n\u{200b} ").is_none());
        for text in ["👍", "ζ", "ja\u{301}", "\u{202e}ja\u{0}", &"jag kommer inte ".repeat(20_000), &"a".repeat(1_000_000)] {
            let opinion = ask(text).unwrap();
            assert!(opinion.shares.iter().chain([&opinion.apply]).all(|n| n.is_finite()));
            let _ = by_sentence(text);
        }
    }

    #[test]
    fn each_sentence_of_a_story_has_a_meaning_of_its_own() {
        let story = "Ja, ett sådant nätverk behövs verkligen. Vi har flyttat och allt är rörigt. Jag avstår den här gången.";
        let said: Vec<(&str, Intent)> = by_sentence(story).iter().map(|(text, o)| (*text, Opinion::first(&o.shares).0)).collect();
        assert_eq!(said.len(), 3);
        assert_eq!(said[2], ("Jag avstår den här gången.", Intent::No));
        assert!(by_sentence("").is_empty() && by_sentence("👍 --").is_empty());
    }

    #[test]
    fn no_word_is_cut_by_the_end_of_a_sentence() {
        assert_eq!(sentences("Kl 18.30?  Ja!\n\n👍 -- \nVi... ses. "), ["Kl 18.30?", "Ja!", "Vi...", "ses."]);
        assert!(sentences(" \n").is_empty());
    }
}
