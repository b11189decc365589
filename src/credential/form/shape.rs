//! The looks of texts that are no secrets, or have one inside.

use crate::credential::encoded::encoded_texts;

/// True for digits, with a sign in front or without.
pub(super) fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('+').unwrap_or(value);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// True for the three parts of a JSON Web Token, the first of which begins as base64 of `{"` does.
pub(super) fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ") && value.split('.').count() == 3
}

/// True for a text with an encoded byte, such as `%2B`.
pub(super) fn is_percent_encoded(value: &str) -> bool {
    let mut parts = value.split('%').skip(1);
    parts.any(|part| {
        let digits = part.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// True for a path from one of the usual folders. Base64 may begin with a slash as well.
pub(super) fn is_path(value: &str) -> bool {
    FOLDERS.iter().any(|folder| value.starts_with(folder))
}

/// True for `NAME=value`. The `=` at the end of base64 assigns nothing.
pub(super) fn is_assignment(value: &str) -> bool {
    value
        .split_once('=')
        .is_some_and(|(name, value)| is_name(name) && !value.trim_matches('=').is_empty())
}

/// True for a JSON object with a field.
pub(super) fn is_object(value: &str) -> bool {
    let fields = value.strip_prefix('{').map(str::trim_start);
    fields.is_some_and(|fields| fields.starts_with('"')) && value.ends_with('}')
}

/// True for a name as environments, shells and property files have it.
pub(super) fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(is_inner)
}

pub(super) fn is_enclosed(value: &str, open: &str, close: &str) -> bool {
    value.len() > open.len() + close.len() && value.starts_with(open) && value.ends_with(close)
}

/// True for a value that encodes a text of a form, alone or among other characters.
pub(super) fn encodes(value: &str, is_of_form: fn(&str) -> bool) -> bool {
    let texts = encoded_texts(value);
    texts
        .iter()
        .any(|text| is_of_form(text) || holds_another_text(text, is_of_form))
}

/// True for a value that has, between other characters, a run of letters and digits of a form.
pub(super) fn holds_another_text(value: &str, is_of_form: fn(&str) -> bool) -> bool {
    let mut runs = value.split(|letter: char| !letter.is_ascii_alphanumeric());
    !is_of_form(value) && runs.any(is_of_form)
}

/// Characters around values, and between them.
pub(super) const PUNCTUATION: [char; 13] = [
    '"', '\'', '`', ',', ';', '<', '>', '(', ')', '[', ']', '{', '\\',
];
/// The folders that paths of secrets begin with.
const FOLDERS: [&str; 9] = [
    "/etc/", "/home/", "/mnt/", "/opt/", "/run/", "/tmp/", "/var/", "./", "~/",
];
