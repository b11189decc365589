//! The errors of the sending side, with one way to become an answer.

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, StatusCode};

use super::error_texts::{
    account_texts, channel_texts, draining_texts, field_texts, lost_answer_texts,
    not_allowed_texts, not_named_texts, page_texts, rate_limited_texts, unanswered_texts,
    under_way_texts, unsupported_texts, user_texts,
};
use crate::credential::{AccessTokenError, MissingSecret};
use crate::limit::Limited;
use crate::provider::Scope;
use crate::response::{BAD_REQUEST, Refusal, RefusalKind};
use crate::upstream::{Unreadable, UpstreamError};

/// The reason why an application gets an answer of Keyside's own.
#[derive(Debug)]
pub enum OutboundError {
    /// A malformed or ambiguous request.
    BadRequest {
        /// The fault.
        message: Cow<'static, str>,
        /// Advice for the application.
        details: &'static str,
    },
    /// A request from a page in a browser.
    BrowserRequest,
    /// A `Host` that Keyside does not answer for.
    WrongHost,
    /// A method that does not pass.
    MethodNotAllowed,
    /// A path without a route.
    NoRoute,
    /// An operation that the route does not allow.
    OperationNotAllowed {
        /// Name of the operation.
        operation: String,
        /// Names of other operations that have the request as well.
        others: Vec<String>,
    },
    /// A request that is no operation of the provider, with advice.
    UnknownOperation(String),
    /// A field in the body that the allowed operation does not have.
    FieldNotAllowed {
        /// Beginning of the field's name.
        field: String,
        /// Name of the operation.
        operation: String,
        /// The fields of the operation's request.
        allowed: Vec<String>,
    },
    /// A message in a channel that the route does not allow.
    ChannelNotAllowed {
        /// The channel.
        channel: String,
    },
    /// A sender that the route does not allow.
    SenderNotAllowed {
        /// The sender.
        sender: String,
    },
    /// A message from a page of the token: Messenger would send it.
    SenderIsPage {
        /// The page.
        sender: String,
    },
    /// A request of a user without access to the route.
    UserNotAllowed,
    /// A request that names no sender where the sender decides.
    SenderNotNamed {
        /// The place for the sender.
        advice: String,
    },
    /// A request that names an account of no route, where the account chooses the route.
    AccountNotKnown {
        /// The account.
        account: String,
    },
    /// A body of a type that the operation does not take.
    UnsupportedMediaType {
        /// The types that the operation takes.
        taken: Vec<String>,
    },
    /// A body over the bound.
    BodyTooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// A request without a turn in time.
    RateLimited(Limited),
    /// A repeated `Idempotency-Key` before the outcome of the first request is known.
    SendUnderWay {
        /// True if the first request is over, and the provider may have acted on it.
        outcome_unknown: bool,
    },
    /// An `Idempotency-Key` that was used for a different message.
    KeyReused,
    /// A credential without a secret that the request should carry.
    CredentialUnavailable {
        /// Name of the secret.
        secret: String,
    },
    /// A credential without an access token.
    NoToken(AccessTokenError),
    /// Too many large bodies, or too many unknown outcomes, in memory.
    Overloaded,
    /// The end of a drain, which came before the answer.
    Draining {
        /// True if the provider may have acted on the request.
        outcome_unknown: bool,
    },
    /// A failure of the upstream, of the connection, or of the application's body.
    Upstream {
        /// The failure.
        error: UpstreamError,
        /// True if the provider may have acted on the request.
        outcome_unknown: bool,
    },
}

impl From<AccessTokenError> for OutboundError {
    fn from(error: AccessTokenError) -> Self {
        Self::NoToken(error)
    }
}

impl From<MissingSecret> for OutboundError {
    fn from(MissingSecret(secret): MissingSecret) -> Self {
        Self::CredentialUnavailable { secret }
    }
}

impl OutboundError {
    /// A malformed or ambiguous request, with advice for the application.
    #[must_use]
    pub(super) const fn bad_request(message: &'static str, details: &'static str) -> Self {
        Self::BadRequest {
            message: Cow::Borrowed(message),
            details,
        }
    }

    /// The failure of an exchange. Once a byte was written, the provider may have acted on the
    /// request, so the outcome is unknown; only a safe method changes nothing either way.
    #[must_use]
    pub(super) fn upstream(error: UpstreamError, method: &Method) -> Self {
        let written = match &error {
            UpstreamError::TimedOut { written, .. } => *written,
            // An answer, however broken, comes after the request.
            UpstreamError::Protocol(_) | UpstreamError::Unreadable(_) => true,
            _ => false,
        };
        Self::Upstream {
            error,
            outcome_unknown: written && !method.is_safe(),
        }
    }

    /// The end of a drain. Only a safe method changes nothing once a byte was written.
    pub(super) fn draining(written: bool, method: &Method) -> Self {
        Self::Draining {
            outcome_unknown: written && !method.is_safe(),
        }
    }

    /// The refusal of a request of these operations, of which the route allows none.
    pub(super) fn operation_not_allowed(mut names: impl Iterator<Item = String>) -> Self {
        let operation = names.next().unwrap_or_default();
        let mut others: Vec<_> = names.filter(|name| *name != operation).collect();
        others.dedup();
        Self::OperationNotAllowed { operation, others }
    }

    /// Slug, status and code.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::BadRequest { .. } => BAD_REQUEST,
            Self::BrowserRequest => RefusalKind::new("browser_request", StatusCode::FORBIDDEN, 200),
            Self::WrongHost => RefusalKind::new("wrong_host", StatusCode::MISDIRECTED_REQUEST, 100),
            Self::MethodNotAllowed => {
                RefusalKind::new("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, 100)
            }
            Self::NoRoute => RefusalKind::new("no_route", StatusCode::NOT_FOUND, 100),
            Self::OperationNotAllowed { .. }
            | Self::UnknownOperation(_)
            | Self::FieldNotAllowed { .. }
            | Self::ChannelNotAllowed { .. } => OPERATION_NOT_ALLOWED,
            Self::SenderNotAllowed { .. } | Self::SenderIsPage { .. } => SENDER_NOT_ALLOWED,
            Self::SenderNotNamed { .. } | Self::AccountNotKnown { .. } => SENDER_NOT_NAMED,
            Self::UserNotAllowed => {
                RefusalKind::new("user_not_allowed", StatusCode::FORBIDDEN, 200)
            }
            Self::UnsupportedMediaType { .. } => UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } => BODY_TOO_LARGE,
            Self::RateLimited(limited) => {
                let code = match limited.scope {
                    Scope::Sender => 130_429,
                    Scope::Recipient => 131_056,
                    Scope::Account | Scope::Operation => 80_007,
                };
                RefusalKind::new("rate_limited", StatusCode::TOO_MANY_REQUESTS, code)
            }
            Self::SendUnderWay { .. } => {
                RefusalKind::new("send_under_way", StatusCode::CONFLICT, 100)
            }
            Self::KeyReused => {
                RefusalKind::new("key_reused", StatusCode::UNPROCESSABLE_ENTITY, 100)
            }
            Self::CredentialUnavailable { .. } | Self::NoToken(_) => {
                RefusalKind::new("credential_unavailable", StatusCode::SERVICE_UNAVAILABLE, 2)
            }
            Self::Overloaded => OVERLOADED,
            Self::Draining {
                outcome_unknown: false,
            } => RefusalKind::new("draining", StatusCode::SERVICE_UNAVAILABLE, 2),
            Self::Draining {
                outcome_unknown: true,
            } => UPSTREAM_TIMEOUT,
            Self::Upstream { error, .. } => kind_of(error),
        }
    }

    /// The answer for the application.
    #[must_use]
    pub fn refusal(&self, route: Option<&str>) -> Refusal {
        let (message, details) = self.texts();
        let mut refusal = Refusal::new(self.kind(), message, details);
        refusal.route = route.map(str::to_owned);
        match self {
            Self::RateLimited(limited) => refusal.retry_after = Some(limited.retry_after),
            Self::NoToken(error) => refusal.retry_after = Some(error.retry_after),
            Self::CredentialUnavailable { .. }
            | Self::Overloaded
            | Self::Draining {
                outcome_unknown: false,
            }
            | Self::Upstream {
                error: UpstreamError::Unreadable(Unreadable::NoRoom) | UpstreamError::NoPlace,
                ..
            } => refusal.retry_after = Some(Duration::from_secs(1)),
            Self::SendUnderWay {
                outcome_unknown: false,
            } => refusal.retry_after = Some(Duration::from_secs(1)),
            Self::SendUnderWay { outcome_unknown }
            | Self::Draining { outcome_unknown }
            | Self::Upstream {
                outcome_unknown, ..
            } => refusal.outcome_unknown = *outcome_unknown,
            _ => {}
        }
        refusal
    }

    fn texts(&self) -> (String, String) {
        let (message, details): (String, String) = match self {
            Self::BadRequest { message, details } => (message.clone().into_owned(), (*details).into()),
            Self::BrowserRequest => (
                "a request from a browser page is not passed on".into(),
                "call Keyside from a server-side application; a request must not have an Origin or a Sec-Fetch-Site header".into(),
            ),
            Self::WrongHost => (
                "Keyside does not answer for the Host of the request".into(),
                "call localhost, 127.0.0.1, [::1] or a host of a route's provider with exactly one Host header, which over TLS is the name of the handshake; or add the name to [outbound] allowed_hosts".into(),
            ),
            Self::MethodNotAllowed => (
                "the method is not passed on".into(),
                "use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS".into(),
            ),
            Self::NoRoute => (
                "no route has this path".into(),
                "check the path of the request against `path` and `senders` of the [[route]] tables; `keyside status` lists them".into(),
            ),
            Self::OperationNotAllowed { operation, others } => not_allowed_texts(operation, others),
            Self::UnknownOperation(advice) => (
                "the provider's preset has no operation for this method and path".into(),
                advice.clone(),
            ),
            Self::ChannelNotAllowed { channel } => channel_texts(channel),
            Self::FieldNotAllowed { field, operation, allowed } => field_texts(field, operation, allowed),
            Self::SenderNotAllowed { sender } => (
                format!("the sender {sender} is not allowed on this route"),
                "use a sender of this route, or add it to `senders`".into(),
            ),
            Self::SenderIsPage { sender } => page_texts(sender),
            Self::SenderNotNamed { advice } => not_named_texts(advice),
            Self::AccountNotKnown { account } => account_texts(account),
            Self::UserNotAllowed => user_texts(),
            Self::UnsupportedMediaType { taken } => unsupported_texts(taken),
            Self::BodyTooLarge { limit } => (
                "the body of the request is too large".into(),
                format!("send at most {limit} bytes; JSON and forms may have 1 MiB, media 110 MiB"),
            ),
            Self::RateLimited(limited) => rate_limited_texts(limited),
            Self::SendUnderWay { outcome_unknown: false } => under_way_texts(),
            Self::SendUnderWay { outcome_unknown: true } => unanswered_texts(),
            Self::KeyReused => (
                "this Idempotency-Key was used for another message".into(),
                "make a new key for each message, and repeat a request byte for byte".into(),
            ),
            Self::CredentialUnavailable { secret } => (
                format!("the credential of this route has no usable `{secret}`"),
                "nothing was sent; `keyside status` says what is wrong with the secret".into(),
            ),
            Self::NoToken(error) => (
                error.to_string(),
                "nothing was sent; send again after the time in Retry-After; if the error stays, look at the log".into(),
            ),
            Self::Overloaded => ("too many requests with large bodies are under way".into(), "send again in a moment".into()),
            Self::Draining { outcome_unknown } => draining_texts(*outcome_unknown),
            Self::Upstream { error, outcome_unknown: true } => lost_answer_texts(error),
            Self::Upstream { error, outcome_unknown: false } => (error.to_string(), upstream_advice(error)),
        };
        (message, details)
    }
}

/// The advice for a failure after which the provider has not acted on the request.
fn upstream_advice(error: &UpstreamError) -> String {
    match error {
        UpstreamError::RequestBodyRefused(_) => {
            "send the form without batches, method overrides and credentials, in the plain form that HTTP libraries write"
        }
        UpstreamError::RequestBody(_) | UpstreamError::RequestBodyTimedOut => {
            "send the whole body, in valid chunks or with its exact Content-Length"
        }
        UpstreamError::Tls(_) => {
            "nothing was sent; check `ca` and `upstream` of the provider, and the clock of this machine"
        }
        UpstreamError::MalformedRequest => {
            "look at the secrets of the route's credential: none may have more than one line"
        }
        UpstreamError::NoPlace => {
            "nothing was sent; send again in a moment; if the error stays, raise the limit on open files (ulimit -n, LimitNOFILE=)"
        }
        UpstreamError::Proxy(failure) => {
            return format!("nothing was sent; {}", failure.fault.advice());
        }
        UpstreamError::Unreachable(_) => "nothing was sent; check that this machine reaches the provider's host",
        _ => "the provider has not acted on the request as far as Keyside can see; send the request again",
    }
    .into()
}

/// Slug, status and code of a failure of the upstream, of the connection, or of the application's
/// body.
fn kind_of(error: &UpstreamError) -> RefusalKind {
    match error {
        UpstreamError::Unreadable(Unreadable::NoRoom) | UpstreamError::NoPlace => OVERLOADED,
        UpstreamError::Unreachable(_) | UpstreamError::Proxy(_) => {
            RefusalKind::new("upstream_unreachable", StatusCode::BAD_GATEWAY, 2)
        }
        UpstreamError::Tls(_) => RefusalKind::new("upstream_tls", StatusCode::BAD_GATEWAY, 2),
        UpstreamError::Protocol(_) | UpstreamError::Unreadable(_) | UpstreamError::NotWritten => {
            RefusalKind::new("upstream_protocol", StatusCode::BAD_GATEWAY, 2)
        }
        UpstreamError::MalformedRequest => {
            RefusalKind::new("credential_unavailable", StatusCode::SERVICE_UNAVAILABLE, 2)
        }
        UpstreamError::TimedOut { .. } => UPSTREAM_TIMEOUT,
        UpstreamError::RequestBody(_)
        | UpstreamError::RequestBodyTimedOut
        | UpstreamError::RequestBodyRefused(_) => BAD_REQUEST,
        UpstreamError::RequestBodyTooLarge { .. } => BODY_TOO_LARGE,
    }
}

const UPSTREAM_TIMEOUT: RefusalKind =
    RefusalKind::new("upstream_timeout", StatusCode::GATEWAY_TIMEOUT, 2);
const OVERLOADED: RefusalKind = RefusalKind::new("overloaded", StatusCode::SERVICE_UNAVAILABLE, 2);
const OPERATION_NOT_ALLOWED: RefusalKind =
    RefusalKind::new("operation_not_allowed", StatusCode::FORBIDDEN, 200);
const SENDER_NOT_ALLOWED: RefusalKind =
    RefusalKind::new("sender_not_allowed", StatusCode::FORBIDDEN, 200);
const SENDER_NOT_NAMED: RefusalKind =
    RefusalKind::new("sender_not_named", StatusCode::FORBIDDEN, 200);
const UNSUPPORTED_MEDIA_TYPE: RefusalKind = RefusalKind::new(
    "unsupported_media_type",
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    100,
);
const BODY_TOO_LARGE: RefusalKind =
    RefusalKind::new("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, 100);
