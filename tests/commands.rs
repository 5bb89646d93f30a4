//! What an organiser types, and what svar says to it: STYLE of errors, S-8, S-65, S-221, S-225.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::support::sink::{Act, Sink, When};
use super::support::stage::{INVITATION, guest, settings};
use super::support::svar::{Home, Settings};
use super::support::wait;

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A home without a daemon, and three guests on the list.
fn home() -> Home {
    let home = Home::init(Settings::default());
    home.write("people.csv", format!("e-post;förnamn;företag\n{};Åsa;Ångström\n{};Lars;\n{};Eva;Volt\n", guest(0), guest(1), guest(2)));
    home.ok(["contacts", "import", "people.csv", "--list", "chefer"]);
    home
}

/// S-221: the secret is for its owner alone, and nothing is ever overwritten.
#[test]
fn init_writes_what_is_missing_and_overwrites_nothing() {
    let home = Home::new(Settings::default());
    fs::remove_file(home.path("svar.toml")).unwrap();
    let first = home.ok(["init"]);
    assert!(first.contains("next:") && first.contains("svar serve"), "{first}");
    assert_eq!(fs::metadata(home.path("svar.secret")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(home.path("svar.db")).unwrap().permissions().mode() & 0o777, 0o600);
    let (toml, secret) = (fs::read(home.path("svar.toml")).unwrap(), fs::read(home.path("svar.secret")).unwrap());
    home.ok(["init"]);
    assert_eq!((fs::read(home.path("svar.toml")).unwrap(), fs::read(home.path("svar.secret")).unwrap()), (toml, secret));
    let unfinished = home.run(["serve"]);
    assert_eq!(unfinished.status.code(), Some(78));
    assert!(said(&unfinished).contains("mail.from: is missing") && said(&unfinished).contains("SVAR_MAIL_FROM"), "{}", said(&unfinished));
}

/// One file has one daemon, by whichever name it is reached; two files have two. What lies beside it is as private as it is.
#[test]
fn a_second_daemon_is_kept_away_by_a_link_too() {
    let home = Home::init(Settings { lmtp: String::new(), ..Settings::default() });
    let daemon = home.serve();
    std::os::unix::fs::symlink(home.path("svar.db"), home.path("other.db")).unwrap();
    for file in ["svar.db-wal", "svar.db-shm"] {
        assert_eq!(fs::metadata(home.path(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let toml = fs::read_to_string(home.path("svar.toml")).unwrap();
    home.write("svar.toml", toml.replace("svar.db", "other.db"));
    let second = home.run(["serve"]);
    assert!(!second.status.success() && said(&second).contains("another svar serves the database"), "{}", said(&second));
    home.write("svar.toml", toml.replace("svar.db", "svar.sqlite"));
    drop(home.serve());
    assert!(daemon.term().success());
}

#[test]
fn a_faulty_configuration_names_key_file_and_remedy() {
    for (change, words) in [
        ("port = 9\nprot = 9", "prot"),
        ("port = 9\nuser = \"x\"", "relay.password_file"),
        ("port = 9\nuser = \"x\"\npassword_file = \"gone\"", "gone cannot be read"),
        ("port = \"nine\"", "port"),
    ] {
        let home = Home::init(Settings::default());
        let toml = fs::read_to_string(home.path("svar.toml")).unwrap();
        home.write("svar.toml", toml.replace("port = 9", change));
        let output = home.run(["status"]);
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        assert!(said(&output).contains("svar.toml") && said(&output).contains(words), "{}", said(&output));
        assert_eq!(home.run_with_input(["ingest"], b"From: a@example.org\n\nja\n").status.code(), Some(75));
    }
    let home = Home::init(Settings::default());
    fs::remove_file(home.path("svar.secret")).unwrap();
    assert!(said(&home.run(["serve"])).contains("svar init writes it"));
}

/// S-65: nothing is half imported, a second import changes nothing, each bad line is named.
#[test]
fn an_import_says_what_it_did_with_each_line() {
    let home = home();
    let bad = format!(
        "e-post;namn\n{};Åsa\nno-address;X\na\\r\\nb@example.org;Y\nnew@guests.example.org;Ny Person\n{};Igen\n",
        guest(0),
        guest(0)
    );
    home.write("bad.csv", bad.replace("\\r\\n", "\u{0}"));
    let nul = home.run(["contacts", "import", "bad.csv", "--list", "chefer"]);
    assert!(!nul.status.success() && said(&nul).contains("line 4") && said(&nul).contains("nothing was imported"), "{}", said(&nul));
    assert!(!said(&home.run(["history", "new@guests.example.org"])).contains("contact.added"));
    home.write("bad.csv", bad.replace("a\\r\\nb@example.org;Y\n", ""));
    let done = home.json(["contacts", "import", "bad.csv", "--list", "chefer", "--json"]);
    assert_eq!((&done["added"], &done["skipped"].as_array().unwrap().len()), (&1.into(), &2), "{done}");
    let text = home.ok(["contacts", "import", "bad.csv", "--list", "chefer"]);
    assert!(text.contains("0 added, 0 updated, 2 unchanged, 2 skipped; 0 new on the list") && text.contains("line 3: "), "{text}");
    home.write("latin.csv", [b"E-post;F\xf6rnamn\nsven@guests.example.org;Sven-\xc5ke\n".as_slice()].concat());
    home.ok(["contacts", "import", "latin.csv", "--list", "chefer"]);
    home.write("x.md", INVITATION);
    home.ok(["campaign", "add", "x.md"]);
    assert!(home.ok(["campaign", "preview", "natverk", "--contact", "SVEN@guests.example.org"]).contains("Hej Sven-Åke!"));
    home.write("mixed.csv", [b"e-post;namn\na@example.org;\xc3\x85sa\nb@example.org;\xc5ke\n".as_slice()].concat());
    let mixed = home.run(["contacts", "import", "mixed.csv", "--list", "chefer"]);
    assert!(!mixed.status.success() && said(&mixed).contains("line ") && said(&mixed).contains("UTF-8"), "{}", said(&mixed));
}

#[test]
fn check_names_every_mistake_with_line_and_column() {
    let home = home();
    home.write(
        "wrong.md",
        "---\nname: natverk\nkind: invitaton\nlist: tom\nsubject: Hej\nlanguage: sv\nsend: 0 9 31 2 *\ncolour: red\n---\nHej\n",
    );
    let wrong = home.run(["campaign", "check", "wrong.md"]);
    for part in ["wrong.md:3:7: there is no kind", "wrong.md:7:7: cron expression", "wrong.md:8:1: there is no key \"colour\""] {
        assert!(!wrong.status.success() && said(&wrong).contains(part), "{part}: {}", said(&wrong));
    }
    home.write("empty.md", INVITATION.replace("list: chefer", "list: tom"));
    assert!(said(&home.run(["campaign", "check", "empty.md"])).contains("empty.md:4:7: the list \"tom\" has nobody"));
    home.write("lacks.md", INVITATION.replace("Hej {{first_name}}!", "Hej {{first_name}} på {{företag}}!"));
    let lacks = said(&home.run(["campaign", "check", "lacks.md"]));
    assert!(lacks.contains("lacks.md:10:23: {{företag}}: guest1@guests.example.org lacks it"), "{lacks}");
    home.write("broken.md", INVITATION.replace("Hej {{first_name}}!", "Hej {{#if first_name}}!"));
    assert!(said(&home.run(["campaign", "check", "broken.md"])).contains("broken.md:1"));
    fs::create_dir_all(home.path("mine/invitation")).unwrap();
    home.write("mine/invitation/body.txt.hbs", "{{> content}}\n");
    home.write("fine.md", INVITATION);
    assert!(home.ok(["campaign", "check", "fine.md"]).contains("no mistakes; 3 people"));
    let toml = fs::read_to_string(home.path("svar.toml")).unwrap();
    home.write("svar.toml", format!("templates = \"mine\"\n{toml}"));
    assert!(said(&home.run(["campaign", "check", "fine.md"])).contains("no way to opt out"));
    home.write("latin.md", [INVITATION.as_bytes(), b"\xe5"].concat());
    assert!(said(&home.run(["campaign", "check", "latin.md"])).contains("save the file as UTF-8"));
}

#[test]
fn a_time_that_has_passed_is_not_started_and_one_to_come_waits() {
    let home = home();
    for (name, send, fine) in [("sent", "2020-01-01 09:00", false), ("kommer", "2099-01-01 09:00", true), ("varje", "\"0 9 1 * *\"", true)]
    {
        home.write("x.md", INVITATION.replace("name: natverk", &format!("name: {name}")).replace("send: now", &format!("send: {send}")));
        home.ok(["campaign", "add", "x.md"]);
        let output = home.run(["campaign", "start", name]);
        assert_eq!(output.status.success(), fine, "{}", said(&output));
    }
    assert!(said(&home.run(["campaign", "start", "sent"])).contains("has passed"));
    let list = home.json(["campaign", "list", "--json"]);
    assert!(list.as_array().unwrap().iter().any(|c| c["campaign"] == "kommer" && c["next_at"] == "2099-01-01T08:00:00.000Z"), "{list}");
    assert!(said(&home.run(["campaign", "start", "ingen"])).contains("there is no campaign \"ingen\""));
    assert!(!home.run(["respond", "a\r\nb@example.org", "kommer", "yes"]).status.success());
}

/// The mail that is previewed is the mail that is sent, but for tokens and the date; a test mail goes to one's own address.
#[test]
fn a_preview_is_what_is_sent() {
    let sink = Sink::start();
    let home = super::support::stage::invite(1, settings(&sink));
    home.ok(["campaign", "test", "natverk", "--to", "me@guests.example.org"]);
    assert_eq!(sink.wait_for(1)[0].to, ["me@guests.example.org"]);
    let preview = home.ok(["campaign", "preview", "natverk", "--raw"]);
    let daemon = home.serve();
    let sent = super::support::stage::mail_of(&sink, 0);
    let changing = ["Date:", "Message-ID:", "Reply-To:", "List-Unsubscribe:", "Svar-Ref:", " boundary=", "--=_"];
    let plain = |text: &str| text.lines().filter(|l| !changing.iter().any(|c| l.starts_with(c))).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(plain(&preview), plain(&sent.text()));
    let health = home.run(["health"]);
    assert!(!health.status.success(), "port 0 is nobody's address: {}", said(&health));
    assert!(daemon.term().success());
}

#[test]
fn health_answers_by_its_exit_code() {
    let port = super::support::port::free();
    let home = Home::init(Settings { web: format!("127.0.0.1:{port}"), ..Settings::default() });
    let down = home.run(["health"]);
    assert_eq!(down.status.code(), Some(69));
    assert!(said(&down).contains("svar serve"));
    let daemon = home.serve();
    let up = home.json(["health"]);
    assert_eq!((&up["status"], &up["database"]), (&"ok".into(), &"ok".into()));
    assert!(daemon.term().success());
}

/// What does not move is seen: a relay that is away, one that is paused, a Maildir that is not there; and logged when it changes.
#[test]
fn what_stands_in_the_way_is_told_and_logged_once() {
    let relay = ([127, 0, 0, 1], super::support::port::free()).into();
    let web = format!("127.0.0.1:{}", super::support::port::free());
    let settings = Settings { relay, web, maildir: "mail".into(), retry_first_seconds: 1, ..Settings::default() };
    let home = super::support::stage::invite(2, settings);
    assert!(home.ok(["status", "natverk"]).contains("start it with: svar serve"));
    let daemon = home.serve();
    let stuck = wait::until("both problems", wait::LONG, || {
        let health = home.run(["health"]);
        let said = said(&health);
        (health.status.code() == Some(1) && said.contains("cannot be reached") && said.contains("intake.maildir")).then_some(said)
    });
    assert!(stuck.contains("\"stuck\""), "{stuck}");
    let shown = home.ok(["status", "natverk"]);
    assert!(shown.contains("cannot be reached") && shown.contains("intake.maildir"), "{shown}");
    for folder in ["mail/new", "mail/cur", "mail/tmp"] {
        fs::create_dir_all(home.path(folder)).unwrap();
    }
    let sink = Sink::script().on(relay).start();
    sink.wait_for(2);
    daemon.wait_for_log("the relay is used again");
    wait::until("all well", wait::LONG, || home.run(["health"]).status.success().then_some(()));
    for line in ["the relay cannot be used now", "the Maildir cannot be read", "the Maildir can be read again"] {
        assert_eq!(daemon.log().iter().filter(|l| l.contains(line)).count(), 1, "{line}");
    }
    sink.add_rule(When::Always, Act::RefuseSender("550 5.7.1 not this account".into()));
    home.write("nasta.md", INVITATION.replace("name: natverk", "name: nasta"));
    home.ok(["campaign", "add", "nasta.md"]);
    home.ok(["campaign", "start", "nasta"]);
    wait::until("the paused relay", wait::LONG, || (home.run(["health"]).status.code() == Some(1)).then_some(()));
    wait::until("the reason", wait::LONG, || home.ok(["status", "nasta"]).contains("not this account").then_some(()));
    assert!(daemon.term().success());
}
