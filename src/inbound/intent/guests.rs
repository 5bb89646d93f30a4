//! Counts who comes besides the writer.
//!
//! In: the rules found. Out: a number, or `None` where nothing is said.

use super::matcher::{Class, Found};

/// A party larger than this is for a person to look at.
const MOST: u32 = 20;

pub(super) fn count(found: &[Found]) -> Option<u32> {
    let of = |class: Class| found.iter().filter(move |f| f.class == class);
    if let Some(total) = of(Class::GuestsTotal).find_map(|f| f.number) {
        return Some(total.saturating_sub(1)).filter(|n| *n <= MOST);
    }
    if let Some(more) = of(Class::GuestsPlus).find_map(|f| f.number) {
        return Some(more).filter(|n| *n <= MOST);
    }
    if of(Class::GuestsOne).next().is_some() {
        return Some(1);
    }
    of(Class::GuestsNone).next().map(|_| 0)
}
