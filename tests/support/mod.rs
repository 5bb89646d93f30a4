//! What the outer tests stand on: real servers in temporary directories, a relay that misbehaves by script, the svar binary.
//!
//! A server is started on a free port of 127.0.0.1 and ended by its process id; when a test fails, the end of its log is shown.
#![allow(dead_code, reason = "a helper may wait for its first test")]

pub(crate) mod dovecot;
pub(crate) mod lmtp;
pub(crate) mod maildir;
pub(crate) mod message;
pub(crate) mod port;
pub(crate) mod postfix;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod servers;
pub(crate) mod sink;
pub(crate) mod stage;
pub(crate) mod submit;
pub(crate) mod svar;
pub(crate) mod wait;
