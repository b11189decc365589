//! The fields of a request that mean something to Keyside: names that are refused, credentials of the application,
//! senders, the recipient. One pass over the body finds all of them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use super::body::{Form, RequestBody, unsupported};
use super::channels::ChannelRule;
use super::error::OutboundError;
use super::fields::{texts_at, values_in_form};
use super::guard::{OVERRIDDEN, OVERRIDES};
use super::policy::{NamedSenders, Permit};
use crate::credential::Credential;
use crate::json::{self, RawObject};
use crate::provider::{OperationKind, Provider, party};
use crate::query::{self, is_read_as_one_of};
use crate::workers::work_on;

/// The fields of a request that mean something to Keyside.
#[derive(Debug, Default)]
pub struct Contents {
    /// The senders, in the form of [`party`].
    pub senders: NamedSenders,
    /// The recipient, if the route has limits for each recipient.
    pub recipient: Option<String>,
    /// True for a request that is no message, although it goes to the path of messages: it marks a message as read,
    /// or shows the sign of typing, and has no recipient in any place.
    pub is_receipt: bool,
}

/// The places of fields to look for in one body.
struct Places<'p> {
    provider: &'p Provider,
    channels: Option<ChannelRule<'p>>,
    only: Option<OnlyFields>,
    senders: &'p [Vec<String>],
    recipients: &'p [Vec<String>],
    receipts: &'p [Vec<String>],
    has_pairs: bool,
}

/// The fields that a body may have, where the operation does not allow every field.
#[derive(Clone)]
struct OnlyFields {
    operation: String,
    /// The fields of each pattern that the body may fit.
    patterns: Vec<Vec<String>>,
}

impl OnlyFields {
    fn of(permit: &Permit<'_>) -> Option<Self> {
        let fields = permit.request.body.clone()?;
        let others = permit.alternatives.iter();
        let others = others.filter_map(|pattern| pattern.body.clone());
        Some(Self {
            operation: permit.operation.name.clone(),
            patterns: std::iter::once(fields).chain(others).collect(),
        })
    }
}

/// The result of one pass over a body.
#[derive(Default)]
struct Found {
    senders: Vec<String>,
    recipient: Option<String>,
    is_receipt: bool,
    has_credential: bool,
}

/// Reads a received request, and takes the application's credentials out of the body.
///
/// # Errors
/// 400 for a body that cannot be read as its `Content-Type` says, for a name that changes the request, and for a sender
/// that is not text.
pub(super) async fn read(
    permit: &Permit<'_>,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Contents, OutboundError> {
    let places = Places::of(permit);
    let in_query = places.senders_in_query(parts);
    let (form, bytes) = match body {
        RequestBody::Whole { form, body } => (*form, body),
        RequestBody::Stream { .. }
            if !permit.route.senders.is_empty() && places.names_senders() =>
        {
            return Err(UNREADABLE_SENDER);
        }
        RequestBody::Stream { .. } if permit.request.body.is_some() => {
            return Err(unsupported(permit.request));
        }
        RequestBody::Stream { .. } => return Ok(Contents::default()),
    };
    if let Some(rule) = &places.channels {
        rule.check_query(parts.uri.query().unwrap_or_default())?;
    }
    if bytes.is_empty() {
        return Ok(Contents {
            senders: NamedSenders {
                in_body: Vec::new(),
                in_query,
            },
            ..Contents::default()
        });
    }
    check_form(permit, form)?;
    let reading = Reading::of(permit);
    let original = bytes.clone();
    let (found, changed) = work_on(original.len(), move || reading.read(form, &original)).await?;
    if let Some(changed) = changed {
        *bytes = changed;
    }
    Ok(found.with_query(in_query))
}

/// Reads a request with this text as its body.
///
/// # Errors
/// As for a received request.
pub fn read_text(
    permit: &Permit<'_>,
    parts: &Parts,
    text: &str,
) -> Result<Contents, OutboundError> {
    let places = Places::of(permit);
    let in_query = places.senders_in_query(parts);
    let form = Form::of(&parts.headers, permit.request);
    check_form(permit, form)?;
    Ok(places.find(form, text)?.with_query(in_query))
}

/// Refuses a form that cannot be read. Where only some fields may pass, the body has to be JSON.
fn check_form(permit: &Permit<'_>, form: Form) -> Result<(), OutboundError> {
    let is_bound = permit.request.body.is_some();
    if form == Form::Untyped || (is_bound && form != Form::Json) {
        return Err(unsupported(permit.request));
    }
    Ok(())
}

impl Found {
    fn with_query(self, in_query: Vec<String>) -> Contents {
        Contents {
            senders: NamedSenders {
                in_body: self.senders,
                in_query,
            },
            recipient: self.recipient,
            is_receipt: self.is_receipt,
        }
    }
}

/// The inputs for reading the body of a request on another thread.
struct Reading {
    credential: Arc<Credential>,
    /// The channels that the route allows.
    channels: Arc<[String]>,
    wanted: Wanted,
    only: Option<OnlyFields>,
    strips_credentials: bool,
}

/// The fields that a request is read for.
#[derive(Clone, Copy)]
struct Wanted {
    is_message: bool,
    /// True for whatever is sent, messages and others, such as the sign of typing.
    is_sent: bool,
    has_pairs: bool,
}

impl Wanted {
    fn of(permit: &Permit<'_>) -> Self {
        Self {
            is_message: permit.request.limited,
            is_sent: permit.operation.kind == OperationKind::Send,
            has_pairs: permit.route.limiter.pairs.is_some(),
        }
    }
}

impl Reading {
    fn of(permit: &Permit<'_>) -> Self {
        Self {
            credential: Arc::clone(&permit.route.credential),
            channels: Arc::clone(&permit.route.channels),
            wanted: Wanted::of(permit),
            only: OnlyFields::of(permit),
            strips_credentials: !permit.passes_callers_credential(),
        }
    }

    /// Finds the fields of a body. If the body has a credential of the application, the result has the body without.
    fn read(&self, form: Form, body: &[u8]) -> Result<(Found, Option<Bytes>), OutboundError> {
        let text = std::str::from_utf8(body).map_err(|_| NOT_UTF8)?;
        let provider = &self.credential.provider;
        let only = self.only.clone();
        let places = Places::new(provider, &self.channels, only, self.wanted);
        let found = places.find(form, text)?;
        let strips = found.has_credential && self.strips_credentials;
        let stripped = strips.then(|| without_credentials(provider, form, text));
        Ok((found, stripped))
    }
}

impl<'p> Places<'p> {
    fn of(permit: &Permit<'p>) -> Self {
        let only = OnlyFields::of(permit);
        let channels = &permit.route.channels;
        Self::new(permit.provider(), channels, only, Wanted::of(permit))
    }

    /// The places that count for a request: only messages name recipients, and whatever is sent may name senders, such
    /// as the sign of typing.
    fn new(
        provider: &'p Provider,
        channels: &'p [String],
        only: Option<OnlyFields>,
        wanted: Wanted,
    ) -> Self {
        let Wanted {
            is_message,
            is_sent,
            has_pairs,
        } = wanted;
        let of_messages = |places: &'p [Vec<String>], counts: bool| match counts {
            true if is_message => places,
            _ => &[],
        };
        Self {
            provider,
            channels: ChannelRule::of(provider, channels).filter(|_| is_message),
            senders: if is_sent {
                &provider.limits.sender
            } else {
                &[]
            },
            only,
            recipients: of_messages(
                &provider.limits.recipient,
                has_pairs || !provider.limits.receipt.is_empty(),
            ),
            receipts: of_messages(&provider.limits.receipt, true),
            has_pairs,
        }
    }

    fn names_senders(&self) -> bool {
        !self.senders.is_empty()
    }

    /// The senders in the query: some servers read query and body alike.
    fn senders_in_query(&self, parts: &Parts) -> Vec<String> {
        let mut named = Vec::new();
        if self.names_senders() {
            named = parties_in_form(parts.uri.query().unwrap_or_default(), self.senders);
        }
        named
    }

    fn find(&self, form: Form, text: &str) -> Result<Found, OutboundError> {
        match form {
            Form::Json => self.find_in_json(text),
            Form::UrlEncoded => self.find_in_form(text),
            Form::Multipart | Form::File | Form::Untyped => Ok(Found::default()),
        }
    }

    /// Looks through a JSON object: Graph reads the fields of an object like the fields of a form. Many readers skip a
    /// byte order mark before the object, so one is skipped here as well.
    fn find_in_json(&self, text: &str) -> Result<Found, OutboundError> {
        let Self {
            provider,
            senders,
            recipients,
            receipts,
            channels,
            ..
        } = self;
        let mut is_overridden = false;
        let mut has_credential = false;
        let mut foreign = None;
        let mut fitting: Vec<_> = self.only.iter().flat_map(|only| &only.patterns).collect();
        let is_wanted = |name: &str| {
            // The fields of one body have to fit one pattern together.
            fitting.retain(|fields| fields.iter().any(|own| own == name));
            if self.only.is_some() && foreign.is_none() && fitting.is_empty() {
                foreign = Some(name.chars().take(MAX_SHOWN).collect());
            }
            is_overridden |= provider.graph_answers && is_read_as_one_of(name, &OVERRIDES);
            has_credential |= is_read_as_one_of(name, &provider.strip.form);
            let mut firsts = senders
                .iter()
                .chain(*recipients)
                .chain(*receipts)
                .chain(channels.iter().flat_map(ChannelRule::places))
                .filter_map(|place| place.first());
            firsts.any(|first| is_read_as_one_of(name, &[first]))
        };
        let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
        let fields = json::fields_of(bare, is_wanted).ok_or(NOT_AN_OBJECT)?;
        if is_overridden {
            return Err(OVERRIDDEN);
        }
        if let Some((field, only)) = foreign.zip(self.only.clone()) {
            return Err(OutboundError::FieldNotAllowed {
                field,
                operation: only.operation,
                allowed: only.patterns.concat(),
            });
        }
        if let Some(rule) = channels {
            rule.check_fields(&fields)?;
        }
        Ok(Found {
            senders: senders_in_json(&fields, senders)?,
            recipient: recipient_in_json(&fields, recipients)
                .filter(|recipient| self.has_pairs && provider.limits.is_paired(recipient)),
            is_receipt: has_text(&fields, receipts) && !has_field(&fields, recipients),
            has_credential,
        })
    }

    fn find_in_form(&self, text: &str) -> Result<Found, OutboundError> {
        // Some servers read JSON whatever the type says.
        let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
        if text.trim_start_matches(blank).starts_with(['{', '[']) {
            return Err(JSON_AS_FORM);
        }
        let strip = &self.provider.strip.form;
        if self.provider.graph_answers && query::pairs(text).any(|pair| pair.is_named(&OVERRIDES)) {
            return Err(OVERRIDDEN);
        }
        if let Some(rule) = &self.channels {
            rule.check_form(text)?;
        }
        Ok(Found {
            senders: parties_in_form(text, self.senders),
            recipient: parties_in_form(text, self.recipients)
                .into_iter()
                .next()
                .filter(|recipient| self.has_pairs && self.provider.limits.is_paired(recipient)),
            is_receipt: false,
            has_credential: query::pairs(text).any(|pair| pair.is_named(strip)),
        })
    }
}

/// The recipient that a JSON message names at one of the provider's places.
pub(super) fn recipient_of(provider: &Provider, text: &str) -> Option<String> {
    let places = &provider.limits.recipient;
    let found = places.iter().find_map(|place| json::text_at(text, place));
    found.map(|named| party(&named).into_owned())
}

/// The senders at all places. A server may read any of several fields, so every one counts.
fn senders_in_json(
    fields: &[(Cow<'_, str>, &str)],
    places: &[Vec<String>],
) -> Result<Vec<String>, OutboundError> {
    let mut texts = Vec::new();
    for place in places {
        texts.extend(texts_at(fields, place).map_err(|_| SENDER_IS_NO_TEXT)?);
    }
    Ok(parties(
        texts.iter().map(|text| Cow::Borrowed(text.as_str())),
    ))
}

/// The recipient at the first place that has one. One is enough, because a recipient only chooses the limit.
fn recipient_in_json(fields: &[(Cow<'_, str>, &str)], places: &[Vec<String>]) -> Option<String> {
    let named = |(first, rest): (&String, &[String])| {
        let (_, value) = fields.iter().rfind(|(name, _)| name == first)?;
        let text = match rest {
            [] => json::scalar(value),
            rest if rest.iter().any(|key| key == "*") => {
                let mut texts = Vec::new();
                json::add_texts_at(value, rest, &mut texts).ok()?;
                texts.into_iter().next().map(Cow::Owned)
            }
            rest => json::text_at(value, rest),
        };
        Some(party(&text?).into_owned()).filter(|named| !named.is_empty())
    };
    places
        .iter()
        .filter_map(|place| place.split_first())
        .find_map(named)
}

/// True if a field at one of the places is text.
fn has_text(fields: &[(Cow<'_, str>, &str)], places: &[Vec<String>]) -> bool {
    places
        .iter()
        .filter_map(|place| place.split_first())
        .any(|(first, rest)| {
            let mut texts = Vec::new();
            let mut named = fields.iter().filter(|(name, _)| name == first);
            named.all(|(_, value)| json::add_texts_at(value, rest, &mut texts).is_ok())
                && !texts.is_empty()
        })
}

/// True if a server could read a field at one of the places, whatever its value.
fn has_field(fields: &[(Cow<'_, str>, &str)], places: &[Vec<String>]) -> bool {
    let firsts: Vec<_> = places.iter().filter_map(|place| place.first()).collect();
    fields
        .iter()
        .any(|(name, _)| is_read_as_one_of(name, &firsts))
}

/// The parties that a form or a query names.
fn parties_in_form(text: &str, places: &[Vec<String>]) -> Vec<String> {
    parties(values_in_form(text, places).into_iter())
}

fn parties<'t>(texts: impl Iterator<Item = Cow<'t, str>>) -> Vec<String> {
    texts
        .map(|text| party(&text).into_owned())
        .filter(|party| !party.is_empty())
        .collect()
}

/// Takes the application's credentials out of a form, or out of the top of a JSON object. All other fields keep their
/// bytes.
fn without_credentials(provider: &Provider, form: Form, text: &str) -> Bytes {
    let names = &provider.strip.form;
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    match RawObject::parse(bare).filter(|_| form == Form::Json) {
        Some(mut object) => {
            object.retain(|name| !is_read_as_one_of(name, names));
            object.to_string().into()
        }
        None => query::without(text, names).into_owned().into(),
    }
}

/// Longest name of a field in an error text, in characters.
const MAX_SHOWN: usize = 32;
const NOT_UTF8: OutboundError =
    OutboundError::bad_request("the body is not UTF-8", "send JSON and forms in UTF-8");
const NOT_AN_OBJECT: OutboundError = OutboundError::bad_request(
    "the body is not one JSON object",
    "send exactly one valid JSON object, or name the Content-Type of what is sent",
);
const JSON_AS_FORM: OutboundError = OutboundError::bad_request(
    "the body is JSON, and its Content-Type is that of a form",
    "send JSON with `Content-Type: application/json`; curl needs -H for that",
);
const SENDER_IS_NO_TEXT: OutboundError = OutboundError::bad_request(
    "the sender in the body is neither text nor a whole number",
    "name the sender as text, where the provider looks for it",
);
const UNREADABLE_SENDER: OutboundError = OutboundError::bad_request(
    "this route allows only its `senders`, and a sender in this kind of body cannot be read",
    "send the message as JSON or a form, or remove `senders` from the route",
);
