//! Words and brackets that stand for a value.

use super::shape::{is_enclosed, is_name};

/// True for a text that stands for a value: in brackets, the name of a variable, or a value with a
/// part cut off.
pub(super) fn is_placeholder(value: &str) -> bool {
    let is_reference = |sign: &str| {
        let name = value.strip_prefix(sign).unwrap_or_default();
        is_name(name.strip_suffix(sign).unwrap_or(name))
    };
    is_enclosed(value, "<", ">")
        || is_enclosed(value, "[", "]")
        || is_enclosed(value, "$(", ")")
        || ["$", "%"].into_iter().any(is_reference)
        || value.contains("...")
}

/// True for a word that stands for a value, such as `changeme`.
pub(super) fn is_stub(value: &str) -> bool {
    let word: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    is_one_letter(&word)
        || DIGITS.starts_with(&word)
        || is_stub_of_token(&word)
        || STUBS.contains(&word.as_str())
        || (value.contains(['_', '-', ' ']) && word.starts_with("your"))
        || (["insert", "paste", "put"]
            .iter()
            .any(|verb| word.starts_with(verb))
            && word.ends_with("here"))
}

/// True for a word that stands for an app secret. Published test vectors have words such as
/// `secret` and `test`.
pub(super) fn is_stub_of_app_secret(value: &str) -> bool {
    is_stub(value) && !VECTORS.contains(&value.to_ascii_lowercase().as_str())
}

/// True for `EAA123` and `EAAxxxx`: the begin of a token of Meta, and a filling.
fn is_stub_of_token(word: &str) -> bool {
    let rest = word.strip_prefix("eaa");
    rest.is_some_and(|rest| is_one_letter(rest) || DIGITS.starts_with(rest))
}

/// True for a text of one letter, such as `xxxx-xxxx` and `****`.
fn is_one_letter(word: &str) -> bool {
    let mut letters = word.chars();
    let first = letters.next();
    letters.all(|letter| Some(letter) == first)
}

/// The words of published test vectors.
const VECTORS: [&str; 4] = ["mysecret", "secret", "test", "your_app_secret"];
/// The digits in the order in which a person types them.
const DIGITS: &str = "1234567890";
/// The letters and digits of words that stand for a value.
const STUBS: [&str; 29] = [
    "abc",
    "abc123",
    "accesstoken",
    "apikey",
    "appsecret",
    "authtoken",
    "changeit",
    "changeme",
    "dummy",
    "example",
    "false",
    "fillme",
    "insertyourtoken",
    "mysecret",
    "mytoken",
    "nil",
    "none",
    "null",
    "password",
    "placeholder",
    "redacted",
    "replaceme",
    "secret",
    "tbd",
    "test",
    "todo",
    "token",
    "true",
    "undefined",
];
