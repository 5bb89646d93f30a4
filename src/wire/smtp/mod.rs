//! Hands bytes to the relay; its reply becomes an [`Outcome`](crate::model::outcome::Outcome).
//!
//! In: [`RelaySettings`], an envelope of one recipient, a message. Out: [`Sent`]; what concerns the relay and no delivery is a
//! [`RelayFault`]. A [`Session`] is one connection: it is kept while it is whole and dropped at the first doubt.
//!
//! lettre gives the commands, the credentials and their mechanisms. Its own connection and pool are not used: in 0.11 they
//! write the body and the final dot apart on a socket without TCP_NODELAY (23 messages a second), wait for ever on a silent
//! relay, put a half-used connection back when a send is dropped, so that replies shift to the next message, take a reply in
//! Latin-1 for a network fault, and know neither PIPELINING nor SIZE.
//! Sources: RFC 5321, 1870 (SIZE), 2920 (PIPELINING), 3207 (STARTTLS), 3461 (DSN), 4954 (AUTH); S-56, S-70…S-93.

mod body;
mod connect;
mod reply;
mod session;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::time::Duration;

pub use connect::connect;
pub use lettre::transport::smtp::authentication::Credentials;
pub use session::{Letter, Sent, Session};
pub use tls::Roots;

use crate::model::outcome::RelayFault;

/// How to reach the relay and what to say to it.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// A host name or an IP address; a certificate has to carry it.
    pub host: String,
    /// 465 for implicit TLS, 587 for STARTTLS.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// Whom to believe about the relay's name.
    pub roots: Roots,
    /// The account, where the relay asks for one. Never shown by `Debug`.
    pub credentials: Option<Credentials>,
    /// Our own name: a full host name, or an IP address, which becomes a literal (S-90).
    pub ehlo_name: String,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Messages after which a connection is closed and a new one opened (S-89).
    pub max_messages_per_connection: u32,
}

impl RelaySettings {
    /// Settings with the operating system's roots, no account, the times of RFC 5321 and 100 messages a connection.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, security: Security, ehlo_name: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            security,
            roots: Roots::system(),
            credentials: None,
            ehlo_name: ehlo_name.into(),
            timeouts: Timeouts::default(),
            max_messages_per_connection: 100,
        }
    }
}

/// How a connection is protected (S-84).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first octet (RFC 8314 §3.3): the default.
    Implicit,
    /// Required STARTTLS: without it nothing is sent.
    StartTls,
    /// None; only where every address of the host is loopback (S-56).
    Plain,
}

/// How long to wait for what (S-70, RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To find the host's addresses, and to connect to each of them.
    pub connect: Duration,
    /// For the greeting, and for the TLS handshake.
    pub greeting: Duration,
    /// For the reply to EHLO, STARTTLS, AUTH and RSET.
    pub ehlo: Duration,
    /// For the reply to MAIL.
    pub mail: Duration,
    /// For the reply to RCPT.
    pub rcpt: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For the relay to take in one block of what is written.
    pub block: Duration,
    /// For the reply to the final dot.
    pub finish: Duration,
    /// For the reply to QUIT.
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            connect: Duration::from_secs(30),
            greeting: minutes(5),
            ehlo: minutes(5),
            mail: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            block: minutes(3),
            finish: minutes(10),
            quit: Duration::from_secs(5),
        }
    }
}

/// A step that failed for the relay's sake.
type Step<T> = Result<T, RelayFault>;
