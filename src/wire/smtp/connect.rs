//! Opens a session: finds the host, connects, greets, turns on TLS, logs in.
//!
//! In: [`RelaySettings`]. Out: a [`Session`] that is ready to send, or a [`RelayFault`]. Nothing here is ever the fault of a
//! recipient (S-72). Sources: RFC 5321 §3.1–3.2, RFC 3207, RFC 4954; S-56, S-84, S-85, S-87, S-90.

use std::net::{IpAddr, SocketAddr};

use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::commands::{Auth, Ehlo, Starttls};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::reply::RawReply;
use super::session::{Extensions, Session};
use super::tls::{self, TlsError};
use super::wire::{Io, Wire};
use super::{Credentials, RelaySettings, Security, Step};
use crate::model::outcome::{RelayFault, RelayStop, Reply};

/// Connects to the relay and makes a session ready to send.
///
/// # Errors
/// A [`RelayFault`] that says whether waiting helps or a person has to act.
pub async fn connect(settings: &RelaySettings) -> Result<Session, RelayFault> {
    let name = ehlo_name(&settings.ehlo_name)?;
    if settings.security != Security::Plain {
        settings.roots.ready().map_err(pause)?;
    }
    let stream = open_socket(settings).await?;
    let mut wire = match settings.security {
        Security::Implicit => Wire::new(wrap(Box::new(stream), settings).await?),
        Security::StartTls | Security::Plain => Wire::new(Box::new(stream)),
    };
    greeting(&mut wire, settings).await?;
    let mut extensions = ehlo(&mut wire, &name, settings).await?;
    if settings.security == Security::StartTls {
        wire = start_tls(wire, &extensions, settings).await?;
        extensions = ehlo(&mut wire, &name, settings).await?;
    }
    if let Some(credentials) = &settings.credentials {
        log_in(&mut wire, &extensions, credentials, settings).await?;
    }
    Ok(Session::new(wire, extensions, settings))
}

/// Reads the name we give; one that could carry a second command is refused.
fn ehlo_name(name: &str) -> Step<ClientId> {
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => Ok(ClientId::Ipv4(ip)),
        Ok(IpAddr::V6(ip)) => Ok(ClientId::Ipv6(ip)),
        Err(_) if is_host_name(name) => Ok(ClientId::Domain(name.to_owned())),
        Err(_) => Err(pause(format!("{name:?} is no name for EHLO; give this machine's full host name or its address"))),
    }
}

fn is_host_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

async fn open_socket(settings: &RelaySettings) -> Step<TcpStream> {
    let addresses = find_addresses(settings).await?;
    if settings.security == Security::Plain && !addresses.iter().all(|address| address.ip().is_loopback()) {
        let text = "is not on this machine, so mail to it must be encrypted; set TLS or STARTTLS";
        return Err(pause(format!("the relay {} {text}", settings.host)));
    }
    let mut last = String::from("it has no address");
    for address in addresses {
        match timeout(settings.timeouts.connect, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|e| back_off(settings, &format!("cannot be used: {e}")))?;
                return Ok(stream);
            }
            Ok(Err(e)) => last = e.to_string(),
            Err(_) => last = format!("no connection within {:?}", settings.timeouts.connect),
        }
    }
    Err(back_off(settings, &format!("cannot be reached: {last}")))
}

async fn find_addresses(settings: &RelaySettings) -> Step<Vec<SocketAddr>> {
    let found = timeout(settings.timeouts.connect, lookup_host((settings.host.as_str(), settings.port))).await;
    match found {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(e)) => Err(back_off(settings, &format!("cannot be found: {e}"))),
        Err(_) => Err(back_off(settings, "cannot be found: the name service does not answer")),
    }
}

async fn wrap(io: Box<dyn Io>, settings: &RelaySettings) -> Step<Box<dyn Io>> {
    match timeout(settings.timeouts.greeting, tls::wrap(io, &settings.host, &settings.roots)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(TlsError::Settings(text))) => Err(pause(text)),
        Ok(Err(TlsError::Handshake(e))) => Err(back_off(settings, &format!("cannot be trusted or does not speak TLS: {e}"))),
        Err(_) => Err(back_off(settings, "does not answer the TLS handshake")),
    }
}

async fn greeting(wire: &mut Wire, settings: &RelaySettings) -> Step<()> {
    let reply = wire.reply(settings.timeouts.greeting).await;
    expect(reply, "the connection", 2, settings).map(|_| ())
}

async fn ehlo(wire: &mut Wire, name: &ClientId, settings: &RelaySettings) -> Step<Extensions> {
    let reply = say(wire, &Ehlo::new(name.clone()), "EHLO", 2, settings).await?;
    Ok(Extensions::read(&reply.lines))
}

/// Octets that came behind the 220 in the clear could be anyone's: they end the session (S-85).
async fn start_tls(mut wire: Wire, extensions: &Extensions, settings: &RelaySettings) -> Step<Wire> {
    if !extensions.start_tls {
        return Err(back_off(settings, "offers no STARTTLS, and nothing is sent without"));
    }
    say(&mut wire, &Starttls, "STARTTLS", 2, settings).await?;
    match wire.into_io() {
        Some(io) => Ok(Wire::new(wrap(io, settings).await?)),
        None => Err(back_off(settings, "sent something unencrypted behind its answer to STARTTLS")),
    }
}

/// AUTH PLAIN, or LOGIN where that alone is offered. The connection is encrypted or loopback here, always (S-87).
async fn log_in(wire: &mut Wire, extensions: &Extensions, credentials: &Credentials, settings: &RelaySettings) -> Step<()> {
    let Some(mechanism) = extensions.mechanism() else {
        return Err(pause(format!(
            "the relay {} offers neither AUTH PLAIN nor LOGIN; remove the account or use another port",
            settings.host
        )));
    };
    let auth = |challenge: Option<&str>| {
        let command = Auth::new(mechanism, credentials.clone(), challenge.map(str::to_owned));
        command.map_err(|_| pause("the account cannot be written as AUTH".into()))
    };
    if mechanism == Mechanism::Login {
        // The challenges are only a prompt, and some relays translate it: what counts is the order.
        say(wire, &auth(None)?, "AUTH", 3, settings).await?;
        say(wire, &auth(Some("Username:"))?, "AUTH", 3, settings).await?;
        say(wire, &auth(Some("Password:"))?, "AUTH", 2, settings).await?;
    } else {
        say(wire, &auth(None)?, "AUTH", 2, settings).await?;
    }
    Ok(())
}

/// Says one command of the opening and expects a reply of one class.
async fn say(wire: &mut Wire, command: &impl ToString, step: &str, class: u16, settings: &RelaySettings) -> Step<RawReply> {
    let written = wire.write(command.to_string().as_bytes(), settings.timeouts.block).await;
    let reply = match written {
        Ok(()) => wire.reply(settings.timeouts.ehlo).await,
        Err(e) => Err(e),
    };
    expect(reply, step, class, settings)
}

fn expect(reply: std::io::Result<RawReply>, step: &str, class: u16, settings: &RelaySettings) -> Step<RawReply> {
    match reply {
        Ok(reply) if reply.code / 100 == class => Ok(reply),
        Ok(reply) => Err(RelayFault::from_reply(step, Reply::read(reply.code, &reply.lines))),
        Err(e) => Err(back_off(settings, &format!("did not answer {step}: {e}"))),
    }
}

fn pause(text: String) -> RelayFault {
    RelayFault::new(RelayStop::Pause, text)
}

fn back_off(settings: &RelaySettings, text: &str) -> RelayFault {
    RelayFault::new(RelayStop::BackOff, format!("the relay {}:{} {text}", settings.host, settings.port))
}
