//! The query of a request: the senders that it names, and whether a pattern takes it.

use std::borrow::Cow;

use crate::outbound::error::OutboundError;
use crate::provider::{Provider, QueryWords, RequestPattern};
use crate::query;

/// The senders in a query, in every spelling that some server understands: media is read with the
/// sender as a parameter.
pub(super) fn senders_in<'q>(
    query: &'q str,
    pattern: &RequestPattern,
) -> impl Iterator<Item = Cow<'q, str>> {
    let name = parameter_of(pattern);
    query::pairs(query)
        .filter(move |pair| pair.is_named(&[name, SENDER_PARAMETER]))
        .map(|pair| pair.value())
}

/// Returns true if a query names the sender for every server: a provider without an eye for the
/// spelling would act for any sender.
///
/// # Errors
/// 400 for a sender under a wrong spelling of the parameter, or for several senders.
pub(super) fn names_sender(query: &str, pattern: &RequestPattern) -> Result<bool, OutboundError> {
    let name = parameter_of(pattern);
    let mut named = query::pairs(query).filter(|pair| pair.is_named(&[name, SENDER_PARAMETER]));
    let Some(first) = named.next() else {
        return Ok(false);
    };
    let is_exact = first
        .written
        .split_once('=')
        .is_some_and(|(written, _)| written == name);
    // Servers differ about `;`, so the pair must stand between two `&`.
    let is_whole = query::fields(query).any(|field| field.written == first.written);
    if is_exact && is_whole && named.next().is_none() {
        return Ok(true);
    }
    Err(OutboundError::BadRequest {
        message: format!("the query names the sender in another way than by one plain `{name}=`")
            .into(),
        details: "write the parameter once, in exactly these letters, and with `&` before and behind it",
    })
}

/// The value of a query parameter on the way into the path: a plain segment, read alike by every
/// server.
///
/// # Errors
/// 400 without exactly one parameter of the name.
pub fn segment_of<'q>(query: &'q str, name: &str) -> Result<&'q str, OutboundError> {
    let mut named = query::pairs(query).filter(|pair| pair.is_named(&[name]));
    let value = named.next().and_then(|first| {
        let (written, value) = first.written.split_once('=')?;
        // Servers differ about `;`, so the pair must stand between two `&`.
        let is_whole = query::fields(query).any(|field| field.written == first.written);
        (written == name && is_whole).then_some(value)
    });
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let value = value.filter(|value| !value.is_empty() && value.bytes().all(is_plain));
    match (value, named.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(OutboundError::BadRequest {
            message: format!("the query has not exactly one plain `{name}=`, which the provider takes in the path")
                .into(),
            details: "write the parameter once, with letters, digits, `_` and `-` alone in its value",
        }),
    }
}

/// The query parameter that names the sender.
fn parameter_of(pattern: &RequestPattern) -> &str {
    pattern.sender.as_deref().unwrap_or(SENDER_PARAMETER)
}

/// True for a query that a pattern takes: no parameter besides the pattern's and the credentials
/// that are stripped, and no word that the pattern excludes.
pub(super) fn query_fits(pattern: &RequestPattern, query: &str, provider: &Provider) -> bool {
    query::pairs(query).all(|pair| {
        let may_be_there = pattern.query.as_ref().is_none_or(|allowed| {
            allowed.iter().any(|name| *name == pair.name()) || pair.is_named(&provider.strip.query)
        });
        let is_about = |words: &&QueryWords| pair.is_named(&[&words.name]);
        let mut only = pattern.only.iter().filter(is_about);
        let mut without = pattern.without.iter().filter(is_about);
        may_be_there
            && only.all(|words| words.are_all_of(&pair.value()))
            && !without.any(|words| words.are_in(&pair.value()))
    })
}

/// Meta's parameter for the sender.
const SENDER_PARAMETER: &str = "phone_number_id";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::presets;

    #[test]
    fn a_value_moves_into_the_path_as_one_plain_segment_alone() {
        for (query, expected) in [
            ("name=order_1", Some("order_1")),
            ("a=1&name=Order-2&b", Some("Order-2")),
            ("", None),
            ("name=", None),
            ("name", None),
            ("name=..", None),
            ("name=a/b", None),
            ("name=a%2Fb", None),
            ("name=a;b", None),
            ("a=1;name=b", None),
            ("name=a&name=b", None),
            ("name=a&Name=b", None),
            ("NAME=a", None),
            ("n%61me=a", None),
        ] {
            assert_eq!(segment_of(query, "name").ok(), expected, "{query}");
        }
    }

    #[test]
    fn only_the_exact_parameter_names_the_sender() {
        let meta = presets::provider("meta").unwrap();
        let requests = meta
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        let mut requests = requests.filter(|request| request.sender.is_some());
        let pattern = requests.next().unwrap();
        for (query, expected) in [
            ("", Some(false)),
            ("a=1&fields=phone_number_id", Some(false)),
            ("phone_number_id=1", Some(true)),
            ("a=1;b=2&phone_number_id=%31&c", Some(true)),
            ("phone_number_id", None),
            ("PHONE_NUMBER_ID=1", None),
            ("phone_number_id[]=1", None),
            ("phone.number.id=1", None),
            ("%20phone_number_id=1", None),
            ("phone_number_id%00=1", None),
            ("phone%5Fnumber_id=1", None),
            ("a=1;phone_number_id=1", None),
            ("phone_number_id=1;a=1", None),
            ("phone_number_id=1&phone_number_id=1", None),
            ("phone_number_id=1&phone_number_id[]=1", None),
        ] {
            assert_eq!(names_sender(query, pattern).ok(), expected, "{query}");
        }
    }
}
