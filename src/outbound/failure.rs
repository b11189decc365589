//! Failures of requests, for the health of the route: errors of the provider and of the network.

use http::StatusCode;

use super::error::OutboundError;
use super::redact::redacted;
use crate::credential::Credential;
use crate::log::without_numbers;
use crate::provider::{Meaning, ProviderError};
use crate::traffic::{Failure, FailureClass};
use crate::upstream::UpstreamError;

/// Returns the failure that an answer tells of; `None` for a success.
pub(super) fn of_answer(
    status: StatusCode,
    meaning: &Meaning<'_>,
    error: ProviderError,
    credential: &Credential,
) -> Option<Box<Failure>> {
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let (class, advice) = match meaning {
        Meaning::CredentialRefused => (
            FailureClass::Refused,
            "put a new secret in its place; `keyside status` says which",
        ),
        Meaning::Forbidden => (
            FailureClass::Forbidden,
            "give the token the right that the operation needs; `keyside explain` names it",
        ),
        Meaning::Throttled(_) => (
            FailureClass::Throttled,
            "Keyside pauses by itself; a lower rate in [route.limits] keeps others from waiting",
        ),
        Meaning::Temporary => (
            FailureClass::Temporary,
            "the provider's status page may tell more",
        ),
        Meaning::Policy => (FailureClass::Policy, "the provider's dashboard tells more"),
        Meaning::Other if status.is_server_error() => (
            FailureClass::Temporary,
            "the provider's status page may tell more",
        ),
        Meaning::Other => (FailureClass::Other, ""),
    };
    let own = credential.provider.errors.advice(error.code.as_deref());
    let clean = |text: String| without_secrets(&text, credential);
    let words = error.words.filter(|words| !words.is_empty());
    let reason = words.map(|words| without_numbers(&clean(words)));
    Some(Box::new(Failure {
        class,
        status: status.as_u16(),
        code: error.code.map(clean),
        subcode: error.subcode.map(clean),
        trace: error.trace.map(clean),
        reason: reason
            .unwrap_or_else(|| format!("the provider answers with status {}", status.as_u16())),
        advice: own.unwrap_or(advice).to_owned(),
    }))
}

/// Returns the failure of the way to the provider; `None` for an error that is Keyside's own or the
/// application's.
pub(super) fn of_network(error: &OutboundError, host: &str) -> Option<Failure> {
    let OutboundError::Upstream { error: cause, .. } = error else {
        return None;
    };
    let (class, advice) = match cause {
        UpstreamError::Unreachable(_) => (
            FailureClass::Unreachable,
            "check that this machine reaches the host: its name, the way out, and the provider's status page",
        ),
        UpstreamError::Proxy(failure) => (FailureClass::Unreachable, failure.fault.advice()),
        UpstreamError::Tls(_) => (
            FailureClass::Tls,
            "check `ca` of the provider, the clock of this machine, and whether something in between opens TLS",
        ),
        UpstreamError::Protocol(_) | UpstreamError::NotWritten => (
            FailureClass::Protocol,
            "the provider's status page may tell more, or something in between answers in its place",
        ),
        UpstreamError::TimedOut { .. } => (
            FailureClass::Timeout,
            "the provider's status page may tell more",
        ),
        _ => return None,
    };
    Some(Failure {
        class,
        status: error.kind().status.as_u16(),
        code: None,
        subcode: None,
        trace: None,
        reason: format!("{host}: {cause}"),
        advice: advice.to_owned(),
    })
}

/// Returns words of the provider without secrets, cut after some length.
fn without_secrets(text: &str, credential: &Credential) -> String {
    let clean = redacted(text.as_bytes(), credential);
    let readable = String::from_utf8_lossy(&clean);
    let printable = readable
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MAX_REASON).collect()
}

/// The longest text of a reason, in characters: providers explain in a sentence or two.
const MAX_REASON: usize = 300;
