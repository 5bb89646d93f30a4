//! Hands bytes to an LMTP listener as they are: for hostile messages that no mail program would make.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A conversation with an LMTP listener.
pub(crate) struct Lmtp<S: Read + Write>(BufReader<S>);

impl Lmtp<TcpStream> {
    /// Connects and greets.
    #[track_caller]
    pub(crate) fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self::over(stream)
    }
}

impl<S: Read + Write> Lmtp<S> {
    /// Greets over a stream that is open already.
    #[track_caller]
    pub(crate) fn over(stream: S) -> Self {
        let mut lmtp = Self(BufReader::new(stream));
        assert!(lmtp.reply().starts_with("220"));
        assert!(lmtp.say("LHLO guest.example.org").starts_with("250"));
        lmtp
    }

    /// Says a line and gives the reply.
    pub(crate) fn say(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// A whole transaction; the reply to the message, or the first refusal. The bytes hold no line that is a lone dot.
    pub(crate) fn deliver(&mut self, from: &str, to: &str, bytes: &[u8]) -> String {
        for (line, wanted) in [(format!("MAIL FROM:<{from}>"), '2'), (format!("RCPT TO:<{to}>"), '2'), ("DATA".to_owned(), '3')] {
            let reply = self.say(&line);
            if !reply.starts_with(wanted) {
                self.say("RSET");
                return reply;
            }
        }
        // A listener that has heard enough may close while we still write.
        _ = self.0.get_mut().write_all(bytes);
        _ = self.0.get_mut().write_all(if bytes.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" });
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return whole;
            }
            whole += &line;
            if line.as_bytes().get(3) != Some(&b'-') {
                return whole;
            }
        }
    }
}
