//! A message is stored raw, then acknowledged to its source.
//!
//! The listener, a Maildir and `svar ingest` all end in [`take_in`]. The same message twice is known by a hash over what
//! makes it the same (S-213): not over the trace fields, which differ from one way in to the other.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tracing::{error, info};

use super::apply::apart;
use super::correlate::Own;
use super::meters::Meters;
use super::parse;
use crate::clock::Clock;
use crate::model::inbound::{Envelope, Source};
use crate::store::{Error, Raw, Store, Stored};
use crate::wire::listener::{Handler, Refusal};

/// Fields that belong to a message rather than to its way here.
const IDENTITY: [&str; 6] = ["Message-ID", "From", "Date", "Subject", "In-Reply-To", "To"];

/// Stores a message. When this returns, the source may forget it.
///
/// # Errors
/// Where it could not be stored; then the source must keep it.
pub async fn take_in(store: &Store, own: &Own, source: Source, envelope: &Envelope, bytes: Vec<u8>, now: i64) -> Result<Stored, Error> {
    // S-244: what no parser can read is stored all the same, known by its bytes
    let (parsed, bytes) = parse_apart(bytes).await;
    let content_hash = content_hash(&parsed, &bytes);
    let recipient = own.recipient(envelope, &parsed).unwrap_or_default();
    let envelope_from = envelope.from.clone().or_else(|| parsed.return_path.clone());
    let message = Raw { source, envelope_from: envelope_from.as_deref(), recipient: &recipient, content_hash: &content_hash, bytes };
    let size_bytes = message.bytes.len();
    let stored = store.store_raw(now, &message).await?;
    info!(inbound.id = stored.id, inbound.source = source.as_str(), size_bytes, is_new = stored.is_new, "message stored");
    Ok(stored)
}

async fn parse_apart(bytes: Vec<u8>) -> (parse::Parsed, Vec<u8>) {
    let bytes = Arc::new(bytes);
    let shared = bytes.clone();
    let parsed = apart(move || parse::read(&shared)).await.unwrap_or_default();
    (parsed, Arc::try_unwrap(bytes).unwrap_or_else(|shared| shared.to_vec()))
}

fn content_hash(parsed: &parse::Parsed, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    for name in IDENTITY {
        hash.update(parsed.header(name).unwrap_or("").split_whitespace().collect::<String>());
        hash.update([0]);
    }
    let (mut body, mut end) = (body_of(bytes), 0);
    while let [rest @ .., b'\r' | b'\n'] = body {
        body = rest;
    }
    // Line ends differ between ways in: CR is passed over.
    for (at, octet) in body.iter().enumerate() {
        if *octet == b'\r' {
            hash.update(body.get(end..at).unwrap_or_default());
            end = at + 1;
        }
    }
    hash.update(body.get(end..).unwrap_or_default());
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

/// What follows the first empty line; a message without one is all body.
fn body_of(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(2).enumerate().find_map(|(at, pair)| match pair {
        b"\n\n" => Some(at + 2),
        b"\n\r" if bytes.get(at + 2) == Some(&b'\n') => Some(at + 3),
        _ => None,
    });
    end.and_then(|at| bytes.get(at..)).unwrap_or(bytes)
}

/// What the listener asks: who may be written to, and whether a message is stored.
#[derive(Clone, Debug)]
pub struct Doorkeeper {
    /// The database.
    pub store: Store,
    /// Our own addresses and keys.
    pub own: Own,
    /// The time.
    pub clock: Clock,
    /// Woken when something was stored.
    pub arrived: Arc<Notify>,
    /// What is counted.
    pub meters: Arc<Meters>,
}

impl Handler for Doorkeeper {
    /// S-102: our address, alone or with a token that we wrote; everything else is refused before it is sent.
    async fn recipient(&self, _from: &str, to: &str) -> Result<(), Refusal> {
        if self.own.takes(to) {
            Ok(())
        } else {
            Err(Refusal::unknown_recipient("no such address here: the reply address was changed or never ours"))
        }
    }

    /// S-101.
    async fn message(&self, from: &str, to: &[String], bytes: Vec<u8>) -> Vec<Result<String, Refusal>> {
        let mut verdicts = Vec::with_capacity(to.len());
        for recipient in to {
            let envelope = Envelope { from: Some(from.to_owned()), to: Some(recipient.clone()) };
            let stored = take_in(&self.store, &self.own, Source::Listener, &envelope, bytes.clone(), self.clock.millis()).await;
            self.meters.taken(Source::Listener, &stored);
            verdicts.push(match stored {
                Ok(stored) => Ok(format!("stored as {}", stored.id)),
                Err(error) => {
                    error!(%error, "a message could not be stored; its sender keeps it");
                    Err(Refusal::not_now("it could not be stored; keep it and try again"))
                }
            });
        }
        self.arrived.notify_one();
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> String {
        content_hash(&parse::read(text.as_bytes()), text.as_bytes())
    }

    /// S-213.
    #[test]
    fn a_message_is_the_same_by_any_way_in() {
        let plain = "From: eva@example.org\nMessage-ID: <1@example.org>\nSubject: Sv: Hej\n\nJa!\n\n\n";
        let traced = format!("Return-Path: <eva@example.org>\r\nReceived: from a\r\n\tby b\r\n{}", plain.replace('\n', "\r\n"));
        assert_eq!(hash(plain), hash(&traced));
        assert_ne!(hash(plain), hash(&plain.replace("Ja!", "Nej!")));
        assert_ne!(hash(plain), hash(&plain.replace("<1@", "<2@")));
        assert_ne!(hash("no header at all"), hash("nothing in common"));
    }
}
