//! The other host: the bytes of media, for those who bring the token again.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::auth;
use super::ids;
use super::media::{self, File};
use super::record::{Seen, header_names};
use super::reply::{Outcome, Reply, put};
use super::state::State;
use super::target::{Query, redact};
use super::token::Standing;

/// Answers a request to the media host.
pub(super) fn answer<B>(state: &State, request: &Request<B>) -> Outcome {
    let query = Query::new(request.uri().query().unwrap_or_default());
    let presented = auth::presented(request.headers(), &query);
    let number = state.records.see(Seen {
        listener: "media",
        method: request.method().clone(),
        target: redact(request.uri().path_and_query().map_or("/", |target| target.as_str())),
        headers: header_names(request.headers()),
        token: presented.as_ref().map(|presented| ids::fingerprint(&presented.token)),
        scheme: presented.as_ref().map(|presented| presented.scheme),
    });
    let response = match file(state, request, &query) {
        Ok(file) => serve(&file, request.headers()),
        Err((status, text)) => refusal(status, text),
    };
    state.records.answered(number, response.status());
    Outcome::Answer(response)
}

fn file<B>(state: &State, request: &Request<B>, query: &Query) -> Result<File, (StatusCode, &'static str)> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"));
    }
    if !request.uri().path().starts_with("/whatsapp_business/attachments") {
        return Err((StatusCode::NOT_FOUND, "no such file"));
    }
    if request.headers().get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err((StatusCode::BAD_REQUEST, "more than one Authorization header"));
    }
    if request.headers().get(USER_AGENT).is_none_or(HeaderValue::is_empty) {
        return Err((StatusCode::BAD_REQUEST, "no User-Agent"));
    }
    let presented = auth::presented(request.headers(), query).filter(|presented| presented.scheme == "Bearer");
    let good = presented.is_some_and(|presented| matches!(state.tokens.standing(&presented.token), Standing::Good(_)));
    if !good {
        return Err((StatusCode::UNAUTHORIZED, "a valid token is needed here too"));
    }
    let part = |name| query.get(name).unwrap_or_default();
    media::linked(state, part("mid"), part("ext"), part("hash")).ok_or((StatusCode::NOT_FOUND, "no such file"))
}

fn serve(file: &File, headers: &HeaderMap) -> Response<Reply> {
    let length = file.data.len();
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()).and_then(|value| range(value, length));
    let (status, body) = match &range {
        Some((from, to)) => (StatusCode::PARTIAL_CONTENT, file.data.slice(*from..=*to)),
        None => (StatusCode::OK, file.data.clone()),
    };
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some((from, to)) = range {
        put(headers, "content-range", &format!("bytes {from}-{to}/{length}"));
    }
    let name: String =
        file.filename.chars().filter(|letter| letter.is_ascii_graphic() && !"\";\\/".contains(*letter)).collect();
    put(headers, "content-type", &file.kind);
    put(headers, "content-disposition", &format!("inline;filename={name}"));
    put(headers, "accept-ranges", "bytes");
    put(headers, "etag", &format!("{:.19}", file.sha256));
    put(headers, "cache-control", "private, no-cache, no-store, must-revalidate");
    put(headers, "cross-origin-resource-policy", "cross-origin");
    response
}

/// One range of bytes; several, and those that do not fit, are ignored, as HTTP allows.
fn range(value: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
    let last = length.checked_sub(1)?;
    let (from, to) = match (from, to) {
        ("", suffix) => (length.saturating_sub(suffix.parse().ok()?), last),
        (from, "") => (from.parse().ok()?, last),
        (from, to) => (from.parse().ok()?, to.parse::<usize>().ok()?.min(last)),
    };
    (from <= to).then_some((from, to))
}

fn refusal(status: StatusCode, text: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    put(response.headers_mut(), "cache-control", "private, no-cache, no-store, must-revalidate");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_taken_where_it_fits() {
        assert_eq!(range("bytes=0-3", 10), Some((0, 3)));
        assert_eq!(range("bytes=4-", 10), Some((4, 9)));
        assert_eq!(range("bytes=-2", 10), Some((8, 9)));
        assert_eq!(range("bytes=5-99", 10), Some((5, 9)));
        assert_eq!(range("bytes=10-", 10), None);
        assert_eq!(range("bytes=0-1,3-4", 10), None);
    }
}
