//! The texts that some reader could find at a path of keys.

use serde_json::value::RawValue;

use super::fields_of;
use crate::query::is_read_as_one_of;

/// The error for a value that names a party and is neither text nor a whole number: servers differ about its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

/// Adds every text that some reader could find at the end of a path of keys in a value. Readers differ about repeated
/// keys and about the case of keys. `*` in a path stands for each element of an array, and for each field of an
/// object, because PHP has one type for both. Nothing is found at `null`, nor where the path ends early.
///
/// # Errors
/// A value at the end of the path that is not text.
pub fn add_texts_at(value: &str, path: &[String], texts: &mut Vec<String>) -> Result<(), NotText> {
    let Some((first, rest)) = path.split_first() else {
        texts.extend(text_of(value)?);
        return Ok(());
    };
    if first == "*"
        && let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value)
    {
        return elements
            .iter()
            .try_for_each(|element| add_texts_at(element.get(), rest, texts));
    }
    if !value.starts_with('{') {
        return Ok(());
    }
    let is_wanted = |name: &str| first == "*" || is_read_as_one_of(name, &[first]);
    let fields = fields_of(value, is_wanted).ok_or(NotText)?;
    fields
        .iter()
        .try_for_each(|(_, value)| add_texts_at(value, rest, texts))
}

/// Returns true if an element of the first array on a path of keys has no text at the end of the path.
#[must_use]
pub fn lacks_text_at(value: &str, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    if first == "*" {
        let elements = serde_json::from_str::<Vec<&RawValue>>(value).unwrap_or_default();
        return elements.iter().any(|element| {
            let mut texts = Vec::new();
            add_texts_at(element.get(), rest, &mut texts).is_err() || texts.is_empty()
        });
    }
    let fields = fields_of(value, |name| is_read_as_one_of(name, &[first])).unwrap_or_default();
    fields.iter().any(|(_, value)| lacks_text_at(value, rest))
}

/// Returns the text of a string or of a whole number; `None` for `null`.
fn text_of(value: &str) -> Result<Option<String>, NotText> {
    let is_whole = value.bytes().all(|byte| byte.is_ascii_digit()) && value.len() <= MAX_DIGITS;
    match value {
        "null" => Ok(None),
        number if is_whole => Ok(Some(number.to_owned())),
        other => serde_json::from_str(other).map(Some).map_err(|_| NotText),
    }
}

/// Longest number that is text to Keyside, in digits: longer numbers lose digits in JavaScript.
const MAX_DIGITS: usize = 15;
