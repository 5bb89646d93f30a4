//! One connection to the relay, ready to send: each message becomes an outcome, or shows a fault of the relay.
//!
//! In: an envelope of one recipient and a message. Out: [`Sent`]. MAIL, RCPT and DATA go out in one write where the relay
//! takes it, then body, final dot and the envelope of the next message in one, so that a message costs one round trip; replies
//! are matched by counting. A send that is dropped half-way leaves a session that is not used again.
//! Sources: RFC 5321 §3.3, §3.8, §4.2; RFC 2920 §3.1; RFC 1870 §6; S-72, S-73, S-77, S-78, S-81, S-82.

use std::fmt;

use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::commands::{Data, Mail, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{MailParameter, RcptParameter};

use super::body::{self, LineTooLong};
use super::wire::{Glance, Wire};
use super::{RelaySettings, Step, Timeouts};
use crate::model::address::Address;
use crate::model::outcome::{Class, Outcome, RelayFault, RelayStop, Reply};

/// What became of one message, and of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Sent {
    /// The delivery's outcome, or a fault of the relay that judges nobody.
    pub result: Result<Outcome, RelayFault>,
    /// Whether the session may send again; if not, [`Session::quit`] it and connect anew.
    pub usable: bool,
}

/// Behind a message of so many octets or more no envelope leaves.
const AHEAD: usize = 60 * 1024;

/// One message for one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// MAIL FROM; `None` is the null return path.
    pub from: Option<&'a Address>,
    /// RCPT TO.
    pub to: &'a Address,
    /// The message, whatever its line ends.
    pub bytes: &'a [u8],
}

/// A connection to the relay that has said EHLO and logged in.
pub struct Session {
    wire: Wire,
    extensions: Extensions,
    timeouts: Timeouts,
    /// Messages it may still send.
    left: u32,
    state: State,
    /// A transaction was opened and not ended by a message: RSET comes first.
    unfinished: bool,
    /// A reply has come in the present transaction.
    answered: bool,
    /// MAIL was taken in the present transaction.
    begun: bool,
    /// The message itself began to go out in the present transaction.
    handed_over: bool,
    /// An earlier transaction was carried through.
    used: bool,
    /// The message whose MAIL, RCPT and DATA have gone out, with the last octets of the one before; their replies are not read.
    ahead: Option<Written>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// In the middle of a transaction, or left so.
    Busy,
    Broken,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("state", &self.state).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(wire: Wire, extensions: Extensions, settings: &RelaySettings) -> Self {
        let left = settings.max_messages_per_connection.max(1);
        let state = State::Ready;
        let (unfinished, answered, begun, handed_over, used) = (false, false, false, false, false);
        Self { wire, extensions, timeouts: settings.timeouts, left, state, unfinished, answered, begun, handed_over, used, ahead: None }
    }

    /// Sends one message to one recipient.
    ///
    /// Where the relay takes PIPELINING, the envelope of `next` goes out together with the end of this one
    /// ([`Session::has_begun`]): then either the next call sends it, or the session is dropped and the relay has got nothing of
    /// it. A future that is dropped before its end leaves the session unusable; nobody then knows what became of the message.
    pub async fn send(&mut self, letter: Letter<'_>, next: Option<Letter<'_>>) -> Sent {
        if self.state != State::Ready || self.left == 0 {
            let fault = RelayFault::new(RelayStop::Reconnect, "the connection is of no more use; connect again");
            return Sent { result: Err(fault), usable: false };
        }
        let begun = self.ahead.take();
        if begun.as_ref().is_some_and(|begun| begun.envelope.rcpt != self.rcpt(letter.from.is_some(), letter.to)) {
            self.state = State::Broken;
            let fault = RelayFault::new(RelayStop::Reconnect, "another message had begun; connect again");
            return Sent { result: Err(fault), usable: false };
        }
        let is_begun = begun.is_some();
        let written = match begun.map_or_else(|| self.write_out(letter), Ok) {
            Ok(written) => written,
            Err(refusal) => return Sent { result: Ok(Outcome::Permanent(refusal)), usable: true },
        };
        // one that does not fit is refused in its turn; of a long message it has to be known how far it came
        let next = next.filter(|_| self.may_begin_another() && written.octets.len() < AHEAD);
        let next = next.and_then(|next| self.write_out(next).ok());
        self.state = State::Busy;
        let result = self.transaction(written, is_begun, next).await;
        let result = result.map_err(|fault| RelayFault { begun: self.begun, ..fault });
        self.settle(&result);
        Sent { result, usable: self.state == State::Ready && self.left > 0 }
    }

    /// Whether the envelope of another message may go out together with the end of this one.
    #[must_use]
    pub fn may_begin_another(&self) -> bool {
        self.extensions.pipelining && self.left > 1
    }

    /// Whether the envelope of the next message has gone out already.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whether a session that stood idle is still open and silent, as far as one can see without asking.
    pub async fn is_alive(&mut self) -> bool {
        if self.state == State::Ready && self.ahead.is_none() && self.look_before().await.is_err() {
            self.state = State::Broken;
        }
        self.state == State::Ready
    }

    /// How many messages it may still send.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Whether a send that was dropped half-way had begun to hand over the message itself: then nobody knows what became of it.
    #[must_use]
    pub fn has_handed_over(&self) -> bool {
        self.handed_over
    }

    /// Says goodbye where that makes sense, and closes. A message that has begun goes to nobody: without its final dot no relay
    /// takes it (RFC 5321 §4.1.1.4).
    pub async fn quit(mut self) {
        if self.state == State::Ready
            && self.ahead.is_none()
            && self.wire.write(Quit.to_string().as_bytes(), self.timeouts.quit).await.is_ok()
        {
            _ = self.wire.reply(self.timeouts.quit).await;
        }
        self.wire.close(self.timeouts.quit).await;
    }

    /// The message as it goes over the wire, or a refusal of our own (S-81, S-91).
    fn write_out(&self, letter: Letter<'_>) -> Result<Written, Reply> {
        let body = body::encode(letter.bytes).map_err(|LineTooLong(octets)| {
            Reply::new(554, Some((5, 6, 0)), &format!("not sent: a line of {octets} octets, and SMTP takes 998"))
        })?;
        match self.extensions.max_size {
            Some(most) if body.size as u64 > most => {
                let text = format!("not sent: the message has {} octets and the relay takes {most}", body.size);
                Err(Reply::new(552, Some((5, 3, 4)), &text))
            }
            _ => Ok(Written { envelope: self.envelope(letter.from, letter.to, body.size), octets: body.octets }),
        }
    }

    /// S-40, S-93: no report about an automatic answer; about the rest, failure and delay, without the body.
    fn envelope(&self, from: Option<&Address>, to: &Address, size: usize) -> Envelope {
        let mut mail = Vec::new();
        if self.extensions.size {
            mail.push(MailParameter::Size(size));
        }
        if self.extensions.dsn && from.is_some() {
            mail.push(MailParameter::Other { keyword: "RET".into(), value: Some("HDRS".into()) });
        }
        Envelope { mail: Mail::new(from.map(theirs), mail).to_string(), rcpt: self.rcpt(from.is_some(), to) }
    }

    fn rcpt(&self, wants_reports: bool, to: &Address) -> String {
        let mut rcpt = Vec::new();
        if self.extensions.dsn {
            let parameter = |keyword: &str, value: String| RcptParameter::Other { keyword: keyword.into(), value: Some(value) };
            rcpt.push(parameter("NOTIFY", if wants_reports { "FAILURE,DELAY" } else { "NEVER" }.into()));
            if wants_reports {
                rcpt.push(parameter("ORCPT", format!("rfc822;{to}")));
            }
        }
        Rcpt::new(theirs(to), rcpt).to_string()
    }

    async fn transaction(&mut self, written: Written, is_begun: bool, next: Option<Written>) -> Step<Outcome> {
        if !is_begun {
            self.look_before().await?;
            self.open(&written.envelope).await?;
        }
        match self.offer(&written.envelope).await? {
            Some(refusal) => Ok(refusal),
            None => self.hand_over(written.octets, next).await,
        }
    }

    /// A reply that nobody asked for would be counted as the answer to MAIL, and every later one would be another's.
    async fn look_before(&mut self) -> Step<()> {
        let text = match self.wire.glance().await {
            Glance::Quiet => return Ok(()),
            Glance::Said(raw) if raw.code == 421 => return Err(self.closing(Reply::read(raw.code, &raw.lines), "nothing")),
            Glance::Said(raw) => format!("the relay said {} before it was asked", Reply::read(raw.code, &raw.lines)),
            Glance::Closed => "the relay closed the connection while it stood idle".to_owned(),
        };
        let stop = if self.used { RelayStop::Reconnect } else { RelayStop::BackOff };
        Err(RelayFault::new(stop, text))
    }

    /// RSET where one is due; with PIPELINING the whole envelope behind it.
    async fn open(&mut self, envelope: &Envelope) -> Step<()> {
        let reset = if self.unfinished { Rset.to_string() } else { String::new() };
        if self.extensions.pipelining {
            self.write(&format!("{reset}{}", envelope.whole()), "MAIL").await?;
        }
        if self.unfinished {
            let reply = self.exchange(&reset, "RSET").await?;
            only(&reply, 2).map_err(|()| back_off("RSET", reply))?;
        }
        Ok(())
    }

    /// MAIL, RCPT, DATA: the refusal of this delivery, or `None` where the relay waits for the message.
    async fn offer(&mut self, envelope: &Envelope) -> Step<Option<Outcome>> {
        let at_once = self.extensions.pipelining;
        self.unfinished = true;
        let mut refusal = judge_mail(self.exchange(&envelope.mail, "MAIL").await?)?;
        self.begun = refusal.is_none();
        if at_once || refusal.is_none() {
            let verdict = judge_rcpt(self.exchange(&envelope.rcpt, "RCPT").await?);
            refusal = match refusal {
                Some(first) => Some(first),
                None => verdict?,
            };
        }
        if at_once || refusal.is_none() {
            let reply = self.exchange(&Data.to_string(), "DATA").await?;
            refusal = self.judge_data(reply, refusal).await?;
        }
        Ok(refusal)
    }

    /// DATA accepted although the recipient was refused: a lone dot ends it, with no message for nobody (RFC 2920 §3.1, S-82).
    async fn judge_data(&mut self, reply: Reply, refusal: Option<Outcome>) -> Step<Option<Outcome>> {
        match (only(&reply, 3), refusal) {
            (Ok(()), None) => Ok(None),
            (Ok(()), Some(refusal)) => {
                self.write(".\r\n", "the lone dot").await?;
                _ = self.read("the lone dot").await?;
                Ok(Some(refusal))
            }
            (Err(()), Some(refusal)) => Ok(Some(refusal)),
            (Err(()), None) => refused(reply, "DATA").map(Some),
        }
    }

    /// The message with its final dot; from its last octet on the relay may have taken it (S-73). The final dot ends the
    /// transaction whatever is said to it, so the next may follow at once (RFC 2920 §3.1).
    async fn hand_over(&mut self, mut octets: Vec<u8>, next: Option<Written>) -> Step<Outcome> {
        if let Some(next) = &next {
            octets.extend_from_slice(next.envelope.whole().as_bytes());
        }
        self.ahead = next;
        self.handed_over = true;
        if let Err(e) = self.wire.write(&octets, self.timeouts.block).await {
            return self.cut_short(e).await;
        }
        match self.wire.reply(self.timeouts.finish).await {
            Ok(raw) => judge_end(Reply::read(raw.code, &raw.lines)),
            Err(e) => Ok(Outcome::Uncertain(format!("the whole message was sent and then: {e}"))),
        }
    }

    /// A relay may refuse in the middle of the message and close: what it said before counts, if it said it.
    ///
    /// With an envelope behind the message the final dot may have left before the connection failed: then the relay may have taken it.
    async fn cut_short(&mut self, error: std::io::Error) -> Step<Outcome> {
        self.state = State::Broken;
        match self.wire.reply(self.timeouts.quit).await {
            Ok(raw) if raw.code / 100 >= 4 || (self.ahead.is_some() && raw.code / 100 == 2) => judge_end(Reply::read(raw.code, &raw.lines)),
            _ if self.ahead.is_some() => Ok(Outcome::Uncertain(format!("the connection failed at the end of the message: {error}"))),
            _ => Err(RelayFault::new(RelayStop::BackOff, format!("the connection failed in the middle of a message: {error}"))),
        }
    }

    /// One command and its reply; with pipelining the command has gone out already.
    async fn exchange(&mut self, command: &str, step: &'static str) -> Step<Reply> {
        if !self.extensions.pipelining {
            self.write(command, step).await?;
        }
        self.read(step).await
    }

    async fn write(&mut self, command: &str, step: &'static str) -> Step<()> {
        let written = self.wire.write(command.as_bytes(), self.timeouts.block).await;
        written.map_err(|e| self.lost(step, &e))
    }

    /// Reads one reply; 421 is never about the message (S-77).
    async fn read(&mut self, step: &'static str) -> Step<Reply> {
        let limit = match step {
            "MAIL" => self.timeouts.mail,
            "RCPT" => self.timeouts.rcpt,
            "DATA" => self.timeouts.data,
            "RSET" => self.timeouts.ehlo,
            _ => self.timeouts.finish,
        };
        let raw = self.wire.reply(limit).await.map_err(|e| self.lost(step, &e))?;
        let reply = Reply::read(raw.code, &raw.lines);
        if reply.code == 421 {
            return Err(self.closing(reply, step));
        }
        self.answered = true;
        Ok(reply)
    }

    /// 421: told to a connection that stood idle (4.4.2) it is no fault; any other backs off.
    fn closing(&self, reply: Reply, step: &str) -> RelayFault {
        let idle = self.fresh_on_a_used_connection() && reply.enhanced == Some((4, 4, 2));
        let stop = if idle { RelayStop::Reconnect } else { RelayStop::BackOff };
        RelayFault { stop, ..back_off(step, reply) }
    }

    /// A kept connection that turns out to be closed is no fault; any other loss is.
    fn lost(&self, step: &str, error: &std::io::Error) -> RelayFault {
        let closed = error.kind() != std::io::ErrorKind::TimedOut && error.kind() != std::io::ErrorKind::InvalidData;
        let stop = if closed && self.fresh_on_a_used_connection() { RelayStop::Reconnect } else { RelayStop::BackOff };
        RelayFault::new(stop, format!("no answer to {step}: {error}"))
    }

    fn fresh_on_a_used_connection(&self) -> bool {
        self.used && !self.answered
    }

    fn settle(&mut self, result: &Step<Outcome>) {
        let whole = matches!(result, Ok(Outcome::Accepted(_) | Outcome::Transient(_) | Outcome::Permanent(_)));
        self.state = if whole && self.state == State::Busy { State::Ready } else { State::Broken };
        self.unfinished = !matches!(result, Ok(Outcome::Accepted(_)));
        (self.used, self.answered, self.begun, self.handed_over) = (true, false, false, false);
        self.left = self.left.saturating_sub(1);
    }
}

/// A message as it goes over this connection.
struct Written {
    envelope: Envelope,
    /// With the final dot.
    octets: Vec<u8>,
}

struct Envelope {
    mail: String,
    rcpt: String,
}

impl Envelope {
    fn whole(&self) -> String {
        format!("{}{}{Data}", self.mail, self.rcpt)
    }
}

/// Our address in lettre's type. Ours is the stricter of the two, so it is not checked again.
fn theirs(address: &Address) -> lettre::Address {
    lettre::Address::new_dangerous(address.local(), address.domain())
}

fn only(reply: &Reply, class: u16) -> Result<(), ()> {
    if reply.code / 100 == class { Ok(()) } else { Err(()) }
}

/// The refusal of a message or its recipient. A limit of the relay's own is no refusal of this one (S-80), and a reply that has
/// no place here is a fault too.
fn refused(reply: Reply, step: &str) -> Step<Outcome> {
    match reply.code {
        400..=599 if reply.class() == Class::RelayLimit => Err(back_off(step, reply)),
        400..=499 => Ok(Outcome::Transient(reply)),
        500..=599 => Ok(Outcome::Permanent(reply)),
        _ => Err(back_off(step, reply)),
    }
}

/// MAIL speaks of our account and sender (S-72), but for one thing: with SIZE it may refuse the message (RFC 1870 §6.1).
fn judge_mail(reply: Reply) -> Step<Option<Outcome>> {
    match (reply.code, reply.enhanced) {
        (200..=299, _) => Ok(None),
        (552, _) | (500..=599, Some((5, 3, 4) | (5, 2, 3))) => Ok(Some(Outcome::Permanent(reply))),
        _ => Err(RelayFault::from_reply("MAIL", reply)),
    }
}

/// 552 to RCPT means "too many recipients" or "mailbox full", so it is temporary (S-78) unless it says "too big".
fn judge_rcpt(reply: Reply) -> Step<Option<Outcome>> {
    match (reply.code, reply.enhanced) {
        (200..=299, _) => Ok(None),
        (552, _) if reply.class() != Class::TooBig => Ok(Some(Outcome::Transient(reply))),
        _ => refused(reply, "RCPT").map(Some),
    }
}

fn judge_end(reply: Reply) -> Step<Outcome> {
    match reply.code {
        200..=299 => Ok(Outcome::Accepted(reply)),
        421 => Err(back_off("the message", reply)),
        300..=399 => Ok(Outcome::Uncertain(format!("the message was answered with {reply}"))),
        _ => refused(reply, "the message"),
    }
}

fn back_off(step: &str, reply: Reply) -> RelayFault {
    RelayFault { stop: RelayStop::BackOff, ..RelayFault::from_reply(step, reply) }
}

/// What the relay offers, as its last EHLO said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) start_tls: bool,
    pipelining: bool,
    dsn: bool,
    size: bool,
    /// `None` where there is no limit, or none known.
    max_size: Option<u64>,
    plain: bool,
    login: bool,
}

impl Extensions {
    /// Reads the lines of a reply to EHLO; the first is the relay's name.
    pub(super) fn read(lines: &[Vec<u8>]) -> Self {
        let mut found = Self::default();
        for line in lines.iter().skip(1) {
            // "AUTH=LOGIN" is how servers older than RFC 2554 say it.
            let line = String::from_utf8_lossy(line).to_ascii_uppercase().replace("AUTH=", "AUTH ");
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("STARTTLS") => found.start_tls = true,
                Some("PIPELINING") => found.pipelining = true,
                Some("DSN") => found.dsn = true,
                Some("SIZE") => {
                    found.size = true;
                    found.max_size = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                }
                Some("AUTH") => {
                    for word in words {
                        found.plain |= word == "PLAIN";
                        found.login |= word == "LOGIN";
                    }
                }
                _ => {}
            }
        }
        found
    }

    pub(super) fn mechanism(&self) -> Option<Mechanism> {
        match (self.plain, self.login) {
            (true, _) => Some(Mechanism::Plain),
            (false, true) => Some(Mechanism::Login),
            (false, false) => None,
        }
    }
}
