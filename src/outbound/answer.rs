//! The answer as the application sees it: unchanged, except for links that would lead past Keyside,
//! and without secrets.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;

use super::context::RequestContext;
use super::error::OutboundError;
use super::links::LinkBase;
use super::media_type::{Content, content};
use super::policy::Permit;
use super::redact::{Redactor, find_bytes, redacted};
use super::text::{read_text, read_unknown};
use crate::credential::Credential;
use crate::headers::{is_hop_by_hop, strip_hop_by_hop};
use crate::json::{RawObject, quoted};
use crate::memory::MemoryBudget;
use crate::provider::Provider;
use crate::response::{JSON, KEYSIDE_ERROR};
use crate::upstream::{Answer, AnswerBody, Unreadable, UpstreamError};
use crate::workers::work_on;

/// Makes the response for the application.
///
/// Text is read whole and looked through, an error text of the media host as well; so is content of
/// an unknown type up to 1 MiB. Media passes unchanged while it arrives. Text that cannot be read
/// is replaced by a note, and the status stays: a message that the provider has accepted must not
/// look as if it had failed.
///
/// # Errors
/// 502 for a text that is cut off. For a method that changes nothing, 502 for a text in an unknown
/// coding or larger than 8 MiB, and 503 for a text without room in memory.
pub(super) async fn clean(
    answer: Answer,
    permit: &Permit<'_>,
    context: &RequestContext<'_>,
    memory: &Arc<MemoryBudget>,
) -> Result<Response<AnswerBody>, OutboundError> {
    let status = answer.status;
    let method = &context.request.method;
    match clean_answer(answer, permit, context, memory).await {
        Err(UpstreamError::Unreadable(reason)) if !method.is_safe() => {
            let route = &*permit.route.name;
            let status_code = status.as_u16();
            tracing::warn!(
                route,
                status = status_code,
                %reason,
                "the answer of the provider cannot be read: the application gets its status without its body"
            );
            Ok(unread(status, reason))
        }
        result => result.map_err(|error| OutboundError::upstream(error, method)),
    }
}

async fn clean_answer(
    mut answer: Answer,
    permit: &Permit<'_>,
    context: &RequestContext<'_>,
    memory: &Arc<MemoryBudget>,
) -> Result<Response<AnswerBody>, UpstreamError> {
    let status = answer.status;
    clean_headers(&mut answer.headers, permit, context);
    if status == StatusCode::NO_CONTENT {
        answer.headers.remove(header::CONTENT_LENGTH);
    }
    let kind = match content(&answer.headers) {
        _ if permit.request.media && status.is_success() => Content::Media,
        kind => kind,
    };
    match kind {
        Content::Media => answer.body = answer.body.passing(memory).await?,
        Content::Text => {
            let text = read_text(&mut answer, memory).await?;
            let length = text.len();
            let cleaning = Cleaning::of(permit, status, context);
            // The work has the only copy of the text, so that at most two copies are in memory at a
            // time.
            answer.body = AnswerBody::Whole(Bytes::new());
            let (cleaned, is_copy) = work_on(length, move || cleaning.clean(text)).await;
            if cleaned.len() != length {
                answer.headers.remove(header::CONTENT_LENGTH);
            }
            answer.body = AnswerBody::Whole(if is_copy {
                memory.count(cleaned)
            } else {
                cleaned
            });
        }
        Content::Unknown => {
            let cleaning = Cleaning::of(permit, status, context);
            clean_unknown(&mut answer, cleaning, memory).await?;
        }
    }
    let mut response = Response::new(answer.body);
    *response.status_mut() = status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// Takes secrets out of content of an unknown type, with the coding undone. Content without secrets
/// keeps every byte, as does content in an unknown coding, and large content: media under an odd
/// name.
async fn clean_unknown(
    answer: &mut Answer,
    cleaning: Cleaning,
    memory: &Arc<MemoryBudget>,
) -> Result<(), UpstreamError> {
    let Some(plain) = read_unknown(answer, memory).await? else {
        return Ok(());
    };
    let (clean, is_copy) = work_on(plain.len(), move || cleaning.clean(plain)).await;
    if is_copy {
        answer.headers.remove(header::CONTENT_ENCODING);
        answer.headers.remove(header::CONTENT_LENGTH);
        answer.body = AnswerBody::Whole(memory.count(clean));
    }
    Ok(())
}

/// The provider's status with a note in the place of a body that cannot be read.
fn unread(status: StatusCode, reason: Unreadable) -> Response<AnswerBody> {
    let note = json!({ "keyside": {
        "slug": ANSWER_UNREAD,
        "message": format!("the provider answered {}, and its answer cannot be read: {reason}", status.as_u16()),
        "details": "the status is the provider's: do not send again what it has accepted",
    } });
    let mut response = Response::new(AnswerBody::Whole(note.to_string().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(KEYSIDE_ERROR, HeaderValue::from_static(ANSWER_UNREAD));
    response
}

fn clean_headers(headers: &mut HeaderMap, permit: &Permit<'_>, context: &RequestContext<'_>) {
    // Few answers have such headers, and looking is cheaper than removing.
    if headers
        .keys()
        .any(|name| is_hop_by_hop(name) || is_dropped(name))
    {
        strip_hop_by_hop(headers);
        let dropped: Vec<_> = headers
            .keys()
            .filter(|name| is_dropped(name))
            .cloned()
            .collect();
        for name in dropped {
            headers.remove(name);
        }
    }
    let redactor = Redactor::of(&permit.route.credential);
    for (name, value) in headers.iter_mut() {
        if *name == header::LOCATION
            && let Some(here) = value
                .to_str()
                .ok()
                .and_then(|url| link_base(permit, context).relocated(url, permit.provider()))
            && let Ok(here) = HeaderValue::from_str(&here)
        {
            *value = here;
        }
        if let Some(clean) = clean_value(value, &redactor) {
            *value = clean;
        }
    }
}

/// Takes secrets and access tokens out of the value of a header; `None` if the value has none.
fn clean_value(value: &HeaderValue, redactor: &Redactor<'_>) -> Option<HeaderValue> {
    let without_tokens = without_access_tokens(value.as_bytes());
    let clean = match redactor.redacted(&without_tokens) {
        Cow::Owned(clean) => clean,
        Cow::Borrowed(_) => match without_tokens {
            Cow::Owned(clean) => clean,
            Cow::Borrowed(_) => return None,
        },
    };
    Some(HeaderValue::from_bytes(&clean).unwrap_or(REDACTED_VALUE))
}

/// True for headers that no application gets: cookies, which are credentials; permissions for pages
/// in a browser; and the mark of Keyside's own errors.
fn is_dropped(name: &HeaderName) -> bool {
    *name == header::SET_COOKIE
        || *name == KEYSIDE_ERROR
        || name.as_str().starts_with("access-control-")
}

/// The place to which the links of an answer lead. Few answers have links, so that few need it.
fn link_base(permit: &Permit<'_>, context: &RequestContext<'_>) -> LinkBase {
    let rules = &context.generation.links;
    LinkBase::of(permit, context.request, context.link, rules)
}

/// The inputs for cleaning a text on another thread.
struct Cleaning {
    credential: Arc<Credential>,
    /// The place for links, if the text may have links that lead past Keyside.
    links: Option<LinkBase>,
}

impl Cleaning {
    fn of(permit: &Permit<'_>, status: StatusCode, context: &RequestContext<'_>) -> Self {
        let reads = permit.request.methods.contains(&Method::GET);
        let has_links = reads && permit.provider().graph_answers && status.is_success();
        let links = has_links.then(|| link_base(permit, context));
        Self {
            credential: Arc::clone(&permit.route.credential),
            links: links.filter(|links| !links.keeps_links()),
        }
    }

    /// Returns the clean text, and true if the text is a copy, whose memory nothing counts yet.
    fn clean(&self, mut text: Bytes) -> (Bytes, bool) {
        let provider = &self.credential.provider;
        let mut is_copy = false;
        if let Some(links) = &self.links
            && names_an_upstream(&text, provider)
            && let Ok(json) = std::str::from_utf8(&text)
            && let Some(relinked) = relink(json, provider, links)
        {
            (text, is_copy) = (relinked.into(), true);
        }
        if let Cow::Owned(clean) = without_access_tokens(&text) {
            (text, is_copy) = (clean.into(), true);
        }
        if let Cow::Owned(clean) = redacted(&text, &self.credential) {
            (text, is_copy) = (clean.into(), true);
        }
        (text, is_copy)
    }
}

fn names_an_upstream(text: &[u8], provider: &Provider) -> bool {
    provider
        .origins()
        .any(|origin| find_bytes(text, origin.host.as_bytes()).is_some())
}

/// Leads the media `url` and the `paging` links of a Graph answer through Keyside; `None` without
/// such links. A field that was asked for with its edge, such as `fields=message_templates`, has
/// paging of its own.
fn relink(json: &str, provider: &Provider, base: &LinkBase) -> Option<String> {
    let mut object = RawObject::parse(json)?;
    let mut changed = relink_field(&mut object, "url", provider, base);
    changed |= relink_paging(&mut object, provider, base);
    let names: Vec<_> = object.names().map(str::to_owned).collect();
    for name in names {
        let value = object.get(&name).unwrap_or_default();
        if !value.starts_with('{') || !value.contains("\"paging\"") {
            continue;
        }
        let value = value.to_owned();
        if let Some(mut edge) = RawObject::parse(&value)
            && relink_paging(&mut edge, provider, base)
        {
            changed = true;
            let text = edge.to_string();
            object.set(&name, text);
        }
    }
    changed.then(|| object.to_string())
}

/// Leads the links of an object's `paging` through Keyside. Returns true if the object has changed.
fn relink_paging(object: &mut RawObject<'_>, provider: &Provider, base: &LinkBase) -> bool {
    let paging = object.get("paging").map(str::to_owned).unwrap_or_default();
    let Some(mut links) = RawObject::parse(&paging) else {
        return false;
    };
    let next = relink_field(&mut links, "next", provider, base);
    let previous = relink_field(&mut links, "previous", provider, base);
    if next || previous {
        let text = links.to_string();
        object.set("paging", text);
    }
    next || previous
}

fn relink_field(
    object: &mut RawObject<'_>,
    name: &str,
    provider: &Provider,
    base: &LinkBase,
) -> bool {
    let Some(url) = object
        .get(name)
        .and_then(|value| serde_json::from_str::<String>(value).ok())
    else {
        return false;
    };
    let Some(here) = base.relocated(&url, provider) else {
        return false;
    };
    object.set(name, quoted(&here));
    true
}

/// Takes `access_token=...` out of every URL in a text, as Graph puts it into paging links.
fn without_access_tokens(text: &[u8]) -> Cow<'_, [u8]> {
    if access_token_at(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut clean = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, name)) = access_token_at(rest) {
        let (before, token) = rest.split_at(at);
        clean.extend_from_slice(before);
        let token = token.get(name.len()..).unwrap_or_default();
        let end = token
            .iter()
            .position(|b| b"&\"'\\<> \r\n\t".contains(b))
            .unwrap_or(token.len());
        rest = token.get(end..).unwrap_or_default();
        // The separator before the next parameter goes as well, plain or escaped as in JSON.
        if before.ends_with(b"?") || before.ends_with(b"&") || before.ends_with(br"\u0026") {
            rest = AMPERSANDS
                .iter()
                .find_map(|separator| rest.strip_prefix(*separator))
                .unwrap_or(rest);
        }
    }
    clean.extend_from_slice(rest);
    Cow::Owned(clean)
}

/// Returns the place of the first parameter `access_token`, and its spelling with the `=`.
fn access_token_at(text: &[u8]) -> Option<(usize, &'static [u8])> {
    // Most answers have none: one search is enough for them.
    find_bytes(text, b"access")?;
    ACCESS_TOKEN
        .iter()
        .filter_map(|name| Some((find_bytes(text, name)?, *name)))
        .min()
}

/// The spellings of the parameter that Graph adds to paging links, with the token of the request:
/// plain, percent-encoded, and with the `=` escaped as in JSON.
const ACCESS_TOKEN: [&[u8]; 4] = [
    b"access_token=",
    b"access%5Ftoken=",
    b"access%5ftoken=",
    br"access_token\u003d",
];
/// The value of a header that could not be written without its secret.
const REDACTED_VALUE: HeaderValue = HeaderValue::from_static("[redacted]");
/// The slug of an answer whose body was replaced by a note.
const ANSWER_UNREAD: &str = "answer_unread";
/// `&`, plain and escaped as in JSON.
const AMPERSANDS: [&[u8]; 2] = [b"&", br"\u0026"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_tokens_go_out_of_urls_and_leave_them_whole() {
        let table = [
            (
                "https://g/x?access_token=EAAx&after=1",
                "https://g/x?after=1",
            ),
            (
                "https://g/x?limit=2&access_token=EAAx",
                "https://g/x?limit=2&",
            ),
            (
                r#"{"next":"https:\/\/g\/x?access_token=EAAx\u0026after=1"}"#,
                r#"{"next":"https:\/\/g\/x?after=1"}"#,
            ),
            (
                r#"{"next":"https://g/x?a=1&access_token=EAAx&after=1"}"#,
                r#"{"next":"https://g/x?a=1&after=1"}"#,
            ),
            (
                r#"{"next":"https://g/x?access_token=EAAx"}"#,
                r#"{"next":"https://g/x?"}"#,
            ),
            ("https://g/x?access%5Ftoken=EAAx&a=1", "https://g/x?a=1"),
            (
                "https://g/x?access%5ftoken=EAAx&a=1&access_token=EAAy&b=2",
                "https://g/x?a=1&b=2",
            ),
            (
                r#"{"next":"https://g/x?access_token\u003dEAAx\u0026a=1"}"#,
                r#"{"next":"https://g/x?a=1"}"#,
            ),
            ("no access here", "no access here"),
            ("nothing", "nothing"),
        ];
        for (text, expected) in table {
            assert_eq!(
                without_access_tokens(text.as_bytes()),
                expected.as_bytes(),
                "{text}"
            );
        }
    }
}
