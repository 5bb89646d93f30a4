//! How a command ends: one enum of exit codes, and a failure explained to a person.

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::{config, daemon, store};

/// Exit codes: small ones of our own, the rest from sysexits.h, which mail servers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It could not be done.
    Failed = 1,
    /// It is done, but not for everybody.
    Partly = 3,
    /// The configuration is at fault (EX_CONFIG).
    Config = 78,
    /// Not now; a mail server keeps the mail and tries again (EX_TEMPFAIL).
    TryAgain = 75,
    /// The daemon does not answer (EX_UNAVAILABLE).
    Unavailable = 69,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed, for a person.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    report: miette::Report,
}

impl Failure {
    /// A failure in one sentence.
    pub fn new(exit: Exit, message: impl std::fmt::Display) -> Self {
        Self { exit, report: miette::miette!("{message}") }
    }

    /// A failure that points into a text.
    pub fn report(report: miette::Report) -> Self {
        Self { exit: Exit::Failed, report }
    }

    /// Says it on standard error; `tempfail` where whatever went wrong must leave the mail with its sender.
    pub(super) fn explain(&self, tempfail: bool) -> ExitCode {
        if std::io::stderr().is_terminal() {
            eprintln!("{:?}", self.report);
        } else {
            eprintln!("svar: {}", self.report);
        }
        if tempfail { Exit::TryAgain.into() } else { self.exit.into() }
    }
}

/// A command line that cannot be read, or help that was asked for. A mail server's pipe keeps the mail also then.
pub(super) fn misused(error: &clap::Error, tempfail: bool) -> ExitCode {
    _ = error.print();
    match error.use_stderr() {
        true if tempfail => Exit::TryAgain.into(),
        true => ExitCode::from(2),
        false => Exit::Done.into(),
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<daemon::Error> for Failure {
    fn from(error: daemon::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}
