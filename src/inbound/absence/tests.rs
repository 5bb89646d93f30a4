//! What automatic replies say in ten languages, and what they do not say.

use proptest::prelude::*;

use super::*;

/// The day the texts were written: a Tuesday.
const WRITTEN: &str = "2026-11-03";

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn returns(text: &str) -> Option<String> {
    read(text, Some(date(WRITTEN))).map(|found| found.on.to_string())
}

/// Each text gives its date; an empty one stands for none. All that fail are named.
fn hold(table: &[(&str, &str)]) {
    let wrong = table.iter().filter_map(|(text, expected)| {
        let found = read(text, Some(date(WRITTEN)));
        let on = found.as_ref().map_or(String::new(), |f| f.on.to_string());
        (on != *expected).then(|| format!("{text:?}: {found:?}, not {expected:?}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn swedish_says_when_somebody_is_back() {
    hold(&[
        ("Jag är på semester till och med den 29 november och läser inte min e-post.", "2026-11-29"),
        ("Hej! Jag är bortrest och kommer tillbaka måndag 30 nov. Svarar då.", "2026-11-30"),
        ("Ja! Äntligen ledig!! Jag läser inga mejl förrän den 1 december. Är det kris så ringer du.", "2026-12-01"),
        ("Hej, jag är på tjänsteresa och har begränsad möjlighet att svara. Åter 24/11.", "2026-11-24"),
        ("Jag är ledig t.o.m. 3/12. Åter på kontoret fredagen den 4:e december 2026.", "2026-12-04"),
        ("Semester 1–14 december. Kontakta Eva på 08-465 12 20.", "2026-12-14"),
        ("Den 3 december är jag tillbaka.", "2026-12-03"),
        ("Från och med den 3 december nås jag igen på telefon.", "2026-12-03"),
        ("Jag är tjänstledig. Till och med den 3:e december når du Bo i stället.", "2026-12-03"),
        ("Jag är borta mellan den 1 och 14 december.", "2026-12-14"),
        ("Kontoret är stängt fram till 2027-01-07.", "2027-01-07"),
        ("OOO till 3 dec", "2026-12-03"),
        ("Jag är på semester tom 3/12 och svarar sen.", "2026-12-03"),
        ("Jag är bortrest till Spanien, åter 3/12.", "2026-12-03"),
    ]);
}

#[test]
fn swedish_speaks_of_other_days() {
    hold(&[
        ("Jag är på semester. Erbjudandet gäller till den 15 december.", ""),
        ("Jag är på semester och kan inte komma på mötet den 3 december.", ""),
        ("Jag återkommer till dig om mötet den 3 december.", ""),
        ("Jag är bortrest. Jag är tillbaka snart. Mötet är 3 december.", ""),
        ("Jag är föräldraledig fram till augusti 2027.", ""),
        ("vabbar i dag, svarar när jag kan", ""),
        ("Jag åker på semester till Spanien den 3 december.", ""),
        ("Jag är ledig tills vidare. Ring 070-3 12 20 26.", ""),
        ("Jag är åter kl. 9.10 och läser då.", ""),
    ]);
}

#[test]
fn english_says_when_somebody_is_back() {
    hold(&[
        ("I am out of the office until Monday 30 November with no access to e-mail.", "2026-11-30"),
        ("I'm on leave from 2 to 20 November. If it still matters after the 20th, please send it again.", "2026-11-20"),
        ("I'm at a wedding (mine!) and then on a beach until 8 December. Happy to answer when I'm back.", "2026-12-08"),
        ("I will return on December 3rd.", "2026-12-03"),
        ("I'll be back in the office on Monday, December 7th, 2026.", "2026-12-07"),
        ("Out of office: back on 03/12/2026", "2026-12-03"),
        ("I am away until 12/30/2026.", "2026-12-30"),
        ("I am away until 12/24.", "2026-12-24"),
        ("On 3 December I will be back at my desk.", "2026-12-03"),
        ("I will be traveling for work on November 10-30.", "2026-11-30"),
        ("I am out of the office between December 1 and December 14.", "2026-12-14"),
        ("On vacation Dec 1st to Dec 14th.", "2026-12-14"),
        ("Away until 3 December. I'll be back on the 4th of December and will answer then.", "2026-12-04"),
        ("Please do not write until I am back on 3 December.", "2026-12-03"),
        ("I am on leave through Jan. 4, 2027.", "2027-01-04"),
        ("I'm out until 2026-12-03.", "2026-12-03"),
        ("Returning: 3-Dec-2026", "2026-12-03"),
        ("I am away from my desk until January 3.", "2027-01-03"),
        ("Hello, I am away until 05/11/2026 and am unable to read your message.", "2026-11-05"),
    ]);
}

#[test]
fn english_speaks_of_other_days() {
    hold(&[
        ("On 3 December I will move to another office. I am on leave.", ""),
        ("Do not write until I am back. The meeting is on 3 December.", ""),
        ("I'm away from 3 December until further notice.", ""),
        ("I will get back to you about the meeting on 3 December.", ""),
        ("I am away. Registration is open until 3 December.", ""),
        ("Your ticket was received. Version 3.12.1 is out; it is back in stock on 3 December.", ""),
        ("I am out. Call me back on 020 7946 3 12.", ""),
        ("I check e-mail at 11.00 and 15.00 only. Back at 12.30.", ""),
        ("I'm on vacation until version 3.12.1 is out.", ""),
        ("We are away from the phones but support is back 24/7.", ""),
        ("Yes I'm away. No I won't answer. Back Tuesday!", ""),
        ("I'm away until 192.168.3.12 answers.", ""),
        ("I am away until 31 November.", ""),
        ("I was on leave until 3 October 2026.", ""),
        ("I am away until 3 December 2029.", ""),
        ("I'm away until 30/30/2026.", ""),
        ("I am on leave and will miss the meeting 1-3 December.", ""),
    ]);
}

#[test]
fn norwegian_and_danish_say_when_somebody_is_back() {
    hold(&[
        ("Jeg er på ferie til og med 27. november. Ved behov, kontakt Lise.", "2026-11-27"),
        ("Jeg er tilbake på kontoret mandag 7. desember.", "2026-12-07"),
        ("Jeg har permisjon t.o.m. 3.12.2026.", "2026-12-03"),
        ("Fra 3. desember er jeg på plass igjen.", "2026-12-03"),
        ("Jeg leser ikke e-post før 3. des.", "2026-12-03"),
        ("Jeg er bortreist fra 1. til 14. desember.", "2026-12-14"),
        ("Jeg er på ferie. Meld deg på innen 3. desember.", ""),
        ("Jeg kommer tilbake til deg om møtet 3. desember.", ""),
        ("Jeg holder ferie til og med den 27. november.", "2026-11-27"),
        ("Jeg er tilbage den 3. december.", "2026-12-03"),
        ("Jeg vender tilbage mandag d. 7. december kl. 9.", "2026-12-07"),
        ("Jeg har fri indtil 3/12.", "2026-12-03"),
        ("Jeg er på ferie 1.-14. december.", "2026-12-14"),
        ("Jeg svarer først den 3. december.", "2026-12-03"),
        ("Jeg er på barsel og vender tilbage i maj 2027.", ""),
        ("Jeg er på orlov. Tilbuddet gælder til den 3. december.", ""),
    ]);
}

#[test]
fn finnish_says_when_somebody_is_back() {
    hold(&[
        ("Hei! Olen lomalla 2.-29.11. enkä lue sähköpostia.", "2026-11-29"),
        ("Olen lomalla 3. joulukuuta asti.", "2026-12-03"),
        ("Olen poissa 3.12.2026 saakka.", "2026-12-03"),
        ("Palaan töihin maanantaina 7.12.", "2026-12-07"),
        ("Olen takaisin joulukuun 3. päivänä.", "2026-12-03"),
        ("Olen lomalla 1.12.–14.12. Palaan 15.12.", "2026-12-15"),
        ("Minut tavoittaa taas 7. joulukuuta.", "2026-12-07"),
        ("En ole tavoitettavissa 3.12.", ""),
        ("Olen lomalla. Kokous on 3. joulukuuta.", ""),
        ("Olen lomalla. Palaan asiaan klo 9.10.", ""),
    ]);
}

#[test]
fn german_says_when_somebody_is_back() {
    hold(&[
        ("Ich bin bis einschließlich 30.11. nicht im Hause. Ihre E-Mail wird nicht weitergeleitet.", "2026-11-30"),
        ("Ab dem 3. Dezember bin ich wieder erreichbar.", "2026-12-03"),
        ("Ich bin vom 1. bis 14. Dezember im Urlaub.", "2026-12-14"),
        ("Ich bin vom 23.12. bis zum 06.01.2027 im Urlaub.", "2027-01-06"),
        ("Ich bin am 3.12.2026 wieder im Büro.", "2026-12-03"),
        ("Bis zum 3. Dez. bin ich abwesend. Danach gern.", "2026-12-03"),
        ("Ich bin zurück am Montag, den 7. Dezember 2026.", "2026-12-07"),
        ("Ihre Nachricht wird erst am 3. Dezember gelesen, ich bin im Urlaub.", "2026-12-03"),
        ("Ich bin ab dem 3.12. im Urlaub.", ""),
        ("Ich bin im Urlaub. Bitte bis zum 3. Dezember anmelden: Der Termin bleibt.", ""),
        ("Ich bin um 9.10 Uhr zurück.", ""),
    ]);
}

#[test]
fn french_and_spanish_say_when_somebody_is_back() {
    hold(&[
        ("Je suis absent jusqu'au 30 novembre. Je prendrai connaissance de votre message à mon retour.", "2026-11-30"),
        ("Je serai de retour le lundi 7 décembre.", "2026-12-07"),
        ("Je suis en congé du 1er au 14 décembre inclus.", "2026-12-14"),
        ("Absente jusqu’au 03/12/2026 inclus.", "2026-12-03"),
        ("Je reviens au bureau le 1er décembre 2026.", "2026-12-01"),
        ("Le 3 décembre je serai de retour.", "2026-12-03"),
        ("Merci de votre retour avant le 3 décembre.", ""),
        ("Je suis absent. L'offre est valable jusqu'au 3 décembre.", ""),
        ("Estaré fuera de la oficina hasta el 1 de diciembre, sin acceso al correo.", "2026-12-01"),
        ("Vuelvo el lunes 7 de diciembre de 2026.", "2026-12-07"),
        ("Estoy de vacaciones del 1 al 14 de diciembre.", "2026-12-14"),
        ("Me reincorporaré el 3/12.", "2026-12-03"),
        ("Estaré de vuelta el día 3 de diciembre.", "2026-12-03"),
        ("Estoy de vacaciones. La inscripción está abierta hasta el 3 de diciembre.", ""),
        ("Estoy de vacaciones a partir del 3 de diciembre.", ""),
    ]);
}

#[test]
fn dutch_and_polish_say_when_somebody_is_back() {
    hold(&[
        ("Ik ben met verlof tot 7 december. Je bericht wordt niet gelezen of doorgestuurd.", "2026-12-07"),
        ("Ik ben afwezig t/m 3 december 2026.", "2026-12-03"),
        ("Vanaf 3 december ben ik weer bereikbaar.", "2026-12-03"),
        ("Ik ben op maandag 7 dec. terug.", "2026-12-07"),
        ("Ik ben op vakantie van 1 tot en met 14 december.", "2026-12-14"),
        ("Ik ben terug op 03-12-2026.", "2026-12-03"),
        ("Ik ben op vakantie. Aanmelden kan tot 3 december.", ""),
        ("Ik bel je terug om 9.10 uur.", ""),
        ("Do 4 grudnia przebywam na urlopie i nie mam dostępu do poczty.", "2026-12-04"),
        ("Jestem nieobecny do dnia 4 grudnia 2026 r. włącznie.", "2026-12-04"),
        ("Wracam w poniedziałek 7 grudnia.", "2026-12-07"),
        ("Powrót: 07.12.2026", "2026-12-07"),
        ("Jestem na urlopie od 1 do 14 grudnia.", "2026-12-14"),
        ("Od 4 grudnia będę znów dostępny.", "2026-12-04"),
        ("Jestem na urlopie. Zapisy do 4 grudnia.", ""),
        ("Jestem na urlopie do odwołania. Spotkanie 4 grudnia.", ""),
    ]);
}

/// A year that is not said is that of the next such day; one day back is still believed, two years ahead are the most.
#[test]
fn the_year_is_that_of_the_next_such_day() {
    let on = |text: &str, written: &str| read(text, Some(date(written))).map(|found| found.on.to_string());
    assert_eq!(on("Back on 2 January", "2026-12-20").as_deref(), Some("2027-01-02"));
    assert_eq!(on("Back on 31 December", "2027-01-01").as_deref(), Some("2026-12-31"));
    assert_eq!(on("Back on 2 November", "2026-11-03").as_deref(), Some("2026-11-02"));
    assert_eq!(on("Back on 1 November", "2026-11-03"), None, "left on too long");
    assert_eq!(on("Back on 1 November 2026", "2026-11-03"), None);
    assert_eq!(on("Back on 29 February", "2027-12-01").as_deref(), Some("2028-02-29"));
    assert_eq!(on("Back on 29 February", "2026-12-01"), None);
    assert_eq!(on("Back on 29 February", "2024-03-02"), None);
    assert_eq!(on("Back on 3 November 2028", "2026-11-03").as_deref(), Some("2028-11-03"));
    assert_eq!(on("Back on 4 November 2028", "2026-11-03"), None);
}

#[test]
fn without_the_day_of_the_message_only_a_whole_date_counts() {
    assert_eq!(read("Back on 3 December", None), None);
    assert_eq!(read("Back on 3 December 2026", None).map(|found| found.on), Some(date("2026-12-03")));
}

#[test]
fn the_words_stand_as_they_were_written() {
    let words = |text: &str| read(text, Some(date(WRITTEN))).map(|found| found.words);
    assert_eq!(words("Hej! Jag är ÅTER\nden 3:e  december.").as_deref(), Some("ÅTER den 3:e december"));
    assert_eq!(words("Olen lomalla 2.-29.11. enkä lue").as_deref(), Some("2.-29.11."));
    assert_eq!(words("Ab dem 3.12. bin ich wieder da").as_deref(), Some("3.12. bin ich wieder"));
}

#[test]
fn what_stands_far_down_is_not_read() {
    let text = format!("{} Back on 3 December.", "x ".repeat(token::MOST_CHARS));
    assert_eq!(returns(&text), None);
    for hostile in ["until 1 may ", "do 1.1. ", "1-", "back ", "3.12.", "asti ", "\u{301}", "mellan 1 och "] {
        let _ = returns(&hostile.repeat(100_000));
    }
}

proptest! {
    #[test]
    fn any_text_and_any_day_give_a_value(text in any::<String>(), days in any::<i32>()) {
        let _ = read(&text, NaiveDate::from_num_days_from_ce_opt(days));
        let _ = read(&text, None);
    }

    #[test]
    fn pieces_of_dates_give_a_value(
        pieces in proptest::collection::vec(
            prop::sample::select(vec![
                "3", "12", "2026", "99999", ".", "/", "-", "–", ":", " ", "\n\n", "back", "until", "till", "och", "mellan", "December", "dec",
                "joulukuun", "asti", "away", "på semester", "e", "st", "'", "É", "!", "24", "00", "between", "and", "t.o.m.",
            ]),
            0..60,
        ),
        days in prop::sample::select(vec![NaiveDate::MIN, NaiveDate::MAX, NaiveDate::default()]),
    ) {
        let text = pieces.concat();
        for text in [text.clone(), pieces.join(" ")] {
            if let Some(found) = read(&text, Some(days)) {
                prop_assert!(found.on >= days.pred_opt().unwrap_or(days));
            }
        }
    }
}
