//! Joins the soft line breaks of `format=flowed` text, and keeps the depth of its quotes.
//!
//! In: the decoded text of a part that declares `format=flowed`, and whether it declares `DelSp=yes`. Out: the same text
//! with one line for each paragraph, quoted lines with one `>` for each level and a space. Never fails.
//! Sources: RFC 3676 §4.1 (flowing), §4.4 (space-stuffing), §4.5 (quotes), §4.3 (`-- ` is never joined); S-145.

/// Decodes flowed text (RFC 3676). Lines end in `\n`; a paragraph never spans two quote depths.
#[must_use]
pub fn decode(text: &str, delsp: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open: Option<usize> = None;
    for line in text.lines() {
        let (depth, line) = unquote(line);
        let signature = line == "-- ";
        if open.is_some_and(|at| at != depth || signature) {
            out.push('\n');
            open = None;
        }
        if open.is_none() {
            start_line(&mut out, depth, line);
        }
        let soft = line.ends_with(' ') && !signature;
        out.push_str(if soft && delsp { &line[..line.len() - 1] } else { line });
        if soft {
            open = Some(depth);
        } else {
            out.push('\n');
            open = None;
        }
    }
    if open.is_some() {
        out.push('\n');
    }
    out
}

/// The quote depth, counted before the stuffed space is taken off (RFC 3676 §4.5).
fn unquote(line: &str) -> (usize, &str) {
    let rest = line.trim_start_matches('>');
    (line.len() - rest.len(), rest.strip_prefix(' ').unwrap_or(rest))
}

fn start_line(out: &mut String, depth: usize, line: &str) {
    out.extend(std::iter::repeat_n('>', depth));
    if depth > 0 && !line.is_empty() {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn soft_breaks_are_joined_and_hard_ones_stay() {
        assert_eq!(decode("Jag kommer \ngärna den 25:e.\nMen sent.\n", false), "Jag kommer gärna den 25:e.\nMen sent.\n");
    }

    #[test]
    fn delsp_takes_the_trailing_space_away() {
        assert_eq!(decode("Donau \ndampf\n", true), "Donaudampf\n");
    }

    #[test]
    fn a_change_of_quote_depth_ends_a_paragraph() {
        assert_eq!(decode(">> a \n> b \nc\n", false), ">> a \n> b \nc\n");
        assert_eq!(decode("> one \n> two\n", false), "> one two\n");
    }

    #[test]
    fn the_signature_mark_is_never_joined() {
        assert_eq!(decode("Ja \n-- \nAnna\n", false), "Ja \n-- \nAnna\n");
    }

    #[test]
    fn a_stuffed_space_is_taken_off_once() {
        assert_eq!(decode(" >not a quote\n  two\n", false), ">not a quote\n two\n");
    }
}
