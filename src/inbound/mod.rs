//! The way in, one station per file, in this order.
//!
//! 1. [`intake`]: a message is stored raw, then acknowledged to its source.
//! 2. [`parse`]: bytes become parts; never fails.
//! 3. [`kind`]: what is it: reply, auto-reply, bounce, complaint, calendar reply, first contact, junk.
//! 4. [`correlate`]: whose is it.
//! 5. [`quote`]: what did they write: the text less quotes, signature and disclaimer.
//! 6. [`intent`]: what do they mean; of an automatic reply [`absence`]: until when. The [`words`] are data.
//! 7. [`wish`]: may somebody who was not asked be asked to confirm, and do they.
//! 8. [`apply`]: the answer goes on record, or to a person for review.
//!
//! [`understand`] runs the pure stations 2, 3, 5 and 6 in a row, as `svar read` shows them.

pub mod absence;
pub mod apply;
pub mod correlate;
pub mod intake;
pub mod intent;
pub mod kind;
pub mod meters;
pub mod parse;
pub mod quote;
pub mod understand;
pub mod wish;
pub mod words;

#[cfg(test)]
mod score_tests;
