//! Reads a Maildir: <https://cr.yp.to/proto/maildir.html>.

use std::fs;
use std::path::Path;

/// The messages of a Maildir, in the order they came.
pub(crate) fn read_maildir(dir: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for folder in ["new", "cur"] {
        for entry in fs::read_dir(dir.join(folder)).into_iter().flatten().flatten() {
            // one that is renamed between the listing and the reading is found by the next call
            if let Ok(bytes) = fs::read(entry.path()) {
                found.push((arrival(&entry.file_name().to_string_lossy()), bytes));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, bytes)| bytes).collect()
}

/// Seconds and microseconds of a name such as `1763957855.M123456P42.host`.
fn arrival(name: &str) -> (u64, u64) {
    let mut parts = name.split('.');
    let seconds = parts.next().and_then(|s| s.parse().ok()).unwrap_or(0);
    let digits: String = parts.next().unwrap_or("").chars().skip_while(|c| *c != 'M').skip(1).take_while(char::is_ascii_digit).collect();
    (seconds, digits.parse().unwrap_or(0))
}
