//! `svar campaign`: check, add, look at, test, start, stop.

use std::path::{Path, PathBuf};

use clap::Subcommand as ClapSubcommand;
use miette::{LabeledSpan, MietteDiagnostic, NamedSource};

use super::contacts::address_of;
use super::{Exit, Failure, Office, show, wait};
use crate::model::address::Mailbox;
use crate::model::campaign::{CampaignFile, Kind, Mistake};
use crate::model::contact::Contact;
use crate::model::event::Cause;
use crate::outbound::check;
use crate::outbound::compose::{self, EditionMail, Outgoing};
use crate::outbound::layout::Layout;
use crate::outbound::outbox::organiser;
use crate::outbound::render::{Rendered, Renderer};
use crate::store::Campaign;
use crate::wire::smtp;

/// `svar campaign …`
#[derive(Debug, ClapSubcommand)]
pub(super) enum Command {
    /// Name every mistake in a campaign file, with line and column.
    Check {
        /// The campaign file.
        file: PathBuf,
    },
    /// Add a campaign as a draft, or replace the draft of its name.
    Add {
        /// The campaign file.
        file: PathBuf,
    },
    /// The campaigns there are.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the mail that a contact will get.
    Preview {
        /// The campaign.
        name: String,
        /// Whose mail; the first member of the list where it is left out.
        #[arg(long)]
        contact: Option<String>,
        /// The exact bytes instead of a readable form.
        #[arg(long)]
        raw: bool,
    },
    /// Send the mail once to an address of your own; nothing is recorded.
    Test {
        /// The campaign.
        name: String,
        /// Where to.
        #[arg(long)]
        to: String,
    },
    /// Start a draft: it is sent when its time comes.
    Start {
        /// The campaign.
        name: String,
        /// Show progress until everybody is at an end, as `svar campaign wait` does.
        #[arg(long)]
        wait: bool,
    },
    /// Show progress until everybody of the newest edition is at an end: exit code 0 where all were sent, 3 where some failed, 75
    /// where it is paused and 69 where no daemon runs. Ctrl-C ends the waiting, not the sending.
    Wait {
        /// The campaign.
        name: String,
    },
    /// Let nothing more of it leave until it is resumed.
    Pause {
        /// The campaign.
        name: String,
    },
    /// Resume what was paused.
    Resume {
        /// The campaign.
        name: String,
    },
    /// Send what failed again, once the cause is mended; suppressed people are left out.
    Retry {
        /// The campaign.
        name: String,
    },
    /// Decide about mails of which nobody knows whether they arrived.
    Settle {
        /// The campaign.
        name: String,
        /// They arrived, or they are to be sent again; some people may then get the mail twice.
        uncertain: Verdict,
    },
    /// End it for good; what still waits is not sent.
    Cancel {
        /// The campaign.
        name: String,
    },
}

/// What a person says of uncertain mails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Verdict {
    /// They arrived.
    Sent,
    /// Send them again.
    Again,
}

/// Runs the command.
pub(super) async fn run(office: &Office, command: Command) -> Result<Exit, Failure> {
    let (store, now) = (&office.store, office.now());
    match command {
        Command::Check { file } => {
            let source = read_file(&file)?;
            let shown = file.display().to_string();
            let passed = checked(office, &source, &shown).await?;
            check::first_firing(&passed.file, &source, office.config.zone, office.clock.now())
                .map_err(|mistake| explain(&shown, &source, &[mistake]))?;
            show::line(&format!("{}: no mistakes; {} people on list {}", file.display(), passed.recipients, passed.file.list))?;
        }
        Command::Add { file } => add(office, &file).await?,
        Command::List { json } => list(office, json).await?,
        Command::Preview { name, contact, raw } => preview(office, &name, contact.as_deref(), raw).await?,
        Command::Test { name, to } => test(office, &name, &to).await?,
        Command::Start { name, wait } => {
            start(office, &name).await?;
            if wait {
                return wait::run(office, &name).await;
            }
        }
        Command::Wait { name } => return wait::run(office, &name).await,
        Command::Pause { name } => {
            store.pause_campaign(now, &name, Cause::Operator, None).await?;
            show::line(&format!("{name} is paused; svar campaign resume {name} lets it go on"))?;
        }
        Command::Resume { name } => {
            resume(office, &name).await?;
        }
        Command::Retry { name } => retry(office, &name).await?,
        Command::Settle { name, uncertain } => {
            let settled = store.settle_uncertain(now, &name, uncertain == Verdict::Again).await?;
            let verdict = if uncertain == Verdict::Again { "are sent again" } else { "count as sent" };
            show::line(&format!("{name}: {} {verdict}", mails(settled)))?;
        }
        Command::Cancel { name } => {
            let stopped = store.cancel_campaign(now, &name).await?;
            show::line(&format!("{name} is cancelled; {stopped} mails will not be sent"))?;
        }
    }
    Ok(Exit::Done)
}

async fn retry(office: &Office, name: &str) -> Result<(), Failure> {
    let queued = office.store.retry_failed(office.now(), name).await?;
    show::line(&match queued {
        0 => format!("{name}: nothing is tried again; no mail failed, or the people it failed for are suppressed"),
        _ => format!("{name}: {} will be tried again; svar status {name}", mails(queued)),
    })?;
    if !office.store.paused_relays().await?.is_empty() {
        show::line("the relay is paused; when what it complained of is mended: svar resume-relay")?;
    }
    Ok(())
}

fn mails(count: u64) -> String {
    show::mails(i64::try_from(count).unwrap_or(i64::MAX))
}

fn read_file(file: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(Exit::Failed, format!("{}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            String::from_utf8_lossy(error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default()).matches('\n').count();
        failed(format!("line {} is not UTF-8; save the file as UTF-8", line + 1))
    })
}

async fn checked(office: &Office, source: &str, name: &str) -> Result<check::Passed, Failure> {
    let layout = layout_of(office)?;
    check::campaign(&office.store, &office.config.sender, &layout, source).await?.map_err(|mistakes| explain(name, source, &mistakes))
}

fn layout_of(office: &Office) -> Result<Layout, Failure> {
    Layout::load(office.config.templates.as_deref()).map_err(|error| Failure::new(Exit::Config, format!("templates: {error}")))
}

/// Every mistake with its line and the words it is about.
fn explain(name: &str, source: &str, mistakes: &[Mistake]) -> Failure {
    let places: Vec<String> = mistakes.iter().map(|m| format!("{name}:{}:{}: {}", m.line, m.column, m.message)).collect();
    let labels = mistakes.iter().map(|m| LabeledSpan::new_with_span(Some(m.message.clone()), m.at.clone()));
    let count = if mistakes.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", mistakes.len()) };
    let diagnostic = MietteDiagnostic::new(format!("{count} in {name}\n{}", places.join("\n"))).with_labels(labels);
    Failure::report(miette::Report::new(diagnostic).with_source_code(NamedSource::new(name, source.to_owned())))
}

async fn add(office: &Office, path: &Path) -> Result<(), Failure> {
    let source = read_file(path)?;
    let shown = path.display().to_string();
    let file = CampaignFile::parse(&source).map_err(|mistakes| explain(&shown, &source, &mistakes))?;
    Renderer::new(&file, &source, &layout_of(office)?, &organiser(&office.config.sender)).map_err(|m| explain(&shown, &source, &m))?;
    let new = office.store.add_campaign(office.now(), &file, &source).await?;
    let name = &file.name;
    show::line(&if new {
        format!("{name} is a draft; look at it with: svar campaign preview {name}, start it with: svar campaign start {name}")
    } else {
        format!("{name} is there already, word for word")
    })
}

async fn list(office: &Office, json: bool) -> Result<(), Failure> {
    let campaigns = office.store.list_campaigns().await?;
    if json {
        let row = |c: &Campaign| serde_json::json!({ "campaign": c.name, "kind": c.kind, "state": c.state, "list": c.list, "next_at": c.next_at.map(show::rfc3339) });
        return show::json(&campaigns.iter().map(row).collect::<Vec<_>>());
    }
    let zone = office.config.zone;
    let next = |c: &Campaign| c.next_at.map_or_else(String::new, |at| show::time(zone, at));
    let row = |c: &Campaign| vec![c.name.clone(), c.kind.to_string(), c.state.to_string(), c.list.clone(), next(c)];
    show::table(&["campaign", "kind", "state", "list", "next"], campaigns.iter().map(row))
}

async fn whose(office: &Office, campaign: &Campaign, address: Option<&str>) -> Result<Contact, Failure> {
    if let Some(address) = address {
        let found = office.store.find_contact(&address_of(address)?).await?;
        return found.ok_or_else(|| {
            Failure::new(Exit::Failed, format!("there is no contact {address}; svar contacts import FILE --list {}", campaign.list))
        });
    }
    let nobody = || Failure::new(Exit::Failed, format!("the list \"{0}\" has nobody; svar contacts import FILE --list {0}", campaign.list));
    office.store.list_members(&campaign.list, 0, 1).await?.into_iter().next().ok_or_else(nobody)
}

/// A campaign's mail to a contact, as it would be composed now. Its tokens name no delivery: a reply waits for a person.
fn composed(office: &Office, campaign: &Campaign, contact: &Contact, to: Mailbox) -> Result<(Rendered, Outgoing), Failure> {
    let source = &campaign.source;
    let failed = |why: String| Failure::new(Exit::Failed, why);
    let file = CampaignFile::parse(source).map_err(|mistakes| explain(&campaign.name, source, &mistakes))?;
    let sender = &office.config.sender;
    let renderer = Renderer::new(&file, source, &layout_of(office)?, &organiser(sender))
        .map_err(|mistakes| explain(&campaign.name, source, &mistakes))?;
    let words = renderer.render(&contact.person).map_err(|fault| failed(fault.to_string()))?;
    let keys = &office.config.keys;
    let mail = EditionMail {
        delivery_id: 0,
        key_id: keys.current(),
        to,
        list: &file.list,
        is_newsletter: file.kind == Kind::Newsletter,
        date: office.clock.now(),
    };
    let outgoing = compose::edition(sender, keys, &mail, &words, &compose::Lines::default()).map_err(|error| failed(error.to_string()))?;
    Ok((words, outgoing))
}

async fn preview(office: &Office, name: &str, address: Option<&str>, raw: bool) -> Result<(), Failure> {
    let campaign = office.store.get_campaign(name).await?;
    let contact = whose(office, &campaign, address).await?;
    let to = Mailbox { name: contact.person.display_name(), address: contact.person.address.clone() };
    let (words, outgoing) = composed(office, &campaign, &contact, to)?;
    if raw {
        use std::io::Write;
        return Ok(std::io::stdout().write_all(&outgoing.bytes)?);
    }
    let sender = &office.config.sender;
    show::line(&format!(
        "From:    {}\nTo:      {} <{}>\nSubject: {}\n",
        sender.from,
        contact.person.display_name(),
        contact.person.address,
        words.subject
    ))?;
    show::line(&words.text)
}

async fn test(office: &Office, name: &str, to: &str) -> Result<(), Failure> {
    let campaign = office.store.get_campaign(name).await?;
    let to = address_of(to)?;
    let contact = match office.store.find_contact(&to).await? {
        Some(contact) => contact,
        None => whose(office, &campaign, None).await?,
    };
    let (_, outgoing) = composed(office, &campaign, &contact, Mailbox { name: String::new(), address: to.clone() })?;
    let failed = |why: String| Failure::new(Exit::Failed, why);
    let mut session = smtp::connect(&office.config.relay).await.map_err(|fault| failed(fault.text))?;
    let sent = session.send(outgoing.letter(), None).await;
    session.quit().await;
    match sent.result {
        Ok(crate::model::outcome::Outcome::Accepted(reply)) => show::line(&format!("sent to {to}; the relay said: {reply}")),
        Ok(other) => Err(failed(format!("not sent: {other:?}"))),
        Err(fault) => Err(failed(fault.text)),
    }
}

async fn resume(office: &Office, name: &str) -> Result<(), Failure> {
    let campaign = office.store.get_campaign(name).await?;
    office.store.resume_campaign(office.now(), name).await?;
    let (now, zone) = (office.clock.now(), office.config.zone);
    let grace = i64::try_from(office.config.outbox.grace.as_millis()).unwrap_or(i64::MAX);
    let missed = campaign.next_at.filter(|at| now.timestamp_millis() - at > grace);
    let send = CampaignFile::parse(&campaign.source).map(|file| file.send);
    match (missed, send) {
        (Some(missed), Ok(send)) if send.recurs() => {
            let next = send.next(zone, now, now).map_or_else(String::new, |next| show::time(zone, next.at.timestamp_millis()));
            let missed = show::time(zone, missed);
            show::line(&format!("{name} goes on; its time {missed} passed while it was paused and is not made up for; next at {next}"))
        }
        _ => show::line(&format!("{name} goes on")),
    }
}

async fn start(office: &Office, name: &str) -> Result<(), Failure> {
    let campaign = office.store.get_campaign(name).await?;
    let passed = checked(office, &campaign.source, name).await?;
    let next = check::first_firing(&passed.file, &campaign.source, office.config.zone, office.clock.now())
        .map_err(|mistake| explain(name, &campaign.source, &[mistake]))?;
    office.store.start_campaign(office.now(), name, &next).await?;
    let when =
        if next.slot == "now" { "now".to_owned() } else { format!("at {}", show::time(office.config.zone, next.at.timestamp_millis())) };
    show::line(&format!("{name} goes to {} people {when}, while svar serve is running; svar status {name}", passed.recipients))
}
