//! A composed mail gets its signatures, where svar signs; where the relay does, it goes on as it is.
//!
//! In: a mail and the moment of its first composition, so that a retry gives the same bytes (S-74). Out: the same mail with a
//! DKIM-Signature before it for each key. What is signed is what the relay is handed: lines end in CRLF, and the dots that SMTP
//! doubles are single again where it is verified. Sources: RFC 6376; S-25…S-27.

use chrono::DateTime;

use super::compose::Outgoing;
use crate::config::Sender;

/// Signs a mail that was first composed at `composed_at`, in milliseconds. A signature takes a processor for a millisecond: it is
/// made on a thread apart, so that the replies that other connections wait for are read meanwhile (docs/BENCHMARKS.md).
///
/// # Errors
/// Where a key does not sign.
pub async fn sign(sender: &Sender, mail: Outgoing, composed_at: i64) -> Result<Outgoing, String> {
    let Some(signer) = sender.dkim.clone() else { return Ok(mail) };
    let at = DateTime::from_timestamp_millis(composed_at).unwrap_or_default();
    let signing = tokio::task::spawn_blocking(move || {
        let bytes = signer.sign(&mail.bytes, at).map_err(|error| format!("the key for DKIM {error}"))?;
        Ok(Outgoing { bytes, ..mail })
    });
    signing.await.map_err(|error| format!("signing broke: {error}"))?
}
