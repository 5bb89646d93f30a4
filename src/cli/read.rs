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

/// Runs the command: some files at a time, one on each processor. A file that cannot be read is named, the others go on.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut exit = Exit::Done;
    for files in args.files.chunks(at_once) {
        let read: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = files.iter().map(|file| scope.spawn(|| shown(file, args.json))).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for (file, read) in files.iter().zip(read) {
            match read {
                Ok(Ok(line)) => show::line(&line)?,
                Ok(Err(error)) => {
                    eprintln!("{}: {error}", file.display());
                    exit = Exit::Failed;
                }
                Err(_) => {
                    eprintln!("{}: svar could not understand this file, which is a fault of svar: please report it", file.display());
                    exit = Exit::Failed;
                }
            }
        }
    }
    Ok(exit)
}

fn shown(file: &Path, json: bool) -> std::io::Result<String> {
    let understood = understand(&bytes_of(file)?, &Around::default());
    let name = file.display().to_string();
    Ok(if json { to_json(&understood, &name).to_string() } else { readable(&understood, &name) })
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
    let returns = understood.returns.map_or_else(String::new, |date| format!("  returns {date}\n"));
    let does = if reading.apply { "applied by itself" } else { "waits for a person" };
    format!(
        "{file}\n  {}: {}{guests} ({:.0} %, {does})\n{returns}{words}{}",
        understood.kind,
        reading.intent,
        reading.confidence * 100.0,
        evidence.join("\n")
    )
}
