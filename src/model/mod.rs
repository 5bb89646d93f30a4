//! What svar speaks of: plain values and pure rules. No I/O, no other room, no clock.

pub mod address;
pub mod answer;
pub mod campaign;
pub mod contact;
pub mod delivery;
pub mod event;
pub mod inbound;
pub mod meter;
pub mod outcome;

pub mod rates;
pub mod schedule;
pub mod standing;
pub mod suppression;
pub mod throttle;
pub mod token;
pub mod wish;
