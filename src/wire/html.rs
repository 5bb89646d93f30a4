//! HTML bodies as text, with what is quoted marked by `>`, so that one reader serves both kinds of mail.
//!
//! In: a decoded text/html part. Out: text, lines ending in `\n`. Quotes are what mail programs make recognisable:
//! blockquote, Gmail's attribution, Outlook's header block (everything after it is the original), Apple's, Yahoo's and
//! Thunderbird's marks. Signatures they mark begin with a line `-- `. One pass, nothing is fetched or executed (S-145,
//! S-146, S-230). No standard exists for the marks; they are seen in mail.

use mail_parser::decoders::html::add_html_token;

/// Elements nested deeper than this are read as if they were not there.
const MAX_DEPTH: usize = 500;
/// Quotes deeper than this are all the same.
const MAX_QUOTES: usize = 20;

/// Turns HTML into text. Any input gives a text, in linear time.
#[must_use]
pub fn to_text(html: &str) -> String {
    let mut walk = Walk::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        walk.text(&rest[..at]);
        rest = walk.markup(&rest[at..]);
    }
    walk.text(rest);
    walk.end_line();
    walk.out
}

/// What an element is to the reader.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Plain,
    Quote,
    Preformatted,
}

#[derive(Default)]
struct Walk {
    out: String,
    line: String,
    open: Vec<(String, Role)>,
    quotes: usize,
    preformatted: usize,
    /// An original began that nothing closes: the rest of the message is quoted.
    rest_quoted: bool,
}

impl Walk {
    /// Reads the tag or comment that `rest` begins with and gives back what stands after it.
    fn markup<'a>(&mut self, rest: &'a str) -> &'a str {
        if let Some(comment) = rest.strip_prefix("<!--") {
            return comment.find("-->").map_or("", |end| &comment[end + 3..]);
        }
        let starts_tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        if !starts_tag {
            self.text("<");
            return &rest[1..];
        }
        let Some(end) = tag_end(rest) else { return "" };
        let tag = &rest[1..end];
        let rest = &rest[end + 1..];
        let name = tag_name(tag);
        if let Some(name) = name.strip_prefix('/') {
            self.close(name);
            return rest;
        }
        if matches!(name.as_str(), "script" | "style" | "head" | "title") {
            return skip_element(rest, &name);
        }
        self.open(&name, tag);
        rest
    }

    fn open(&mut self, name: &str, tag: &str) {
        if is_block(name) {
            self.end_line();
        }
        match name {
            "br" => return self.break_line(),
            "p" | "h1" | "h2" | "h3" | "ul" | "ol" | "table" => self.blank_line(),
            "li" => self.line.push_str("- "),
            "td" | "th" => self.line.push(' '),
            _ => {}
        }
        let marks = Marks::of(tag);
        if marks.begins_original(name) {
            self.end_line();
            self.rest_quoted = true;
        }
        if marks.is_signature() {
            self.end_line();
            self.line.push_str("-- ");
            self.end_line_as_is();
        }
        if is_void(name) || tag.ends_with('/') || self.open.len() >= MAX_DEPTH {
            return;
        }
        let role = marks.role(name);
        if role == Role::Quote {
            self.end_line();
            self.quotes += 1;
        }
        self.preformatted += usize::from(role == Role::Preformatted);
        self.open.push((name.to_owned(), role));
    }

    /// Closes the innermost element of that name and what was left open within it. Looks back only so far, so that
    /// many stray end tags cost no more than that each.
    fn close(&mut self, name: &str) {
        let floor = self.open.len().saturating_sub(50);
        let Some(at) = self.open[floor..].iter().rposition(|(n, _)| n == name).map(|at| at + floor) else { return };
        if is_block(name) || self.open[at..].iter().any(|(_, role)| *role == Role::Quote) {
            self.end_line();
        }
        for (_, role) in self.open.drain(at..) {
            match role {
                Role::Quote => self.quotes -= 1,
                Role::Preformatted => self.preformatted -= 1,
                Role::Plain => {}
            }
        }
        if name == "p" {
            self.blank_line();
        }
    }

    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find('&') {
            self.words(&rest[..at]);
            rest = &rest[at..];
            let end = rest.bytes().take(12).position(|b| b == b';');
            let (entity, after) = end.map_or((&rest[..1], &rest[1..]), |end| (&rest[..=end], &rest[end + 1..]));
            let mut decoded = String::new();
            add_html_token(&mut decoded, entity.as_bytes(), false);
            self.line.push_str(&decoded.replace(['\u{a0}', '\u{200b}'], " "));
            rest = after;
        }
        self.words(rest);
    }

    fn words(&mut self, text: &str) {
        if self.preformatted > 0 {
            for (at, line) in text.split('\n').enumerate() {
                if at > 0 {
                    self.break_line();
                }
                self.line.push_str(line.trim_end_matches('\r'));
            }
            return;
        }
        for c in text.chars() {
            let c = if c.is_whitespace() { ' ' } else { c };
            if c != ' ' || !(self.line.is_empty() || self.line.ends_with(' ')) {
                self.line.push(c);
            }
        }
    }

    fn end_line(&mut self) {
        if self.line.trim().is_empty() {
            self.line.clear();
        } else {
            self.break_line();
        }
    }

    fn break_line(&mut self) {
        self.line.truncate(self.line.trim_end().len());
        self.end_line_as_is();
    }

    fn end_line_as_is(&mut self) {
        let depth = (self.quotes + usize::from(self.rest_quoted)).min(MAX_QUOTES);
        self.out.extend(std::iter::repeat_n('>', depth));
        if depth > 0 {
            self.out.push(' ');
        }
        self.out.push_str(self.line.trim_start_matches(' '));
        self.out.push('\n');
        self.line.clear();
    }

    fn blank_line(&mut self) {
        self.end_line();
        let last = self.out.trim_end_matches('\n');
        if !self.out.is_empty() && self.out.len() < last.len() + 2 && !last.ends_with("> ") {
            self.end_line_as_is();
        }
    }
}

/// What a tag's attributes say, in lower case.
struct Marks {
    class: String,
    id: String,
    name: String,
    style: String,
}

impl Marks {
    fn of(tag: &str) -> Self {
        let of = |wanted| attribute(tag, wanted).to_ascii_lowercase();
        let style = of("style").chars().filter(|c| !c.is_whitespace()).collect();
        Self { class: of("class"), id: of("id"), name: of("name"), style }
    }

    fn role(&self, name: &str) -> Role {
        let quotes = ["gmail_attr", "moz-cite-prefix", "yahoo_quoted", "protonmail_quote", "gmx_quote", "reference-message"];
        if name == "pre" {
            Role::Preformatted
        } else if name == "blockquote" || self.name == "quote" || quotes.iter().any(|q| self.class.contains(q) || self.id.contains(q)) {
            Role::Quote
        } else {
            Role::Plain
        }
    }

    /// Outlook: a line drawn above "From: … Sent: …", or the box of Outlook on the web.
    fn begins_original(&self, name: &str) -> bool {
        let line_above = self.style.contains("border-top:solid") || self.style.contains("border:none;border-top");
        (name == "div" && (line_above || self.id.ends_with("divrplyfwdmsg"))) || (name == "hr" && self.id.ends_with("stopspelling"))
    }

    fn is_signature(&self) -> bool {
        let marks = ["gmail_signature", "moz-signature", "protonmail_signature_block", "applemailsignature", "outlook-mobile-signature"];
        self.id == "signature" || marks.iter().any(|m| self.class.contains(m) || self.id.contains(m))
    }
}

/// Where the tag ends; a `>` within quotes does not end it, unless the quote is never closed nearby.
fn tag_end(rest: &str) -> Option<usize> {
    let mut quote = None;
    for (at, octet) in rest.bytes().enumerate().take(4000) {
        match (octet, quote) {
            (b'>', None) => return Some(at),
            (b'"' | b'\'', None) => quote = Some(octet),
            (_, Some(q)) if q == octet => quote = None,
            _ => {}
        }
    }
    rest.find('>')
}

fn tag_name(tag: &str) -> String {
    let closing = tag.starts_with('/');
    let name = tag.trim_start_matches('/');
    let end = name.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(name.len());
    format!("{}{}", if closing { "/" } else { "" }, name[..end].to_ascii_lowercase())
}

/// The value of an attribute, quoted or not; empty where there is none.
fn attribute<'a>(tag: &'a str, wanted: &str) -> &'a str {
    let mut rest = tag.split_once(char::is_whitespace).map_or("", |(_, r)| r);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.rsplit(char::is_whitespace).next().unwrap_or("");
        let after = after.trim_start();
        let (value, next) = match after.chars().next() {
            Some(q @ ('"' | '\'')) => after[1..].split_once(q).unwrap_or((&after[1..], "")),
            _ => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return value;
        }
        rest = next;
    }
    ""
}

fn skip_element<'a>(rest: &'a str, name: &str) -> &'a str {
    let mut from = 0;
    while let Some(at) = rest[from..].find("</").map(|at| at + from) {
        let after = &rest[at + 2..];
        if after.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)) {
            return after.find('>').map_or("", |end| &after[end + 1..]);
        }
        from = at + 2;
    }
    ""
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "ul"
            | "ol"
            | "li"
            | "table"
            | "tr"
            | "blockquote"
            | "pre"
            | "hr"
            | "body"
            | "section"
            | "header"
            | "footer"
            | "article"
            | "center"
            | "address"
            | "dl"
            | "dt"
            | "dd"
    )
}

fn is_void(name: &str) -> bool {
    matches!(name, "br" | "hr" | "img" | "meta" | "link" | "input" | "wbr" | "!doctype" | "base" | "col" | "area")
        || name.starts_with(['!', '?'])
}

#[cfg(test)]
mod tests {
    use super::to_text;
    use proptest::prelude::*;

    #[test]
    fn paragraphs_and_breaks_become_lines() {
        assert_eq!(to_text("<p>Hej &amp; hå</p><p>Ja<br>tack</p>").trim(), "Hej & hå\n\nJa\ntack");
        assert_eq!(to_text("<div>a</div><div><br></div><div>b</div>"), "a\n\nb\n");
        assert_eq!(to_text("<style>p {}</style><script>x()</script>1 < 2"), "1 < 2\n");
    }

    /// S-146.
    #[test]
    fn what_mail_programs_quote_is_marked() {
        for quote in [
            "<blockquote type=\"cite\">old</blockquote>",
            "<div class=\"gmail_quote\"><div class=\"gmail_attr\">On x wrote</div><blockquote class=\"gmail_quote\">old</blockquote></div>",
            "<div style='border:none;border-top:solid #E1E1E1 1.0pt'><p>From: x</p></div><p>old</p>",
            "<div id=\"divRplyFwdMsg\">From: x</div><div>old</div>",
            "<div name=\"quote\">old</div>",
            "<hr tabindex=\"-1\"><div id=\"x_divRplyFwdMsg\">From: x</div><div>old</div>",
        ] {
            let text = to_text(&format!("<div>Ja!</div>{quote}"));
            let own: Vec<&str> = text.lines().filter(|l| !l.starts_with('>') && !l.is_empty()).collect();
            assert_eq!(own, ["Ja!"], "{text}");
        }
    }

    #[test]
    fn an_answer_between_quotes_stays_unmarked() {
        let text = to_text("<blockquote>Kommer du?</blockquote>Ja!<blockquote>Med vem?</blockquote>Eva");
        assert_eq!(text, "> Kommer du?\nJa!\n> Med vem?\nEva\n");
    }

    #[test]
    fn a_marked_signature_begins_with_its_mark() {
        assert_eq!(to_text("Ja<div class=\"gmail_signature\">Eva<br>Chef</div>"), "Ja\n-- \nEva\nChef\n");
    }

    proptest! {
        #[test]
        fn any_markup_gives_a_text(html in "[<>/a-z \"'=&;#!-]{0,300}") {
            let _ = to_text(&html);
        }
    }

    #[test]
    fn deep_and_unclosed_markup_takes_no_time() {
        let _ = to_text(&"<div><blockquote>".repeat(20_000));
        let _ = to_text(&"</p>".repeat(100_000));
        let _ = to_text(&"<a '".repeat(100_000));
        let _ = to_text(&"<!--".repeat(100_000));
    }
}
