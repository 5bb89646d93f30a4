//! svar.toml and SVAR_* become one checked [`Config`]; a room is handed its own section only.
//!
//! In: a file's text and the environment. Out: values that cannot be wrong, or faults that each name the key, where it
//! stands, and the remedy. The environment wins over the file, the file over the defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::model::address::{Address, Mailbox};
use crate::model::throttle::{LONGEST_REST, Provider, Rate, Throttle};
use crate::model::token::Keys;
use crate::store::OnUncertain;
use crate::wire::dkim::{Algorithm, Key, Signer};
use crate::wire::smtp::{Credentials, RelaySettings, Roots, Security};

/// How long a provider is left alone that says "slow down", where nothing else is written (S-59).
const REST_SECONDS: u32 = 600;

/// The commented sample that `svar init` writes.
pub const SAMPLE: &str = include_str!("../templates/svar.toml");

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file.
    #[error("there is no {0}; write one with: svar init")]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// It is not TOML, or has a key that does not exist or a value of another type.
    #[error("{file}: {error}")]
    Form {
        /// The file.
        file: PathBuf,
        /// The parser's words, with line, column and the line itself.
        error: String,
    },
    /// A variable of the environment that is no value of its key.
    #[error("environment variable {name}: {why}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Values that are no good, each with its key.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Values(Vec<Fault>),
}

/// One value that is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key}: {message}")]
pub struct Fault {
    /// The file it stands in, or should.
    pub file: String,
    /// The key, e.g. `relay.host`.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct $name { $($key: $type),* }
        impl Default for $name {
            fn default() -> Self { Self { $($key: $default),* } }
        }
    };
}

section!(File {
    database: String = "svar.db".into(),
    secret_file: String = "svar.secret".into(),
    time_zone: String = "Europe/Stockholm".into(),
    templates: String = String::new(),
    organiser: OrganiserSection = OrganiserSection::default(),
    mail: MailSection = MailSection::default(),
    dkim: DkimSection = DkimSection::default(),
    relay: RelaySection = RelaySection::default(),
    providers: BTreeMap<String, ProviderSection> = BTreeMap::new(),
    outbox: OutboxSection = OutboxSection::default(),
    intake: IntakeSection = IntakeSection::default(),
    web: WebSection = WebSection::default(),
    log: LogSection = LogSection::default(),
});
section!(OrganiserSection { name: String = String::new(), postal_address: String = String::new(), notify: String = String::new() });
section!(MailSection {
    from: String = String::new(),
    reply: String = String::new(),
    separator: String = "+".into(),
    confirmations: bool = true,
});
section!(DkimSection {
    selector: String = String::new(),
    key_file: String = String::new(),
    ed25519_selector: String = String::new(),
    ed25519_key_file: String = String::new(),
    domain: String = String::new(),
});
section!(RelaySection {
    host: String = "localhost".into(),
    port: u16 = 465,
    tls: Tls = Tls::Implicit,
    ca_file: String = String::new(),
    user: String = String::new(),
    password_file: String = String::new(),
    ehlo_name: String = String::new(),
    connections: u16 = 4,
    messages_per_connection: u32 = 500,
    per_second: u32 = 0,
    per_minute: u32 = 0,
    per_hour: u32 = 0,
    per_day: u32 = 0,
    connect_seconds: u32 = 30,
    command_seconds: u32 = 300,
    data_seconds: u32 = 600,
});
section!(ProviderSection {
    domains: Option<Vec<String>> = None,
    per_second: u32 = 0,
    per_minute: u32 = 0,
    per_hour: u32 = 0,
    per_day: u32 = 0,
    rest_on: Option<Vec<String>> = None,
    rest_seconds: Option<u32> = None,
});
section!(OutboxSection {
    retry_first_seconds: u32 = 600,
    retry_cap_seconds: u32 = 14_400,
    give_up_seconds: u32 = 432_000,
    uncertain: OnUncertain = OnUncertain::Repeat,
    lease_seconds: u32 = 60,
    grace_seconds: u32 = 3_600,
    rate_sample: u32 = 100,
});
section!(IntakeSection {
    lmtp: String = "127.0.0.1:2424".into(),
    lmtp_socket: String = String::new(),
    lmtp_socket_mode: String = "0660".into(),
    maildir: String = String::new(),
    max_bytes: u64 = 26_214_400,
});
section!(WebSection { listen: String = "127.0.0.1:8325".into() });
section!(LogSection { format: LogFormat = LogFormat::Text, level: String = "info".into() });

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tls {
    Implicit,
    Starttls,
    None,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a collector: one JSON object a line.
    Json,
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// A file's path or a `postgres://` URL.
    pub database: String,
    /// The organiser's zone.
    pub zone: Tz,
    /// The keys that sign and verify tokens.
    pub keys: Keys,
    /// What a mail says of its sender.
    pub sender: Sender,
    /// The relay, and how many connections at once.
    pub relay: RelaySettings,
    /// See [`Config::relay`].
    pub connections: usize,
    /// The outbox's patience.
    pub outbox: OutboxConfig,
    /// Where mail is taken from.
    pub intake: IntakeConfig,
    /// Where the health page is served.
    pub web_listen: Option<SocketAddr>,
    /// The folder of the organiser's own templates.
    pub templates: Option<PathBuf>,
}

/// Who sends, and where answers go.
#[derive(Clone, Debug)]
pub struct Sender {
    /// From.
    pub from: Mailbox,
    /// The address that tokens are put into.
    pub reply: Address,
    /// What stands between its local part and a token.
    pub separator: char,
    /// The organiser's name at the foot of a mail; From's name where none is given.
    pub organiser: String,
    /// The postal address at the foot; empty for none.
    pub postal_address: String,
    /// Where questions and unclear replies are sent.
    pub notify: Option<Address>,
    /// Whether recipients get confirmations, and somebody who was not asked a question whether they want to take part.
    pub confirmations: bool,
    /// What signs each mail; `None` where the relay does.
    pub dkim: Option<Signer>,
}

#[cfg(test)]
impl Sender {
    /// Monica, who asks to be answered at svar@example.org, for tests.
    pub(crate) fn monica() -> Self {
        let address = |text| Address::parse(text).unwrap();
        Self {
            from: Mailbox { name: "Monica Berg".into(), address: address("monica@example.org") },
            reply: address("svar@example.org"),
            separator: '+',
            organiser: "Monica Berg".into(),
            postal_address: String::new(),
            notify: None,
            confirmations: true,
            dkim: None,
        }
    }
}

/// How patient the outbox is.
#[derive(Clone, Debug)]
pub struct OutboxConfig {
    /// The first wait after a temporary refusal.
    pub retry_first: Duration,
    /// The longest.
    pub retry_cap: Duration,
    /// After this long a delivery is given up.
    pub give_up: Duration,
    /// How long a claim holds.
    pub lease: Duration,
    /// What is done with what may have been sent.
    pub uncertain: OnUncertain,
    /// How late a firing may be and still be sent unasked (S-166).
    pub grace: Duration,
    /// How fast mail may leave.
    pub throttle: Throttle,
    /// Of how many mails of an edition the rates of bounces and complaints are judged (S-54, S-55).
    pub rate_sample: u32,
}

/// Where mail is taken from.
#[derive(Clone, Debug)]
pub struct IntakeConfig {
    /// LMTP over TCP.
    pub lmtp: Option<SocketAddr>,
    /// LMTP over a Unix socket.
    pub lmtp_socket: Option<PathBuf>,
    /// Who may write to that socket, as file permissions.
    pub lmtp_socket_mode: u32,
    /// A Maildir.
    pub maildir: Option<PathBuf>,
    /// The largest message taken, in octets.
    pub max_bytes: usize,
}

/// How to log: read before everything else, because it must work where the rest does not.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// A `tracing` filter, e.g. `info`.
    pub level: String,
}

/// Where things are kept: what `svar init` needs before the rest is written.
#[derive(Clone, Debug)]
pub struct Places {
    /// A file's path or a `postgres://` URL.
    pub database: String,
    /// The same without a password, to be shown.
    pub database_shown: String,
    /// The secret file.
    pub secret_file: PathBuf,
}

/// Reads where things are kept, whatever else is still missing.
///
/// # Errors
/// Where the file is not TOML or has a key that does not exist.
pub fn places(path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<Places, Error> {
    let file = read(path, env)?;
    let base = folder_of(path);
    let database = database_of(&base, &file.database);
    let database_shown = match (database.split_once("://"), database.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => database.clone(),
    };
    Ok(Places { database, database_shown, secret_file: base.join(&file.secret_file) })
}

/// What stands in `[dkim]`, before there need be keys: what `svar dkim` works with. Empty texts are `None`.
#[derive(Clone, Debug)]
pub struct DkimPlaces {
    /// The domain that is signed for: `dkim.domain`, or From's.
    pub domain: String,
    /// The folder that paths are relative to.
    pub folder: PathBuf,
    /// `dkim.selector` and `dkim.key_file`.
    pub rsa: (Option<String>, Option<String>),
    /// `dkim.ed25519_selector` and `dkim.ed25519_key_file`.
    pub ed25519: (Option<String>, Option<String>),
}

/// Reads what `[dkim]` and From say, whatever else is still missing and whether or not there are keys.
///
/// # Errors
/// Where the file cannot be read, From is missing or no address, or the domain will not do.
pub fn dkim_places(path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<DkimPlaces, Error> {
    let file = read(path, env)?;
    let mut checker = Checker { file: path.display().to_string(), base: folder_of(path), faults: Vec::new() };
    let from = checker.required_mail("mail.from", &file.mail.from, Mailbox::parse);
    let domain = from.and_then(|from| checker.signing_domain(&file.dkim, &from));
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    match domain {
        Some(domain) => Ok(DkimPlaces {
            domain,
            folder: checker.base,
            rsa: (given(&file.dkim.selector), given(&file.dkim.key_file)),
            ed25519: (given(&file.dkim.ed25519_selector), given(&file.dkim.ed25519_key_file)),
        }),
        None => Err(Error::Values(checker.faults)),
    }
}

/// Whether a text will do as a selector: labels of letters, digits and hyphens (RFC 6376 §3.1).
#[must_use]
pub fn is_selector(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 100 && text.split('.').all(is_label)
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn database_of(base: &Path, text: &str) -> String {
    if text.contains("://") { text.to_owned() } else { base.join(text.trim_start_matches("sqlite:")).display().to_string() }
}

/// Reads the file and the environment into a checked configuration.
///
/// # Errors
/// [`Error`] names the key, the place and the remedy; all faulty values at once.
pub fn load(path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<(Config, LogConfig), Error> {
    let file = read(path, env)?;
    let log = LogConfig { format: file.log.format, level: file.log.level.clone() };
    Checker { file: path.display().to_string(), base: folder_of(path), faults: Vec::new() }.check(&file).map(|config| (config, log))
}

fn read(path: &Path, env: impl Fn(&str) -> Option<String>) -> Result<File, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::Missing(path.to_owned())),
        Err(error) => return Err(Error::Unreadable(path.to_owned(), error)),
    };
    let form = |error: String| Error::Form { file: path.to_owned(), error };
    let file: File = toml::from_str(&text).map_err(|error| form(error.to_string().trim().to_owned()))?;
    let mut table = toml::Table::try_from(&file).map_err(|error| form(error.to_string()))?;
    overlay(&mut table, "SVAR", &env)?;
    table.try_into().map_err(|error: toml::de::Error| Error::Environment { name: "SVAR_…".into(), why: error.message().to_owned() })
}

/// Puts the environment's values in place. Every key there is has a value by now, so its name and type are known.
fn overlay(table: &mut toml::Table, prefix: &str, env: &impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    for (key, value) in table.iter_mut() {
        let name = format!("{prefix}_{}", key.to_uppercase());
        if let toml::Value::Table(section) = value {
            overlay(section, &name, env)?;
        } else if let Some(text) = env(&name) {
            let wrong = |what: &str| Error::Environment { name: name.clone(), why: format!("\"{text}\" is not {what}") };
            *value = match value {
                toml::Value::Integer(_) => toml::Value::Integer(text.parse().map_err(|_| wrong("a whole number"))?),
                toml::Value::Boolean(_) => toml::Value::Boolean(text.parse().map_err(|_| wrong("true or false"))?),
                _ => toml::Value::String(text),
            };
        }
    }
    Ok(())
}

/// Turns the file's texts into checked values and collects what is wrong with them.
struct Checker {
    file: String,
    base: PathBuf,
    faults: Vec<Fault>,
}

impl Checker {
    fn check(mut self, file: &File) -> Result<Config, Error> {
        let zone = file.time_zone.parse::<Tz>().ok();
        if zone.is_none() {
            self.fault("time_zone", format!("there is no zone \"{}\"; write an IANA name as Europe/Stockholm", file.time_zone));
        }
        let keys = self.keys(file);
        let sender = self.sender(file);
        let relay = self.relay(&file.relay, sender.as_ref());
        let intake = self.intake(&file.intake);
        let web_listen = self.socket("web.listen", &file.web.listen);
        if let Some(address) = web_listen.filter(|a| !a.ip().is_loopback()) {
            self.fault("web.listen", format!("{address} is not on this machine; the health page has no login: use 127.0.0.1"));
        }
        let templates = self.optional_path(&file.templates);
        if let Some(folder) = templates.as_ref().filter(|folder| !folder.is_dir()) {
            self.fault("templates", format!("{} is not a folder; make it, or leave the key empty", folder.display()));
        }
        let throttle = self.throttle(file);
        let outbox = self.outbox(&file.outbox, throttle);
        match (zone, keys, sender, relay) {
            (Some(zone), Some(keys), Some(sender), Some(relay)) if self.faults.is_empty() => Ok(Config {
                database: database_of(&self.base, &file.database),
                zone,
                keys,
                sender,
                relay,
                connections: usize::from(file.relay.connections.max(1)),
                outbox,
                intake,
                web_listen,
                templates,
            }),
            _ => Err(Error::Values(self.faults)),
        }
    }

    fn fault(&mut self, key: &'static str, message: impl Into<String>) {
        self.faults.push(Fault { file: self.file.clone(), key, message: message.into() });
    }

    fn optional_path(&self, text: &str) -> Option<PathBuf> {
        (!text.is_empty()).then(|| self.base.join(text))
    }

    fn socket(&mut self, key: &'static str, text: &str) -> Option<SocketAddr> {
        if text.is_empty() {
            return None;
        }
        let address = text.parse().ok();
        if address.is_none() {
            self.fault(key, format!("\"{text}\" is not an address and port; write it as 127.0.0.1:2424"));
        }
        address
    }

    fn keys(&mut self, file: &File) -> Option<Keys> {
        let path = self.base.join(&file.secret_file);
        let parsed = match std::fs::read_to_string(&path) {
            Ok(text) => Keys::parse(&text).map_err(|error| format!("{} {error}", path.display())),
            Err(error) => Err(format!("{} cannot be read ({error}); svar init writes it", path.display())),
        };
        parsed.map_err(|message| self.fault("secret_file", message)).ok()
    }

    fn sender(&mut self, file: &File) -> Option<Sender> {
        let from = self.required_mail("mail.from", &file.mail.from, Mailbox::parse);
        let reply = self.required_mail("mail.reply", &file.mail.reply, Address::parse);
        let notify = if file.organiser.notify.is_empty() {
            Some(None)
        } else {
            self.required_mail("organiser.notify", &file.organiser.notify, Address::parse).map(Some)
        };
        let mut separator = file.mail.separator.chars();
        let separator = match (separator.next(), separator.next()) {
            (Some(c), None) if "+-=_.".contains(c) => Some(c),
            _ => {
                self.fault("mail.separator", format!("\"{}\" will not do; write one of + - = _", file.mail.separator));
                None
            }
        };
        if let Some(reply) = reply.as_ref().filter(|reply| reply.local().len() > 15) {
            self.fault(
                "mail.reply",
                format!("{reply} is too long: a token of 48 characters must fit behind it, so at most 15 before the @"),
            );
        }
        for (key, text) in [("organiser.name", &file.organiser.name), ("organiser.postal_address", &file.organiser.postal_address)] {
            if text.chars().any(char::is_control) {
                self.fault(key, "holds a control character; write it on one line");
            }
        }
        let from = from?;
        let dkim = self.dkim(&file.dkim, &from);
        let organiser = [&file.organiser.name, &from.name].into_iter().find(|name| !name.is_empty()).cloned();
        Some(Sender {
            organiser: organiser.unwrap_or_else(|| from.address.to_string()),
            from,
            reply: reply?,
            separator: separator?,
            postal_address: file.organiser.postal_address.clone(),
            notify: notify?,
            confirmations: file.mail.confirmations,
            dkim,
        })
    }

    /// What signs: nothing where no key is named. A key that is named and no good is a fault, so that no mail leaves unsigned unnoticed.
    fn dkim(&mut self, section: &DkimSection, from: &Mailbox) -> Option<Signer> {
        let domain = self.signing_domain(section, from);
        let rsa = self.key(["dkim.selector", "dkim.key_file"], [&section.selector, &section.key_file], Algorithm::Rsa);
        let ed25519 = self.key(
            ["dkim.ed25519_selector", "dkim.ed25519_key_file"],
            [&section.ed25519_selector, &section.ed25519_key_file],
            Algorithm::Ed25519,
        );
        // S-27: who does not know Ed25519 yet would take the mail for unsigned
        if section.key_file.is_empty() && !section.ed25519_key_file.is_empty() {
            self.fault("dkim.key_file", "is missing; Ed25519 signs beside an RSA key, never alone, for few verify it: svar dkim new");
        }
        if ed25519.is_some() && section.selector == section.ed25519_selector {
            self.fault("dkim.ed25519_selector", "is dkim.selector; each key needs a record of its own, so write another");
        }
        let signer = Signer::new(&domain?, &section.selector, rsa?);
        Some(match ed25519 {
            Some(key) => signer.and(&section.ed25519_selector, key),
            None => signer,
        })
    }

    /// From's domain, or one that DMARC counts as the same: the one lies within the other (RFC 7489 §3.1.1).
    fn signing_domain(&mut self, section: &DkimSection, from: &Mailbox) -> Option<String> {
        let of_from = from.address.domain().to_ascii_lowercase();
        if section.domain.is_empty() {
            return Some(of_from);
        }
        let domain = section.domain.to_ascii_lowercase();
        let within = |one: &str, other: &str| one == other || one.ends_with(&format!(".{other}"));
        if !domain.contains('.') || !(within(&of_from, &domain) || within(&domain, &of_from)) {
            self.fault("dkim.domain", format!("{domain} is not the domain of mail.from, {of_from}; write that, or leave the key empty"));
            return None;
        }
        Some(domain)
    }

    /// The key of one selector; `None` where none is named, or where it is no good.
    fn key(&mut self, [selector_key, file_key]: [&'static str; 2], [selector, file]: [&String; 2], algorithm: Algorithm) -> Option<Key> {
        if file.is_empty() {
            if !selector.is_empty() {
                self.fault(file_key, format!("is missing; {selector_key} needs a key, which is made by: svar dkim new"));
            }
            return None;
        }
        if !is_selector(selector) {
            self.fault(selector_key, format!("\"{selector}\" will not do; write the one that the key is published under, as svar"));
        }
        let path = self.base.join(file);
        let key = read_key(&path).map_err(|message| self.fault(file_key, message)).ok()?;
        if key.algorithm() == algorithm {
            return Some(key);
        }
        let wanted = if algorithm == Algorithm::Rsa { "an RSA key" } else { "an Ed25519 key" };
        let other = if algorithm == Algorithm::Rsa { "dkim.ed25519_key_file" } else { "dkim.key_file" };
        self.fault(file_key, format!("{} holds no such key: {wanted} stands here, another in {other}", path.display()));
        None
    }

    fn required_mail<T, E: ToString>(&mut self, key: &'static str, text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        if text.is_empty() {
            self.fault(key, format!("is missing; write it in the file or set SVAR_{}", key.replace('.', "_").to_uppercase()));
            return None;
        }
        parse(text).map_err(|error| self.fault(key, error.to_string())).ok()
    }

    fn relay(&mut self, section: &RelaySection, sender: Option<&Sender>) -> Option<RelaySettings> {
        let credentials = match (section.user.is_empty(), section.password_file.is_empty()) {
            (true, true) => None,
            (false, false) => {
                let path = self.base.join(&section.password_file);
                match std::fs::read_to_string(&path) {
                    Ok(text) => Some(Credentials::new(section.user.clone(), text.trim_end_matches(['\r', '\n']).to_owned())),
                    Err(error) => {
                        self.fault("relay.password_file", format!("{} cannot be read ({error}); put the password there", path.display()));
                        None
                    }
                }
            }
            (false, true) => {
                self.fault("relay.password_file", "is missing; relay.user needs a file that holds the password");
                None
            }
            (true, false) => {
                self.fault("relay.user", "is missing; relay.password_file needs a user");
                None
            }
        };
        if section.host.is_empty() {
            self.fault("relay.host", "is missing; write the name of the mail server that sends for you");
        }
        let ca_file = self.optional_path(&section.ca_file);
        if let Some(path) = ca_file.as_ref().filter(|path| !path.is_file()) {
            self.fault("relay.ca_file", format!("{} is not a file; write the path of a PEM file", path.display()));
        }
        let ehlo_name = if section.ehlo_name.is_empty() { sender?.reply.domain().to_owned() } else { section.ehlo_name.clone() };
        let security = match section.tls {
            Tls::Implicit => Security::Implicit,
            Tls::Starttls => Security::StartTls,
            Tls::None => Security::Plain,
        };
        let mut settings = RelaySettings::new(section.host.clone(), section.port, security, ehlo_name);
        settings.credentials = credentials;
        settings.roots = ca_file.map_or_else(Roots::system, Roots::file);
        settings.max_messages_per_connection = section.messages_per_connection.max(1);
        settings.timeouts.connect = seconds(section.connect_seconds);
        let command = seconds(section.command_seconds);
        let timeouts = &mut settings.timeouts;
        (timeouts.greeting, timeouts.ehlo, timeouts.mail, timeouts.rcpt) = (command, command, command, command);
        timeouts.data = command.min(timeouts.data);
        timeouts.block = command.min(timeouts.block);
        timeouts.finish = seconds(section.data_seconds);
        Some(settings)
    }

    fn throttle(&mut self, file: &File) -> Throttle {
        let relay = &file.relay;
        let relay = Rate { per_second: relay.per_second, per_minute: relay.per_minute, per_hour: relay.per_hour, per_day: relay.per_day };
        let mut sections = known_providers();
        for (name, section) in &file.providers {
            let known = sections.entry(name.clone()).or_default();
            *known = ProviderSection {
                domains: section.domains.clone().or(known.domains.take()),
                rest_on: section.rest_on.clone().or(known.rest_on.take()),
                rest_seconds: section.rest_seconds.or(known.rest_seconds),
                ..section.clone()
            };
        }
        let mut taken = BTreeSet::new();
        let providers = sections.into_iter().map(|(name, section)| (name.clone(), self.provider(&name, section, &mut taken))).collect();
        Throttle { relay, providers }
    }

    fn provider(&mut self, name: &str, section: ProviderSection, taken: &mut BTreeSet<String>) -> Provider {
        if name.is_empty() {
            self.fault("providers", "one has no name; write [providers.NAME]");
        }
        let mut domains = Vec::new();
        for written in section.domains.unwrap_or_default() {
            match Address::parse(&format!("x@{}", written.trim())) {
                Ok(address) => domains.push(address.domain().to_lowercase()),
                Err(_) => self.fault("providers", format!("{name}: \"{written}\" is not a domain; write it as example.org")),
            }
        }
        if domains.is_empty() {
            self.fault("providers", format!("{name} has no domains; write e.g. domains = [\"example.org\"]"));
        }
        for twice in domains.iter().filter(|domain| !taken.insert((*domain).clone())) {
            self.fault("providers", format!("{name}: {twice} is named before; a domain belongs to one provider"));
        }
        let rate =
            Rate { per_second: section.per_second, per_minute: section.per_minute, per_hour: section.per_hour, per_day: section.per_day };
        let rest = i64::from(section.rest_seconds.unwrap_or(REST_SECONDS)) * 1_000;
        if !(1_000..=LONGEST_REST).contains(&rest) {
            self.fault(
                "providers",
                format!("{name}: rest_seconds is to be from 1 to {}; rest_on = [] makes it none", LONGEST_REST / 1_000),
            );
        }
        Provider { domains, rate, rest_on: section.rest_on.unwrap_or_default(), rest }
    }

    fn outbox(&mut self, section: &OutboxSection, throttle: Throttle) -> OutboxConfig {
        if section.lease_seconds < 1 {
            self.fault("outbox.lease_seconds", "is too short; write at least 1");
        }
        OutboxConfig {
            retry_first: seconds(section.retry_first_seconds.max(1)),
            retry_cap: seconds(section.retry_cap_seconds.max(1)),
            give_up: seconds(section.give_up_seconds),
            lease: seconds(section.lease_seconds),
            uncertain: section.uncertain,
            grace: seconds(section.grace_seconds),
            throttle,
            rate_sample: section.rate_sample,
        }
    }

    fn intake(&mut self, section: &IntakeSection) -> IntakeConfig {
        let mode = u32::from_str_radix(&section.lmtp_socket_mode, 8).ok().filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            self.fault("intake.lmtp_socket_mode", format!("\"{}\" is no mode; write it as 0660", section.lmtp_socket_mode));
        }
        IntakeConfig {
            lmtp: self.socket("intake.lmtp", &section.lmtp),
            lmtp_socket: self.optional_path(&section.lmtp_socket),
            lmtp_socket_mode: mode.unwrap_or_default(),
            maildir: self.optional_path(&section.maildir),
            max_bytes: usize::try_from(section.max_bytes).unwrap_or(usize::MAX),
        }
    }
}

/// The providers that svar knows by itself.
fn known_providers() -> BTreeMap<String, ProviderSection> {
    toml::from_str(include_str!("../templates/providers.toml")).expect("providers.toml is well formed")
}

/// Reads a key that signs mail. One that everybody on this machine can read is refused: whoever has it can write mail that is
/// genuine in the eyes of the world. Its group may read it, for root and the group of a service is how packages keep keys.
///
/// # Errors
/// What is wrong with the file, and the remedy.
pub fn read_key(path: &Path) -> Result<Key, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read ({error}); a key is made by: svar dkim new", path.display());
    let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o027 != 0 {
        return Err(format!("{0} is open to others (mode {1:04o}); close it: chmod 600 {0}", path.display(), mode & 0o777));
    }
    let pem = std::fs::read(path).map_err(unreadable)?;
    Key::parse(&pem).map_err(|error| format!("{} {error}; a new one is made by: svar dkim new --selector NAME", path.display()))
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(u64::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("svar.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::write(dir.path().join("svar.secret"), Keys::single(1, vec![7; 32]).to_file()).unwrap();
        (dir, path)
    }

    const GOOD: &str = "[mail]\nfrom = \"Monica Berg <monica@example.org>\"\nreply = \"svar@example.org\"\n";

    fn load_text(text: &str) -> Result<Config, String> {
        let (_dir, path) = folder(text);
        load(&path, |_| None).map(|(config, _)| config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_with_its_comments_off_is_the_defaults() {
        let uncommented: String = SAMPLE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains(" = ") => rest,
                _ => line,
            })
            .collect::<Vec<_>>()
            .join("\n");
        let file: File = toml::from_str(&uncommented).unwrap();
        assert_eq!(file, File::default());
        let keys = |table: &toml::Table| -> Vec<String> {
            table
                .iter()
                .flat_map(|(k, v)| v.as_table().map_or(vec![k.clone()], |t| t.keys().map(|s| format!("{k}.{s}")).collect()))
                .collect()
        };
        let shown: toml::Table = toml::from_str(&uncommented).unwrap();
        assert_eq!(keys(&shown), keys(&toml::Table::try_from(File::default()).unwrap()));
    }

    #[test]
    fn a_provider_is_known_or_described() {
        let rates = load_text(GOOD).unwrap().outbox.throttle;
        assert!(!rates.any() && rates.providers["google"].domains.contains(&"gmail.com".to_owned()));
        let text = format!(
            "{GOOD}[relay]\nper_day = 500\n[providers.microsoft]\nper_minute = 30\n[providers.byn]\ndomains = [\"Skärgård.se\"]\nper_hour = 9\n"
        );
        let rates = load_text(&text).unwrap().outbox.throttle;
        assert_eq!((rates.relay.per_day, rates.of("microsoft").per_minute, rates.of("byn").per_hour), (500, 30, 9));
        assert!(rates.providers["microsoft"].domains.contains(&"hotmail.se".to_owned()), "what is known of it stays");
        assert_eq!(rates.providers["byn"].domains, ["xn--skrgrd-cuak.se"]);
        for (text, part) in [
            ("[providers.a]\nper_day = 1\n", "a has no domains"),
            ("[providers.a]\ndomains = [\"gmail.com\"]\n", "gmail.com is named before"),
            ("[providers.a]\ndomains = [\"a b\"]\n", "is not a domain"),
            ("[providers.google]\nper_week = 1\n", "per_week"),
            ("[providers.google]\nrest_seconds = 0\n", "rest_seconds is to be from 1"),
        ] {
            let error = load_text(&format!("{GOOD}{text}")).unwrap_err();
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let (_dir, path) = folder(&format!("{GOOD}[relay]\nport = 25\n"));
        let env = |name: &str| match name {
            "SVAR_RELAY_PORT" => Some("2525".to_owned()),
            "SVAR_MAIL_CONFIRMATIONS" => Some("false".to_owned()),
            _ => None,
        };
        let config = load(&path, env).unwrap().0;
        assert_eq!((config.relay.port, config.sender.confirmations), (2525, false));
        let error = load(&path, |name| (name == "SVAR_RELAY_PORT").then(|| "many".to_owned())).unwrap_err().to_string();
        assert_eq!(error, "environment variable SVAR_RELAY_PORT: \"many\" is not a whole number");
    }

    #[test]
    fn an_error_names_the_key_the_file_and_the_remedy() {
        for (text, parts) in [
            (String::new(), vec!["svar.toml: mail.from: is missing", "SVAR_MAIL_FROM", "mail.reply: is missing"]),
            (format!("{GOOD}sepparator = \"+\"\n"), vec!["svar.toml", "line 4, column 1", "sepparator", "separator"]),
            (format!("time_zone = \"Stockholm\"\n{GOOD}"), vec!["time_zone: there is no zone \"Stockholm\"", "Europe/Stockholm"]),
            (format!("secret_file = \"gone\"\n{GOOD}"), vec!["secret_file: ", "gone cannot be read", "svar init"]),
            (format!("{GOOD}[relay]\nuser = \"x\"\n"), vec!["relay.password_file: is missing"]),
            (format!("{GOOD}[relay]\nport = \"x\"\n"), vec!["port", "line 5"]),
            (format!("{GOOD}[intake]\nlmtp = \"x\"\n"), vec!["intake.lmtp: \"x\" is not an address"]),
            (format!("{GOOD}[intake]\nlmtp_socket_mode = \"rw\"\n"), vec!["intake.lmtp_socket_mode: \"rw\" is no mode", "0660"]),
            (format!("{GOOD}[web]\nlisten = \"0.0.0.0:80\"\n"), vec!["web.listen", "not on this machine"]),
            (GOOD.replace("svar@", "svar\\r\\nx@"), vec!["mail.reply: the address holds a control character"]),
        ] {
            let error = load_text(&text).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{part:?} is not in {error:?}");
            }
        }
        let missing = load(Path::new("nowhere/svar.toml"), |_| None).unwrap_err().to_string();
        assert!(missing.contains("svar init"), "{missing}");
    }

    /// A configuration with these lines in `[dkim]`, beside keys that are each closed to others but one.
    fn load_dkim(lines: &str) -> Result<Config, String> {
        let (dir, path) = folder(&format!("{GOOD}[dkim]\n{lines}"));
        let keys = [("rsa", "rsa", 0o600), ("open", "rsa", 0o644), ("ed", "ed25519", 0o640), ("short", "rsa-1024", 0o600)];
        for (name, source, mode) in keys {
            let key = dir.path().join(name);
            std::fs::copy(format!("tests/fixtures/dkim/{source}.pem"), &key).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        load(&path, |_| None).map(|(config, _)| config).map_err(|error| error.to_string())
    }

    /// S-26, S-27.
    #[test]
    fn keys_for_dkim_are_read_and_what_is_wrong_with_one_is_named() {
        assert!(load_dkim("").unwrap().sender.dkim.is_none());
        let both = "selector = \"a\"\nkey_file = \"rsa\"\ned25519_selector = \"b\"\ned25519_key_file = \"ed\"\n";
        assert!(load_dkim(both).unwrap().sender.dkim.is_some());
        for (lines, part) in [
            ("ed25519_selector = \"b\"\ned25519_key_file = \"ed\"", "dkim.key_file: is missing; Ed25519 signs beside an RSA key"),
            ("selector = \"a\"", "dkim.key_file: is missing; dkim.selector needs a key"),
            ("key_file = \"rsa\"", "dkim.selector: \"\" will not do"),
            ("selector = \"a b\"\nkey_file = \"rsa\"", "dkim.selector: \"a b\" will not do"),
            ("selector = \"a\"\nkey_file = \"gone\"", "gone cannot be read"),
            ("selector = \"a\"\nkey_file = \"open\"", "is open to others (mode 0644); close it: chmod 600"),
            ("selector = \"a\"\nkey_file = \"svar.secret\"", "svar.secret is open to others"),
            ("selector = \"a\"\nkey_file = \"short\"", "it is shorter than 2048 bits"),
            ("selector = \"a\"\nkey_file = \"ed\"", "holds no such key: an RSA key stands here, another in dkim.ed25519_key_file"),
            ("selector = \"a\"\nkey_file = \"rsa\"\ndomain = \"other.example\"", "dkim.domain: other.example is not the domain"),
        ] {
            let error = load_dkim(lines).unwrap_err();
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        assert!(load_dkim(&both.replace("\"b\"", "\"a\"")).unwrap_err().contains("dkim.ed25519_selector: is dkim.selector"));
    }

    /// S-221.
    #[test]
    fn a_secret_is_never_shown() {
        let (dir, path) = folder(&format!("{GOOD}[relay]\nuser = \"u\"\npassword_file = \"pw\"\n"));
        std::fs::write(dir.path().join("pw"), "planted-secret\n").unwrap();
        let config = load(&path, |_| None).unwrap().0;
        assert_eq!(config.relay.credentials, Some(Credentials::new("u".into(), "planted-secret".into())));
        let shown = format!("{config:?}");
        assert!(!shown.contains("planted-secret") && !shown.contains("0707"), "{shown}");
    }
}
