//! Somebody who was not asked wants to take part: who may be asked to confirm it, and what their reply does.
//!
//! From can be forged, so a first contact registers nobody: its writer is asked by mail, at an address that is both its author
//! and its envelope sender (S-126), and only where an automatic answer may be sent at all (S-125, S-127). What comes back to the
//! signed address in that question is from somebody who reads that mailbox; a clear yes confirms the wish (S-188).

use super::correlate::Own;
use super::kind::never_answer;
use super::understand::Understood;
use crate::model::address::{Address, is_same};
use crate::model::answer::Choice;
use crate::model::contact::Person;
use crate::model::inbound::{Envelope, Intent, Kind};
use crate::model::wish::{DECIDED, is_expired};
use crate::store::{Effect, Wish};
use crate::wire::people::own_name;

/// The writer of a mail that says clearly that they want to take part, where they may be asked whether it was them.
#[must_use]
pub fn writer(understood: &Understood, own: &Own, envelope: &Envelope) -> Option<Person> {
    let parsed = &understood.parsed;
    let author = Address::parse(parsed.from.as_deref()?).ok()?;
    let path = envelope.from.as_deref().or(parsed.return_path.as_deref())?;
    let is_to_us = envelope.to.as_deref().is_some_and(|to| to.eq_ignore_ascii_case(own.reply.as_str()));
    let may_be_asked = own.asks_strangers
        && is_to_us
        && is_same(path, author.as_str())
        && !own.is_ours(author.as_str())
        && never_answer(parsed, envelope).is_none();
    (may_be_asked && is_wish(understood)).then(|| named(understood, author))
}

/// Whether it is a wish of the writer's own, as clear as an answer must be.
fn is_wish(understood: &Understood) -> bool {
    let reading = &understood.reading;
    let is_for_another = reading.secondary.iter().any(|s| s == "delegate");
    let is_whole = understood.parsed.limits.is_none();
    understood.kind == Kind::Unsolicited && understood.is_sure && reading.intent == Intent::Yes && is_whole && !is_for_another
}

fn named(understood: &Understood, address: Address) -> Person {
    let (first_name, last_name) = own_name(understood.parsed.from_name.as_deref().unwrap_or(""));
    Person { first_name, last_name, language: understood.reading.language.clone().unwrap_or_default(), ..Person::new(address) }
}

/// What a reply to the question does, from what it would do as an answer; with why it is not more.
#[must_use]
pub fn reply(understood: &Understood, wish: &Wish, received_at: i64, as_answer: (Effect, String)) -> (Effect, String) {
    let review = |why: &str| (Effect::Review, why.to_owned());
    match as_answer {
        (Effect::Review, why) => (Effect::Review, why),
        (Effect::Suppress(reason), why) => (Effect::Suppress(reason), why),
        // Confirmed before, so it is an answer as any other.
        answer if wish.confirmed_at.is_some() && wish.contact_id.is_some() => answer,
        _ if wish.state != "review" => review(DECIDED),
        _ if is_expired(wish.asked_at, received_at) => review("confirmed after more than seven days"),
        (Effect::Answer { choice: Choice::Yes, .. }, _) if !is_by(understood, &wish.address) => {
            review("confirmed from another address than the one that was asked")
        }
        (Effect::Answer { choice: Choice::Yes, guests, .. }, why) => match confirmed(understood, wish) {
            Some(who) => (Effect::Confirm { who, guests }, why),
            None => review("not sure what it means"),
        },
        _ => review("a reply to our question that does not confirm"),
    }
}

fn is_by(understood: &Understood, address: &str) -> bool {
    understood.parsed.from.as_deref().is_some_and(|from| is_same(from, address))
}

/// The writer of the wish, by the name they give now, else by that of the wish, which anybody may have written.
fn confirmed(understood: &Understood, wish: &Wish) -> Option<Person> {
    let address = Address::parse(&wish.address).ok()?;
    let language = wish.language.clone();
    let now = named(understood, address.clone());
    if !now.first_name.is_empty() {
        return Some(Person { language, ..now });
    }
    Some(Person { first_name: wish.first_name.clone(), last_name: wish.last_name.clone(), language, ..Person::new(address) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::understand::{Around, understand};
    use crate::model::answer::Via;
    use crate::model::suppression::Reason;
    use crate::model::token::Keys;

    const NOW: i64 = 1_795_500_000_000;
    const DAY_MS: i64 = 24 * 3_600_000;
    const HEAD: &str = "From: Eva Berg <eva@example.com>\r\nTo: svar@example.org\r\nSubject: Natverket\r\n";
    const WORDS: &str = "Hej! En kollega berattade om er och jag vill vara med. Anmal mig.";

    fn own() -> Own {
        let reply = Address::parse("svar@example.org").unwrap();
        Own { reply, separator: '+', keys: Keys::single(1, vec![7; 32]), asks_strangers: true }
    }

    fn envelope() -> Envelope {
        Envelope { from: Some("eva@example.com".into()), to: Some("svar@example.org".into()) }
    }

    fn read(head: &str, words: &str, envelope: &Envelope) -> Understood {
        let around = Around { envelope: envelope.clone(), ..Around::default() };
        understand(format!("{head}\r\n{words}\r\n").as_bytes(), &around)
    }

    fn asked(head: &str, words: &str, envelope: &Envelope) -> Option<Person> {
        writer(&read(head, words, envelope), &own(), envelope)
    }

    #[test]
    fn a_clear_wish_of_a_person_is_asked_about() {
        let eva = asked(HEAD, WORDS, &envelope()).unwrap();
        assert_eq!((eva.address.as_str(), eva.first_name.as_str(), eva.last_name.as_str()), ("eva@example.com", "Eva", "Berg"));
        let silent = Own { asks_strangers: false, ..own() };
        assert_eq!(writer(&read(HEAD, WORDS, &envelope()), &silent, &envelope()), None);
    }

    #[test]
    fn what_is_no_wish_is_not_asked_about() {
        for words in ["Nej tack.", "Vad kostar det?", "Kanske, vi far se.", "Hej", "Avregistrera mig", ""] {
            assert_eq!(asked(HEAD, words, &envelope()), None, "{words}");
        }
    }

    /// S-125, S-126: no machine, no list, no spam, nobody else's return path, none of our own addresses.
    #[test]
    fn whoever_may_not_be_answered_is_not_asked() {
        for field in [
            "Auto-Submitted: auto-replied",
            "List-Id: <x.example.com>",
            "Precedence: bulk",
            "X-Auto-Response-Suppress: All",
            "X-Spam-Flag: YES",
            "Authentication-Results: mx.example.org; dmarc=fail",
            "X-Loop: x",
            "Svar-Ref: abc",
        ] {
            assert_eq!(asked(&format!("{HEAD}{field}\r\n"), WORDS, &envelope()), None, "{field}");
        }
        for from in ["", "bo@example.com", "svar@example.org"] {
            assert_eq!(asked(HEAD, WORDS, &Envelope { from: Some(from.into()), ..envelope() }), None, "{from}");
        }
        for author in ["noreply@example.com", "list-owner@example.com", "svar@example.org"] {
            let envelope = Envelope { from: Some(author.into()), ..envelope() };
            assert_eq!(asked(&HEAD.replace("eva@example.com", author), WORDS, &envelope), None, "{author}");
        }
        for to in [None, Some("monica@example.org".to_owned())] {
            assert_eq!(asked(HEAD, WORDS, &Envelope { to, ..envelope() }), None);
        }
    }

    fn wish() -> Wish {
        Wish {
            id: 1,
            campaign_id: 1,
            campaign_state: "active".into(),
            address: "Eva@example.com".into(),
            first_name: "Forged".into(),
            last_name: "Name".into(),
            language: "sv".into(),
            asked_at: NOW,
            confirmed_at: None,
            state: "review".into(),
            contact_id: None,
            suppressed: None,
            subject: None,
            question: None,
        }
    }

    fn yes() -> (Effect, String) {
        (Effect::Answer { choice: Choice::Yes, guests: Some(1), via: Via::Mail }, String::new())
    }

    /// S-188, S-212: a yes within seven days confirms, and nothing else does.
    #[test]
    fn a_clear_yes_in_time_confirms() {
        let eva = read(HEAD, "JA", &envelope());
        let said = |wish: &Wish, at: i64, answer: (Effect, String)| reply(&eva, wish, at, answer).0;
        let Effect::Confirm { who, guests } = said(&wish(), NOW + 7 * DAY_MS, yes()) else { panic!("not confirmed") };
        assert_eq!((who.first_name.as_str(), who.language.as_str(), guests), ("Eva", "sv", Some(1)));
        assert_eq!(said(&wish(), NOW + 8 * DAY_MS, yes()), Effect::Review);
        assert_eq!(said(&Wish { state: "settled".into(), ..wish() }, NOW, yes()), Effect::Review);
        let no = (Effect::Answer { choice: Choice::No, guests: None, via: Via::Mail }, String::new());
        assert_eq!(said(&wish(), NOW, no.clone()), Effect::Review);
        let leave = (Effect::Suppress(Reason::Unsubscribed), String::new());
        assert_eq!(said(&wish(), NOW, leave.clone()), leave.0);
        let confirmed = Wish { confirmed_at: Some(NOW), contact_id: Some(1), state: "applied".into(), ..wish() };
        assert_eq!(said(&confirmed, NOW + 90 * DAY_MS, no.clone()), no.0);
    }

    /// S-146: the question's own words are never read as its confirmation, quoted or not, nor is an answer that says otherwise.
    #[test]
    fn only_words_of_their_own_confirm() {
        let phrases: toml::Table = toml::from_str(include_str!("../../templates/mail/phrases.toml")).unwrap();
        for (language, yes) in [
            ("sv", "JA"),
            ("en", "Yes please."),
            ("no", "Ja, det stemmer"),
            ("da", "Ja tak!"),
            ("fi", "KYLLÄ"),
            ("de", "Ja gerne"),
            ("fr", "OUI"),
            ("es", "Sí"),
            ("nl", "Ja graag!"),
            ("pl", "TAK"),
        ] {
            let subject = phrases[language]["wish"].as_str().unwrap();
            let question = std::fs::read_to_string(format!("templates/mail/wish/{language}.txt.hbs")).unwrap();
            let fields = [("{{campaign}}", "natverk"), ("{{#if guests}}", ""), ("{{guests}}", "1"), ("{{/if}}", "")];
            let question = fields.iter().fold(question, |text, (field, value)| text.replace(field, value));
            let question = question.replace("{{opt_out}}", "").replace("{{organiser.name}}", "Monica");
            let quoted: String = question.lines().map(|line| format!("> {line}\r\n")).collect();
            let around = Around { is_tied: true, sent: Some(format!("{subject}\n{question}")), ..Around::default() };
            let is_yes = |subject: &str, words: &str| {
                let raw = format!("{}\r\n{words}\r\n", HEAD.replace("Natverket", subject));
                let read = understand(raw.as_bytes(), &around);
                read.reading.apply && read.reading.intent == Intent::Yes
            };
            for words in ["", &quoted, &question, "Nej, det var inte jag.", "No, that was not me.", "Who are you?"] {
                assert!(!is_yes(&format!("Re: {subject}"), words) && !is_yes(subject, words), "{words}");
            }
            for words in ["JA", "Yes", "Ja tack!", yes] {
                assert!(is_yes(&format!("Re: {subject}"), &format!("{words}\r\n\r\n{quoted}")), "{words}");
            }
        }
    }

    /// S-188: who was asked confirms, under the name of the wish where they give none; an opt-out may come from anybody.
    #[test]
    fn only_the_address_that_was_asked_confirms() {
        let by = |from: &str, answer: (Effect, String)| {
            reply(&read(&HEAD.replace("Eva Berg <eva@example.com>", from), "JA", &envelope()), &wish(), NOW, answer).0
        };
        let leave = (Effect::Suppress(Reason::Unsubscribed), String::new());
        for other in ["Bo <bo@example.net>", "Eva Berg <eva+x@example.com>", ""] {
            assert_eq!((by(other, yes()), by(other, leave.clone())), (Effect::Review, leave.0.clone()), "{other}");
        }
        let Effect::Confirm { who, .. } = by("EVA@example.com", yes()) else { panic!("not confirmed") };
        assert_eq!((who.address.as_str(), who.first_name.as_str()), ("Eva@example.com", "Forged"));
    }
}
