//! Any bytes give a reading, in bounded time, without a panic; and what is applied is a status (S-243).
//!
//! The first octet chooses what is known of the message: whether it is tied, and whether the mail it answers is at hand.
//! The learnt reader is not asked in a build for fuzzing (`inbound/intent/model`): it reads what the stations before it
//! leave, piece by piece, and would let through a hundred messages a second instead of thousands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svar::inbound::understand::{Around, to_json, understand};
use svar::model::inbound::{Envelope, Intent};

const SENT: &str = "Hej!\n\nVill du vara med?\nSvara JA, NEJ eller AVREGISTRERA.\n\nMonica";

fuzz_target!(|data: &[u8]| {
    let Some((first, raw)) = data.split_first() else { return };
    let around = Around {
        envelope: Envelope { from: (first & 1 != 0).then(|| "eva@example.com".to_owned()), to: None },
        is_tied: first & 2 != 0,
        sent: (first & 4 != 0).then(|| SENT.to_owned()),
    };
    let understood = understand(raw, &around);
    let reading = &understood.reading;
    assert!(!reading.apply || !matches!(reading.intent, Intent::Question | Intent::Other), "{reading:?}");
    assert!((0.0..=1.0).contains(&reading.confidence), "{reading:?}");
    let _ = to_json(&understood, "fuzz").to_string();
});
