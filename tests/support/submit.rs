//! Sends one mail by SMTP, as a guest's mail program does. Written apart from svar's own SMTP, so that a test can tell the two apart.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Hands a message over. `from` may be empty. Line ends become CRLF and dots are doubled.
///
/// Ok is the reply to the message, Err the first refusal, both as the server wrote them.
pub(crate) fn submit(server: SocketAddr, from: &str, to: &str, message: &str) -> Result<String, String> {
    let stream = TcpStream::connect(server).map_err(|e| format!("{server}: {e}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut lines = BufReader::new(stream);
    reply(&mut lines, '2')?;
    say(&mut lines, "EHLO guest.example.org", '2')?;
    say(&mut lines, &format!("MAIL FROM:<{from}>"), '2')?;
    say(&mut lines, &format!("RCPT TO:<{to}>"), '2')?;
    say(&mut lines, "DATA", '3')?;
    let mut text = String::new();
    for line in message.lines() {
        if line.starts_with('.') {
            text.push('.');
        }
        text += line;
        text += "\r\n";
    }
    let accepted = say(&mut lines, &format!("{text}."), '2')?;
    say(&mut lines, "QUIT", '2').ok();
    Ok(accepted)
}

fn say(lines: &mut BufReader<TcpStream>, text: &str, wanted: char) -> Result<String, String> {
    let sent = lines.get_mut().write_all(format!("{text}\r\n").as_bytes());
    sent.map_err(|e| e.to_string())?;
    reply(lines, wanted)
}

fn reply(lines: &mut BufReader<TcpStream>, wanted: char) -> Result<String, String> {
    let mut whole = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).map_err(|e| e.to_string())? == 0 {
            return Err(format!("{whole}(connection closed)"));
        }
        whole += &line;
        if line.as_bytes().get(3) != Some(&b'-') {
            return if line.starts_with(wanted) { Ok(whole) } else { Err(whole) };
        }
    }
}
