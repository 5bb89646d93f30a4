//! Reads one command line of SMTP or LMTP.
//!
//! In: a line without its CRLF. Out: a [`Command`], or the refusal to send. Nothing is guessed: what is not written as the
//! standard says is refused. Sources: RFC 5321 §4.1.1–4.1.2, RFC 2033 §4.1, RFC 1870 §3, RFC 6152 §2.

use super::Refusal;

/// Octets of a path, RFC 5321 §4.5.3.1.3.
const MAX_PATH: usize = 256;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Lhlo,
    Ehlo,
    Helo,
    Mail { from: String, size: Option<u64> },
    Rcpt { to: String },
    Data,
    Rset,
    Noop,
    Quit,
    Vrfy,
}

pub(super) fn parse(line: &[u8]) -> Result<Command, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| unknown())?;
    if line.chars().any(char::is_control) {
        return Err(unknown());
    }
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match (verb.to_ascii_uppercase().as_str(), rest) {
        ("LHLO" | "EHLO" | "HELO", "") => Err(syntax("a name must follow")),
        ("LHLO", _) => Ok(Command::Lhlo),
        ("EHLO", _) => Ok(Command::Ehlo),
        ("HELO", _) => Ok(Command::Helo),
        ("MAIL", _) => mail(rest),
        ("RCPT", _) => rcpt(rest),
        ("DATA", "") => Ok(Command::Data),
        ("RSET", "") => Ok(Command::Rset),
        ("QUIT", "") => Ok(Command::Quit),
        ("DATA" | "RSET" | "QUIT", _) => Err(syntax("nothing may follow")),
        ("NOOP", _) => Ok(Command::Noop),
        ("VRFY", _) => Ok(Command::Vrfy),
        ("EXPN" | "HELP" | "AUTH" | "STARTTLS" | "BDAT" | "TURN" | "ETRN", _) => {
            Err(Refusal::new(502, (5, 5, 1), "this command is not offered"))
        }
        _ => Err(unknown()),
    }
}

fn mail(rest: &str) -> Result<Command, Refusal> {
    let (from, parameters) = path(rest, "FROM:")?;
    let mut size = None;
    for parameter in parameters.split_ascii_whitespace() {
        match parameter.to_ascii_uppercase().split_once('=') {
            Some(("SIZE", octets)) => size = Some(octets.parse().map_err(|_| syntax("SIZE takes a number"))?),
            Some(("BODY", "7BIT" | "8BITMIME")) => {}
            _ => return Err(parameter_refused()),
        }
    }
    Ok(Command::Mail { from, size })
}

fn rcpt(rest: &str) -> Result<Command, Refusal> {
    let (to, parameters) = path(rest, "TO:")?;
    if to.is_empty() {
        return Err(Refusal::new(501, (5, 1, 3), "a recipient is missing"));
    }
    if parameters.trim().is_empty() { Ok(Command::Rcpt { to }) } else { Err(parameter_refused()) }
}

/// The address between the angle brackets, without a source route, and what follows.
fn path<'a>(rest: &'a str, keyword: &str) -> Result<(String, &'a str), Refusal> {
    let (head, rest) = rest.split_at_checked(keyword.len()).ok_or_else(|| syntax("an address in <> must follow"))?;
    let inside = rest.trim_start().strip_prefix('<').filter(|_| head.eq_ignore_ascii_case(keyword));
    let inside = inside.ok_or_else(|| syntax("an address in <> must follow"))?;
    let end = closing_bracket(inside).ok_or_else(|| syntax("the address lacks its >"))?;
    let (address, rest) = (&inside[..end], &inside[end + 1..]);
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(syntax("a space must follow the address"));
    }
    // RFC 5321 §4.1.1.3: a source route is taken and ignored.
    let address = match address.strip_prefix('@').and_then(|route| route.split_once(':')) {
        Some((_, address)) => address,
        None => address,
    };
    check(address)?;
    Ok((address.to_owned(), rest))
}

/// Where the path ends; a `>` in a quoted local part does not end it.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, octet) in text.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn check(address: &str) -> Result<(), Refusal> {
    let malformed = |text: &str| Err(Refusal::new(501, (5, 1, 3), text));
    if address.len() > MAX_PATH - 2 {
        return malformed("the address is too long");
    }
    if !address.is_ascii() {
        return Err(Refusal::new(553, (5, 6, 7), "addresses outside ASCII are not taken"));
    }
    match address.rsplit_once('@') {
        _ if address.is_empty() || address.eq_ignore_ascii_case("postmaster") => Ok(()),
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !domain.contains([' ', '<', '"']) => {
            if local.contains([' ', '<', '>']) && !local.starts_with('"') { malformed("the address is malformed") } else { Ok(()) }
        }
        _ => malformed("the address is malformed"),
    }
}

fn unknown() -> Refusal {
    Refusal::new(500, (5, 5, 2), "this is not a command")
}

fn syntax(text: &str) -> Refusal {
    Refusal::new(501, (5, 5, 4), text)
}

fn parameter_refused() -> Refusal {
    Refusal::new(555, (5, 5, 4), "this parameter is not offered")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(address: &str) -> Result<Command, Refusal> {
        Ok(Command::Mail { from: address.into(), size: None })
    }

    #[test]
    fn a_path_is_read_as_the_standard_writes_it() {
        assert_eq!(parse(b"MAIL FROM:<a@b.org>"), from("a@b.org"));
        assert_eq!(parse(b"mail from: <a@b.org>"), from("a@b.org"));
        assert_eq!(parse(b"MAIL FROM:<>"), from(""));
        assert_eq!(parse(b"MAIL FROM:<@x.org,@y.org:a@b.org>"), from("a@b.org"));
        assert_eq!(parse(b"MAIL FROM:<\"a>\\\" b\"@b.org>"), from("\"a>\\\" b\"@b.org"));
        assert_eq!(parse(b"MAIL FROM:<a@b> SIZE=12 BODY=8bitmime"), Ok(Command::Mail { from: "a@b".into(), size: Some(12) }));
        assert_eq!(parse(b"RCPT TO:<Postmaster>"), Ok(Command::Rcpt { to: "Postmaster".into() }));
    }

    #[test]
    fn what_is_written_otherwise_is_refused() {
        for (line, code) in [
            (&b"MAIL FROM:a@b.org"[..], 501),
            (b"MAIL FROM:<a@b.org", 501),
            (b"MAIL FROM:<a@b.org>SIZE=1", 501),
            (b"MAIL FROM:<a@b.org> SIZE=x", 501),
            (b"MAIL FROM:<a@b.org> SMTPUTF8", 555),
            (b"MAIL", 501),
            (b"MAIL FROM:<a>", 501),
            (b"RCPT TO:<>", 501),
            (b"RCPT TO:<a@b> NOTIFY=NEVER", 555),
            (b"RCPT TO:<a b@c>", 501),
            ("RCPT TO:<å@b>".as_bytes(), 553),
            (b"RCPT TO:<a@b\0>", 500),
            (b"LHLO", 501),
            (b"DATA now", 501),
            (b"STARTTLS", 502),
            (b"GET / HTTP/1.1", 500),
            (b"", 500),
            (b"\xff", 500),
        ] {
            assert_eq!(parse(line).unwrap_err().code, code, "{}", line.escape_ascii());
        }
        assert_eq!(parse(format!("RCPT TO:<{}@b.org>", "a".repeat(300)).as_bytes()).unwrap_err().code, 501);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(MAIL FROM:|RCPT TO:|\\PC{0,4})[<>@:\", a-cå\\\\]{0,30}") {
            _ = parse(line.as_bytes());
        }
    }
}
