//! Answers of Keyside's own: errors in the form parsed by Graph SDKs, with advice for the client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::units::millis;

/// The header with the slug of an answer of Keyside's own.
pub const KEYSIDE_ERROR: HeaderName = HeaderName::from_static("keyside-error");

/// A kind of refusal: a slug with its status and its Graph error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalKind {
    /// The name of the kind in `Keyside-Error`, metrics and logs.
    pub slug: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// The `error.code` of the body.
    pub code: u32,
}

impl RefusalKind {
    /// Returns a kind with its slug, status and code.
    #[must_use]
    pub const fn new(slug: &'static str, status: StatusCode, code: u32) -> Self {
        Self { slug, status, code }
    }
}

/// A malformed request head, refused by the HTTP parser before a request exists.
pub const BAD_REQUEST: RefusalKind = RefusalKind::new("bad_request", StatusCode::BAD_REQUEST, 100);
/// A request head over the parser's bounds.
pub const HEADERS_TOO_LARGE: RefusalKind = RefusalKind::new(
    "headers_too_large",
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    100,
);

/// A fault of Keyside itself, such as a panic.
pub const INTERNAL: RefusalKind =
    RefusalKind::new("internal", StatusCode::INTERNAL_SERVER_ERROR, 2);

/// An answer of Keyside's own.
#[derive(Debug)]
pub struct Refusal {
    /// The kind of refusal.
    pub kind: RefusalKind,
    /// The fault, as a phrase.
    pub message: String,
    /// The advice, as a phrase.
    pub details: String,
    /// The name of the request's route, if one was found.
    pub route: Option<String>,
    /// The time after which the request may be sent again.
    pub retry_after: Option<Duration>,
    /// True if the provider may have acted on the request in spite of the error.
    pub outcome_unknown: bool,
}

impl Refusal {
    /// Returns a refusal without a route or a time.
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            details: details.into(),
            route: None,
            retry_after: None,
            outcome_unknown: false,
        }
    }

    /// Returns the facts for programs: the slug, and what else is known.
    pub(crate) fn facts(&self) -> Value {
        let mut facts = Map::new();
        facts.insert("slug".into(), self.kind.slug.into());
        if let Some(route) = &self.route {
            facts.insert("route".into(), route.as_str().into());
        }
        if let Some(time) = self.retry_after {
            facts.insert("retry_after_ms".into(), millis(time).into());
        }
        if self.outcome_unknown {
            facts.insert("outcome".into(), "unknown".into());
        }
        Value::Object(facts)
    }

    /// Returns the JSON body in Graph's form.
    pub(crate) fn in_graph_form(&self) -> Value {
        let error = json!({
            "message": self.message,
            "type": "KeysideError",
            "code": self.kind.code,
            "error_data": { "details": self.details },
            "keyside": self.facts(),
        });
        json!({ "error": error })
    }

    /// Returns the whole answer, with a body in Graph's form.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        self.to_response_with(&self.in_graph_form())
    }

    /// Returns the whole answer, with this JSON body.
    pub(crate) fn to_response_with(&self, body: &Value) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(body.to_string()));
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

/// Returns a time in whole seconds for `Retry-After`: rounded up, and at least 1.
#[must_use]
pub fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// The media type `application/json`.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_form_that_graph_sdks_parse() {
        let kind = RefusalKind::new("rate_limited", StatusCode::TOO_MANY_REQUESTS, 130_429);
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
