//! Template and contact become subject, text and HTML; a missing field is an error.
//!
//! In: a campaign file, a layout, what the sender says of itself; then one contact after another. Out: three texts.
//! Handlebars runs bounded (S-224): no file access, no helpers of ours, strict fields, no recursion among templates and
//! no deep nesting, because the engine overflows its stack on those. Two registries: only HTML is escaped.

use std::borrow::Cow;

use handlebars::{Context, Handlebars, RenderError, RenderErrorReason};
use serde_json::{Map, Value};

use super::layout::{Layout, opt_out};
use super::markdown;
use crate::model::campaign::{CampaignFile, Mistake};
use crate::model::contact::Person;

/// How deep blocks may stand in each other. The engine recurses; 500 still pass there.
const MAX_DEPTH: usize = 32;

/// A campaign that is ready to be rendered for anybody.
#[derive(Debug)]
pub struct Renderer {
    text: Handlebars<'static>,
    html: Handlebars<'static>,
    common: Map<String, Value>,
}

/// What a recipient is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// The text part, lines ending in `\n`.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// Why nothing could be rendered for a contact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A field that the contact lacks.
    #[error("asks for {{{{{field}}}}}, which {contact} lacks; add it or write {{{{#if {field}}}}}…{{{{/if}}}} around it")]
    Missing {
        /// The field.
        field: String,
        /// The contact's address.
        contact: String,
    },
    /// A field whose value would break a header (S-8).
    #[error("the subject for {contact} holds a control character; correct the contact's fields")]
    Control {
        /// The contact's address.
        contact: String,
    },
    /// Anything else the engine says.
    #[error("cannot be rendered for {contact}: {reason}")]
    Other {
        /// The contact's address.
        contact: String,
        /// The engine's words.
        reason: String,
    },
}

/// What a mail says of its sender, in templates under `organiser`.
#[derive(Clone, Debug)]
pub struct Organiser<'a> {
    /// The organiser's name.
    pub name: &'a str,
    /// The postal address; empty for none.
    pub postal_address: &'a str,
    /// The sender's address.
    pub address: &'a str,
}

impl Renderer {
    /// Compiles a campaign and its layout.
    ///
    /// # Errors
    /// The mistakes in its templates, placed in the campaign's source where they stand there.
    pub fn new(file: &CampaignFile, source: &str, layout: &Layout, organiser: &Organiser<'_>) -> Result<Self, Vec<Mistake>> {
        let mistakes = check_tags(file, source);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let body = markdown::templates(&file.body);
        let kind = file.kind.as_str();
        let part = |name: &str| layout.get(&format!("{kind}/{name}"));
        let text = registry(
            &[("subject", &file.subject), ("content", &body.text), ("footer.txt", layout.get("footer.txt")), ("body", part("body.txt"))],
            false,
        );
        let html = registry(&[("content", &body.html), ("footer.html", layout.get("footer.html")), ("body", part("body.html"))], true);
        let place = |fault: TemplateFault| {
            let at = match fault.template {
                "subject" => file.subject_at.clone(),
                _ => source.len().saturating_sub(file.body.len())..source.len(),
            };
            let line = fault.line.filter(|_| fault.template == "content").map_or(0, |line| file.body_line + line - 1);
            let message =
                format!("{} ({})", fault.reason, if fault.template == "content" { "the words below ---" } else { fault.template });
            vec![if line > 0 { Mistake::at_line(source, line, 1, message) } else { Mistake::at(source, at, message) }]
        };
        Ok(Self { text: text.map_err(place)?, html: html.map_err(place)?, common: common_fields(file, organiser) })
    }

    /// Renders for a contact. Pure: the same contact gives the same words.
    ///
    /// # Errors
    /// [`Fault`] names the field and the contact.
    pub fn render(&self, person: &Person) -> Result<Rendered, Fault> {
        let mut fields = person.fields();
        fields.extend(self.common.iter().map(|(name, value)| (name.clone(), value.clone())));
        let contact = || person.address.to_string();
        let fault = |error: RenderError| fault_of(&error, contact());
        // one for all three: the engine copies what it is given as a plain value
        let mut fields = Context::from(Value::Object(fields));
        let subject = self.text.render_with_context("subject", &fields).map_err(fault)?.trim().to_owned();
        if subject.chars().any(char::is_control) {
            return Err(Fault::Control { contact: contact() });
        }
        if let Some(fields) = fields.data_mut().as_object_mut() {
            fields.insert("subject".into(), Value::String(subject.clone()));
        }
        let text = without_gaps(self.text.render_with_context("body", &fields).map_err(fault)?);
        let html = self.html.render_with_context("body", &fields).map_err(fault)?;
        let html = if html.contains(EMPTY) { html.replace(EMPTY, "") } else { html };
        Ok(Rendered { subject, text, html })
    }
}

/// Renders a short text of svar's own, as a confirmation, in the text registry.
///
/// # Errors
/// The engine's words: a template of the organiser's may be wrong.
pub fn render_text(template: &str, data: &Value) -> Result<String, String> {
    if nesting(template) > MAX_DEPTH {
        return Err(format!("blocks stand more than {MAX_DEPTH} deep in each other"));
    }
    let mut engine = Handlebars::new();
    engine.register_escape_fn(handlebars::no_escape);
    engine.render_template(template, data).map_err(|error| error.to_string())
}

fn common_fields(file: &CampaignFile, organiser: &Organiser<'_>) -> Map<String, Value> {
    let value = serde_json::json!({
        "organiser": { "name": organiser.name, "address": organiser.address },
        "campaign": file.name,
        "language": file.language,
        "opt_out": opt_out(&file.language),
    });
    let mut fields = value.as_object().cloned().unwrap_or_default();
    if !organiser.postal_address.is_empty() {
        fields["organiser"]["postal_address"] = Value::String(organiser.postal_address.to_owned());
    }
    fields
}

/// A paragraph whose condition did not hold.
const EMPTY: &str = "<p></p>\n";

/// A block whose condition did not hold leaves its blank lines behind: one between paragraphs is enough.
fn without_gaps(text: String) -> String {
    if !text.split_inclusive('\n').zip(text.split_inclusive('\n').skip(1)).any(|(a, b)| a.trim().is_empty() && b.trim().is_empty()) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.split_inclusive('\n') {
        blank = if line.trim().is_empty() { blank + 1 } else { 0 };
        if blank < 2 {
            out.push_str(line);
        }
    }
    out
}

struct TemplateFault {
    template: &'static str,
    line: Option<usize>,
    reason: String,
}

fn registry(templates: &[(&'static str, &str)], escape: bool) -> Result<Handlebars<'static>, TemplateFault> {
    let mut engine = Handlebars::new();
    engine.set_strict_mode(true);
    if !escape {
        engine.register_escape_fn(handlebars::no_escape);
    }
    for (name, template) in templates {
        let fault = |line, reason| TemplateFault { template: name, line, reason };
        if nesting(template) > MAX_DEPTH {
            return Err(fault(None, format!("blocks stand more than {MAX_DEPTH} deep in each other; make it flatter")));
        }
        // Only the body calls others, and those call nobody: so no template can call itself.
        if *name != "body" && (template.contains("{{>") || template.contains("{{#>")) {
            return Err(fault(None, "calls another template with {{> …}}; only body may do that".to_owned()));
        }
        let whole = if *name == "body" { written_out(template, templates) } else { Cow::Borrowed(*template) };
        engine.register_template_string(name, whole).map_err(|error| {
            let line = error.pos().map(|(line, _)| line);
            fault(line, error.reason().to_string())
        })?;
    }
    Ok(engine)
}

/// A body with those parts written out that it calls on a line of their own: the engine copies all fields at each call.
fn written_out<'a>(body: &'a str, parts: &[(&str, &str)]) -> Cow<'a, str> {
    let part_of = |line: &str| {
        let name = line.strip_suffix('\n')?.strip_prefix("{{>")?.strip_suffix("}}")?.trim();
        parts.iter().find(|(part, _)| *part == name).map(|(_, text)| *text).filter(|text| may_be_written_out(text))
    };
    // within these a line may not be a call, or take white space beside it
    let is_special = ["~", "{{{{", "{{#*", "{{!"].iter().any(|sign| body.contains(sign));
    if is_special || body.split_inclusive('\n').all(|line| part_of(line).is_none()) {
        return Cow::Borrowed(body);
    }
    Cow::Owned(body.split_inclusive('\n').map(|line| part_of(line).unwrap_or(line)).collect())
}

/// A block tag that ends a part without a line break takes its line with it; within a body it would not.
fn may_be_written_out(part: &str) -> bool {
    let last = part.rsplit('\n').next().unwrap_or_default();
    !part.contains('~') && !["{{#", "{{/", "{{^", "{{!", "{{else"].iter().any(|sign| last.contains(sign))
}

/// The deepest nesting of block tags, counted without recursion.
fn nesting(template: &str) -> usize {
    let (mut depth, mut deepest, mut rest) = (0_usize, 0_usize, template);
    while let Some(at) = rest.find("{{") {
        rest = rest.get(at + 2..).unwrap_or("");
        let tag = rest.trim_start_matches(['~', '{']);
        if tag.starts_with(['#', '^']) {
            depth += 1;
            deepest = deepest.max(depth);
        } else if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
        }
    }
    // Parentheses nest as well: sub-expressions.
    deepest.max(template.split("{{").map(|tag| tag.chars().take_while(|c| *c != '}').filter(|c| *c == '(').count()).max().unwrap_or(0))
}

/// Blocks that the engine knows.
const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];
/// Functions that the engine knows.
const FUNCTIONS: [&str; 13] = ["lookup", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not", "len", "raw", "log"];

/// Mistakes in the campaign's own tags, where they stand. What the engine says of them it says of templates made of the
/// Markdown, whose lines are others.
fn check_tags(file: &CampaignFile, source: &str) -> Vec<Mistake> {
    let body_at = source.len().saturating_sub(file.body.len());
    let mut mistakes = Vec::new();
    for (text, base) in [(file.body.as_str(), body_at), (file.subject.as_str(), file.subject_at.start + 1)] {
        let place = |at: usize, tag: &str| base + at..base + at + tag.len();
        let mut open: Vec<(usize, &str)> = Vec::new();
        for (at, tag) in tags(text) {
            if let Some(message) = mistake_of(tag, at, &mut open) {
                mistakes.push(Mistake::at(source, place(at, tag), message));
            }
        }
        for (at, tag) in open {
            mistakes.push(Mistake::at(
                source,
                place(at, tag),
                format!("{tag} is never closed; write {{{{/{}}}}} where it ends", name_of(tag)),
            ));
        }
    }
    mistakes.sort_by_key(|mistake| mistake.at.start);
    mistakes
}

/// What is wrong with one tag, given the blocks that are open.
fn mistake_of<'a>(tag: &'a str, at: usize, open: &mut Vec<(usize, &'a str)>) -> Option<String> {
    let name = name_of(tag);
    let words = tag.trim_matches(['{', '}', '~']).split_whitespace().count();
    if tag.starts_with("{{{") || tag.starts_with("{{&") {
        return Some("three braces put unescaped text into the HTML; write {{…}}".to_owned());
    }
    match tag.trim_start_matches(['{', '~']).chars().next() {
        _ if !tag.ends_with("}}") => Some("this tag has no end; write }} after it".to_owned()),
        Some('>') => Some("a campaign calls no templates; its words go into the layout's {{> content}}".to_owned()),
        Some('!') => None,
        Some('#') if !BLOCKS.contains(&name) => Some(format!("there is no block {{{{#{name}}}}}; there are {}", BLOCKS.join(", "))),
        Some('#') => {
            open.push((at, tag));
            (words < 2).then(|| format!("{tag} asks of nothing; write a field, {{{{#{name} first_name}}}}"))
        }
        Some('/') => match open.pop() {
            Some((_, begun)) if name_of(begun) == name => None,
            Some((_, begun)) => Some(format!("{tag} stands where {begun} must be closed first; write {{{{/{}}}}}", name_of(begun))),
            None => Some(format!("{tag} closes nothing that is open; take it out")),
        },
        _ if name == "else" || name.is_empty() => None,
        _ if words > 1 && !FUNCTIONS.contains(&name) => {
            Some(format!("{{{{{name}}}}} takes no words after it; a field is one word, as {{{{first_name}}}}"))
        }
        _ => None,
    }
}

/// The first word of a tag, without its sign.
fn name_of(tag: &str) -> &str {
    tag.trim_matches(['{', '}', '~', '#', '/', '^', '&', '>', ' ']).split_whitespace().next().unwrap_or_default()
}

/// The tags of a template and where they begin.
pub(super) fn tags(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("{{").filter(|(at, _)| !text.get(..*at).is_some_and(|before| before.ends_with('{'))).map(|(at, _)| {
        let rest = text.get(at..).unwrap_or("");
        (at, rest.find("}}").and_then(|end| rest.get(..end + 2)).unwrap_or(rest))
    })
}

fn fault_of(error: &RenderError, contact: String) -> Fault {
    match error.reason() {
        RenderErrorReason::MissingVariable(Some(field)) => Fault::Missing { field: field.trim_start_matches("this.").to_owned(), contact },
        reason => Fault::Other { contact, reason: reason.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::Address;

    const ORGANISER: Organiser<'_> = Organiser { name: "Monica <Berg>", postal_address: "", address: "monica@example.org" };

    fn renderer(subject: &str, body: &str) -> Result<Renderer, Vec<Mistake>> {
        let source = format!("---\nname: n\nkind: invitation\nlist: l\nsubject: \"{subject}\"\nlanguage: sv\nsend: now\n---\n{body}\n");
        Renderer::new(&CampaignFile::parse(&source).unwrap(), &source, &Layout::own(), &ORGANISER)
    }

    /// Each mistake is named where it stands, not where the engine met it in what the Markdown became.
    #[test]
    fn a_wrong_tag_is_named_with_its_line_and_column() {
        for (body, line, column, part) in [
            ("Hej!\n\nDu {{#bad x}}å{{/bad}}", 11, 4, "no block {{#bad}}"),
            ("Hej!\n\n{{#if company}}\nDu\n\nHej då", 11, 1, "never closed"),
            ("Hej {{first_name}}\nöl {{#if}}x{{/if}}", 10, 4, "asks of nothing"),
            ("Hej\n{{/if}}", 10, 1, "closes nothing"),
            ("{{#if a}}\n{{#unless b}}\n{{/if}}\n{{/unless}}", 11, 1, "must be closed first"),
            ("Hej {{first_name", 9, 5, "no end"),
            ("Hej {{first name}}", 9, 5, "a field is one word"),
        ] {
            let mistake = renderer("s", body).unwrap_err().remove(0);
            assert_eq!((mistake.line, mistake.column), (line, column), "{body}: {}", mistake.message);
            assert!(mistake.message.contains(part), "{}", mistake.message);
        }
        assert!(
            renderer("s", "{{#each things}}{{@index}} {{this}}{{else}}-{{/each}}{{#if (eq first_name \"Eva\")}}{{! a note }}{{/if}}")
                .is_ok()
        );
    }

    fn eva() -> Person {
        Person { first_name: "Eva <b> *O'Brien*".into(), ..Person::new(Address::parse("eva@example.org").unwrap()) }
    }

    #[test]
    fn a_name_is_neither_markdown_nor_html_and_text_is_not_escaped() {
        let rendered = renderer("{{first_name}}, med?", "Hej {{first_name}}!").unwrap().render(&eva()).unwrap();
        assert_eq!(rendered.subject, "Eva <b> *O'Brien*, med?");
        assert!(rendered.text.starts_with("Hej Eva <b> *O'Brien*!\n\n-- \nMonica <Berg>\n"), "{}", rendered.text);
        assert!(rendered.html.contains("<p>Hej Eva &lt;b&gt; *O&#x27;Brien*!</p>"), "{}", rendered.html);
        assert!(rendered.text.contains("AVREGISTRERA") && rendered.html.contains("AVREGISTRERA"));
    }

    #[test]
    fn a_missing_field_names_field_and_contact_and_may_be_asked_for_first() {
        let fault = renderer("Hej", "Du på {{company}}!").unwrap().render(&eva()).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "asks for {{company}}, which eva@example.org lacks; add it or write {{#if company}}…{{/if}} around it"
        );
        let rendered = renderer("Hej", "Hej\n\n{{#if company}}Du på {{company}}!{{/if}}\n\nSlut").unwrap().render(&eva()).unwrap();
        assert!(rendered.text.starts_with("Hej\n\nSlut\n\n-- \n") && !rendered.html.contains("<p></p>"), "{rendered:?}");
    }

    /// Written out or called, a part says the same.
    #[test]
    fn parts_are_written_out_as_the_engine_calls_them() {
        let (parts, bodies) = (
            [
                "a {{first_name}}",
                "a\n",
                "\n\na\n\n",
                "{{#if first_name}}\nx\n{{/if}}\n",
                "{{#if first_name}}\nx\n{{/if}}",
                "x\n{{! a note }}",
                "x {{#if no}}y{{else}}z{{/if}}",
                "{{#if no}}\ny\n{{/if}}\n{{first_name}}",
                "x {{~first_name~}}",
                "x {{first_name~}}\n",
                "{{~first_name}}\ny\n",
                "",
            ],
            [
                "{{> part}}\n",
                "<\n{{> part}}\n>\n",
                "{{>part}}",
                "{{> part}}\n{{> part}}\n",
                "-{{> part}}\n-",
                "  {{> part}}\n-",
                "{{> part}}\r\n-",
            ],
        );
        let mut written = 0;
        for part in parts {
            for body in bodies {
                let mut called = Handlebars::new();
                called.set_strict_mode(true);
                called.register_template_string("part", part).unwrap();
                called.register_template_string("body", body).unwrap();
                let ours = registry(&[("part", part), ("body", body)], true).unwrap_or_else(|fault| panic!("{}", fault.reason));
                let fields = serde_json::json!({ "first_name": "<Eva>" });
                assert_eq!(ours.render("body", &fields).unwrap(), called.render("body", &fields).unwrap(), "{part:?} in {body:?}");
                written += usize::from(written_out(body, &[("part", part)]) != body);
            }
        }
        assert!(written >= 15, "{written}");
    }

    /// S-8.
    #[test]
    fn a_line_break_in_a_subject_is_an_error() {
        let person = Person { first_name: "Eva\r\nBcc: x@example.org".into(), ..eva() };
        assert!(matches!(renderer("{{first_name}}", "Hej").unwrap().render(&person), Err(Fault::Control { .. })));
    }

    #[test]
    fn a_template_error_stands_at_its_line() {
        let mistakes = renderer("Hej", "ett\n\ntvå {{#if}\n").unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].line >= 9, "{mistakes:?}");
        let mistakes = renderer("Hej", "ett {{{first_name}}}").unwrap_err();
        assert_eq!((mistakes[0].line, mistakes[0].column), (9, 5));
    }

    /// S-224: what overflows the engine's stack never reaches it.
    #[test]
    fn deep_nesting_and_recursion_are_refused() {
        let deep = format!("{}x{}", "{{#if a}}".repeat(5000), "{{/if}}".repeat(5000));
        assert!(renderer("Hej", &deep).unwrap_err()[0].message.contains("deep"));
        assert!(renderer("Hej", "{{> content}}").unwrap_err()[0].message.contains("templates"));
        assert!(render_text(&deep, &Value::Null).is_err());
    }
}
