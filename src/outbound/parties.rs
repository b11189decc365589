//! The senders and recipients that a message names. One text, or one list, may name several.

use std::borrow::Cow;

use super::error::OutboundError;
use super::fields::{texts_at, values_in_form, values_read_as};
use super::policy::OwnSender;
use crate::json;
use crate::provider::{ProviderLimits, party};

/// The senders at all places of a JSON object, and before recipients. A server may read any of
/// several fields, so every one counts.
pub(super) fn senders_in_json(
    limits: &ProviderLimits,
    fields: &[(Cow<'_, str>, &str)],
    places: &[Vec<String>],
    recipients: &[Vec<String>],
) -> Result<Vec<String>, OutboundError> {
    let mut texts = Vec::new();
    for place in places {
        texts.extend(texts_at(fields, place).map_err(|_| SENDER_IS_NO_TEXT)?);
    }
    let texts = texts.iter().map(|text| Cow::Borrowed(text.as_str()));
    let mut named = parties(limits, texts);
    if limits.sender_before.is_some() {
        named.extend(senders_before_in_json(limits, fields, recipients));
    }
    Ok(named)
}

/// The findings at the places of senders that the request has of its own, in a JSON object.
pub(super) fn own_sender_in_json(
    limits: &ProviderLimits,
    fields: &[(Cow<'_, str>, &str)],
    own: &[Vec<String>],
) -> Result<OwnSender, OutboundError> {
    let mut texts = Vec::new();
    for place in own {
        texts.extend(texts_at(fields, place).map_err(|_| SENDER_IS_NO_TEXT)?);
    }
    let texts = texts.iter().map(|text| Cow::Borrowed(text.as_str()));
    let mut places = own.iter().filter_map(|place| place.split_first());
    let is_emptied = places.any(|(first, rest)| {
        values_read_as(fields, first).any(|value| json::empties_text_at(value, rest))
    });
    if is_emptied || lacks_sender_in_json(fields, own) {
        return Ok(OwnSender::Emptied);
    }
    Ok(own_sender_of(limits, texts))
}

/// The findings at the places of senders that the request has of its own, in a form.
pub(super) fn own_sender_in_form(
    limits: &ProviderLimits,
    text: &str,
    own: &[Vec<String>],
) -> OwnSender {
    own_sender_of(limits, values_in_form(text, own).into_iter())
}

/// The findings in the texts at places of senders. Each text has to name a sender.
fn own_sender_of<'t>(
    limits: &ProviderLimits,
    texts: impl Iterator<Item = Cow<'t, str>>,
) -> OwnSender {
    let mut found = OwnSender::Absent;
    for text in texts {
        if parties(limits, std::iter::once(text)).is_empty() {
            return OwnSender::Emptied;
        }
        found = OwnSender::Named;
    }
    found
}

/// True if an element of a list in a JSON object names no sender, at none of the places in such
/// elements. The provider may have a default sender for such a message, which no route allows.
pub(super) fn lacks_sender_in_json(
    fields: &[(Cow<'_, str>, &str)],
    places: &[Vec<String>],
) -> bool {
    places.iter().any(|place| {
        let Some(end) = place.iter().rposition(|key| key == "*") else {
            return false;
        };
        let (list, _) = place.split_at(end + 1);
        let of_list: Vec<_> = places
            .iter()
            .filter_map(|other| other.strip_prefix(list))
            .filter(|rest| !rest.contains(&"*".to_owned()))
            .collect();
        let Some((first, list)) = list.split_first() else {
            return false;
        };
        values_read_as(fields, first).any(|value| json::lacks_text_in(value, list, &of_list))
    })
}

/// The recipients at the first place that has any: the further places are other names for the same.
pub(super) fn recipients_in_json(
    limits: &ProviderLimits,
    fields: &[(Cow<'_, str>, &str)],
    places: &[Vec<String>],
) -> Vec<String> {
    let named = |(first, rest): (&String, &[String])| {
        let (_, value) = fields.iter().rfind(|(name, _)| name == first)?;
        let texts = recipients_at(value, rest);
        Some(recipients(limits, &texts)).filter(|named| !named.is_empty())
    };
    let places = places.iter().filter_map(|place| place.split_first());
    places.filter_map(named).next().unwrap_or_default()
}

/// The senders before the recipients of a JSON object, at all places for some server.
fn senders_before_in_json(
    limits: &ProviderLimits,
    fields: &[(Cow<'_, str>, &str)],
    places: &[Vec<String>],
) -> Vec<String> {
    let places = places.iter().filter_map(|place| place.split_first());
    let texts = places.flat_map(|(first, rest)| {
        values_read_as(fields, first).flat_map(move |value| recipients_at(value, rest))
    });
    texts
        .flat_map(|text| senders_before(limits, &text))
        .collect()
}

/// The senders in a form or a query, at the places of senders and before recipients.
pub(super) fn senders_in_form(
    limits: &ProviderLimits,
    text: &str,
    places: &[Vec<String>],
    recipients: &[Vec<String>],
) -> Vec<String> {
    let mut senders = parties(limits, values_in_form(text, places).into_iter());
    for named in values_in_form(text, recipients) {
        senders.extend(senders_before(limits, &named));
    }
    senders
}

/// The recipients in a form or a query.
pub(super) fn recipients_in_form(
    limits: &ProviderLimits,
    text: &str,
    places: &[Vec<String>],
) -> Vec<String> {
    recipients(limits, &values_in_form(text, places))
}

/// Refuses a list of recipients past [`MAX_RECIPIENTS`].
pub(super) fn check_count(recipients: &[String]) -> Result<(), OutboundError> {
    match recipients.len() {
        0..=MAX_RECIPIENTS => Ok(()),
        _ => Err(TOO_MANY_RECIPIENTS),
    }
}

/// The number of messages to these recipients.
pub(super) fn messages_to(recipients: &[String]) -> u32 {
    u32::try_from(recipients.len()).unwrap_or(u32::MAX).max(1)
}

/// The texts at a place of a recipient. A list may stand where one recipient may stand.
fn recipients_at(value: &str, place: &[String]) -> Vec<String> {
    let mut texts = Vec::new();
    if json::add_texts_at(value, place, &mut texts).is_ok() {
        return texts;
    }
    texts.clear();
    let elements = [place, &["*".to_owned()]].concat();
    // An element that is no text ends the list: a recipient only chooses limits.
    json::add_texts_at(value, &elements, &mut texts).ok();
    texts
}

/// The parties that texts name.
fn parties<'t>(limits: &ProviderLimits, texts: impl Iterator<Item = Cow<'t, str>>) -> Vec<String> {
    let mut named = Vec::new();
    for text in texts {
        let parties = limits.parts(&text).map(|part| party(part).into_owned());
        named.extend(parties.filter(|party| !party.is_empty()));
    }
    named
}

/// The recipients in texts.
fn recipients(limits: &ProviderLimits, texts: &[impl AsRef<str>]) -> Vec<String> {
    let mut named = Vec::new();
    for text in texts {
        let parties = limits
            .recipients_in(text.as_ref())
            .map(|part| party(part).into_owned());
        named.extend(parties.filter(|party| !party.is_empty()));
    }
    named
}

fn senders_before(limits: &ProviderLimits, text: &str) -> Vec<String> {
    let named = limits.senders_before(text);
    named.map(|sender| party(sender).into_owned()).collect()
}

const SENDER_IS_NO_TEXT: OutboundError = OutboundError::bad_request(
    "the sender in the body is no text and no whole number, or stands in a list or an object where the provider has none",
    "name the sender as text, where the provider looks for it",
);

/// The most recipients of one message. Each is held for as long as the message waits, and 10,000
/// take no more memory than the largest body that is read whole. The bound is Keyside's own.
const MAX_RECIPIENTS: usize = 10_000;
const TOO_MANY_RECIPIENTS: OutboundError = OutboundError::bad_request(
    "the body names more than 10,000 recipients",
    "send to at most 10,000 recipients with one request",
);
