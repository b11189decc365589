//! Why a request was not passed on, or its answer not back: one way to become a response.

use std::time::Duration;

use http::StatusCode;

use crate::credential::{Missing, NoToken};
use crate::limit::{Limited, Scope};
use crate::response::{BAD_REQUEST, Kind, Refusal};
use crate::upstream::UpstreamError;

/// Why a caller gets an answer of Keyside's own.
#[derive(Debug)]
pub enum OutboundError {
    /// Something about the request that no provider should see.
    BadRequest {
        /// What is wrong.
        message: &'static str,
        /// What to do.
        details: &'static str,
    },
    /// The request comes from a page in a browser.
    BrowserRequest,
    /// The `Host` is not one of Keyside's.
    WrongHost,
    /// The method is none that passes.
    MethodNotAllowed,
    /// No route has this path, or this path and sender.
    NoRoute,
    /// The route does not have the operation, or the provider does not.
    OperationNotAllowed {
        /// The operation, where the provider has one for the request.
        operation: Option<String>,
    },
    /// The route does not have the sender.
    SenderNotAllowed {
        /// The sender, where the request names one.
        sender: Option<String>,
    },
    /// The body is over its bound.
    BodyTooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// The limit does not let it through in time.
    RateLimited(Limited),
    /// The request has the key of one that is under way, or whose outcome is not known.
    SendUnderWay {
        /// Whether the provider may have acted on it.
        outcome_unknown: bool,
    },
    /// The request has the key of another.
    KeyReused,
    /// The credential lacks what the request should carry.
    CredentialUnavailable {
        /// The name of the secret.
        secret: String,
    },
    /// There is no access token to send.
    NoToken(NoToken),
    /// Too many bodies are held already.
    Overloaded,
    /// The upstream, or the connection to it.
    Upstream {
        /// What happened.
        error: UpstreamError,
        /// Whether the provider may have acted on the request.
        outcome_unknown: bool,
    },
}

impl From<NoToken> for OutboundError {
    fn from(error: NoToken) -> Self {
        Self::NoToken(error)
    }
}

impl From<Missing> for OutboundError {
    fn from(Missing(secret): Missing) -> Self {
        Self::CredentialUnavailable { secret }
    }
}

impl OutboundError {
    /// Slug, status and code.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::BadRequest { .. } => BAD_REQUEST,
            Self::BrowserRequest => Kind::new("browser_request", StatusCode::FORBIDDEN, 200),
            Self::WrongHost => Kind::new("wrong_host", StatusCode::MISDIRECTED_REQUEST, 100),
            Self::MethodNotAllowed => Kind::new("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, 100),
            Self::NoRoute => Kind::new("no_route", StatusCode::NOT_FOUND, 100),
            Self::OperationNotAllowed { .. } => Kind::new("operation_not_allowed", StatusCode::FORBIDDEN, 200),
            Self::SenderNotAllowed { .. } => Kind::new("sender_not_allowed", StatusCode::FORBIDDEN, 200),
            Self::BodyTooLarge { .. } => BODY_TOO_LARGE,
            Self::RateLimited(limited) => {
                let code = match limited.scope {
                    Scope::Sender => 130_429,
                    Scope::Recipient => 131_056,
                    Scope::Account => 80_007,
                };
                Kind::new("rate_limited", StatusCode::TOO_MANY_REQUESTS, code)
            }
            Self::SendUnderWay { .. } => Kind::new("send_under_way", StatusCode::CONFLICT, 100),
            Self::KeyReused => Kind::new("key_reused", StatusCode::UNPROCESSABLE_ENTITY, 100),
            Self::CredentialUnavailable { .. } | Self::NoToken(_) => {
                Kind::new("credential_unavailable", StatusCode::SERVICE_UNAVAILABLE, 2)
            }
            Self::Overloaded => Kind::new("overloaded", StatusCode::SERVICE_UNAVAILABLE, 2),
            Self::Upstream { error, .. } => match error {
                UpstreamError::Unreachable(_) => Kind::new("upstream_unreachable", StatusCode::BAD_GATEWAY, 2),
                UpstreamError::Tls(_) => Kind::new("upstream_tls", StatusCode::BAD_GATEWAY, 2),
                UpstreamError::Protocol(_) | UpstreamError::NotWritten => {
                    Kind::new("upstream_protocol", StatusCode::BAD_GATEWAY, 2)
                }
                UpstreamError::TimedOut { .. } => Kind::new("upstream_timeout", StatusCode::GATEWAY_TIMEOUT, 2),
                UpstreamError::CallerBody(_) | UpstreamError::CallerTimedOut => BAD_REQUEST,
                UpstreamError::CallerTooLarge { .. } => BODY_TOO_LARGE,
            },
        }
    }

    /// What the caller is told.
    #[must_use]
    pub fn refusal(&self, route: Option<&str>) -> Refusal {
        let (message, details) = self.texts();
        let mut refusal = Refusal::new(self.kind(), message, details);
        refusal.route = route.map(str::to_owned);
        match self {
            Self::RateLimited(limited) => refusal.retry_after = Some(limited.retry_after),
            Self::NoToken(error) => refusal.retry_after = Some(error.retry_after),
            Self::CredentialUnavailable { .. } | Self::Overloaded => refusal.retry_after = Some(Duration::from_secs(1)),
            Self::SendUnderWay { outcome_unknown: false } => refusal.retry_after = Some(Duration::from_secs(1)),
            Self::SendUnderWay { outcome_unknown } | Self::Upstream { outcome_unknown, .. } => {
                refusal.outcome_unknown = *outcome_unknown
            }
            _ => {}
        }
        refusal
    }

    fn texts(&self) -> (String, String) {
        let (message, details): (String, String) = match self {
            Self::BadRequest { message, details } => ((*message).into(), (*details).into()),
            Self::BrowserRequest => (
                "a request from a browser page is not passed on".into(),
                "call Keyside from a server-side application; it takes no request with an Origin or a Sec-Fetch-Site".into(),
            ),
            Self::WrongHost => (
                "the Host of the request is not one that Keyside answers for".into(),
                "call localhost, 127.0.0.1 or [::1] with exactly one Host header, or add the name to [outbound] allowed_hosts".into(),
            ),
            Self::MethodNotAllowed => (
                "the method is not passed on".into(),
                "use GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS".into(),
            ),
            Self::NoRoute => (
                "no route has this path".into(),
                "check the path of the request against `path` and `senders` of the [[route]] tables; `keyside status` lists them".into(),
            ),
            Self::OperationNotAllowed { operation: Some(operation) } => (
                format!("the operation `{operation}` is not allowed on this route"),
                format!("if this application needs it, add \"{operation}\" to `operations` of the route"),
            ),
            Self::OperationNotAllowed { operation: None } => (
                "the provider has no operation for this method and path".into(),
                "check the path against the provider's documentation; `keyside providers NAME` lists what is known".into(),
            ),
            Self::SenderNotAllowed { sender } => sender_texts(sender.as_deref()),
            Self::BodyTooLarge { limit } => (
                "the body of the request is too large".into(),
                format!("send at most {limit} bytes; JSON and forms may have 1 MiB, media 110 MiB"),
            ),
            Self::RateLimited(limited) => rate_limited_texts(limited),
            Self::SendUnderWay { outcome_unknown: false } => (
                "the message with this Idempotency-Key is under way".into(),
                "wait for its answer, or ask again in a moment".into(),
            ),
            Self::SendUnderWay { outcome_unknown: true } => (
                "the message with this Idempotency-Key was written, and no answer came: it may have been sent".into(),
                "find out, for example by its status webhook; if it was not sent, repeat the request with Keyside-Settle: not-sent".into(),
            ),
            Self::KeyReused => (
                "this Idempotency-Key was used for another message".into(),
                "make a new key for each message, and repeat a request byte for byte".into(),
            ),
            Self::CredentialUnavailable { secret } => (
                format!("the credential of this route has no usable `{secret}`"),
                "nothing was sent; `keyside status` says what is wrong with it".into(),
            ),
            Self::NoToken(error) => (
                error.to_string(),
                "nothing was sent; send again after the time in Retry-After, and look at the log where it goes on".into(),
            ),
            Self::Overloaded => ("too many requests with large bodies are under way".into(), "send again in a moment".into()),
            Self::Upstream { error, outcome_unknown } => (error.to_string(), self.upstream_advice(error, *outcome_unknown)),
        };
        (message, details)
    }

    fn upstream_advice(&self, error: &UpstreamError, outcome_unknown: bool) -> String {
        if outcome_unknown {
            return "the provider may or may not have acted on the request; look for a status webhook before sending again".into();
        }
        match error {
            UpstreamError::CallerBody(_) | UpstreamError::CallerTimedOut => {
                "send the whole body, in valid chunks or with its exact Content-Length"
            }
            UpstreamError::Tls(_) => {
                "nothing was sent; check `ca` and `upstream` of the provider, and the clock of this machine"
            }
            UpstreamError::Unreachable(_) => "nothing was sent; check that this machine reaches the provider's host",
            _ => "the request was not acted on as far as can be told; it may be sent again",
        }
        .into()
    }
}

fn sender_texts(sender: Option<&str>) -> (String, String) {
    match sender {
        Some(sender) => (
            format!("the sender {sender} is not allowed on this route"),
            "use a sender of this route, or add it to `senders`".into(),
        ),
        None => (
            "the request names no sender, and this route is for some alone".into(),
            "name one where the provider looks for it, or leave `senders` of the route out".into(),
        ),
    }
}

fn rate_limited_texts(limited: &Limited) -> (String, String) {
    if limited.is_closed {
        return (
            "the limits that many sidecars share cannot be asked, and nothing goes without them".into(),
            "send again after the time in Retry-After; `keyside status` says what is wrong with the server of [limits]"
                .into(),
        );
    }
    if let Some(why) = limited.why {
        return (
            format!("nothing of this {} goes for now: {}", limited.scope.as_str(), why.explained()),
            "send again after the time in Retry-After; until then the provider would refuse it too".into(),
        );
    }
    (
        format!("the limit of this {} is reached; {} requests wait already", limited.scope.as_str(), limited.waiting),
        "send again after the time in Retry-After, or raise `max_wait` of [route.limits]".into(),
    )
}

const BODY_TOO_LARGE: Kind = Kind::new("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, 100);
