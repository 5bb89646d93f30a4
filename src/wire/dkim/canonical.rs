//! A message as it is hashed: the relaxed form of its fields and of its body.
//!
//! In: octets whose lines end in CRLF, as they go over the wire. Out: what is hashed. Never fails.
//! Sources: RFC 6376 §3.4.2 (fields), §3.4.4 (body), §5.4.2 (which of several fields of a name).

/// A field as it stands: its name, and its value with the folds, without the CRLF that ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    value: &'a [u8],
}

/// Head and body, without the empty line between them.
pub(super) fn parts(message: &[u8]) -> (&[u8], &[u8]) {
    match message.windows(4).position(|octets| octets == b"\r\n\r\n") {
        Some(at) => (&message[..at + 2], &message[at + 4..]),
        None => (message, b""),
    }
}

/// The fields of a head, in order.
pub(super) fn fields(head: &[u8]) -> Vec<Field<'_>> {
    let (mut fields, mut begun) = (Vec::new(), 0);
    for (at, _) in head.iter().enumerate().filter(|(_, octet)| **octet == b'\n') {
        // a line that begins with a blank goes on with the field
        if !matches!(head.get(at + 1), Some(b' ' | b'\t')) {
            fields.extend(read(&head[begun..=at]));
            begun = at + 1;
        }
    }
    fields
}

fn read(line: &[u8]) -> Option<Field<'_>> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    Some(Field { name: line[..colon].trim_ascii_end(), value: &line[colon + 1..] })
}

/// The fields that `names` name: the last of a name first, then the one above it, and nothing where there is no other.
pub(super) fn selected(fields: &[Field<'_>], names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    let mut taken = vec![false; fields.len()];
    for name in names {
        let found = |at: &usize| !taken[*at] && fields[*at].name.eq_ignore_ascii_case(name.as_bytes());
        if let Some(at) = (0..fields.len()).rev().find(found) {
            taken[at] = true;
            field(&mut out, fields[at].name, fields[at].value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// One field: its name in lower case, its value on one line, runs of blanks as one, none at either end. Without a CRLF.
pub(super) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    relaxed(out, value.trim_ascii());
}

/// A body: no blanks at the end of a line, runs of them as one, no empty lines at the end, nothing for an empty body.
pub(super) fn body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 2);
    let mut end = 0;
    for line in body.split(|octet| *octet == b'\n') {
        let begun = out.len();
        relaxed(&mut out, line);
        let is_empty = out.len() == begun;
        out.extend_from_slice(b"\r\n");
        if !is_empty {
            end = out.len();
        }
    }
    out.truncate(end);
    out
}

/// A line with runs of blanks as one and none at its end; CR and LF, which fold a field, are nothing.
fn relaxed(out: &mut Vec<u8>, line: &[u8]) {
    let mut rest = line;
    let mut after_blank = false;
    while !rest.is_empty() {
        let text = rest.iter().position(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(rest.len());
        if text > 0 {
            if after_blank {
                out.push(b' ');
            }
            out.extend_from_slice(&rest[..text]);
            after_blank = false;
        }
        after_blank |= matches!(rest.get(text), Some(b' ' | b'\t'));
        rest = rest.get(text + 1..).unwrap_or_default();
    }
}
