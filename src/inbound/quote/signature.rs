//! Cuts the end of a person's text: signature, closing, name, what a phone adds and what a company adds.
//!
//! In: the lines between two quotes and the writer's name. Out: the lines before the end, and a postscript. Sources:
//! RFC 3676 §4.3 for `-- `; the rest has no standard, the words are data.

use super::Line;
use crate::inbound::words::{ALL, fold};

/// How many lines may follow a closing or a name: more than that is text.
const MOST_AFTER: usize = 10;

/// The lines of `segment` that are text.
pub(super) fn strip<'a, 'b>(segment: &'a [Line<'b>], name: &str) -> Vec<&'a Line<'b>> {
    let mut lines: Vec<&Line<'b>> = segment.iter().collect();
    cut_from(&mut lines, is_delimiter);
    cut_from(&mut lines, is_disclaimer);
    lines.retain(|l| !is_mobile(&l.folded));
    trim_blank(&mut lines);
    let end = closing_at(&lines).or_else(|| name_at(&lines, name));
    if let Some(end) = end {
        let postscript: Vec<&Line<'b>> = lines[end..].iter().skip_while(|l| !is_postscript(&l.folded)).copied().collect();
        lines.truncate(end);
        lines.extend(postscript);
    }
    trim_blank(&mut lines);
    lines
}

fn cut_from(lines: &mut Vec<&Line<'_>>, begins: fn(&Line<'_>) -> bool) {
    if let Some(at) = lines.iter().position(|l| begins(l)) {
        lines.truncate(at);
    }
}

fn trim_blank(lines: &mut Vec<&Line<'_>>) {
    while lines.last().is_some_and(|l| l.is_blank()) {
        lines.pop();
    }
    let blank = lines.iter().take_while(|l| l.is_blank()).count();
    lines.drain(..blank);
}

fn is_delimiter(line: &Line<'_>) -> bool {
    matches!(line.text.trim(), "--" | "—" | "- --") || (line.folded.len() >= 8 && line.folded.bytes().all(|b| b == b'_'))
}

fn is_disclaimer(line: &Line<'_>) -> bool {
    ALL.iter().flat_map(|w| &w.quote.disclaimers).any(|d| start_of_note(&line.folded).starts_with(d.as_str()))
}

/// A note's text without the marks that draw the eye to it.
fn start_of_note(folded: &str) -> &str {
    let bare = folded.trim_start_matches(|c: char| !c.is_alphanumeric());
    bare.strip_prefix("obs! ").unwrap_or(bare)
}

fn is_mobile(folded: &str) -> bool {
    let bare = folded.trim_start_matches(['-', '*', '[', '<', ' ', '_']);
    folded.len() <= 120 && ALL.iter().flat_map(|w| &w.quote.mobile).any(|m| bare.starts_with(m.as_str()))
}

fn is_postscript(folded: &str) -> bool {
    ["ps ", "ps:", "ps.", "p.s.", "ps!", "ps,"].iter().any(|p| folded.starts_with(p))
}

/// The last line that is a closing, with no more than a signature after it.
fn closing_at(lines: &[&Line<'_>]) -> Option<usize> {
    let floor = lines.len().saturating_sub(MOST_AFTER);
    let at = (floor.max(1)..lines.len()).find(|at| is_closing(&lines[*at].folded))?;
    lines[at + 1..].iter().take_while(|l| !is_postscript(&l.folded)).all(|l| l.folded.len() <= 90 && !l.folded.ends_with('?')).then_some(at)
}

/// A closing phrase and at most a name after it; or a short line with such a phrase in it ("Soliga hälsningar från Eva").
fn is_closing(folded: &str) -> bool {
    let bare = folded.trim_start_matches(['/', '-', '*', '_', ' ', '~']);
    let words = bare.split_whitespace().count();
    if words > 8 || bare.contains(['?', ':']) {
        return false;
    }
    ALL.iter().flat_map(|w| &w.quote.closings).any(|c| match bare.split_once(c.as_str()) {
        Some(("", rest)) => is_apart(rest) && rest.split_whitespace().count() <= 5 && !goes_on(rest),
        Some((before, rest)) => words <= 5 && c.len() >= 6 && before.ends_with(' ') && !before.contains(['.', '!', ',']) && is_apart(rest),
        None => false,
    })
}

fn is_apart(rest: &str) -> bool {
    !rest.chars().next().is_some_and(char::is_alphanumeric)
}

/// A new sentence begins in the line.
fn goes_on(rest: &str) -> bool {
    rest.trim_start_matches(['.', '!', ',', ' ']).trim_end_matches(['!', '.', ' ', ')']).contains(['.', '!'])
}

/// A line that is the writer's name and nothing else, with no more than a signature after it.
fn name_at(lines: &[&Line<'_>], name: &str) -> Option<usize> {
    let local = fold(name.split('@').next().unwrap_or_default());
    let names: Vec<String> = local.split(|c: char| !c.is_alphabetic()).filter(|n| n.len() > 1).map(str::to_owned).collect();
    let floor = lines.len().saturating_sub(MOST_AFTER).max(1);
    (floor..lines.len()).find(|at| {
        let apart = lines[at - 1].is_blank() || lines[*at].folded.starts_with(['/', '-', '~']);
        let last = at + 1 == lines.len();
        let after = || lines[at + 1..].iter().take_while(|l| !is_postscript(&l.folded)).all(|l| l.folded.len() <= 90);
        (is_name(lines[*at], &names) && (apart || last) && after()) || (apart && last && is_short_name(lines[*at], &names))
    })
}

/// Every word is part of the name, or its first letter.
fn is_name(line: &Line<'_>, names: &[String]) -> bool {
    let words: Vec<&str> = name_words(&line.folded);
    let known = |w: &&str| names.iter().any(|n| n == w || (w.len() == 1 && n.starts_with(w)));
    (1..=4).contains(&words.len()) && words.iter().all(known) && words.iter().any(|w| w.len() > 1 || line.folded.starts_with('/'))
}

fn name_words(folded: &str) -> Vec<&str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect()
}

/// Initials, or a pet name: words in capitals of which one is like the name.
fn is_short_name(line: &Line<'_>, names: &[String]) -> bool {
    let words = name_words(&line.folded);
    let capital = line.text.split_whitespace().all(|w| w.chars().find(|c| c.is_alphabetic()).is_none_or(char::is_uppercase));
    let initials = words.iter().all(|w| w.len() <= 3 && w.chars().all(|c| names.iter().any(|n| n.starts_with(c)) || c == 'x'));
    let alike = words.iter().any(|w| w.len() > 2 && names.iter().any(|n| n == w || (words.len() == 1 && n.get(..2) == w.get(..2))));
    (1..=3).contains(&words.len()) && !line.folded.contains(['?', '!', ',', ':']) && ((initials && words.len() <= 2) || (capital && alike))
}
