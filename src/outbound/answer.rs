//! The answer as the caller sees it: as it came, but for links that would lead past Keyside and for
//! anything that is a secret.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::Value;

use super::policy::Permit;
use crate::credential::Credential;
use crate::headers::{is_hop_by_hop, strip_hop_by_hop};
use crate::json::{RawObject, quoted};
use crate::provider::{CodePlace, Meaning, Provider};
use crate::response::KEYSIDE_ERROR;
use crate::upstream::{Answer, AnswerBody, ProtocolError, UpstreamError};

/// Makes the response to the caller. `origin` is how the caller reached the route, as in
/// `http://localhost:8080/acme`.
///
/// Text is read whole and looked through, an error of the media host too; media passes untouched,
/// byte by byte as it comes.
///
/// # Errors
/// Where a body that must be looked through does not come whole, plain, and within 8 MiB.
pub(super) async fn clean(
    answer: Answer,
    permit: &Permit<'_>,
    origin: impl Fn() -> String,
) -> Result<Response<AnswerBody>, UpstreamError> {
    let Answer { status, mut headers, body, early: _ } = answer;
    clean_headers(&mut headers, permit, &origin);
    if status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
    }
    let is_media = permit.request.media && status.is_success();
    let body = if is_media || !is_text(&headers) {
        body
    } else if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(ProtocolError::ContentCoding.into());
    } else {
        let text = body.whole(MAX_TEXT).await?;
        let cleaned = clean_text(text.clone(), permit, status, &origin);
        if cleaned.len() != text.len() {
            headers.remove(header::CONTENT_LENGTH);
        }
        AnswerBody::Whole(cleaned)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Reads the meaning by the provider's own code; where there is none, by the status. A body that tells is read whole on
/// the way, and stays the answer's.
///
/// # Errors
/// Where that body does not come whole.
pub(super) async fn meaning<'p>(answer: &mut Answer, provider: &'p Provider) -> Result<Meaning<'p>, UpstreamError> {
    if !answer.status.is_client_error() && !answer.status.is_server_error() {
        return Ok(Meaning::Other);
    }
    let (errors, headers) = (&provider.errors, &answer.headers);
    let is_readable = is_text(headers) && !headers.contains_key(header::CONTENT_ENCODING);
    let mut body = Value::Null;
    if errors.is_in_body() && is_readable {
        let text = std::mem::replace(&mut answer.body, AnswerBody::Whole(Bytes::new())).whole(MAX_TEXT).await?;
        body = serde_json::from_slice(&text).unwrap_or_default();
        answer.body = AnswerBody::Whole(text);
    }
    let in_header = match &errors.code {
        Some(CodePlace::Header(name)) => answer.headers.get(name).and_then(|code| code.to_str().ok()),
        _ => None,
    };
    Ok(errors.meaning(answer.status.as_u16(), in_header, &body))
}

fn clean_headers(headers: &mut HeaderMap, permit: &Permit<'_>, origin: &impl Fn() -> String) {
    // An answer seldom has any of them, so look before taking out.
    if headers.keys().any(|name| is_hop_by_hop(name) || is_dropped(name)) {
        strip_hop_by_hop(headers);
        let dropped: Vec<_> = headers.keys().filter(|name| is_dropped(name)).cloned().collect();
        for name in dropped {
            headers.remove(name);
        }
    }
    if let Some(location) = headers.get_mut(header::LOCATION)
        && let Some(here) = location.to_str().ok().and_then(|url| relocated(url, permit.provider(), &origin()))
        && let Ok(value) = HeaderValue::from_str(&here)
    {
        *location = value;
    }
    let credential = &permit.route.credential;
    for value in headers.values_mut() {
        if let Cow::Owned(clean) = redacted(value.as_bytes(), credential)
            && let Ok(clean) = HeaderValue::from_bytes(&clean)
        {
            *value = clean;
        }
    }
}

/// Cookies are a credential of their own; what a page may read is not the provider's to say; and only
/// Keyside's own answers bear its name.
fn is_dropped(name: &HeaderName) -> bool {
    *name == header::SET_COOKIE || *name == KEYSIDE_ERROR || name.as_str().starts_with("access-control-")
}

fn clean_text(text: Bytes, permit: &Permit<'_>, status: StatusCode, origin: &impl Fn() -> String) -> Bytes {
    let provider = permit.provider();
    let mut text = text;
    let reads = permit.request.methods.contains(&Method::GET);
    if reads && provider.graph_answers && status.is_success() && names_an_upstream(&text, provider) {
        text = std::str::from_utf8(&text)
            .ok()
            .and_then(|json| relink(json, provider, &origin()))
            .map_or(text, Bytes::from);
    }
    if let Cow::Owned(clean) = without_access_tokens(&text) {
        text = clean.into();
    }
    match redacted(&text, &permit.route.credential) {
        Cow::Owned(clean) => clean.into(),
        Cow::Borrowed(_) => text,
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let media_type =
        value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    media_type.starts_with(b"text/")
        || TEXT.contains(&&media_type[..])
        || media_type.ends_with(b"+json")
        || media_type.ends_with(b"+xml")
}

fn names_an_upstream(text: &[u8], provider: &Provider) -> bool {
    provider.origins().any(|origin| find(text, origin.host.as_bytes()).is_some())
}

/// The media `url` and the `paging` links of a Graph answer, led through Keyside; `None` where there
/// are none.
fn relink(json: &str, provider: &Provider, origin: &str) -> Option<String> {
    let mut object = RawObject::parse(json)?;
    let mut changed = relink_field(&mut object, "url", provider, origin);
    if let Some(paging) = object.get("paging").map(str::to_owned)
        && let Some(mut links) = RawObject::parse(&paging)
    {
        let next = relink_field(&mut links, "next", provider, origin);
        let previous = relink_field(&mut links, "previous", provider, origin);
        if next || previous {
            changed = true;
            let text = links.to_string();
            object.set("paging", text);
        }
    }
    changed.then(|| object.to_string())
}

fn relink_field(object: &mut RawObject<'_>, name: &str, provider: &Provider, origin: &str) -> bool {
    let Some(url) = object.get(name).and_then(|value| serde_json::from_str::<String>(value).ok()) else { return false };
    let Some(here) = relocated(&url, provider, origin) else { return false };
    object.set(name, quoted(&here));
    true
}

/// A URL of one of the provider's hosts, with path and query as they were, at the caller's own origin.
fn relocated(url: &str, provider: &Provider, origin: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let is_ours = provider.origins().any(|origin| origin.is_at(authority));
    is_ours.then(|| format!("{origin}{path}"))
}

/// Takes `access_token=...` out of every URL in a text, as Graph puts it into paging links.
fn without_access_tokens(text: &[u8]) -> Cow<'_, [u8]> {
    if find(text, ACCESS_TOKEN).is_none() {
        return Cow::Borrowed(text);
    }
    let mut clean = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, ACCESS_TOKEN) {
        let (before, token) = rest.split_at(at);
        clean.extend_from_slice(before);
        let end = token.iter().position(|b| b"&\"'\\<> \r\n\t".contains(b)).unwrap_or(token.len());
        rest = token.get(end..).unwrap_or_default();
        // The separator of a parameter that follows goes with it, written plain or as JSON may.
        if before.ends_with(b"?") || before.ends_with(b"&") || before.ends_with(br"\u0026") {
            rest = AMPERSANDS.iter().find_map(|separator| rest.strip_prefix(*separator)).unwrap_or(rest);
        }
    }
    clean.extend_from_slice(rest);
    Cow::Owned(clean)
}

/// Puts `[redacted]` in the place of every byte sequence that is a secret, also where it is
/// percent-encoded or escaped as in JSON.
fn redacted<'t>(text: &'t [u8], credential: &Credential) -> Cow<'t, [u8]> {
    let mut text = Cow::Borrowed(text);
    let issued = credential.issued();
    for form in issued.iter().flat_map(|issued| issued.reflections()).chain(credential.reflections()) {
        let mut clean = Vec::new();
        let mut rest = &*text;
        while let Some(at) = find(rest, form) {
            clean.extend_from_slice(rest.get(..at).unwrap_or_default());
            clean.extend_from_slice(b"[redacted]");
            rest = rest.get(at + form.len()..).unwrap_or_default();
        }
        if !clean.is_empty() {
            clean.extend_from_slice(rest);
            text = Cow::Owned(clean);
        }
    }
    text
}

/// Where `needle` begins in `text`. Texts are short and needles rare: going from one first byte to
/// the next is several times cheaper than preparing a search, and keeps no copy of a secret.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let last = text.len().checked_sub(needle.len())?;
    let first = *needle.first()?;
    memchr::memchr_iter(first, text.get(..=last)?)
        .find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(needle)))
}

const ACCESS_TOKEN: &[u8] = b"access_token=";
/// The largest text that is looked through.
const MAX_TEXT: usize = 8 * 1024 * 1024;
const AMPERSANDS: [&[u8]; 2] = [b"&", br"\u0026"];
const TEXT: [&[u8]; 6] = [
    b"application/json",
    b"application/javascript",
    b"application/xml",
    b"application/xhtml+xml",
    b"application/x-javascript",
    b"application/x-www-form-urlencoded",
];
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_tokens_go_out_of_urls_and_leave_them_whole() {
        let table = [
            ("https://g/x?access_token=EAAx&after=1", "https://g/x?after=1"),
            ("https://g/x?limit=2&access_token=EAAx", "https://g/x?limit=2&"),
            (r#"{"next":"https:\/\/g\/x?access_token=EAAx\u0026after=1"}"#, r#"{"next":"https:\/\/g\/x?after=1"}"#),
            (r#"{"next":"https://g/x?a=1&access_token=EAAx&after=1"}"#, r#"{"next":"https://g/x?a=1&after=1"}"#),
            (r#"{"next":"https://g/x?access_token=EAAx"}"#, r#"{"next":"https://g/x?"}"#),
            ("nothing", "nothing"),
        ];
        for (text, expected) in table {
            assert_eq!(without_access_tokens(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }
}
