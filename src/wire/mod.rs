//! The world's formats; no tables.

pub mod listener;
pub mod maildir;
pub mod phrase;
pub mod smtp;
