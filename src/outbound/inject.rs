//! The request as the provider sees it: what the caller may not send is taken out, and the credential
//! is put in, last.

use std::borrow::Cow;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Method, header};
use zeroize::Zeroizing;

use super::body::Form;
use super::error::OutboundError;
use super::guard::{OVERRIDDEN, OVERRIDES, is_stripped, read_as};
use super::policy::Permit;
use crate::credential::Sent;
use crate::headers::connection_named;
use crate::json::{self, RawObject};
use crate::provider::access::ACCESS_TOKEN;
use crate::provider::{Inject, Part, Provider, Template};
use crate::query;
use crate::upstream::{COPY_LIMIT, Head, Outgoing, OutgoingBody};

/// The length of a body, which decides how it is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Unknown,
}

/// Changes a body that was read whole: credentials of the caller's go, fields of the provider's come.
///
/// # Errors
/// Where the credential has its place in the body alone, and this body has no such place.
pub(super) fn edit_body(permit: &Permit<'_>, sent: Sent<'_>, form: Form, body: Bytes) -> Result<Bytes, OutboundError> {
    if permit.operation().is_some_and(|operation| operation.caller_credential) {
        return Ok(body);
    }
    let fits = |inject: &&Inject| match inject {
        Inject::JsonField { .. } => form == Form::Json && !body.is_empty(),
        Inject::FormField { .. } => form == Form::UrlEncoded,
        Inject::Header { .. } | Inject::Query { .. } | Inject::AppSecretProof { .. } => false,
    };
    let fields: Vec<_> = injections(permit).iter().filter(fits).collect();
    if fields.is_empty() && needs_body(permit) {
        return Err(NO_PLACE);
    }
    let text = match std::str::from_utf8(&body) {
        Ok(text) => text,
        Err(_) if fields.is_empty() && form != Form::UrlEncoded => return Ok(body),
        Err(_) => return Err(NO_PLACE),
    };
    let cleaned = match form {
        Form::UrlEncoded => clean_form(permit.provider(), text)?,
        Form::Json => clean_json(permit.provider(), text)?,
        Form::Stream => Cow::Borrowed(text),
    };
    if fields.is_empty() && matches!(cleaned, Cow::Borrowed(_)) {
        return Ok(body);
    }
    let mut changed = Zeroizing::new(cleaned.into_owned());
    for field in fields {
        match field {
            Inject::JsonField { pointer, value } => changed = with_json_field(sent, &changed, pointer, value)?,
            Inject::FormField { name, value } => changed = with_form_field(sent, &changed, name, value)?,
            Inject::Header { .. } | Inject::Query { .. } | Inject::AppSecretProof { .. } => {}
        }
    }
    Ok(Bytes::copy_from_slice(changed.as_bytes()))
}

fn clean_form<'b>(provider: &Provider, text: &'b str) -> Result<Cow<'b, str>, OutboundError> {
    if provider.graph_answers && query::pairs(text).any(|pair| pair.is_named(&OVERRIDES)) {
        return Err(OVERRIDDEN);
    }
    Ok(query::without(text, &provider.strip.form))
}

/// Graph reads the fields of a JSON object as it reads those of a form. What is no object has none; a
/// byte order mark before one is no part of it to many readers.
fn clean_json<'b>(provider: &Provider, text: &'b str) -> Result<Cow<'b, str>, OutboundError> {
    let overrides = |name: &str| OVERRIDES.iter().any(|other| other.eq_ignore_ascii_case(name));
    let is_credential = |name: &str| provider.strip.form.iter().any(|other| other.eq_ignore_ascii_case(name));
    let wanted = OVERRIDES.into_iter().chain(provider.strip.form.iter().map(String::as_str));
    if !json::may_name(text, &wanted) {
        return Ok(Cow::Borrowed(text));
    }
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Some(mut object) = RawObject::parse(bare) else { return Ok(Cow::Borrowed(text)) };
    if provider.graph_answers && object.names().any(overrides) {
        return Err(OVERRIDDEN);
    }
    if !object.names().any(is_credential) {
        return Ok(Cow::Borrowed(text));
    }
    object.retain(|name| !is_credential(name));
    Ok(Cow::Owned(object.to_string()))
}

/// Whether the credential goes into the body and nowhere else.
fn needs_body(permit: &Permit<'_>) -> bool {
    let in_body = |inject: &Inject| matches!(inject, Inject::JsonField { .. } | Inject::FormField { .. });
    let injections = injections(permit);
    !injections.is_empty() && injections.iter().all(in_body)
}

fn with_json_field(
    sent: Sent<'_>,
    text: &str,
    pointer: &[String],
    value: &Template,
) -> Result<Zeroizing<String>, OutboundError> {
    let mut object = RawObject::parse(text).ok_or(NO_PLACE)?;
    let mut rendered = Zeroizing::new(String::with_capacity(RENDERED));
    sent.render(value, |text| rendered.push_str(text))?;
    if !object.set_string_at(pointer, &rendered) {
        return Err(NO_PLACE);
    }
    Ok(Zeroizing::new(object.to_string()))
}

fn with_form_field(
    sent: Sent<'_>,
    text: &str,
    name: &str,
    value: &Template,
) -> Result<Zeroizing<String>, OutboundError> {
    let mut text = Zeroizing::new(query::without(text, &[name]).into_owned());
    query::begin_pair(&mut text, name);
    sent.render(value, |piece| text.extend(query::encode(piece)))?;
    Ok(text)
}

/// Whether an access token goes into the request.
pub(super) fn takes_access_token(permit: &Permit<'_>) -> bool {
    let own_credential = !permit.operation().is_some_and(|operation| operation.caller_credential);
    let mut templates = injections(permit).iter().filter_map(Inject::template);
    own_credential && templates.any(|template| template.names().any(|name| name == ACCESS_TOKEN))
}

/// Writes the request. Secrets enter the head here, last, and leave with its buffer.
pub(super) fn compose(
    permit: &Permit<'_>,
    sent: Sent<'_>,
    request: &Parts,
    injected: &[HeaderName],
    length: Length,
    body: OutgoingBody,
) -> Result<Outgoing, OutboundError> {
    let own_credential = !permit.operation().is_some_and(|operation| operation.caller_credential);
    let injections = if own_credential { injections(permit) } else { &[] };
    let mut head = Head::with_capacity(room_for(sent, request, &body));
    write_target(&mut head, permit, sent, request, injections)?;
    write_line(&mut head, "host", permit.host().as_bytes());
    let named: Vec<_> = connection_named(&request.headers).collect();
    let mut has_agent = false;
    for (name, value) in &request.headers {
        let callers_own = !own_credential && *name == header::AUTHORIZATION;
        let read_as = read_as(name);
        let unwanted = is_stripped(&read_as)
            || injected.contains(&read_as)
            || permit.provider().strip.headers.contains(&read_as)
            || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
            // An answer that has to be looked through must not come compressed or in parts.
            || *name == header::ACCEPT_ENCODING
            || (*name == header::RANGE && !permit.request.media);
        if callers_own || !unwanted {
            has_agent |= *name == header::USER_AGENT;
            write_line(&mut head, name.as_str(), value.as_bytes());
        }
    }
    if !has_agent {
        // Meta's media host refuses requests without one.
        write_line(&mut head, "user-agent", concat!("keyside/", env!("CARGO_PKG_VERSION")).as_bytes());
    }
    match length {
        Length::Unknown => write_line(&mut head, "transfer-encoding", b"chunked"),
        Length::Known(0) if !matches!(request.method, Method::POST | Method::PUT | Method::PATCH) => {}
        Length::Known(length) => write_line(&mut head, "content-length", length.to_string().as_bytes()),
    }
    for inject in injections {
        if let Inject::Header { name, value } = inject {
            head.push(name.as_str().as_bytes());
            head.push(b": ");
            sent.render(value, |text| head.push_secret(text.as_bytes()))?;
            head.push(b"\r\n");
        }
    }
    head.push(b"\r\n");
    Ok(Outgoing::new(request.method.clone(), head, body))
}

/// Enough that the head, a small body and every secret in it never make the buffer grow: growing
/// would leave a copy behind that nobody wipes.
fn room_for(sent: Sent<'_>, request: &Parts, body: &OutgoingBody) -> usize {
    let headers: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri.path().len() + request.uri.query().map_or(0, str::len);
    let body = match body {
        OutgoingBody::Whole(data) if data.len() <= COPY_LIMIT => data.len(),
        OutgoingBody::Whole(_) | OutgoingBody::Pieces(_) | OutgoingBody::Stream { .. } => 0,
    };
    512 + headers + target + body + 4 * sent.length()
}

fn write_target(
    head: &mut Head,
    permit: &Permit<'_>,
    sent: Sent<'_>,
    request: &Parts,
    injections: &[Inject],
) -> Result<(), OutboundError> {
    head.push(request.method.as_str().as_bytes());
    head.push(b" ");
    match permit.path_map() {
        None => head.push(permit.path.as_bytes()),
        Some(map) => {
            for part in &map.to.parts {
                match part {
                    Part::Text(text) => head.push(text.as_bytes()),
                    Part::Name(name) => match map.from.variable(permit.path, name) {
                        Some(value) => head.push(value.as_bytes()),
                        // A version that was not there, or a secret in the path.
                        None if name == "v" => {}
                        None => write_encoded(head, sent.expose(name)?),
                    },
                    // No path has one: it was refused where the path was read.
                    Part::Basic(_) => {}
                }
            }
        }
    }
    let mut separator: &[u8] = b"?";
    let written = request.uri.query().unwrap_or_default();
    let kept = if permit.operation().is_some_and(|operation| operation.caller_credential) {
        written.into()
    } else {
        query::without(written, &permit.provider().strip.query)
    };
    let mut begin = |head: &mut Head| head.push(std::mem::replace(&mut separator, b"&"));
    if !kept.is_empty() {
        begin(head);
        head.push(kept.as_bytes());
    }
    for inject in injections {
        match inject {
            Inject::Query { name, value } => {
                begin(head);
                query::encode(name).for_each(|piece| head.push(piece.as_bytes()));
                head.push(b"=");
                sent.render(value, |text| write_encoded(head, text))?;
            }
            Inject::AppSecretProof { token, key } => {
                if let Some(proof) = sent.app_secret_proof(token, key, permit.upstream().now())? {
                    begin(head);
                    head.push(proof.as_bytes());
                }
            }
            Inject::Header { .. } | Inject::JsonField { .. } | Inject::FormField { .. } => {}
        }
    }
    head.push(b" HTTP/1.1\r\n");
    Ok(())
}

/// What goes into this request: the provider's, or what the request has in its place.
fn injections<'a>(permit: &Permit<'a>) -> &'a [Inject] {
    permit.request.inject.as_deref().unwrap_or(&permit.provider().inject)
}

fn write_line(head: &mut Head, name: &str, value: &[u8]) {
    head.push(name.as_bytes());
    head.push(b": ");
    head.push(value);
    head.push(b"\r\n");
}

fn write_encoded(head: &mut Head, value: &str) {
    for piece in query::encode(value) {
        head.push_secret(piece.as_bytes());
    }
}

const NO_PLACE: OutboundError = OutboundError::BadRequest {
    message: "the body is not what this provider's credential can be put into",
    details: "send a JSON object, or a form where the provider takes forms, with the matching Content-Type",
};
/// Longer than any token seen, so that a rendered value is seldom moved while it grows.
const RENDERED: usize = 512;
