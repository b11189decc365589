//! The answer to an SDK that asks for an access token itself.

use bytes::Bytes;
use http::Method;

use super::path::PathPattern;

/// A request for an access token, and Keyside's own answer: a placeholder that no provider accepts.
///
/// Keyside puts a real token in the place of the placeholder, and so never gives one away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnswer {
    /// The methods of the request.
    pub methods: Vec<Method>,
    /// The path of the request.
    pub path: PathPattern,
    /// The answer, a JSON text.
    pub body: Bytes,
}

impl TokenAnswer {
    /// Returns true for a request with this method and path.
    #[must_use]
    pub fn answers(&self, method: &Method, path: &str) -> bool {
        self.methods.contains(method) && self.path.matches(path).is_some()
    }
}
