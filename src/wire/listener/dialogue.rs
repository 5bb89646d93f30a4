//! Holds the conversation with one client, command by command.
//!
//! In: a connection. Out: answers, and messages for the handler. An unclear line or a client that runs ahead of the 354 ends
//! the connection: what it sends next could be a message or commands, and guessing wrong is how mail is smuggled in.
//! Sources: RFC 5321 §3.3, §4.1.4, §4.2.4; RFC 2033 §4; RFC 2034; RFC 2920 §3.2; S-100…S-104.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::channel::{Channel, Line};
use super::command::{self, Command};
use super::data::{DataReader, Unfit};
use super::{Handler, ListenerSettings, Protocol, Refusal, one_line};

/// Refused commands after which a client is sent away.
const MAX_FAULTS: u32 = 20;
/// Octets of a message that is too big, beyond the limit, that are read to answer it properly.
const MAX_WASTE: usize = 64 * 1024 * 1024;

struct Dialogue<'a, S, H> {
    channel: Channel<S>,
    settings: &'a ListenerSettings,
    handler: &'a H,
    shutdown: watch::Receiver<bool>,
    greeted: bool,
    transaction: Option<Transaction>,
    faults: u32,
}

struct Transaction {
    from: String,
    to: Vec<String>,
}

/// Why a conversation is over, and the last words.
enum End {
    Quit,
    Gone,
    Idle,
    Stopping,
    /// After a final answer of its own.
    Told,
}

type Next = Result<(), End>;

/// Talks to one client until it or we have enough.
pub(super) async fn hold<S, H>(stream: S, settings: &ListenerSettings, handler: &H, shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Handler,
{
    let channel = Channel::new(stream, settings.idle);
    let mut dialogue = Dialogue { channel, settings, handler, shutdown, greeted: false, transaction: None, faults: 0 };
    let end = dialogue.run().await;
    dialogue.part(end).await;
}

/// One client too many.
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: S, settings: &ListenerSettings) {
    let mut channel = Channel::new(stream, settings.idle.min(std::time::Duration::from_secs(5)));
    channel.say(&format!("421 4.3.2 {} has too many connections, try again later\r\n", settings.host_name));
    channel.close().await;
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send, H: Handler> Dialogue<'_, S, H> {
    async fn run(&mut self) -> End {
        let protocol = if self.settings.protocol == Protocol::Lmtp { "LMTP" } else { "ESMTP" };
        self.channel.say(&format!("220 {} {protocol} svar\r\n", self.settings.host_name));
        loop {
            let line = match self.line().await {
                Ok(line) => line,
                Err(end) => return end,
            };
            if let Err(end) = self.answer(line).await {
                return end;
            }
        }
    }

    async fn part(mut self, end: End) {
        let name = &self.settings.host_name;
        let words = match end {
            End::Quit => format!("221 2.0.0 {name} goodbye\r\n"),
            End::Idle => format!("421 4.4.2 {name} has waited long enough\r\n"),
            End::Stopping => format!("421 4.3.2 {name} is going down, try again later\r\n"),
            End::Gone | End::Told => String::new(),
        };
        self.channel.say(&words);
        if !matches!(end, End::Gone) {
            self.channel.close().await;
        }
    }

    /// The next line; between transactions the signal to stop is heard.
    async fn line(&mut self) -> Result<Line, End> {
        let line = if self.transaction.is_some() {
            self.channel.line().await
        } else {
            tokio::select! {
                biased;
                _ = self.shutdown.wait_for(|stop| *stop) => return Err(End::Stopping),
                line = self.channel.line() => line,
            }
        };
        line.map_err(|e| gone(&e))
    }

    async fn answer(&mut self, line: Line) -> Next {
        let line = match line {
            Line::Whole(line) => line,
            Line::Bare => return self.last_words(&Refusal::new(500, (5, 5, 2), "a line must end in CR LF, and hold neither")),
            Line::TooLong => return self.last_words(&Refusal::new(500, (5, 5, 2), "the line is too long")),
        };
        match command::parse(&line) {
            Ok(command) => self.obey(command).await,
            Err(refusal) => self.refuse(&refusal),
        }
    }

    async fn obey(&mut self, command: Command) -> Next {
        match (command, self.settings.protocol) {
            (Command::Lhlo, Protocol::Lmtp) | (Command::Ehlo, Protocol::Smtp) => self.greet(true),
            (Command::Helo, Protocol::Smtp) => self.greet(false),
            (Command::Lhlo | Command::Ehlo | Command::Helo, _) => self.refuse(&Refusal::new(500, (5, 5, 1), "this is the other protocol")),
            (Command::Mail { from, size }, _) => self.mail(from, size),
            (Command::Rcpt { to }, _) => self.rcpt(to).await,
            (Command::Data, _) => self.data().await,
            (Command::Rset, _) => {
                self.transaction = None;
                self.accept("250 2.0.0 ok")
            }
            (Command::Noop, _) => self.accept("250 2.0.0 ok"),
            (Command::Vrfy, _) => self.accept("252 2.5.2 try and see"),
            (Command::Quit, _) => Err(End::Quit),
        }
    }

    fn greet(&mut self, extended: bool) -> Next {
        self.greeted = true;
        self.transaction = None;
        let name = &self.settings.host_name;
        if !extended {
            return self.accept(&format!("250 {name}"));
        }
        let size = self.settings.max_bytes;
        self.accept(&format!("250-{name}\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE {size}"))
    }

    fn mail(&mut self, from: String, size: Option<u64>) -> Next {
        if !self.greeted || self.transaction.is_some() {
            return self.refuse(&out_of_order(if self.greeted { "a transaction is open" } else { "a greeting comes first" }));
        }
        if size.is_some_and(|size| size > self.settings.max_bytes as u64) {
            return self.refuse(&self.too_big());
        }
        self.transaction = Some(Transaction { from, to: Vec::new() });
        self.accept("250 2.1.0 ok")
    }

    async fn rcpt(&mut self, to: String) -> Next {
        let Some(transaction) = &mut self.transaction else {
            return self.refuse(&out_of_order("MAIL comes first"));
        };
        if transaction.to.len() >= self.settings.max_recipients.max(100) {
            return self.refuse(&Refusal::new(452, (4, 5, 3), "too many recipients; send to the rest afterwards"));
        }
        match self.handler.recipient(&transaction.from, &to).await {
            Ok(()) => {
                transaction.to.push(to);
                self.accept("250 2.1.5 ok")
            }
            Err(refusal) => {
                self.channel.say(&refusal.line());
                Ok(())
            }
        }
    }

    async fn data(&mut self) -> Next {
        if !self.channel.buffered().is_empty() {
            return self.last_words(&Refusal::new(554, (5, 5, 0), "wait for the answer to DATA"));
        }
        let transaction = match self.transaction.take() {
            Some(transaction) if !transaction.to.is_empty() => transaction,
            other => {
                self.transaction = other;
                // No fault of the client: it asked before it could know that every recipient was refused.
                self.channel.say(&out_of_order("no recipient was taken").line());
                return Ok(());
            }
        };
        self.channel.say("354 end with a dot on a line of its own\r\n");
        let message = self.read_message().await?;
        let answers = match message {
            Ok(bytes) => self.handler.message(&transaction.from, &transaction.to, bytes).await,
            Err(Unfit::TooBig) => vec![Err(self.too_big()); transaction.to.len()],
            Err(Unfit::BareLineEnd) => vec![Err(Refusal::new(550, (5, 6, 0), "every line must end in CR LF")); transaction.to.len()],
        };
        self.faults = 0;
        self.give_answers(answers, transaction.to.len());
        Ok(())
    }

    /// Reads up to the end of the message, whatever is in it, unless that is beyond all measure.
    async fn read_message(&mut self) -> Result<Result<Vec<u8>, Unfit>, End> {
        let mut reader = DataReader::new(self.settings.max_bytes);
        loop {
            let used = reader.push(self.channel.buffered());
            self.channel.consume(used);
            if reader.is_whole() {
                return Ok(reader.finish());
            }
            if reader.wasted() > MAX_WASTE {
                self.channel.say(&self.too_big().line());
                return Err(End::Told);
            }
            self.channel.fill().await.map_err(|e| gone(&e))?;
        }
    }

    /// LMTP: one answer for each recipient (RFC 2033 §4.2). SMTP: one for all, an error if there is any.
    fn give_answers(&mut self, mut answers: Vec<Result<String, Refusal>>, recipients: usize) {
        answers.resize(recipients, Err(Refusal::not_now("the message was not stored")));
        if self.settings.protocol == Protocol::Smtp {
            let first_error = answers.iter().position(Result::is_err).unwrap_or(0);
            answers = vec![answers.swap_remove(first_error)];
        }
        for answer in answers {
            match answer {
                Ok(text) => self.channel.say(&format!("250 2.0.0 {}\r\n", one_line(&text))),
                Err(refusal) => self.channel.say(&refusal.line()),
            }
        }
    }

    fn accept(&mut self, answer: &str) -> Next {
        self.channel.say(answer);
        self.channel.say("\r\n");
        Ok(())
    }

    fn refuse(&mut self, refusal: &Refusal) -> Next {
        self.channel.say(&refusal.line());
        self.faults += 1;
        if self.faults < MAX_FAULTS {
            return Ok(());
        }
        self.channel.say(&format!("421 4.7.0 {} has seen too many errors\r\n", self.settings.host_name));
        Err(End::Told)
    }

    fn last_words(&mut self, refusal: &Refusal) -> Next {
        self.channel.say(&refusal.line());
        Err(End::Told)
    }

    /// Said in the log too: its sender gets a report, the organiser would hear nothing.
    fn too_big(&self) -> Refusal {
        tracing::warn!(max_bytes = self.settings.max_bytes, "a message was refused: it is larger than intake.max_bytes");
        Refusal::new(552, (5, 3, 4), format!("a message may have {} octets", self.settings.max_bytes))
    }
}

fn out_of_order(text: &str) -> Refusal {
    Refusal::new(503, (5, 5, 1), text)
}

fn gone(error: &io::Error) -> End {
    if error.kind() == io::ErrorKind::TimedOut { End::Idle } else { End::Gone }
}
