//! Says whether an automatic answer may be sent to a message at all.
//!
//! In: a [`Parsed`] and its envelope. Out: why not. Sources: RFC 3834 §2; S-125, S-127, S-129.

use super::{is_automatic, is_list_field, local_part, null_path};
use crate::inbound::parse::Parsed;
use crate::model::inbound::Envelope;

/// More Received fields than this mean a loop (S-129).
const MOST_RECEIVED: usize = 50;

/// Why no automatic answer may be sent; `None` where one may (S-125, S-129).
///
/// The caller knows three reasons more: an author that is one of its own addresses, no valid token, and limits of
/// S-127.
#[must_use]
pub fn never_answer(parsed: &Parsed, envelope: &Envelope) -> Option<&'static str> {
    let from = local_part(parsed.from.as_deref().unwrap_or_default());
    let path = local_part(envelope.from.as_deref().or(parsed.return_path.as_deref()).unwrap_or_default());
    let value = |name: &str| parsed.header(name).unwrap_or_default().to_ascii_lowercase();
    let suppressed = |v: String| v.split(',').map(str::trim).any(|w| w == "autoreply" || w == "all");
    let checks: [(bool, &'static str); 14] = [
        (null_path(parsed, envelope) != Some(false), "the return path is empty or absent"),
        (is_automatic(parsed), "Auto-Submitted says that a machine wrote it"),
        (parsed.header_names().any(is_list_field), "it has a List- field"),
        (matches!(value("Precedence").trim(), "bulk" | "list" | "junk" | "auto_reply"), "Precedence says that it is bulk"),
        (suppressed(value("X-Auto-Response-Suppress")), "X-Auto-Response-Suppress forbids it"),
        (parsed.report_type.is_some() || parsed.has_part("multipart/report"), "it is a report"),
        (is_role(&from) || is_role(&path), "a mail system or a list wrote it"),
        (parsed.has_header("Svar-Ref"), "svar itself wrote it"),
        (is_own_recipient(parsed, envelope), "it was written by its own recipient"),
        (value("X-Spam-Flag").trim() == "yes", "it is marked as spam"),
        (parsed.headers("Authentication-Results").any(says_dmarc_fail), "DMARC failed"),
        (parsed.received_count > MOST_RECEIVED, "it has more than 50 Received fields"),
        (parsed.has_header("X-Loop"), "it carries a loop marker"),
        (parsed.from.is_none(), "it has no author"),
    ];
    checks.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

fn is_role(local: &str) -> bool {
    let exact = ["mailer-daemon", "postmaster", "noreply", "no-reply", "no_reply", "donotreply", "do-not-reply"];
    exact.contains(&local)
        || local.starts_with("owner-")
        || ["-owner", "-request", "-bounces", "-bounce"].iter().any(|end| local.ends_with(end))
}

fn is_own_recipient(parsed: &Parsed, envelope: &Envelope) -> bool {
    let (Some(from), Some(to)) = (&parsed.from, &envelope.to) else { return false };
    from.eq_ignore_ascii_case(to)
}

/// A failure is believed from anyone: it makes svar more silent, not less.
fn says_dmarc_fail(value: &str) -> bool {
    value.to_ascii_lowercase().contains("dmarc=fail")
}
