//! The findings of a single pass over the body of a request: senders, recipients, credentials and
//! forbidden fields.

use std::borrow::Cow;

use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::body::Form;
use super::channels::ChannelRule;
use super::error::OutboundError;
use super::fields::values_read_as;

use super::guard::{
    MARKED, OVERRIDDEN, OVERRIDES, TOKEN_ASKED, asks_for_token, names_fields, names_token,
};
use super::parties::{
    check_count, lacks_sender_in_json, messages_to, own_sender_in_form, own_sender_in_json,
    recipients_in_form, recipients_in_json, senders_in_form, senders_in_json,
};
use super::policy::{OwnSender, Permit};
use crate::json;
use crate::provider::{OperationKind, Provider, RECIPIENT, party};
use crate::query::{self, ReadName};

/// The places of fields to look for in one body.
pub(super) struct FieldPlaces<'p> {
    provider: &'p Provider,
    pub(super) channels: Option<ChannelRule<'p>>,
    only: Option<OnlyFields>,
    senders: Cow<'p, [Vec<String>]>,
    /// The places of senders that the request has of its own.
    own_senders: &'p [Vec<String>],
    recipients: &'p [Vec<String>],
    /// True if recipients count, in the path as well.
    counts_recipients: bool,
    receipts: &'p [Vec<String>],
    wanted: WantedFields,
}

/// The fields that a body may have, where the operation does not allow every field.
#[derive(Clone)]
pub(super) struct OnlyFields {
    operation: String,
    /// The fields of each pattern that the body may fit.
    patterns: Vec<Vec<String>>,
}

impl OnlyFields {
    pub(super) fn of(permit: &Permit<'_>) -> Option<Self> {
        permit.request.body.as_ref()?;
        let fields = permit
            .patterns()
            .map(|(_, pattern)| pattern.body.clone().unwrap_or_default());
        Some(Self {
            operation: permit.operation.name.clone(),
            patterns: fields.collect(),
        })
    }

    /// The refusal of a body for a field.
    fn refusal(&self, field: String) -> OutboundError {
        OutboundError::FieldNotAllowed {
            field,
            operation: self.operation.clone(),
            allowed: self.patterns.concat(),
        }
    }
}

/// The result of one pass over a body.
#[derive(Default)]
pub(super) struct BodyFindings {
    pub(super) pattern: usize,
    pub(super) senders: Vec<String>,
    pub(super) lacks_sender: bool,
    pub(super) own_sender: OwnSender,
    pub(super) recipients: Vec<String>,
    pub(super) messages: u32,
    pub(super) is_receipt: bool,
    pub(super) has_credential: bool,
}

/// The parties that path and query of a request name.
#[derive(Debug, Default)]
pub(super) struct InHead {
    pub(super) senders: Vec<String>,
    pub(super) recipients: Vec<String>,
    /// The number of messages: one for each recipient, and 0 without one.
    pub(super) messages: u32,
}

/// The fields that a request is read for, by all patterns that the body may fit.
#[derive(Clone, Copy)]
pub(super) struct WantedFields {
    is_message: bool,
    /// True for whatever is sent, messages and others, such as the sign of typing.
    is_sent: bool,
    /// True for whatever is sent by a path that decides no channel.
    names_channel: bool,
    /// True on a route with `senders`: no request of any kind may name another sender.
    bounds_senders: bool,
    has_pairs: bool,
}

impl WantedFields {
    pub(super) fn of(permit: &Permit<'_>) -> Self {
        let sent = || {
            let patterns = permit.patterns();
            patterns.filter(|(operation, _)| operation.kind == OperationKind::Send)
        };
        Self {
            is_message: permit.patterns().any(|(_, pattern)| pattern.limited),
            is_sent: sent().next().is_some(),
            names_channel: sent().any(|(_, pattern)| pattern.channel.is_none()),
            bounds_senders: !permit.route.senders.is_empty(),
            has_pairs: permit.route.limiter.pairs.is_some(),
        }
    }
}

impl<'p> FieldPlaces<'p> {
    pub(super) fn of(permit: &Permit<'p>) -> Self {
        let only = OnlyFields::of(permit);
        let channels = &permit.route.channels;
        let own = &permit.request.senders;
        let wanted = WantedFields::of(permit);
        Self::new(permit.provider(), channels, own, only, wanted)
    }

    /// The places that count for a request: only messages name recipients, and whatever is sent may
    /// name senders and channels, such as the sign of typing. A route with `senders` looks for
    /// senders in every request, such as an upload, and before recipients. `own` are the places of
    /// senders that the request has besides.
    pub(super) fn new(
        provider: &'p Provider,
        channels: &'p [String],
        own: &'p [Vec<String>],
        only: Option<OnlyFields>,
        wanted: WantedFields,
    ) -> Self {
        let limits = &provider.limits;
        let has_senders_before = limits.sender_before.is_some();
        let counts_of_message = wanted.has_pairs
            || !limits.receipt.is_empty()
            || limits.has_lists()
            || has_senders_before;
        let counts_recipients = (wanted.is_message && counts_of_message)
            || (wanted.bounds_senders && has_senders_before);
        Self {
            provider,
            channels: ChannelRule::of(provider, channels).filter(|_| wanted.names_channel),
            senders: if wanted.is_sent || wanted.bounds_senders {
                all_places(&limits.sender, own)
            } else {
                Cow::Borrowed(&[])
            },
            own_senders: own,
            only,
            recipients: if counts_recipients {
                &limits.recipient
            } else {
                &[]
            },
            counts_recipients,
            receipts: if wanted.is_message {
                &limits.receipt
            } else {
                &[]
            },
            wanted,
        }
    }

    /// True for a request whose sender stands in the body.
    pub(super) fn names_senders(&self) -> bool {
        self.wanted.is_sent && !self.senders.is_empty()
    }

    /// The parties that path and query of any request name: some servers read query and body alike,
    /// and a list of messages may be chosen by sender.
    ///
    /// # Errors
    /// 400 for too many recipients.
    pub(super) fn parties_in_head(
        &self,
        permit: &Permit<'_>,
        parts: &Parts,
    ) -> Result<InHead, OutboundError> {
        let limits = &self.provider.limits;
        let query = parts.uri.query().unwrap_or_default();
        let senders = all_places(&limits.sender, &permit.request.senders);
        let mut recipients = recipients_in_form(limits, query, self.recipients);
        let in_path = permit.request.path.variable(permit.path, RECIPIENT);
        if let Some(named) = in_path.filter(|_| self.counts_recipients) {
            let named = percent_decode_str(named).decode_utf8_lossy();
            recipients = vec![party(&named).into_owned()];
        }
        check_count(&recipients)?;
        Ok(InHead {
            senders: senders_in_form(limits, query, &senders, self.recipients),
            messages: if recipients.is_empty() {
                0
            } else {
                messages_to(&recipients)
            },
            recipients: self.paired(recipients),
        })
    }

    pub(super) fn find(&self, form: Form, text: &str) -> Result<BodyFindings, OutboundError> {
        match form {
            Form::Json => self.find_in_json(text),
            Form::UrlEncoded => self.find_in_form(text),
            Form::Multipart | Form::File | Form::Untyped => Ok(BodyFindings::default()),
        }
    }

    /// Looks through a JSON object: Graph reads the fields of an object like the fields of a form.
    /// Many readers skip a byte order mark before the object, so one is skipped here as well.
    fn find_in_json(&self, text: &str) -> Result<BodyFindings, OutboundError> {
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
        let patterns = self.only.iter().flat_map(|only| &only.patterns);
        let mut fitting: Vec<_> = patterns.enumerate().collect();
        let mut wanted = self.first_names();
        wanted.extend(provider.graph_answers.then_some("fields"));
        let is_wanted = |name: &str| {
            // The fields of one body have to fit one pattern together.
            fitting.retain(|(_, fields)| fields.iter().any(|own| own == name));
            if self.only.is_some() && foreign.is_none() && fitting.is_empty() {
                foreign = Some(name.chars().take(MAX_SHOWN).collect());
            }
            let name = ReadName::new(name);
            is_overridden |= provider.graph_answers && name.is_one_of(&OVERRIDES);
            has_credential |= name.is_one_of(&provider.strip.form);
            name.is_one_of(&wanted)
        };
        let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
        // An empty text is as good as no body, but for a message of Graph. plivo (Node) 4.79.0
        // writes one with GET.
        if bare.trim() == r#""""# && !(provider.graph_answers && self.wanted.is_message) {
            return Ok(BodyFindings::default());
        }
        let fields = json::fields_of(bare, is_wanted).ok_or(NOT_AN_OBJECT)?;
        if is_overridden {
            return Err(OVERRIDDEN);
        }
        self.check_asked(&fields)?;
        if let Some((field, only)) = foreign.zip(self.only.as_ref()) {
            return Err(only.refusal(field));
        }
        if let Some(rule) = channels {
            rule.check_fields(&fields, self.own_senders)?;
        }
        let limits = &provider.limits;
        let named = recipients_in_json(limits, &fields, recipients);
        check_count(&named)?;
        Ok(BodyFindings {
            pattern: fitting.first().map_or(0, |(pattern, _)| *pattern),
            senders: senders_in_json(limits, &fields, senders, recipients)?,
            lacks_sender: lacks_sender_in_json(&fields, senders),
            own_sender: own_sender_in_json(limits, &fields, self.own_senders)?,
            messages: messages_to(&named),
            recipients: self.paired(named),
            is_receipt: has_text(&fields, receipts) && !has_field(&fields, recipients),
            has_credential,
        })
    }

    /// The names at the top of an object that lead to a place.
    fn first_names(&self) -> Vec<&str> {
        let channels = self.channels.iter().flat_map(ChannelRule::places);
        let places = self.senders.iter().chain(self.recipients);
        places
            .chain(self.receipts)
            .chain(channels)
            .filter_map(|place| place.first().map(String::as_str))
            .collect()
    }

    /// Refuses fields with which Graph would answer a token.
    fn check_asked(&self, fields: &[(Cow<'_, str>, &str)]) -> Result<(), OutboundError> {
        let asks = |(name, value): &(Cow<'_, str>, &str)| {
            names_fields(name) && names_token(&json::decoded(value))
        };
        if self.provider.graph_answers && fields.iter().any(asks) {
            return Err(TOKEN_ASKED);
        }
        Ok(())
    }

    fn find_in_form(&self, text: &str) -> Result<BodyFindings, OutboundError> {
        // Some servers read JSON whatever the type says.
        let blank = |c: char| c.is_whitespace() || c == '\u{feff}';
        if text.trim_start_matches(blank).starts_with(['{', '[']) {
            return Err(JSON_AS_FORM);
        }
        if query::has_marked_name(text) {
            return Err(MARKED);
        }
        if let (Some(only), Some(pair)) = (&self.only, query::pairs(text).next()) {
            return Err(only.refusal(pair.name().chars().take(MAX_SHOWN).collect()));
        }
        let strip = &self.provider.strip.form;
        if self.provider.graph_answers && query::pairs(text).any(|pair| pair.is_named(&OVERRIDES)) {
            return Err(OVERRIDDEN);
        }
        if self.provider.graph_answers
            && query::pairs(text).any(|pair| asks_for_token(&pair.name(), &pair.value()))
        {
            return Err(TOKEN_ASKED);
        }
        if let Some(rule) = &self.channels {
            rule.check_form(text, self.own_senders)?;
        }
        let limits = &self.provider.limits;
        let named = recipients_in_form(limits, text, self.recipients);
        check_count(&named)?;
        Ok(BodyFindings {
            pattern: 0,
            senders: senders_in_form(limits, text, &self.senders, self.recipients),
            lacks_sender: false,
            own_sender: own_sender_in_form(limits, text, self.own_senders),
            messages: messages_to(&named),
            recipients: self.paired(named),
            is_receipt: false,
            has_credential: query::pairs(text).any(|pair| pair.is_named(strip)),
        })
    }

    /// The recipients with a limit of their own.
    fn paired(&self, mut recipients: Vec<String>) -> Vec<String> {
        recipients.retain(|named| self.wanted.has_pairs && self.provider.limits.is_paired(named));
        recipients
    }
}

/// The places of senders of all requests of a provider, and those of one request.
fn all_places<'p>(of_all: &'p [Vec<String>], own: &[Vec<String>]) -> Cow<'p, [Vec<String>]> {
    if own.is_empty() {
        Cow::Borrowed(of_all)
    } else {
        Cow::Owned([of_all, own].concat())
    }
}

/// The recipient that a JSON message names at one of the provider's places.
pub(super) fn recipient_of(provider: &Provider, text: &str) -> Option<String> {
    let places = &provider.limits.recipient;
    let found = places.iter().find_map(|place| json::text_at(text, place));
    found.map(|named| party(&named).into_owned())
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
    let mut places = places.iter().filter_map(|place| place.split_first());
    places.any(|(first, rest)| {
        values_read_as(fields, first).any(|value| json::may_have_value_at(value, rest))
    })
}

/// Longest name of a field in an error text, in characters: longer than the names of all providers.
/// A longer text may be a value in the wrong place.
const MAX_SHOWN: usize = 32;
const NOT_AN_OBJECT: OutboundError = OutboundError::bad_request(
    "the body is not one JSON object",
    "send exactly one valid JSON object, or name the Content-Type of what is sent",
);
const JSON_AS_FORM: OutboundError = OutboundError::bad_request(
    "the body is JSON, and its Content-Type is that of a form",
    "send JSON with `Content-Type: application/json`; curl needs -H for that",
);
