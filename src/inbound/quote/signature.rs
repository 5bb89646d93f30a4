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
    ALL.iter().flat_map(|w| &w.quote.disclaimers).any(|d| line.folded.trim_start_matches(['*', '_', ' ']).starts_with(d.as_str()))
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

/// A closing phrase and at most a name after it.
fn is_closing(folded: &str) -> bool {
    let bare = folded.trim_start_matches(['/', '-', '*', '_', ' ', '~']);
    let ends = |rest: &str| {
        let first = rest.chars().next();
        let apart = !first.is_some_and(char::is_alphanumeric);
        apart && rest.split_whitespace().count() <= 4 && !rest.trim_end_matches(['!', '.', ' ']).contains(['?', '.', '!', ':'])
    };
    ALL.iter().flat_map(|w| &w.quote.closings).any(|c| bare.strip_prefix(c.as_str()).is_some_and(ends))
}

/// A line that is the writer's name and nothing else, with no more than a signature after it.
fn name_at(lines: &[&Line<'_>], name: &str) -> Option<usize> {
    let names: Vec<String> = fold(name.split('@').next().unwrap_or_default())
        .split(|c: char| !c.is_alphabetic())
        .filter(|n| n.len() > 1)
        .map(str::to_owned)
        .collect();
    let floor = lines.len().saturating_sub(MOST_AFTER).max(1);
    let at = (floor..lines.len()).find(|at| is_name(&lines[*at].folded, &names))?;
    let apart = lines[at - 1].is_blank() || lines[at].folded.starts_with(['/', '-', '~']) || at + 1 == lines.len();
    (apart && lines[at + 1..].iter().take_while(|l| !is_postscript(&l.folded)).all(|l| l.folded.len() <= 90)).then_some(at)
}

fn is_name(folded: &str, names: &[String]) -> bool {
    let bare = folded.trim_matches(|c: char| !c.is_alphanumeric());
    let words: Vec<&str> = bare.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let known = |w: &&str| names.iter().any(|n| n == w || (w.len() == 1 && n.starts_with(w)));
    (1..=4).contains(&words.len()) && words.iter().all(known) && words.iter().any(|w| w.len() > 1 || folded.starts_with('/'))
}
