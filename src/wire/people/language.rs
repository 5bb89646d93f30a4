//! What a cell calls a language becomes its code.
//!
//! In: a code, with or without a region, or a name in the language itself, in English or in Swedish. Out: ISO 639-1.
//! Source: ISO 639-1 and -2.

/// All of ISO 639-1.
const CODES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo \
    es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km \
    kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa \
    pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk \
    ur uz ve vi vo wa wo xh yi yo za zh zu";

/// Names and three-letter codes, in lower case.
const NAMES: &[(&str, &[&str])] = &[
    ("ar", &["arabic", "arabiska", "العربية", "ara"]),
    ("bs", &["bosnian", "bosniska", "bosanski", "bos"]),
    ("cs", &["czech", "tjeckiska", "čeština", "česky", "ces", "cze"]),
    ("da", &["danish", "danska", "dansk", "dan"]),
    ("de", &["german", "tyska", "deutsch", "deu", "ger"]),
    ("el", &["greek", "grekiska", "ελληνικά", "ell", "gre"]),
    ("en", &["english", "engelska", "eng"]),
    ("es", &["spanish", "spanska", "español", "castellano", "spa"]),
    ("et", &["estonian", "estniska", "eesti", "est"]),
    ("fa", &["persian", "farsi", "persiska", "فارسی", "fas", "per"]),
    ("fi", &["finnish", "finska", "suomi", "fin"]),
    ("fr", &["french", "franska", "français", "fra", "fre"]),
    ("hr", &["croatian", "kroatiska", "hrvatski", "hrv"]),
    ("hu", &["hungarian", "ungerska", "magyar", "hun"]),
    ("is", &["icelandic", "isländska", "íslenska", "isl", "ice"]),
    ("it", &["italian", "italienska", "italiano", "ita"]),
    ("ja", &["japanese", "japanska", "日本語", "jpn"]),
    ("lt", &["lithuanian", "litauiska", "lietuvių", "lit"]),
    ("lv", &["latvian", "lettiska", "latviešu", "lav"]),
    ("nb", &["norwegian bokmål", "bokmål", "norsk bokmål", "nob"]),
    ("nl", &["dutch", "nederländska", "nederlands", "nld", "dut"]),
    ("nn", &["norwegian nynorsk", "nynorsk", "norsk nynorsk", "nno"]),
    ("no", &["norwegian", "norska", "norsk", "nor"]),
    ("pl", &["polish", "polska", "polski", "pol"]),
    ("pt", &["portuguese", "portugisiska", "português", "por"]),
    ("ro", &["romanian", "rumänska", "română", "ron", "rum"]),
    ("ru", &["russian", "ryska", "русский", "rus"]),
    ("se", &["northern sami", "nordsamiska", "davvisámegiella", "sme"]),
    ("so", &["somali", "somaliska", "soomaali", "som"]),
    ("sq", &["albanian", "albanska", "shqip", "sqi", "alb"]),
    ("sr", &["serbian", "serbiska", "srpski", "српски", "srp"]),
    ("sv", &["swedish", "svenska", "swe"]),
    ("tr", &["turkish", "turkiska", "türkçe", "tur"]),
    ("uk", &["ukrainian", "ukrainska", "українська", "ukr"]),
    ("zh", &["chinese", "kinesiska", "中文", "zho", "chi"]),
];

/// The ISO 639-1 code of what a cell says: `sv`, `sv-SE`, `swe`, `svenska`, `Swedish`.
pub(super) fn code(cell: &str) -> Option<&'static str> {
    let said = cell.trim().to_lowercase();
    let named = |said: &str| NAMES.iter().find(|(_, names)| names.contains(&said)).map(|(code, _)| *code);
    let coded = |said: &str| CODES.split_ascii_whitespace().find(|code| *code == said);
    let tag = said.split(['-', '_']).next().unwrap_or("");
    // `English (UK)`
    let plain = said.split('(').next().unwrap_or("").trim();
    coded(tag).or_else(|| named(&said)).or_else(|| named(plain)).or_else(|| named(tag).filter(|_| tag.len() == 3))
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn a_language_has_many_names() {
        for (said, expected) in [
            ("sv", Some("sv")),
            ("SV", Some("sv")),
            ("sv-SE", Some("sv")),
            ("sv_FI", Some("sv")),
            ("swe", Some("sv")),
            ("Svenska", Some("sv")),
            ("Swedish", Some("sv")),
            ("English (United Kingdom)", Some("en")),
            ("ENGLISH", Some("en")),
            ("engelska", Some("en")),
            ("eng-GB", Some("en")),
            ("ISLÄNDSKA", Some("is")),
            ("zh-Hant-TW", Some("zh")),
            ("klingon", None),
            ("xx", None),
            ("", None),
            ("-", None),
            ("svenska/engelska", None),
        ] {
            assert_eq!(code(said), expected, "{said:?}");
        }
    }
}
