//! The templates around a campaign's words: svar's own, or the organiser's where their folder has a file of that name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;

/// A set of templates: name to text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(BTreeMap<String, String>);

macro_rules! embedded {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../../templates/mail/", $name, ".hbs")))),*] };
}

const OWN: [(&str, &str); 28] = embedded![
    "invitation/body.txt",
    "invitation/body.html",
    "newsletter/body.txt",
    "newsletter/body.html",
    "footer.txt",
    "footer.html",
    "notice/sv.txt",
    "notice/en.txt",
    "confirmation/sv.txt",
    "confirmation/en.txt",
    "confirmation/no.txt",
    "confirmation/da.txt",
    "confirmation/fi.txt",
    "confirmation/de.txt",
    "confirmation/fr.txt",
    "confirmation/es.txt",
    "confirmation/nl.txt",
    "confirmation/pl.txt",
    "wish/sv.txt",
    "wish/en.txt",
    "wish/no.txt",
    "wish/da.txt",
    "wish/fi.txt",
    "wish/de.txt",
    "wish/fr.txt",
    "wish/es.txt",
    "wish/nl.txt",
    "wish/pl.txt",
];

/// The sentences of a language.
#[derive(Debug, Deserialize)]
struct Phrases {
    opt_out: String,
    wish: String,
    #[serde(default)]
    intents: BTreeMap<String, String>,
    #[serde(default)]
    reasons: BTreeMap<String, String>,
}

#[allow(clippy::expect_used, reason = "embedded data, read by a test")]
static PHRASES: LazyLock<BTreeMap<String, Phrases>> =
    LazyLock::new(|| toml::from_str(include_str!("../../templates/mail/phrases.toml")).expect("phrases.toml is well formed"));

/// The sentence that tells how to opt out, in a language; English where there is none (S-183, S-187).
#[must_use]
pub fn opt_out(language: &str) -> &'static str {
    PHRASES.get(language).or_else(|| PHRASES.get("en")).map_or("", |phrases| &phrases.opt_out)
}

/// The subject of the question to somebody new, in a language; English where there is none.
#[must_use]
pub fn wish_subject(language: &str) -> &'static str {
    PHRASES.get(language).or_else(|| PHRASES.get("en")).map_or("", |phrases| &phrases.wish)
}

/// An intent in words, in a language.
#[must_use]
pub fn intent_in_words<'a>(language: &str, intent: &'a str) -> &'a str {
    let words = |language: &str| PHRASES.get(language).and_then(|phrases| phrases.intents.get(intent)).map(String::as_str);
    words(language).or_else(|| words("en")).unwrap_or(intent)
}

/// Why a message waits, in a language; as it stands where there is no translation. A reason may be two, `not read whole:
/// larger than 25 MiB`.
#[must_use]
pub fn reason_in_words(language: &str, reason: &str) -> String {
    let words = |part: &str| PHRASES.get(language).and_then(|phrases| phrases.reasons.get(part)).cloned();
    words(reason)
        .unwrap_or_else(|| reason.split(": ").map(|part| words(part).unwrap_or_else(|| part.to_owned())).collect::<Vec<_>>().join(": "))
}

impl Layout {
    /// svar's own templates, with those of the organiser's folder in their place: `invitation/body.txt.hbs` and so on.
    ///
    /// # Errors
    /// Where a file of the folder cannot be read; the message names it.
    pub fn load(folder: Option<&Path>) -> Result<Self, String> {
        let mut layout = Self::own();
        let Some(folder) = folder else { return Ok(layout) };
        for (name, text) in &mut layout.0 {
            let path = folder.join(format!("{name}.hbs"));
            match std::fs::read_to_string(&path) {
                Ok(own) => *text = own,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
            }
        }
        Ok(layout)
    }

    /// svar's own templates.
    #[must_use]
    pub fn own() -> Self {
        Self(OWN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    /// The text of a template; empty where there is none of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A template in a language, English where there is none: `localised("confirmation", "sv")`.
    #[must_use]
    pub fn localised(&self, name: &str, language: &str) -> &str {
        let of = |language: &str| self.0.get(&format!("{name}/{language}.txt"));
        of(language).or_else(|| of("en")).map_or("", String::as_str)
    }

    /// Whether there is a template in that language.
    #[must_use]
    pub fn speaks(&self, name: &str, language: &str) -> bool {
        self.0.contains_key(&format!("{name}/{language}.txt"))
    }

    /// The parts that a campaign of a kind is sent with, as the snapshot an edition keeps.
    #[must_use]
    pub fn snapshot(&self, kind: &str) -> String {
        let wanted = [format!("{kind}/body.txt"), format!("{kind}/body.html"), "footer.txt".into(), "footer.html".into()];
        let parts: BTreeMap<_, _> = self.0.iter().filter(|(name, _)| wanted.contains(name)).collect();
        serde_json::to_string(&parts).unwrap_or_default()
    }

    /// Reads a snapshot back.
    #[must_use]
    pub fn from_snapshot(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_organisers_template_replaces_svars_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("invitation")).unwrap();
        std::fs::write(dir.path().join("invitation/body.txt.hbs"), "mine").unwrap();
        let layout = Layout::load(Some(dir.path())).unwrap();
        assert_eq!(layout.get("invitation/body.txt"), "mine");
        assert_eq!(layout.get("footer.txt"), Layout::own().get("footer.txt"));
        assert_eq!(Layout::from_snapshot(&layout.snapshot("invitation")).get("invitation/body.txt"), "mine");
    }

    /// What the way in gives as a reason to wait is said in Swedish too.
    #[test]
    fn every_reason_to_wait_has_swedish_words() {
        let (apply, parse) = (include_str!("../inbound/apply.rs"), include_str!("../inbound/parse.rs"));
        let said = |source: &'static str, before: &'static str| {
            source.match_indices(before).filter_map(move |(at, _)| source[at + before.len()..].split('"').next()).collect::<Vec<_>>()
        };
        let limits = parse.split("fn over_limits").nth(1).unwrap().split("\n}\n").next().unwrap();
        let mut reasons = [said(apply, "review(\""), said(apply, "(Effect::Review, \""), said(apply, "let why = \"")].concat();
        reasons.extend(said(limits, "Some(\""));
        let (wish, rule) = (include_str!("../inbound/wish.rs"), include_str!("../model/wish.rs"));
        reasons.extend([said(wish, "review(\""), said(rule, "Err(\""), said(rule, "&str = \"")].concat());
        reasons.push("not read whole");
        assert!(reasons.len() > 24, "{reasons:?}");
        let missing: Vec<_> = reasons.iter().filter(|reason| !PHRASES["sv"].reasons.contains_key(**reason)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(reason_in_words("sv", "not read whole: more than 500 parts"), "inte läst i sin helhet: fler än 500 delar");
    }

    /// Whoever answers in a language that svar reads is answered in it.
    #[test]
    fn every_language_can_say_how_to_opt_out_and_what_was_noted() {
        for language in ["sv", "en", "no", "da", "fi", "de", "fr", "es", "nl", "pl"] {
            assert!(opt_out(language).len() > 20 && !wish_subject(language).is_empty());
            for name in ["confirmation", "wish"] {
                let text = Layout::own().localised(name, language).to_owned();
                assert!(text.contains("{{organiser.name}}") && text.contains("{{guests}}"), "{name} {language}");
                assert!(language == "en" || text != Layout::own().localised(name, "en"));
            }
        }
        assert_eq!(opt_out("xx"), opt_out("en"));
    }
}
