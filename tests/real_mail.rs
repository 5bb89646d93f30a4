//! The whole loop with real mail servers: svar sends through Postfix into Dovecot's mailboxes, the guests answer from there, and their
//! answers come back through Postfix to svar's LMTP listener. DESIGN.md, promises 1, 2, 3 and 5.

use serde_json::{Value, json};

use super::support::dovecot::Dovecot;
use super::support::message::{Reply, address, answer, header, headers, subject, text};
use super::support::postfix::{Postfix, Routes};
use super::support::submit::submit;
use super::support::svar::{Daemon, Home, NOT_COMING, Settings};
use super::support::{port, servers, wait};

const MONICA: &str = "monica@guests.example.org";
const ASA: &str = "asa.oberg@guests.example.org";
const LARS: &str = "lars@guests.example.org";
const MARY: &str = "mary.oneill@guests.example.org";
const EVA: &str = "eva-lena@guests.example.org";
const JOHN: &str = "john.smith@guests.example.org";

const PEOPLE: &str = "\
e-post;förnamn;efternamn;språk
asa.oberg@guests.example.org;Åsa;Öberg;sv
lars@guests.example.org;Lars;Lindström;sv
mary.oneill@guests.example.org;Mary;O'Neill;en
eva-lena@guests.example.org;Eva-Lena;Åkerström;sv
john.smith@guests.example.org;John;Smith;en
";

const INVITATION: &str = "\
---
name: chefsnatverk
kind: invitation
list: chefer
subject: Välkommen till nätverket – höstmöte på Ångström
language: sv
send: now
on_yes: join natverket
---

Hej!

Vi bjuder in dig till **nätverket för chefer**. Första mötet är den 3 december.

Svara på det här mejlet med egna ord, så vet vi om du kommer.

Monica Berg
";

#[test]
fn five_guests_answer_in_their_own_words_and_each_is_understood() {
    let Some(party) = Party::begin() else { return };
    let invitations = party.invitations();

    let gmail = "Den tis 24 nov. 2026 kl 10:15 skrev Monica Berg <monica@natverket.example.org>:";
    let english = "On Tue, 24 Nov 2026 at 10:15, Monica Berg <monica@natverket.example.org> wrote:";
    let auto = "Auto-Submitted: auto-replied\nX-Auto-Response-Suppress: All\n";
    // the auto-reply first: when the confirmations of the others have come, one to it would have come too
    let away = party.send(answer(&invitations[4], "John Smith", JOHN, "I am out of the office until 7 December.", english, auto));
    let yes = party.send(answer(&invitations[0], "Åsa Öberg", ASA, "Ja, gärna! Vi blir två.\n\nHälsningar\nÅsa", gmail, ""));
    let no = party.send(answer(&invitations[1], "Lars Lindström", LARS, "Nej tyvärr, jag är bortrest den veckan.", gmail, ""));
    let maybe = party.send(answer(&invitations[2], "Mary O'Neill", MARY, "Kanske. Finns det parkering vid huset?", gmail, ""));
    party.send(answer(&invitations[3], "Eva-Lena Åkerström", EVA, "AVREGISTRERA", gmail, ""));

    let status = party.wait_for_status("three answers and one unsubscribed", |s| {
        s["answers"] == json!({"yes": 1, "no": 1, "maybe": 1}) && s["unsubscribed"] == 1
    });
    assert_eq!(status["campaign"], "chefsnatverk");
    for (what, count) in [("contacts", 5), ("queued", 0), ("sending", 0), ("sent", 5), ("failed", 0), ("uncertain", 0), ("review", 0)] {
        assert_eq!(status[what], count, "{what} in {status}");
    }
    // "vi blir två": the writer and one more
    assert_eq!(status["guests"], 1, "{status}");

    let answers = party.home.json(["answers", "chefsnatverk", "--json"]);
    for (who, said) in [(ASA, "yes"), (LARS, "no"), (MARY, "maybe")] {
        let row = row_of(&answers, who).unwrap_or_else(|| panic!("no answer of {who} in {answers}"));
        assert!(holds(row, said), "{said} in {row}");
    }
    assert!(row_of(&answers, JOHN).is_none_or(|row| !["yes", "no", "maybe"].iter().any(|a| holds(row, a))), "an absence is not an answer");

    for (reply, who) in [(&yes, ASA), (&no, LARS), (&maybe, MARY)] {
        party.assert_confirmed(reply, who);
    }
    // everything that was answered can be traced to the mail (promise 5)
    for (reply, who) in [(&yes, ASA), (&no, LARS), (&maybe, MARY), (&away, JOHN)] {
        let history = party.home.json(["history", who, "--json"]);
        let id = reply.message_id.trim_matches(['<', '>']);
        assert!(history.to_string().contains(id), "the history of {who} names {id}: {history}");
    }

    // S-143, RFC 3834 §2: an auto-reply is never answered
    assert!(wait::within(NOT_COMING, || (party.dovecot.mails(JOHN).len() > 1).then_some(())).is_none(), "a mail to the auto-reply");
    // Stop means stop: a confirmation of the opt-out may come, and nothing else
    assert!(party.dovecot.mails(EVA).len() <= 2);

    let notices = party.dovecot.wait_for(MONICA, 1);
    let asked = notices.iter().find(|m| text(m).contains("Finns det parkering")).expect("a notice with Mary's question");
    assert!(text(asked).contains("Mary"), "the notice says who asks: {}", text(asked));
    assert_eq!(header(asked, "To").map(|to| address(&to)).as_deref(), Some(MONICA));

    assert!(party.daemon.term().success());
}

#[test]
fn a_second_answer_replaces_the_first_and_a_copy_changes_nothing() {
    let Some(party) = Party::begin() else { return };
    let invitations = party.invitations();
    let attribution = "Den tis 24 nov. 2026 kl 10:15 skrev Monica Berg <monica@natverket.example.org>:";

    let first = party.send(answer(&invitations[0], "Åsa Öberg", ASA, "Ja tack, jag kommer!", attribution, ""));
    party.wait_for_status("the yes", |s| s["answers"]["yes"] == 1);
    party.assert_confirmed(&first, ASA);
    party.send(first);
    let second = party.send(answer(&invitations[0], "Åsa Öberg", ASA, "Tyvärr, jag kan inte komma.", attribution, ""));
    let status = party.wait_for_status("the no", |s| s["answers"]["no"] == 1);
    assert_eq!(status["answers"], json!({"yes": 0, "no": 1, "maybe": 0}));
    party.assert_confirmed(&second, ASA);
    // the invitation and two confirmations: the copy was taken in and told nobody
    assert_eq!(party.dovecot.mails(ASA).len(), 3);
}

/// The servers, svar among them, and the invitation under way.
struct Party {
    daemon: Daemon,
    home: Home,
    postfix: Postfix,
    dovecot: Dovecot,
}

impl Party {
    /// Starts everything and sends the invitation; `None` where the servers are missing and not required.
    fn begin() -> Option<Self> {
        if !servers::need("postfix") || !servers::need("dovecot") {
            return None;
        }
        let guests = [MONICA, ASA, LARS, MARY, EVA, JOHN];
        let dovecot = Dovecot::start(&guests);
        // Postfix must know where svar will listen, and svar where Postfix does
        let lmtp = ([127, 0, 0, 1], port::free()).into();
        let postfix = Postfix::start(&Routes { guests: &guests, mailboxes: dovecot.lmtp(), replies: lmtp });
        let settings = Settings { relay: postfix.smtp(), lmtp: lmtp.to_string(), notify: MONICA.into(), ..Settings::default() };
        let home = Home::init(settings);
        home.write("people.csv", PEOPLE);
        home.write("chefsnatverk.md", INVITATION);
        home.ok(["contacts", "import", "people.csv", "--list", "chefer"]);
        home.ok(["campaign", "add", "chefsnatverk.md"]);
        home.ok(["campaign", "start", "chefsnatverk"]);
        let daemon = home.serve();
        assert_eq!(daemon.address("lmtp"), lmtp);
        Some(Self { daemon, home, postfix, dovecot })
    }

    /// The invitation as each guest got it, in the order of the list.
    #[track_caller]
    fn invitations(&self) -> Vec<Vec<u8>> {
        let got: Vec<Vec<u8>> = [ASA, LARS, MARY, EVA, JOHN].iter().map(|who| self.dovecot.wait_for(who, 1).remove(0)).collect();
        for (mail, who) in got.iter().zip([ASA, LARS, MARY, EVA, JOHN]) {
            assert_eq!(subject(mail), "Välkommen till nätverket – höstmöte på Ångström");
            assert_eq!(header(mail, "To").map(|to| address(&to)).as_deref(), Some(who));
            let reply_to = header(mail, "Reply-To").map(|to| address(&to)).unwrap_or_default();
            assert!(reply_to.starts_with("svar+") && reply_to.ends_with("@natverket.example.org"), "Reply-To: {reply_to}");
            // S-39: the return path is svar's, one per delivery, and tells nothing of the recipient
            let return_path = header(mail, "Return-Path").unwrap_or_default();
            assert!(return_path.ends_with("@natverket.example.org>") && !return_path.contains("guests"), "Return-Path: {return_path}");
            assert!(text(mail).contains("den 3 december"), "{}", text(mail));
            for name in ["Date", "From", "To", "Subject", "Message-ID", "MIME-Version"] {
                assert_eq!(headers(mail, name).len(), 1, "S-1: one {name}");
            }
        }
        let mut tokens: Vec<_> = got.iter().map(|m| header(m, "Reply-To")).collect();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), 5, "each has a reply address of its own");
        got
    }

    /// Hands a reply to Postfix.
    #[track_caller]
    fn send(&self, reply: Reply) -> Reply {
        submit(self.postfix.smtp(), &reply.from, &reply.to, &reply.message).unwrap();
        reply
    }

    /// Asks for the status until it is as awaited; at the limit it tells the last one.
    #[track_caller]
    fn wait_for_status(&self, what: &str, awaited: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = wait::within(wait::LONG, || {
            last = self.home.json(["status", "chefsnatverk", "--json"]);
            awaited(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("waited in vain for {what}; the status is {last}\nreview: {}", self.home.ok(["review", "--json"])))
    }

    /// The guest has a confirmation of this reply: threaded, marked as automatic, with an empty return path (S-35, S-40).
    #[track_caller]
    fn assert_confirmed(&self, reply: &Reply, who: &str) {
        let confirms = |mail: &Vec<u8>| header(mail, "In-Reply-To").as_deref() == Some(reply.message_id.as_str());
        let mail = wait::until(&format!("a confirmation of {} to {who}", reply.message_id), wait::LONG, || {
            self.dovecot.mails(who).into_iter().find(confirms)
        });
        assert_eq!(header(&mail, "Auto-Submitted").as_deref(), Some("auto-replied"));
        assert_eq!(header(&mail, "Return-Path").as_deref(), Some("<>"));
        assert_eq!(header(&mail, "X-Auto-Response-Suppress").as_deref(), Some("All"));
        assert!(header(&mail, "References").is_some_and(|ids| ids.contains(&reply.message_id)), "References name the reply");
        assert_eq!(self.dovecot.mails(who).iter().filter(|m| confirms(m)).count(), 1, "one confirmation of one reply");
    }
}

/// The entry of a listing that is about this address, whatever its keys are called.
fn row_of<'a>(listing: &'a Value, address: &str) -> Option<&'a Value> {
    let rows = listing.as_array().or_else(|| listing.as_object()?.values().find_map(Value::as_array))?;
    rows.iter().find(|row| holds(row, address))
}

/// Whether a value stands somewhere in a row.
fn holds(row: &Value, wanted: &str) -> bool {
    match row {
        Value::String(text) => text.eq_ignore_ascii_case(wanted),
        Value::Array(values) => values.iter().any(|v| holds(v, wanted)),
        Value::Object(fields) => fields.values().any(|v| holds(v, wanted)),
        _ => false,
    }
}
