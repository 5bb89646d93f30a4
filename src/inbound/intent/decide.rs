//! Weighs the rules found in a text and decides: which intent, and whether it is recorded without asking (S-147).
//!
//! In: the text and its rules. Out: a [`Reading`]. The order of the questions is the order of the functions: does the
//! person want to be gone, do they doubt, do they come, do they ask.

use super::guests;
use super::matcher::{Class, Found};
use super::tokens::Text;
use crate::inbound::words::Words;
use crate::model::inbound::{Evidence, Intent, Reading};

/// How far from a verb a negation still turns it round, in words.
const NEAR: usize = 3;
/// A bare "yes" or "no" speaks for a text of so many words.
const SHORT: usize = 30;
/// "unsubscribe" and its like are an order in a text of so many words.
const WHOLE: usize = 4;

/// Decides what a text means.
pub(super) fn decide(own_words: &str, text: &Text, found: &[Found], words: &Words) -> Reading {
    let view = View::of(text, found);
    let verdict = view.leaves().or_else(|| view.answers()).or_else(|| view.asks()).unwrap_or_default();
    let (intent, apply) = (verdict.intent, verdict.apply && !text.cut);
    let guests = matches!(intent, Intent::Yes | Intent::Maybe).then(|| guests::count(found)).flatten();
    let secondary = view.secondary(&verdict);
    let said = verdict.because.iter().map(|f| evidence(own_words, text, f)).collect();
    let confidence = if apply { verdict.confidence } else { verdict.confidence.min(0.6) };
    Reading { intent, secondary, guests, confidence, apply, language: Some(words.language.clone()), evidence: said }
}

/// How far from a word of leaving a negation may stand, in words, to make it doubtful.
const FAR: usize = 8;

/// Whether a text speaks of staying, of leaving beside a negation ("avregistrera mig för all del inte"), or of somebody else
/// who may be the one to leave ("remove my late husband").
pub(super) fn stays(text: &Text, found: &[Found]) -> bool {
    let leaving = |f: &&Found| matches!(f.class, Class::Unsubscribe | Class::Leaving | Class::Erase | Class::Erasing);
    let denied = |f: &Found| {
        let outside = |n: &&Found| n.class == Class::Negator && (n.from >= f.to || n.to <= f.from);
        found.iter().filter(outside).any(|n| n.apart(f) < FAR && text.tokens[n.from].clause == text.tokens[f.from].clause)
    };
    found.iter().any(|f| matches!(f.class, Class::Keep | Class::Relative)) || found.iter().filter(leaving).any(denied)
}

fn evidence(own_words: &str, text: &Text, found: &Found) -> Evidence {
    let (start, end) = (text.tokens[found.from].start, text.tokens[found.to - 1].end);
    Evidence { rule: found.rule.to_owned(), words: own_words.get(start..end).unwrap_or_default().to_owned() }
}

struct Verdict<'a> {
    intent: Intent,
    apply: bool,
    confidence: f32,
    because: Vec<&'a Found>,
}

impl Default for Verdict<'_> {
    fn default() -> Self {
        Self { intent: Intent::Other, apply: false, confidence: 0.5, because: Vec::new() }
    }
}

/// What speaks for what, after negation, questions and conditions.
struct View<'a> {
    text: &'a Text,
    found: &'a [Found],
    yes: Vec<&'a Found>,
    no: Vec<&'a Found>,
    wish: Vec<&'a Found>,
    maybe: Vec<&'a Found>,
    agree: Vec<&'a Found>,
    refuse: Vec<&'a Found>,
    /// A yes that hangs on something.
    conditional: bool,
    /// A negation that belongs to no rule.
    stray_negation: bool,
    words: usize,
}

impl<'a> View<'a> {
    fn of(text: &'a Text, found: &'a [Found]) -> Self {
        let words = text.tokens.iter().filter(|t| t.is_word).count();
        let mut view = Self {
            text,
            found,
            yes: Vec::new(),
            no: Vec::new(),
            wish: Vec::new(),
            maybe: Vec::new(),
            agree: Vec::new(),
            refuse: Vec::new(),
            conditional: false,
            stray_negation: false,
            words,
        };
        let mut used = Vec::new();
        found.iter().for_each(|f| view.sort(f, &mut used));
        view.stray_negation = found.iter().any(|n| n.class == Class::Negator && !used.contains(&n.from));
        view
    }

    /// Puts a rule where it speaks.
    fn sort(&mut self, f: &'a Found, used: &mut Vec<usize>) {
        let sentence = self.text.tokens[f.from].sentence;
        let asked = self.asked_in(sentence) && !self.opens_with_particle(sentence);
        match f.class {
            Class::Yes | Class::Come | Class::Wish => match self.negation_near(f) {
                Some(at) => {
                    used.push(at);
                    if !asked {
                        self.no.push(f);
                    }
                }
                None if asked => {}
                None if f.class == Class::Wish => self.wish.push(f),
                None => self.add_yes(f),
            },
            Class::No if !asked => {
                self.conditional |= self.follows_condition(f);
                self.no.push(f);
            }
            Class::Maybe => self.maybe.push(f),
            Class::Refuse if self.follows_contrast(f) && !asked => self.no.push(f),
            Class::Agree if self.opens_sentence(f) && !asked => self.agree.push(f),
            Class::Refuse if self.opens_sentence(f) && !asked => self.refuse.push(f),
            _ => {}
        }
    }

    /// A bare verb of coming is a yes only where it opens its sentence or follows an "I" (both are rules of class yes)
    /// or says who else comes; what is left counts as a wish.
    fn add_yes(&mut self, f: &'a Found) {
        if self.hangs_on_condition(f) {
            self.conditional = true;
        }
        if f.class == Class::Come && !self.with_guests(f) { self.wish.push(f) } else { self.yes.push(f) }
    }

    /// "My wife and I are coming": somebody is named who comes too.
    fn with_guests(&self, f: &Found) -> bool {
        let sentence = self.text.tokens[f.from].sentence;
        let named = |c| matches!(c, Class::GuestsTotal | Class::GuestsPlus | Class::GuestsOne);
        !self.has(Class::Condition) && self.found.iter().any(|g| named(g.class) && self.text.tokens[g.from].sentence == sentence)
    }

    fn all(&self, class: Class) -> impl Iterator<Item = &'a Found> {
        self.found.iter().filter(move |f| f.class == class)
    }

    fn has(&self, class: Class) -> bool {
        self.all(class).next().is_some()
    }

    /// A negation in the same clause and no more than [`NEAR`] words away, with no "but" between.
    fn negation_near(&self, f: &Found) -> Option<usize> {
        let tokens = &self.text.tokens;
        let near = self.found.iter().filter(|n| n.class == Class::Negator || self.denies_verb(n)).find(|n| {
            let (first, last) = (n.from.min(f.from), n.from.max(f.from));
            let same = tokens[first].clause == tokens[last].clause && tokens[first].sentence == tokens[last].sentence;
            n.apart(f) < NEAR && same && !self.all(Class::Contrast).any(|c| (first..last).contains(&c.from))
        })?;
        Some(near.from)
    }

    /// A "no" that is the verb's negation, not an answer: "No quiero participar".
    fn denies_verb(&self, f: &Found) -> bool {
        let tokens = &self.text.tokens;
        f.class == Class::Refuse && f.to - f.from == 1 && tokens.get(f.to).is_some_and(|next| next.clause == tokens[f.from].clause)
    }

    /// "if" in the same sentence: at its start, or after the words it conditions.
    fn hangs_on_condition(&self, f: &Found) -> bool {
        let tokens = &self.text.tokens;
        let sentence = tokens[f.from].sentence;
        self.all(Class::Condition).any(|c| tokens[c.from].sentence == sentence && (c.from >= f.to || self.opens_sentence(c)))
    }

    /// "If it is a no, …".
    fn follows_condition(&self, f: &Found) -> bool {
        let sentence = self.text.tokens[f.from].sentence;
        self.all(Class::Condition).any(|c| c.from < f.from && self.text.tokens[c.from].sentence == sentence && self.opens_sentence(c))
    }

    /// "…, but no": the last word on the matter.
    fn follows_contrast(&self, f: &Found) -> bool {
        let sentence = self.text.tokens[f.from].sentence;
        self.all(Class::Contrast).any(|c| (c.to..=c.to + 1).contains(&f.from) && self.text.tokens[c.from].sentence == sentence)
    }

    /// The sentence asks, by its mark or its words.
    fn asked_in(&self, sentence: usize) -> bool {
        self.text.asks[sentence] || self.all(Class::Question).any(|q| self.text.tokens[q.from].sentence == sentence)
    }

    fn opens_sentence(&self, f: &Found) -> bool {
        let sentence = self.text.tokens[f.from].sentence;
        let before = self.text.tokens[..f.from].iter().rev().take_while(|t| t.sentence == sentence);
        let clause = self.text.tokens[f.from].clause;
        // "Hej Monica, ja tack": a greeting of a few words with a comma may stand before
        let (mut words, mut apart) = (0, true);
        for token in before.filter(|t| t.is_word) {
            words += 1;
            apart &= token.clause != clause;
        }
        words == 0 || (words <= 4 && apart)
    }

    fn opens_with_particle(&self, sentence: usize) -> bool {
        let first = self.text.tokens.partition_point(|t| t.sentence < sentence);
        self.found.iter().any(|f| f.from == first && matches!(f.class, Class::Agree | Class::Refuse))
    }

    fn is_question(&self) -> bool {
        self.text.asks.iter().any(|a| *a) || self.has(Class::Question)
    }

    /// Does the person want to be gone? Data before mail: whoever asks for both asks for the larger.
    fn leaves(&self) -> Option<Verdict<'a>> {
        if self.has(Class::Keep) {
            return None;
        }
        let whole = |class| self.words <= WHOLE && !self.has(Class::Negator) && !self.is_question() && self.has(class);
        let erase: Vec<&Found> = self.all(Class::Erase).collect();
        if !erase.is_empty() || whole(Class::Erasing) {
            let because = if erase.is_empty() { self.all(Class::Erasing).collect() } else { erase };
            let apply = !self.has(Class::Complaint) && self.yes.is_empty() && !self.negated(&because);
            return Some(Verdict { intent: Intent::Erase, apply, confidence: 0.95, because });
        }
        let unsubscribe: Vec<&Found> = self.all(Class::Unsubscribe).collect();
        if unsubscribe.is_empty() && !whole(Class::Leaving) {
            return None;
        }
        let because = if unsubscribe.is_empty() { self.all(Class::Leaving).collect() } else { unsubscribe };
        if self.yes.first().is_some_and(|y| y.from < because[0].from) {
            return Some(Verdict { intent: Intent::Yes, apply: false, confidence: 0.5, because: self.yes.clone() });
        }
        let supposed = self.is_question() && self.has(Class::Condition);
        let clear = self.yes.is_empty() && !supposed && !self.has(Class::Partial) && !self.has(Class::Complaint);
        let apply = clear && !self.negated(&because) && self.maybe.is_empty();
        Some(Verdict { intent: Intent::Unsubscribe, apply, confidence: 0.96, because })
    }

    /// Somewhere in the same clause something is denied, and not within the words themselves: perhaps the wish to be gone.
    fn negated(&self, because: &[&Found]) -> bool {
        let tokens = &self.text.tokens;
        let near = |f: &&Found| self.negation_near(f).is_some();
        let denies = |f: &Found| {
            let apart = |n: &Found| !because.iter().any(|b| (b.from..b.to).contains(&n.from));
            self.all(Class::Negator).any(|n| n.from > f.from && tokens[n.from].clause == tokens[f.from].clause && apart(n))
        };
        because.iter().any(|f| near(f) || denies(f))
    }

    /// Do they come?
    fn answers(&self) -> Option<Verdict<'a>> {
        if self.has(Class::Leaving) && !self.is_question() && self.yes.is_empty() && self.no.is_empty() && !self.has(Class::Keep) {
            return Some(Verdict {
                intent: Intent::Unsubscribe,
                apply: false,
                confidence: 0.5,
                because: self.all(Class::Leaving).collect(),
            });
        }
        let doubts = !self.maybe.is_empty() || (self.conditional && self.no.is_empty());
        let (last_no, last_maybe) = (self.no.last().map(|f| f.from), self.maybe.last().map(|f| f.from));
        if doubts && (self.no.is_empty() || (last_maybe > last_no && self.refuse.is_empty())) {
            return Some(self.doubt());
        }
        match (self.yes.is_empty(), self.no.is_empty()) {
            (false, true) => Some(self.settle(Intent::Yes, &self.yes, &self.refuse)),
            (true, false) => Some(self.settle(Intent::No, &self.no, &self.agree)),
            (false, false) => Some(self.conflict()),
            (true, true) => self.particles(),
        }
    }

    fn doubt(&self) -> Verdict<'a> {
        let mut because = self.maybe.clone();
        if because.is_empty() {
            because.clone_from(&self.yes);
        }
        let alone = self.maybe.iter().any(|f| self.opens_sentence(f) && self.ends_clause(f));
        let asks_besides = self.is_question() && !alone;
        let apply = !self.maybe.is_empty() && self.no.is_empty() && !asks_besides && !self.has(Class::Leaving);
        let inclined = self.yes.len() == 1 || !self.wish.is_empty() || !self.agree.is_empty();
        let clear = self.words <= 2 * WHOLE || ((inclined || self.maybe.len() > 1) && self.words <= 2 * SHORT);
        Verdict { intent: Intent::Maybe, apply: apply && clear, confidence: 0.85, because }
    }

    /// One side only speaks in whole phrases. A bare particle of the other side, if it does not stand alone, is a way
    /// of speaking ("Nej, det är inga problem, jag kommer").
    fn settle(&self, intent: Intent, because: &[&'a Found], against: &[&'a Found]) -> Verdict<'a> {
        let opposed = against.iter().any(|f| self.stands_alone(f) || against.len() > 1);
        let muddled = match intent {
            Intent::Yes => self.stray_after_contrast() || self.has(Class::Down) || self.has(Class::Delegate),
            _ => {
                let bare = because.iter().all(|f| f.class != Class::No);
                let by_particle = bare && !self.has(Class::Negator);
                self.conditional || by_particle || !self.maybe.is_empty() || self.has(Class::Thumb)
            }
        };
        let apply = !opposed && !muddled && !self.has(Class::Leaving) && !self.has(Class::Erasing);
        Verdict { intent, apply, confidence: 0.95, because: because.to_vec() }
    }

    /// "but … not": something that no rule knows is denied after a yes.
    fn stray_after_contrast(&self) -> bool {
        let Some(contrast) = self.all(Class::Contrast).map(|c| c.from).last() else { return false };
        self.stray_negation && self.all(Class::Negator).any(|n| n.from > contrast)
    }

    /// Both sides speak: the later one is the better guess, and a person decides.
    fn conflict(&self) -> Verdict<'a> {
        let (yes, no) = (self.yes.last().map(|f| f.from), self.no.last().map(|f| f.from));
        let (intent, because) = if yes > no { (Intent::Yes, &self.yes) } else { (Intent::No, &self.no) };
        Verdict { intent, apply: false, confidence: 0.5, because: because.clone() }
    }

    /// Nothing but bare words and signs, and what one would like.
    fn particles(&self) -> Option<Verdict<'a>> {
        let first = match (self.agree.first(), self.refuse.first()) {
            (Some(a), Some(r)) if r.from < a.from => (Intent::No, *r, self.agree.as_slice()),
            (Some(a), _) => (Intent::Yes, *a, self.refuse.as_slice()),
            (None, Some(r)) => (Intent::No, *r, self.agree.as_slice()),
            (None, None) => return self.wishes(),
        };
        let (intent, because, against) = first;
        let denied = self.stray_negation && !self.stands_alone(because);
        let guests_only = against.iter().all(|f| self.about_guests(f));
        let alone = self.stands_alone(because) && !self.stray_negation && against.is_empty();
        let hangs = self.conditional || self.has(Class::Condition);
        let clear = self.words <= SHORT && !self.is_question() && !denied && !hangs && (alone || !self.has(Class::Contrast));
        let apply = clear && guests_only && (intent == Intent::Yes || self.wish.is_empty()) && !self.has(Class::Keep);
        Some(Verdict { intent, apply, confidence: if self.words <= WHOLE { 0.97 } else { 0.9 }, because: vec![because] })
    }

    fn about_guests(&self, f: &Found) -> bool {
        let sentence = self.text.tokens[f.from].sentence;
        self.all(Class::GuestsNone).any(|g| self.text.tokens[g.from].sentence == sentence)
    }

    fn wishes(&self) -> Option<Verdict<'a>> {
        let only = |intent, because: &'a Found, apply| Some(Verdict { intent, apply, confidence: 0.55, because: vec![because] });
        if self.is_question() || (self.has(Class::Delegate) && !self.wish.is_empty()) {
            return None;
        }
        if let Some(wish) = self.wish.first() {
            let intent = if self.has(Class::Contrast) || self.stray_negation { Intent::No } else { Intent::Yes };
            return only(intent, wish, false);
        }
        if let Some(total) = self.all(Class::GuestsTotal).next().filter(|_| self.refuse.is_empty()) {
            return only(Intent::Yes, total, !self.stray_negation && !self.has(Class::Condition) && self.words <= SHORT);
        }
        if self.words > 2 {
            return None;
        }
        let sign = |class| self.all(class).next();
        if let Some(f) = sign(Class::Thumb) {
            return only(Intent::Yes, f, false);
        }
        if let Some(f) = sign(Class::Down) {
            return only(Intent::No, f, false);
        }
        sign(Class::Doubt).and_then(|f| only(Intent::Maybe, f, false))
    }

    /// "Maybe. Is there parking?" and "Maybe – which days?": what follows is something else; "maybe you could call?" is not.
    fn ends_clause(&self, f: &Found) -> bool {
        let tokens = &self.text.tokens;
        let next = tokens.get(f.to..).unwrap_or_default().iter().find(|t| t.is_word);
        next.is_none_or(|next| next.sentence != tokens[f.from].sentence || next.clause != tokens[f.from].clause)
    }

    /// The sentence has no other words.
    fn stands_alone(&self, f: &Found) -> bool {
        let sentence = self.text.tokens[f.from].sentence;
        self.text.sentence(sentence).filter(|t| t.is_word).count() <= f.to - f.from
    }

    /// Do they ask?
    fn asks(&self) -> Option<Verdict<'a>> {
        let because = self.all(Class::Question).collect();
        self.is_question().then_some(Verdict { intent: Intent::Question, apply: false, confidence: 0.7, because })
    }

    fn secondary(&self, verdict: &Verdict<'_>) -> Vec<String> {
        let mut out: Vec<&str> = Vec::new();
        let mut add = |word: &'static str, wanted: bool| {
            if wanted {
                out.push(word);
            }
        };
        add("question", self.is_question() && verdict.intent != Intent::Question);
        add("later", self.has(Class::Later));
        add("delegate", self.has(Class::Delegate));
        add("address_change", self.has(Class::AddressChange));
        let leaving = matches!(verdict.intent, Intent::Unsubscribe | Intent::Erase);
        add("no", leaving && (!self.refuse.is_empty() || !self.no.is_empty()));
        add("unsubscribe", verdict.intent == Intent::Yes && self.has(Class::Unsubscribe));
        out.into_iter().map(str::to_owned).collect()
    }
}
