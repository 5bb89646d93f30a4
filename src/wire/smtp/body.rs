//! Writes a message as the DATA of SMTP: line ends become CRLF, leading dots are doubled, the final dot closes it.
//!
//! In: a message in pieces of any size. Out: octets for the wire, always ending in `CRLF . CRLF`, with no other such end in
//! them: a bare CR or LF becomes CRLF, so no receiver can see an end where we saw none.
//! Sources: RFC 5321 §4.5.2 (transparency), §2.3.8 (line ends), §4.5.3.1.6 (1000 octets a line); S-91.

/// Octets of a line without its CRLF.
const MAX_LINE: usize = 998;

/// The streaming writer.
#[derive(Debug, Default)]
pub(super) struct BodyWriter {
    out: Vec<u8>,
    /// Octets of the line so far, as given.
    column: usize,
    after_cr: bool,
    longest: usize,
    size: usize,
}

/// A message as it goes over the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) octets: Vec<u8>,
    /// The size by RFC 1870 §3: with CRLF line ends, without doubled dots and the final one.
    pub(super) size: usize,
}

/// A line is longer than SMTP allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineTooLong(pub(super) usize);

impl BodyWriter {
    pub(super) fn with_capacity(octets: usize) -> Self {
        Self { out: Vec::with_capacity(octets + octets / 32 + 8), ..Self::default() }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(first) = rest.first() {
            let taken = match first {
                b'\r' => self.end_line(true),
                b'\n' if self.after_cr => self.skip_lf(),
                b'\n' => self.end_line(false),
                _ => self.text(rest),
            };
            rest = &rest[taken..];
        }
    }

    /// The whole of it, with the final dot.
    pub(super) fn finish(mut self) -> Result<Body, LineTooLong> {
        if self.column > 0 {
            self.end_line(false);
        }
        self.out.extend_from_slice(b".\r\n");
        if self.longest > MAX_LINE { Err(LineTooLong(self.longest)) } else { Ok(Body { octets: self.out, size: self.size }) }
    }

    fn text(&mut self, rest: &[u8]) -> usize {
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        if self.column == 0 && rest[0] == b'.' {
            self.out.push(b'.');
        }
        self.out.extend_from_slice(&rest[..end]);
        self.column += end;
        self.size += end;
        self.after_cr = false;
        end
    }

    fn end_line(&mut self, by_cr: bool) -> usize {
        self.out.extend_from_slice(b"\r\n");
        self.size += 2;
        self.longest = self.longest.max(self.column);
        self.column = 0;
        self.after_cr = by_cr;
        1
    }

    fn skip_lf(&mut self) -> usize {
        self.after_cr = false;
        1
    }
}

/// A message in one piece, ready for the wire.
pub(super) fn encode(message: &[u8]) -> Result<Body, LineTooLong> {
    let mut writer = BodyWriter::with_capacity(message.len());
    writer.push(message);
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dots_are_doubled_and_line_ends_made_whole() {
        for (message, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"a\r\n.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r\r\nb\n\n", b"a\r\n\r\nb\r\n\r\n.\r\n"),
            (b"a.b\r\n..c", b"a.b\r\n...c\r\n.\r\n"),
        ] {
            assert_eq!(encode(message).unwrap().octets, wire, "{message:?}");
        }
    }

    #[test]
    fn a_line_over_998_octets_is_refused() {
        assert!(encode(&[b'x'; 998]).is_ok());
        assert_eq!(encode(&[b'x'; 999]), Err(LineTooLong(999)));
    }

    /// What a receiver makes of it: lines up to the lone dot, one leading dot removed.
    fn unstuff(wire: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let body = wire.strip_suffix(b".\r\n").unwrap();
        for line in body.split_inclusive(|octet| *octet == b'\n') {
            assert!(line.ends_with(b"\r\n") && line != b".\r\n", "an end in the middle");
            out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        out
    }

    proptest! {
        /// S-91: with dots and line ends at every edge, in any pieces, the receiver sees the message with CRLF line ends.
        #[test]
        fn what_is_written_is_what_is_read(pieces in prop::collection::vec("[.\r\na]{0,6}", 0..12)) {
            let mut writer = BodyWriter::default();
            for piece in &pieces {
                writer.push(piece.as_bytes());
            }
            let wire = writer.finish().unwrap();
            let mut expected = pieces.concat().replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            if !expected.is_empty() && !expected.ends_with('\n') {
                expected.push_str("\r\n");
            }
            prop_assert_eq!(unstuff(&wire.octets), expected.as_bytes());
            prop_assert_eq!(wire.size, expected.len());
            prop_assert_eq!(wire, encode(pieces.concat().as_bytes()).unwrap());
        }
    }
}
