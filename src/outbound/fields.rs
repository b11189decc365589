//! The texts at the places of a body or a query, as any reader could find them.

use std::borrow::Cow;

use crate::json::{self, NotText};
use crate::query::{self, is_read_as_one_of};

/// The values of a JSON object that some reader could take for the value of a key.
pub(super) fn values_read_as<'f>(
    fields: &'f [(Cow<'_, str>, &'f str)],
    key: &'f String,
) -> impl Iterator<Item = &'f str> {
    let read = fields
        .iter()
        .filter(move |(name, _)| is_read_as_one_of(name, &[key]));
    read.map(|(_, value)| *value)
}

/// Every text that some reader could find at a place.
pub(super) fn texts_at(
    fields: &[(Cow<'_, str>, &str)],
    place: &[String],
) -> Result<Vec<String>, NotText> {
    let mut texts = Vec::new();
    if let Some((first, rest)) = place.split_first() {
        for value in values_read_as(fields, first) {
            json::add_texts_at(value, rest, &mut texts)?;
        }
    }
    Ok(texts)
}

/// The values at places of a form or a query. Servers differ about `;`: for some it ends a value,
/// for others it is a part of it, so both readings count.
pub(super) fn values_in_form<'t>(text: &'t str, places: &[Vec<String>]) -> Vec<Cow<'t, str>> {
    // Most requests have no query.
    if text.is_empty() {
        return Vec::new();
    }
    let pairs = query::pairs(text);
    let wide = text.contains(';').then(|| query::fields(text));
    // A pair without `;` is the same in both readings, and counts once.
    let other = wide
        .into_iter()
        .flatten()
        .filter(|pair| pair.written.contains(';'));
    pairs
        .chain(other)
        .filter(|pair| places.iter().any(|place| is_at(&pair.name(), place)))
        .map(|pair| pair.value())
        .collect()
}

/// True for the name of a field at a place: the name alone, or a path with brackets as for PHP
/// (`messages[0][from]`), or with dots (`messages[0].from`, `messages.0.from`).
fn is_at(name: &str, place: &[String]) -> bool {
    let Some((first, inner)) = place.split_first() else {
        return false;
    };
    let mut keys = name.split(['[', ']', '.']).filter(|key| !key.is_empty());
    let begins = keys
        .next()
        .is_some_and(|key| is_read_as_one_of(key, &[first]));
    // PHP reads a dot before the first bracket as an underscore, and ignores text behind a bracket.
    let begins = begins || is_read_as_one_of(name, &[first]);
    let in_brackets = name.split('[').skip(1);
    let mut keys = keys.chain(in_brackets.filter_map(|key| key.split(']').next()));
    begins
        && inner
            .last()
            .is_none_or(|last| last == "*" || keys.any(|key| is_read_as_one_of(key, &[last])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_a_place_with_brackets_and_with_dots() {
        for (place, name, expected) in [
            ("from", "from", true),
            ("from", "from[]", true),
            ("from", "from.0", true),
            ("from", "a.from", false),
            ("from", "a[from]", false),
            ("phone_id", "phone.id", true),
            ("phone_id", "phone[id", true),
            ("messages/*/from", "messages[0][from]", true),
            ("messages/*/from", "messages[0].from", true),
            ("messages/*/from", "messages.0.from", true),
            ("messages/*/from", "Messages.0[FROM]", true),
            ("messages/*/from", "messages[0][from]x", true),
            ("messages/*/from", "messages[0][to]", false),
            ("messages/*/from", "from", false),
            ("a_b/c_d", "a.b[c.d]", true),
            ("order/*", "order", true),
            ("order/*", "order.0", true),
        ] {
            let place: Vec<_> = place.split('/').map(str::to_owned).collect();
            assert_eq!(is_at(name, &place), expected, "{name} at {place:?}");
        }
    }
}
