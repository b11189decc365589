//! Whom a message is from and for, where its body says so.

use std::borrow::Cow;

use http::request::Parts;

use super::body::Form;
use super::exchange::Taken;
use super::policy::Permit;
use crate::json;
use crate::provider::{Provider, party};
use crate::query;

/// Who a message is from. See [`senders_of`].
pub(super) fn senders(permit: &Permit<'_>, parts: &Parts, body: &Taken) -> Vec<String> {
    let text = match body {
        Taken::Whole { body, .. } if names_senders(permit) => String::from_utf8_lossy(body),
        Taken::Whole { .. } | Taken::Stream(_) => "".into(),
    };
    named(permit, parts, body.form(), &text)
}

/// Who a message with this body is from, as it says, or as its query does, which some servers read too: everybody who is
/// named, since nobody here knows whom the provider takes.
#[must_use]
pub fn senders_of(permit: &Permit<'_>, parts: &Parts, body: &str) -> Vec<String> {
    named(permit, parts, Form::of(&parts.headers), body)
}

/// Whether a message names its sender somewhere beside its path.
fn names_senders(permit: &Permit<'_>) -> bool {
    permit.request.limited && !permit.provider().limits.sender.is_empty()
}

fn named(permit: &Permit<'_>, parts: &Parts, form: Form, text: &str) -> Vec<String> {
    if !names_senders(permit) {
        return Vec::new();
    }
    let places = &permit.provider().limits.sender;
    let in_query = parts.uri.query().unwrap_or_default();
    let in_query = places.iter().flat_map(|place| named_at(in_query, Form::UrlEncoded, place));
    let named = places.iter().flat_map(|place| named_at(text, form, place)).chain(in_query);
    named.map(|named| party(&named).into_owned()).filter(|named| !named.is_empty()).collect()
}

/// Whom a message is for, where that counts.
pub(super) fn recipient(permit: &Permit<'_>, body: &Taken) -> Option<String> {
    if !permit.request.limited || permit.route.limiter.pairs.is_none() {
        return None;
    }
    let Taken::Whole { form, body } = body else { return None };
    recipient_in(permit.provider(), *form, std::str::from_utf8(body).ok()?)
}

/// Whom a message with this body is for, as it says.
#[must_use]
pub fn recipient_of(permit: &Permit<'_>, parts: &Parts, body: &str) -> Option<String> {
    recipient_in(permit.provider(), Form::of(&parts.headers), body)
}

/// Whom a message is for, as its body says.
pub(super) fn recipient_in(provider: &Provider, form: Form, text: &str) -> Option<String> {
    let places = &provider.limits.recipient;
    let named = match form {
        // Nothing depends on a second one, and this costs less.
        Form::Json => places.iter().find_map(|place| json::text_at(text, place)),
        form => places.iter().find_map(|place| named_at(text, form, place).into_iter().next()).map(Cow::Owned),
    };
    named.map(|named| party(&named).into_owned())
}

/// What a body has at one place, however a reader may take it.
fn named_at(text: &str, form: Form, place: &[String]) -> Vec<String> {
    match form {
        Form::Json => json::texts_at(text, place),
        // A form has no places within places.
        Form::UrlEncoded if place.len() > 1 => Vec::new(),
        Form::UrlEncoded => {
            let pairs = query::pairs(text).filter(|pair| pair.is_named(place));
            pairs.map(|pair| pair.value().into_owned()).collect()
        }
        Form::Stream => Vec::new(),
    }
}
