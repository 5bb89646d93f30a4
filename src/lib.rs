//! svar sends invitations and newsletters by mail, reads what people answer in their own words, and keeps the status.

pub mod clock;
pub mod config;
pub mod demo;
pub mod inbound;
pub mod model;
pub mod outbound;
pub mod store;
pub mod wire;
