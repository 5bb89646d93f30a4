//! The world's formats; no tables.

pub mod flowed;
pub mod html;
pub mod report;
