use proptest::prelude::*;

use super::*;

fn people(text: impl AsRef<[u8]>) -> Vec<(usize, Person)> {
    let text = text.as_ref();
    let people = read(text).unwrap();
    assert_eq!(people.iter().count(), people.count);
    people.iter().collect()
}

fn only(text: impl AsRef<[u8]>) -> Person {
    let mut people = people(text);
    assert_eq!(people.len(), 1);
    people.remove(0).1
}

fn skipped(text: &str) -> Vec<(usize, String)> {
    read(text.as_bytes()).unwrap().skipped.into_iter().map(|remark| (remark.line, remark.reason)).collect()
}

fn columns(header: &str) -> Vec<String> {
    read(header.as_bytes()).unwrap().columns.into_iter().map(|(_, name)| name).collect()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
}

const SHEET: &str = "E-post;Förnamn;Efternamn;Språk;Företag\r\neva@example.org;Åsa;Öberg;svenska;Ängens Väg\r\n";

#[test]
fn every_encoding_gives_the_same_person() {
    let (windows, _, _) = encoding_rs::WINDOWS_1252.encode(SHEET);
    let files: [(&str, Vec<u8>); 5] = [
        ("utf-8", SHEET.into()),
        ("utf-8 with a mark", format!("\u{feff}{SHEET}").into()),
        ("utf-16 le", utf16(SHEET, u16::to_le_bytes)),
        ("utf-16 be", utf16(SHEET, u16::to_be_bytes)),
        ("windows-1252", windows.into_owned()),
    ];
    for (encoding, bytes) in files {
        let person = only(&bytes);
        assert_eq!((person.first_name.as_str(), person.last_name.as_str()), ("Åsa", "Öberg"), "{encoding}");
        assert_eq!((person.language.as_str(), person.attributes["företag"].as_str()), ("sv", "Ängens Väg"), "{encoding}");
    }
    assert_eq!(only(b"email,name\na@b.org,\x80uro").first_name, "€uro");
}

#[test]
fn utf_8_is_not_copied() {
    assert!(matches!(read(SHEET.as_bytes()).unwrap().text, Cow::Borrowed(_)));
}

#[test]
fn a_file_that_cannot_be_trusted_is_an_error_that_names_the_line() {
    let utf16_cut = &utf16("email,name\na@b.org,x", u16::to_le_bytes)[..41];
    let files: &[(&[u8], Error)] = &[
        (b"", Error::Empty),
        (b"\xEF\xBB\xBF", Error::Empty),
        (b"\xFF\xFE", Error::Empty),
        (b" \r\n\r\n\t\n", Error::Empty),
        (b"sep=;", Error::Empty),
        (b"sep=;\r\n\r\n", Error::Empty),
        (b";;;\n", Error::Empty),
        (b"PK\x03\x04\x14\0\0\0", Error::Workbook),
        (b"email,name\na@b.org,\xC3\x85sa\nb@b.org,\xD6berg\n", Error::Encoding { line: 3 }),
        (b"email,name\ra@b.org,\xD6berg\rb@b.org,\xC3\x85sa\r", Error::Encoding { line: 2 }),
        (b"\xEF\xBB\xBFemail,name\r\na@b.org,\xD6berg\r\n", Error::Encoding { line: 2 }),
        (b"email,name\r\n\r\na@b.org,\x81\r\n", Error::Encoding { line: 3 }),
        (b"email,name\na@b.org,E\0va\n", Error::Nul { line: 2 }),
        (b"e\0m\0a\0i\0l\0", Error::Nul { line: 1 }),
        (b"email,name\na@b.org,\xE5\0va\n", Error::Nul { line: 2 }),
        (utf16_cut, Error::Encoding { line: 2 }),
        (b"email,name\na@b.org,Eva\nb@b.org,\"Bo\nc@b.org,Cia\n", Error::OpenQuote { line: 3 }),
        (b"email,note,name\na@b.org,\"one\ntwo\",\"Eva\n", Error::OpenQuote { line: 3 }),
        (b"email,name\na@b.org,\"", Error::OpenQuote { line: 2 }),
        (b"email,\"name\na@b.org,Eva\n", Error::OpenQuote { line: 1 }),
        (b"\neva@example.org;Eva\n", Error::NoHeadings { line: 2 }),
        (b"Namn;Telefon\nEva;1\n", Error::NoAddress { found: "\"Namn\", \"Telefon\"".into() }),
    ];
    for (bytes, expected) in files {
        assert_eq!(&read(bytes).unwrap_err(), expected, "{}", String::from_utf8_lossy(bytes));
    }
    let error = read(b"Namn;Telefon\nEva;1\n").unwrap_err().to_string();
    assert!(error.contains("\"Telefon\"") && error.contains("\"e-post\""), "{error}");
    assert!(Error::Encoding { line: 3 }.to_string().ends_with("save it as UTF-8"));
}

#[test]
fn the_delimiter_is_found_outside_quotes() {
    for header in [
        "email,first name\nA@B",
        "email;first name\nA@B",
        "email\tfirst name\nA@B",
        "\"email\";\"first name\"\nA@B",
        "sep=;\r\nemail;first name\nA@B",
        "SEP=\t\nemail\tfirst name\nA@B",
        "sep=|\nemail|first name\nA@B",
        "\"sep=;\"\nemail;first name\nA@B",
    ] {
        let delimiter = header.split("first").next().unwrap().trim_end_matches('"').chars().last().unwrap();
        let text = header.replace("A@B", &format!("a@b.org{delimiter}Eva"));
        assert_eq!(only(&text).first_name, "Eva", "{text:?}");
    }
    assert_eq!(only("\"a,b,c\";email;\"d\te\tf\"\n1;a@b.org;2").attributes.len(), 2);
    assert_eq!(only("namn (för, efter, titel);email\n1;a@b.org").address.as_str(), "a@b.org");
    assert_eq!(only("email\na@b.org\n").address.as_str(), "a@b.org");
}

#[test]
fn quoted_cells_hold_delimiters_marks_and_line_breaks() {
    let person = only("email,name,note\na@b.org,\"Berg, \"\"Eva\"\"\",\"one\r\n two\n\nthree, four\"\n");
    assert_eq!((person.first_name.as_str(), person.last_name.as_str()), ("\"Eva\"", "Berg"));
    assert_eq!(person.attributes["note"], "one two three, four");
    assert_eq!(only("email,nick\na@b.org,\"Kalle\" Anka\n").attributes["nick"], "Kalle Anka");
}

#[test]
fn lines_are_those_of_an_editor() {
    for end in ["\n", "\r\n", "\r"] {
        for (text, expected) in [
            ("email|a@b.org|c@b.org", vec![2, 3]),
            ("||email||a@b.org|||c@b.org||", vec![5, 8]),
            ("sep=;|email|a@b.org", vec![3]),
            ("email,note|a@b.org,\"1|2|3\"|c@b.org,x|d@b.org,", vec![2, 5, 6]),
            ("email,\"a|b\"|a@b.org,x|,|c@b.org,x", vec![3, 5]),
        ] {
            let text = text.replace('|', end);
            let lines: Vec<usize> = people(&text).into_iter().map(|(line, _)| line).collect();
            assert_eq!(lines, expected, "{text:?}");
        }
    }
}

#[test]
fn headings_are_understood_in_swedish_and_english() {
    for (field, headings) in [
        ("address", "e-post epost e-postadress E-POST mejl mejladress email e-mail E_Mail mail address email-address Epostadress:"),
        ("first_name", "förnamn Förnamn FORNAMN first-name First_Name given-name firstname"),
        ("last_name", "efternamn last-name Last_Name lastname surname family-name"),
        ("name", "namn Name full-name"),
        ("language", "språk Spra\u{30a}k SPRAK language lang"),
    ] {
        for heading in headings.split(' ') {
            for heading in [heading.to_owned(), heading.replace('-', " ")] {
                let header = if field == "address" { heading.clone() } else { format!("email,{heading}") };
                assert_eq!(columns(&header).last().unwrap(), field, "{heading}");
            }
        }
    }
}

#[test]
fn what_is_not_understood_is_an_attribute_under_a_clean_name() {
    for (header, expected) in [
        ("email,Företag AB!,Antal (st)", vec!["address", "företag_ab", "antal_st"]),
        ("email,Campaign,Opt out,organiser,subject", vec!["address", "campaign_", "opt_out_", "organiser_", "subject_"]),
        ("Address,E-mail", vec!["address_", "address"]),
        ("email,mail,e-post", vec!["address", "mail", "e_post"]),
        ("mail,email", vec!["address", "email_"]),
        ("email,Namn,Förnamn,Name", vec!["address", "namn", "first_name", "name_"]),
        ("email,x,X,,x ", vec!["address", "x", "x_2", "column_4", "x_3"]),
        ("email,if,2024", vec!["address", "if_", "2024_"]),
    ] {
        assert_eq!(columns(header), expected, "{header}");
    }
    let people = read(b"E-post ;\"F\xC3\xB6retag\nAB\"").unwrap();
    assert_eq!(people.columns, [("E-post".into(), "address".into()), ("Företag AB".into(), "företag_ab".into())]);
    assert!(only("email,x\na@b.org,\n").attributes.is_empty());
}

#[test]
fn a_whole_name_is_parted() {
    for (name, first, last) in [
        ("Eva Berg", "Eva", "Berg"),
        ("Eva  Maria\u{a0}Berg", "Eva  Maria", "Berg"),
        ("Berg, Eva Maria", "Eva Maria", "Berg"),
        ("von Berg, Eva", "Eva", "von Berg"),
        ("Eva", "Eva", ""),
        ("Berg,", "Berg", ""),
        (", Eva", "Eva", ""),
        (",", "", ""),
        ("", "", ""),
    ] {
        let person = only(format!("email;namn\na@b.org;{name}\n"));
        assert_eq!((person.first_name.as_str(), person.last_name.as_str()), (first, last), "{name:?}");
    }
}

#[test]
fn an_address_is_understood_as_people_paste_it() {
    for (cell, first, last) in [
        ("eva@example.org", "", ""),
        ("<eva@example.org>", "", ""),
        ("mailto:eva@example.org", "", ""),
        ("MailTo:eva@example.org?subject=Hej", "", ""),
        ("<mailto:eva@example.org>", "", ""),
        ("Eva Berg <eva@example.org>", "Eva", "Berg"),
        ("\"\"\"Berg, Eva\"\" <eva@example.org>\"", "Eva", "Berg"),
        ("'Eva Berg' <eva@example.org>", "Eva", "Berg"),
        ("\u{a0}eva@example.org\u{200b}\u{202f}", "", ""),
        ("\"\neva@example.org\n\"", "", ""),
    ] {
        let person = only(format!("email;x\n{cell};\n"));
        assert_eq!(person.address.as_str(), "eva@example.org", "{cell:?}");
        assert_eq!((person.first_name.as_str(), person.last_name.as_str()), (first, last), "{cell:?}");
    }
    assert_eq!(only("email;förnamn\nEva Berg <a@b.org>;Evis\n").display_name(), "Evis");
}

#[test]
fn a_line_that_cannot_be_taken_is_skipped_with_its_reason() {
    let text = "email,name,note\n\
        eva@example.org,Eva,\n\
        EVA@example.org,Eva again,\n\
        eva@example,Eva,,\n\
        ,Nobody,\n\
        nobody,Nobody,\n\
        \n\
        ,,\n\
        f@b.org\n\
        g@b.org,\"G\nH\",\n\
        h@b.org,H\u{7},\n\
        i@b.org,I,a\tb\n\
        a\u{1}@b.org,,\n\
        eva@EXAMPLE.org,,\n\
        bo@example.org,Bo,fine\n";
    let expected = [
        (3, "the same address as line 2"),
        (4, "too many fields: 4 under 3 headings"),
        (5, "the address is empty"),
        (6, "\"nobody\" is not an address"),
        (9, "too few fields: 1 under 3 headings"),
        (10, "\"name\" holds a line break; write it on one line (this goes for all down to line 11"),
        (12, "\"name\" holds a control character (U+0007)"),
        (13, "\"note\" holds a control character (U+0009)"),
        (14, "the address holds a control character (U+0001)"),
        (15, "the same address as line 2"),
    ];
    let skipped = skipped(text);
    assert_eq!(skipped.len(), expected.len(), "{skipped:#?}");
    for ((line, reason), (expected_line, expected)) in skipped.iter().zip(expected) {
        assert_eq!(*line, expected_line, "{reason}");
        assert!(reason.starts_with(expected), "{line}: {reason}");
    }
    let lines: Vec<usize> = people(text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [2, 16]);
}

/// A mark that opens on one line and closes on another takes the people between with it.
#[test]
fn people_swallowed_by_a_stray_quotation_mark_are_missed() {
    let text = "email,note\na@b.org,\"oops\nb@b.org,\"hi\"\nc@b.org,fine\n";
    let skipped = skipped(text);
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].0 == 2 && skipped[0].1.contains("down to line 3"), "{skipped:?}");
    assert_eq!(people(text)[0].0, 4);
}

#[test]
fn an_unknown_language_is_left_out_and_said() {
    let people = read(b"email,lang\na@b.org,klingon\nb@b.org,English\n").unwrap();
    let languages: Vec<String> = people.iter().map(|(_, person)| person.language).collect();
    assert_eq!(languages, ["", "en"]);
    assert_eq!(people.warnings.len(), 1);
    assert!(people.warnings[0].line == 2 && people.warnings[0].reason.contains("\"klingon\""));
}

/// S-232.
#[test]
fn cells_are_nfc_and_hold_nothing_invisible() {
    let person = only("email,name,note\na@b.org,A\u{30a}\u{200b}sa \u{202e}O\u{308}berg\u{feff},\u{2066}x\u{ad}y\u{2069}\u{a0}\n");
    assert_eq!((person.first_name.as_str(), person.last_name.as_str(), person.attributes["note"].as_str()), ("Åsa", "Öberg", "xy"));
}

#[test]
fn sizes_are_bounded() {
    let long = |n| format!("email,note\na@b.org,{}\n", "å".repeat(n));
    assert_eq!(people(long(MAX_FIELD)).len(), 1);
    assert!(skipped(&long(MAX_FIELD + 1))[0].1.contains("more than 10000 characters"));
    let wide = |n| format!("email{}", ",x".repeat(n - 1));
    assert_eq!(columns(&wide(MAX_COLUMNS)).len(), MAX_COLUMNS);
    assert_eq!(read(wide(MAX_COLUMNS + 1).as_bytes()).unwrap_err(), Error::TooManyColumns { found: 201 });
}

#[test]
fn people_cross_threads() {
    fn is_send(_: &impl Send) {}
    is_send(&read(b"email").unwrap());
    is_send(&read(b"email").unwrap().iter());
}

/// Whatever comes, every person handed out was counted, and none holds a control character.
fn check(bytes: &[u8]) {
    let Ok(people) = read(bytes) else { return };
    assert_eq!(people.iter().count(), people.count);
    assert!(people.columns.len() <= MAX_COLUMNS);
    let lines: Vec<usize> = people.iter().map(|(line, _)| line).collect();
    assert!(lines.is_sorted() && people.skipped.is_sorted_by_key(|remark| remark.line));
    for (_, person) in people.iter() {
        let texts = [&person.first_name, &person.last_name, &person.language];
        assert!(texts.into_iter().chain(person.attributes.values()).all(|text| !text.chars().any(char::is_control)));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&bytes);
        check(&[b"\xFF\xFE".as_slice(), &bytes].concat());
        check(&[b"email,name\n".as_slice(), &bytes].concat());
    }

    #[test]
    fn random_sheets_never_panic(text in "(sep=[;,|å\t]?[\r\n]{0,2})?(email[,;\t]|namn)?[a@.o,;\t\"\r\n\u{feff}\u{a0}å\u{7} <>:]{0,200}") {
        check(text.as_bytes());
        check(&utf16(&text, u16::to_le_bytes));
    }

    /// What a spreadsheet writes is what is read, line by line.
    #[test]
    fn what_is_written_is_read(cells in proptest::collection::vec("[a-zåäö,;\" ]{0,8}", 1..20)) {
        let mut writer = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
        writer.write_record(["E-post", "Not"]).unwrap();
        for (n, cell) in cells.iter().enumerate() {
            writer.write_record([format!("p{n}@example.org").as_str(), cell]).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let read: Vec<(usize, String)> =
            people(&bytes).into_iter().map(|(line, mut person)| (line, person.attributes.remove("not_").unwrap_or_default())).collect();
        let written: Vec<(usize, String)> = cells.iter().enumerate().map(|(n, cell)| (n + 2, cell.trim().to_owned())).collect();
        prop_assert_eq!(read, written);
    }
}

/// S-8, S-232: what stands in From is a stranger's text.
#[test]
fn a_name_in_from_is_one_line_of_what_can_be_seen() {
    let of = |name: &str| {
        let (first, last) = own_name(name);
        format!("{first}|{last}")
    };
    assert_eq!(of("Eva Berg"), "Eva|Berg");
    assert_eq!(of("\"Berg, Eva\""), "Eva|Berg");
    assert_eq!(of("E\u{202e}va\r\nBcc: x Berg"), "Eva  Bcc: x|Berg");
    assert_eq!((of("eva@example.org"), of(""), of("Eva")), ("|".into(), "|".into(), "Eva|".into()));
    assert!(of(&"x".repeat(5_000)).len() < 200);
}
