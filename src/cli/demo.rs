//! `svar demo`: the whole loop on one machine, with nothing to set up and nothing left behind.
//!
//! The daemon is the real one, with a SQLite file in a folder of its own; its relay is the post office's SMTP server, and
//! what a recipient answers comes back by LMTP through the daemon's listener.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::serve::stop_signal;
use super::{Exit, Failure, show, status};
use crate::clock::Clock;
use crate::config::{Config, IntakeConfig, LogConfig, LogFormat, OutboxConfig, Sender};
use crate::daemon::{Daemon, Sockets};
use crate::demo::carry::carry;
use crate::demo::office::{CAPACITY_BYTES, Office};
use crate::demo::pages::{self, Desk};
use crate::demo::reply::{Outgoing, absence, reply_to};
use crate::demo::sample::{Expected, HeadlessAnswer, ORGANISER, ORGANISER_NAME, SAMPLES, headless_answers, people};
use crate::model::address::{Address, Mailbox};
use crate::model::campaign::CampaignFile;
use crate::model::inbound::Intent;
use crate::model::throttle::Throttle;
use crate::model::token::Keys;
use crate::store::{OnUncertain, Recent, Store};
use crate::wire::listener::{self, Handler, Listener, ListenerSettings, Protocol, Refusal};
use crate::wire::smtp::{RelaySettings, Security};

/// How long the built-in recipients may take, all together.
const HEADLESS_LIMIT: Duration = Duration::from_secs(60);

/// `svar demo`
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The port of the page; another one is taken where it is in use.
    #[arg(long, default_value_t = 8325)]
    port: u16,
    /// Do not try to open a browser.
    #[arg(long)]
    no_open: bool,
    /// No page: the built-in recipients answer by themselves, and the counts must add up.
    #[arg(long)]
    headless: bool,
    /// With --headless: print the counts as JSON.
    #[arg(long, requires = "headless")]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args, clock: Clock) -> Result<Exit, Failure> {
    let level = std::env::var("SVAR_LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned());
    crate::log::start(&LogConfig { format: LogFormat::Text, level });
    let folder = Folder::make()?;
    let demo = Demo::open(&folder.0, clock).await?;
    let outcome = if args.headless { demo.headless(args.json).await } else { demo.page(&args).await };
    demo.close().await;
    outcome
}

/// A folder that is gone when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("svar-demo-{}", random_word()?));
        std::fs::create_dir(&path).map_err(|error| Failure::new(Exit::Failed, format!("{} cannot be made: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

fn random_word() -> Result<String, Failure> {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).map_err(|error| Failure::new(Exit::Failed, format!("the system gave no randomness: {error}")))?;
    Ok(data_encoding::HEXLOWER.encode(&octets))
}

/// The daemon, the post office and the sample campaigns, all running.
struct Demo {
    store: Store,
    office: Arc<Office>,
    clock: Clock,
    /// The daemon's listener.
    lmtp: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    unique: Arc<AtomicU64>,
    word: String,
}

impl Demo {
    async fn open(folder: &Path, clock: Clock) -> Result<Self, Failure> {
        let office = Arc::new(Office::new(people(), CAPACITY_BYTES));
        let (stop, stopped) = watch::channel(false);
        let counter = TcpListener::bind(("127.0.0.1", 0)).await?;
        let config = config(folder, counter.local_addr()?)?;
        let store = Store::open(&config.database).await?;
        fill(&store, &config, &clock).await?;
        let sockets = Sockets::bind(&config).await?;
        let lmtp = sockets.lmtp_address().ok_or_else(|| Failure::new(Exit::Failed, "the demo has no listener"))?;
        let daemon = Daemon::new(config, store.clone(), clock.clone())?;
        let clerk = Arc::new(Clerk { office: office.clone(), clock: clock.clone() });
        let settings = ListenerSettings::new(Protocol::Smtp, "postoffice.example.org");
        let (office_stop, daemon_stop) = (stopped.clone(), stopped);
        let tasks = vec![
            tokio::spawn(async move {
                if let Err(error) = listener::serve(Listener::Tcp(counter), settings, clerk, office_stop).await {
                    tracing::error!(%error, "the post office closed");
                }
            }),
            tokio::spawn(async move {
                if let Err(error) = daemon.run(sockets, daemon_stop).await {
                    tracing::error!(%error, "the daemon ended");
                }
            }),
        ];
        Ok(Self { store, office, clock, lmtp, stop, tasks, unique: Arc::default(), word: random_word()? })
    }

    async fn close(self) {
        _ = self.stop.send(true);
        for task in self.tasks {
            _ = task.await;
        }
    }

    /// Serves the page until the person has seen enough.
    async fn page(&self, args: &Args) -> Result<Exit, Failure> {
        let socket = match TcpListener::bind(("127.0.0.1", args.port)).await {
            Ok(socket) => socket,
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
        };
        let url = format!("http://{}/", socket.local_addr()?);
        let mut shutdown = stop_signal()?;
        show::line(&format!(
            "the post office is open at {url}\nread the invitation as one of its people, and answer it; Ctrl-C ends the demo"
        ))?;
        if !args.no_open {
            open_browser(&url);
        }
        let ended = async move { _ = shutdown.wait_for(|stop| *stop).await };
        axum::serve(socket, pages::router(self.desk())).with_graceful_shutdown(ended).await?;
        Ok(Exit::Done)
    }

    fn desk(&self) -> Desk {
        let (lmtp, store, clock, unique, word) =
            (self.lmtp, self.store.clone(), self.clock.clone(), self.unique.clone(), self.word.clone());
        Desk {
            office: self.office.clone(),
            send: Arc::new(move |mail: Outgoing| Box::pin(async move { carry(lmtp, &mail).await })),
            status: Arc::new(move || {
                let store = store.clone();
                Box::pin(async move { status_of(&store).await.unwrap_or_else(|error| json!({ "error": error.to_string() })) })
            }),
            now: Arc::new(move || clock.now()),
            unique: Arc::new(move || format!("{word}.{}", unique.fetch_add(1, Ordering::Relaxed))),
        }
    }

    /// Lets everybody answer and compares what svar made of it with what they meant.
    async fn headless(&self, as_json: bool) -> Result<Exit, Failure> {
        let deadline = Instant::now() + HEADLESS_LIMIT;
        let answers = headless_answers();
        for answer in &answers {
            self.answer(answer, deadline).await?;
        }
        let sent = answers.iter().filter(|a| a.expected != Expected::Silent).count();
        self.settle(sent, deadline).await?;
        let mut faults = self.faults(&answers).await?;
        let found = counts(&self.store).await?;
        let meant = expected_counts(&answers);
        if found != meant {
            faults.push(format!("the counts are {found}, and should be {meant}"));
        }
        if as_json {
            show::json(&json!({ "counts": found, "expected": meant, "answers_sent": sent, "faults": faults }))?;
        } else {
            show::line(&format!("{sent} people answered by mail; svar counts {found}"))?;
            for fault in &faults {
                show::line(&format!("  wrong: {fault}"))?;
            }
        }
        Ok(if faults.is_empty() { Exit::Done } else { Exit::Failed })
    }

    async fn answer(&self, answer: &HeadlessAnswer, deadline: Instant) -> Result<(), Failure> {
        let raw = self.first_mail(&answer.address, deadline).await?;
        let unique = format!("{}.{}", self.word, self.unique.fetch_add(1, Ordering::Relaxed));
        let missing = || Failure::new(Exit::Failed, format!("{} cannot answer the mail they got", answer.address));
        let person = self.office.person(&answer.address).ok_or_else(missing)?;
        let mail = match answer.expected {
            Expected::Silent => return Ok(()),
            Expected::AutoReply => absence(&raw, &person, &answer.text, self.clock.now(), &unique),
            Expected::Intent(_) => reply_to(&raw, &person, &answer.text, self.clock.now(), &unique),
        };
        carry(self.lmtp, &mail.ok_or_else(missing)?).await.map_err(|error| Failure::new(Exit::Failed, error))
    }

    async fn first_mail(&self, address: &str, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let mut watch = self.office.watch();
        loop {
            if let Some(mail) = self.office.mail(address, 0) {
                return Ok(mail.raw);
            }
            if tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
                return Err(Failure::new(Exit::Failed, format!("{address} got no mail in {} s", HEADLESS_LIMIT.as_secs())));
            }
        }
    }

    /// Waits until every answer is read, everybody is told, and no mail is under way.
    async fn settle(&self, answers: usize, deadline: Instant) -> Result<(), Failure> {
        while Instant::now() < deadline {
            let read = self.store.recent(1_000).await?.len();
            if read == answers && self.store.count_open().await? == (0, 0, 0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let open = self.store.count_open().await?;
        Err(Failure::new(Exit::Failed, format!("not settled in {} s: {open:?} are still open", HEADLESS_LIMIT.as_secs())))
    }

    /// Who was understood otherwise than they meant, or got the wrong mails.
    async fn faults(&self, answers: &[HeadlessAnswer]) -> Result<Vec<String>, Failure> {
        let recent = self.store.recent(1_000).await?;
        let mut faults = Vec::new();
        for answer in answers {
            let read = recent.iter().find(|r| r.from_address.as_deref().is_some_and(|a| a.eq_ignore_ascii_case(&answer.address)));
            let intent = read.and_then(|r| r.intent.as_deref()).unwrap_or("silent");
            if intent != answer.expected.as_str() {
                faults.push(format!("{} was read as {intent}, and meant {}", answer.address, answer.expected.as_str()));
            }
            let applied = matches!(answer.expected, Expected::Intent(Intent::Yes | Intent::No | Intent::Maybe | Intent::Unsubscribe));
            let mails =
                self.office.each(|m| (m.person.address == answer.address).then_some(m.mails.len())).into_iter().flatten().sum::<usize>();
            if mails != 1 + usize::from(applied) {
                faults.push(format!("{} got {mails} mails", answer.address));
            }
        }
        Ok(faults)
    }
}

fn config(folder: &Path, relay: SocketAddr) -> Result<Config, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("the demo's own addresses: {error}"));
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret).map_err(|error| failed(&error))?;
    let from = Mailbox::parse(&format!("{ORGANISER_NAME} <{ORGANISER}>")).map_err(|error| failed(&error))?;
    let reply = Address::parse("svar@example.org").map_err(|error| failed(&error))?;
    Ok(Config {
        database: folder.join("svar.db").display().to_string(),
        zone: chrono_tz::Europe::Stockholm,
        keys: Keys::single(1, secret),
        sender: Sender {
            notify: Some(from.address.clone()),
            organiser: from.name.clone(),
            from,
            reply,
            separator: '+',
            postal_address: String::new(),
            confirmations: true,
            dkim: None,
        },
        relay: RelaySettings::new(relay.ip().to_string(), relay.port(), Security::Plain, "svar.example.org"),
        connections: 2,
        outbox: OutboxConfig {
            retry_first: Duration::from_secs(5),
            retry_cap: Duration::from_secs(60),
            give_up: Duration::from_secs(3_600),
            lease: Duration::from_secs(60),
            uncertain: OnUncertain::Repeat,
            grace: Duration::from_secs(3_600),
            throttle: Throttle::default(),
            rate_sample: 100,
        },
        intake: IntakeConfig {
            lmtp: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            lmtp_socket: None,
            lmtp_socket_mode: 0o600,
            maildir: None,
            max_bytes: 25 * 1024 * 1024,
        },
        web_listen: None,
        templates: None,
    })
}

/// Imports the sample people and starts their invitations, as an organiser does.
async fn fill(store: &Store, config: &Config, clock: &Clock) -> Result<(), Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("the demo's own samples: {why}"));
    for sample in SAMPLES {
        let people = crate::wire::people::read(sample.contacts.as_bytes()).map_err(|error| failed(&error))?;
        store.import(clock.millis(), sample.list, "sample", people.iter().map(|(_, person)| person)).await?;
        let file = CampaignFile::parse(sample.campaign).map_err(|mistakes| failed(&format!("{mistakes:?}")))?;
        store.add_campaign(clock.millis(), &file, sample.campaign).await?;
        let now = clock.now();
        let next = file.send.next(config.zone, now, now).ok_or_else(|| failed(&"a campaign that is never sent"))?;
        store.start_campaign(clock.millis(), &file.name, &next).await?;
    }
    Ok(())
}

/// The post office's counter: takes mail for anybody.
struct Clerk {
    office: Arc<Office>,
    clock: Clock,
}

impl Handler for Clerk {
    async fn recipient(&self, _from: &str, _to: &str) -> Result<(), Refusal> {
        Ok(())
    }

    async fn message(&self, from: &str, to: &[String], bytes: Vec<u8>) -> Vec<Result<String, Refusal>> {
        let deliver = |to: &String| self.office.deliver(from, to, bytes.clone(), self.clock.now());
        let full = |_| Refusal::new(452, (4, 3, 1), "the post office is full; start the demo again");
        to.iter().map(|to| deliver(to).map(|_| "in the mailbox".to_owned()).map_err(full)).collect()
    }
}

/// What the page shows beside the mail.
async fn status_of(store: &Store) -> Result<Value, crate::store::Error> {
    let mut campaigns = Vec::new();
    for campaign in store.list_campaigns().await? {
        campaigns.push(status::as_json(&store.status(&campaign.name).await?));
    }
    let recent: Vec<Value> = store.recent(200).await?.iter().map(recent_json).collect();
    Ok(json!({ "campaigns": campaigns, "recent": recent }))
}

fn recent_json(row: &Recent) -> Value {
    let name = format!("{} {}", row.first_name.as_deref().unwrap_or(""), row.last_name.as_deref().unwrap_or(""));
    json!({
        "at": show::rfc3339(row.received_at), "address": row.from_address, "name": name.trim(), "words": row.own_words, "kind": row.kind,
        "intent": row.intent, "guests": row.guests, "confidence": row.confidence, "applied": row.state == "applied" || row.state == "settled",
        "evidence": words_of(row.evidence.as_deref()),
    })
}

/// The evidence that is in the person's words; what header fields showed is not for this page.
fn words_of(evidence: Option<&str>) -> Vec<Value> {
    let all: Vec<Value> = evidence.and_then(|e| serde_json::from_str(e).ok()).unwrap_or_default();
    all.into_iter().filter(|e| e["rule"].as_str().is_some_and(|rule| rule.contains('.'))).collect()
}

/// The counts over all campaigns.
async fn counts(store: &Store) -> Result<Value, Failure> {
    let mut sum = [0_i64; 9];
    for campaign in store.list_campaigns().await? {
        let s = store.status(&campaign.name).await?;
        let counted = [s.contacts, s.sent, s.answers.yes, s.answers.no, s.answers.maybe, s.guests, s.unsubscribed, s.review, s.silent];
        for (total, n) in sum.iter_mut().zip(counted) {
            *total += n;
        }
    }
    Ok(as_counts(sum))
}

fn expected_counts(answers: &[HeadlessAnswer]) -> Value {
    let all = i64::try_from(answers.len()).unwrap_or(i64::MAX);
    let count = |wanted: &[Expected]| i64::try_from(answers.iter().filter(|a| wanted.contains(&a.expected)).count()).unwrap_or(i64::MAX);
    let of = |intent| count(&[Expected::Intent(intent)]);
    let guests = answers.iter().filter(|a| a.expected == Expected::Intent(Intent::Yes)).filter_map(|a| a.guests).map(i64::from).sum();
    let waits = of(Intent::Question) + of(Intent::Other) + of(Intent::Erase);
    let silent = count(&[Expected::Silent, Expected::AutoReply]);
    as_counts([all, all, of(Intent::Yes), of(Intent::No), of(Intent::Maybe), guests, of(Intent::Unsubscribe), waits, silent])
}

fn as_counts([contacts, sent, yes, no, maybe, guests, unsubscribed, review, silent]: [i64; 9]) -> Value {
    json!({ "contacts": contacts, "sent": sent, "yes": yes, "no": no, "maybe": maybe, "guests": guests, "unsubscribed": unsubscribed,
        "review": review, "silent": silent })
}

/// Where there is a desktop, its browser; a failure is no matter, the address was printed.
fn open_browser(url: &str) {
    let has_desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if has_desktop {
        let quiet = std::process::Stdio::null;
        _ = std::process::Command::new("xdg-open").arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    }
}
