//! Finds where somebody else's words begin without a mark: attribution lines, header blocks and drawn rules.
//!
//! In: the lines of a text. Out: the same lines, those that are not the writer's marked as quoted. Looks ahead a few
//! lines only. Sources: S-146; the words are data, see `words/`.

use super::Line;
use crate::inbound::words::ALL;

/// How many lines an attribution may be wrapped over.
const WRAPPED: usize = 4;
/// How many characters it may have.
const LONGEST: usize = 300;
/// How many lines of a header block are looked at.
const BLOCK: usize = 8;

/// Marks attributions and everything after the start of an unmarked original.
pub(super) fn mark(lines: &mut [Line<'_>]) {
    let last_marked = lines.iter().rposition(|l| l.marked);
    let mut at = 0;
    while at < lines.len() {
        if lines[at].quoted || lines[at].is_blank() {
            at += 1;
            continue;
        }
        if begins_original(lines, at) {
            return mark_from(lines, at);
        }
        let Some(end) = attribution_end(lines, at) else {
            at += 1;
            continue;
        };
        lines[at..=end].iter_mut().for_each(|l| l.quoted = true);
        if last_marked.is_none_or(|last| last < end) && closes_with_colon(&lines[end]) {
            return mark_from(lines, end);
        }
        at = end + 1;
    }
}

fn mark_from(lines: &mut [Line<'_>], at: usize) {
    lines[at..].iter_mut().for_each(|l| l.quoted = true);
}

/// A rule with words in it ("-----Original Message-----"), or a header block.
fn begins_original(lines: &[Line<'_>], at: usize) -> bool {
    is_worded_rule(&lines[at].folded) || is_header_block(&lines[at..])
}

fn is_worded_rule(folded: &str) -> bool {
    let bare = folded.trim_matches(['-', '_', '=', '*', ' ', '—', '–']);
    let drawn = folded.len() - bare.len() >= 4 || folded.starts_with("begin forwarded");
    drawn && bare.len() < 60 && ALL.iter().any(|w| w.quote.original.iter().any(|o| bare.starts_with(o.as_str())))
}

fn is_header_block(lines: &[Line<'_>]) -> bool {
    let Some(first) = field_name(&lines[0].folded) else { return false };
    if !ALL.iter().any(|w| w.quote.from.iter().any(|f| f == first)) {
        return false;
    }
    let next = lines[1..].iter().filter(|l| !l.is_blank()).take(BLOCK);
    let fields = next.filter_map(|l| field_name(&l.folded)).filter(|n| ALL.iter().any(|w| w.quote.fields.iter().any(|f| f == n)));
    fields.take(2).count() == 2
}

/// The name before the colon, without the marks of bold text.
fn field_name(folded: &str) -> Option<&str> {
    let (name, _) = folded.split_once(':')?;
    let name = name.trim_matches(['*', ' ', '_']);
    (!name.is_empty() && name.len() <= 24).then_some(name)
}

/// Where the attribution that begins at `at` ends, if one does.
fn attribution_end(lines: &[Line<'_>], at: usize) -> Option<usize> {
    let mut text = String::new();
    for end in at..lines.len().min(at + WRAPPED) {
        let line = &lines[end];
        if line.quoted || line.is_blank() || text.len() + line.folded.len() > LONGEST {
            return None;
        }
        text.push_str(&line.folded);
        text.push(' ');
        let followed = lines[end + 1..].iter().take(3).find(|l| !l.is_blank()).is_some_and(|l| l.marked);
        if (closes_with_colon(line) || followed) && is_attribution(text.trim_end(), followed) {
            return begins_with_first(&lines[at..=end], followed).then_some(end);
        }
    }
    None
}

/// An answer may stand right above the attribution, without an empty line between. The attribution is the last lines that
/// have both its verb and its date; where there is no such pair, it begins with a line that holds a date or an address.
fn begins_with_first(lines: &[Line<'_>], followed: bool) -> bool {
    let joined = |from: usize| lines[from..].iter().map(|l| l.folded.as_str()).collect::<Vec<_>>().join(" ");
    let mut later = (1..lines.len()).map(joined);
    let first = &lines[0].folded;
    let says = dated_digits(first) >= 3 || first.split_whitespace().any(|word| word.trim_start_matches('@').contains('@'));
    !later.any(|rest| has_verb(&rest) && dated_digits(&rest) >= 3)
        && (says || !(1..lines.len()).any(|from| is_attribution(&joined(from), followed)))
}

fn closes_with_colon(line: &Line<'_>) -> bool {
    line.folded.ends_with(':') || line.folded.ends_with(" ----")
}

fn has_verb(text: &str) -> bool {
    ALL.iter().flat_map(|w| &w.quote.wrote).any(|verb| has_word(text, verb))
}

/// Digits outside of addresses.
fn dated_digits(text: &str) -> usize {
    text.split_whitespace().filter(|word| !word.contains('@')).flat_map(str::bytes).filter(u8::is_ascii_digit).count()
}

/// Somebody wrote something at some time, or from some address.
fn is_attribution(text: &str, followed: bool) -> bool {
    let wrote = has_verb(text);
    let address = text.contains('@');
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let dated = digits >= 3;
    let starts_so = dated && text.ends_with(':') && text.len() < 120 && text.contains('<') && address;
    (wrote && (address || dated) && (followed || address || digits >= 6)) || starts_so
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}
