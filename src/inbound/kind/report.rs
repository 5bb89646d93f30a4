//! Tells reports by their form: delivery reports, complaints, read receipts, answers by calendar; and bounces without one.
//!
//! In: a [`Parsed`], its envelope and its text, folded. Out: a [`Sorted`] where it is one. Sources: RFC 3464, RFC 5965,
//! RFC 8098, RFC 5546 §3.2.3; S-135, S-140, S-141, S-157.

use super::{Sorted, is_automatic, local_part, null_path, sorted, wording};
use crate::inbound::parse::Parsed;
use crate::inbound::words::fold;
use crate::model::inbound::{Envelope, Kind};
use crate::wire::report::{Recipient, read_delivery_status};

/// S-135, S-140, S-141, S-157: told by the parts alone. `text` is folded.
pub(super) fn declared(parsed: &Parsed, text: &str) -> Option<Sorted> {
    let declared = parsed.report_type.as_deref().unwrap_or_default();
    if declared == "feedback-report" || parsed.has_part("message/feedback-report") {
        return Some(sorted(Kind::Complaint, "Content-Type", "feedback-report"));
    }
    if parsed.has_header("X-HmXmrOriginalRecipient") || parsed.has_header("X-HmXmrOriginalRecipient-To") {
        return Some(sorted(Kind::Complaint, "X-HmXmrOriginalRecipient", ""));
    }
    if declared == "delivery-status" || parsed.has_part("message/delivery-status") {
        return Some(challenge(parsed, text).unwrap_or_else(|| sorted(Kind::Bounce, "Content-Type", "delivery-status")));
    }
    if declared == "disposition-notification" || parsed.has_part("message/disposition-notification") {
        return Some(sorted(Kind::Receipt, "Content-Type", "disposition-notification"));
    }
    let reply = parsed.calendar_method.as_deref() == Some("REPLY");
    reply.then(|| sorted(Kind::CalendarReply, "METHOD", "REPLY"))
}

/// Some filters put their challenge into the form of a delivery report. The mail is held and nothing is wrong with the address:
/// no status is permanent, and the words are a filter's.
fn challenge(parsed: &Parsed, text: &str) -> Option<Sorted> {
    let status = parsed.delivery_status.as_deref()?;
    let is_final = |r: &Recipient| r.status.as_deref().is_none_or(|s| s.starts_with('5'));
    if read_delivery_status(status).recipients.iter().any(is_final) {
        return None;
    }
    let (rule, words) = wording::challenge_in(text).or_else(|| wording::challenge_in(&fold(status)))?;
    Some(sorted(Kind::AutoReply, &rule, &words))
}

/// Mail systems that use no standard form: known by sender and words together.
pub(super) fn bounce(parsed: &Parsed, envelope: &Envelope, text: &str) -> Option<Sorted> {
    if let Some(recipients) = parsed.header("X-Failed-Recipients") {
        return Some(sorted(Kind::Bounce, "X-Failed-Recipients", recipients));
    }
    let daemon = is_daemon(parsed);
    if !daemon && null_path(parsed, envelope) != Some(true) {
        return None;
    }
    let said = wording::subject_of(&parsed.subject, |w| &w.bounce.subjects).or_else(|| wording::bounce_in(text));
    match said {
        Some((rule, words)) => Some(sorted(Kind::Bounce, &rule, &words)),
        None if daemon && !is_automatic(parsed) => Some(sorted(Kind::Bounce, "From", parsed.from.as_deref().unwrap_or_default())),
        None => None,
    }
}

fn is_daemon(parsed: &Parsed) -> bool {
    let local = local_part(parsed.from.as_deref().or(parsed.header("From")).unwrap_or_default());
    let name = fold(parsed.from_name.as_deref().unwrap_or_default());
    let locals = ["mailer-daemon", "postmaster", "mail-daemon", "maildaemon", "mailerdaemon", "mailer_daemon", "mdaemon"];
    locals.iter().any(|d| local.starts_with(d))
        || ["mail delivery", "mailer-daemon", "mail administrator"].iter().any(|n| name.starts_with(n))
}
