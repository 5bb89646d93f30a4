//! The envelope of the next message leaves with the end of the one before it.

use super::*;

fn from() -> Address {
    address("b+x@svar.example.org")
}

/// Sends to each in turn, each with the next one's envelope behind it.
async fn send_in_a_row(session: &mut Session, to: &[&str]) -> Vec<Sent> {
    let (from, to): (Address, Vec<Address>) = (from(), to.iter().map(|to| address(to)).collect());
    let letter = |to| Letter { from: Some(&from), to, bytes: MESSAGE };
    let mut all = Vec::new();
    for (n, now) in to.iter().enumerate() {
        all.push(session.send(letter(now), to.get(n + 1).map(letter)).await);
    }
    all
}

/// Takes one message and hears the envelope of the next, without a word to either.
async fn takes_one_and_hears_the_next(relay: &mut Fake) {
    relay.takes_envelope().await;
    relay.takes_message().await;
    for line in ["MAIL FROM:<b+x@svar.example.org>", "RCPT TO:<b@example.org>", "DATA\r\n"] {
        relay.hears(line).await;
    }
}

/// S-72, S-78: each answer is its own message's, whoever is refused before, between and after.
#[tokio::test]
async fn each_gets_its_own_answer() {
    let (port, shelf, _stop) = relay().await;
    let mut session = connect(&plain(port)).await.unwrap();
    let to = ["eva", "nobody", "eva", "spam", "later", "spam", "many", "eva", "eva"].map(|name| format!("{name}@example.org"));
    let all = send_in_a_row(&mut session, &to.each_ref().map(String::as_str)).await;
    let said = all.iter().map(|sent| match &sent.result {
        Ok(Outcome::Accepted(_)) => "eva".to_owned(),
        Ok(Outcome::Permanent(reply)) if reply.text == "no such person" => "nobody".to_owned(),
        Ok(Outcome::Permanent(reply)) if reply.text == "looks like spam" => "spam".to_owned(),
        Ok(Outcome::Transient(reply)) if reply.text == "greylisted" => "later".to_owned(),
        Ok(Outcome::Transient(_)) => "many".to_owned(),
        other => format!("{other:?}"),
    });
    assert_eq!(said.map(|name| format!("{name}@example.org")).collect::<Vec<_>>(), to);
    assert!(all.iter().all(|sent| sent.usable) && !session.has_begun());
    assert_eq!(shelf.0.lock().unwrap().len(), 4);
    session.quit().await;
}

/// RFC 2920 §3.1: the relay has the envelope before it has said a word to the message.
#[tokio::test]
async fn the_next_envelope_needs_no_answer_to_the_message() {
    let (settings, done) = fake(|mut relay| async move {
        relay.greets(PIPELINING).await;
        takes_one_and_hears_the_next(&mut relay).await;
        relay.says(b"250 the first\r\n250 ok\r\n250 ok\r\n354 go\r\n").await;
        relay.takes_message().await;
        relay.says(b"250 the second\r\n").await;
        relay.hears("QUIT").await;
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    let all = send_in_a_row(&mut session, &["a@example.org", "b@example.org"]).await;
    for (sent, text) in all.iter().zip(["the first", "the second"]) {
        assert!(matches!(&sent.result, Ok(Outcome::Accepted(reply)) if reply.text == text), "{sent:?}");
    }
    session.quit().await;
    done.await.unwrap();
}

/// S-53: what has begun and must not leave is dropped with its connection: the relay gets no final dot and no QUIT for text.
#[tokio::test]
async fn a_message_that_has_begun_can_be_dropped() {
    let (settings, done) = fake(|mut relay| async move {
        relay.greets(PIPELINING).await;
        takes_one_and_hears_the_next(&mut relay).await;
        relay.says(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n").await;
        let mut rest = Vec::new();
        relay.0.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    let (from, a, b) = (from(), address("a@example.org"), address("b@example.org"));
    let letter = |to| Letter { from: Some(&from), to, bytes: MESSAGE };
    let sent = session.send(letter(&a), Some(letter(&b))).await;
    assert!(sent.usable && session.has_begun() && session.is_alive().await, "{sent:?}");
    session.quit().await;
    done.await.unwrap();
}

/// Nothing is sent under another's envelope.
#[tokio::test]
async fn another_than_the_one_that_has_begun_is_not_sent() {
    let (port, shelf, _stop) = relay().await;
    let mut session = connect(&plain(port)).await.unwrap();
    let (from, eva, ulf) = (from(), address("eva@example.org"), address("ulf@example.org"));
    let letter = |to| Letter { from: Some(&from), to, bytes: MESSAGE };
    assert!(session.send(letter(&eva), Some(letter(&ulf))).await.usable);
    let sent = session.send(letter(&eva), None).await;
    assert_eq!((stop_of(&sent), sent.usable), (Some(RelayStop::Reconnect), false));
    assert_eq!(shelf.0.lock().unwrap().len(), 1);
}

/// The message before may be the last thing that a connection does; the one that has begun is then nobody's fault, or waits.
#[tokio::test]
async fn a_connection_that_ends_with_a_message_leaves_the_next_untouched() {
    for (last, first, second) in [
        ("250 ok\r\n", None, RelayStop::Reconnect),
        ("250 ok\r\n421 4.4.2 bye\r\n", None, RelayStop::Reconnect),
        ("250 ok\r\n421 4.7.0 enough of you\r\n", None, RelayStop::BackOff),
        ("421 4.3.2 going down\r\n", Some(RelayStop::BackOff), RelayStop::Reconnect),
        ("250 ok\r\n503 5.5.1 out of order\r\n503 5.5.1\r\n503 5.5.1\r\n", None, RelayStop::Pause),
    ] {
        let (settings, done) = fake(move |mut relay| async move {
            relay.greets(PIPELINING).await;
            takes_one_and_hears_the_next(&mut relay).await;
            relay.says(last.as_bytes()).await;
        })
        .await;
        let mut session = connect(&settings).await.unwrap();
        let all = send_in_a_row(&mut session, &["a@example.org", "b@example.org"]).await;
        assert_eq!(stop_of(&all[0]), first, "{last:?}: {all:?}");
        assert!(stop_of(&all[1]) == Some(second) && !all[1].usable, "{last:?}: {all:?}");
        assert!(all.iter().filter_map(|sent| sent.result.as_ref().err()).all(|fault| !fault.begun || fault.text.contains("the message")));
        done.await.unwrap();
    }
}

/// S-89, S-91: nothing goes ahead on a connection's last message, without PIPELINING, or of a message that cannot be sent.
#[tokio::test]
async fn nothing_goes_ahead_that_may_not() {
    let (port, shelf, _stop) = relay().await;
    let mut session = connect(&RelaySettings { max_messages_per_connection: 2, ..plain(port) }).await.unwrap();
    let (from, eva) = (from(), address("eva@example.org"));
    let long = b"x".repeat(2_000);
    let letter = |bytes| Letter { from: Some(&from), to: &eva, bytes };
    assert!(session.send(letter(MESSAGE), Some(letter(&long))).await.usable && !session.has_begun());
    assert!(!session.send(letter(MESSAGE), Some(letter(MESSAGE))).await.usable && !session.has_begun());
    assert_eq!(shelf.0.lock().unwrap().len(), 2);

    let (settings, done) = fake(|mut relay| async move {
        relay.greets("").await;
        for answer in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
            relay.hears("").await;
            relay.says(answer.as_bytes()).await;
        }
        relay.takes_message().await;
        relay.says(b"250 ok\r\n").await;
        relay.hears("QUIT").await;
    })
    .await;
    let mut session = connect(&settings).await.unwrap();
    assert!(!session.may_begin_another() && session.send(letter(MESSAGE), Some(letter(MESSAGE))).await.usable);
    session.quit().await;
    done.await.unwrap();
}

/// S-73: what was written behind the message and failed says nothing about the message: a relay that took it and closed has taken it, and
/// one that only closed may have.
#[tokio::test]
async fn a_write_that_fails_behind_the_final_dot_is_no_failure_of_the_message() {
    for (said, taken) in [(&b"250 ok\r\n"[..], true), (b"", false)] {
        let (settings, done) = fake(move |mut relay| async move {
            relay.greets(PIPELINING).await;
            relay.takes_envelope().await;
            let stream = relay.0.get_mut();
            // up to the final dot, octet by octet, and no further: what is left unread resets the connection
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n.\r\n") {
                seen.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(said).await.unwrap();
        })
        .await;
        let mut session = connect(&settings).await.unwrap();
        let all = send_in_a_row(&mut session, &["a@example.org", "b@example.org"]).await;
        match &all[0].result {
            Ok(Outcome::Accepted(_)) => assert!(taken),
            // a reset may overtake what was said
            Ok(Outcome::Uncertain(_)) => {}
            other => panic!("{said:?}: {other:?}"),
        }
        assert_eq!(stop_of(&all[1]), Some(RelayStop::Reconnect), "{all:?}");
        done.await.unwrap();
    }
}
