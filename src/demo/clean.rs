//! Rebuilds the HTML of a mail from what is known to be harmless.
//!
//! In: HTML as it came. Out: the tags and attributes on the list, all text escaped anew; whatever is not understood is
//! text or gone. Source: S-218. The page shows it in a frame without scripts and loads, so this is the inner of two walls.

const TAGS: &[&str] = &[
    "a",
    "b",
    "blockquote",
    "br",
    "center",
    "code",
    "div",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "hr",
    "i",
    "li",
    "ol",
    "p",
    "pre",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "u",
    "ul",
];

/// Tags whose content is no text for a reader.
const DROPPED: &[&str] =
    &["script", "style", "title", "head", "iframe", "object", "svg", "math", "template", "noscript", "textarea", "select"];

/// Attributes that mean no harm whatever they say; `href` and `style` are looked into.
const ATTRIBUTES: &[&str] = &["align", "cellpadding", "cellspacing", "colspan", "dir", "lang", "role", "rowspan", "valign", "width"];

/// HTML that holds listed tags and attributes only. Never fails.
#[must_use]
pub fn read_html(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        push_text(&mut out, &rest[..at]);
        rest = after_tag(&rest[at..], &mut out);
    }
    push_text(&mut out, rest);
    out
}

/// Takes what begins with `<`, writes it if it is listed, and returns what follows it.
fn after_tag<'a>(html: &'a str, out: &mut String) -> &'a str {
    if let Some(comment) = html.strip_prefix("<!--") {
        return comment.split_once("-->").map_or("", |(_, rest)| rest);
    }
    let closing = html.starts_with("</");
    let inner = &html[if closing { 2 } else { 1 }..];
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return after_oddity(html, out);
    }
    let name_end = inner.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inner.len());
    let name = inner[..name_end].to_ascii_lowercase();
    let (attributes, rest) = read_attributes(&inner[name_end..]);
    if DROPPED.contains(&name.as_str()) {
        return if closing { rest } else { after_end_of(&name, rest) };
    }
    if TAGS.contains(&name.as_str()) {
        write_tag(out, &name, closing, &attributes);
    }
    rest
}

/// `<!DOCTYPE …>` and `<?xml …>` go; any other `<` was meant as one.
fn after_oddity<'a>(html: &'a str, out: &mut String) -> &'a str {
    if html.starts_with("<!") || html.starts_with("<?") {
        return html.split_once('>').map_or("", |(_, rest)| rest);
    }
    out.push_str("&lt;");
    &html[1..]
}

/// Reads `name="value"` pairs up to the `>` that ends the tag, quotes respected.
fn read_attributes(mut rest: &str) -> (Vec<(String, &str)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (found, after);
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            (value, rest) = read_value(after.trim_start());
        }
        found.push((name, value));
    }
}

fn read_value(rest: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(after) = rest.strip_prefix(quote) {
            return after.split_once(quote).unwrap_or((after, ""));
        }
    }
    rest.split_at(rest.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(rest.len()))
}

fn after_end_of<'a>(name: &str, rest: &'a str) -> &'a str {
    let ends = |after: &str| after.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let Some((at, _)) = rest.match_indices("</").find(|(at, _)| ends(&rest[at + 2..])) else { return "" };
    rest[at..].split_once('>').map_or("", |(_, rest)| rest)
}

fn write_tag(out: &mut String, name: &str, closing: bool, attributes: &[(String, &str)]) {
    out.push_str(if closing { "</" } else { "<" });
    out.push_str(name);
    for (key, value) in attributes.iter().filter(|_| !closing) {
        let Some(value) = harmless_value(key, value) else { continue };
        out.push_str(&format!(" {key}=\"{}\"", value.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")));
    }
    out.push('>');
}

fn harmless_value(key: &str, value: &str) -> Option<String> {
    match key {
        "style" => Some(harmless_style(value)).filter(|style| !style.is_empty()),
        "href" => harmless_link(value).then(|| value.to_owned()),
        key => ATTRIBUTES.contains(&key).then(|| value.to_owned()),
    }
}

fn harmless_link(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    ["https://", "http://", "mailto:"].iter().any(|scheme| value.starts_with(scheme))
}

/// The declarations that set colours and measures, without those that name another place or cover the page.
fn harmless_style(style: &str) -> String {
    let harmless = |declaration: &&str| {
        let lower = declaration.to_ascii_lowercase();
        !["url", "@", "\\", "expression", "image", "position", "&", "/*"].iter().any(|word| lower.contains(word))
    };
    style.split(';').filter(harmless).collect::<Vec<_>>().join(";")
}

/// Character references stay as they are: none of them opens a tag.
fn push_text(out: &mut String, text: &str) {
    out.push_str(&text.replace('>', "&gt;"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_mail_needs_is_kept() {
        let mail = "<p style=\"color:#123\">Hej &amp; <a href='https://example.org/?a=1&amp;b=2'>välkommen</a><br/></p>";
        let kept = "<p style=\"color:#123\">Hej &amp; <a href=\"https://example.org/?a=1&amp;b=2\">välkommen</a><br></p>";
        assert_eq!(read_html(mail), kept);
    }

    /// S-218.
    #[test]
    fn what_runs_or_loads_is_gone() {
        for (given, expected) in [
            ("a<script>alert('<p>')</script>b", "ab"),
            ("a<SCRIPT src=x>b", "a"),
            ("<img src=x onerror=alert(1)>", ""),
            ("<p onclick=\"x\" id=a>t</p>", "<p>t</p>"),
            ("<a href=\"javascript:x\">t</a>", "<a>t</a>"),
            ("<a href=\" jAvaScript&colon;x\">t</a>", "<a>t</a>"),
            ("<p style=\"background:url(https://x)\">t", "<p>t"),
            ("<p style=\"background:u\\72l(x)\">t", "<p>t"),
            ("<p style=\"color:red;background:url(x);margin:0\">t", "<p style=\"color:red;margin:0\">t"),
            ("<p title='>'>t", "<p>t"),
            ("<link rel=stylesheet href=https://x><meta http-equiv=refresh content=0>t", "t"),
            ("<form action=x><input name=y><button>t</button></form>", "t"),
            ("<!-- <p> -->t<!DOCTYPE html><?x?>", "t"),
            ("<head><title>x</title></head><body>t</body>", "t"),
            ("1 < 2 > 0 </ p>", "1 &lt; 2 &gt; 0 &lt;/ p&gt;"),
            ("<p", "<p>"),
            ("<svg><p>x</svg>t", "t"),
        ] {
            assert_eq!(read_html(given), expected, "{given}");
        }
    }

    proptest! {
        /// S-218: whatever comes in, each `<` that goes out opens a listed tag, and cleaning again changes nothing.
        #[test]
        fn only_listed_tags_come_out(html in "(<|>|/|\"|'|=| |a|p|script|img|style|href|javascript:|&lt;|!--|-->|å){0,40}") {
            let out = read_html(&html);
            for piece in out.split('<').skip(1) {
                let name: String = piece.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
                prop_assert!(TAGS.contains(&name.as_str()), "{} from {}", out, html);
            }
            prop_assert_eq!(read_html(&out), out.clone());
        }
    }
}
