//! The reasons for the absence of an access token.

use std::fmt;
use std::time::Duration;

use super::super::missing::MissingSecret;

/// The reason for the absence of an access token, with the time to wait before the next try.
#[derive(Clone, Debug)]
pub struct AccessTokenError {
    /// True if the issuer refused the secrets: a different secret set may do better.
    pub is_refusal: bool,
    /// The time after which asking again makes sense.
    pub retry_after: Duration,
    problem: String,
}

impl AccessTokenError {
    /// The exchange took longer than a request may wait.
    pub(super) fn late(host: &str) -> Self {
        Self {
            is_refusal: false,
            retry_after: MIN_RETRY,
            problem: format!("the exchange at {host} for an access token takes too long"),
        }
    }

    /// The secret set lacks a secret for the token.
    pub(super) fn without_key(MissingSecret(secret): MissingSecret) -> Self {
        Self {
            is_refusal: false,
            retry_after: MIN_RETRY,
            problem: format!("no access token can be made: there is no usable `{secret}`"),
        }
    }

    /// The last exchange failed, and the next must wait.
    pub(super) fn after(failure: &ExchangeFailure, retry_after: Duration) -> Self {
        Self {
            is_refusal: failure.is_refusal,
            retry_after,
            problem: failure.problem.clone(),
        }
    }
}

impl fmt::Display for AccessTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for AccessTokenError {}

/// A failed exchange.
#[derive(Clone, Debug)]
pub(super) struct ExchangeFailure {
    /// True if the issuer refused the secrets.
    pub(super) is_refusal: bool,
    /// The reason, for logs and for the application.
    pub(super) problem: String,
}

/// The pause after a first failure; see `tokens::Failures` for the growth.
pub(super) const MIN_RETRY: Duration = Duration::from_secs(1);
