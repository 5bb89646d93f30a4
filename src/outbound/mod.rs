//! The way out, one station per file, in this order.
//!
//! 1. [`schedule`]: a campaign whose time has come opens an edition, once, and expands it to deliveries.
//! 2. [`render`]: template and contact become subject, text and HTML, over the [`layout`].
//! 3. [`compose`]: the parts become final bytes and an envelope.
//! 4. [`sign`]: the bytes get their DKIM-Signatures, where svar signs.
//! 5. [`outbox`]: claims what is due, hands it to the relay, settles the outcome.
//! 6. [`tell`]: answers not yet told become confirmations and notices, which leave by the same outbox.
//!
//! [`check`] runs the first half of it for a campaign that is not started, and names every mistake.

pub mod check;
pub mod compose;
pub mod layout;
mod markdown;
pub mod outbox;
pub mod rates;
pub mod render;
pub mod schedule;
pub mod sign;
pub mod tell;
