use super::tokens::Text;
use super::{read, read_text};
use crate::model::inbound::Intent::{self, Erase, Maybe, No, Other, Question, Unsubscribe, Yes};
use crate::model::inbound::Reading;

/// What the rules alone make of a text.
fn by_rules(text: &str, hint: &str) -> Reading {
    read_text(text, &Text::of(text), Some(hint)).reading
}

/// Each must be read so by the rules and found clear, and both readers together must not make anything else of it.
fn applied(hint: &str, cases: &[(&str, Intent)]) {
    for (text, wanted) in cases {
        let r = by_rules(text, hint);
        assert_eq!((r.intent, r.apply), (*wanted, true), "{text}: {r:?}");
    }
    never_applied_as_another(hint, cases);
}

/// None of them may be applied as anything else.
fn never_applied_as_another(hint: &str, cases: &[(&str, Intent)]) {
    for (text, truth) in cases {
        let r = read(text, "", Some(hint));
        assert!(!r.apply || r.intent == *truth, "{text}: {r:?}");
    }
}

#[test]
fn a_clear_swedish_answer_is_applied() {
    applied(
        "sv",
        &[
            ("Ja", Yes),
            ("Ja tack!", Yes),
            ("Hej Monica! Jag kommer gärna.", Yes),
            ("Självklart kommer jag.", Yes),
            ("Vi kommer gärna, både jag och Per.", Yes),
            ("Skriv upp mig på listan!", Yes),
            ("Jag skulle inte vilja missa det för allt i världen, räkna med mig", Yes),
            ("Jag är inte alls ointresserad", Yes),
            ("Nej", No),
            ("Nej tack, inte den här gången.", No),
            ("Jag kan tyvärr inte komma.", No),
            ("Tyvärr kan jag inte vara med den kvällen.", No),
            ("Jag kommer inte.", No),
            ("Ja, jag kan tyvärr inte komma", No),
            ("Jag avböjer.", No),
            ("Kanske, jag återkommer.", Maybe),
            ("Vet inte än.", Maybe),
            ("Avregistrera mig", Unsubscribe),
            ("Ta bort mig från listan", Unsubscribe),
            ("Jag vill inte ha fler mejl från er", Unsubscribe),
            ("STOPP", Unsubscribe),
            ("Radera mina uppgifter", Erase),
            ("jag kommer garna", Yes),
        ],
    );
}

#[test]
fn a_clear_english_answer_is_applied() {
    applied(
        "en",
        &[
            ("Yes", Yes),
            ("Yes, count me in!", Yes),
            ("I wouldn't miss it.", Yes),
            ("I'll be there.", Yes),
            ("Hi Monica, I would love to come.", Yes),
            ("No", No),
            ("No thanks.", No),
            ("Sorry, I can't make it.", No),
            ("I won't be there.", No),
            ("I am afraid I will not be able to attend.", No),
            ("Maybe. I'll let you know on Friday.", Maybe),
            ("Not sure yet.", Maybe),
            ("unsubscribe", Unsubscribe),
            ("Please take me off your mailing list.", Unsubscribe),
            ("Stop emailing me", Unsubscribe),
            ("Please delete all my personal data.", Erase),
        ],
    );
}

/// S-147: these look like something they are not.
#[test]
fn what_misleads_is_never_applied_as_something_else() {
    never_applied_as_another(
        "sv",
        &[
            ("Avregistrera mig inte!", Other),
            ("Jag vill inte avregistrera mig", Other),
            ("Kan ni radera mitt förra mejl?", Other),
            ("Ja du, det blir nog inget för min del", No),
            ("Ja, om jag får barnvakt.", Maybe),
            ("Kommer du?", Question),
            ("Jag kommer inte ihåg vad jag svarade", Other),
            ("Vad menar ni med att svara JA?", Question),
            ("Jag vill gärna men har kören på onsdagar", No),
            ("Nej, det är inga problem, jag kommer", Yes),
            ("Räkna inte med mig", No),
            ("Måste man svara nej om man inte kan?", Question),
            ("Jag sa ja förra gången men nu kan jag inte", No),
        ],
    );
    never_applied_as_another(
        "en",
        &[
            ("Please do not unsubscribe me", Other),
            ("How do I say no?", Question),
            ("I said yes but I can't", No),
            ("I would come if I could, but no", No),
            ("Yes, well, that's very kind but no", No),
            ("Where is the bus stop?", Question),
            ("Can I still come if I say no now?", Question),
            ("I don't think I'll be there", No),
            ("Nobody told me. Delete the meeting on Tuesday, please.", Other),
        ],
    );
}

#[test]
fn a_subject_counts_only_where_the_person_wrote_it() {
    assert_eq!(read("", "JA", Some("sv")).intent, Yes);
    assert!(read("", "Re: Ja", Some("sv")).apply);
    assert_eq!(read("", "Avregistrera", Some("sv")).intent, Unsubscribe);
    assert_eq!(read("", "Re: Vill du vara med i vårt nätverk?", Some("sv")).intent, Other);
    assert_eq!(read("", "SV: Inbjudan: vi ses den 25 november", Some("sv")).intent, Other);
    assert_eq!(read("", "", None).intent, Other);
}

#[test]
fn guests_are_counted() {
    let guests = |text: &str, hint: &str| read(text, "", Some(hint)).guests;
    for (text, hint, wanted) in [
        ("Ja, gärna! Vi blir två.", "sv", Some(1)),
        ("Jag kommer och jag tar med en kollega", "sv", Some(1)),
        ("Ja, jag kommer ensam.", "sv", Some(0)),
        ("Ja tack, vi blir 4 personer", "sv", Some(3)),
        ("Jag kommer", "sv", None),
        ("Yes, there will be three of us.", "en", Some(2)),
        ("I'll come and bring my wife.", "en", Some(1)),
        ("Yes, just me.", "en", Some(0)),
    ] {
        assert_eq!(guests(text, hint), wanted, "{text}");
    }
}

#[test]
fn a_sign_alone_is_a_guess() {
    assert_eq!((by_rules("👍", "sv").intent, by_rules("🤔", "en").intent), (Yes, Maybe));
    assert!(!read("👍🏽", "", Some("sv")).apply && !read("+1", "", Some("en")).apply);
}

#[test]
fn thanks_and_noise_say_nothing() {
    for text in ["Tack för mejlet!", "Thanks for thinking of me", "hjjjkk", "Ok tack", "...", "\u{0}\u{0}"] {
        assert!(!read(text, "", Some("sv")).apply, "{text}");
    }
    let long = "ja ".repeat(100_000);
    assert!(!read(&long, "", Some("sv")).apply);
}

/// S-147: answers as people write them, each with what it means. None is applied as something harmful, and few are missed.
#[test]
fn answers_as_people_write_them_are_understood() {
    let table = include_str!("../../../tests/fixtures/replies/answers.tsv");
    let rows = table.lines().filter(|l| !l.starts_with('#')).map(|l| l.splitn(3, '\t').collect::<Vec<_>>());
    let (mut n, mut right, mut applied, mut wrong) = (0, 0, 0, Vec::new());
    for row in rows {
        let [language, wanted, text] = row[..] else { panic!("{row:?} has no three columns") };
        let r = read(text, "", Some(language));
        n += 1;
        right += usize::from(r.intent.as_str() == wanted);
        applied += usize::from(r.apply);
        if r.intent.as_str() != wanted || !r.apply && !matches!(r.intent, Question | Other) {
            let rules: Vec<&str> = r.evidence.iter().map(|e| e.rule.as_str()).collect();
            println!("{language} {wanted} -> {} {}: {text} {rules:?}", r.intent, if r.apply { "applied" } else { "" });
        }
        if r.apply && r.intent.as_str() != wanted {
            wrong.push(format!("{text}: {wanted} applied as {}", r.intent));
        }
    }
    println!("{right}/{n} right, {applied} applied");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(right * 100 >= n * 95, "only {right} of {n}");
}

/// Nobody is unsubscribed or erased who declines, who wants no more of something else, or who speaks for somebody else; and a no
/// that is denied is no no.
#[test]
fn what_was_once_taken_wrongly_is_not_applied() {
    for (language, text, truth) in [
        ("en", "I don't manage people any more, only spreadsheets, so I'll leave it. Spreadsheets are never late.", No),
        ("pl", "Nie przyjadę, proszę nie wysyłać mi programu.", No),
        ("pl", "Nie przyjadę, proszę nie wysyłać mi przypomnień.", No),
        ("fi", "En pääse. Älkää lähettäkö minulle laskua.", No),
        ("fi", "En tule. Älkää lähettäkö minulle lippuja.", No),
        ("en", "No, can't. And don't send me the zoom link either.", No),
        ("sv", "Nej. Och skicka inte mer papper om parkeringen, jag har sålt bilen.", No),
        ("de", "Bitte nehmen Sie meinen Mann aus dem Verteiler, er ist verstorben. Ich selbst bekomme die Mails weiterhin gern.", Other),
        ("de", "Meine Mutter ist gestorben, bitte nehmen Sie sie aus dem Verteiler. Mich dürfen Sie gern behalten.", Other),
        ("sv", "Kan ni ta bort min frus adress? Hon har bytt. Jag själv är kvar.", Other),
        ("en", "Please remove my husband's address from your mailing list. Mine should stay.", Other),
        ("en", "Please delete all the data about my son, he was never a member. Mine is fine.", Other),
        ("en", "It's not that I'm not coming, I'm just going to be late - about half seven.", Yes),
        ("fi", "En kyllä voi kieltäytyä, joten ilman muuta mukana!", Yes),
        ("da", "Det er ikke fordi jeg ikke kommer, jeg bliver bare lidt forsinket.", Yes),
        ("pl", "To nie tak, że nie przyjdę, tylko się spóźnię.", Yes),
        (
            "nl",
            "Nee zeggen kan ik niet, dat is precies het probleem, dus sta ik elke ochtend om zes uur zelf achter de balie. Mijn dochter zei: pap, ga nou. Hou dus een broodje voor me apart. Kaas is prima.",
            Yes,
        ),
    ] {
        never_applied_as_another(language, &[(text, truth)]);
    }
}

/// A number beside friends or colleagues is heard in each language.
#[test]
fn guests_in_numbers_are_counted() {
    for (language, text, guests) in [
        ("de", "Ja, ich komme und bringe zwei Freunde mit.", 2),
        ("de", "Ich bin dabei, mit drei Kollegen.", 3),
        ("fr", "Oui, je viens avec mes trois enfants.", 3),
        ("fr", "Avec plaisir, je viens avec mes deux filles.", 2),
        ("es", "Sí, iré con dos amigas.", 2),
        ("es", "¡Claro! Voy con tres amigos.", 3),
        ("nl", "Ja, ik kom met twee vrienden.", 2),
        ("nl", "Leuk, ik neem drie collega's mee.", 3),
        ("pl", "Tak, przyjdę z trzema kolegami.", 3),
        ("pl", "Chętnie, zabiorę dwie koleżanki.", 2),
        ("da", "Ja tak, jeg tager tre kolleger med.", 3),
        ("no", "Ja, jeg kommer og tar med to venner.", 2),
        ("fi", "Tulen kolmen kollegan kanssa.", 3),
    ] {
        assert_eq!(read(text, "", Some(language)).guests, Some(guests), "{text}");
    }
}

/// What waits says why.
#[test]
fn what_stops_a_reading_is_its_evidence() {
    for (language, text, why) in [
        ("sv", "Kan ni ta bort min frus adress? Hon har bytt. Jag själv är kvar.", "waits.speaks_of_staying_or_of_others"),
        (
            "en",
            "I don't manage people any more, only spreadsheets, so I'll leave it. Spreadsheets are never late.",
            "waits.no_rule_says_so",
        ),
    ] {
        let r = read(text, "", Some(language));
        assert!(!r.apply && r.evidence.iter().any(|e| e.rule == why), "{text}: {r:?}");
    }
    let applied = read("Ja tack, jag kommer med glädje och ser fram emot det!", "", Some("sv"));
    assert!(applied.apply && applied.evidence.iter().all(|e| !e.rule.starts_with("waits.")), "{applied:?}");
}
