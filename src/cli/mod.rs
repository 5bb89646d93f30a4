//! The command line: one file per command. Data on standard output, all else on standard error.

mod campaign;
mod contacts;
mod demo;
mod dkim;
mod exit;
mod history;
mod ingest;
mod init;
mod queue;
mod read;
mod relay;
mod respond;
mod review;
mod serve;
mod show;
mod standing;
mod status;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::store::Store;
pub use exit::{Exit, Failure};

/// Sends invitations and newsletters by mail, reads what people answer in their own words, and keeps the status.
#[derive(Debug, Parser)]
#[command(name = "svar", version, arg_required_else_help = true)]
struct Cli {
    /// The configuration file.
    #[arg(long, short, global = true, default_value = "svar.toml", env = "SVAR_CONFIG", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented svar.toml, the secret and the database, and say what to do next.
    Init,
    /// Run the daemon: send what is due, take in what people answer.
    Serve,
    /// Ask a running daemon whether it is well.
    Health,
    /// Show the whole loop on this machine, with nothing to set up.
    Demo(demo::Args),
    /// The people that mail goes to.
    #[command(subcommand)]
    Contacts(contacts::Command),
    /// What is to be sent.
    #[command(subcommand)]
    Campaign(campaign::Command),
    /// Where a campaign stands; all of them without a name.
    Status(status::Args),
    /// What waits to be sent, and why: by recipient domain, or each mail of one.
    Queue(queue::Args),
    /// The answers to a campaign.
    Answers(status::AnswersArgs),
    /// Messages that wait for a person: list them, or decide one.
    Review(review::Args),
    /// Everything that happened to a contact, each with its cause.
    History(history::Args),
    /// Enter an answer that came another way, e.g. by telephone.
    Respond(respond::Args),
    /// Show how svar understands messages, and why. Nothing is stored.
    Read(read::Args),
    /// Store messages from files or standard input, as a mail server's pipe does. Exit code 75 when it could not.
    Ingest(ingest::Args),
    /// The keys that sign mail, for a relay that does not: make them, and print what to publish.
    #[command(subcommand)]
    Dkim(dkim::Command),
    /// Let a paused relay be used again.
    ResumeRelay,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::misused(&error, std::env::args_os().any(|word| word == "ingest")),
    };
    let tempfail = matches!(cli.command, Command::Ingest(_));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(Exit::Failed, format!("the system gave no threads: {error}")).explain(tempfail),
    };
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.explain(tempfail),
    }
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let clock = Clock::system();
    let path = cli.config;
    match cli.command {
        Command::Init => init::run(&path).await,
        Command::Demo(args) => demo::run(args, clock).await,
        Command::Dkim(command) => dkim::run(&path, &command),
        Command::Read(args) => read::run(&args),
        Command::Serve => serve::run(&path, clock).await,
        Command::Health => serve::health(&path).await,
        Command::Contacts(command) => contacts::run(&Office::open(&path, clock).await?, command).await,
        Command::Campaign(command) => campaign::run(&Office::open(&path, clock).await?, command).await,
        Command::Status(args) => status::run(&Office::open(&path, clock).await?, args).await,
        Command::Queue(args) => queue::run(&Office::open(&path, clock).await?, args).await,
        Command::Answers(args) => status::answers(&Office::open(&path, clock).await?, args).await,
        Command::Review(args) => review::run(&Office::open(&path, clock).await?, args).await,
        Command::History(args) => history::run(&Office::open(&path, clock).await?, args).await,
        Command::Respond(args) => respond::run(&Office::open(&path, clock).await?, args).await,
        Command::Ingest(args) => ingest::run(&path, args, clock).await,
        Command::ResumeRelay => relay::resume(&Office::open(&path, clock).await?).await,
    }
}

/// What a command works with: the configuration, the database, the time.
struct Office {
    config: Config,
    store: Store,
    clock: Clock,
}

impl Office {
    async fn open(path: &std::path::Path, clock: Clock) -> Result<Self, Failure> {
        let (config, _) = config::load(path, |name| std::env::var(name).ok())?;
        let store = Store::open(&config.database).await?;
        Ok(Self { config, store, clock })
    }

    fn now(&self) -> i64 {
        self.clock.millis()
    }
}
