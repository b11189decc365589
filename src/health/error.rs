//! The reasons why a query to a provider has no result.

use std::fmt;

use serde_json::Value;

use super::query::number_at;
use crate::credential::MissingSecret;
use crate::secret::SecretError;
use crate::upstream::UpstreamError;

/// The reason why a query to a provider has no result.
#[derive(Debug)]
pub enum QueryError {
    /// The credential has no secret with the given name.
    Missing(String),
    /// The provider gave no answer.
    Upstream(UpstreamError),
    /// The answer is not JSON.
    NotJson,
    /// The provider refused the request, with this code if any.
    Refused {
        /// The request: "the exchange", "the revocation", "the question".
        request: &'static str,
        /// The provider's own code.
        code: Option<i64>,
    },
    /// The answer has a new token that cannot be a secret.
    NewToken(SecretError),
}

impl QueryError {
    /// Describes the refusal of a request, with the code in the answer.
    pub(super) fn refused(request: &'static str, answer: &Value) -> Self {
        Self::Refused {
            request,
            code: number_at(answer, "/error/code"),
        }
    }
}

impl QueryError {
    /// True if the provider may have done what was asked: a request was written, and its answer is
    /// lost.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Refused { .. } => false,
            Self::NotJson | Self::NewToken(_) => true,
            Self::Upstream(error) => !error.is_before_request(),
        }
    }
}

impl From<MissingSecret> for QueryError {
    fn from(MissingSecret(secret): MissingSecret) -> Self {
        Self::Missing(secret)
    }
}

impl From<UpstreamError> for QueryError {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(secret) => write!(f, "there is no `{secret}` to ask with"),
            Self::Upstream(error) => fmt::Display::fmt(error, f),
            Self::NotJson => f.write_str("the answer is no JSON"),
            Self::Refused { request, code } => {
                write!(f, "{request} was refused (code {})", shown(*code))
            }
            Self::NewToken(error) => write!(f, "the new token: {error}"),
        }
    }
}

impl std::error::Error for QueryError {}

/// Returns a number for a message, or "unknown".
pub(super) fn shown(number: Option<i64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}
