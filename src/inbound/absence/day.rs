//! The days that a text names, in the forms of one language.
//!
//! In: tokens and a language's words. Out: [`Day`]s in the order they stand: "3 december", "December 3rd, 2026", "3.12.",
//! "03/12/2026", "2026-12-03"; and where one ends a span, where that begins. Whether there is such a day is not asked.

use super::token::{Token, What};
use super::{among, has};
use crate::inbound::words::Words;

/// How far back the first day of a span is sought.
const SPAN: usize = 14;
/// Tokens between a day's number and its month: "3:e av".
const BETWEEN: usize = 3;

/// A day that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day {
    /// Its first token.
    pub(super) start: usize,
    /// The token after its last.
    pub(super) end: usize,
    /// Of the month.
    pub(super) day: u32,
    /// Of the year.
    pub(super) month: u32,
    /// Where it is said.
    pub(super) year: Option<i32>,
    /// The first token of the span that it ends.
    pub(super) since: Option<usize>,
}

/// Every day that the tokens name, from left to right, none within another.
pub(super) fn list(tokens: &[Token], words: &Words) -> Vec<Day> {
    let mut days = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match day_at(tokens, at, words) {
            Some(day) => {
                at = day.end;
                days.push(Day { since: day.since.or_else(|| span_before(tokens, &day, words)), ..day });
            }
            None => at += 1,
        }
    }
    days
}

fn day_at(tokens: &[Token], at: usize, words: &Words) -> Option<Day> {
    if !stands_alone(tokens, at) {
        return None;
    }
    match tokens[at].what {
        What::Number => iso(tokens, at).or_else(|| numeric(tokens, at, words)).or_else(|| with_month(tokens, at, words)),
        What::Word if words.absence.month_first => month_first(tokens, at, words),
        _ => None,
    }
}

/// Whether no longer number, version, telephone number or word reaches into it.
fn stands_alone(tokens: &[Token], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return true };
    if !touches(tokens, before) {
        return true;
    }
    match tokens[before].what {
        What::Mark => !(tokens[before].is_mark("+#@_=") || is_number(tokens, before.checked_sub(1)) && tokens[before].is_mark("./:,")),
        _ => false,
    }
}

/// Whether nothing stands between a token and the next.
fn touches(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|next| next.place.start == tokens[at].place.end)
}

fn is_number(tokens: &[Token], at: Option<usize>) -> bool {
    at.and_then(|at| tokens.get(at)).is_some_and(|t| t.what == What::Number)
}

/// The number at `at` behind one of the marks, nothing between them.
fn number_behind<'a>(tokens: &'a [Token], at: usize, marks: &str) -> Option<&'a Token> {
    let joined = tokens.get(at)?.is_mark(marks) && at > 0 && touches(tokens, at - 1) && touches(tokens, at);
    tokens.get(at + 1).filter(|t| joined && t.what == What::Number)
}

/// `2026-12-03`.
fn iso(tokens: &[Token], at: usize) -> Option<Day> {
    let year = year_of(&tokens[at])?;
    let mark = tokens.get(at + 1)?.word.as_str();
    let month = number_behind(tokens, at + 1, "-/.")?.number()?;
    let day = number_behind(tokens, at + 3, mark)?.number()?;
    let longer = number_behind(tokens, at + 5, "-/.").is_some();
    (!longer).then(|| day_of(at..at + 5, day, month, Some(year))).flatten()
}

/// `3.12.`, `3.12.2026`, `03/12/2026`, `3-12-2026`; in English the month may come first where the second number is no month.
fn numeric(tokens: &[Token], at: usize, words: &Words) -> Option<Day> {
    let mark = tokens.get(at + 1)?.word.as_str();
    let (first, second) = (short(&tokens[at])?, number_behind(tokens, at + 1, "./-").and_then(short)?);
    let third = number_behind(tokens, at + 3, mark);
    let year = match third {
        Some(token) => Some(year_of(token).or_else(|| short_year(token))?),
        None => None,
    };
    let end = if third.is_some() { at + 5 } else { at + 3 };
    if number_behind(tokens, end, "./-:").is_some() && (third.is_some() || mark == ".") && !tokens[end].is_mark("-") {
        return None;
    }
    let dotted = mark == "." && third.is_none() && tokens.get(end).is_some_and(|t| t.is_mark(".")) && touches(tokens, end - 1);
    let (day, month) = if words.language == "en" && mark == "/" && second > 12 { (second, first) } else { (first, second) };
    let doubtful = year.is_none() && (mark == "-" || (day, month) == (24, 7) || mark == "." && !dotted && is_time(tokens, at, end, words));
    if doubtful { None } else { day_of(at..end + usize::from(dotted), day, month, year) }
}

/// Whether `9.10` is a time of day: "kl. 9.10", "9.10 Uhr", "9.00-9.10".
fn is_time(tokens: &[Token], at: usize, end: usize, words: &Words) -> bool {
    let clock = |token: Option<&Token>| token.is_some_and(|t| t.what == What::Word && among(&words.absence.clock, &t.word));
    let before = tokens[..at].iter().rev().find(|t| !t.is_mark("."));
    clock(before) || clock(tokens.get(end))
}

/// `3 december`, `den 3:e december 2026`, `3. Dezember`, `1er décembre`, `3 de diciembre de 2026`, `3-Dec-2026`.
fn with_month(tokens: &[Token], at: usize, words: &Words) -> Option<Day> {
    let day = short(&tokens[at])?;
    let fills = |t: &&Token| t.is_mark(".:/-ºª°") || t.what == What::Word && among(&words.absence.ordinals, &t.word);
    let skipped = tokens[at + 1..].iter().take(BETWEEN).take_while(fills).count();
    let named = at + 1 + skipped;
    let month = month_of(tokens.get(named)?, words)?;
    if tokens[named].sentence != tokens[at].sentence {
        return None;
    }
    let (end, year) = year_after(tokens, named, words);
    day_of(at..end, day, month, year)
}

/// `December 3rd`, `Dec. 3, 2026`, `joulukuun 3. päivä`; of `July 10-31` the last.
fn month_first(tokens: &[Token], at: usize, words: &Words) -> Option<Day> {
    let month = month_of(&tokens[at], words)?;
    let first = at + 1 + usize::from(tokens.get(at + 1)?.is_mark(".") && touches(tokens, at));
    let (mut day, mut end) = ordinal_at(tokens, first, words)?;
    let mut since = None;
    let joined = tokens.get(end).is_some_and(|t| is_join(t, words));
    let later = ordinal_at(tokens, end + 1, words).filter(|(_, after)| tokens.get(*after).is_none_or(|t| month_of(t, words).is_none()));
    if let Some(last) = later.filter(|_| joined) {
        (day, end) = last;
        since = Some(at);
    }
    let (end, year) = year_after(tokens, end - 1, words);
    day_of(at..end, day, month, year).map(|found| Day { since, ..found })
}

/// A day's number with what makes it an ordinal, and where that ends; no time and no part of a longer number.
fn ordinal_at(tokens: &[Token], at: usize, words: &Words) -> Option<(u32, usize)> {
    let day = short(tokens.get(at)?)?;
    if number_behind(tokens, at + 1, "./:,").is_some() {
        return None;
    }
    let fills = |t: &&Token| t.is_mark(".") || t.what == What::Word && among(&words.absence.ordinals, &t.word);
    Some((day, at + 1 + tokens[at + 1..].iter().take(2).take_while(fills).count()))
}

/// The year behind the token `last`, and where the day ends: "december 2026", "December 3, 2026", "diciembre de 2026".
fn year_after(tokens: &[Token], last: usize, words: &Words) -> (usize, Option<i32>) {
    let fills = |t: &&Token| t.is_mark(",.-/") || t.what == What::Word && among(&words.absence.ordinals, &t.word);
    let skipped = tokens[last + 1..].iter().take(2).take_while(fills).count();
    let at = last + 1 + skipped;
    match tokens.get(at).filter(|t| t.sentence == tokens[last].sentence).and_then(year_of) {
        Some(year) if number_behind(tokens, at + 1, "-/.:").is_none() => (at + 1, Some(year)),
        _ => (last + 1, None),
    }
}

fn month_of(token: &Token, words: &Words) -> Option<u32> {
    let at = words.absence.months.iter().position(|names| token.what == What::Word && names.contains(&token.word))?;
    u32::try_from(at + 1).ok()
}

/// A number of one or two digits.
fn short(token: &Token) -> Option<u32> {
    token.number().filter(|_| token.word.len() <= 2)
}

/// A year of this century, with four digits.
fn year_of(token: &Token) -> Option<i32> {
    token.number().filter(|n| (2000..2100).contains(n)).and_then(|n| i32::try_from(n).ok())
}

/// A year of this century, with two digits.
fn short_year(token: &Token) -> Option<i32> {
    short(token).filter(|_| token.word.len() == 2).and_then(|n| i32::try_from(2000 + n).ok())
}

fn day_of(place: std::ops::Range<usize>, day: u32, month: u32, year: Option<i32>) -> Option<Day> {
    let possible = (1..=31).contains(&day) && (1..=12).contains(&month);
    possible.then_some(Day { start: place.start, end: place.end, day, month, year, since: None })
}

fn is_join(token: &Token, words: &Words) -> bool {
    token.is_mark("-–—") || token.what == What::Word && among(&words.absence.joins, &token.word)
}

/// Where the span begins that a day ends: "from 1 to 14 December", "1.12.–14.12.", "between 1 and 14 December".
fn span_before(tokens: &[Token], day: &Day, words: &Words) -> Option<usize> {
    let absence = &words.absence;
    let (mut joined, mut numbered) = (false, false);
    for at in (day.start.saturating_sub(SPAN)..day.start).rev() {
        let token = &tokens[at];
        match token.what {
            _ if token.sentence != tokens[day.start].sentence => return None,
            What::Number if joined => return Some(first_of(tokens, at, words)),
            What::Number => numbered = true,
            _ if numbered && among(&absence.between, &token.word) => return Some(at),
            _ if is_join(token, words) && !numbered => joined = true,
            What::Mark if !token.is_mark(".,/:") => return None,
            What::Mark => {}
            What::Word if has(&[&absence.lead, &absence.ordinals], &token.word) || month_of(token, words).is_some() => {}
            What::Word => return None,
        }
    }
    None
}

/// The first token of the day that ends with the number at `last`: of "1.12." the "1", of "December 1" the name.
fn first_of(tokens: &[Token], last: usize, words: &Words) -> usize {
    let belongs = |t: &&Token| t.is_mark("./") || t.what == What::Number || month_of(t, words).is_some();
    let more = tokens[..last].iter().rev().take(4).take_while(belongs).count();
    last - more
}
