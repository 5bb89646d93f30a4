//! What svar speaks of: plain values and pure rules. No I/O, no other room, no clock.

pub mod address;
pub mod inbound;
pub mod outcome;
pub mod token;
