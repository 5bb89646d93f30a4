//! Markdown with handlebars in it becomes two handlebars templates: one that makes text, one that makes HTML.
//!
//! The Markdown is read once, before any contact's data is in it, so that nobody's name is read as Markdown. Handlebars
//! tags are carried through as words that Markdown leaves alone and are put back afterwards.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

/// The two templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Templates {
    pub(super) text: String,
    pub(super) html: String,
}

/// Makes both templates of one source.
pub(super) fn templates(source: &str) -> Templates {
    let (carried, tags) = carry(source);
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES;
    let mut as_html = String::new();
    html::push_html(&mut as_html, Parser::new_ext(&carried, options));
    let as_text = to_text(Parser::new_ext(&carried, options));
    Templates { text: put_back(&as_text, &tags), html: put_back(&unwrap_blocks(&as_html, &tags), &tags) }
}

fn word(n: usize) -> String {
    format!("zq{n}qz")
}

/// Takes the tags out: a word stands for each.
fn carry(source: &str) -> (String, Vec<String>) {
    let (mut out, mut tags, mut rest) = (String::with_capacity(source.len()), Vec::new(), source);
    while let Some(start) = rest.find("{{") {
        let Some(end) = rest.get(start..).and_then(|tag| tag.find("}}")).map(|n| start + n + 2) else { break };
        out.push_str(rest.get(..start).unwrap_or(""));
        out.push_str(&word(tags.len()));
        tags.push(rest.get(start..end).unwrap_or("").to_owned());
        rest = rest.get(end..).unwrap_or("");
    }
    out.push_str(rest);
    (out, tags)
}

fn put_back(text: &str, tags: &[String]) -> String {
    // From the last, so that zq1qz is not found in zq11qz; the closing letters see to that already.
    tags.iter().enumerate().rev().fold(text.to_owned(), |text, (n, tag)| text.replace(&word(n), tag))
}

/// A paragraph that holds nothing but block tags, as `{{#if company}}` on a line of its own, is no paragraph.
fn unwrap_blocks(html: &str, tags: &[String]) -> String {
    let is_block = |tag: &str| ["{{#", "{{/", "{{else", "{{^"].iter().any(|start| tag.starts_with(start));
    let block_words: Vec<String> = tags.iter().enumerate().filter(|(_, tag)| is_block(tag)).map(|(n, _)| word(n)).collect();
    html.split_inclusive('\n')
        .map(|line| {
            let inner = line.trim().strip_prefix("<p>").and_then(|l| l.strip_suffix("</p>"));
            match inner {
                Some(inner) if inner.split_whitespace().all(|w| block_words.iter().any(|b| b == w)) => inner.to_owned(),
                _ => line.to_owned(),
            }
        })
        .collect()
}

/// Plain text as a person would type it: paragraphs, `- ` lists, links as `text <address>`.
fn to_text<'a>(events: impl Iterator<Item = Event<'a>>) -> String {
    let mut page = Page::default();
    for event in events {
        page.take(event);
    }
    page.out.trim().to_owned() + "\n"
}

#[derive(Default)]
struct Page {
    out: String,
    /// The number that each open list has come to; `None` for one without numbers.
    lists: Vec<Option<u64>>,
    quotes: usize,
    /// The address and the start of the text of an open link.
    link: Option<(String, usize)>,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => self.write(&text),
            Event::SoftBreak | Event::HardBreak => self.line(),
            Event::Rule => {
                self.paragraph();
                self.write("* * *");
            }
            Event::Html(_) | Event::InlineHtml(_) | Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph if !self.at_item() => self.paragraph(),
            Tag::Heading { .. } | Tag::CodeBlock(_) | Tag::Table(_) => self.paragraph(),
            Tag::BlockQuote(_) => {
                self.paragraph();
                self.quotes += 1;
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.paragraph();
                }
                self.lists.push(*first);
            }
            Tag::Item => self.item(),
            Tag::TableRow | Tag::TableHead => self.line(),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.link = Some((dest_url.to_string(), self.out.len())),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::BlockQuote(_) => self.quotes = self.quotes.saturating_sub(1),
            TagEnd::List(_) => _ = self.lists.pop(),
            TagEnd::TableCell => self.write("  "),
            TagEnd::Link => {
                if let Some((address, start)) = self.link.take() {
                    let text = self.out.get(start..).unwrap_or("");
                    let bare = address.strip_prefix("mailto:").unwrap_or(&address);
                    if text != address && text != bare {
                        self.out.push_str(&format!(" <{bare}>"));
                    }
                }
            }
            _ => {}
        }
    }

    fn at_item(&self) -> bool {
        !self.lists.is_empty() && (self.out.ends_with("- ") || self.out.ends_with(". "))
    }

    fn item(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        let indent = "  ".repeat(self.lists.len().saturating_sub(1));
        let mark = match self.lists.last_mut() {
            Some(Some(n)) => {
                *n += 1;
                format!("{}. ", *n - 1)
            }
            _ => "- ".to_owned(),
        };
        self.out.push_str(&indent);
        self.out.push_str(&mark);
    }

    fn paragraph(&mut self) {
        if !self.out.is_empty() {
            self.out = self.out.trim_end_matches('\n').to_owned();
            self.out.push_str("\n\n");
        }
        self.out.push_str(&"> ".repeat(self.quotes));
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.out.push_str(&"> ".repeat(self.quotes));
        self.out.push_str(&"  ".repeat(self.lists.len()));
    }

    fn write(&mut self, text: &str) {
        self.out.push_str(text.trim_end_matches('\n'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_becomes_text_and_html() {
        let made = templates(
            "# Hej {{first_name}}!\n\nVill du **vara med**?\n\n- en kväll\n- [mer]({{url}}) om *det*\n\n1. ett\n2. två\n\n<https://example.org/>\n",
        );
        assert_eq!(
            made.text,
            "Hej {{first_name}}!\n\nVill du vara med?\n\n- en kväll\n- mer <{{url}}> om det\n\n1. ett\n2. två\n\nhttps://example.org/\n"
        );
        assert!(made.html.contains("<h1>Hej {{first_name}}!</h1>"), "{}", made.html);
        assert!(made.html.contains("<a href=\"{{url}}\">mer</a>"), "{}", made.html);
    }

    #[test]
    fn a_block_tag_on_its_own_line_makes_no_paragraph() {
        let made = templates("Hej\n\n{{#if company}}\n\nDu på {{company}}.\n\n{{/if}}\n\nSlut\n");
        assert_eq!(made.html, "<p>Hej</p>\n{{#if company}}<p>Du på {{company}}.</p>\n{{/if}}<p>Slut</p>\n");
    }

    #[test]
    fn twelve_tags_are_all_put_back() {
        let source: String = (0..12).map(|n| format!("{{{{f{n}}}}} ")).collect();
        assert_eq!(templates(&source).text.trim(), source.trim());
    }
}
