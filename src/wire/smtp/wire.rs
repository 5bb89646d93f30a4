//! The connection to a relay: octets written and replies read, each within its time.
//!
//! In: commands. Out: replies. Every error means that the connection is of no more use: the caller drops it.
//! Sources: RFC 5321 §4.5.3.2 (a timer for each step); S-70.

use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::reply::{RawReply, ReplyParser};

/// Octets written under one timer.
const BLOCK: usize = 64 * 1024;

/// Anything octets go through, both ways.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

/// What a glance at an idle connection shows.
pub(super) enum Glance {
    /// Open, as far as one can see, and silent.
    Quiet,
    /// The relay spoke out of turn.
    Said(RawReply),
    /// Closed, or of no more use.
    Closed,
}

pub(super) struct Wire {
    io: Box<dyn Io>,
    replies: ReplyParser,
}

impl Wire {
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        Self { io, replies: ReplyParser::default() }
    }

    /// The bare connection, for TLS; `None` where octets have come that were not asked for (RFC 3207 §4.2, S-85).
    pub(super) fn into_io(self) -> Option<Box<dyn Io>> {
        self.replies.is_empty().then_some(self.io)
    }

    /// Writes all of it, up to 64 KiB as one piece.
    pub(super) async fn write(&mut self, octets: &[u8], block: Duration) -> io::Result<()> {
        for piece in octets.chunks(BLOCK) {
            within(block, self.io.write_all(piece)).await?;
        }
        within(block, self.io.flush()).await
    }

    /// Waits for the next whole reply.
    pub(super) async fn reply(&mut self, limit: Duration) -> io::Result<RawReply> {
        within(limit, self.next_reply()).await
    }

    /// What has come since the last reply although nothing was asked. Does not wait.
    pub(super) async fn glance(&mut self) -> Glance {
        let mut buffer = [0; 1024];
        let came = {
            let mut read = std::pin::pin!(self.io.read(&mut buffer));
            std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await
        };
        let open = match came {
            Poll::Pending => true,
            Poll::Ready(Ok(count)) => count > 0 && self.replies.push(&buffer[..count]).is_ok(),
            Poll::Ready(Err(_)) => false,
        };
        match self.replies.take() {
            Some(reply) => Glance::Said(reply),
            None if open && self.replies.is_empty() => Glance::Quiet,
            None => Glance::Closed,
        }
    }

    pub(super) async fn close(mut self, limit: Duration) {
        _ = within(limit, self.io.shutdown()).await;
    }

    async fn next_reply(&mut self) -> io::Result<RawReply> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(reply) = self.replies.take() {
                return Ok(reply);
            }
            let count = self.io.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the relay closed the connection"));
            }
            self.replies.push(&buffer[..count]).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("the relay sent {e}")))?;
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {limit:?}"));
    timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}
