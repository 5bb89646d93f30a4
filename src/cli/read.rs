//! `svar read FILE…`: how svar understands messages, and why. Nothing is stored, no configuration is needed.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::{Exit, Failure, show};
use crate::inbound::understand::{Around, Understood, to_json, understand};

/// `svar read FILE…`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Message files; - for standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object a line and message.
    #[arg(long)]
    json: bool,
}

/// Runs the command. A file that cannot be read is named, the others go on.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for file in &args.files {
        match bytes_of(file) {
            Ok(bytes) => {
                let understood = understand(&bytes, &Around::default());
                let shown = file.display().to_string();
                if args.json { show::line(&to_json(&understood, &shown).to_string())? } else { show::line(&readable(&understood, &shown))? }
            }
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

/// The bytes of a file, or of standard input for `-`.
pub(super) fn bytes_of(file: &Path) -> std::io::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file)
}

fn readable(understood: &Understood, file: &str) -> String {
    let reading = &understood.reading;
    let words: String = show::plain(&understood.own_words).lines().map(|line| format!("    {line}\n")).collect();
    let evidence: Vec<String> = understood
        .evidence
        .iter()
        .chain(&reading.evidence)
        .map(|e| format!("  because {}: {}", e.rule, show::brief(&show::plain(&e.words), 80)))
        .collect();
    let guests = match reading.guests {
        None => String::new(),
        Some(1) => ", 1 guest".to_owned(),
        Some(n) => format!(", {n} guests"),
    };
    let does = if reading.apply { "applied by itself" } else { "waits for a person" };
    format!(
        "{file}\n  {}: {}{guests} ({:.0} %, {does})\n{words}{}",
        understood.kind,
        reading.intent,
        reading.confidence * 100.0,
        evidence.join("\n")
    )
}
