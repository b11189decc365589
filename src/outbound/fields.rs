//! The texts at the places of a body or a query, as any reader could find them.

use std::borrow::Cow;

use crate::json::{self, NotText};
use crate::query::{self, is_read_as_one_of};

/// Every text that some reader could find at a place.
pub(super) fn texts_at(
    fields: &[(Cow<'_, str>, &str)],
    place: &[String],
) -> Result<Vec<String>, NotText> {
    let mut texts = Vec::new();
    if let Some((first, rest)) = place.split_first() {
        for (_, value) in fields
            .iter()
            .filter(|(name, _)| is_read_as_one_of(name, &[first]))
        {
            json::add_texts_at(value, rest, &mut texts)?;
        }
    }
    Ok(texts)
}

/// The values at places of a form or a query. Servers differ about `;`: for some it ends a value, for others it is a
/// part of it, so both readings count.
pub(super) fn values_in_form<'t>(text: &'t str, places: &[Vec<String>]) -> Vec<Cow<'t, str>> {
    let pairs = query::pairs(text);
    let wide = text.contains(';').then(|| query::fields(text));
    // A pair without `;` is the same in both readings, and counts once.
    let other = wide.into_iter().flatten();
    let other = other.filter(|pair| pair.written.contains(';'));
    pairs
        .chain(other)
        .filter(|pair| places.iter().any(|place| is_at(&pair.name(), place)))
        .map(|pair| pair.value())
        .collect()
}

/// True for the name of a field at a place: the name alone, or in PHP's form of a path, such as `messages[0][from]`.
fn is_at(name: &str, place: &[String]) -> bool {
    match place {
        [] => false,
        [only] => is_read_as_one_of(name, &[only]),
        [first, .., last] => {
            // PHP ignores what stands behind a bracket.
            let mut inner = name
                .split('[')
                .skip(1)
                .filter_map(|key| key.split(']').next());
            is_read_as_one_of(name, &[first])
                && (last == "*" || inner.any(|key| is_read_as_one_of(key, &[last])))
        }
    }
}
