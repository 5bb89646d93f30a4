//! All SQL: one file per noun. Every change writes its event in the same transaction.
//!
//! What is public here speaks of nouns (`claim`, `register`, `import`), never of rows or statements. A [`Store`] is
//! cheap to clone. Times are handed in as milliseconds since 1970 (UTC), the time itself is never asked for here.

mod answer;
mod campaign;
mod contact;
pub(crate) mod db;
mod delivery;
mod edition;
mod event;
mod inbound;
mod maildir;
mod notice;
mod progress;
mod queue;
mod rates;
mod relay;
mod standing;
mod status;
mod suppression;
mod throttle;
mod wish;

pub use answer::AnswerRow;
pub use campaign::{Campaign, DueCampaign};
pub use contact::{Imported, PersonRow};
pub use delivery::{Claim, Claimed, Fate, Limits, OnUncertain, Settled, Stop};
pub use edition::{Edition, Opened};
pub use event::HistoryRow;
pub use inbound::{DecidedRow, Decision, Effect, Known, Raw, ReviewRow, Stored, Understanding, Waiting};
pub use notice::{ClaimedNotice, NewNotice, NoticeTo, Untold};
pub use progress::{Counts, Progress};
pub use queue::{Depth, HeldCampaign, Queue, QueuedDomain, QueuedMail, Waits};
pub use rates::Judged;
pub use relay::RelayPause;
pub use standing::StandingRow;
pub use status::{Recent, Status};
pub use throttle::Slowed;
pub use wish::Wish;

use db::Db;

/// Why the store could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no, or was not there. Trying again may help.
    #[error("the database did not do its part: {0}")]
    Database(#[from] sqlx::Error),
    /// The file cannot be made, reached or written. Trying again does not help.
    #[error("the database {} cannot be written: {error}; svar must be able to write the file and in its folder", file.display())]
    File {
        /// The file.
        file: std::path::PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The tables could not be brought up to date.
    #[error("the tables could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// There is no such thing. Trying again does not help.
    #[error("there is no {noun} \"{name}\"; {remedy}")]
    Unknown {
        /// What was looked for.
        noun: &'static str,
        /// The name that was given.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The thing is there, but not in a state for this. Trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// A row that was there a moment ago is not.
    #[error("a row is gone that was there a moment ago; try again")]
    Gone,
    /// A value in the database is not one this version knows.
    #[error("the database holds a {0} that this version does not know; was it written by a newer one?")]
    Foreign(String),
}

/// The database of an installation.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

impl Store {
    /// Opens a database and brings its tables up to date: a file's path, or `postgres://…`.
    ///
    /// # Errors
    /// Where the database cannot be reached, written, or migrated.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let db = Db::open(url).await?;
        db.migrate().await?;
        Ok(Self { db })
    }

    /// The SQLite file, where it is one: its path without links.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        match &self.db {
            Db::Sqlite { file, .. } => Some(file),
            Db::Postgres(_) => None,
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.db.read().await?.number("SELECT CAST(1 AS BIGINT)", vec![]).await.map(|_| ())
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod rates_tests;
#[cfg(test)]
pub(crate) mod tests;
