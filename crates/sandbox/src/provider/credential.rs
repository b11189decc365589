//! The key of a request: its place, its validity, and the token that it is exchanged for.

use std::collections::HashMap;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::Method;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::request::ProviderRequest;
use crate::clock::unix_time;
use crate::dialect::{Dialect, EXCHANGED_LIFETIME, Exchange, Place};
use crate::ids;
use crate::state::State;
use crate::store::token::{Grant, TokenState};

/// A key or token in a request. The type has no `Debug`, so that no key is printed.
pub(super) struct PresentedKey {
    text: String,
    /// The kind of the place, for records.
    pub(super) place: &'static str,
}

/// The reason for refusing a key.
pub(super) enum KeyError {
    /// The key is missing, wrong, or in the wrong place.
    Wrong,
    /// The token of an exchange is expired.
    Expired,
}

impl PresentedKey {
    /// Finds the key of a request.
    pub(super) fn find(
        dialect: &Dialect,
        state: &State,
        request: &ProviderRequest,
    ) -> Option<Self> {
        let places = match &dialect.exchange {
            Some(exchange) if exchange.is_target_of(request) => exchange.places,
            _ => dialect.places,
        };
        places.iter().find_map(|place| {
            let text = place.find(dialect, state, request)?;
            Some(Self {
                text,
                place: place.name(),
            })
        })
    }

    /// Returns the fingerprint of the key: for an exchanged token the key behind it, for a JWT the
    /// public key.
    pub(super) fn fingerprint(&self) -> String {
        match self.text.split_once('.') {
            Some((fingerprint, _)) if self.is_exchanged() => fingerprint.to_owned(),
            _ => ids::fingerprint(&self.text),
        }
    }

    /// Checks the key and the required headers.
    pub(super) fn check(
        &self,
        dialect: &Dialect,
        state: &State,
        request: &ProviderRequest,
    ) -> Result<(), KeyError> {
        let has_header = |(header, parameter): &(&str, &str)| {
            let value = request.header(header);
            value.is_some_and(|value| Some(value) == dialect.parameter(parameter))
        };
        if !dialect.required_headers.iter().all(has_header) {
            return Err(KeyError::Wrong);
        }
        match state.tokens.state(&self.text) {
            // A key is no token, and a token is no key.
            TokenState::Good(grant) if grant.has(EXCHANGED) == self.is_exchanged() => Ok(()),
            TokenState::Expired(_) if self.is_exchanged() => Err(KeyError::Expired),
            _ => Err(KeyError::Wrong),
        }
    }

    /// Issues a token for the key, which begins with the key's fingerprint.
    pub(super) fn exchange(&self, state: &State) -> String {
        let token = format!("{}.{}", self.fingerprint(), ids::token());
        let grant = Grant {
            scopes: vec![EXCHANGED.to_owned()],
            expires_at: unix_time() + EXCHANGED_LIFETIME,
            issued_at: unix_time(),
        };
        state.tokens.issue(&token, grant);
        token
    }

    fn is_exchanged(&self) -> bool {
        self.place == EXCHANGED
    }
}

impl Exchange {
    /// Returns true for a request that asks for a token.
    pub(super) fn is_target_of(&self, request: &ProviderRequest) -> bool {
        request.head.method == Method::POST && request.has_path(self.path)
    }

    /// Returns true if the request has all required parameters.
    pub(super) fn is_complete(&self, request: &ProviderRequest) -> bool {
        let mut required = self.required.iter();
        required.all(|(name, value)| request.parameter(name) == Some(value))
    }
}

impl Place {
    fn name(&self) -> &'static str {
        match self {
            Self::Header(..) => "header",
            Self::Basic(_) => "basic",
            Self::Query(_) => "query",
            Self::Field(_) | Self::Login(..) => "body",
            Self::Minted(_) => "minted",
            Self::Exchanged(_) => EXCHANGED,
        }
    }

    /// Finds the key of a request in this place.
    fn find(&self, dialect: &Dialect, state: &State, request: &ProviderRequest) -> Option<String> {
        match self {
            Self::Header(name, prefix) => {
                let value = request.header(name)?;
                value.strip_prefix(prefix).map(str::to_owned)
            }
            Self::Exchanged(prefix) => {
                let value = request.header("authorization")?;
                value.strip_prefix(prefix).map(str::to_owned)
            }
            Self::Query(name) => request.query.get(name).map(str::to_owned),
            Self::Field(pointer) => request.body.pointer(pointer)?.as_str().map(str::to_owned),
            Self::Basic(parameter) => basic_password(request, dialect.parameter(parameter)?),
            Self::Login(user_name, user, key_name) => {
                let key = request.parameter(key_name)?;
                (request.parameter(user_name)? == *user).then(|| key.to_owned())
            }
            Self::Minted(parameter) => signing_key(request, state, dialect.parameter(parameter)?),
        }
    }
}

/// Returns the password of Basic authentication, if the user is this one.
fn basic_password(request: &ProviderRequest, user: &str) -> Option<String> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let login = String::from_utf8(BASE64.decode(encoded.as_bytes()).ok()?).ok()?;
    let (name, password) = login.split_once(':')?;
    (name == user).then(|| password.to_owned())
}

/// Returns the public key that verifies the request's JWT, if the claims are current and name the
/// application.
fn signing_key(request: &ProviderRequest, state: &State, application: &str) -> Option<String> {
    let jwt = request.header("authorization")?.strip_prefix("Bearer ")?;
    let mut verified = state.tokens.public_keys().into_iter().filter_map(|key| {
        let claims = verified_claims(jwt, &key)?;
        Some((key, claims))
    });
    let (key, claims) = verified.next()?;
    let named = claims.get("application_id")?.as_str()?;
    (named == application && is_current(&claims)).then_some(key)
}

/// Returns the claims of a JWT, if this key in PEM verifies its RS256 signature.
fn verified_claims(jwt: &str, key: &str) -> Option<HashMap<String, Value>> {
    let (signed, signature) = jwt.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let header: HashMap<String, Value> = serde_json::from_slice(&decode(header)?).ok()?;
    if header.get("alg")? != "RS256" {
        return None;
    }
    let der = SubjectPublicKeyInfoDer::from_pem_slice(key.as_bytes()).ok()?;
    let public_key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der.as_ref());
    public_key
        .verify(signed.as_bytes(), &decode(signature)?)
        .ok()?;
    serde_json::from_slice(&decode(claims)?).ok()
}

/// Returns true for claims with an id, a beginning in the past and an end in the future.
fn is_current(claims: &HashMap<String, Value>) -> bool {
    let time = |name| claims.get(name).and_then(Value::as_u64);
    let id = claims.get("jti").and_then(Value::as_str);
    id.is_some_and(|id| !id.is_empty())
        && time("iat").is_some_and(|begin| begin <= unix_time() + MAX_SKEW)
        && time("exp").is_some_and(|end| end > unix_time())
}

/// The scope of a token from an exchange, and the name of its place.
const EXCHANGED: &str = "exchanged";

/// The tolerated difference between two clocks, in seconds: more than an unsynchronised pair of
/// containers has.
const MAX_SKEW: u64 = 60;
