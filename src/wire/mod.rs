//! The world's formats; no tables.

pub mod listener;
pub mod maildir;
pub mod smtp;
