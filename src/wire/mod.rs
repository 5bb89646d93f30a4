//! The world's formats; no tables.

pub mod listener;
pub mod smtp;
