//! The names of facts that OpenTelemetry's semantic conventions fix:
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use http::Method;

/// The method of a request.
pub const METHOD: &str = "http.request.method";
/// The number of times that a request went out before.
pub const RESEND_COUNT: &str = "http.request.resend_count";
/// The status of an answer.
pub const STATUS: &str = "http.response.status_code";
/// The pattern of the path of a request.
pub const ROUTE: &str = "http.route";
/// The host of a server.
pub const SERVER_ADDRESS: &str = "server.address";
/// The port of a server.
pub const SERVER_PORT: &str = "server.port";
/// The class of a failure.
pub const ERROR_TYPE: &str = "error.type";

/// Returns a method as the conventions write it: a method that a caller has made up is `_OTHER`.
#[must_use]
pub fn known_method(method: &Method) -> &str {
    let known = matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
            | Method::CONNECT
            | Method::TRACE
    );
    if known { method.as_str() } else { "_OTHER" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_a_caller_made_up_names_no_span() {
        assert_eq!(known_method(&Method::POST), "POST");
        let made_up = Method::from_bytes(b"4915550001234").unwrap();
        assert_eq!(known_method(&made_up), "_OTHER");
    }
}
