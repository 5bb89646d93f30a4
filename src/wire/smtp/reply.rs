//! Reads SMTP replies octet by octet.
//!
//! In: octets as they come, in any pieces. Out: a [`RawReply`], or `Malformed`. Takes several lines, a bare `250`, a line end
//! without CR and text that is not UTF-8; all of these occur. What is too long is cut, what is far too long is refused.
//! Sources: RFC 5321 §4.2, §4.2.1 and §4.5.3.1.5; S-71.

use std::collections::VecDeque;

/// Octets of one line that are kept; RFC 5321 §4.5.3.1.5 allows 512.
const MAX_LINE: usize = 2048;
/// Octets of a whole reply.
const MAX_REPLY: usize = 64 * 1024;

/// A reply as it came: its code, and each line without code and line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawReply {
    pub(super) code: u16,
    pub(super) lines: Vec<Vec<u8>>,
}

/// What came is not an SMTP reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a line that does not begin with a reply code")]
    Code,
    #[error("a reply without an end")]
    Endless,
}

/// Octets in, replies out.
#[derive(Debug, Default)]
pub(super) struct ReplyParser {
    line: Vec<u8>,
    lines: Vec<Vec<u8>>,
    size: usize,
    ready: VecDeque<RawReply>,
}

impl ReplyParser {
    /// Takes in what came.
    pub(super) fn push(&mut self, octets: &[u8]) -> Result<(), Malformed> {
        for octet in octets {
            self.size += 1;
            if self.size > MAX_REPLY {
                return Err(Malformed::Endless);
            }
            match octet {
                b'\n' => self.end_line()?,
                _ if self.line.len() < MAX_LINE => self.line.push(*octet),
                _ => {}
            }
        }
        Ok(())
    }

    /// The next whole reply.
    pub(super) fn take(&mut self) -> Option<RawReply> {
        self.ready.pop_front()
    }

    /// Whether nothing waits here, not even a part of a reply.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.lines.is_empty() && self.line.is_empty()
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let code = read_code(&line).ok_or(Malformed::Code)?;
        let more = line.get(3) == Some(&b'-');
        self.lines.push(line.get(4..).unwrap_or_default().to_vec());
        if !more {
            self.ready.push_back(RawReply { code, lines: std::mem::take(&mut self.lines) });
            self.size = 0;
        }
        Ok(())
    }
}

fn read_code(line: &[u8]) -> Option<u16> {
    let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else { return None };
    let digit = |octet: &u8| u16::from(octet - b'0');
    matches!(rest.first(), None | Some(b' ' | b'-')).then(|| digit(a) * 100 + digit(b) * 10 + digit(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Vec<RawReply> {
        let mut parser = ReplyParser::default();
        parser.push(text).unwrap();
        std::iter::from_fn(|| parser.take()).collect()
    }

    fn reply(code: u16, lines: &[&[u8]]) -> RawReply {
        RawReply { code, lines: lines.iter().map(|line| line.to_vec()).collect() }
    }

    /// S-71.
    #[test]
    fn every_form_of_a_reply_is_read() {
        assert_eq!(read(b"250\r\n"), [reply(250, &[b""])]);
        assert_eq!(read(b"250 \r\n"), [reply(250, &[b""])]);
        assert_eq!(read(b"250 ok\n"), [reply(250, &[b"ok"])]);
        assert_eq!(read(b"250-a\r\n250-b\r\n250 c\r\n"), [reply(250, &[b"a", b"b", b"c"])]);
        assert_eq!(read(b"250-\r\n250\r\n354 go\r\n"), [reply(250, &[b"", b""]), reply(354, &[b"go"])]);
        assert_eq!(read(b"550 supprim\xe9\r\n"), [reply(550, &[b"supprim\xe9"])]);
        assert_eq!(read(b"25"), []);
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for bad in [&b"hello\r\n"[..], b"\r\n", b"25\r\n", b"2500\r\n", b"650 x\r\n", b"+OK\r\n"] {
            assert_eq!(ReplyParser::default().push(bad), Err(Malformed::Code), "{bad:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_and_an_endless_reply_refused() {
        let long = [b"250 ".as_slice(), &[b'x'; 10_000], b"\r\n"].concat();
        assert_eq!(read(&long)[0].lines[0].len(), MAX_LINE - 4);
        assert_eq!(ReplyParser::default().push(&[b'2'; MAX_REPLY + 1]), Err(Malformed::Endless));
        assert_eq!(ReplyParser::default().push(&b"250-x\r\n".repeat(20_000)), Err(Malformed::Endless));
    }

    proptest! {
        /// However a reply is torn, it is the same reply; and no octets make the reader panic.
        #[test]
        fn pieces_do_not_matter(octets in prop::collection::vec(prop_oneof![Just(b'2'), Just(b'5'), Just(b'-'), Just(b' '),
            Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200)) {
            let mut whole = ReplyParser::default();
            let mut torn = ReplyParser::default();
            let one = whole.push(&octets);
            let other = octets.iter().try_for_each(|octet| torn.push(&[*octet]));
            prop_assert_eq!(one, other);
            prop_assert_eq!(whole.ready, torn.ready);
        }
    }
}
