//! How many whole messages a second are read on one core, beside `mail-parser` alone on the same bytes, in one run.
//!
//! `cargo bench --bench reading`: the mails of `SVAR_CORPUS` (default `../shared/corpus`), or, without one, the examples
//! kept apart, each written as a mail. Told apart by whether the learnt reader was asked. No figure is a test: they belong
//! to the machine they were taken on.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use svar::inbound::understand::{Around, understand};
use svar::model::inbound::{Evidence, Kind};

/// Each measure goes on for so long, so that a figure is steady.
const LONG: Duration = Duration::from_secs(3);

fn main() {
    let mails = mails();
    let asked = |raw: &Vec<u8>| understand(raw, &Around::default()).reading.evidence.iter().any(Evidence::is_learnt);
    let (learnt, by_rules): (Vec<_>, Vec<_>) = mails.into_iter().partition(asked);
    let machine = |raw: &Vec<u8>| understand(raw, &Around::default()).kind != Kind::Reply;
    let (machines, answers): (Vec<_>, Vec<_>) = by_rules.into_iter().partition(machine);
    println!("{:36} {:>6} {:>10} {:>14} {:>14} {:>8}", "", "mails", "octets", "mail-parser/s", "svar/s", "ratio");
    for (name, mails) in
        [("an answer, rules alone", &answers), ("a machine's mail, rules alone", &machines), ("the learnt reader was asked", &learnt)]
    {
        if mails.is_empty() {
            continue;
        }
        let parser = a_second(mails, |raw| drop(black_box(mail_parser::MessageParser::default().parse(raw))));
        let svar = a_second(mails, |raw| drop(black_box(understand(raw, &Around::default()))));
        let octets = mails.iter().map(Vec::len).sum::<usize>() / mails.len();
        println!("{name:36} {:6} {octets:10} {parser:14.0} {svar:14.0} {:8.3}", mails.len(), svar / parser);
    }
}

/// Mails a second, going round and round.
fn a_second(mails: &[Vec<u8>], read: impl Fn(&[u8])) -> f64 {
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < LONG {
        mails.iter().for_each(|raw| read(raw));
        count += u32::try_from(mails.len()).unwrap_or(0);
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn mails() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = std::env::var_os("SVAR_CORPUS").map_or_else(|| root.join("../shared/corpus"), Into::into).join("intents");
    let from_corpus: Vec<Vec<u8>> = files(&corpus, "eml").into_iter().filter_map(|path| std::fs::read(path).ok()).collect();
    if !from_corpus.is_empty() {
        println!("the mails of {}", corpus.display());
        return from_corpus;
    }
    println!("the examples kept apart");
    let lines =
        files(&root.join("tests/fixtures/intents/apart"), "jsonl").into_iter().filter_map(|path| std::fs::read_to_string(path).ok());
    lines.flat_map(|text| text.lines().map(as_mail).collect::<Vec<_>>()).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// An example as somebody's mail program would send it, above the quoted invitation.
fn as_mail(line: &str) -> Vec<u8> {
    let example: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let text = example["text"].as_str().unwrap_or_default();
    format!(
        "From: Eva Berg <eva@example.com>\r\nTo: svar+abcdefgh1234@example.org\r\nSubject: Re: Nätverk\r\nMessage-ID: <1@example.com>\r\n\
         In-Reply-To: <2@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n\r\n\
         On Mon, 2 Nov 2026 at 09:00, Monica <svar@example.org> wrote:\r\n> Vill du vara med?\r\n> Svara JA, NEJ eller AVREGISTRERA.\r\n"
    )
    .into_bytes()
}
