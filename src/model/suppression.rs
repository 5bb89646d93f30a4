//! Who must not be mailed, and why.

use super::inbound::as_words;
use serde::{Deserialize, Serialize};

/// Why an address is not mailed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The person asked for it, by any channel (S-186).
    Unsubscribed,
    /// A permanent failure of the address (S-139).
    HardBounce,
    /// The person's provider passed on "this is junk" (S-141).
    Complaint,
    /// The person asked for erasure.
    Erased,
    /// An operator's decision.
    Operator,
}

impl Reason {
    /// Whether an operator may lift it. A complaint and an erasure are the person's own, and only theirs to take back (S-247).
    #[must_use]
    pub fn may_be_lifted(self) -> bool {
        !matches!(self, Self::Complaint | Self::Erased)
    }
}

as_words!(Reason {
    Unsubscribed => "unsubscribed", HardBounce => "hard_bounce", Complaint => "complaint", Erased => "erased", Operator => "operator",
});
