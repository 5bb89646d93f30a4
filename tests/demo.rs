//! The demo, as a stranger runs it: by itself, and in a browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::support::{process, servers, wait};

fn svar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svar"));
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn the_built_in_people_answer_and_every_count_adds_up() {
    let output = svar(&["demo", "--headless", "--json"]).output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    assert_eq!(printed["counts"], printed["expected"]);
    assert_eq!(printed["faults"], Value::Array(Vec::new()));
    for (what, at_least) in [("contacts", 12), ("yes", 3), ("no", 1), ("maybe", 1), ("guests", 1), ("unsubscribed", 1), ("silent", 1)] {
        assert!(printed["counts"][what].as_u64().unwrap() >= at_least, "{what} in {printed}");
    }
}

/// The demo with its page, ended by its process id.
struct Demo {
    child: Child,
    host: String,
}

impl Demo {
    fn open() -> Self {
        let mut child = svar(&["demo", "--no-open", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let host = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_else(|| panic!("no address in {line}"));
        Self { host: host.to_owned(), child }
    }

    fn http(&self, request: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let host = &self.host;
        let length = body.len();
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn json(&self, request: &str) -> Value {
        let answer = self.http(request, "");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|why| panic!("{why}: {answer}"))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        process::signal(self.child.id(), "TERM");
        self.child.wait().ok();
    }
}

#[test]
fn an_answer_on_the_page_changes_the_status_at_once() {
    let demo = Demo::open();
    let first = wait::until("the first mailbox filled", wait::LONG, || {
        let boxes = demo.json("GET /api/mailboxes");
        let mails = boxes[0]["mails"].as_array().map_or(0, Vec::len);
        (mails > 0).then(|| boxes[0]["address"].as_str().unwrap().to_owned())
    });
    let before = Instant::now();
    let sent = demo.http(&format!("POST /api/mailboxes/{first}/0/reply"), r#"{"text":"Ja, gärna! Vi blir två."}"#);
    assert!(sent.starts_with("HTTP/1.1 202"), "{sent}");
    let status = wait::until("the yes in the status", wait::LONG, || {
        let status = demo.json("GET /api/status");
        (status["campaigns"][0]["answers"]["yes"] == 1).then_some(status)
    });
    let took = before.elapsed();
    assert_eq!((&status["campaigns"][0]["guests"], &status["recent"][0]["intent"]), (&1.into(), &"yes".into()));
    println!("the status had changed {} ms after the answer was sent", took.as_millis());
    wait::until("the confirmation in the mailbox", wait::LONG, || {
        (demo.json("GET /api/mailboxes")[0]["mails"].as_array().map_or(0, Vec::len) == 2).then_some(())
    });
}

#[test]
fn the_page_shows_the_mailboxes_in_a_real_browser() {
    if !servers::need("chromium") {
        return;
    }
    let demo = Demo::open();
    let profile = tempfile::tempdir().unwrap();
    let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                 --disable-component-update --disable-sync --virtual-time-budget=5000 --dump-dom";
    let mut command = Command::new(servers::chromium().unwrap());
    command
        .args(flags.split_whitespace())
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/", demo.host));
    let page = command.stdin(Stdio::null()).output().unwrap();
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    for words in ["Anna Lindqvist", "Johan Åkesson", "natverk-2026"] {
        assert!(page.contains(words), "{words} is not on the page:\n{page}");
    }
}
