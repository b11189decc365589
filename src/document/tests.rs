//! Documents and readers, by example.

use super::*;

fn faults(text: &str, read: impl FnOnce(&mut Reader<'_>)) -> Vec<String> {
    let report = FaultReport::default();
    if let Some(document) = Document::parse(text, "f", &report) {
        let mut reader = Reader::new(&document, &report);
        read(&mut reader);
        reader.finish();
    }
    let (faults, _) = report.into_parts();
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn every_fault_is_reported_with_line_and_column_in_characters() {
    let text = "a = \"ä\"\n[b]\nc = { d = \"ö\", e = 1 }\nlisten = 5\nlistne = 6\n";
    let found = faults(text, |root| {
        root.field("a").unwrap().boolean();
        let mut b = root.table("b").unwrap();
        let mut c = b.table("c").unwrap();
        c.field("d").unwrap().string();
        c.field("e").unwrap().string();
        c.finish();
        b.field("listen").unwrap().array();
        b.required("f", "a letter");
        b.finish();
    });
    assert_eq!(
        found,
        [
            "f:1:5: a: wrong type, expected true or false",
            "f:2:1: b.f: missing, expected a letter",
            "f:3:20: b.c.e: wrong type, expected a string",
            "f:4:10: b.listen: wrong type, expected an array, such as [\"127.0.0.1:8081\"]",
            "f:5:1: b.listne: unknown key, did you mean `listen`? expected one of `c`, `listen`, `f`",
        ]
    );
}

#[test]
fn broken_toml_is_reported_by_place_and_rule_without_the_text() {
    for (text, expected) in [
        (
            "a = CANARY\n",
            "f:1:5: string values must be quoted, expected literal string",
        ),
        (
            "a = “CANARY”\n",
            "f:1:5: the quotation mark “ of a word processor, expected the plain \"",
        ),
        ("CANARY\n", "f:1:7: key with no value, expected `=`"),
        (
            "a = 1\na = \"CANARY\"\n",
            "f:2:1: a: the same as at f:1:1, expected it once",
        ),
        (
            "a = 1\n[b]\na = 1\n c = 2\n[d]\nc = 1\nd = 1\nc = 2\n",
            "f:8:1: c: the same as at f:6:1, expected it once",
        ),
        (
            "[b]\na = 1\n[c]\n[b] # CANARY\n",
            "f:4:2: b: the same as at f:1:1, expected it once",
        ),
        (
            "a = info\n",
            "f:1:5: a text without quotes, expected \"...\" around it",
        ),
        (
            "a = trace\n",
            "f:1:5: a text without quotes, expected \"...\" around it",
        ),
        (
            "a = \"CANARY\n",
            "f:1:12: invalid basic string, expected `\"`",
        ),
        ("[CANARY\n", "f:1:8: unclosed table, expected `]`"),
        (
            "a = 1CANARY\n",
            "f:1:5: string values must be quoted, expected literal string",
        ),
    ] {
        let found = faults(text, |_| {});
        assert!(!found.join("\n").contains("CANARY"), "{found:?}");
        assert_eq!(found.first().map(String::as_str), Some(expected), "{text}");
    }
}

#[test]
fn two_broken_lines_are_two_faults() {
    assert_eq!(faults("a = x\nb = 1\nc = y\n", |_| {}).len(), 2);
}

#[test]
fn a_document_laid_over_another_keeps_the_order_and_the_places() {
    let report = FaultReport::default();
    let lower = Document::parse("[x.b]\ni = 1\nj = [1]\n[x.a]\nk = 1\n", "low", &report).unwrap();
    let upper = Document::parse("[x.c]\n[x.b]\nj = true\n", "up", &report).unwrap();
    let merged = Document {
        root: lower.root.overlaid(&upper.root),
        start: upper.start,
    };
    let mut x = Reader::new(&merged, &report).table("x").unwrap();
    let names: Vec<&str> = x.fields().iter().map(|field| field.key).collect();
    assert_eq!(names, ["b", "a", "c"]);
    let mut b = x.table("b").unwrap();
    assert_eq!(b.at().to_string(), "up:2:1");
    b.field("i").unwrap().string();
    b.field("j").unwrap().string();
    let (faults, _) = report.into_parts();
    let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        faults,
        [
            "low:2:5: x.b.i: wrong type, expected a string",
            "up:3:5: x.b.j: wrong type, expected a string",
        ]
    );
}

#[test]
fn names_that_may_be_secrets_are_not_shown() {
    for (name, shows) in [
        ("listen", true),
        ("acme-2.main_eu", true),
        ("verify_token_of_the_second_number", true),
        ("", false),
        ("EAAGm0PX4ZCpsBAKZCZCsomething", false),
        ("EAATESTTOKEN", false),
        ("acme_EAAbcdefghijklmnopqrstuv", false),
        ("EAA_ops", true),
        ("0123456789abcdef0123456789abcdef", false),
        ("with space", false),
        ("geheimnisträger", false),
        ("abcdefghij_abcdefghij_abcdefghij_abcdefghij", false),
    ] {
        assert_eq!(is_showable(name), shows, "{name}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    let found = faults(
        "a = -1\nb = 99999999999999999999\nc = 0x10\nd = 1.5",
        |root| {
            assert_eq!(root.field("a").unwrap().integer::<u32>(), None);
            assert_eq!(root.field("b").unwrap().integer::<u32>(), None);
            assert_eq!(root.field("c").unwrap().integer::<u32>(), Some(16));
            assert_eq!(root.field("d").unwrap().integer::<u32>(), None);
        },
    );
    assert_eq!(
        found,
        [
            "f:1:5: a: out of range, expected a smaller number that is not negative",
            "f:2:5: b: wrong type, expected a whole number",
            "f:4:5: d: wrong type, expected a whole number",
        ]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics_the_parser(text in "(?s).{0,200}|([\\[\\]{}=.,\"'#\\n a0é-]|\"\"\"){0,80}") {
        let report = FaultReport::default();
        Document::parse(&text, "f", &report);
    }
}

#[test]
fn the_place_of_a_key_is_that_of_its_value() {
    let text = "a = 1\n[b.\"c.d\"]\ne = [\"x\"]\n[b.c]\nf = 2\n";
    let document = Document::parse(text, "f", &FaultReport::default()).unwrap();
    for (key, place) in [
        ("a", Some("f:1:5")),
        ("b.c.d.e", Some("f:3:5")),
        ("b.c.f", Some("f:5:5")),
        ("b.c.g", None),
        ("a.b", None),
        ("", None),
    ] {
        let found = document.place_of(key).map(ToString::to_string);
        assert_eq!(found.as_deref(), place, "{key}");
    }
}
