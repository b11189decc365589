//! The media host: the bytes of a file, for requests that bring the token again.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::auth::PresentedToken;
use crate::query::Query;
use crate::reply::{Reply, set_header};
use crate::state::State;
use crate::store::media::File;
use crate::store::record::Arrival;
use crate::store::token::TokenState;

/// Answers a request to the media host.
pub(crate) fn answer<B>(state: &State, request: Request<B>) -> Response<Reply> {
    let (head, _) = request.into_parts();
    let query = Query::new(head.uri.query().unwrap_or_default());
    let token = PresentedToken::find(&head.headers, &query);
    let credential = token.as_ref().map(PresentedToken::describe);
    let number = state
        .records
        .arrived(Arrival::new("media", &head, credential));
    let response = match find(state, &head, &query, token.as_ref()) {
        Ok(file) => serve(&file, &head.headers),
        Err(refusal) => refusal.answer(),
    };
    state.records.answered(number, response.status());
    response
}

fn find(
    state: &State,
    head: &Parts,
    query: &Query,
    token: Option<&PresentedToken>,
) -> Result<File, Refusal> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Refusal::Method);
    }
    let path = head.uri.path();
    if !path.starts_with("/whatsapp_business/attachments") {
        return Err(Refusal::NotFound);
    }
    if head.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(Refusal::DoubledAuthorization);
    }
    let agent = head.headers.get(USER_AGENT);
    if agent.is_none_or(HeaderValue::is_empty) {
        return Err(Refusal::NoUserAgent);
    }
    let is_authorized = token.is_some_and(|presented| {
        presented.scheme == "Bearer"
            && matches!(state.tokens.state(&presented.token), TokenState::Good(_))
    });
    if !is_authorized {
        return Err(Refusal::Token);
    }
    let part = |name| query.get(name).unwrap_or_default();
    let file = state
        .media
        .get_linked(part("mid"), part("ext"), part("hash"));
    file.ok_or(Refusal::NotFound)
}

/// The reason for not serving a file.
#[derive(Clone, Copy)]
enum Refusal {
    Method,
    NotFound,
    DoubledAuthorization,
    NoUserAgent,
    Token,
}

impl Refusal {
    fn answer(self) -> Response<Reply> {
        let (status, text) = match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"),
            Self::NotFound => (StatusCode::NOT_FOUND, "no such file"),
            Self::DoubledAuthorization => (
                StatusCode::BAD_REQUEST,
                "more than one Authorization header",
            ),
            Self::NoUserAgent => (StatusCode::BAD_REQUEST, "no User-Agent"),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "the media host also needs a valid token",
            ),
        };
        let mut response = Response::new(Reply::new(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        set_header(headers, "cache-control", NO_CACHE);
        response
    }
}

fn serve(file: &File, request_headers: &HeaderMap) -> Response<Reply> {
    let length = file.data.len();
    let range = request_headers
        .get(RANGE)
        .and_then(|value| byte_range(value.to_str().ok()?, length));
    let (status, body) = match &range {
        Some((first, last)) => (StatusCode::PARTIAL_CONTENT, file.data.slice(*first..=*last)),
        None => (StatusCode::OK, file.data.clone()),
    };
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some((first, last)) = range {
        let value = format!("bytes {first}-{last}/{length}");
        set_header(headers, "content-range", &value);
    }
    let is_plain = |letter: &char| letter.is_ascii_graphic() && !"\";\\/".contains(*letter);
    let name: String = file.filename.chars().filter(is_plain).collect();
    let disposition = format!("inline;filename={name}");
    set_header(headers, "content-type", &file.media_type);
    set_header(headers, "content-disposition", &disposition);
    set_header(headers, "accept-ranges", "bytes");
    set_header(headers, "etag", &format!("{:.19}", file.sha256));
    set_header(headers, "cache-control", NO_CACHE);
    set_header(headers, "cross-origin-resource-policy", "cross-origin");
    response
}

/// Reads one range of bytes. Several ranges, and ranges that do not fit, are ignored, as HTTP
/// allows.
fn byte_range(value: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match (first, last) {
        ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<usize>().ok()?.min(end)),
    };
    (first <= last).then_some((first, last))
}

/// The `Cache-Control` of every answer of the media host.
const NO_CACHE: &str = "private, no-cache, no-store, must-revalidate";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_range_that_fits_is_served() {
        assert_eq!(byte_range("bytes=0-3", 10), Some((0, 3)));
        assert_eq!(byte_range("bytes=4-", 10), Some((4, 9)));
        assert_eq!(byte_range("bytes=-2", 10), Some((8, 9)));
        assert_eq!(byte_range("bytes=5-99", 10), Some((5, 9)));
        assert_eq!(byte_range("bytes=10-", 10), None);
        assert_eq!(byte_range("bytes=0-1,3-4", 10), None);
    }
}
