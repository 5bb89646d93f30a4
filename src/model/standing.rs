//! Where one person of a campaign stands: the words of `svar status`, one person at a time.

use super::answer::Choice;
use super::delivery::State;
use super::inbound::as_words;
use super::suppression::Reason;

/// What a person can be asked for by. A person has several of these at once: who was sent the mail may have said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Said yes.
    Yes,
    /// Said no.
    No,
    /// Undecided.
    Maybe,
    /// Has the invitation and said nothing: no answer, no opt-out, nothing that waits for a person.
    Silent,
    /// Wants no more mail.
    Unsubscribed,
    /// A message of theirs waits for a person.
    ToDecide,
    /// The mail waits to be sent.
    Waiting,
    /// A daemon holds it.
    Sending,
    /// The relay took it.
    Sent,
    /// Refused, bounced, or given up.
    Failed,
    /// It may have been sent.
    Uncertain,
    /// Stopped by a suppression.
    Suppressed,
    /// Stopped by the organiser.
    Cancelled,
}

as_words!(Standing {
    Yes => "yes", No => "no", Maybe => "maybe", Silent => "silent", Unsubscribed => "unsubscribed", ToDecide => "to-decide",
    Waiting => "waiting", Sending => "sending", Sent => "sent", Failed => "failed", Uncertain => "uncertain",
    Suppressed => "suppressed", Cancelled => "cancelled",
});

impl Standing {
    /// Every one of them.
    pub const ALL: [Self; 13] = [
        Self::Yes,
        Self::No,
        Self::Maybe,
        Self::Silent,
        Self::Unsubscribed,
        Self::ToDecide,
        Self::Waiting,
        Self::Sending,
        Self::Sent,
        Self::Failed,
        Self::Uncertain,
        Self::Suppressed,
        Self::Cancelled,
    ];
}

/// What is known of one person of a campaign.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Whether the campaign asks for an answer.
    pub asks: bool,
    /// The answer that counts.
    pub answer: Option<Choice>,
    /// Where their last mail stands.
    pub mail: Option<State>,
    /// Why they get no mail.
    pub suppressed: Option<Reason>,
    /// Whether a message of theirs waits for a person.
    pub to_decide: bool,
}

impl Known {
    /// Whether a person stands like this.
    #[must_use]
    pub fn is(&self, standing: Standing) -> bool {
        let mail = |state| self.mail == Some(state);
        match standing {
            Standing::Yes => self.answer == Some(Choice::Yes),
            Standing::No => self.answer == Some(Choice::No),
            Standing::Maybe => self.answer == Some(Choice::Maybe),
            Standing::Silent => {
                let has_it = mail(State::Sent) || mail(State::Uncertain);
                self.asks && has_it && self.answer.is_none() && self.suppressed.is_none() && !self.to_decide
            }
            Standing::Unsubscribed => matches!(self.suppressed, Some(Reason::Unsubscribed | Reason::Complaint | Reason::Erased)),
            Standing::ToDecide => self.to_decide,
            Standing::Waiting => mail(State::Queued),
            Standing::Sending => mail(State::Sending),
            Standing::Sent => mail(State::Sent),
            Standing::Failed => mail(State::Failed),
            Standing::Uncertain => mail(State::Uncertain),
            Standing::Suppressed => mail(State::Suppressed),
            Standing::Cancelled => mail(State::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_is_who_was_asked_and_said_nothing_at_all() {
        let asked = Known { asks: true, mail: Some(State::Sent), ..Known::default() };
        assert!(asked.is(Standing::Silent) && asked.is(Standing::Sent));
        assert!(!Known { asks: false, ..asked }.is(Standing::Silent));
        assert!(!Known { answer: Some(Choice::No), ..asked }.is(Standing::Silent));
        assert!(!Known { suppressed: Some(Reason::Operator), ..asked }.is(Standing::Silent));
        assert!(!Known { to_decide: true, ..asked }.is(Standing::Silent));
        assert!(!Known { mail: Some(State::Failed), ..asked }.is(Standing::Silent));
        assert!(Standing::ALL.iter().all(|s| Standing::from_word(s.as_str()) == Some(*s)));
    }
}
