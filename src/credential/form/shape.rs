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

/// True for a path from one of the usual folders, with the `@` of curl or without. Base64 may begin
/// with a slash as well.
pub(super) fn is_path(value: &str) -> bool {
    let value = value.strip_prefix('@').unwrap_or(value);
    FOLDERS.iter().any(|folder| value.starts_with(folder))
}

/// True for `NAME=value`. The `=` at the end of base64 assigns nothing.
pub(super) fn is_assignment(value: &str) -> bool {
    value
        .split_once('=')
        .is_some_and(|(name, value)| is_name(name) && !value.trim_matches('=').is_empty())
}

/// True for a header, such as `X-API-Key: value`. Other names before a colon may be a part of a
/// key.
pub(super) fn is_header(value: &str) -> bool {
    value.split_once(':').is_some_and(|(name, value)| {
        let word = name.to_ascii_lowercase().replace(['-', '_', '.'], "");
        let is_name =
            NAMES.contains(&word.as_str()) || NAME_ENDS.iter().any(|end| word.ends_with(end));
        is_name && !value.is_empty()
    })
}

/// True for the value of an `Authorization` header, with its scheme.
pub(super) fn has_scheme(value: &str) -> bool {
    value.split_once(' ').is_some_and(|(scheme, value)| {
        let mut known = SCHEMES.iter();
        known.any(|known| scheme.eq_ignore_ascii_case(known)) && !value.trim().is_empty()
    })
}

/// True for a text twice, of the length of a key. Digits in a row, as examples have them, are no
/// key.
pub(super) fn is_repeated(value: &str) -> bool {
    half_of(value).is_some_and(|half| half.len() >= MIN_KEY && half_of(half).is_none())
}

/// Returns the half of a text whose halves are equal.
fn half_of(text: &str) -> Option<&str> {
    let (first, second) = text.split_at_checked(text.len() / 2)?;
    (first == second).then_some(first)
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
/// The names of headers and fields of credentials, without the signs between words.
const NAMES: [&str; 6] = ["basic", "bearer", "key", "password", "secret", "token"];
/// The ends of longer names.
const NAME_ENDS: [&str; 6] = [
    "accesstoken",
    "apikey",
    "apisecret",
    "apitoken",
    "authorization",
    "authtoken",
];
/// The schemes of `Authorization`, as providers have them.
const SCHEMES: [&str; 6] = ["AccessKey", "App", "Basic", "Bearer", "Key", "Token"];
/// The shortest key of a provider: a shorter text twice may be a key itself.
const MIN_KEY: usize = 20;
/// The folders that paths of secrets begin with.
const FOLDERS: [&str; 9] = [
    "/etc/", "/home/", "/mnt/", "/opt/", "/run/", "/tmp/", "/var/", "./", "~/",
];
