//! The query of a request: the senders that it names, and whether a pattern takes it.

use std::borrow::Cow;

use crate::provider::{Provider, QueryWords, RequestPattern};
use crate::query;

/// The senders in a query: media is read with the sender as a parameter.
pub(super) fn senders_in<'q>(
    query: &'q str,
    pattern: &RequestPattern,
) -> impl Iterator<Item = Cow<'q, str>> {
    let name = pattern.sender.as_deref().unwrap_or(SENDER_PARAMETER);
    query::pairs(query)
        .filter(move |pair| pair.is_named(&[name, SENDER_PARAMETER]))
        .map(|pair| pair.value())
}

/// True for a query that a pattern takes: no parameter besides the pattern's and the credentials that are stripped, and
/// no word that the pattern excludes.
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
