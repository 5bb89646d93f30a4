//! `svar dkim`: makes the keys that sign mail, and prints what to publish of them.
//!
//! An RSA key is made by the command `openssl`, which makes keys for the whole world; ring, which signs, makes none. A key file
//! is never overwritten: a new key has a new selector, so that mail under way still verifies (RFC 6376 §3.1).

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::Subcommand;

use super::init::write_new;
use super::{Exit, Failure, show};
use crate::config::{self, DkimPlaces};
use crate::wire::dkim::{Algorithm, Key, generate_ed25519};

/// Octets of one string of a TXT record (RFC 1035 §3.3).
const STRING: usize = 255;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an RSA key of 2048 bits beside svar.toml, and say what to publish and to write. Never overwrites.
    New {
        /// The name it is published under; a new one for each new key.
        #[arg(long, value_name = "NAME")]
        selector: Option<String>,
        /// Make an Ed25519 key too, for a second signature.
        #[arg(long)]
        ed25519: bool,
    },
    /// Print what to publish of the keys that are there.
    Show {
        /// Only those of this selector.
        #[arg(long, value_name = "NAME")]
        selector: Option<String>,
    },
}

/// A key, where it is kept, and the name it is published under.
struct Named {
    selector: String,
    /// As svar.toml names it.
    file: String,
    path: PathBuf,
    algorithm: Algorithm,
}

/// Runs the command.
pub(super) fn run(path: &Path, command: &Command) -> Result<Exit, Failure> {
    let places = config::dkim_places(path, |name| std::env::var(name).ok())?;
    match command {
        Command::New { selector, ed25519 } => new(path, &places, selector.as_deref(), *ed25519),
        Command::Show { selector } => show_all(path, &places, selector.as_deref()),
    }
}

fn new(path: &Path, places: &DkimPlaces, selector: Option<&str>, ed25519: bool) -> Result<Exit, Failure> {
    let named = named(places, selector)?;
    let wanted = &named[..if ed25519 { 2 } else { 1 }];
    let mut made = 0;
    for key in wanted {
        let pem = match (key.path.exists(), key.algorithm) {
            (true, _) => continue,
            (false, Algorithm::Rsa) => generate_rsa()?,
            (false, Algorithm::Ed25519) => generate_ed25519().map_err(|error| Failure::new(Exit::Failed, format!("a key {error}")))?,
        };
        if write_new(&key.path, pem.as_bytes(), 0o600)? {
            made += 1;
            show::line(&format!("wrote {} (keep it private: whoever has it can write mail in your name)", key.path.display()))?;
        }
    }
    if made == 0 {
        let message = format!(
            "{} is there already and is kept; print what to publish of it: svar dkim show; make another: svar dkim new --selector NAME",
            wanted[wanted.len() - 1].path.display()
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    explain(path, places, wanted)
}

fn show_all(path: &Path, places: &DkimPlaces, selector: Option<&str>) -> Result<Exit, Failure> {
    let named: Vec<Named> = named(places, selector)?.into_iter().filter(|key| key.path.exists()).collect();
    if named.is_empty() {
        return Err(Failure::new(Exit::Failed, "there is no key to show; make one: svar dkim new"));
    }
    explain(path, places, &named)
}

/// The RSA key of a selector and the Ed25519 key beside it: as svar.toml says, or as they are called where it says nothing.
fn named(places: &DkimPlaces, asked: Option<&str>) -> Result<[Named; 2], Failure> {
    let configured = places.rsa.0.as_deref();
    let selector = asked.or(configured).unwrap_or("svar");
    let is_configured = asked.is_none() || asked == configured;
    let one = |(name, file): &(Option<String>, Option<String>), own: String, algorithm| {
        let selector = name.clone().filter(|_| is_configured).unwrap_or(own);
        let file = file.clone().filter(|_| is_configured).unwrap_or_else(|| format!("dkim-{selector}.pem"));
        Named { path: places.folder.join(&file), selector, file, algorithm }
    };
    let named =
        [one(&places.rsa, selector.to_owned(), Algorithm::Rsa), one(&places.ed25519, format!("{selector}-ed25519"), Algorithm::Ed25519)];
    match named.iter().find(|key| !config::is_selector(&key.selector)) {
        Some(bad) => {
            let message = format!("\"{}\" is no selector; use letters, digits and hyphens, as svar2", bad.selector);
            Err(Failure::new(Exit::Failed, message))
        }
        None => Ok(named),
    }
}

fn generate_rsa() -> Result<String, Failure> {
    let failed = |why: String| {
        let message = format!("openssl, which makes RSA keys, {why}; install it (apt-get install openssl), or put a key of your own there");
        Failure::new(Exit::Failed, message)
    };
    let output = Process::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("cannot be run ({error})")))?;
    let pem = String::from_utf8(output.stdout).unwrap_or_default();
    match Key::parse(pem.as_bytes()) {
        Ok(key) if output.status.success() && key.algorithm() == Algorithm::Rsa => Ok(pem),
        _ => Err(failed(format!("made none: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}

/// What to publish of the keys, and what to write into svar.toml.
fn explain(path: &Path, places: &DkimPlaces, named: &[Named]) -> Result<Exit, Failure> {
    show::line(&format!("\n1. Publish in the DNS of {}:", places.domain))?;
    for key in named {
        let fault = |message| Failure::new(Exit::Config, message);
        let read = config::read_key(&key.path).map_err(fault)?;
        show::line(&published(&format!("{}._domainkey.{}", key.selector, places.domain), &read))?;
    }
    show::line(&format!("\n2. Once it is published, write into {} and start svar again:\n\n[dkim]", path.display()))?;
    for key in named {
        let prefix = if key.algorithm == Algorithm::Rsa { "" } else { "ed25519_" };
        show::line(&format!("{prefix}selector = \"{}\"\n{prefix}key_file = \"{}\"", key.selector, key.file))?;
    }
    show::line(
        "\nIf your relay signs, or rewrites Message-ID and Date as Amazon SES does, let it sign and leave [dkim] out.\nTo see that it works: send yourself a mail; Authentication-Results in it says dkim=pass.",
    )?;
    Ok(Exit::Done)
}

/// One record: for a form on the web, and for a zone file.
fn published(name: &str, key: &Key) -> String {
    let kind = if key.algorithm() == Algorithm::Rsa { "RSA" } else { "Ed25519" };
    let record = key.record();
    let strings: Vec<String> = strings(&record).iter().map(|string| format!("    \"{string}\"")).collect();
    format!(
        "\n   {kind}, {bits} bits. In a form on the web:\n\nname   {name}\ntype   TXT\nvalue  {record}\n\n   Or in a zone file:\n\n{name}. IN TXT (\n{zone} )",
        bits = key.bits(),
        zone = strings.join("\n"),
    )
}

/// A record's value in strings that a zone file can hold. It is ASCII.
fn strings(record: &str) -> Vec<&str> {
    (0..record.len()).step_by(STRING).map(|at| &record[at..record.len().min(at + STRING)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_cut_into_strings_of_255_octets_and_nothing_is_lost() {
        let record = "x".repeat(410);
        assert_eq!(strings(&record).iter().map(|s| s.len()).collect::<Vec<_>>(), [255, 155]);
        assert_eq!(strings(&record).concat(), record);
        assert_eq!(strings("v=DKIM1"), ["v=DKIM1"]);
    }

    #[test]
    fn a_selector_asked_for_has_files_of_its_own() {
        let places = |rsa: Option<&str>| DkimPlaces {
            domain: "example.org".into(),
            folder: "/etc/svar".into(),
            rsa: (rsa.map(str::to_owned), rsa.map(|_| "keys/one.pem".to_owned())),
            ed25519: (None, None),
        };
        let files =
            |rsa, asked| named(&places(rsa), asked).map_err(|_| ()).unwrap().map(|key| format!("{} {}", key.selector, key.path.display()));
        assert_eq!(files(None, None), ["svar /etc/svar/dkim-svar.pem", "svar-ed25519 /etc/svar/dkim-svar-ed25519.pem"]);
        assert_eq!(files(Some("one"), None), ["one /etc/svar/keys/one.pem", "one-ed25519 /etc/svar/dkim-one-ed25519.pem"]);
        assert_eq!(files(Some("one"), Some("two"))[0], "two /etc/svar/dkim-two.pem");
        assert!(named(&places(None), Some("../x")).is_err());
    }
}
