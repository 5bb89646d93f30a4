//! The post office: a real SMTP server where one reads and answers as a recipient.
//!
//! [`office`] keeps the mail, [`reply`] writes what a mail program would send back, [`carry`] brings it to svar, [`pages`] shows both in a browser
//! (through [`clean`], for HTML), [`sample`] is who lives there and what they are asked. No clock and no chance in here: both are handed in.

pub mod carry;
pub mod clean;
pub mod office;
pub mod pages;
pub mod reply;
pub mod sample;
