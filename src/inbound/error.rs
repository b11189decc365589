//! Why an event is not handed on: one way to become an answer.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::metrics::FORGED;
use crate::response::{Kind, Refusal};
use crate::upstream::AnswerBody;

/// Why a provider, or somebody who says to be one, gets an answer of Keyside's own.
#[derive(Debug)]
pub enum InboundError {
    /// No webhook has this path.
    NoWebhook,
    /// Neither an event nor a handshake.
    MethodNotAllowed {
        /// What `Allow` says.
        allow: &'static str,
    },
    /// The head is not that of an event.
    BadRequest(&'static str),
    /// The body is coded, so that its bytes are not those that were signed.
    Coded,
    /// The handshake does not name the verify token.
    HandshakeRefused,
    /// Too many handshakes that did not, from one address.
    TooManyGuesses,
    /// There is no signature at all. The status is the provider's to say.
    Unsigned(StatusCode),
    /// The signature is not one that the provider would have made; the reason is for the log alone.
    Forged(&'static str),
    /// The body is larger than `max_body`.
    BodyTooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// The body did not come in time.
    BodyTimedOut,
    /// The body ended early or is malformed.
    BodyBroken,
    /// More bytes of bodies are held than may be.
    Overloaded,
    /// There is no secret to check a signature with.
    CredentialUnavailable,
    /// The application cannot be reached, or did not answer in time.
    ApplicationUnavailable(String),
    /// The application answered with another status than success.
    ApplicationRefused(StatusCode),
}

impl InboundError {
    /// Slug, status and code.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let kind = |slug, status| Kind::new(slug, status, if status.is_server_error() { 2 } else { 100 });
        match self {
            Self::NoWebhook => kind("no_webhook", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed { .. } => kind("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::BadRequest(_) | Self::BodyBroken => kind("bad_request", StatusCode::BAD_REQUEST),
            Self::Coded => kind("content_coding", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::HandshakeRefused => kind("handshake_refused", StatusCode::FORBIDDEN),
            Self::TooManyGuesses => kind("too_many_guesses", StatusCode::TOO_MANY_REQUESTS),
            Self::Unsigned(status) => kind("unsigned", *status),
            Self::Forged(_) => kind(FORGED, StatusCode::UNAUTHORIZED),
            Self::BodyTooLarge { .. } => kind("body_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::BodyTimedOut => kind("body_timeout", StatusCode::REQUEST_TIMEOUT),
            Self::Overloaded => kind("overloaded", StatusCode::SERVICE_UNAVAILABLE),
            Self::CredentialUnavailable => kind("credential_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::ApplicationUnavailable(_) => kind("application_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::ApplicationRefused(_) => kind("application_refused", StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// What the other end is told. Who forges learns nothing of what was wrong: unsigned and forged
    /// look the same.
    pub(super) fn to_response(&self) -> Response<AnswerBody> {
        match self {
            Self::Forged(_) => NOT_GENUINE.clone().map(AnswerBody::Whole),
            Self::MethodNotAllowed { allow } => {
                let mut response = self.make_refusal().to_response();
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
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
            Self::NoWebhook => {
                ("there is no webhook at this path", "check the callback URL that was given to the provider")
            }
            Self::MethodNotAllowed { .. } => ("the method is not one of a webhook", "send events with POST"),
            Self::BadRequest(message) => (*message, "send the event as the provider documents it"),
            Self::Coded => ("the body is coded", "send the event without Content-Encoding, as it was signed"),
            Self::HandshakeRefused => (
                "the handshake is refused",
                "give the provider the verify token that the credential of this webhook has",
            ),
            Self::TooManyGuesses => ("too many wrong handshakes came from this address", "wait a minute"),
            Self::Unsigned(_) | Self::Forged(_) => ("the event is not genuine", "sign it as the provider does"),
            Self::BodyTooLarge { limit } => return ("the body is too large", format!("send at most {limit} bytes")),
            Self::BodyTimedOut => ("the body did not come in time", "send the whole of it within 10 seconds"),
            Self::BodyBroken => ("the body is malformed or incomplete", "send the whole of it"),
            Self::Overloaded => ("too many events are under way", "send it again"),
            Self::CredentialUnavailable => ("there is no secret to check the event with", "send it again"),
            Self::ApplicationUnavailable(_) | Self::ApplicationRefused(_) => {
                ("the application did not take the event", "send it again")
            }
        };
        (message, details.to_owned())
    }

    /// What the log says beyond the slug.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Forged(reason) => (*reason).to_owned(),
            Self::ApplicationUnavailable(reason) => reason.clone(),
            Self::ApplicationRefused(status) => format!("the application answered {status}"),
            Self::Unsigned(_) => "there is no signature".to_owned(),
            other => other.texts().0.to_owned(),
        }
    }
}

/// The one that anybody can ask for as often as they like: made once.
static NOT_GENUINE: LazyLock<Response<Bytes>> = LazyLock::new(|| InboundError::Forged("").make_refusal().to_response());
/// Meta decides itself when it sends again; others look here.
const RETRY_AFTER: Duration = Duration::from_secs(5);
