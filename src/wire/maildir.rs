//! Fetches mail from a Maildir, where another program delivers.
//!
//! In: the directory, and what takes a message. Out: each message once to that taker, and then from new/ to cur/, never
//! deleted: svar's database says what was processed, not a file's flags. tmp/ is never read. Other readers may rename or remove
//! any file at any time. A message may be handed over again after a crash: the taker knows it by its content.
//! Sources: the Maildir description at cr.yp.to/proto/maildir.html, with the `:2,` info of Maildir++; S-109, S-110.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs;
use tokio::io::AsyncReadExt;

/// What was taken and what was not.
#[derive(Debug)]
pub struct Step<E> {
    /// Messages that were handed over and taken.
    pub taken: usize,
    /// Names that are new in `seen` and will stand in cur/ from now on.
    pub names: Vec<String>,
    /// Names that went from `seen`, because they are gone from the directory.
    pub gone: Vec<String>,
    /// Messages that could not be; all but those that are too big are tried again at the next step.
    pub failed: Vec<Failure<E>>,
}

/// One message that was not taken.
#[derive(Debug)]
pub struct Failure<E> {
    /// Its file.
    pub path: PathBuf,
    /// Why.
    pub cause: Cause<E>,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Cause<E> {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(io::Error),
    /// It was taken, but cannot be moved to cur/: it is not handed over again while svar runs.
    #[error("the message was taken but cannot be moved to cur/: {0}")]
    Unmoved(io::Error),
    /// It is larger than is taken; it stays where it is and is not looked at again while svar runs.
    #[error("the message is larger than {0} octets; raise intake.max_bytes and start svar again, or hand it over with: svar ingest FILE")]
    TooBig(u64),
    /// The taker's own error.
    #[error("the message was not taken: {0}")]
    Refused(E),
}

/// A message file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// The file's name without its info: it stays the same wherever the file is moved.
    unique: String,
    path: PathBuf,
    is_new: bool,
}

/// Hands every message that is not in `seen` to `take`, the oldest names first, and moves those from new/ to cur/.
///
/// `take` answers `Ok` once the message is durably stored. `seen` holds what was taken, now or in an earlier life;
/// names that are gone from the directory are removed from it. With an empty `seen` everything in cur/ is handed over again.
///
/// # Errors
/// Only where new/ and cur/ themselves cannot be read. One bad file never stops the others.
pub async fn step<F, R, E>(dir: &Path, max_bytes: u64, seen: &mut HashSet<String>, mut take: F) -> io::Result<Step<E>>
where
    F: FnMut(Vec<u8>) -> R,
    R: Future<Output = Result<(), E>>,
{
    let found = list(dir).await?;
    let present: HashSet<String> = found.iter().map(Found::key).collect();
    let gone: Vec<String> = seen.extract_if(|key| !present.contains(key)).collect();
    let mut step = Step { taken: 0, names: Vec::new(), gone, failed: Vec::new() };
    for found in found {
        if seen.contains(&found.key()) {
            continue;
        }
        match take_one(dir, max_bytes, &found, &mut take).await {
            Ok(taken) => {
                step.taken += usize::from(taken);
                if taken && seen.insert(found.unique.clone()) {
                    step.names.push(found.unique);
                }
            }
            Err(cause) => {
                if let Cause::Unmoved(_) | Cause::TooBig(_) = cause {
                    seen.insert(found.key());
                }
                step.taken += usize::from(matches!(cause, Cause::Unmoved(_)));
                step.failed.push(Failure { path: found.path, cause });
            }
        }
    }
    Ok(step)
}

impl Found {
    /// What `seen` knows it by. In new/ it is another than in cur/, so that a file in new/ is taken even where its name was used
    /// before: a message twice does no harm, one never does.
    fn key(&self) -> String {
        if self.is_new { format!("new/{}", self.unique) } else { self.unique.clone() }
    }
}

/// Everything in new/ and cur/, by unique name.
async fn list(dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    // new/ first: a file that moves to cur/ meanwhile is then seen twice rather than not at all.
    for (folder, is_new) in [("new", true), ("cur", false)] {
        let mut entries = fs::read_dir(dir.join(folder)).await?;
        while let Some(entry) = entries.next_entry().await? {
            // A name that is not UTF-8 is still a name: what is lost in `unique` only matters to `seen`.
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !entry.file_type().await.is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            found.push(Found { unique: unique_of(&name).to_owned(), path: entry.path(), is_new });
        }
    }
    found.sort();
    Ok(found)
}

fn unique_of(name: &str) -> &str {
    name.split_once(':').map_or(name, |(unique, _)| unique)
}

/// Whether it was there to be taken.
async fn take_one<F, R, E>(dir: &Path, max_bytes: u64, found: &Found, take: &mut F) -> Result<bool, Cause<E>>
where
    F: FnMut(Vec<u8>) -> R,
    R: Future<Output = Result<(), E>>,
{
    let Some((bytes, path)) = read(dir, found, max_bytes).await.map_err(Cause::Unreadable)? else { return Ok(false) };
    if bytes.len() as u64 > max_bytes {
        return Err(Cause::TooBig(max_bytes));
    }
    take(bytes).await.map_err(Cause::Refused)?;
    if found.is_new && path == found.path {
        move_to_cur(dir, found).await.map_err(Cause::Unmoved)?;
    }
    Ok(true)
}

/// Reads the file, or the same message under the name that another reader gave it; `None` where it is gone.
async fn read(dir: &Path, found: &Found, max_bytes: u64) -> io::Result<Option<(Vec<u8>, PathBuf)>> {
    match read_file(&found.path, max_bytes).await {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        read => return read.map(|bytes| Some((bytes, found.path.clone()))),
    }
    let Some(again) = list(dir).await?.into_iter().find(|again| again.unique == found.unique && again.path != found.path) else {
        return Ok(None);
    };
    match read_file(&again.path, max_bytes).await {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(|bytes| Some((bytes, again.path))),
    }
}

/// At most one octet more than is taken, so that "too big" shows without reading all of it.
async fn read_file(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).await?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// To cur/, without a flag: it was read by svar and by no person. Another reader may have been faster.
async fn move_to_cur(dir: &Path, found: &Found) -> io::Result<()> {
    let mut name = found.path.file_name().unwrap_or_default().to_owned();
    if !name.to_string_lossy().contains(":2,") {
        name.push(":2,");
    }
    let target = dir.join("cur").join(name);
    if fs::try_exists(&target).await? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there already", target.display())));
    }
    match fs::rename(&found.path, target).await {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Box {
        dir: tempfile::TempDir,
        seen: HashSet<String>,
        taken: Mutex<Vec<String>>,
    }

    impl Box {
        fn with(files: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["new", "cur", "tmp"] {
                std::fs::create_dir(dir.path().join(folder)).unwrap();
            }
            let this = Self { dir, seen: HashSet::new(), taken: Mutex::default() };
            files.iter().for_each(|file| this.put(file));
            this
        }

        fn put(&self, file: &str) {
            std::fs::write(self.dir.path().join(file), file).unwrap();
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
        }

        /// One step with a taker that refuses what holds "bad"; what was taken, and how many failed.
        async fn step(&mut self) -> (Vec<String>, usize) {
            let taken = &self.taken;
            let take = |bytes: Vec<u8>| async move {
                let text = String::from_utf8(bytes).unwrap();
                if text.contains("bad") {
                    return Err("bad");
                }
                taken.lock().unwrap().push(text);
                Ok(())
            };
            let step = step(self.dir.path(), 50, &mut self.seen, take).await.unwrap();
            let taken = std::mem::take(&mut *self.taken.lock().unwrap());
            assert_eq!(step.taken, taken.len());
            (taken, step.failed.len())
        }

        fn holds(&self, file: &str) -> bool {
            self.dir.path().join(file).exists()
        }
    }

    /// S-110.
    #[tokio::test]
    async fn new_mail_is_taken_once_and_moved_and_tmp_is_left_alone() {
        let mut mail = Box::with(&["new/2.b.h", "new/1.a.h", "tmp/3.c.h", "cur/0.x.h:2,S", "new/.hidden"]);
        std::fs::create_dir(mail.dir.path().join("new/folder")).unwrap();
        assert_eq!(mail.step().await, (vec!["cur/0.x.h:2,S".into(), "new/1.a.h".into(), "new/2.b.h".into()], 0));
        assert!(mail.holds("cur/1.a.h:2,") && mail.holds("cur/2.b.h:2,") && mail.holds("tmp/3.c.h") && !mail.holds("new/1.a.h"));
        assert_eq!(mail.step().await, (vec![], 0));
        mail.put("new/4.d.h");
        assert_eq!(mail.step().await.0, ["new/4.d.h"]);
    }

    /// What was taken before a restart is told by its name alone, and what went meanwhile is told too.
    #[tokio::test]
    async fn a_restart_that_remembers_the_names_reads_only_what_is_new() {
        let mut mail = Box::with(&["new/1.a.h", "cur/2.b.h:2,S"]);
        let take = |_| async { Ok::<(), String>(()) };
        let first = step(mail.dir.path(), 50, &mut HashSet::new(), take).await.unwrap();
        assert_eq!((first.names.as_slice(), first.gone.len()), (&["1.a.h".to_owned(), "2.b.h".to_owned()][..], 0));
        mail.put("new/3.c.h");
        std::fs::remove_file(mail.dir.path().join("cur/2.b.h:2,S")).unwrap();
        mail.seen = first.names.into_iter().collect();
        let second = step(mail.dir.path(), 50, &mut mail.seen, take).await.unwrap();
        assert_eq!((second.taken, second.names, second.gone), (1, vec!["3.c.h".to_owned()], vec!["2.b.h".to_owned()]));
    }

    /// S-110: another reader marks, moves and removes as it likes.
    #[tokio::test]
    async fn a_renamed_message_is_still_the_same_one() {
        let mut mail = Box::with(&["new/1.a.h", "new/2.b.h"]);
        mail.rename("new/2.b.h", "cur/2.b.h:2,S");
        assert_eq!(mail.step().await.0.len(), 2);
        mail.rename("cur/1.a.h:2,", "cur/1.a.h:2,RS");
        assert_eq!(mail.step().await, (vec![], 0));
        std::fs::remove_file(mail.dir.path().join("cur/1.a.h:2,RS")).unwrap();
        assert_eq!(mail.step().await, (vec![], 0));
        assert_eq!(mail.seen.len(), 1);
    }

    /// A name used twice loses neither message.
    #[tokio::test]
    async fn a_second_message_of_the_same_name_is_taken_and_covers_none() {
        let mut mail = Box::with(&["new/1.a.h"]);
        assert_eq!(mail.step().await.0.len(), 1);
        std::fs::write(mail.dir.path().join("new/1.a.h"), "another").unwrap();
        assert_eq!(mail.step().await, (vec!["another".into()], 1));
        assert_eq!(mail.step().await, (vec![], 0));
        assert_eq!(std::fs::read_to_string(mail.dir.path().join("cur/1.a.h:2,")).unwrap(), "new/1.a.h");
    }

    /// A file that moves or goes between the listing and the reading.
    #[tokio::test]
    async fn a_message_that_moves_under_the_readers_hands_is_found_again() {
        let mail = Box::with(&["new/1.a.h", "new/2.b.h"]);
        let found = list(mail.dir.path()).await.unwrap();
        mail.rename("new/1.a.h", "cur/1.a.h:2,S");
        std::fs::remove_file(mail.dir.path().join("new/2.b.h")).unwrap();
        let take = |_| async { Ok::<(), String>(()) };
        assert!(take_one(mail.dir.path(), 50, &found[0], &mut { take }).await.unwrap());
        assert!(!take_one(mail.dir.path(), 50, &found[1], &mut { take }).await.unwrap());
        assert!(mail.holds("cur/1.a.h:2,S"));
    }

    #[tokio::test]
    async fn one_bad_message_does_not_stop_the_others_and_is_tried_again() {
        let mut mail = Box::with(&["new/1.bad", "new/2.good", "new/3.big"]);
        std::fs::write(mail.dir.path().join("new/3.big"), [b'x'; 51]).unwrap();
        assert_eq!(mail.step().await, (vec!["new/2.good".into()], 2));
        assert_eq!(mail.step().await, (vec![], 1));
        assert!(mail.holds("new/1.bad") && mail.holds("new/3.big"));
    }

    #[tokio::test]
    async fn a_directory_that_is_no_maildir_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let take = |_| async { Ok::<(), String>(()) };
        assert!(step(dir.path(), 50, &mut HashSet::new(), take).await.is_err());
    }
}
