//! Rows, times and JSON as a person or a program reads them.

use std::io::Write;

use chrono::DateTime;
use chrono_tz::Tz;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::ProgressBar;

use super::Failure;

/// A progress bar on standard error, where that is a terminal and the work is long.
pub(super) fn progress(length: usize) -> ProgressBar {
    if length < 10_000 {
        return ProgressBar::hidden();
    }
    ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX))
}

/// Prints JSON, indented on a terminal.
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::new(super::Exit::Failed, error))?;
    line(&text)
}

/// Prints one line of JSON Lines.
pub(super) fn json_line(value: &serde_json::Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Prints a line; a reader that went away, as `head` does, is no failure.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints rows under a head.
pub(super) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(head.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    line(&table.trim_fmt())
}

/// A stranger's text on a terminal: control characters would be orders to it (S-222).
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The first words of a longer text.
pub(super) fn brief(text: &str, characters: usize) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if one_line.chars().count() <= characters {
        return one_line;
    }
    one_line.chars().take(characters.saturating_sub(1)).collect::<String>() + "…"
}

/// An instant in the organiser's zone.
pub(super) fn time(zone: Tz, millis: i64) -> String {
    DateTime::from_timestamp_millis(millis).map_or_else(String::new, |t| t.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string())
}

/// An instant as RFC 3339, for programs.
pub(super) fn rfc3339(millis: i64) -> String {
    DateTime::from_timestamp_millis(millis).map_or_else(String::new, |t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

/// A length of time in its two largest units: `3 d 4 h`, `12 min`, `40 s`. What is over is `0 s`.
pub(super) fn span(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `1 mail`, `12 mails`.
pub(super) fn mails(count: i64) -> String {
    if count == 1 { "1 mail".to_owned() } else { format!("{count} mails") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_told_in_its_largest_units() {
        let told = |seconds: i64| span(seconds * 1000);
        assert_eq!([told(-5), told(40), told(720), told(7200), told(7320)], ["0 s", "40 s", "12 min", "2 h", "2 h 2 min"]);
        assert_eq!([told(86_400), told(3 * 86_400 + 4 * 3600 + 59)], ["1 d", "3 d 4 h"]);
    }
}
