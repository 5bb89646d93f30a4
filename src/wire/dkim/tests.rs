//! What is signed is verified by a reader written apart from the signer, in the words of RFC 6376, and that reader by the RFC's own mail.

use chrono::{DateTime, TimeZone, Utc};
use data_encoding::BASE64;
use proptest::prelude::*;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};

use super::*;

/// Keys for tests alone, made by OpenSSL.
const RSA: &str = include_str!("../../../tests/fixtures/dkim/rsa.pem");
const RSA_PKCS1: &str = include_str!("../../../tests/fixtures/dkim/rsa-pkcs1.pem");
const RSA_SHORT: &str = include_str!("../../../tests/fixtures/dkim/rsa-1024.pem");
const ED25519_BY_OPENSSL: &str = include_str!("../../../tests/fixtures/dkim/ed25519.pem");

fn signer() -> Signer {
    Signer::new("Example.org", "svar", Key::parse(RSA.as_bytes()).unwrap())
        .and("svar-ed", Key::parse(ED25519_BY_OPENSSL.as_bytes()).unwrap())
}

fn record_of(selector: &str) -> String {
    let pem = if selector == "svar" { RSA } else { ED25519_BY_OPENSSL };
    Key::parse(pem.as_bytes()).unwrap().record()
}

fn at() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 12, 1, 8, 0, 0).unwrap()
}

fn signed(message: &str) -> String {
    String::from_utf8(signer().sign(message.as_bytes(), at()).unwrap()).unwrap()
}

/// RFC 6376 §3.4.2, word for word: lower case, unfold, runs of WSP to one SP, none at the end, none around the colon.
fn relaxed_field(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap();
    let value = value.replace("\r\n", "");
    format!("{}:{}", name.trim().to_lowercase(), value.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
}

/// RFC 6376 §3.4.4, step by step.
fn relaxed_body(body: &str) -> String {
    let mut lines: Vec<String> = body.split("\r\n").map(str::to_owned).collect();
    for line in &mut lines {
        let mut out = String::new();
        for c in line.chars() {
            match c {
                ' ' | '\t' if out.ends_with(' ') => {}
                ' ' | '\t' => out.push(' '),
                c => out.push(c),
            }
        }
        *line = out.trim_end_matches(' ').to_owned();
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

/// The fields of a head, each with its folds.
fn fields_of(head: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in head.split("\r\n") {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => {
                field.push_str("\r\n");
                field.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    fields
}

fn tag(field: &str, name: &str) -> Option<String> {
    let value = field.split_once(':').unwrap().1;
    let tags = value.split(';').filter_map(|tag| tag.split_once('='));
    tags.map(|(key, value)| (key.trim(), value)).find(|(key, _)| *key == name).map(|(_, v)| v.split_whitespace().collect())
}

/// Verifies each signature of a message; the names of those that hold, by selector, and why the others do not.
fn verify(message: &str, record: impl Fn(&str) -> String) -> Vec<(String, Result<(), &'static str>)> {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let fields = fields_of(head);
    let is_signature = |field: &&String| field.to_lowercase().starts_with("dkim-signature:");
    fields.iter().filter(is_signature).map(|field| (tag(field, "s").unwrap(), holds(field, &fields, body, &record))).collect()
}

fn holds(signature: &str, fields: &[String], body: &str, record: &impl Fn(&str) -> String) -> Result<(), &'static str> {
    assert_eq!((tag(signature, "v").as_deref(), tag(signature, "c").as_deref()), (Some("1"), Some("relaxed/relaxed")));
    assert_eq!(tag(signature, "l"), None);
    let hash = BASE64.encode(digest(&SHA256, relaxed_body(body).as_bytes()).as_ref());
    if tag(signature, "bh").unwrap() != hash {
        return Err("body hash");
    }
    let mut left: Vec<&String> = fields.iter().collect();
    let mut input = String::new();
    for name in tag(signature, "h").unwrap().split(':') {
        let is_named = |field: &&String| field.split(':').next().unwrap().trim().eq_ignore_ascii_case(name);
        if let Some(at) = left.iter().rposition(is_named) {
            input += &format!("{}\r\n", relaxed_field(left.remove(at)));
        }
    }
    let emptied = without_b(signature);
    input += &relaxed_field(&emptied);
    let record = record(&tag(signature, "s").unwrap());
    let key = BASE64.decode(tag(&format!("x:{record}"), "p").unwrap().as_bytes()).unwrap();
    let value = BASE64.decode(tag(signature, "b").unwrap().as_bytes()).unwrap();
    let held = match tag(signature, "a").as_deref() {
        // what stands before the numbers of a SubjectPublicKeyInfo of 1024 or 2048 bits: its head, in ring's form without it
        Some("rsa-sha256") => {
            let bare = if key.len() > 200 { &key[24..] } else { &key[22..] };
            UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, bare).verify(input.as_bytes(), &value)
        }
        Some("ed25519-sha256") => UnparsedPublicKey::new(&ED25519, key).verify(digest(&SHA256, input.as_bytes()).as_ref(), &value),
        other => panic!("{other:?}"),
    };
    held.map_err(|_| "signature")
}

/// The field with the value of `b=` taken out, and nothing else (RFC 6376 §3.7).
fn without_b(signature: &str) -> String {
    let tags = signature.split(';').map(|tag| match tag.split_once('=') {
        Some((name, _)) if name.trim() == "b" => format!("{name}="),
        _ => tag.to_owned(),
    });
    tags.collect::<Vec<_>>().join(";")
}

fn all_hold(message: &str) -> bool {
    let verified = verify(message, record_of);
    assert_eq!(verified.len(), 2);
    verified.iter().all(|(_, held)| held.is_ok())
}

/// RFC 8463, appendix A: the reader of these tests finds both signatures of the RFC's mail good.
#[test]
fn the_reader_verifies_the_mail_of_the_standard() {
    let mail = include_str!("../../../tests/fixtures/dkim/rfc8463.eml").replace("\r\n", "\n").replace('\n', "\r\n");
    let record = |selector: &str| {
        match selector {
        "brisbane" => "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned(),
        _ => "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB".to_owned(),
    }
    };
    let verified = verify(&mail, record);
    assert_eq!(verified, [("brisbane".to_owned(), Ok(())), ("test".to_owned(), Ok(()))]);
}

const MAIL: &str = "Date: Tue, 01 Dec 2026 08:00:00 +0000\r\nFrom: =?utf-8?b?w4VzYQ==?=\t <monica@example.org>\r\nTo: eva@example.com\r\n\
    Subject: =?utf-8?q?P=C3=A5minnelse:_h=C3=B6stm=C3=B6te?=\r\n =?utf-8?q?_p=C3=A5_=C3=85ngstr=C3=B6m?=\r\n\
    Message-ID: <a@example.org>\r\nReferences: <one@example.com>\r\n <two@example.com>  \r\n\t<three@example.com>\r\n\
    List-Unsubscribe: <https://example.org/u/x>,\r\n <mailto:x@example.org>\r\n\
    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMIME-Version: 1.0\r\nSvar-Ref: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";

/// S-26: folded fields, words outside ASCII, blanks and empty lines wherever they stand, no body, a body without an end of line.
#[test]
fn every_shape_of_mail_is_signed_so_that_it_verifies() {
    for body in ["", "\r\n", "Hej\r\n", "Hej", "Hej  \t\r\n  du \t där\r\n\r\n \r\n\t\r\n\r\n", " \r\n", ".\r\n..\r\n", "\r\n\r\nHej\r\n"]
    {
        assert!(all_hold(&signed(&format!("{MAIL}{body}"))), "{body:?}");
    }
    assert!(all_hold(&signed("From: a@example.org\r\n\r\nHej\r\n")));
}

/// S-25, S-26: what `h=` names, and what is named once more than it occurs.
#[test]
fn what_a_reader_sees_is_signed_and_the_first_four_once_more() {
    let signed = signed(&format!("{MAIL}Hej\r\n"));
    let field = fields_of(&signed).remove(0);
    let names = tag(&field, "h").unwrap();
    assert_eq!(
        names,
        "From:From:To:To:Subject:Subject:Date:Date:Message-ID:References:MIME-Version:Content-Type:List-Unsubscribe:List-Unsubscribe-Post"
    );
    assert_eq!((tag(&field, "d").as_deref(), tag(&field, "t").as_deref()), (Some("example.org"), Some("1796112000")));
    assert!(signed.split("\r\n\r\n").next().unwrap().split("\r\n").all(|line| line.len() <= 78), "{signed}");
}

/// S-26: a field that is put in, changed or taken away breaks every signature; one that is not signed does not.
#[test]
fn what_is_changed_on_the_way_breaks_the_signature() {
    let mail = signed(&format!("{MAIL}Hej\r\n"));
    for (what, changed) in [
        ("a second From before", format!("From: evil@example.net\r\n{mail}")),
        ("a second Subject after", mail.replace("MIME-Version: 1.0", "Subject: Win\r\nMIME-Version: 1.0")),
        ("a second To", mail.replace("MIME-Version: 1.0", "To: x@example.net\r\nMIME-Version: 1.0")),
        ("a second Date", format!("Date: Tue, 01 Dec 2026 09:00:00 +0000\r\n{mail}")),
        ("another way out", mail.replace("example.org/u/x", "example.net/u/x")),
        ("no one-click", mail.replace("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", "")),
        ("another body", mail.replace("Hej", "Nej")),
        ("more body", format!("{mail}more\r\n")),
        ("another moment", mail.replace("t=1796112000", "t=1796112001")),
    ] {
        assert!(verify(&changed, record_of).iter().all(|(_, held)| held.is_err()), "{what}");
    }
    assert!(all_hold(&format!("Received: from x by y\r\n{mail}").replace("Svar-Ref: x", "Svar-Ref: y")));
    assert!(all_hold(&mail.replace("To: eva", "To:    eva").replace("Hej\r\n", "Hej \r\n\r\n")));
}

/// S-74: no chance and no clock is in a signature.
#[test]
fn the_same_mail_is_signed_with_the_same_bytes() {
    assert_eq!(signed(MAIL), signed(MAIL));
}

#[test]
fn a_key_is_read_in_every_form_and_a_bad_one_is_named() {
    assert_eq!(Key::parse(RSA_PKCS1.as_bytes()).unwrap().record(), Key::parse(RSA.as_bytes()).unwrap().record());
    let made = Key::parse(generate_ed25519().unwrap().as_bytes()).unwrap();
    assert_eq!((made.algorithm(), made.bits(), made.record().len()), (Algorithm::Ed25519, 256, 66));
    assert!(Key::parse(RSA.as_bytes()).unwrap().record().starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"));
    assert_eq!(Key::parse(b"nothing").unwrap_err(), Error::NoKey);
    let short = Key::parse(RSA_SHORT.as_bytes()).unwrap_err().to_string();
    assert!(short.contains("shorter than 2048 bits"), "{short}");
    let damaged = Key::parse(RSA.replacen("MII", "MIJ", 1).as_bytes()).unwrap_err();
    assert!(matches!(damaged, Error::Rejected(_)), "{damaged}");
}

/// S-221.
#[test]
fn a_key_is_never_shown() {
    assert_eq!(format!("{:?}", Key::parse(RSA.as_bytes()).unwrap()), "Key(rsa-sha256)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any fields and any body, with blanks, folds and empty lines at every edge.
    #[test]
    fn any_mail_verifies(subject in "([ -~]|\r\n |\t){0,60}", body in "[ \ta.åö]{0,5}(\r\n[ \ta.]{0,4}){0,6}") {
        // a fold has something on each of its lines (RFC 5322 §3.2.2)
        let message = format!("From: a@example.org\r\nSubject: x{subject}x\r\n\r\n{body}");
        prop_assert!(all_hold(&signed(&message)));
    }
}
