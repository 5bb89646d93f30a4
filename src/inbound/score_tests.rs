//! Scores the way in against a corpus of mail that lies beside the repository, and keeps what was reached.
//!
//! `SVAR_CORPUS` names its folder (default `../shared/corpus`); without one the test says so and passes, except where CI
//! is set. `SVAR_PREDICTIONS` names a file to which every reading is written as a line of JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::understand::{Around, to_json, understand};
use super::{intent, kind, parse, quote};
use crate::model::inbound::{Envelope, Kind, Reading};
use crate::wire::html;

fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("SVAR_CORPUS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"));
    if folder.is_dir() {
        return Some(folder);
    }
    println!("no corpus at {}: nothing is scored", folder.display());
    assert!(std::env::var_os("CI").is_none(), "CI must score the corpus; set SVAR_CORPUS");
    None
}

fn manifest(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    text.lines().filter(|l| !l.trim().is_empty()).map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn raw(folder: &Path, line: &Value) -> Vec<u8> {
    std::fs::read(folder.join(line["file"].as_str().unwrap())).unwrap()
}

fn one_line(text: &str) -> String {
    let text: String = text.nfc().filter(|c| !matches!(c, '\u{200b}' | '\u{feff}' | '\u{fe0f}')).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Default)]
struct Tally {
    n: usize,
    right: usize,
    fit: usize,
    settled: usize,
    applied: usize,
    applied_right: usize,
    visible: usize,
    guests: usize,
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Why a message that was applied does harm.
fn critical(truth: &Value, said: &str) -> bool {
    let is = truth["intent"].as_str().unwrap();
    let leaving = |i: &str| matches!(i, "unsubscribe" | "erase");
    let answers = ["yes", "no", "maybe", "unsubscribe", "erase"].contains(&said);
    (truth["kind"] == "auto_reply" && answers) || (leaving(said) && !leaving(is)) || matches!((is, said), ("no", "yes") | ("yes", "no"))
}

/// One message, what it means, and what was made of it.
struct Scored {
    name: String,
    /// A line of a manifest: `lang`, `kind`, `intent`, `guests`, `visible_text`, `auto_apply_ok`.
    truth: Value,
    reading: Reading,
    own_words: String,
}

/// Prints how well messages were read, by language, and gives the figures and the harm done.
fn table(name: &str, scored: &[Scored]) -> (BTreeMap<String, Tally>, Vec<String>) {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut criticals = Vec::new();
    for Scored { name, truth, reading, own_words } in scored {
        let said = reading.intent.as_str();
        let right = truth["intent"] == said;
        let fit = truth["auto_apply_ok"] == true && truth["kind"] != "unsolicited";
        let wanted = one_line(truth["visible_text"].as_str().unwrap_or_default());
        if reading.apply && critical(truth, said) {
            criticals.push(format!("{name}: {} applied as {said}", truth["intent"]));
        }
        for key in ["all", truth["lang"].as_str().unwrap()] {
            let t = tallies.entry(key.to_owned()).or_default();
            t.n += 1;
            t.right += usize::from(right);
            t.fit += usize::from(fit);
            t.settled += usize::from(fit && reading.apply);
            t.applied += usize::from(reading.apply);
            t.applied_right += usize::from(reading.apply && right);
            t.visible += usize::from(wanted.eq_ignore_ascii_case(&one_line(own_words)));
            t.guests += usize::from(truth["guests"].as_u64().unwrap_or(0) == u64::from(reading.guests.unwrap_or(0)));
        }
    }
    println!("{name:8} {:>4} {:>9} {:>9} {:>10} {:>8} {:>7}", "n", "accuracy", "settled", "precision", "visible", "guests");
    for (lang, t) in &tallies {
        println!(
            "{lang:8} {:4} {:8.1}% {:8.1}% {:9.1}% {:7.1}% {:6.1}%",
            t.n,
            percent(t.right, t.n),
            percent(t.settled, t.fit),
            percent(t.applied_right, t.applied),
            percent(t.visible, t.n),
            percent(t.guests, t.n)
        );
    }
    println!("critical: {criticals:#?}");
    (tallies, criticals)
}

/// S-147: no critical errors, and no less than was reached before. The rules were tuned on these messages.
#[test]
fn the_replies_of_the_corpus_are_understood() {
    let Some(folder) = corpus().map(|c| c.join("intents")).filter(|f| f.is_dir()) else { return };
    let mut predictions = String::new();
    let read = |truth: Value| {
        let name = truth["file"].as_str().unwrap().to_owned();
        let u = understand(&raw(&folder, &truth), &Around::default());
        predictions.push_str(&format!("{}\n", to_json(&u, &name)));
        Scored { name, truth, reading: u.reading, own_words: u.own_words }
    };
    let scored: Vec<Scored> = manifest(&folder).into_iter().map(read).collect();
    if let Some(path) = std::env::var_os("SVAR_PREDICTIONS") {
        std::fs::write(path, predictions).unwrap();
    }
    let (tallies, criticals) = table("corpus", &scored);
    assert!(criticals.is_empty(), "{criticals:#?}");
    let all = &tallies["all"];
    assert!(percent(all.right, all.n) >= FLOORS.accuracy, "accuracy fell");
    assert!(percent(all.settled, all.fit) >= FLOORS.settled, "fewer are settled");
    assert!(percent(all.applied_right, all.applied) >= FLOORS.precision, "precision fell");
    assert!(percent(all.visible, all.n) >= FLOORS.visible, "visible text fell");
}

/// Scores the texts in a folder of examples.
fn examples(folder: &str) -> Vec<Scored> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/intents").join(folder);
    let mut scored = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for mut truth in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let (words, language) = (truth["text"].as_str().unwrap().to_owned(), truth["lang"].as_str().unwrap().to_owned());
            let reading = intent::read(&words, "", Some(&language));
            truth["auto_apply_ok"] = truth["apply"].take();
            truth["kind"] = if truth["intent"] == "auto_reply" { "auto_reply".into() } else { "reply".into() };
            truth["visible_text"] = words.clone().into();
            scored.push(Scored { name: words.clone(), truth, reading, own_words: words });
        }
    }
    scored
}

/// The examples that the thresholds were chosen by, and those that nothing was chosen by.
#[test]
fn the_examples_not_learnt_from_are_understood() {
    for (folder, floors) in [("apart", APART), ("unseen", UNSEEN)] {
        let scored = examples(folder);
        let (tallies, criticals) = table(folder, &scored);
        let all = &tallies["all"];
        assert_eq!(all.n, floors.n, "examples are missing");
        assert!(criticals.len() <= floors.criticals, "more harm than before");
        assert!(percent(all.right, all.n) >= floors.accuracy, "accuracy fell");
        assert!(percent(all.settled, all.fit) >= floors.settled, "fewer are settled");
        assert!(percent(all.applied_right, all.applied) >= floors.precision, "precision fell");
    }
}

/// What was reached on examples, less a message or two: another processor adds in another order. They rise as long as the set
/// stays the same.
struct Examples {
    n: usize,
    accuracy: f64,
    settled: f64,
    precision: f64,
    criticals: usize,
}

const APART: Examples = Examples { n: 1093, accuracy: 93.0, settled: 80.5, precision: 98.9, criticals: 1 };
const UNSEEN: Examples = Examples { n: 1082, accuracy: 95.0, settled: 80.5, precision: 98.9, criticals: 1 };

struct Floors {
    accuracy: f64,
    settled: f64,
    precision: f64,
    visible: f64,
    replies: usize,
    bounces: f64,
    autoreplies: usize,
    complaints: usize,
}

/// Rules alone, tuned on the corpus, came to 93 % of it and to 40 % of examples that nobody had tuned them on.
const FLOORS: Floors =
    Floors { accuracy: 93.5, settled: 88.0, precision: 99.0, visible: 96.0, replies: 110, bounces: 96.0, autoreplies: 12, complaints: 10 };

fn new_text(folder: &Path, line: &Value) -> String {
    let bytes = raw(folder, line);
    match line["input_kind"].as_str() {
        Some("text") => quote::cut(&String::from_utf8_lossy(&bytes).replace("\r\n", "\n"), "", None),
        Some("html") => quote::cut(&html::to_text(&String::from_utf8_lossy(&bytes)), "", None),
        _ => quote::own_words(&parse::read(&bytes), None),
    }
}

fn reply_passes(folder: &Path, line: &Value) -> bool {
    let out = one_line(&new_text(folder, line));
    let texts = |key: &str| -> Vec<String> { line[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(one_line).collect() };
    if line["match"] == "contains" {
        return texts("must_contain").iter().all(|t| out.contains(t)) && !texts("must_not_contain").iter().any(|t| out.contains(t));
    }
    let wanted = line["expected_file"].as_str().map(|f| std::fs::read_to_string(folder.join(f)).unwrap()).unwrap_or_default();
    let bare = |t: &str| if line["match"] == "exact-nows" { t.replace(' ', "") } else { t.to_owned() };
    texts("accept").iter().chain([&one_line(&wanted)]).any(|w| bare(w) == bare(&out))
}

#[test]
fn new_text_is_taken_out_of_foreign_replies() {
    let Some(folder) = corpus().map(|c| c.join("replies")) else { return };
    let lines = manifest(&folder);
    let failed: Vec<&str> = lines.iter().filter(|l| !reply_passes(&folder, l)).filter_map(|l| l["id"].as_str()).collect();
    println!("replies: {}/{} pass; not: {failed:?}", lines.len() - failed.len(), lines.len());
    assert!(lines.len() - failed.len() >= FLOORS.replies);
}

#[test]
fn machines_are_told_from_people() {
    let Some(corpus) = corpus() else { return };
    let sort = |category: &str| -> Vec<(Value, Kind)> {
        let folder = corpus.join(category);
        let of = |l: &Value| kind::of(&parse::read(&raw(&folder, l)), &Envelope::default(), false).kind;
        manifest(&folder).into_iter().map(|l| (l.clone(), of(&l))).collect()
    };
    let count = |category: &str, wanted: &dyn Fn(&Value, Kind) -> bool| -> (usize, usize) {
        let all = sort(category);
        let missed: Vec<_> = all.iter().filter(|(l, k)| !wanted(l, *k)).map(|(l, k)| (l["id"].clone(), *k)).collect();
        println!("{category}: {}/{}; not: {missed:?}", all.len() - missed.len(), all.len());
        (all.len() - missed.len(), all.len())
    };
    let (bounces, of) = count("bounces", &|_, k| k == Kind::Bounce);
    let (autoreplies, _) = count("autoreplies", &|_, k| k == Kind::AutoReply);
    let (complaints, _) = count("complaints", &|_, k| k == Kind::Complaint);
    let calendar = count("calendar", &|l, k| (l["is_calendar_reply"] == true) == (k == Kind::CalendarReply));
    let people = count("ordinary", &|l, k| {
        let may_be_automatic = l["expect"]["auto"] != false;
        !matches!(k, Kind::Bounce | Kind::Complaint | Kind::CalendarReply)
            && (may_be_automatic || !matches!(k, Kind::AutoReply | Kind::Receipt))
    });
    assert!(percent(bounces, of) >= FLOORS.bounces);
    assert!(autoreplies >= FLOORS.autoreplies, "fewer automatic replies are told");
    assert!(complaints >= FLOORS.complaints, "fewer complaints are told");
    assert_eq!((calendar.0, people.0), (calendar.1, people.1), "a person's mail was taken for a machine's");
}

/// Truncated and changed mail never panics: what was read is thrown away.
#[test]
fn damaged_mail_gives_a_value() {
    let Some(corpus) = corpus() else { return };
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for category in ["malformed", "intents", "bounces", "calendar"] {
        let folder = corpus.join(category);
        for line in manifest(&folder) {
            let mut bytes = raw(&folder, &line);
            if category == "malformed" {
                let _ = understand(&bytes, &Around::default());
            }
            bytes.truncate(20_000);
            for _ in 0..8 {
                let at = random(bytes.len());
                if let Some(octet) = bytes.get_mut(at) {
                    *octet = u8::try_from(random(256)).unwrap();
                }
            }
            bytes.truncate(random(bytes.len() + 1));
            let _ = understand(&bytes, &Around::default());
        }
    }
}
