//! The wish of somebody who was not asked to take part, and whether it may be put to them as a question.
//!
//! From can be forged: such a wish counts once the reader of that mailbox has confirmed it (S-188). So that nobody is
//! flooded in somebody's name, a mailbox is asked once in seven days, and all together so many in an hour (S-127, S-231).

/// A mailbox is asked at most once within this time, whatever tag its address has (S-127).
pub const ONCE_IN_MS: i64 = 7 * 24 * HOUR_MS;
/// The time in which at most [`MOST_AN_HOUR`] are asked.
pub const HOUR_MS: i64 = 3_600_000;
/// As many are asked in an hour as the organiser gets words of them (S-127).
const MOST_AN_HOUR: i64 = 20;
/// A question is confirmed within this time, or by a person (S-212).
pub const OPEN_FOR_MS: i64 = 7 * 24 * HOUR_MS;

/// Why a message waits whose writer was asked.
pub const ASKED: &str = "asked to confirm by mail";
/// Why nobody is asked: a mailbox is, once in seven days.
pub const ASKED_BEFORE: &str = "wants to take part, and was asked to confirm by mail within the last seven days";

/// Why a reply to the question confirms nothing any more.
pub const DECIDED: &str = "a reply to our question, but a person has decided about the wish";

/// What is known at the moment somebody says that they want to take part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The invitations that take answers; more than two need not be named.
    pub open: Vec<i64>,
    /// The address gets no mail.
    pub is_suppressed: bool,
    /// When this mailbox was asked last, in milliseconds since 1970 (UTC).
    pub asked_at: Option<i64>,
    /// How many were asked within the last hour.
    pub asked_this_hour: i64,
}

/// The campaign about which somebody may be asked.
///
/// # Errors
/// Why nobody is asked, in words for the person who decides instead.
pub fn campaign_to_ask_about(known: &Circumstances, now: i64) -> Result<i64, &'static str> {
    if known.is_suppressed {
        return Err("an answer, but its writer gets no mail from us");
    }
    let campaign = match known.open.as_slice() {
        [one] => *one,
        [] => return Err("wants to take part, but no invitation is open"),
        _ => return Err("wants to take part, but several invitations are open"),
    };
    if known.asked_at.is_some_and(|at| at > now - ONCE_IN_MS) {
        return Err(ASKED_BEFORE);
    }
    if known.asked_this_hour >= MOST_AN_HOUR {
        return Err("wants to take part, but enough people were asked to confirm within the hour");
    }
    Ok(campaign)
}

/// Whether a question that was put at `asked_at` can no longer be confirmed by mail (S-212).
#[must_use]
pub fn is_expired(asked_at: i64, answered_at: i64) -> bool {
    answered_at - asked_at > OPEN_FOR_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_500_000_000;

    fn one_open() -> Circumstances {
        Circumstances { open: vec![7], ..Circumstances::default() }
    }

    #[test]
    fn a_wish_is_asked_about_where_one_invitation_is_open() {
        assert_eq!(campaign_to_ask_about(&one_open(), NOW), Ok(7));
        for open in [vec![], vec![7, 8]] {
            assert!(campaign_to_ask_about(&Circumstances { open, ..one_open() }, NOW).is_err());
        }
        assert!(campaign_to_ask_about(&Circumstances { is_suppressed: true, ..one_open() }, NOW).is_err());
    }

    /// S-127, S-231.
    #[test]
    fn a_mailbox_is_asked_once_in_seven_days_and_all_together_twenty_in_an_hour() {
        let asked = |ago: i64| campaign_to_ask_about(&Circumstances { asked_at: Some(NOW - ago), ..one_open() }, NOW);
        assert_eq!((asked(0), asked(ONCE_IN_MS - 1), asked(ONCE_IN_MS)), (Err(ASKED_BEFORE), Err(ASKED_BEFORE), Ok(7)));
        let many = |asked_this_hour| campaign_to_ask_about(&Circumstances { asked_this_hour, ..one_open() }, NOW);
        assert!(many(19).is_ok() && many(20).is_err());
    }

    /// S-212.
    #[test]
    fn a_question_is_open_for_seven_days() {
        assert!(!is_expired(NOW, NOW + OPEN_FOR_MS) && is_expired(NOW, NOW + OPEN_FOR_MS + 1));
    }
}
