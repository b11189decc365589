//! What Keyside answers itself: an error that tells the caller what to do, in the form that Graph
//! SDKs already parse.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// Names the slug of an answer that Keyside made itself.
pub const KEYSIDE_ERROR: HeaderName = HeaderName::from_static("keyside-error");

/// One kind of refusal: slug, status and Graph error code belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name in `Keyside-Error`, metrics and logs.
    pub slug: &'static str,
    /// The status.
    pub status: StatusCode,
    /// `error.code`.
    pub code: u32,
}

impl Kind {
    /// A kind with its slug, status and code.
    #[must_use]
    pub const fn new(slug: &'static str, status: StatusCode, code: u32) -> Self {
        Self { slug, status, code }
    }
}

/// The kinds that the HTTP parser can cause before a request exists.
pub const BAD_REQUEST: Kind = Kind::new("bad_request", StatusCode::BAD_REQUEST, 100);
/// See [`BAD_REQUEST`].
pub const HEADERS_TOO_LARGE: Kind = Kind::new("headers_too_large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, 100);

/// A fault of Keyside's own.
pub const INTERNAL: Kind = Kind::new("internal", StatusCode::INTERNAL_SERVER_ERROR, 2);

/// An answer that Keyside makes itself.
#[derive(Debug)]
pub struct Refusal {
    /// What kind it is.
    pub kind: Kind,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub details: String,
    /// The route that the request was on.
    pub route: Option<String>,
    /// When it may be sent again.
    pub retry_after: Option<Duration>,
    /// Whether the provider may have acted on it all the same.
    pub outcome_unknown: bool,
}

impl Refusal {
    /// A refusal that names no route and no time.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>, details: impl Into<String>) -> Self {
        let (message, details) = (message.into(), details.into());
        Self { kind, message, details, route: None, retry_after: None, outcome_unknown: false }
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut keyside = Map::new();
        keyside.insert("slug".into(), self.kind.slug.into());
        if let Some(route) = &self.route {
            keyside.insert("route".into(), route.as_str().into());
        }
        if let Some(time) = self.retry_after {
            keyside.insert("retry_after_ms".into(), u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into());
        }
        if self.outcome_unknown {
            keyside.insert("outcome".into(), "unknown".into());
        }
        let error = json!({
            "message": self.message,
            "type": "KeysideError",
            "code": self.kind.code,
            "error_data": { "details": self.details },
            "keyside": Value::Object(keyside),
        });
        Bytes::from(json!({ "error": error }).to_string())
    }

    /// The whole answer.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.to_json());
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(KEYSIDE_ERROR, HeaderValue::from_static(self.kind.slug));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(time) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(time)));
        }
        response
    }
}

/// Seconds as `Retry-After` has them: whole, rounded up, at least one.
#[must_use]
pub fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// `application/json`.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_form_that_graph_sdks_parse() {
        let kind = Kind::new("rate_limited", StatusCode::TOO_MANY_REQUESTS, 130_429);
        let refusal = Refusal {
            route: Some("acme".into()),
            retry_after: Some(Duration::from_millis(1200)),
            ..Refusal::new(kind, "too fast", "wait")
        };
        let response = refusal.to_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[KEYSIDE_ERROR], "rate_limited");
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        let keyside = json!({"slug": "rate_limited", "route": "acme", "retry_after_ms": 1200});
        let error = json!({"message": "too fast", "type": "KeysideError", "code": 130_429, "error_data": {"details": "wait"}, "keyside": keyside});
        assert_eq!(body, json!({ "error": error }));
    }

    #[test]
    fn retry_after_is_rounded_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
