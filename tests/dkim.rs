//! What leaves is signed, as an outside verifier sees it: S-25…S-27. The verifier is dkimpy, with the records that svar prints.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::support::message::{header, headers};
use super::support::servers;
use super::support::sink::{Act, Sink, When};
use super::support::stage::{bring, guest, invite, reply, settings, status};
use super::support::svar::{Home, Settings};
use super::support::wait;

/// A home whose mail is signed by both kinds of key, with so many guests invited; and what is to be published.
fn signing(guests: usize, settings: Settings) -> (Home, BTreeMap<String, String>) {
    let home = invite(guests, settings);
    let said = home.ok(["dkim", "new", "--ed25519"]);
    let lines = said.split_once("[dkim]").unwrap().1.lines().filter(|line| line.contains(" = ")).collect::<Vec<_>>().join("\n");
    let toml = fs::read_to_string(home.path("svar.toml")).unwrap();
    home.write("svar.toml", format!("{toml}\n[dkim]\n{lines}\n"));
    (home, records(&said))
}

/// The names and values for a form on the web.
fn records(said: &str) -> BTreeMap<String, String> {
    let of = |what: &str| said.lines().filter_map(|line| line.strip_prefix(what)).map(|rest| rest.trim().to_owned()).collect::<Vec<_>>();
    of("name ").into_iter().zip(of("value ")).collect()
}

/// Which selectors' signatures of a mail hold: asked of dkimpy, signature by signature.
fn verified(mail: &[u8], records: &BTreeMap<String, String>) -> String {
    const SCRIPT: &str = "
import sys, json, dkim
records = json.loads(sys.argv[1])
mail = sys.stdin.buffer.read()
dns = lambda name, timeout=5: records.get(name.decode().rstrip('.'), '').encode()
count = sum(1 for name, value in dkim.rfc822_parse(mail)[0] if name.lower() == b'dkim-signature')
for at in range(count):
    try:
        print(dkim.DKIM(mail).verify(idx=at, dnsfunc=dns), end=' ')
    except dkim.ValidationError:
        print(False, end=' ')
";
    let records = serde_json::to_string(records).unwrap();
    let mut child =
        Command::new("/usr/bin/python3").args(["-c", SCRIPT, &records]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(mail).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// S-25…S-27, S-74: an invitation and a confirmation carry two signatures that dkimpy finds good; one that was repeated after a
/// lost reply is the same to the byte; and a second From or another body breaks both signatures.
#[test]
fn every_mail_is_signed_and_an_outside_verifier_agrees() {
    if !servers::need("dkimpy") {
        return;
    }
    let sink = Sink::script().times(1, When::To(guest(0)), Act::CloseAfterDot).start();
    let (home, records) = signing(2, settings(&sink));
    assert_eq!(records.len(), 2, "{records:?}");
    let daemon = home.serve();
    status(&home, "both sent", |s| s["sent"] == 2);
    let twice = sink.received_by(&guest(0));
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0].text(), twice[1].text());
    bring(&daemon, &reply(&sink, 1, "Ja, gärna!", ""));
    let confirmation = wait::until("the confirmation", wait::LONG, || sink.received_by(&guest(1)).into_iter().nth(1));
    assert!(header(&confirmation.bytes, "Auto-Submitted").is_some());
    for mail in [&twice[0], &confirmation] {
        assert_eq!(headers(&mail.bytes, "DKIM-Signature").len(), 2);
        assert_eq!(verified(&mail.bytes, &records), "True True", "{}", mail.text());
    }
    let forged = format!("From: evil@example.net\r\n{}", twice[0].text());
    assert_eq!(verified(forged.as_bytes(), &records), "False False");
    let changed = twice[0].text().replace("chefer", "narrar");
    assert_eq!(verified(changed.as_bytes(), &records), "False False");
    assert!(daemon.term().success());
}

#[test]
fn a_key_is_private_never_overwritten_and_shown_again() {
    let home = Home::init(Settings::default());
    let said = home.ok(["dkim", "new"]);
    let mode = fs::metadata(home.path("dkim-svar.pem")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let records = records(&said);
    assert!(records["svar._domainkey.natverket.example.org"].starts_with("v=DKIM1; k=rsa; p=MIIBIjAN"), "{said}");
    assert!(said.lines().all(|line| line.matches('"').count() != 2 || line.len() <= 255 + 8), "{said}");
    let key = fs::read(home.path("dkim-svar.pem")).unwrap();
    let again = home.run(["dkim", "new"]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is kept"), "{again:?}");
    assert_eq!(fs::read(home.path("dkim-svar.pem")).unwrap(), key);
    assert!(said.ends_with(&home.ok(["dkim", "show"])));
    home.write("svar.toml", "");
    let without = home.run(["dkim", "new"]);
    assert!(!without.status.success() && String::from_utf8_lossy(&without.stderr).contains("mail.from: is missing"), "{without:?}");
}
