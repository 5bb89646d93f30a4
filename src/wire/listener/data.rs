//! Reads a message up to its end, which is `CRLF . CRLF` and nothing else.
//!
//! In: octets in pieces of any size. Out: the message with doubled dots undone, or why it is not taken; either way the end is
//! found in the same place, so what follows is never taken for a part of it, nor a part of it for a command.
//! Sources: RFC 5321 §4.1.1.4, §4.5.2, §2.3.8; S-103 (SMTP smuggling: CVE-2023-51764, -51765, -51766).

/// Why a message that came in whole is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// A CR or LF stood alone.
    BareLineEnd,
    TooBig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After CRLF, or at the beginning.
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// A dot and a CR at the start of a line.
    DotCr,
    Text,
    /// A CR, in or at the end of a line.
    Cr,
    End,
}

#[derive(Debug)]
pub(super) struct DataReader {
    state: State,
    message: Vec<u8>,
    max_bytes: usize,
    /// Octets thrown away since the message became too big.
    wasted: usize,
    bare: bool,
}

impl DataReader {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { state: State::LineStart, message: Vec::new(), max_bytes, wasted: 0, bare: false }
    }

    /// Takes in octets and says how many belong to this message: all, unless its end is among them.
    pub(super) fn push(&mut self, octets: &[u8]) -> usize {
        let mut at = 0;
        while at < octets.len() && self.state != State::End {
            if self.state == State::Text {
                let rest = &octets[at..];
                let run = rest.iter().position(|octet| matches!(octet, b'\r' | b'\n')).unwrap_or(rest.len());
                self.keep(&rest[..run]);
                at += run;
            }
            if let Some(octet) = octets.get(at) {
                self.step(*octet);
                at += 1;
            }
        }
        at
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state == State::End
    }

    /// Octets thrown away so far.
    pub(super) fn wasted(&self) -> usize {
        self.wasted
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, Unfit> {
        match self {
            Self { wasted: 1.., .. } => Err(Unfit::TooBig),
            Self { bare: true, .. } => Err(Unfit::BareLineEnd),
            Self { message, .. } => Ok(message),
        }
    }

    fn step(&mut self, octet: u8) {
        self.state = match (self.state, octet) {
            (State::LineStart, b'.') => State::Dot,
            (State::Dot, b'\r') => State::DotCr,
            (State::DotCr, b'\n') => State::End,
            (State::Cr, b'\n') => {
                self.keep(b"\r\n");
                State::LineStart
            }
            // A CR that no LF followed: alone, and no line ended.
            (State::Cr | State::DotCr, _) => {
                self.bare = true;
                self.text(octet)
            }
            (_, _) => self.text(octet),
        };
    }

    fn text(&mut self, octet: u8) -> State {
        match octet {
            b'\r' => State::Cr,
            b'\n' => {
                self.bare = true;
                State::Text
            }
            _ => {
                self.keep(&[octet]);
                State::Text
            }
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        if self.wasted > 0 || self.message.len() + octets.len() > self.max_bytes {
            self.wasted += octets.len();
            self.message = Vec::new();
        } else {
            self.message.extend_from_slice(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The verdict, and what was left unread.
    fn read(wire: &[u8], piece: usize) -> (Option<Result<Vec<u8>, Unfit>>, Vec<u8>) {
        let mut reader = DataReader::new(100);
        let mut used = 0;
        for part in wire.chunks(piece) {
            used += reader.push(part);
            if reader.is_whole() {
                return (Some(reader.finish()), wire[used..].to_vec());
            }
        }
        (None, Vec::new())
    }

    #[test]
    fn a_message_ends_at_its_dot_and_dots_are_undone() {
        for (wire, message) in [
            (&b".\r\n"[..], &b""[..]),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"..a\r\n.b\r\n...\r\n.\r\n", b".a\r\nb\r\n..\r\n"),
            (b"a.\r\n\r\n.\r\n", b"a.\r\n\r\n"),
        ] {
            for piece in 1..=wire.len() {
                assert_eq!(read(&[wire, b"MAIL"].concat(), piece).0, Some(Ok(message.to_vec())), "{}", wire.escape_ascii());
            }
        }
        assert_eq!(read(b"a\r\n.\r\nMAIL", 100).1, b"MAIL");
    }

    /// S-103: none of these ends a message; the true end refuses it, and only what follows that is left.
    #[test]
    fn no_other_end_is_an_end() {
        for smuggled in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r\n.\r",
            "\r\n.\n",
            "\r.\r\n",
            "\n.\r",
            "\r\n\0.\n",
            "\r\n.\r\r\n",
            "\r\r\n.\r.\r\n",
            ".\r\r\n",
            "\n\n.\n\n",
        ] {
            let wire = format!("a{smuggled}MAIL FROM:<x@y>\r\n.\r\nQUIT\r\n");
            for piece in 1..=wire.len() {
                let (verdict, rest) = read(wire.as_bytes(), piece);
                assert_eq!(verdict, Some(Err(Unfit::BareLineEnd)), "{}", smuggled.escape_debug());
                assert!(piece > 1 || rest == b"QUIT\r\n");
            }
        }
    }

    #[test]
    fn a_big_message_is_thrown_away_and_its_end_still_found() {
        let wire = [&b"x".repeat(101)[..], b"\r\n.\r\nQUIT"].concat();
        assert_eq!(read(&wire, 7).0, Some(Err(Unfit::TooBig)));
        let wire = [&b"x".repeat(98)[..], b"\r\n.\r\nQUIT"].concat();
        assert_eq!(read(&wire, wire.len()), (Some(Ok([&b"x".repeat(98)[..], b"\r\n"].concat())), b"QUIT".to_vec()));
    }

    proptest! {
        /// However the octets are torn, the end and the verdict are the same, and the end is at the first `CRLF . CRLF`.
        #[test]
        fn pieces_do_not_matter(text in "[.\r\na]{0,60}", piece in 1_usize..8) {
            let wire = format!("\r\n{text}");
            let (verdict, _) = read(wire.as_bytes(), piece);
            let whole = read(wire.as_bytes(), wire.len());
            prop_assert_eq!(&verdict, &whole.0);
            let end = wire.find("\r\n.\r\n").map(|at| at + 5);
            prop_assert_eq!(verdict.is_some(), end.is_some());
            if let Some(end) = end {
                prop_assert_eq!(whole.1, &wire.as_bytes()[end..]);
                let body = &wire[..end - 3];
                let bare = body.replace("\r\n", "").contains(['\r', '\n']);
                prop_assert_eq!(verdict == Some(Err(Unfit::BareLineEnd)), bare);
            }
        }
    }
}
