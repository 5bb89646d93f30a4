//! A relay that keeps what it gets and misbehaves by script: SMTP, or LMTP with one reply per recipient. Its own code, not svar's.
//!
//! In: rules of when and what. Out: the messages it took, each with envelope and bytes, and the commands as they came.
//! It runs on a thread of its own, so that a test may be blocking or async. Sources: RFC 5321, RFC 2033, RFC 2920.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::wait;

/// When a rule holds.
#[derive(Clone, Debug)]
pub(crate) enum When {
    /// Always.
    Always,
    /// For the n-th message that is begun, from 1, counted over all connections at MAIL FROM.
    Nth(usize),
    /// For so many of a thousand messages, which ones is decided by this seed and the message's number.
    Share(u64, u64),
    /// For messages to so many of a thousand addresses, which ones is decided by this seed and the address.
    ShareOfPeople(u64, u64),
    /// For a message to this address. At MAIL FROM the recipient is not known yet: [`Act::RefuseSender`] never holds then.
    To(String),
}

/// What happens then. Replies are written without line end, such as `450 4.2.0 come back later`; a `421` also closes.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// The reply to MAIL FROM.
    RefuseSender(String),
    /// The reply to RCPT TO.
    RefuseRecipient(String),
    /// The reply to DATA, instead of 354.
    RefuseData(String),
    /// The reply after the final dot; the message is not kept.
    RefuseMessage(String),
    /// Closes when the first bytes after 354 have come; the message is not kept.
    CloseBeforeDot,
    /// Keeps the message and closes without a reply: the unavoidable window of SMTP.
    CloseAfterDot,
    /// Keeps the message and waits this long before the reply to the final dot.
    Slow(Duration),
    /// Waits this long before the greeting.
    SlowGreeting(Duration),
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// MAIL FROM without brackets; empty for `<>`.
    pub(crate) from: String,
    /// The accepted recipients, as written, in order.
    pub(crate) to: Vec<String>,
    /// The bytes up to the final dot, doubled dots undone, nothing else changed.
    pub(crate) bytes: Vec<u8>,
    /// When its MAIL FROM came.
    pub(crate) begun_at: Instant,
    /// When the final dot came.
    pub(crate) at: Instant,
    /// Which connection it came on, from 1.
    pub(crate) connection: usize,
}

impl Received {
    /// The bytes as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// How a sink is to behave.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    lmtp: bool,
    pipelining: bool,
    nothing_behind: bool,
    address: SocketAddr,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    when: When,
    act: Act,
    times: Option<usize>,
}

impl Script {
    /// LMTP instead of SMTP: LHLO, and one reply per recipient.
    pub(crate) fn lmtp(mut self) -> Self {
        self.lmtp = true;
        self
    }

    /// PIPELINING is not offered, and commands sent ahead of a reply are a failure that [`Sink::faults`] tells.
    pub(crate) fn without_pipelining(mut self) -> Self {
        self.pipelining = false;
        self
    }

    /// What comes together with the end of a message is thrown away and answered with 503, though RFC 2920 §3.1 allows it.
    pub(crate) fn nothing_behind_a_message(mut self) -> Self {
        self.nothing_behind = true;
        self
    }

    /// Listens there instead of on a free port: a relay that comes back.
    pub(crate) fn on(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Whenever it holds, it acts. Of several rules that hold at the same moment, the first does.
    pub(crate) fn rule(self, when: When, act: Act) -> Self {
        self.with(when, act, None)
    }

    /// Acts so the first `times` times it holds, and then no more.
    pub(crate) fn times(self, times: usize, when: When, act: Act) -> Self {
        self.with(when, act, Some(times))
    }

    fn with(mut self, when: When, act: Act, times: Option<usize>) -> Self {
        self.rules.push(Rule { when, act, times });
        self
    }

    /// Starts listening.
    #[track_caller]
    pub(crate) fn start(self) -> Sink {
        let listener = StdListener::bind(self.address).unwrap_or_else(|e| panic!("the sink cannot listen on {}: {e}", self.address));
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { script: self.clone(), state: Mutex::new(State { rules: self.rules, ..State::default() }) });
        let (stop, stopped) = watch::channel(());
        let work = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(listen(listener, work, stopped));
        });
        Sink { address, shared, stop: Some(stop), thread: Some(thread) }
    }
}

/// A running sink; dropping it closes its listener and every connection.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// One that takes everything, by SMTP with PIPELINING.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::script().start()
    }

    /// One that behaves as told; ends in [`Script::start`].
    pub(crate) fn script() -> Script {
        Script { lmtp: false, pipelining: true, nothing_behind: false, address: ([127, 0, 0, 1], 0).into(), rules: Vec::new() }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has taken so far, in the order of the final dots.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    /// What it has taken for one address.
    pub(crate) fn received_by(&self, address: &str) -> Vec<Received> {
        self.received().into_iter().filter(|m| m.to.iter().any(|to| to.eq_ignore_ascii_case(address))).collect()
    }

    /// Waits until it has taken at least `count` messages, and gives them.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Received> {
        wait::until(&format!("{count} messages at the sink"), wait::LONG, || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }

    /// Every command line so far, each with the number of its connection.
    pub(crate) fn commands(&self) -> Vec<(usize, String)> {
        self.shared.state().commands.clone()
    }

    /// Waits for the first connection.
    #[track_caller]
    pub(crate) fn wait_for_connection(&self) {
        wait::until("a connection to the sink", wait::LONG, || (self.connections() > 0).then_some(()));
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// How many messages were begun.
    pub(crate) fn begun(&self) -> usize {
        self.shared.state().begun
    }

    /// What the client did that the protocol forbids; empty if all was well.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.shared.state().faults.clone()
    }

    /// Adds a rule while it runs.
    pub(crate) fn add_rule(&self, when: When, act: Act) {
        self.shared.state().rules.push(Rule { when, act, times: None });
    }

    /// Forgets all rules: the relay is well again.
    pub(crate) fn behave(&self) {
        self.shared.state().rules.clear();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Shared {
    script: Script,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    received: Vec<Received>,
    commands: Vec<(usize, String)>,
    faults: Vec<String>,
    connections: usize,
    begun: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The first rule that holds now and whose act is of the moment asked for; it is used up where it is counted.
    fn act<T>(&self, nth: usize, to: &[String], moment: impl Fn(&Act) -> Option<T>) -> Option<T> {
        let mut state = self.state();
        for rule in &mut state.rules {
            let holds = match &rule.when {
                When::Always => true,
                When::Nth(n) => *n == nth,
                When::Share(seed, share) => falls_into(*seed, &nth.to_le_bytes(), *share),
                When::ShareOfPeople(seed, share) => to.iter().any(|t| falls_into(*seed, t.as_bytes(), *share)),
                When::To(address) => to.iter().any(|t| t.eq_ignore_ascii_case(address)),
            };
            if !holds || rule.times == Some(0) {
                continue;
            }
            if let Some(found) = moment(&rule.act) {
                rule.times = rule.times.map(|left| left - 1);
                return Some(found);
            }
        }
        None
    }
}

async fn listen(listener: StdListener, shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let number = { let mut state = shared.state(); state.connections += 1; state.connections };
                let session = Session { stream, number, shared: Arc::clone(&shared), buffer: Vec::new(), nth: 0, begun_at: Instant::now(), from: None, to: Vec::new() };
                tokio::spawn(session.run());
            }
        }
    }
}

struct Session {
    stream: TcpStream,
    number: usize,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    nth: usize,
    begun_at: Instant,
    from: Option<String>,
    to: Vec<String>,
}

/// The connection is over: closed by the client, or by the script.
struct Closed;

impl Session {
    async fn run(mut self) {
        let banner = if self.shared.script.lmtp { "220 sink.example.org LMTP" } else { "220 sink.example.org ESMTP" };
        if let Some(delay) = self.shared.act(0, &[], |a| if let Act::SlowGreeting(delay) = a { Some(*delay) } else { None }) {
            tokio::time::sleep(delay).await;
        }
        if self.say(banner).await.is_err() {
            return;
        }
        while let Ok(line) = self.line().await {
            if self.command(&line).await.is_err() {
                return;
            }
        }
    }

    async fn command(&mut self, line: &str) -> Result<(), Closed> {
        let word = line.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        if !self.shared.script.pipelining && !self.buffer.is_empty() {
            self.fault(&format!("more was sent behind {word} though PIPELINING was not offered"));
        }
        match (word.as_str(), self.shared.script.lmtp) {
            ("EHLO" | "HELO", false) | ("LHLO", true) => {
                self.reset();
                let pipelining = if self.shared.script.pipelining { "250-PIPELINING\r\n" } else { "" };
                self.say(&format!("250-sink.example.org\r\n{pipelining}250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 35882577")).await
            }
            ("MAIL", _) => self.mail(line).await,
            ("RCPT", _) => self.rcpt(line).await,
            ("DATA", _) => self.data().await,
            ("RSET", _) => {
                self.reset();
                self.say("250 2.0.0 forgotten").await
            }
            ("NOOP", _) => self.say("250 2.0.0 yes").await,
            ("QUIT", _) => {
                self.say("221 2.0.0 bye").await?;
                Err(Closed)
            }
            _ => self.say("500 5.5.1 not understood").await,
        }
    }

    async fn mail(&mut self, line: &str) -> Result<(), Closed> {
        if self.from.is_some() {
            self.fault("MAIL within a transaction");
            return self.say("503 5.5.1 one at a time").await;
        }
        self.begun_at = Instant::now();
        self.nth = {
            let mut state = self.shared.state();
            state.begun += 1;
            state.begun
        };
        if let Some(reply) = self.shared.act(self.nth, &[], |a| if let Act::RefuseSender(r) = a { Some(r.clone()) } else { None }) {
            return self.say(&reply).await;
        }
        self.from = Some(path(line));
        self.say("250 2.1.0 ok").await
    }

    async fn rcpt(&mut self, line: &str) -> Result<(), Closed> {
        if self.from.is_none() {
            return self.say("503 5.5.1 MAIL first").await;
        }
        let to = path(line);
        let refusal =
            self.shared.act(self.nth, std::slice::from_ref(&to), |a| if let Act::RefuseRecipient(r) = a { Some(r.clone()) } else { None });
        if let Some(reply) = refusal {
            return self.say(&reply).await;
        }
        self.to.push(to);
        self.say("250 2.1.5 ok").await
    }

    async fn data(&mut self) -> Result<(), Closed> {
        if self.to.is_empty() {
            return self.say("503 5.5.1 RCPT first").await;
        }
        let act = |moment: fn(&Act) -> Option<Act>| self.shared.act(self.nth, &self.to, moment);
        if let Some(Act::RefuseData(reply)) = act(|a| matches!(a, Act::RefuseData(_)).then(|| a.clone())) {
            self.reset();
            return self.say(&reply).await;
        }
        let close = act(|a| matches!(a, Act::CloseBeforeDot).then(|| a.clone())).is_some();
        self.say("354 go on").await?;
        if close {
            self.more().await?;
            return Err(Closed);
        }
        let bytes = self.message().await?;
        let is_too_much = self.shared.script.nothing_behind && !self.buffer.is_empty();
        let after = self
            .shared
            .act(self.nth, &self.to, |a| matches!(a, Act::RefuseMessage(_) | Act::CloseAfterDot | Act::Slow(_)).then(|| a.clone()));
        if let Some(Act::RefuseMessage(reply)) = &after {
            let replies = if self.shared.script.lmtp { self.to.len() } else { 1 };
            self.reset();
            for _ in 0..replies {
                self.say(reply).await?;
            }
            return Ok(());
        }
        self.keep(bytes);
        match after {
            Some(Act::CloseAfterDot) => return Err(Closed),
            Some(Act::Slow(delay)) => tokio::time::sleep(delay).await,
            _ => {}
        }
        let replies = if self.shared.script.lmtp { self.to.len() } else { 1 };
        self.reset();
        for _ in 0..replies {
            self.say(&format!("250 2.0.0 taken as {}", self.nth)).await?;
        }
        if is_too_much {
            self.buffer.clear();
            self.say("503 5.5.1 out of order").await?;
        }
        Ok(())
    }

    fn keep(&self, bytes: Vec<u8>) {
        let from = self.from.clone().unwrap_or_default();
        let received = Received { from, to: self.to.clone(), bytes, begun_at: self.begun_at, at: Instant::now(), connection: self.number };
        self.shared.state().received.push(received);
    }

    /// The bytes up to CRLF.CRLF, which alone ends them.
    async fn message(&mut self) -> Result<Vec<u8>, Closed> {
        let mut bytes = Vec::new();
        loop {
            let line = self.raw_line().await?;
            if line == b".\r\n" {
                return Ok(bytes);
            }
            if line[..line.len() - 2].contains(&b'\n') {
                self.fault("a bare line feed in the message");
            }
            let stuffed = line.first() == Some(&b'.');
            bytes.extend_from_slice(&line[usize::from(stuffed)..]);
        }
    }

    async fn line(&mut self) -> Result<String, Closed> {
        let raw = self.raw_line().await?;
        let line = String::from_utf8_lossy(&raw[..raw.len() - 2]).into_owned();
        self.shared.state().commands.push((self.number, line.clone()));
        Ok(line)
    }

    /// One line with its CRLF.
    async fn raw_line(&mut self) -> Result<Vec<u8>, Closed> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffer[seen..].windows(2).position(|w| w == b"\r\n") {
                return Ok(self.buffer.drain(..seen + at + 2).collect());
            }
            seen = self.buffer.len().saturating_sub(1);
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Closed> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Closed),
            Ok(_) => Ok(()),
        }
    }

    async fn say(&mut self, reply: &str) -> Result<(), Closed> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await.map_err(|_| Closed)?;
        if reply.starts_with("421") { Err(Closed) } else { Ok(()) }
    }

    fn fault(&self, what: &str) {
        self.shared.state().faults.push(format!("connection {}: {what}", self.number));
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }
}

/// Whether the thing of this name is among `share` of a thousand; the same for the same seed.
pub(crate) fn falls_into(seed: u64, name: &[u8], share: u64) -> bool {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for octet in name {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    Chance(hash).below(1_000) < share
}

/// Chance that is the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    let inner = line.split_once('<').map_or("", |(_, rest)| rest);
    inner.split_once('>').map_or(inner, |(address, _)| address).to_owned()
}

/// The addresses that got a message more than once, for tests that promise there are none.
pub(crate) fn twice(received: &[Received]) -> Vec<String> {
    let mut seen = HashSet::new();
    received.iter().flat_map(|m| &m.to).filter(|to| !seen.insert(to.to_lowercase())).cloned().collect()
}
