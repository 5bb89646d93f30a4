//! What was answered, and how a new answer meets the old.

use serde::{Deserialize, Serialize};

use super::inbound::{Intent, as_words};

/// The three answers an invitation can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Takes part.
    Yes,
    /// Does not.
    No,
    /// Has not decided.
    Maybe,
}

as_words!(Choice { Yes => "yes", No => "no", Maybe => "maybe" });

impl Choice {
    /// The answer that an intent is, if it is one.
    #[must_use]
    pub fn from_intent(intent: Intent) -> Option<Self> {
        match intent {
            Intent::Yes => Some(Self::Yes),
            Intent::No => Some(Self::No),
            Intent::Maybe => Some(Self::Maybe),
            _ => None,
        }
    }
}

/// How an answer reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A reply by mail.
    Mail,
    /// By telephone, entered by an operator.
    Phone,
    /// A calendar reply.
    Calendar,
    /// In person, entered by an operator.
    Person,
    /// A web page.
    Web,
}

as_words!(Via { Mail => "mail", Phone => "phone", Calendar => "calendar", Person => "person", Web => "web" });

/// An answer as it is to stand on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Yes, no or maybe.
    pub choice: Choice,
    /// People who come besides the contact; `None` where nothing was said.
    pub guests: Option<u32>,
    /// The contact's words, or an operator's note.
    pub comment: String,
    /// How it came.
    pub via: Via,
    /// When it was given, in milliseconds since 1970 (UTC): the receipt of the mail, or the entry by an operator.
    pub given_at: i64,
}

/// What a new answer does to the one on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// It is the first, or differs from the one on record.
    Stands,
    /// It says the same.
    Repeats,
    /// It was given before the one on record: a late or replayed message.
    TooOld,
}

/// The rule (S-213): the answer given last counts; saying the same again changes nothing.
///
/// A yes that says nothing of guests does not take back the guests announced before.
#[must_use]
pub fn meet(on_record: Option<&Given>, new: &Given) -> Meeting {
    match on_record {
        None => Meeting::Stands,
        Some(old) if new.given_at < old.given_at => Meeting::TooOld,
        Some(old) if old.choice == new.choice && (new.guests.is_none() || new.guests == old.guests) => Meeting::Repeats,
        Some(_) => Meeting::Stands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(choice: Choice, guests: Option<u32>, given_at: i64) -> Given {
        Given { choice, guests, comment: String::new(), via: Via::Mail, given_at }
    }

    #[test]
    fn the_answer_given_last_counts() {
        let yes = given(Choice::Yes, Some(1), 10);
        assert_eq!(meet(None, &yes), Meeting::Stands);
        assert_eq!(meet(Some(&yes), &given(Choice::No, None, 11)), Meeting::Stands);
        assert_eq!(meet(Some(&yes), &given(Choice::No, None, 9)), Meeting::TooOld);
    }

    #[test]
    fn saying_the_same_again_changes_nothing() {
        let yes = given(Choice::Yes, Some(1), 10);
        assert_eq!(meet(Some(&yes), &given(Choice::Yes, None, 11)), Meeting::Repeats);
        assert_eq!(meet(Some(&yes), &given(Choice::Yes, Some(1), 11)), Meeting::Repeats);
        assert_eq!(meet(Some(&yes), &given(Choice::Yes, Some(3), 11)), Meeting::Stands);
    }
}
