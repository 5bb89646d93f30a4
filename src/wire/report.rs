//! Reads delivery reports and complaints: the machine-readable part, as it is defined.
//!
//! In: the text of a message/delivery-status or message/feedback-report part. Out: one group for each recipient. Never
//! fails: a group without a recipient is left out. Sources: RFC 3464 §2.2–2.3, RFC 3463, RFC 5965 §3; S-136, S-141.

use serde::Serialize;

/// What became of the mail, over all its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// It failed for one recipient at least.
    Bounce,
    /// It still waits; nothing failed (S-136).
    Delay,
    /// It was delivered, relayed or expanded.
    Success,
}

/// What became of the mail for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// Final-Recipient, or Original-Recipient where that is missing.
    pub address: String,
    /// `failed`, `delayed`, `delivered`, `relayed` or `expanded`, lower case.
    pub action: Option<String>,
    /// The enhanced status code (RFC 3463), e.g. `5.1.1`.
    pub status: Option<String>,
    /// `hard`, `soft` or `none`, by the first digit of the status.
    pub class: Option<&'static str>,
    /// Diagnostic-Code without its type.
    pub diagnostic: Option<String>,
}

/// A delivery report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What became of the mail.
    pub kind: ReportKind,
    /// Each recipient it speaks of.
    pub recipients: Vec<Recipient>,
}

/// A complaint (RFC 5965).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// Feedback-Type: `abuse`, `not-spam`, …; lower case.
    pub feedback_type: String,
    /// Original-Rcpt-To, which may be redacted.
    pub original_rcpt_to: Option<String>,
}

/// Reads a message/delivery-status part: groups of fields with an empty line between.
#[must_use]
pub fn read_delivery_status(text: &str) -> Report {
    let recipients: Vec<Recipient> = groups(text).iter().filter_map(recipient_of).take(1000).collect();
    let acted = |wanted: &[&str]| recipients.iter().any(|r| r.action.as_deref().is_some_and(|a| wanted.contains(&a)));
    let kind = if acted(&["failed"]) {
        ReportKind::Bounce
    } else if acted(&["delayed"]) {
        ReportKind::Delay
    } else if acted(&["delivered", "relayed", "expanded"]) {
        ReportKind::Success
    } else {
        ReportKind::Bounce
    };
    Report { kind, recipients }
}

/// Reads a message/feedback-report part. `None` without a Feedback-Type: malformed ones are not acted on (S-141).
#[must_use]
pub fn read_feedback(text: &str) -> Option<Complaint> {
    let all: Fields = groups(text).into_iter().flatten().collect();
    let feedback_type = field(&all, "feedback-type")?.to_ascii_lowercase();
    let original_rcpt_to = field(&all, "original-rcpt-to").map(|v| v.trim_matches(['<', '>']).to_owned());
    Some(Complaint { feedback_type, original_rcpt_to })
}

type Fields = Vec<(String, String)>;

fn groups(text: &str) -> Vec<Fields> {
    let mut groups: Vec<Fields> = vec![Vec::new()];
    for line in text.lines() {
        let Some(group) = groups.last_mut() else { break };
        if line.trim().is_empty() {
            if !group.is_empty() {
                groups.push(Vec::new());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    groups
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
}

fn recipient_of(fields: &Fields) -> Option<Recipient> {
    let address = field(fields, "final-recipient").or_else(|| field(fields, "original-recipient")).map(without_type)?;
    let status = field(fields, "status").and_then(status_in);
    Some(Recipient {
        address: address.trim_matches(['<', '>']).to_owned(),
        action: field(fields, "action").and_then(|a| a.split([' ', '(']).next()).map(str::to_ascii_lowercase),
        class: status.as_deref().map(class_of),
        status,
        diagnostic: field(fields, "diagnostic-code").map(|d| without_type(d).to_owned()),
    })
}

/// `rfc822; eva@example.org` without its type.
fn without_type(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, rest)| rest).trim()
}

/// The first word of the form `d.ddd.ddd`.
fn status_in(value: &str) -> Option<String> {
    value.split([' ', '(', ')', '\t']).map(str::trim).find(|w| is_status(w)).map(str::to_owned)
}

fn is_status(word: &str) -> bool {
    let mut parts = word.split('.');
    let class = parts.next().is_some_and(|c| matches!(c, "2" | "4" | "5"));
    let rest: Vec<&str> = parts.collect();
    class && rest.len() == 2 && rest.iter().all(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
}

fn class_of(status: &str) -> &'static str {
    match status.as_bytes().first() {
        Some(b'5') => "hard",
        Some(b'4') => "soft",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-135: every per-recipient group is read.
    #[test]
    fn every_recipient_of_a_report_is_read() {
        let r = read_delivery_status(
            "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; a@example.org\nAction: failed\nStatus: 5.1.1 (no such user)\n\
             Diagnostic-Code: smtp; 550 5.1.1\n unknown\n\nOriginal-Recipient: rfc822;<b@example.org>\nAction: Delayed\nStatus: 4.2.2\n",
        );
        assert_eq!(r.kind, ReportKind::Bounce);
        assert_eq!(r.recipients.len(), 2);
        assert_eq!((r.recipients[0].address.as_str(), r.recipients[0].class), ("a@example.org", Some("hard")));
        assert_eq!(r.recipients[0].diagnostic.as_deref(), Some("550 5.1.1 unknown"));
        assert_eq!((r.recipients[1].address.as_str(), r.recipients[1].action.as_deref()), ("b@example.org", Some("delayed")));
    }

    /// S-136: a delay is no bounce, and neither is a delivery.
    #[test]
    fn action_decides_first() {
        let of = |action| read_delivery_status(&format!("X: y\n\nFinal-Recipient: rfc822;a@b.org\nAction: {action}\nStatus: 4.4.1\n")).kind;
        assert_eq!([of("failed"), of("delayed"), of("relayed")], [ReportKind::Bounce, ReportKind::Delay, ReportKind::Success]);
    }

    /// S-141.
    #[test]
    fn a_complaint_needs_its_type() {
        assert_eq!(read_feedback("Feedback-Type: Abuse\nVersion: 1\n").map(|c| c.feedback_type).as_deref(), Some("abuse"));
        assert_eq!(read_feedback("Version: 1\n"), None);
    }
}
