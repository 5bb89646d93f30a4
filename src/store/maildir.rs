//! What was taken from a Maildir, by the names of its files: a restart then reads only what is new.
//!
//! A name stands here only after its message is stored. Where one is missing, its message is read again and known by its
//! content: nothing is lost by forgetting.

use super::db::values;
use super::{Error, Store, list_of_marks, rows_of_marks};

/// How many names go into one statement.
const CHUNK: usize = 250;

impl Store {
    /// The names that were taken from a folder.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn list_taken(&self, folder: &str) -> Result<Vec<String>, Error> {
        let sql = "SELECT name FROM maildir_file WHERE folder = $1";
        let rows: Vec<(String,)> = self.db.read().await?.all(sql, values![folder]).await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }

    /// Remembers the names that were taken from a folder, and forgets those that are gone from it.
    ///
    /// # Errors
    /// Where the database fails; then nothing was remembered.
    pub async fn remember_taken(&self, now: i64, folder: &str, taken: &[String], gone: &[String]) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        for names in gone.chunks(CHUNK) {
            let sql = format!("DELETE FROM maildir_file WHERE folder = $1 AND name IN ({})", list_of_marks(2, names.len()));
            tx.execute(&sql, std::iter::once(folder.into()).chain(names.iter().map(Into::into)).collect()).await?;
        }
        for names in taken.chunks(CHUNK) {
            let sql = format!(
                "INSERT INTO maildir_file (folder, name, taken_at) VALUES {} ON CONFLICT (folder, name) DO NOTHING",
                rows_of_marks(names.len(), &["TEXT", "TEXT", "BIGINT"])
            );
            tx.execute(&sql, names.iter().flat_map(|name| values![folder, name, now]).collect()).await?;
        }
        tx.commit().await
    }
}
