//! The octets of one client: lines in, answers out.
//!
//! In: a connection. Out: command lines, or the buffer itself while a message comes. Answers are collected and flushed when
//! there is nothing left to read, so that a pipelined group is answered at once (RFC 2920 §3.2). Every wait has a limit; every
//! function may be dropped while it waits and called again. Sources: RFC 5321 §2.3.8, §4.5.3.1.4, §4.5.3.2.7; S-103, S-104.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Octets of a command line; RFC 5321 §4.5.3.1.4 asks for 512, extensions for more.
const MAX_LINE: usize = 2048;

/// How long, and for how many octets, a client is read that has had its last answer.
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER: u64 = 1024 * 1024;

/// A command line as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its CRLF.
    Whole(Vec<u8>),
    /// A CR or LF stood alone in it: somebody may see two lines where we see one.
    Bare,
    TooLong,
}

pub(super) struct Channel<S> {
    stream: S,
    inbox: Vec<u8>,
    /// Octets of the inbox that have been read.
    at: usize,
    outbox: Vec<u8>,
    idle: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    pub(super) fn new(stream: S, idle: Duration) -> Self {
        Self { stream, inbox: Vec::new(), at: 0, outbox: Vec::new(), idle }
    }

    /// Puts an answer into the outbox.
    pub(super) fn say(&mut self, answer: &str) {
        self.outbox.extend_from_slice(answer.as_bytes());
    }

    /// What has come and was not read yet.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.inbox[self.at..]
    }

    /// Marks octets as read.
    pub(super) fn consume(&mut self, octets: usize) {
        self.at += octets;
    }

    /// The next command line.
    pub(super) async fn line(&mut self) -> io::Result<Line> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    /// Sends what is in the outbox and waits for more to read.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        self.flush().await?;
        if self.at == self.inbox.len() {
            self.inbox.clear();
        } else {
            self.inbox.drain(..self.at);
        }
        self.at = 0;
        self.inbox.reserve(16 * 1024);
        match timeout(self.idle, self.stream.read_buf(&mut self.inbox)).await {
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Sends what is in the outbox.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let written = timeout(self.idle, self.stream.write(&self.outbox)).await.map_err(|_| io::ErrorKind::WriteZero)??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.outbox.drain(..written);
        }
        timeout(self.idle, self.stream.flush()).await.map_err(|_| io::ErrorKind::WriteZero)?
    }

    /// Sends what is left and closes. What the client still sends is read for a moment: a socket closed over unread octets is
    /// reset, and the last answer with it.
    pub(super) async fn close(mut self) {
        let linger = self.idle.min(LINGER);
        if self.flush().await.is_err() || !matches!(timeout(linger, self.stream.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        let mut rest = self.stream.take(MAX_LINGER);
        _ = timeout(linger, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }

    fn take_line(&mut self) -> Option<Line> {
        let Some(end) = self.buffered().iter().position(|octet| *octet == b'\n') else {
            return (self.buffered().len() > MAX_LINE).then_some(Line::TooLong);
        };
        let line = self.buffered()[..end].strip_suffix(b"\r").map(<[u8]>::to_vec);
        self.consume(end + 1);
        match line {
            Some(line) if line.contains(&b'\r') => Some(Line::Bare),
            Some(line) if line.len() > MAX_LINE => Some(Line::TooLong),
            Some(line) => Some(Line::Whole(line)),
            None => Some(Line::Bare),
        }
    }
}
