//! No body passes in which a simple reading finds a forbidden name. The first byte chooses the form
//! of the body.
#![no_main]

use keyside::multipart::MultipartReader;
use keyside::{json, query};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

const FORBIDDEN: [&str; 2] = ["batch", "access_token"];

fuzz_target!(|data: &[u8]| {
    let Some((form, body)) = data.split_first() else {
        return;
    };
    match form {
        b'j' => check_json(body),
        b'f' => check_form(body),
        _ => check_multipart(body),
    }
});

fn is_forbidden(name: &str) -> bool {
    FORBIDDEN.contains(&name.trim().to_ascii_lowercase().as_str())
}

/// A JSON object that passes is an object for serde_json as well, without a forbidden name.
fn check_json(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else {
        return;
    };
    let mut is_found = false;
    let is_wanted = |name: &str| {
        is_found |= query::is_read_as_one_of(name, &FORBIDDEN);
        false
    };
    if json::fields_of(text, is_wanted).is_none() || is_found {
        return;
    }
    // A lone surrogate in a value, or a number out of bounds, is nothing to serde_json.
    if let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) {
        assert!(!object.keys().any(|name| is_forbidden(name)), "{text:?}");
    }
}

/// A form that passes has no forbidden name for a reader that splits at `&` and decodes.
fn check_form(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else {
        return;
    };
    if query::pairs(text).any(|pair| pair.is_named(&FORBIDDEN)) {
        return;
    }
    for pair in text.split(['&', ';']) {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy();
        let array = name.split('[').next().unwrap_or_default();
        assert!(!is_forbidden(&name) && !is_forbidden(array), "{text:?}");
    }
}

/// A multipart form that passes has no forbidden name for a reader that takes any line end for one,
/// and is read alike in pieces of any size.
fn check_multipart(body: &[u8]) {
    let forbidden = || FORBIDDEN.map(str::to_owned).to_vec();
    let read = |size: usize| {
        let mut reader = MultipartReader::new("b", forbidden());
        body.chunks(size)
            .try_for_each(|piece| reader.read(piece))
            .and_then(|()| reader.finish())
    };
    let whole = read(body.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(read(size), whole, "in pieces of {size}");
    }
    if whole.is_err() {
        return;
    }
    let text = String::from_utf8_lossy(body)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let mut is_in_head = false;
    for line in text.split('\n') {
        if line.starts_with("--b") {
            is_in_head = true;
        } else if line.is_empty() {
            is_in_head = false;
        } else if is_in_head
            && line
                .to_ascii_lowercase()
                .starts_with("content-disposition:")
        {
            for parameter in line.split(';').skip(1) {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                let value = value.trim().trim_matches(['"', '\'']);
                assert!(
                    !name.trim().eq_ignore_ascii_case("name") || !is_forbidden(value),
                    "{text:?}"
                );
            }
        }
    }
}
