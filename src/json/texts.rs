//! The texts that some reader could find at a path of keys.

use serde_json::value::RawValue;

use super::fields_of;
use crate::query::is_read_as_one_of;

/// The error for a value without text at the place of a party, or in a container of the wrong kind:
/// servers differ about the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

/// Adds every text that some reader could find at the end of a path of keys in a value. Readers
/// differ about repeated keys and about the case of keys. Nothing is found at `null`.
///
/// `*` in a path stands for each element of an array. An object in the place of the array is read
/// twice: as the single element, because many readers take a value for a list, and field by field,
/// because PHP has one type for lists and objects.
///
/// # Errors
/// A value without text at the end of the path, and a value other than an object at a key of the
/// path.
pub fn add_texts_at(value: &str, path: &[String], texts: &mut Vec<String>) -> Result<(), NotText> {
    let Some((first, rest)) = path.split_first() else {
        texts.extend(text_of(value)?);
        return Ok(());
    };
    if first == "*" {
        return elements_of(value, rest)?
            .into_iter()
            .try_for_each(|element| add_texts_at(element, rest, texts));
    }
    if value == "null" {
        return Ok(());
    }
    let fields = fields_of(value, |name| is_read_as_one_of(name, &[first])).ok_or(NotText)?;
    fields
        .iter()
        .try_for_each(|(_, value)| add_texts_at(value, rest, texts))
}

/// Returns the values that some reader could take for the elements of a list. Each is read at
/// `rest`.
fn elements_of<'v>(value: &'v str, rest: &[String]) -> Result<Vec<&'v str>, NotText> {
    if value == "null" {
        return Ok(Vec::new());
    }
    if value.starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(value).map_err(|_| NotText)?;
        return Ok(elements.into_iter().map(RawValue::get).collect());
    }
    if !value.starts_with('{') {
        return Ok(vec![value]);
    }
    let fields = fields_of(value, |_| true)
        .ok_or(NotText)?
        .into_iter()
        .map(|(_, field)| field);
    if rest.is_empty() {
        return Ok(fields.collect());
    }
    // The fields of a single element may be texts and lists of texts: only an object can be an
    // element.
    let mut elements = vec![value];
    for field in fields {
        let inner: Vec<&RawValue> = serde_json::from_str(field).unwrap_or_default();
        let inner = inner.into_iter().map(RawValue::get).chain([field]);
        elements.extend(inner.filter(|field| field.starts_with('{')));
    }
    Ok(elements)
}

/// Returns true if an element of the first list on a path of keys has no text at the end of the
/// path.
#[must_use]
pub fn lacks_text_at(value: &str, path: &[String]) -> bool {
    let end = path
        .iter()
        .position(|key| key == "*")
        .map_or(0, |at| at + 1);
    let (list, rest) = path.split_at(end);
    lacks_text_in(value, list, &[rest])
}

/// Returns true if an element of a list has text at none of the `places`. The path of a list ends
/// in `*`; a list on the way to it has several such lists.
#[must_use]
pub fn lacks_text_in(value: &str, list: &[String], places: &[&[String]]) -> bool {
    let Some((first, rest)) = list.split_first() else {
        return false;
    };
    if first != "*" {
        let fields = fields_of(value, |name| is_read_as_one_of(name, &[first])).unwrap_or_default();
        return fields
            .iter()
            .any(|(_, value)| lacks_text_in(value, rest, places));
    }
    let inside = places.first().copied().unwrap_or_default();
    let within = if rest.is_empty() { inside } else { rest };
    let elements = elements_of(value, within).unwrap_or_default();
    elements.iter().any(|element| match rest {
        [] => !places.iter().any(|place| has_text_at(element, place)),
        rest => lacks_text_in(element, rest, places),
    })
}

/// Returns true if some reader could take a value on a path of keys for an order to empty what
/// stands at the end: `null`, a list without elements, a text of blanks.
#[must_use]
pub fn empties_text_at(value: &str, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return !has_text_at(value, path);
    };
    if value == "null" {
        return true;
    }
    if first == "*" {
        let elements = elements_of(value, rest).unwrap_or_default();
        return elements.is_empty()
            || elements
                .iter()
                .any(|element| empties_text_at(element, rest));
    }
    let fields = fields_of(value, |name| is_read_as_one_of(name, &[first])).unwrap_or_default();
    fields.iter().any(|(_, value)| empties_text_at(value, rest))
}

/// Returns true if some reader could find a value, of whatever kind, at the end of a path of keys.
/// A value other than an object on the way may be anything.
#[must_use]
pub fn may_have_value_at(value: &str, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    if first == "*" {
        let elements = elements_of(value, rest);
        return elements.map_or(true, |elements| {
            elements
                .iter()
                .any(|element| may_have_value_at(element, rest))
        });
    }
    match fields_of(value, |name| is_read_as_one_of(name, &[first])) {
        Some(fields) => fields
            .iter()
            .any(|(_, value)| may_have_value_at(value, rest)),
        None => value != "null",
    }
}

/// True for a value with text, besides blanks, at the end of a path of keys.
fn has_text_at(value: &str, path: &[String]) -> bool {
    let mut texts = Vec::new();
    let is_read = add_texts_at(value, path, &mut texts).is_ok();
    is_read && texts.iter().any(|text| !text.trim().is_empty())
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
