//! What was taken from a Maildir, by the names of its files: a restart then reads only what is new.
//!
//! A name stands here only after its message is stored. Where one is missing, its message is read again and known by its
//! content: nothing is lost by forgetting.

use super::db::{self, values};
use super::{Error, Store};

/// How many names go into one statement.
const CHUNK: usize = 1_000;

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
        let sql = format!("DELETE FROM maildir_file WHERE folder = $2 AND name {}", tx.dialect().among_texts(1));
        for names in gone.chunks(CHUNK) {
            tx.execute(&sql, values![db::texts(names), folder]).await?;
        }
        let sql = format!(
            "INSERT INTO maildir_file (folder, name, taken_at) SELECT $2, name, $3 FROM (SELECT value ->> 0 AS name FROM {}) AS taken
             WHERE true ON CONFLICT (folder, name) DO NOTHING",
            tx.dialect().each(1)
        );
        for names in taken.chunks(CHUNK) {
            let rows = names.iter().map(|name| serde_json::json!([name]));
            tx.execute(&sql, values![db::rows(rows), folder, now]).await?;
        }
        tx.commit().await
    }
}
