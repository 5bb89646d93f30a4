//! The way in, one station per file, in order.

pub mod parse;

pub mod kind;

pub mod quote;

pub mod intent;

pub mod understand;

pub mod words;

#[cfg(test)]
mod score_tests;
