//! The request as the provider sees it: without credentials of the application, and with the
//! credential of the route.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, header};
use zeroize::Zeroizing;

use super::body::Form;
use super::error::OutboundError;
use super::guard::is_stripped;
use super::media_type::{Content, content};
use super::policy::{Permit, segment_of};
use crate::credential::SecretSet;
use crate::headers::{connection_named, is_ascii_text, read_as};
use crate::json::RawObject;
use crate::provider::access::ACCESS_TOKEN;
use crate::provider::{Inject, PathMap, Template, TemplatePart};
use crate::query;
use crate::upstream::{ClockReading, Outgoing, OutgoingBody, RequestHead, RequestLine, USER_AGENT};
use crate::workers::work_on;

/// Puts the provider's fields into a whole body. The credentials of the application are out
/// already.
///
/// # Errors
/// 400 for a body without a place for a credential that goes nowhere else; 503 without the secret.
pub(super) async fn edit_body(
    permit: &Permit<'_>,
    sent: SecretSet<'_>,
    form: Form,
    body: Bytes,
) -> Result<OutgoingBody, OutboundError> {
    if permit.passes_callers_credential() {
        return Ok(OutgoingBody::Whole(body));
    }
    let fits = |inject: &&Inject| match inject {
        Inject::JsonField { .. } => form == Form::Json && !body.is_empty(),
        Inject::FormField { .. } => form == Form::UrlEncoded,
        Inject::Header { .. } | Inject::Query { .. } | Inject::AppSecretProof { .. } => false,
    };
    let fields: Vec<_> = injections(permit, sent).iter().filter(fits).collect();
    if fields.is_empty() && needs_body(permit, sent) {
        return Err(NO_PLACE);
    }
    let mut edits = match form {
        Form::Json if !body.is_empty() => removals(permit, sent),
        _ => Vec::new(),
    };
    if fields.is_empty() && edits.is_empty() {
        return Ok(OutgoingBody::Whole(body));
    }
    for field in fields {
        edits.extend(Edit::of(field, sent)?);
    }
    let changed = work_on(body.len(), move || edited(&body, &edits)).await?;
    Ok(OutgoingBody::Secret(changed))
}

/// A change of a body.
enum Edit {
    /// A credential of the application goes out, without one in its place.
    Removal { pointer: Vec<String> },
    Json {
        pointer: Vec<String>,
        value: Zeroizing<String>,
    },
    Form {
        name: String,
        value: Zeroizing<String>,
    },
}

impl Edit {
    /// The edit for an injection; `None` for an injection that is in no body.
    fn of(inject: &Inject, sent: SecretSet<'_>) -> Result<Option<Self>, OutboundError> {
        let rendered = |value: &Template| -> Result<_, OutboundError> {
            let mut rendered = Zeroizing::new(String::with_capacity(RENDERED));
            sent.render(value, |text| rendered.push_str(text))?;
            Ok(rendered)
        };
        Ok(match inject {
            Inject::JsonField { pointer, value } => Some(Self::Json {
                pointer: pointer.clone(),
                value: rendered(value)?,
            }),
            Inject::FormField { name, value } => Some(Self::Form {
                name: name.clone(),
                value: rendered(value)?,
            }),
            Inject::Header { .. } | Inject::Query { .. } | Inject::AppSecretProof { .. } => None,
        })
    }

    fn apply(&self, text: &str) -> Result<Zeroizing<String>, OutboundError> {
        match self {
            Self::Removal { pointer } => without_json_field(text, pointer),
            Self::Json { pointer, value } => with_json_field(text, pointer, value),
            Self::Form { name, value } => Ok(with_form_field(text, name, value)),
        }
    }
}

/// Returns the removals from a JSON body: of the fields that carry the credential in most requests
/// of the provider, and not in this one, which has injections of its own.
fn removals(permit: &Permit<'_>, sent: SecretSet<'_>) -> Vec<Edit> {
    let injected = injections(permit, sent);
    let is_injected = |place: &Vec<String>| {
        let mut own = injected.iter().filter_map(Inject::json_pointer);
        own.any(|pointer| pointer == place)
    };
    let usual = sent.provider().inject.iter();
    let unused = usual
        .filter_map(Inject::json_pointer)
        .filter(|place| !is_injected(place));
    unused
        .map(|pointer| Edit::Removal {
            pointer: pointer.clone(),
        })
        .collect()
}

fn edited(body: &[u8], edits: &[Edit]) -> Result<Zeroizing<String>, OutboundError> {
    let text = std::str::from_utf8(body).map_err(|_| NO_PLACE)?;
    let mut changed = Zeroizing::new(text.to_owned());
    for edit in edits {
        changed = edit.apply(&changed)?;
    }
    Ok(changed)
}

/// True if the credential goes into the body and nowhere else.
fn needs_body(permit: &Permit<'_>, sent: SecretSet<'_>) -> bool {
    let in_body =
        |inject: &Inject| matches!(inject, Inject::JsonField { .. } | Inject::FormField { .. });
    let injections = injections(permit, sent);
    !injections.is_empty() && injections.iter().all(in_body)
}

fn with_json_field(
    text: &str,
    pointer: &[String],
    value: &str,
) -> Result<Zeroizing<String>, OutboundError> {
    let mut object = RawObject::parse(text).ok_or(NO_PLACE)?;
    if !object.set_string_at(pointer, value) {
        return Err(NO_PLACE);
    }
    Ok(Zeroizing::new(object.to_string()))
}

fn without_json_field(text: &str, pointer: &[String]) -> Result<Zeroizing<String>, OutboundError> {
    let mut object = RawObject::parse(text).ok_or(NO_OBJECT)?;
    let text = if object.remove_at(pointer) {
        object.to_string()
    } else {
        text.to_owned()
    };
    Ok(Zeroizing::new(text))
}

fn with_form_field(text: &str, name: &str, value: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(query::without(text, &[name]).into_owned());
    query::begin_pair(&mut text, name);
    text.extend(query::encode(value));
    text
}

/// True for a request that carries an access token.
pub(super) fn takes_access_token(permit: &Permit<'_>, sent: SecretSet<'_>) -> bool {
    let own_credential = !permit.passes_callers_credential();
    let mut templates = injections(permit, sent).iter().filter_map(Inject::template);
    own_credential && templates.any(|template| template.names().any(|name| name == ACCESS_TOKEN))
}

/// Writes the request: what the application may send, then the credential. A proof has the time of
/// `clock`.
///
/// # Errors
/// 503 for a credential without a secret that the request should carry.
pub(super) fn compose(
    permit: &Permit<'_>,
    secrets: SecretSet<'_>,
    request: &Parts,
    injected: &[HeaderName],
    clock: ClockReading,
    body: OutgoingBody,
) -> Result<Outgoing, OutboundError> {
    let injections = if permit.passes_callers_credential() {
        &[]
    } else {
        injections(permit, secrets)
    };
    let mut line = RequestLine::new(request.method.clone(), body);
    let map = permit.path_map(&request.method);
    let written = request.uri.query().unwrap_or_default();
    write_path(&mut line, map, permit.path, written, secrets)?;
    let moved = map.and_then(|map| map.query.as_deref());
    let query = query::without(written, moved.as_slice());
    write_query(&mut line, permit, secrets, &query, injections, clock)?;
    let mut head = line.headers(permit.host());
    // Keyside looks through the answer. Without the header any coding would do: RFC 9110, section
    // 12.5.3.
    if !permit.request.media {
        head.header(&header::ACCEPT_ENCODING, "identity");
    }
    copy_headers(&mut head, permit, request, injected);
    for inject in injections {
        if let Inject::Header { name, value } = inject {
            head.secret_header_with(name, |header| {
                secrets.render(value, |text| header.push(text))
            })?;
        }
    }
    Ok(head.finish())
}

fn write_path(
    line: &mut RequestLine,
    map: Option<&PathMap>,
    path: &str,
    query: &str,
    secrets: SecretSet<'_>,
) -> Result<(), OutboundError> {
    let Some(map) = map else {
        line.target(path);
        return Ok(());
    };
    let mut has_empty_segment = false;
    for part in &map.to.parts {
        match part {
            TemplatePart::Text(text) if std::mem::take(&mut has_empty_segment) => {
                line.target(text.strip_prefix('/').unwrap_or(text));
            }
            TemplatePart::Text(text) => line.target(text),
            TemplatePart::Name(name) if map.query.as_deref() == Some(name.as_str()) => {
                line.target(segment_of(query, name)?);
            }
            TemplatePart::Name(name) => match map.from.variable(path, name) {
                Some(value) => line.target(value),
                // The version of a path that has none.
                None if name == "v" => has_empty_segment = true,
                None => line.secret_segment(secrets.expose(name)?),
            },
            // The provider's file was refused if a path has this part.
            TemplatePart::Basic(_) => {}
        }
    }
    Ok(())
}

fn write_query(
    line: &mut RequestLine,
    permit: &Permit<'_>,
    secrets: SecretSet<'_>,
    written: &str,
    injections: &[Inject],
    clock: ClockReading,
) -> Result<(), OutboundError> {
    if permit.passes_callers_credential() {
        line.query(written);
    } else {
        line.query(&query::without(written, &permit.provider().strip.query));
    }
    if let Some((parameter, sender)) = permit.added_sender {
        let mut pair = String::new();
        query::begin_pair(&mut pair, parameter);
        pair.extend(query::encode(sender));
        line.query(&pair);
    }
    for inject in injections {
        match inject {
            Inject::Query { name, value } => {
                line.secret_parameter_with(name, |parameter| {
                    secrets.render(value, |text| parameter.push(text))
                })?;
            }
            Inject::AppSecretProof { token, key } => {
                if let Some(proof) = secrets.app_secret_proof(token, key, clock.time)? {
                    line.query(&proof);
                }
            }
            Inject::Header { .. } | Inject::JsonField { .. } | Inject::FormField { .. } => {}
        }
    }
    Ok(())
}

/// Copies the headers of the application that may pass.
fn copy_headers(
    head: &mut RequestHead,
    permit: &Permit<'_>,
    request: &Parts,
    injected: &[HeaderName],
) {
    let keeps_authorization = permit.passes_callers_credential();
    let hop_by_hop: Vec<_> = connection_named(&request.headers).collect();
    // A provider may find parameters in the bytes of a file with the type of a form.
    let names_fields = content(&request.headers) != Content::Media;
    let mut has_agent = false;
    for (name, value) in &request.headers {
        let read_as = read_as(name);
        let is_unwanted = is_stripped(&read_as)
            || injected.contains(&read_as)
            || permit.provider().strip.headers.contains(&read_as)
            || hop_by_hop
                .iter()
                .any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
            || *read_as == header::ACCEPT_ENCODING
            // Keyside looks through the whole answer.
            || (*read_as == header::RANGE && !permit.request.media);
        if !is_ascii_text(value) {
            tracing::debug!(header = %name, "a header was left out: its value has bytes that are not ASCII");
            continue;
        }
        if *name == header::CONTENT_TYPE && permit.request.raw && names_fields {
            head.header(name, OCTETS);
            continue;
        }
        let is_kept_credential = keeps_authorization && *name == header::AUTHORIZATION;
        if is_kept_credential || !is_unwanted {
            has_agent |= *name == header::USER_AGENT;
            head.copied_header(name, value);
        }
    }
    if !has_agent {
        head.header(&header::USER_AGENT, USER_AGENT);
    }
}

/// The injections of this request: its own, or the provider's.
fn injections<'a>(permit: &Permit<'a>, sent: SecretSet<'a>) -> &'a [Inject] {
    permit
        .request
        .inject
        .as_deref()
        .unwrap_or(&sent.provider().inject)
}

const NO_OBJECT: OutboundError = OutboundError::bad_request(
    "the body may hold a credential where the provider has a place for one, and is no JSON object",
    "send a JSON object",
);
const NO_PLACE: OutboundError = OutboundError::bad_request(
    "the body has no place for the credential of the provider",
    "send a JSON object, or a form where the provider takes forms, with the matching Content-Type",
);
/// The type of bytes in which no server looks for parameters.
const OCTETS: &str = "application/octet-stream";
/// Room for a rendered value, in bytes: longer than any token seen. A longer value moves, and
/// leaves a copy in freed memory.
const RENDERED: usize = 512;
