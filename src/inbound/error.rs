//! The errors of the inbound side, and the one way for an error to become an answer.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::forgery::Forgery;
use super::metrics::FORGED;
use crate::response::{Refusal, RefusalKind};
use crate::spool::SpoolRefusal;
use crate::traffic::Failure;
use crate::upstream::{AnswerBody, UpstreamError};

/// The reason for an answer of Keyside's own to a request at the inbound listener.
#[derive(Debug)]
pub enum InboundError {
    /// No webhook has the request's path.
    NoWebhook,
    /// The method fits neither an event nor a handshake.
    MethodNotAllowed {
        /// The value of the `Allow` header.
        allow: &'static str,
    },
    /// The `Transfer-Encoding` is not a single `chunked`.
    TransferCoding,
    /// The body has a `Content-Encoding`, and its bytes are not the signed bytes.
    ContentCoding,
    /// The request names no verify token.
    HandshakeRefused,
    /// The handshake carries the verify token, and has a fault in a further parameter.
    HandshakeMalformed {
        /// The name of the parameter at fault.
        parameter: &'static str,
    },
    /// The handshake carries a wrong verify token.
    WrongVerifyToken,
    /// The address has sent too many wrong handshakes.
    TooManyGuesses,
    /// The request has no signature. The provider's definition names the status of the answer.
    Unsigned(StatusCode),
    /// The signature is wrong. Only the log shows the reason.
    Forged(Forgery),
    /// The signature of a probe of `keyside doctor` is wrong.
    ForgedProbe,
    /// The body is larger than `max_body`.
    BodyTooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// The body did not arrive in time.
    BodyTimedOut,
    /// The body ended early or is malformed.
    BodyBroken,
    /// The bodies held at present leave no room for the event.
    Overloaded,
    /// The end of a drain, which came before the answer.
    Draining,
    /// The credential has no secret to check a signature with.
    CredentialUnavailable,
    /// The key that signs events for the application has never been readable.
    SigningKeyMissing,
    /// The verify token of the handshake cannot be read.
    VerifyTokenMissing,
    /// The application cannot be reached, or did not answer in time.
    ApplicationUnavailable(String),
    /// The application answered with a status other than 2xx.
    ApplicationRefused(String),
    /// The event is not on disk.
    NotStored(SpoolRefusal),
}

impl InboundError {
    /// Returns the error for an event that could not be handed on, with the application's failure.
    #[must_use]
    pub(super) fn undelivered(error: &UpstreamError, failure: Option<&Failure>) -> Self {
        match (error, failure) {
            (UpstreamError::NoPlace, _) => Self::Overloaded,
            (_, Some(failure)) => Self::ApplicationUnavailable(failure_text(failure)),
            (error, None) => Self::ApplicationUnavailable(error.to_string()),
        }
    }

    /// Returns the error for an event that the application refused.
    #[must_use]
    pub(super) fn refused(status: StatusCode, failure: Option<&Failure>) -> Self {
        let status = || format!("the application answered {status}");
        Self::ApplicationRefused(failure.map_or_else(status, failure_text))
    }

    /// True for a genuine event without acceptance by its destination.
    pub(super) fn is_of_destination(&self) -> bool {
        matches!(
            self,
            Self::ApplicationUnavailable(_) | Self::ApplicationRefused(_) | Self::NotStored(_)
        )
    }

    /// Returns slug, status and code.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        let kind = |slug, status| {
            RefusalKind::new(slug, status, if status.is_server_error() { 2 } else { 100 })
        };
        match self {
            Self::NoWebhook => kind("no_webhook", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed { .. } => {
                kind("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::TransferCoding | Self::BodyBroken => kind("bad_request", StatusCode::BAD_REQUEST),
            Self::ContentCoding => kind("content_coding", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::HandshakeRefused
            | Self::HandshakeMalformed { .. }
            | Self::WrongVerifyToken
            | Self::VerifyTokenMissing => kind("handshake_refused", StatusCode::FORBIDDEN),
            Self::TooManyGuesses => kind("too_many_guesses", StatusCode::TOO_MANY_REQUESTS),
            Self::Unsigned(status) => kind("unsigned", *status),
            Self::Forged(_) => kind(FORGED, StatusCode::UNAUTHORIZED),
            Self::ForgedProbe => kind("probe_refused", StatusCode::UNAUTHORIZED),
            Self::BodyTooLarge { .. } => kind("body_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::BodyTimedOut => kind("body_timeout", StatusCode::REQUEST_TIMEOUT),
            Self::Overloaded => kind("overloaded", StatusCode::SERVICE_UNAVAILABLE),
            Self::Draining => kind("draining", StatusCode::SERVICE_UNAVAILABLE),
            Self::CredentialUnavailable | Self::SigningKeyMissing => {
                kind("credential_unavailable", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::ApplicationUnavailable(_) => {
                kind("application_unavailable", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::ApplicationRefused(_) => {
                kind("application_refused", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::NotStored(SpoolRefusal::Full | SpoolRefusal::DiskFull) => {
                kind("spool_full", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::NotStored(_) => kind("spool_unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// Returns the answer. Unsigned and forged requests get one text, so the answer tells a
    /// forger nothing.
    pub(super) fn to_response(&self) -> Response<AnswerBody> {
        match self {
            Self::Forged(_) | Self::ForgedProbe => NOT_GENUINE.clone().map(AnswerBody::Whole),
            Self::MethodNotAllowed { allow } => {
                let mut response = self.make_refusal().to_response();
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static(allow));
                response.map(AnswerBody::Whole)
            }
            _ => self.make_refusal().to_response().map(AnswerBody::Whole),
        }
    }

    fn make_refusal(&self) -> Refusal {
        let (message, details) = self.texts();
        let mut kind = self.kind();
        if let Self::Unsigned(_) | Self::Forged(_) = self {
            kind.slug = "not_genuine";
        }
        let mut refusal = Refusal::new(kind, message, details);
        refusal.retry_after = match self {
            Self::TooManyGuesses => Some(Duration::from_secs(60)),
            _ if kind.status == StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER),
            _ => None,
        };
        refusal
    }

    fn texts(&self) -> (&'static str, String) {
        let (message, details) = match self {
            Self::NoWebhook => (
                "there is no webhook at this path",
                "check the callback URL that was given to the provider",
            ),
            Self::MethodNotAllowed { .. } => (
                "the webhook does not accept this method",
                "send events with POST",
            ),
            Self::TransferCoding => (
                "the Transfer-Encoding is not a single `chunked`",
                "send the event as the provider documents it",
            ),
            Self::ContentCoding => (
                "the body has a Content-Encoding",
                "send the event without Content-Encoding, as it was signed",
            ),
            Self::HandshakeRefused | Self::WrongVerifyToken | Self::VerifyTokenMissing => (
                "the handshake is refused",
                "give the provider the verify token that the credential of this webhook has",
            ),
            Self::HandshakeMalformed { parameter } => {
                return (
                    "the verify token is right, and the request is no handshake",
                    format!("look at `{parameter}`: {HANDSHAKE}"),
                );
            }
            Self::TooManyGuesses => (
                "too many wrong handshakes came from this address",
                "wait a minute",
            ),
            Self::Unsigned(_) | Self::Forged(_) | Self::ForgedProbe => {
                ("the event is not genuine", "sign it as the provider does")
            }
            Self::BodyTooLarge { limit } => {
                return (
                    "the body is too large",
                    format!("send at most {limit} bytes"),
                );
            }
            Self::BodyTimedOut => (
                "the body did not arrive in time",
                "send the whole body within 10 seconds",
            ),
            Self::BodyBroken => ("the body is malformed or incomplete", "send the whole body"),
            Self::Overloaded => ("too many events are under way", AGAIN),
            Self::Draining => ("the sidecar stopped before the event was accepted", AGAIN),
            Self::CredentialUnavailable => ("there is no secret to check the event with", AGAIN),
            Self::SigningKeyMissing => ("there is no key to sign the event with", AGAIN),
            Self::ApplicationUnavailable(_) | Self::ApplicationRefused(_) => {
                ("the application did not take the event", AGAIN)
            }
            Self::NotStored(_) => ("the event cannot be stored now", AGAIN),
        };
        (message, details.to_owned())
    }

    /// Returns the reason for the log line, which has the slug already.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Forged(forgery) => forgery.to_string(),
            Self::ForgedProbe => {
                "the signature of a probe is wrong, as `keyside doctor` makes one to see it refused"
                    .to_owned()
            }
            Self::ApplicationUnavailable(reason) | Self::ApplicationRefused(reason) => {
                reason.clone()
            }
            Self::Unsigned(_) => "the request has no signature".to_owned(),
            Self::NotStored(refused) => refused.to_string(),
            Self::HandshakeRefused => "the handshake names no verify token".to_owned(),
            Self::WrongVerifyToken => "the handshake names a wrong verify token".to_owned(),
            Self::VerifyTokenMissing => {
                "the verify token cannot be read, so that no handshake is answered: see `keyside status`"
                    .to_owned()
            }
            Self::HandshakeMalformed { parameter } => {
                format!(
                    "the handshake has the verify token, and a missing, repeated or odd `{parameter}`"
                )
            }
            other => other.texts().0.to_owned(),
        }
    }
}

/// The remedy where the event itself is good.
const AGAIN: &str = "send the event again";

/// Returns the failure of an application with the remedy.
fn failure_text(failure: &Failure) -> String {
    format!("{}; {}", failure.reason, failure.advice)
}

/// The form of a handshake.
const HANDSHAKE: &str = "a handshake has hub.mode=subscribe, and a hub.challenge of 1 to 256 letters, digits and -_.=+/:, each once";
/// The answer to forged events. The answer is made once, since anybody can cause it at any rate.
static NOT_GENUINE: LazyLock<Response<Bytes>> = LazyLock::new(|| {
    InboundError::Forged(Forgery::SignatureWrong)
        .make_refusal()
        .to_response()
});
/// The `Retry-After` of a 503: an application that restarts is back by then, and a longer wait
/// would keep the user waiting. Meta follows a schedule of its own instead; other providers obey
/// the header.
const RETRY_AFTER: Duration = Duration::from_secs(5);
