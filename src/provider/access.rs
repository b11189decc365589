//! An access token, made from the secrets of a credential and sent instead of the secrets.
//!
//! A template names the access token as `{access_token}`. The access token is as secret as the
//! secrets behind it.

use std::time::Duration;

use super::inject::Inject;
use super::origin::Origin;
use super::template::Template;

/// The name of the access token in templates.
pub const ACCESS_TOKEN: &str = "access_token";

/// The origin of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessToken {
    /// Keyside signs the token.
    Minted(MintedToken),
    /// The provider issues the token in exchange for the secrets.
    Exchanged(TokenExchange),
}

/// A JWT (RFC 7519) signed with RS256. Every token has `iat`, `exp` and a new `jti` beside the
/// provider's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintedToken {
    /// The name of the secret with the private key.
    pub key: String,
    /// The provider's claims.
    pub claims: Vec<(String, Template)>,
    /// The time from `iat` to `exp`.
    pub lifetime: Duration,
}

/// A POST that carries the secrets and is answered with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenExchange {
    /// The origin of the POST; `None` for the provider's own upstream.
    pub upstream: Option<Origin>,
    /// The path of the POST.
    pub path: String,
    /// The places in the POST where secrets and other values go.
    pub inject: Vec<Inject>,
    /// The JSON pointer to the token in the answer, as keys.
    pub token: Vec<String>,
    /// The JSON pointer to the token's lifetime in seconds, as keys.
    pub expires_in: Option<Vec<String>>,
    /// The lifetime of a token if the answer does not tell.
    pub lifetime: Duration,
}
