//! Cuts a reply down to its own words: quotes, attribution lines, signatures and disclaimers go.
//!
//! In: a [`Parsed`] and, where it is known, the text of the mail that is answered. Out: what the person wrote, trimmed;
//! answers between quoted lines are joined. Never fails: what cannot be cut stays whole.
//! Sources: RFC 3676 §4.3 (signature) and §4.5 (quotes); S-145, S-146; attributions have no standard, see
//! `tests/fixtures/replies`.

mod attribution;
mod signature;

use std::collections::HashSet;

use crate::inbound::parse::Parsed;
use crate::inbound::words::fold;

/// Words a line must have before it counts as the invitation's own where nothing marks it as quoted.
const MIN_WORDS: usize = 4;

/// The text a person wrote in answer to `sent`.
#[must_use]
pub fn own_words(parsed: &Parsed, sent: Option<&str>) -> String {
    let name = parsed.from_name.as_deref().or(parsed.from.as_deref()).unwrap_or_default();
    cut(&parsed.text, name, sent)
}

/// As [`own_words`], from the text and the writer's name or address.
#[must_use]
pub fn cut(text: &str, name: &str, sent: Option<&str>) -> String {
    let mut lines: Vec<Line<'_>> = text.lines().map(Line::of).collect();
    attribution::mark(&mut lines);
    if let Some(sent) = sent {
        mark_sent(&mut lines, sent);
    }
    let mut own: Vec<&str> = Vec::new();
    let segments: Vec<&[Line<'_>]> = lines.split(|l| l.quoted).filter(|s| s.iter().any(|l| !l.text.trim().is_empty())).collect();
    for segment in segments {
        own.extend(signature::strip(segment, name).iter().map(|l| l.text.trim_end()));
        own.push("");
    }
    tidy(&own)
}

/// The lines of a text that are nobody else's, signature and all; and whether it quotes anything.
#[must_use]
pub fn unquoted(text: &str) -> (String, bool) {
    let mut lines: Vec<Line<'_>> = text.lines().map(Line::of).collect();
    attribution::mark(&mut lines);
    let own: Vec<&str> = lines.iter().filter(|l| !l.quoted).map(|l| l.text).collect();
    (own.join("\n"), own.len() < lines.len())
}

/// One line of the text and whether it is somebody else's.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) text: &'a str,
    pub(crate) folded: String,
    pub(crate) quoted: bool,
    /// It bears a mark of quotation, so that what stands between such lines is an answer.
    pub(crate) marked: bool,
}

impl<'a> Line<'a> {
    fn of(text: &'a str) -> Self {
        let marked = text.trim_start_matches(' ').starts_with('>') && !text.starts_with("    ");
        Self { text, folded: fold(text), quoted: marked, marked }
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.folded.is_empty()
    }
}

/// Lines that stand word for word in the mail that is answered are not the writer's, however the client shows them.
fn mark_sent(lines: &mut [Line<'_>], sent: &str) {
    let words: Vec<String> = words_of(&fold(sent));
    let runs: HashSet<&[String]> = words.windows(MIN_WORDS).collect();
    for line in lines.iter_mut().filter(|l| !l.quoted) {
        let own = words_of(&line.folded);
        if own.len() >= MIN_WORDS && own.windows(MIN_WORDS).all(|run| runs.contains(run)) {
            line.quoted = true;
        }
    }
}

fn words_of(folded: &str) -> Vec<String> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Joins lines, one empty line between paragraphs at most, without lines that are only drawn.
fn tidy(lines: &[&str]) -> String {
    let mut out = String::new();
    let mut gap = false;
    for line in lines {
        let line = line.trim_end();
        if line.trim().is_empty() || is_drawn(line) {
            gap = true;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if gap { "\n\n" } else { "\n" });
        }
        out.push_str(if out.is_empty() { line.trim() } else { line });
        gap = false;
    }
    out
}

/// `_____`, `=====` and the like; three dashes are something people type.
fn is_drawn(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 5 && line.chars().all(|c| matches!(c, '_' | '-' | '=' | '*' | '—' | '–' | '~'))
}

#[cfg(test)]
mod tests {
    use super::cut;

    fn own(text: &str) -> String {
        cut(text, "Anna Berg", None)
    }

    /// S-146: an answer on top, in the ways that mail programs quote.
    #[test]
    fn an_answer_above_the_quote_is_all_that_stays() {
        for quote in [
            "Den tors 5 nov. 2026 kl 09:12 skrev Monica Ahlgren <\nmonica@example.org>:\n\n> Svara JA eller AVREGISTRERA\n",
            "On Thu, 5 Nov 2026 at 09:12, Monica Ahlgren <monica@example.org> wrote:\n> Reply YES or STOP",
            "Från: Monica Ahlgren <monica@example.org>\nSkickat: den 5 november 2026\nTill: Anna Berg\nÄmne: Inbjudan\n\nSvara JA",
            "-----Ursprungligt meddelande-----\nFrån: Monica\nSvara JA",
            "________________________________\nFrom: Monica <m@example.org>\nSent: Thursday, November 5, 2026\nTo: Anna\nSubject: Hi\n\nReply YES",
            "*Von:* Monica\n*Gesendet:* Donnerstag, 5. November\n*An:* Anna\n*Betreff:* Einladung\nAntworten Sie JA",
            "De : Monica <m@example.org>\nEnvoyé : jeudi 5 novembre\nÀ : Anna\nObjet : Invitation\n\nOui",
            "5. marraskuuta 2026 klo 9.12 Monica <m@example.org> kirjoitti:\n> KYLLÄ",
            "Am 05.11.26 um 09:12 schrieb Monica:\n> JA",
            "> Svara JA om du vill vara med\n> eller NEJ",
        ] {
            assert_eq!(own(&format!("Jag kommer!\n\n{quote}")), "Jag kommer!", "{quote}");
        }
    }

    /// Many programs leave no empty line between: the answer is not taken for the attribution's first line.
    #[test]
    fn an_answer_right_above_the_attribution_stays() {
        for attribution in [
            "Le 4 janv. 2016 19:03, \"Monica Ahlgren\"\n<monica@example.org>\na écrit :\n\n> OUI",
            "Op 16 aug. 2026 05:13 schreef \"Monica\" <monica@example.org> het\nvolgende geschreven:\n\n> JA",
            "Monica <monica@example.org> schrieb am Do. 16. Mai 2024 um 00:02:\n\nJA",
            "W dniu 2023-01-20 21:31:20 użytkownik Monica monica@example.org napisał:\nTAK",
            "Wiadomość napisana przez Monica monica@example.org w dniu 17.01.2023, o godz. 11:09:\nTAK",
            "On Thu, 5 Nov 2026 at 09:12, Monica Ahlgren\n<monica@example.org> wrote:\n> YES",
            "---- On Tue, 22 Dec 2015 14:17:36 +0530 Monica<monica@example.org> wrote ----\nYES",
            "Monica <monica78910@example.org> skrev:\n> JA",
        ] {
            for answer in ["Jag kommer!", "Jag skrev nej först.\nMen nu kommer jag, till kollegan @elberet också"] {
                assert_eq!(own(&format!("{answer}\n{attribution}")), answer, "{attribution}");
            }
        }
    }

    #[test]
    fn answers_below_and_between_quotes_are_joined() {
        assert_eq!(own("> Kommer du?\n\nJa!\n\n> Med vem?\n\nIngen.\n\nHälsningar\nAnna"), "Ja!\n\nIngen.");
        assert_eq!(own("Den 2026-11-05 kl. 09:12, skrev Monica:\n> Svara JA\n\nNej tack"), "Nej tack");
    }

    #[test]
    fn closings_and_signatures_go() {
        for end in [
            "Mvh\nAnna",
            "Mvh Anna",
            "Med vänliga hälsningar,\n\nAnna Berg\nVD, Bergs Bil AB\n070-123 45 67",
            "-- \nAnna Berg\nBergs Bil",
            "/Anna",
            "Anna",
            "Skickat från min iPhone",
            "Best regards,\nAnna",
            "Hämta Outlook för Android",
            "Mit freundlichen Grüßen\nAnna Berg",
            "Cordialement,\nAnna",
            "Kram Anna\n\nSent from my Galaxy",
        ] {
            assert_eq!(own(&format!("Ja, jag kommer.\n\n{end}\n")), "Ja, jag kommer.", "{end}");
        }
    }

    #[test]
    fn what_only_looks_like_an_end_stays() {
        for text in ["Anna", "Mvh", "Hälsa Monica!", "Hej Anna!\nTack för mejlet.\nJag kommer.", "Jag kommer. Mvh Anna", "Från: mig\nJa"]
        {
            assert_eq!(own(text), text);
        }
        assert_eq!(own("Ja.\n\nMvh Anna\n\nPS. Vi blir två."), "Ja.\n\nPS. Vi blir två.");
    }

    /// S-146: the invitation's own words are known even where nothing marks them.
    #[test]
    fn lines_of_the_mail_that_was_sent_go_without_any_mark() {
        let sent = "Hej!\nVill du vara med den 25 november?\nSvara JA om du vill vara med, NEJ om du inte vill, eller AVREGISTRERA.\n";
        let text = "Vill du vara med den 25 november?\nNej tack\nSvara JA om du vill vara med, NEJ om du inte\nvill, eller AVREGISTRERA.";
        assert_eq!(cut(text, "", Some(sent)).lines().next(), Some("Nej tack"));
    }

    #[test]
    fn nothing_and_very_much_are_read() {
        assert_eq!(own(""), "");
        let _ = own(&"From: a\nDate: b\n".repeat(20_000));
        let _ = own(&"den 1 skrev a@b\n".repeat(20_000));
    }
}
