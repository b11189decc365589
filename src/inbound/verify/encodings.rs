//! The other ways to write the JSON of an event: a proxy in front may have read the body and
//! written the JSON anew, and no signature survives. The forms serve the diagnosis alone, and never
//! the check.

/// Returns the forms in which a provider may have written a JSON body before a program on the way
/// wrote the JSON anew, the likeliest first; none for a body without JSON. The order of the fields
/// and the spelling of numbers stay.
pub(super) fn other_encodings(body: &[u8]) -> Vec<Vec<u8>> {
    let Some(text) = std::str::from_utf8(body)
        .ok()
        .filter(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
    else {
        return Vec::new();
    };
    let mut forms: Vec<Vec<u8>> = Vec::new();
    for form in FORMS {
        let written = written(text, form).into_bytes();
        if written != body && !forms.contains(&written) {
            forms.push(written);
        }
    }
    forms
}

/// A way to write the strings of a JSON text.
#[derive(Clone, Copy)]
struct StringForm {
    /// Characters beyond ASCII are `\u` and four digits.
    is_ascii: bool,
    /// The characters of ASCII escaped without need, each with the escape.
    escapes: &'static [(char, &'static str)],
}

/// Writes a JSON text without blanks between the parts, and with the strings in a form.
fn written(text: &str, form: StringForm) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '"' => {
                let string = raw_string(rest.as_str());
                rest = rest
                    .as_str()
                    .get(string.len() + 1..)
                    .unwrap_or_default()
                    .chars();
                write_string(&mut out, string, form);
            }
            ' ' | '\t' | '\r' | '\n' => {}
            other => out.push(other),
        }
    }
    out
}

/// Returns a string as written, up to the closing quotation mark.
fn raw_string(rest: &str) -> &str {
    let mut is_escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.and_then(|end| rest.get(..end)).unwrap_or(rest)
}

fn write_string(out: &mut String, raw: &str, form: StringForm) {
    let decoded: Result<String, _> = serde_json::from_str(&format!("\"{raw}\""));
    out.push('"');
    match decoded {
        Ok(decoded) => decoded.chars().for_each(|c| write_character(out, c, form)),
        // A lone half of a surrogate pair is no text, and stays as written.
        Err(_) => out.push_str(raw),
    }
    out.push('"');
}

fn write_character(out: &mut String, character: char, form: StringForm) {
    let own = form.escapes.iter().find(|(own, _)| *own == character);
    match character {
        _ if own.is_some() => out.extend(own.map(|(_, escape)| *escape)),
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\0'..=' ' if character != ' ' => push_units(out, character),
        other if form.is_ascii && !other.is_ascii() => push_units(out, other),
        other => out.push(other),
    }
}

fn push_units(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

/// The forms: Meta's, with and without the escapes of `<`, `%` and `@` in older products, then the
/// forms of other providers' libraries.
const FORMS: [StringForm; 4] = [
    StringForm {
        is_ascii: true,
        escapes: &[
            ('/', "\\/"),
            ('<', "\\u003C"),
            ('%', "\\u0025"),
            ('@', "\\u0040"),
        ],
    },
    StringForm {
        is_ascii: true,
        escapes: &[('/', "\\/")],
    },
    StringForm {
        is_ascii: true,
        escapes: &[],
    },
    StringForm {
        is_ascii: false,
        escapes: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(body: &str) -> Vec<String> {
        let forms = other_encodings(body.as_bytes()).into_iter();
        forms.map(|form| String::from_utf8(form).unwrap()).collect()
    }

    #[test]
    fn the_bytes_of_meta_are_among_the_forms_of_a_body_that_was_written_anew() {
        let meta = r#"{"text":"caf\u00e9 \ud83d\ude00 a\/b \"q\" \\ \n","id":1.0,"to":["a"]}"#;
        for anew in [
            "{\"text\":\"café 😀 a/b \\\"q\\\" \\\\ \\n\",\"id\":1.0,\"to\":[\"a\"]}",
            "{ \"text\": \"café 😀 a/b \\\"q\\\" \\\\ \\n\",\n  \"id\": 1.0, \"to\": [ \"a\" ] }",
            "{\"text\":\"caf\\u00E9 \\uD83D\\uDE00 a/b \\u0022q\\u0022 \\\\ \\u000a\",\"id\":1.0,\"to\":[\"a\"]}",
        ] {
            assert!(forms(anew).iter().any(|form| form == meta), "{anew}");
        }
    }

    #[test]
    fn a_body_that_is_not_json_has_no_other_form_and_a_form_is_never_the_body() {
        for body in ["", "From=1&To=2", "{\"a\":", "\u{0}", "{\"a\":1} x"] {
            assert_eq!(forms(body), [""; 0], "{body}");
        }
        assert_eq!(forms(r#"{"a":1}"#), [""; 0]);
        assert_eq!(forms(r#"{"a":"é"}"#), [r#"{"a":"\u00e9"}"#]);
    }

    proptest::proptest! {
        #[test]
        fn every_form_has_the_same_meaning(text in "\\PC{0,20}", number in 0..9_u32) {
            let body = serde_json::json!({ "a": text, "b": [number, { "/": text }] });
            let body = serde_json::to_string_pretty(&body).unwrap();
            for form in other_encodings(body.as_bytes()) {
                let read: serde_json::Value = serde_json::from_slice(&form).unwrap();
                proptest::prop_assert_eq!(read, serde_json::from_str::<serde_json::Value>(&body).unwrap());
            }
        }
    }
}
