//! What came in and what was understood.
//!
//! Plain values that the stations of the way in hand to each other: none of them touches a table or a socket.

use serde::{Deserialize, Serialize};

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The SMTP or LMTP listener.
    Listener,
    /// A Maildir.
    Maildir,
    /// Standard input or a file, by `svar ingest`.
    Stdin,
}

/// The envelope a message came in, as far as the source knows it (RFC 5321 §2.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// MAIL FROM; `Some("")` is the null return path of reports and automatic answers.
    pub from: Option<String>,
    /// RCPT TO, one: a message for several recipients is taken in once for each.
    pub to: Option<String>,
}

/// What sort of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A person answers.
    Reply,
    /// A machine answers: an absence, a ticket system (RFC 3834).
    AutoReply,
    /// A delivery report (RFC 3464) or something that reads like one.
    Bounce,
    /// "This is junk", passed on by the recipient's provider (RFC 5965).
    Complaint,
    /// A calendar reply (RFC 6047).
    CalendarReply,
    /// A read receipt (RFC 8098).
    Receipt,
    /// An order from an organiser.
    Command,
    /// A person writes who was not asked.
    Unsolicited,
    /// Spam, or mail that concerns nobody here.
    Junk,
}

/// What the writer's own words mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Interested, accepts, comes.
    Yes,
    /// Declines this invitation; stays on the list.
    No,
    /// Undecided, or a yes under an open condition.
    Maybe,
    /// Wants no more mail.
    Unsubscribe,
    /// Wants personal data deleted.
    Erase,
    /// Needs the organiser and decides nothing.
    Question,
    /// Thanks, chat, wrong person, empty.
    Other,
    /// Not a person's words at all: the intent of everything a machine wrote.
    AutoReply,
}

macro_rules! as_words {
    ($type:ty { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            /// The word it has in tables, on the command line and in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
            /// Reads that word back.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use as_words;

as_words!(Source { Listener => "listener", Maildir => "maildir", Stdin => "stdin" });
as_words!(Kind {
    Reply => "reply", AutoReply => "auto_reply", Bounce => "bounce", Complaint => "complaint", CalendarReply => "calendar_reply",
    Receipt => "receipt", Command => "command", Unsolicited => "unsolicited", Junk => "junk",
});
as_words!(Intent {
    Yes => "yes", No => "no", Maybe => "maybe", Unsubscribe => "unsubscribe", Erase => "erase", Question => "question",
    Other => "other", AutoReply => "auto_reply",
});

/// One reason for what was understood, in words a person can check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The rule or header field that spoke, e.g. `sv.yes` or `Auto-Submitted`.
    pub rule: String,
    /// The words it found, as they stand in the message.
    pub words: String,
}

impl Evidence {
    /// The learnt reader's, not a rule's.
    #[must_use]
    pub fn is_learnt(&self) -> bool {
        self.rule.starts_with("learnt.")
    }
}

/// What a reader makes of a person's own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The one intent that decides the status.
    pub intent: Intent,
    /// Further things in the message: `question`, `later`, `delegate`, `address_change`, or another intent.
    pub secondary: Vec<String>,
    /// People who come besides the writer; `None` where nothing is said.
    pub guests: Option<u32>,
    /// From 0 to 1: how often a reading like this one is right.
    pub confidence: f32,
    /// Whether svar records it without asking a person.
    pub apply: bool,
    /// The language read, as an ISO 639-1 code; `None` where the words do not tell.
    pub language: Option<String>,
    /// Why.
    pub evidence: Vec<Evidence>,
}
