//! The key of a request: where it is, whether it is right, and the token that it is exchanged for.

use std::collections::HashMap;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::asked::Asked;
use super::{Dialect, Exchange, LIFE, Place};
use crate::sandbox::ids;
use crate::sandbox::state::State;
use crate::sandbox::token::{Grant, Standing, now};

/// The scope of a token from an exchange. A key does not pass for one.
const EXCHANGED: &str = "exchanged";
/// How far clocks may be apart, in seconds.
const SKEW: u64 = 60;

/// A key as a request has it. It has no `Debug`: nothing prints it.
pub(super) struct Shown {
    text: String,
    /// Where it was.
    pub(super) place: &'static str,
}

/// Why a request is not let in.
pub(super) enum Refused {
    /// No key, or a wrong one.
    Wrong,
    /// A token past its end.
    Expired,
}

impl Shown {
    /// Finds the key of a request.
    pub(super) fn find(dialect: &Dialect, state: &State, asked: &Asked) -> Option<Shown> {
        let places = match &dialect.exchange {
            Some(exchange) if exchange.is_asked(asked) => exchange.places,
            _ => dialect.places,
        };
        places.iter().find_map(|place| {
            let text = place.find(dialect, state, asked)?;
            Some(Shown { text, place: place.name() })
        })
    }

    /// Its fingerprint; for a token that of the key which it was given for, for a JWT that of the public key.
    pub(super) fn fingerprint(&self) -> String {
        match self.text.split_once('.') {
            Some((fingerprint, _)) if self.is_token() => fingerprint.to_owned(),
            _ => ids::fingerprint(&self.text),
        }
    }

    fn is_token(&self) -> bool {
        self.place == EXCHANGED
    }

    /// Whether it lets in.
    pub(super) fn check(&self, dialect: &Dialect, state: &State, asked: &Asked) -> Result<(), Refused> {
        let demanded = |(header, parameter): &(&str, &str)| {
            asked.header(header).is_some_and(|value| Some(value) == dialect.parameter(parameter))
        };
        if !dialect.demanded.iter().all(demanded) {
            return Err(Refused::Wrong);
        }
        match state.tokens.standing(&self.text) {
            Standing::Good(grant) if grant.scopes.iter().any(|scope| scope == EXCHANGED) == self.is_token() => Ok(()),
            Standing::Expired(_) if self.is_token() => Err(Refused::Expired),
            _ => Err(Refused::Wrong),
        }
    }

    /// A token for the key.
    pub(super) fn exchange(&self, state: &State) -> String {
        let token = format!("{}.{}", self.fingerprint(), ids::token());
        let grant = Grant { scopes: vec![EXCHANGED.to_owned()], expires_at: now() + LIFE, issued_at: now() };
        state.tokens.issue(&token, grant);
        token
    }
}

impl Exchange {
    /// Whether a request is for a token.
    pub(super) fn is_asked(&self, asked: &Asked) -> bool {
        asked.method == http::Method::POST && asked.has_path(self.path)
    }

    /// Whether all is there that must be.
    pub(super) fn is_complete(&self, asked: &Asked) -> bool {
        self.demanded.iter().all(|(name, value)| asked.parameter(name) == Some(value))
    }
}

impl Place {
    fn name(&self) -> &'static str {
        match self {
            Place::Header(..) => "header",
            Place::Basic(_) => "basic",
            Place::Query(_) => "query",
            Place::Field(_) | Place::Login(..) => "body",
            Place::Minted(_) => "minted",
            Place::Exchanged(_) => EXCHANGED,
        }
    }

    fn find(&self, dialect: &Dialect, state: &State, asked: &Asked) -> Option<String> {
        let of_account = |value: &str, parameter| Some(value) == dialect.parameter(parameter);
        match self {
            Place::Header(name, prefix) => asked.header(name)?.strip_prefix(prefix).map(str::to_owned),
            Place::Exchanged(prefix) => asked.header("authorization")?.strip_prefix(prefix).map(str::to_owned),
            Place::Query(name) => asked.query.get(name).map(str::to_owned),
            Place::Field(pointer) => asked.body.pointer(pointer)?.as_str().map(str::to_owned),
            Place::Basic(parameter) => {
                let login = BASE64.decode(asked.header("authorization")?.strip_prefix("Basic ")?.as_bytes()).ok()?;
                let login = String::from_utf8(login).ok()?;
                let (user, password) = login.split_once(':')?;
                of_account(user, parameter).then(|| password.to_owned())
            }
            Place::Login(under, name, key) => {
                let key = asked.parameter(key)?;
                (asked.parameter(under)? == *name).then(|| key.to_owned())
            }
            Place::Minted(parameter) => {
                let token = asked.header("authorization")?.strip_prefix("Bearer ")?;
                let (key, claims) = state.tokens.public_keys().into_iter().find_map(|key| {
                    let claims = claims(token, &key)?;
                    Some((key, claims))
                })?;
                let application = claims.get("application_id")?.as_str()?;
                (of_account(application, parameter) && is_current(&claims)).then_some(key)
            }
        }
    }
}

/// The claims of a token that this key, in PEM, has signed with RS256.
fn claims(token: &str, key: &str) -> Option<HashMap<String, Value>> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let header: HashMap<String, Value> = serde_json::from_slice(&decode(header)?).ok()?;
    let key = SubjectPublicKeyInfoDer::from_pem_slice(key.as_bytes()).ok()?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref());
    let is_genuine = header.get("alg")? == "RS256" && key.verify(signed.as_bytes(), &decode(signature)?).is_ok();
    is_genuine.then(|| serde_json::from_slice(&decode(claims)?).ok())?
}

/// Whether a token is begun and not over, and has a name of its own.
fn is_current(claims: &HashMap<String, Value>) -> bool {
    let time = |name| claims.get(name).and_then(Value::as_u64);
    let named = claims.get("jti").and_then(Value::as_str).is_some_and(|id| !id.is_empty());
    named && time("iat").is_some_and(|began| began <= now() + SKEW) && time("exp").is_some_and(|end| end > now())
}
