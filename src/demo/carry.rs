//! Carries a recipient's answer to svar's real listener, as their mail server would: by LMTP (RFC 2033).

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::reply::Outgoing;
use std::net::SocketAddr;

/// Hands over one message.
///
/// # Errors
/// The listener's words where it did not take it; the system's where nobody listens.
pub async fn carry(to: SocketAddr, mail: &Outgoing) -> Result<(), String> {
    let words = |error: std::io::Error| format!("svar's listener at {to} cannot be reached: {error}");
    let mut stream = BufReader::new(TcpStream::connect(to).await.map_err(words)?);
    expect(&mut stream, '2').await?;
    let mail_from = format!("MAIL FROM:<{}>", mail.envelope_from);
    let rcpt_to = format!("RCPT TO:<{}>", mail.envelope_to);
    for (command, wanted) in [("LHLO postoffice.example.org", '2'), (mail_from.as_str(), '2'), (rcpt_to.as_str(), '2'), ("DATA", '3')] {
        stream.write_all(format!("{command}\r\n").as_bytes()).await.map_err(words)?;
        expect(&mut stream, wanted).await?;
    }
    stream.write_all(&stuffed(&mail.bytes)).await.map_err(words)?;
    expect(&mut stream, '2').await?;
    _ = stream.write_all(b"QUIT\r\n").await;
    Ok(())
}

/// The body with doubled dots and the final one (RFC 5321 §4.5.2).
fn stuffed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    for line in bytes.split_inclusive(|octet| *octet == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Reads one reply, of one line or several.
async fn expect(stream: &mut BufReader<TcpStream>, wanted: char) -> Result<(), String> {
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.map_err(|error| error.to_string())?;
        if line.as_bytes().get(3) != Some(&b'-') {
            break;
        }
    }
    if line.starts_with(wanted) { Ok(()) } else { Err(format!("svar's listener said: {}", line.trim())) }
}
