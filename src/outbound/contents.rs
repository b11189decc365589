//! The fields of a request that mean something to Keyside: names that are refused, credentials of
//! the application, senders, the recipient. One pass over the body finds all of them.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;

use super::body::{Form, RequestBody, unsupported};
use super::error::OutboundError;
use super::found::{BodyFindings, FieldPlaces, InHead, OnlyFields, WantedFields};
use super::policy::{NamedSenders, Permit};
use crate::credential::Credential;
use crate::json::{self, RawObject};
use crate::provider::Provider;
use crate::query::{self, is_read_as_one_of};
use crate::workers::work_on;

/// The fields of a request that mean something to Keyside.
#[derive(Debug, Default)]
pub struct Contents {
    /// The senders, in the form of [`party`](crate::provider::party).
    pub senders: NamedSenders,
    /// The recipients with a limit of their own, if the route has limits for each recipient.
    pub recipients: Vec<String>,
    /// The number of messages: one for each recipient, and at least one.
    pub messages: u32,
    /// True for a request that is no message, although it goes to the path of messages: it marks a
    /// message as read, or shows the sign of typing, and has no recipient in any place.
    pub is_receipt: bool,
    /// The pattern that the body decides for, by its position in [`Permit::patterns`].
    pub pattern: usize,
}

/// Reads a received request, and takes the application's credentials out of the body.
///
/// # Errors
/// 400 for a body that cannot be read as its `Content-Type` says, for a name that changes the
/// request, and for a sender that is not text.
pub(super) async fn read(
    permit: &Permit<'_>,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<Contents, OutboundError> {
    let places = FieldPlaces::of(permit);
    let head = places.parties_in_head(permit, parts)?;
    let (form, bytes) = match body {
        RequestBody::Whole { form, body } => (*form, body),
        // The reader of the parts refuses a sender in a body beside the sender in the query.
        RequestBody::Stream { reader, .. }
            if !permit.route.senders.is_empty()
                && places.names_senders()
                && (reader.is_none() || permit.request.sender.is_none()) =>
        {
            return Err(UNREADABLE_SENDER);
        }
        RequestBody::Stream { .. } if permit.request.body.is_some() => {
            return Err(unsupported(permit.request));
        }
        RequestBody::Stream { .. } => return Ok(BodyFindings::default().with_head(head)),
    };
    if let Some(rule) = &places.channels {
        rule.check_query(parts.uri.query().unwrap_or_default())?;
    }
    if bytes.is_empty() {
        return Ok(BodyFindings::default().with_head(head));
    }
    check_form(permit, form)?;
    let reading = Reading::of(permit);
    let original = bytes.clone();
    let (found, changed) = work_on(original.len(), move || reading.read(form, &original)).await?;
    if let Some(changed) = changed {
        *bytes = changed;
    }
    Ok(found.with_head(head))
}

/// Reads a request without a body.
///
/// # Errors
/// The errors of a received request.
pub fn read_head(permit: &Permit<'_>, parts: &Parts) -> Result<Contents, OutboundError> {
    let places = FieldPlaces::of(permit);
    if let Some(rule) = &places.channels {
        rule.check_query(parts.uri.query().unwrap_or_default())?;
    }
    Ok(BodyFindings::default().with_head(places.parties_in_head(permit, parts)?))
}

/// Reads a request with this text as its body.
///
/// # Errors
/// The errors of a received request.
pub fn read_text(
    permit: &Permit<'_>,
    parts: &Parts,
    text: &str,
) -> Result<Contents, OutboundError> {
    let places = FieldPlaces::of(permit);
    if let Some(rule) = &places.channels {
        rule.check_query(parts.uri.query().unwrap_or_default())?;
    }
    let head = places.parties_in_head(permit, parts)?;
    let form = Form::of(&parts.headers, permit.request);
    check_form(permit, form)?;
    check_parameter(parameter_of(permit), form, text)?;
    Ok(places.find(form, text)?.with_head(head))
}

/// Refuses a form that cannot be read. Where only some fields may pass, the body has to be JSON;
/// where none may pass, a form is looked through as well.
fn check_form(permit: &Permit<'_>, form: Form) -> Result<(), OutboundError> {
    let fields = permit.request.body.as_ref();
    let is_bound = fields.is_some_and(|fields| !fields.is_empty() || form != Form::UrlEncoded);
    if form == Form::Untyped || (is_bound && form != Form::Json) {
        return Err(unsupported(permit.request));
    }
    Ok(())
}

/// The query parameter for the sender, on a route with `senders`.
fn parameter_of<'a>(permit: &Permit<'a>) -> Option<&'a str> {
    let parameter = permit.request.sender.as_deref()?;
    (!permit.route.senders.is_empty()).then_some(parameter)
}

/// Refuses a body with the parameter that names the sender in the query: a server may merge both,
/// and prefer the body.
fn check_parameter(parameter: Option<&str>, form: Form, text: &str) -> Result<(), OutboundError> {
    let Some(parameter) = parameter else {
        return Ok(());
    };
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_named = match form {
        Form::Json => json::fields_of(bare, |name| is_read_as_one_of(name, &[parameter]))
            .is_some_and(|named| !named.is_empty()),
        _ => query::pairs(text).any(|pair| pair.is_named(&[parameter])),
    };
    if is_named {
        Err(SENDER_IN_BODY)
    } else {
        Ok(())
    }
}

impl BodyFindings {
    /// Adds what the head names. Recipients in the head count where the body names none.
    fn with_head(self, head: InHead) -> Contents {
        let (recipients, messages) = if self.recipients.is_empty() && self.messages <= 1 {
            (head.recipients, self.messages.max(head.messages))
        } else {
            (self.recipients, self.messages)
        };
        Contents {
            senders: NamedSenders {
                in_body: self.senders,
                is_missing: self.lacks_sender,
                own: self.own_sender,
                in_query: head.senders,
            },
            recipients,
            messages,
            is_receipt: self.is_receipt,
            pattern: self.pattern,
        }
    }
}

/// The inputs for reading the body of a request on another thread.
struct Reading {
    credential: Arc<Credential>,
    /// The channels that the route allows.
    channels: Arc<[String]>,
    wanted: WantedFields,
    only: Option<OnlyFields>,
    /// The places of senders that the request has of its own.
    own_senders: Vec<Vec<String>>,
    /// The query parameter for the sender.
    parameter: Option<String>,
    strips_credentials: bool,
}

impl Reading {
    fn of(permit: &Permit<'_>) -> Self {
        Self {
            credential: Arc::clone(&permit.route.credential),
            channels: Arc::clone(&permit.route.channels),
            wanted: WantedFields::of(permit),
            only: OnlyFields::of(permit),
            own_senders: permit.request.senders.clone(),
            parameter: parameter_of(permit).map(str::to_owned),
            strips_credentials: !permit.passes_callers_credential(),
        }
    }

    /// Finds the fields of a body. If the body has a credential of the application, the result has
    /// the body without.
    fn read(
        &self,
        form: Form,
        body: &[u8],
    ) -> Result<(BodyFindings, Option<Bytes>), OutboundError> {
        let text = std::str::from_utf8(body).map_err(|_| NOT_UTF8)?;
        check_parameter(self.parameter.as_deref(), form, text)?;
        let provider = &self.credential.provider;
        let only = self.only.clone();
        let own = &self.own_senders;
        let places = FieldPlaces::new(provider, &self.channels, own, only, self.wanted);
        let found = places.find(form, text)?;
        let strips = found.has_credential && self.strips_credentials;
        let stripped = strips.then(|| without_credentials(provider, form, text));
        Ok((found, stripped))
    }
}

/// Takes the application's credentials out of a form, or out of the top of a JSON object. All other
/// fields keep their bytes.
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

const NOT_UTF8: OutboundError =
    OutboundError::bad_request("the body is not UTF-8", "send JSON and forms in UTF-8");
const SENDER_IN_BODY: OutboundError = OutboundError::bad_request(
    "the body names the sender, and the provider looks for the sender of this request in the query",
    "name the sender in the query alone",
);
const UNREADABLE_SENDER: OutboundError = OutboundError::bad_request(
    "this route allows only its `senders`, and a sender in this kind of body cannot be read",
    "send the message as JSON or a form, or remove `senders` from the route",
);
