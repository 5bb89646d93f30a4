//! One line of history and its cause.

use serde::Serialize;
use serde_json::Value;

use super::inbound::as_words;

/// What made something happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A message that came in; the event names it.
    Inbound,
    /// A person at the command line or page.
    Operator,
    /// A time that came.
    Clock,
    /// What the relay said, or did not.
    Relay,
}

as_words!(Cause { Inbound => "inbound", Operator => "operator", Clock => "clock", Relay => "relay" });

/// One line of history. `what` is `noun.verb`, e.g. `delivery.sent`; all ids are rows or absent.
#[derive(Clone, Debug)]
pub struct Event {
    /// `noun.verb`.
    pub what: &'static str,
    /// What made it happen.
    pub cause: Cause,
    /// The message that caused it or that it is about.
    pub inbound_id: Option<i64>,
    /// Whom it concerns.
    pub contact_id: Option<i64>,
    /// Which campaign it concerns.
    pub campaign_id: Option<i64>,
    /// Which delivery it concerns.
    pub delivery_id: Option<i64>,
    /// What else there is to know: an object, or null.
    pub detail: Value,
}

impl Event {
    /// An event that so far concerns nobody.
    #[must_use]
    pub fn new(what: &'static str, cause: Cause) -> Self {
        Self { what, cause, inbound_id: None, contact_id: None, campaign_id: None, delivery_id: None, detail: Value::Null }
    }

    /// Names the message behind it.
    #[must_use]
    pub fn inbound(mut self, id: impl Into<Option<i64>>) -> Self {
        self.inbound_id = id.into();
        self
    }

    /// Names the contact.
    #[must_use]
    pub fn contact(mut self, id: impl Into<Option<i64>>) -> Self {
        self.contact_id = id.into();
        self
    }

    /// Names the campaign.
    #[must_use]
    pub fn campaign(mut self, id: impl Into<Option<i64>>) -> Self {
        self.campaign_id = id.into();
        self
    }

    /// Names the delivery.
    #[must_use]
    pub fn delivery(mut self, id: impl Into<Option<i64>>) -> Self {
        self.delivery_id = id.into();
        self
    }

    /// Adds what else there is to know.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}
