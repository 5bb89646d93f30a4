//! Two readers, one reading: the rules, which know words for certain, and the learnt reader, which knows the rest.
//!
//! In: what the rules made of a text. Out: what both make of it. Rules alone decide a text that is nothing but their words
//! ("Ja tack", "AVREGISTRERA"). Of all else the learnt reader has an opinion, and nothing is applied that the two do not agree
//! on or that it is not sure of; each effect has a threshold of its own (S-147). How they were set stands in `docs/READING.md`.

use super::model::{self, Opinion};
use crate::model::inbound::{Evidence, Intent, Reading};

/// How much a rule's word weighs beside the learnt reader's, as a factor of likelihood: a guess, and a clear case.
const GUESS: f32 = 1.2;
const CLEAR: f32 = 3.0;
/// How likely it must be that a careful person would record it unasked, where it is no clear case of the rules.
const UNASKED: f32 = 0.5;
/// A machine's text is never an answer: where one is so likely, a person looks.
const MACHINE: f32 = 0.05;
/// A text of more words is a story, in which much is said that is not the answer: there a yes or no that is no clear case of
/// the rules needs to be so sure.
const STORY: usize = 30;
const SURE_OF_STORY: f32 = 0.95;
/// How sure the learnt reader must be of a wish to be gone that no rule has found.
const GONE_ALONE: f32 = 0.95;
/// How sure it must be against a clear case of the rules, which weighs against it already.
const AGAINST_RULES: f32 = 0.95;
/// How sure it must be that a machine wrote what the rules find a clear answer.
const MACHINE_AGAINST_RULES: f32 = 0.93;
/// How sure it must be that nobody else comes whom the rules have counted.
const SURE_OF_NOBODY: f32 = 0.9;

/// How sure both together must be before an intent is applied.
fn threshold(intent: Intent) -> f32 {
    match intent {
        Intent::Yes | Intent::Unsubscribe | Intent::Erase => 0.88,
        Intent::Maybe => 0.90,
        Intent::No => 0.92,
        Intent::AutoReply => 0.95,
        Intent::Question | Intent::Other => f32::INFINITY,
    }
}

/// What the rules made of a text.
#[derive(Debug)]
pub(super) struct ByRules {
    pub(super) reading: Reading,
    /// The text has no other words than those the rules decided by.
    pub(super) is_whole: bool,
    /// It speaks of staying, or of not being taken off.
    pub(super) stays: bool,
    /// Every sentence asks.
    pub(super) only_asks: bool,
}

/// Reads a text of which the rules have made `rules`.
pub(super) fn read(own_words: &str, rules: ByRules) -> Reading {
    if rules.reading.apply && rules.is_whole {
        return rules.reading;
    }
    match model::ask(own_words) {
        Some(opinion) => combine(own_words, rules, &opinion),
        None => rules.reading,
    }
}

fn combine(own_words: &str, rules: ByRules, opinion: &Opinion) -> Reading {
    let weight = if rules.reading.apply { CLEAR } else { GUESS };
    let (intent, confidence) = Opinion::first(&opinion.weighed(rules.reading.intent, weight));
    if intent == Intent::AutoReply && rules.reading.apply && confidence < MACHINE_AGAINST_RULES {
        let mut evidence = rules.reading.evidence;
        evidence.push(Evidence { rule: format!("learnt.{intent}"), words: model::spoken(own_words, intent).to_owned() });
        return Reading { apply: false, confidence: confidence.min(0.5), evidence, ..rules.reading };
    }
    let agree = rules.reading.intent == intent;
    let is_clear = agree && rules.reading.apply;
    let is_story = matches!(intent, Intent::Yes | Intent::No) && !is_clear && own_words.split_whitespace().nth(STORY).is_some();
    let wanted = if is_story { SURE_OF_STORY } else { threshold(intent) };
    let unasked = is_clear || opinion.apply >= UNASKED;
    let apply = confidence >= wanted && unasked && !is_doubtful(&rules, opinion, intent, confidence);
    let by_rules = rules.reading;
    let mut evidence = if agree { by_rules.evidence } else { Vec::new() };
    // the rules' words are shown where there are any
    let words = if evidence.is_empty() { model::spoken(own_words, intent) } else { "" };
    evidence.push(Evidence { rule: format!("learnt.{intent}"), words: words.to_owned() });
    let guests = matches!(intent, Intent::Yes | Intent::Maybe).then(|| guests(by_rules.guests, opinion)).flatten();
    let secondary = both(by_rules.secondary, &opinion.secondary, intent);
    Reading { intent, secondary, guests, confidence, apply, language: by_rules.language, evidence }
}

/// What speaks against recording it, however sure the learnt reader is.
fn is_doubtful(rules: &ByRules, opinion: &Opinion, intent: Intent, confidence: f32) -> bool {
    let is_clear = rules.reading.apply && rules.reading.intent == intent;
    let leaves = |intent| matches!(intent, Intent::Unsubscribe | Intent::Erase);
    let otherwise = rules.reading.apply && rules.reading.intent != intent;
    let opposite = leaves(intent) || matches!((rules.reading.intent, intent), (Intent::Yes, Intent::No) | (Intent::No, Intent::Yes));
    let contradicted = otherwise && (opposite || confidence < AGAINST_RULES);
    let a_machine = intent != Intent::AutoReply && opinion.of(Intent::AutoReply) > MACHINE;
    let unfounded = leaves(intent) && (rules.stays || (!leaves(rules.reading.intent) && confidence < GONE_ALONE));
    let asks = rules.only_asks && !is_clear && matches!(intent, Intent::Yes | Intent::No | Intent::Maybe);
    contradicted || a_machine || unfounded || asks
}

/// The rules' count, which they have from a word, unless the learnt reader is sure that nobody is spoken of; without one its own.
fn guests(by_rules: Option<u32>, opinion: &Opinion) -> Option<u32> {
    let (learnt, sure) = opinion.guests;
    if by_rules.is_some() && (learnt.is_some() || sure < SURE_OF_NOBODY) { by_rules } else { learnt }
}

fn both(mut by_rules: Vec<String>, learnt: &[&str], intent: Intent) -> Vec<String> {
    for word in learnt.iter().filter(|word| **word != intent.as_str()) {
        if !by_rules.iter().any(|known| known == word) {
            by_rules.push((*word).to_owned());
        }
    }
    by_rules.retain(|word| word != intent.as_str());
    by_rules
}
