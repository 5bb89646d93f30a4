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
/// A sentence of a story that would be so sure a yes, alone, disputes a no, and the reverse, unless that is so sure.
const DISPUTES: f32 = 0.9;
const BEYOND_DISPUTE: f32 = 0.985;
/// How sure the learnt reader must be of a wish to be gone that no rule has found, in a text that speaks of mail.
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
        Intent::Yes => 0.86,
        Intent::Unsubscribe | Intent::Erase => 0.88,
        Intent::Maybe => 0.90,
        Intent::No => 0.94,
        Intent::AutoReply => 0.95,
        Intent::Question | Intent::Other => f32::INFINITY,
    }
}

/// What the rules made of a text.
#[derive(Debug)]
pub(super) struct ByRules {
    pub(super) reading: Reading,
    /// How many come besides the writer, if they come.
    pub(super) guests: Option<u32>,
    /// The text has no other words than those the rules decided by.
    pub(super) is_whole: bool,
    /// It speaks of staying, of not being taken off, or of somebody else's leaving.
    pub(super) stays: bool,
    /// Every sentence asks.
    pub(super) only_asks: bool,
    /// It speaks of mail, of a list or data, or of taking away; not asked where the rules decide alone.
    pub(super) of_mail: bool,
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
        let evidence = rules.reading.evidence.into_iter().chain([learnt(intent, "")]).collect();
        return Reading { apply: false, confidence: confidence.min(0.5), evidence, ..rules.reading };
    }
    let said = Said { intent, confidence, is_clear: rules.reading.apply && rules.reading.intent == intent };
    let is_long = own_words.split_whitespace().nth(STORY).is_some();
    let by_words = rules.reading.intent == intent && !rules.reading.evidence.is_empty();
    let answers = matches!(intent, Intent::Yes | Intent::No);
    let wanted = if is_long && answers && !said.is_clear { SURE_OF_STORY } else { threshold(intent) };
    let doubt = doubt(&rules, opinion, &said, wanted);
    // the sentences are asked only where they may change something: that takes as long as the whole did
    let disputable = doubt.is_none() && answers && confidence < BEYOND_DISPUTE;
    let alone = if is_long && (disputable || !by_words) { model::by_sentence(own_words) } else { Vec::new() };
    let dispute = if disputable { disputing(intent, &alone) } else { None };
    let waits = doubt.map(|why| (why, "")).or(dispute.map(|sentence| ("disputed", sentence)));
    let (by_rules, counted) = (rules.reading, rules.guests);
    let mut evidence = if by_words { by_rules.evidence } else { Vec::new() };
    evidence.push(learnt(intent, if by_words { "" } else { clearest(own_words, intent, &alone) }));
    // a question or something else waits for what it is
    if let Some((why, words)) = waits.filter(|_| threshold(intent).is_finite()) {
        evidence.push(Evidence { rule: format!("waits.{why}"), words: words.to_owned() });
    }
    let guests = matches!(intent, Intent::Yes | Intent::Maybe).then(|| guests(counted, opinion)).flatten();
    let secondary = both(by_rules.secondary, &opinion.secondary, intent);
    Reading { intent, secondary, guests, confidence, apply: waits.is_none(), language: by_rules.language, evidence }
}

/// What both readers together make of a text.
struct Said {
    intent: Intent,
    confidence: f32,
    /// It is a clear case of the rules.
    is_clear: bool,
}

fn learnt(intent: Intent, words: &str) -> Evidence {
    Evidence { rule: format!("learnt.{intent}"), words: words.to_owned() }
}

/// A short text is its own evidence; of a long one it is the sentence that says it most clearly.
fn clearest<'a>(own_words: &'a str, intent: Intent, alone: &[(&'a str, Opinion)]) -> &'a str {
    alone.iter().max_by(|a, b| a.1.of(intent).total_cmp(&b.1.of(intent))).map_or(own_words, |(sentence, _)| sentence)
}

/// A sentence of a story that says the opposite: "Nee zeggen kan ik niet".
fn disputing<'a>(intent: Intent, alone: &[(&'a str, Opinion)]) -> Option<&'a str> {
    let opposite = if intent == Intent::Yes { Intent::No } else { Intent::Yes };
    alone.iter().find(|(_, opinion)| opinion.of(opposite) > DISPUTES).map(|(sentence, _)| *sentence)
}

/// The first thing that speaks against recording it, by the name its evidence bears after `waits.`.
fn doubt(rules: &ByRules, opinion: &Opinion, said: &Said, wanted: f32) -> Option<&'static str> {
    let &Said { intent, confidence, is_clear } = said;
    let leaves = |intent| matches!(intent, Intent::Unsubscribe | Intent::Erase);
    let otherwise = rules.reading.apply && rules.reading.intent != intent;
    let comes = |intent| matches!(intent, Intent::Yes | Intent::Maybe);
    let by_rules = rules.reading.intent;
    // who declines may well want to be gone; who comes does not
    let opposite =
        (comes(by_rules) && leaves(intent)) || matches!((by_rules, intent), (Intent::Yes, Intent::No) | (Intent::No, Intent::Yes));
    let answers = matches!(intent, Intent::Yes | Intent::No | Intent::Maybe);
    let reasons = [
        ("unsure", confidence < wanted),
        ("asked_about", !is_clear && opinion.apply < UNASKED),
        ("rules_disagree", otherwise && (opposite || confidence < AGAINST_RULES)),
        ("perhaps_a_machine", intent != Intent::AutoReply && opinion.of(Intent::AutoReply) > MACHINE),
        ("speaks_of_staying_or_of_others", leaves(intent) && rules.stays),
        ("no_rule_says_so", leaves(intent) && !leaves(by_rules) && (confidence < GONE_ALONE || !rules.of_mail)),
        ("only_asks", rules.only_asks && !is_clear && answers),
    ];
    reasons.into_iter().find(|(_, holds)| *holds).map(|(why, _)| why)
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
