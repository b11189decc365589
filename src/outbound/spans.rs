//! The facts about a request in its spans, by the names of OpenTelemetry's semantic conventions:
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.
//!
//! Paths, senders and recipients are left out: they have phone numbers. The pattern of the path
//! stands for the path.

use http::{Method, StatusCode};

use super::error::OutboundError;
use super::policy::{Permit, Route};
use crate::credential::SecretSet;
use crate::provider::{Meaning, Operation, PathPattern};
use crate::trace::conventions::{
    ERROR_TYPE, METHOD, RESEND_COUNT, ROUTE, SERVER_ADDRESS, SERVER_PORT, STATUS, known_method,
};
use crate::trace::{Span, SpanKind};
use crate::upstream::Answer;

/// Begins the span of one attempt at the provider. `earlier` counts the attempts before.
pub(super) fn attempt(
    parent: &Span,
    permit: &Permit<'_>,
    sent: SecretSet<'_>,
    method: &Method,
    earlier: u32,
) -> Span {
    let mut span = parent.child(known_method(method), SpanKind::Client);
    if !span.is_recorded() {
        return span;
    }
    span.text(METHOD, known_method(method));
    let (host, port) = split(permit.host());
    span.text(SERVER_ADDRESS, host);
    span.number(SERVER_PORT, port);
    span.text("keyside.secrets", role(sent));
    if earlier > 0 {
        span.number(RESEND_COUNT, earlier);
    }
    span
}

/// Ends the span of an attempt.
pub(super) fn end_attempt(mut span: Span, result: &Result<(Answer, Meaning<'_>), OutboundError>) {
    match result {
        Ok((answer, _)) => {
            span.number(STATUS, answer.status.as_u16());
            if let Some(failure) = &answer.failure {
                if let Some(code) = &failure.code {
                    span.text("keyside.provider_code", code);
                }
                span.fail(failure.class.as_str());
            } else if answer.status.as_u16() >= 400 {
                span.fail(answer.status.as_str());
            }
        }
        Err(error) => span.fail(error.kind().slug),
    }
    span.end();
}

/// Notes what the policy decided on a request. A span without a pattern keeps the method alone as
/// its name.
pub(super) fn note_decision(
    span: &mut Span,
    method: &Method,
    route: Option<&Route>,
    operation: Option<&Operation>,
    pattern: Option<&PathPattern>,
) {
    if !span.is_recorded() {
        return;
    }
    if let Some(pattern) = pattern {
        let pattern = pattern.to_string();
        span.text(ROUTE, &pattern);
        span.rename(|| format!("{} {pattern}", known_method(method)));
    }
    if let Some(route) = route {
        span.text("keyside.route", &route.name);
        span.text("keyside.credential", &route.credential.name);
    }
    if let Some(operation) = operation {
        span.text("keyside.operation", &operation.name);
    }
}

/// Notes the status of the answer that the application gets. Of a server, only its own failures
/// count as such.
pub(super) fn note_status(span: &mut Span, status: StatusCode) {
    span.number(STATUS, status.as_u16());
    if status.is_server_error() {
        span.fail(status.as_str());
    }
}

/// Notes the refusal that the application gets.
pub(super) fn note_refusal(span: &mut Span, status: StatusCode, slug: &'static str) {
    span.number(STATUS, status.as_u16());
    if status.is_server_error() {
        span.fail(slug);
    } else {
        span.text(ERROR_TYPE, slug);
    }
}

fn role(sent: SecretSet<'_>) -> &'static str {
    if sent.is_previous() {
        "previous"
    } else {
        "current"
    }
}

/// Splits the authority of a provider, which has a port only where the port is not that of https.
fn split(authority: &str) -> (&str, u16) {
    let parts = authority.rsplit_once(':');
    let numbered = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    numbered.unwrap_or((authority, 443))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_has_its_port_or_that_of_https() {
        for (authority, expected) in [
            ("graph.facebook.com", ("graph.facebook.com", 443)),
            ("127.0.0.1:8443", ("127.0.0.1", 8443)),
            ("[::1]:8443", ("[::1]", 8443)),
            ("[::1]", ("[::1]", 443)),
        ] {
            assert_eq!(split(authority), expected);
        }
    }
}
