//! The servers that the other tests stand on do what those tests take for granted.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use sqlx::Connection;

use super::support::dovecot::Dovecot;
use super::support::message::{answer, header, text};
use super::support::postfix::{Postfix, Routes};
use super::support::sink::{Act, Sink, When, twice};
use super::support::submit::submit;
use super::support::svar::{Home, Settings};
use super::support::{port, postgres, process, servers, wait};

const ANNA: &str = "anna@guests.example.org";
const LOST: &str = "lost@guests.example.org";
const MAIL: &str = "From: a@example.org\nTo: b@example.org\nSubject: prov\n\nHej\n.en punkt\n";

#[tokio::test]
async fn each_database_of_the_test_cluster_is_its_own() {
    if !servers::need("postgresql") {
        return;
    }
    let (one, other) = (postgres::database().await, postgres::database().await);
    assert_ne!(one, other);
    let mut connection = sqlx::PgConnection::connect(&one).await.unwrap();
    sqlx::query("CREATE TABLE only_here (id BIGINT)").execute(&mut connection).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&other).await.unwrap();
    let (found,): (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM pg_tables WHERE tablename = 'only_here')").fetch_one(&mut connection).await.unwrap();
    assert!(!found);
}

#[tokio::test]
async fn a_cluster_of_ones_own_can_be_killed_and_leaves_nothing() {
    if !servers::need("postgresql") {
        return;
    }
    let cluster = postgres::Postgres::start(postgres::Durability::Full);
    let url = cluster.database().await;
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    let (fsync,): (String,) = sqlx::query_as("SHOW fsync").fetch_one(&mut connection).await.unwrap();
    let (data,): (String,) = sqlx::query_as("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
    assert_eq!(fsync, "on");
    cluster.kill9();
    assert!(sqlx::PgConnection::connect(&url).await.is_err());
    assert!(!Path::new(&data).exists());
}

#[test]
fn mail_for_a_guest_lies_in_the_maildir_and_an_unknown_guest_is_refused() {
    if !servers::need("postfix") || !servers::need("dovecot") {
        return;
    }
    let dovecot = Dovecot::start(&[ANNA]);
    let postfix = Postfix::start(&Routes { guests: &[ANNA], mailboxes: dovecot.lmtp(), replies: nowhere() });

    submit(postfix.smtp(), "monica@natverket.example.org", ANNA, MAIL).unwrap();
    let mail = String::from_utf8(dovecot.wait_for(ANNA, 1).remove(0)).unwrap();
    assert!(mail.starts_with("Return-Path: <monica@natverket.example.org>\n"), "{mail}");
    assert!(mail.ends_with("\nHej\n.en punkt\n"), "{mail}");

    let refused = submit(postfix.smtp(), "", "ingen@guests.example.org", MAIL).unwrap_err();
    assert!(refused.starts_with("550 5.1.1"), "{refused}");
    let elsewhere = submit(postfix.smtp(), "", "a@example.com", MAIL).unwrap_err();
    assert!(elsewhere.starts_with("550 5.7.1"), "{elsewhere}");
}

#[test]
fn mail_for_svar_comes_by_lmtp_with_its_whole_address_also_when_svar_starts_later() {
    if !servers::need("postfix") || !servers::need("dovecot") {
        return;
    }
    let dovecot = Dovecot::start(&[ANNA]);
    let replies = nowhere();
    let postfix = Postfix::start(&Routes { guests: &[ANNA], mailboxes: dovecot.lmtp(), replies });

    submit(postfix.smtp(), ANNA, "svar+abc234@natverket.example.org", MAIL).unwrap();
    wait::until("Postfix to find nobody at home", wait::LONG, || postfix.log().contains("Connection refused").then_some(()));
    let svar = Sink::script().lmtp().on(replies).start();
    let taken = svar.wait_for(1).remove(0);
    assert_eq!((taken.from.as_str(), taken.to), (ANNA, vec!["svar+abc234@natverket.example.org".to_owned()]));
    assert!(String::from_utf8_lossy(&taken.bytes).ends_with("\r\nHej\r\n.en punkt\r\n"));
}

#[test]
fn a_guest_whose_mailbox_is_gone_comes_back_as_a_bounce_to_the_return_path() {
    if !servers::need("postfix") || !servers::need("dovecot") {
        return;
    }
    let dovecot = Dovecot::start(&[ANNA]);
    let svar = Sink::script().lmtp().start();
    let postfix = Postfix::start(&Routes { guests: &[ANNA, LOST], mailboxes: dovecot.lmtp(), replies: svar.address() });

    submit(postfix.smtp(), "svar+b-abc234@natverket.example.org", LOST, MAIL).unwrap();
    let bounce = svar.wait_for(1).remove(0);
    assert_eq!((bounce.from.as_str(), bounce.to[0].as_str()), ("", "svar+b-abc234@natverket.example.org"));
    let text = String::from_utf8_lossy(&bounce.bytes);
    assert!(text.contains("report-type=delivery-status") && text.contains("Status: 5.1.1"), "{text}");
}

#[test]
fn the_sink_misbehaves_as_told_and_then_no_more() {
    let sink = Sink::script()
        .times(1, When::To("sur@example.org".into()), Act::RefuseRecipient("450 4.2.0 later".into()))
        .rule(When::Nth(3), Act::RefuseMessage("554 5.7.1 no".into()))
        .rule(When::Nth(4), Act::CloseBeforeDot)
        .rule(When::Nth(5), Act::CloseAfterDot)
        .rule(When::Nth(6), Act::RefuseSender("421 4.3.2 closing".into()))
        .start();
    let send = |to: &str| submit(sink.address(), "a@example.org", to, MAIL);

    assert_eq!(send("sur@example.org").unwrap_err(), "450 4.2.0 later\r\n");
    assert!(send("Sur@example.org").is_ok());
    assert_eq!(send("c@example.org").unwrap_err(), "554 5.7.1 no\r\n");
    assert!(send("d@example.org").is_err());
    assert!(send("e@example.org").is_err());
    assert_eq!(send("f@example.org").unwrap_err(), "421 4.3.2 closing\r\n");
    assert!(send("e@example.org").is_ok());

    let to: Vec<String> = sink.received().iter().flat_map(|m| m.to.clone()).collect();
    assert_eq!(to, ["Sur@example.org", "e@example.org", "e@example.org"]);
    assert_eq!(twice(&sink.received()), ["e@example.org"]);
    assert_eq!(sink.received()[0].text(), MAIL.replace('\n', "\r\n"));
    assert_eq!((sink.connections(), sink.faults()), (7, vec![]));
}

#[test]
fn a_held_port_refuses_connections_is_given_to_nobody_and_can_be_listened_on() {
    let held = nowhere();
    let refused = TcpStream::connect(held).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let others: Vec<TcpListener> = (0..500).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    assert!(others.iter().all(|other| other.local_addr().unwrap() != held));
    drop(TcpListener::bind(held).unwrap());
    drop(TcpListener::bind(held).unwrap());
}

#[test]
fn a_server_that_cannot_start_says_what_it_logged() {
    let dir = process::directory("nothing", None);
    let folder = dir.path().to_owned();
    let command = ["sh", "-c", "echo out of order; exit 1"].map(String::from).to_vec();
    let start = process::Start { name: "nothing", command, dir, log: None, user: None, stop: "TERM", ready: &|| false };
    let why = process::Server::start(start).err().unwrap();
    assert!(why.starts_with("nothing ended at once"), "{why}");
    wait::until("its folder to be removed", wait::LONG, || (!folder.exists()).then_some(()));
}

#[test]
fn a_dropped_server_is_gone_and_so_is_its_folder() {
    let dir = process::directory("sleep", None);
    let folder = dir.path().to_owned();
    let command = vec!["sleep".to_owned(), "600".to_owned()];
    let start = process::Start { name: "sleep", command, dir, log: None, user: None, stop: "TERM", ready: &|| true };
    let server = process::Server::start(start).unwrap();
    let process = Path::new("/proc").join(server.pid().to_string());
    assert!(process.exists());
    drop(server);
    assert!(!process.exists() && !folder.exists());
}

#[test]
fn a_reply_goes_from_a_guests_mailbox_to_svar_as_a_mail_program_sends_it() {
    if !servers::need("postfix") || !servers::need("dovecot") {
        return;
    }
    let dovecot = Dovecot::start(&[ANNA]);
    let svar = Sink::script().lmtp().start();
    let postfix = Postfix::start(&Routes { guests: &[ANNA], mailboxes: dovecot.lmtp(), replies: svar.address() });
    let invitation = "From: Monica Berg <monica@natverket.example.org>\nTo: Anna <anna@guests.example.org>\n\
                      Reply-To: Svar <svar+abc234@natverket.example.org>\nMessage-ID: <i1@natverket.example.org>\n\
                      Subject: =?utf-8?Q?H=C3=B6stm=C3=B6te_i_det_stora_huset_vid_torget?=\nContent-Type: text/plain; charset=utf-8\n\
                      MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nV=C3=A4lkommen!\n";
    submit(postfix.smtp(), "svar+b@natverket.example.org", ANNA, invitation).unwrap();

    let got = dovecot.wait_for(ANNA, 1).remove(0);
    let reply = answer(&got, "Anna Åberg", ANNA, "Ja, gärna!", "Den 24 nov. skrev Monica:", "X-More: one\n");
    submit(postfix.smtp(), &reply.from, &reply.to, &reply.message).unwrap();
    let taken = svar.wait_for(1).remove(0);
    assert_eq!((taken.from.as_str(), taken.to[0].as_str()), (ANNA, "svar+abc234@natverket.example.org"));
    let read = mail_parser::MessageParser::default().parse(&taken.bytes).unwrap();
    assert_eq!(read.subject(), Some("Sv: Höstmöte i det stora huset vid torget"));
    assert_eq!(read.from().and_then(|f| f.first()?.name()), Some("Anna Åberg"));
    assert_eq!(read.message_id(), Some(reply.message_id.trim_matches(['<', '>'])));
    assert_eq!(header(&taken.bytes, "In-Reply-To").as_deref(), Some("<i1@natverket.example.org>"));
    assert!(read.date().is_some());
    assert_eq!(text(&taken.bytes), "Ja, gärna!\n\nDen 24 nov. skrev Monica:\n> Välkommen!\n");
}

/// Listens as svar is agreed to: log lines on standard error, SIGTERM ends it in good order.
const STAND_IN: &str = r#"
[ "$3" = serve ] || { cat; echo "$0 was run with $*" >&2; exit 3; }
trap 'exit 0' TERM
echo 'not JSON' >&2
echo '{"level":"INFO","fields":{"message":"listening","listener":"lmtp","address":"127.0.0.1:1024"},"target":"svar"}' >&2
echo '{"level":"INFO","message":"listening","listener":"web","address":"127.0.0.1:1025"}' >&2
while :; do sleep 0.05; done
"#;

#[test]
fn a_daemon_tells_where_it_listens_stops_on_request_and_can_be_killed() {
    let home = Home::new(Settings::default());
    let script = home.write("stand-in", STAND_IN);
    let home = home.with_program(vec!["sh".into(), script.into()]);

    let ended = home.run_with_input(["read", "-"], b"bytes");
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(3), b"bytes".as_slice()));

    let daemon = home.serve();
    assert_eq!(daemon.address("lmtp"), "127.0.0.1:1024".parse().unwrap());
    assert_eq!(daemon.address("web"), "127.0.0.1:1025".parse().unwrap());
    assert_eq!(daemon.wait_for_log("listening")["fields"]["listener"], "lmtp");
    assert!(daemon.term().success());
    let daemon = home.serve();
    let process = Path::new("/proc").join(daemon.pid().to_string());
    daemon.kill9();
    assert!(!process.exists());
}

#[test]
fn a_home_has_the_settings_it_was_given() {
    let home = Home::new(Settings { relay: ([127, 0, 0, 1], 2525).into(), ..Settings::default() });
    let file: toml::Table = fs::read_to_string(home.path("svar.toml")).unwrap().parse().unwrap();
    assert_eq!(file["relay"]["port"].as_integer(), Some(2525));
    assert_eq!(file["mail"]["reply"].as_str(), Some("svar@natverket.example.org"));
}

/// An address of this machine where nothing listens yet.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], port::free()).into()
}
