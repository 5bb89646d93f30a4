//! svar sends invitations and newsletters by mail, reads what people answer in their own words, and keeps the status.
//!
//! **The way out** ([`outbound`]): a campaign's time comes → an edition is opened, once → one delivery for each contact →
//! words → bytes → the relay → what it said is recorded.
//!
//! **The way in** ([`inbound`]): a message is stored as it came, then acknowledged → what is it → whose is it → what did
//! they write → what do they mean → an answer on record, or a person decides.
//!
//! The two meet only in the [`store`]. [`model`] is what svar speaks of, [`wire`] the world's formats; [`daemon`] runs
//! the loops, [`web`], [`cli`] and [`demo`] are what a person meets.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod inbound;
pub mod log;
pub mod model;
pub mod outbound;
pub mod store;
pub mod web;
pub mod wire;
