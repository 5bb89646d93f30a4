//! How fast mail is signed, beside ring alone with the same key on the same octets, in one run: on one core and on all of them.
//!
//! `cargo bench --bench dkim -- MAIL [SECONDS] [ring]`: MAIL is a message as `svar campaign preview NAME --raw` prints it. With
//! `ring` only its signatures a second on all cores are printed, for `scripts/bench-send`. The key is made for the run.

use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::DateTime;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PKCS1_SHA256;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use svar::wire::dkim::{Key, Signer};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let mail = words.first().map_or_else(sample, |path| std::fs::read(path).expect("the mail can be read"));
    let long = Duration::from_secs(words.get(1).and_then(|word| word.parse().ok()).unwrap_or(3));
    let pem = rsa();
    let pair = KeyPair::from_pkcs8(PrivatePkcs8KeyDer::from_pem_slice(&pem).expect("a key").secret_pkcs8_der()).expect("a good key");
    let signer = Signer::new("example.org", "svar", Key::parse(&pem).expect("a key"));
    // what is signed of a mail is its head: about a kilobyte
    let head = vec![b'x'; 1024];
    let alone = || {
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &head, &mut signature).expect("signed");
        black_box(signature);
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if words.get(2).is_some_and(|word| word == "ring") {
        println!("{:.0}", a_second(cores, long, &alone));
        return;
    }
    let whole = || drop(black_box(signer.sign(&mail, DateTime::UNIX_EPOCH).expect("signed")));
    println!("{:>6} {:>8} {:>10} {:>10} {:>7}", "cores", "octets", "ring/s", "svar/s", "ratio");
    for cores in [1, cores] {
        let (alone, whole) = (a_second(cores, long, &alone), a_second(cores, long, &whole));
        println!("{cores:6} {:8} {alone:10.0} {whole:10.0} {:7.3}", mail.len(), whole / alone);
    }
}

/// How often a second something is done by so many threads.
fn a_second(threads: usize, long: Duration, act: &(impl Fn() + Sync)) -> f64 {
    let (begun, count) = (Instant::now(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while begun.elapsed() < long {
                    act();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

fn rsa() -> Vec<u8> {
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
    made.expect("openssl can be run").stdout
}

fn sample() -> Vec<u8> {
    let head = "From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\nDate: Tue, 01 Dec 2026 08:00:00 +0000\r\n\r\n";
    format!("{head}{}", "Vi träffas en kväll i månaden och talar om sådant som vi annars grubblar på själva.\r\n".repeat(100)).into_bytes()
}
