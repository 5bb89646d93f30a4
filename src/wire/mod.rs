//! The world's formats, both directions in one file where there are two; no tables.

pub mod dkim;
pub mod exposition;
pub mod flowed;
pub mod html;
pub mod listener;
pub mod maildir;
pub mod people;
pub mod phrase;
pub mod report;
pub mod smtp;
