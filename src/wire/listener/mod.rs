//! Takes mail by SMTP or LMTP and hands each message to a [`Handler`].
//!
//! In: a bound [`Listener`], [`ListenerSettings`], the handler and the signal to stop. Out: nothing but what the handler is
//! given. A 2xx after the final dot is sent only after the handler has said so (S-101): it answers once the message is stored.
//! There is no relaying, no TLS and no login here: a relay on this machine or network delivers, and who may be written to is
//! the handler's answer to RCPT (S-102).
//! Sources: RFC 5321, RFC 2033 (LMTP), RFC 1870, 2034, 2920, 6152; S-100…S-104.

mod channel;
mod command;
mod data;
mod dialogue;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::model::outcome::{Enhanced, Reply};

/// Connections beyond the limit that are told so at a time; what comes on top is closed without a word.
const MAX_TURNED_AWAY: usize = 50;

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP; loopback unless someone decided otherwise.
    Tcp(TcpListener),
    /// A Unix socket; who may connect is decided by the rights of its file.
    Unix(UnixListener),
}

/// Which of the two protocols is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// LHLO only, and one reply per recipient after the final dot (RFC 2033).
    Lmtp,
    /// HELO or EHLO, and one reply for all recipients.
    Smtp,
}

/// What the listener says and how much it takes (S-104).
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// The name in greeting and EHLO or LHLO.
    pub host_name: String,
    /// The largest message.
    pub max_bytes: usize,
    /// Recipients of one message; fewer than 100 counts as 100 (RFC 5321 §4.5.3.1.8).
    pub max_recipients: usize,
    /// How long a client may say nothing, or leave our answers unread.
    pub idle: Duration,
    /// Connections at a time; a further one is answered 421.
    pub max_connections: usize,
    /// How long transactions in progress may take after the signal to stop.
    pub drain: Duration,
}

impl ListenerSettings {
    /// 25 MiB a message, 100 recipients, 5 minutes of silence, 100 connections, 30 seconds to finish.
    #[must_use]
    pub fn new(protocol: Protocol, host_name: impl Into<String>) -> Self {
        Self {
            protocol,
            host_name: host_name.into(),
            max_bytes: 25 * 1024 * 1024,
            max_recipients: 100,
            idle: Duration::from_secs(300),
            max_connections: 100,
            drain: Duration::from_secs(30),
        }
    }
}

/// Decides who may be written to, and stores what is written.
pub trait Handler: Send + Sync + 'static {
    /// Whether mail to this recipient is taken. `from` is empty for the null return path. Refuse with 452 4.3.1 where there
    /// is no room to store anything, so that no message is sent in vain.
    fn recipient(&self, from: &str, to: &str) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Takes a message with CRLF line ends. Answers once for each of `to`, in its order, duplicates included; an answer that
    /// is missing counts as 451. An `Ok` says that the message is durably stored. SMTP has one reply for all: any error is the
    /// answer, and the client will send to all of them again.
    fn message(&self, from: &str, to: &[String], bytes: Vec<u8>) -> impl Future<Output = Vec<Result<String, Refusal>>> + Send;
}

/// Why something is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 599; anything else is sent as 451.
    pub code: u16,
    /// The enhanced status code (RFC 3463).
    pub enhanced: Enhanced,
    /// For the person who reads the bounce.
    pub text: String,
}

impl Refusal {
    /// Any refusal.
    pub fn new(code: u16, enhanced: Enhanced, text: impl Into<String>) -> Self {
        Self { code, enhanced, text: text.into() }
    }

    /// Not now: the client tries again.
    pub fn not_now(text: impl Into<String>) -> Self {
        Self::new(451, (4, 3, 0), text)
    }

    /// No such recipient here (S-102).
    pub fn unknown_recipient(text: impl Into<String>) -> Self {
        Self::new(550, (5, 1, 1), text)
    }

    /// One reply line: printable ASCII, well under 512 octets.
    fn line(&self) -> String {
        let (code, (class, subject, detail)) = match (self.code, self.enhanced) {
            (code @ 400..=599, enhanced) => (code, enhanced),
            _ => (451, (4, 3, 0)),
        };
        format!("{code} {class}.{subject}.{detail} {}\r\n", one_line(&self.text))
    }
}

/// A text that is safe in a reply line.
fn one_line(text: &str) -> String {
    let text: String = text.chars().take(400).collect();
    Reply::new(250, None, &text).text.chars().take(400).map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Serves until `shutdown` turns true or its sender is gone: then no connection is taken any more, transactions in progress
/// are finished, and everyone is told 421.
///
/// # Errors
/// Only where the socket itself is of no use.
pub async fn serve<H: Handler>(
    listener: Listener,
    settings: ListenerSettings,
    handler: Arc<H>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let settings = Arc::new(settings);
    let room = Arc::new(Semaphore::new(settings.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            stream = listener.accept() => stream,
        };
        let Some(stream) = usable(stream).await? else { continue };
        if connections.len() > settings.max_connections + MAX_TURNED_AWAY {
            continue;
        }
        let (settings, handler, shutdown) = (settings.clone(), handler.clone(), shutdown.clone());
        match room.clone().try_acquire_owned() {
            Ok(place) => connections.spawn(async move {
                dialogue::hold(stream, &settings, &*handler, shutdown).await;
                drop(place);
            }),
            Err(_) => connections.spawn(async move { dialogue::turn_away(stream, &settings).await }),
        };
    }
    drop(listener);
    _ = timeout(settings.drain, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Anything octets go through, both ways.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// A connection that failed before it was taken is the client's matter; a lack of file descriptors passes, so it is waited out.
async fn usable(accepted: io::Result<Box<dyn Io>>) -> io::Result<Option<Box<dyn Io>>> {
    let error = match accepted {
        Ok(stream) => return Ok(Some(stream)),
        Err(error) => error,
    };
    if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) {
        return Err(error);
    }
    tracing::warn!(error = %error, "a connection could not be taken");
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(None)
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a mail connection ended in a fault of svar; its client tries again");
    }
}
