//! Whether an event is genuine.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

mod fixed;
mod jwt;
mod mac;
mod nonces;
mod signature;
#[cfg(test)]
mod tests;
mod url_params;

pub use nonces::Nonces;

use mac::{Ed25519Key, Mac};

use super::body::Body;
use super::error::InboundError;
use crate::credential::{Credential, Which};
use crate::provider::webhook::{Algorithm, KeyForm, Place, Scheme, SchemeKind, UrlForm, Webhook};
use crate::query;
use crate::secret::Secret;

/// Decides on the events of one webhook. Keys are made ready when it is built, so that an event costs
/// its own bytes only.
#[derive(Debug)]
pub struct Verifier {
    challenge: Option<String>,
    unsigned: StatusCode,
    public_url: Option<String>,
    schemes: Vec<Prepared>,
    /// Query parameters that are secrets.
    secret_parameters: Vec<String>,
}

/// A scheme with every secret that counts.
struct Prepared {
    kind: SchemeKind,
    keys: Vec<(Which, Key)>,
}

/// A secret, ready for its scheme.
#[expect(clippy::large_enum_variant, reason = "there are few keys, and nearly all are the large one")]
enum Key {
    Mac(Mac),
    /// For tokens that may name one of several algorithms.
    Macs(Vec<(Algorithm, Mac)>),
    Ed25519(Ed25519Key),
    Text(Zeroizing<Vec<u8>>),
}

/// What a verifier looks at besides the body.
struct Seen<'a> {
    request: &'a Parts,
    token: Option<&'a str>,
    peer: Option<IpAddr>,
    url: Option<String>,
    now: SystemTime,
}

/// A check that has begun: the head was found in order.
pub struct Check<'v> {
    attempts: Vec<Attempt<'v>>,
}

enum Attempt<'v> {
    Signature(signature::Attempt<'v>),
    UrlParams(url_params::Attempt<'v>),
    Jwt(jwt::Attempt),
    Static(fixed::Attempt),
}

/// That an event is genuine. Only [`Check::finish`] makes one.
#[derive(Debug)]
pub struct Proof {
    /// The secret that it was signed with.
    pub which: Which,
    /// The same for the same body: what the signature computed over it where it covers nothing else,
    /// its hash otherwise.
    pub digest: [u8; 32],
    nonce: Option<nonces::Used>,
}

impl Verifier {
    /// A verifier for the webhook of a provider. Schemes whose secret the credential does not have are
    /// left out.
    ///
    /// # Errors
    /// Where a secret cannot be the key that its scheme wants.
    pub fn new(webhook: &Webhook, credential: &Credential, public_url: Option<&str>) -> Result<Self, KeyError> {
        let mut schemes = Vec::new();
        for scheme in &webhook.schemes {
            let keys: Result<Vec<_>, KeyError> = credential
                .accepted(&scheme.secret)
                .map(|(which, held)| Ok((which, Key::new(scheme, held.secret())?)))
                .collect();
            let keys = keys?;
            if !keys.is_empty() {
                schemes.push(Prepared { kind: scheme.kind.clone(), keys });
            }
        }
        let secret_parameters = webhook.schemes.iter().filter_map(|scheme| match &scheme.kind {
            SchemeKind::Static(fixed) => match &fixed.place {
                Place::Query(name) => Some(name.clone()),
                Place::Header(_) | Place::Basic | Place::Path => None,
            },
            _ => None,
        });
        Ok(Self {
            challenge: webhook.challenge.clone(),
            unsigned: webhook.unsigned,
            public_url: public_url.map(|url| url.split('?').next().unwrap_or_default().to_owned()),
            secret_parameters: secret_parameters.collect(),
            schemes,
        })
    }

    /// The secret that the handshake must name, where the provider has a handshake.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    /// Looks at the head, before a byte of the body is read. `token` is the last segment of the path
    /// where the webhook has a token there; `peer` is who is on the other end.
    ///
    /// # Errors
    /// Where there is no signature, or one that cannot be right, or no secret to check it with.
    pub fn begin<'v>(
        &'v self,
        request: &Parts,
        token: Option<&str>,
        peer: Option<IpAddr>,
        now: SystemTime,
    ) -> Result<Check<'v>, InboundError> {
        if self.schemes.is_empty() {
            return Err(InboundError::CredentialUnavailable);
        }
        let seen = Seen { request, token, peer, url: self.url_of(request), now };
        let mut attempts = Vec::with_capacity(1);
        let mut refused = None;
        for scheme in &self.schemes {
            match scheme.begin(&seen) {
                Ok(attempt) => attempts.extend(attempt),
                Err(reason) => refused = Some(reason),
            }
        }
        match refused {
            _ if !attempts.is_empty() => Ok(Check { attempts }),
            Some(reason) => Err(InboundError::Forged(reason)),
            None => Err(InboundError::Unsigned(self.unsigned)),
        }
    }

    /// The query of a request without what is a secret in it.
    #[must_use]
    pub fn public_query<'r>(&self, request: &'r Parts) -> Option<Cow<'r, str>> {
        let query = query::without(request.uri.query()?, &self.secret_parameters);
        (!query.is_empty()).then_some(query)
    }

    /// The URL that the provider asked for: the one that it was given, with the query as it arrived.
    fn url_of(&self, request: &Parts) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(match request.uri.query() {
            Some(query) => format!("{url}?{query}"),
            None => url.clone(),
        })
    }
}

impl Prepared {
    fn begin(&self, seen: &Seen<'_>) -> Result<Option<Attempt<'_>>, &'static str> {
        let keys = &self.keys;
        Ok(match &self.kind {
            SchemeKind::Signature(scheme) => signature::begin(scheme, keys, seen)?.map(Attempt::Signature),
            SchemeKind::UrlParams(scheme) => url_params::begin(scheme, keys, seen)?.map(Attempt::UrlParams),
            SchemeKind::Jwt(scheme) => jwt::begin(scheme, keys, seen)?.map(Attempt::Jwt),
            SchemeKind::Static(scheme) => fixed::begin(scheme, keys, seen)?.map(Attempt::Static),
        })
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Key {
    fn new(scheme: &Scheme, secret: &Secret) -> Result<Self, KeyError> {
        let error = |expected| KeyError { secret: scheme.secret.clone(), expected };
        #[expect(clippy::disallowed_methods, reason = "the one place where a secret becomes the key of a check")]
        let text = secret.expose();
        Ok(match &scheme.kind {
            SchemeKind::Signature(signature) => {
                let text = text.strip_prefix(signature.key_prefix.as_str()).unwrap_or(text);
                let bytes = match signature.key {
                    KeyForm::Text => Zeroizing::new(text.as_bytes().to_vec()),
                    KeyForm::Base64 => mac::from_base64(text).map(Zeroizing::new).ok_or_else(|| error("base64"))?,
                };
                // Anybody can sign with the key that has no bytes.
                if bytes.is_empty() {
                    return Err(error("something behind its prefix"));
                }
                match signature.algorithm {
                    Algorithm::Ed25519 => Self::Ed25519(
                        Ed25519Key::new(&bytes)
                            .ok_or_else(|| error("the 32 bytes of an Ed25519 public key in base64"))?,
                    ),
                    algorithm => Self::Mac(Mac::new(algorithm, &bytes)),
                }
            }
            SchemeKind::UrlParams(params) => Self::Mac(Mac::new(
                match params.form {
                    UrlForm::Twilio => Algorithm::Sha1,
                    UrlForm::PlivoV2 | UrlForm::PlivoV3 => Algorithm::Sha256,
                },
                text.as_bytes(),
            )),
            SchemeKind::Jwt(jwt) => {
                let mac = |algorithm: &Algorithm| (*algorithm, Mac::new(*algorithm, text.as_bytes()));
                Self::Macs(jwt.algorithms.iter().map(mac).collect())
            }
            SchemeKind::Static(_) => Self::Text(Zeroizing::new(text.as_bytes().to_vec())),
        })
    }
}

impl Check<'_> {
    /// The next piece of the body, as it arrives.
    pub fn update(&mut self, part: &[u8]) {
        for attempt in &mut self.attempts {
            if let Attempt::Signature(attempt) = attempt {
                attempt.update(part);
            }
        }
    }

    /// Decides, with the whole body at hand. Each secret is tried, whatever the others said.
    ///
    /// # Errors
    /// 401.
    pub fn finish(self, body: &Body, nonces: &Nonces, now: SystemTime) -> Result<Proof, InboundError> {
        let mut proof = Err("no secret makes this signature");
        for attempt in self.attempts {
            let result = match attempt {
                Attempt::Signature(attempt) => attempt.finish(body),
                Attempt::UrlParams(attempt) => attempt.finish(body),
                Attempt::Jwt(attempt) => attempt.finish(body),
                Attempt::Static(attempt) => Ok(attempt.finish(body)),
            };
            proof = proof.or(result);
        }
        let proof = proof.map_err(InboundError::Forged)?;
        match &proof.nonce {
            Some(nonce) if !nonces.is_new(nonce, now) => Err(InboundError::Forged("its nonce was used before")),
            _ => Ok(proof),
        }
    }
}

impl Proof {
    fn of_body(which: Which, body: &Body) -> Self {
        Self { which, digest: hash_of(body), nonce: None }
    }

    /// Lets the provider send the event again, which could not be delivered.
    pub(super) fn give_back(&self, nonces: &Nonces) {
        if let Some(nonce) = &self.nonce {
            nonces.forget(nonce);
        }
    }
}

fn hash_of(body: &Body) -> [u8; 32] {
    let mut hash = Sha256::new();
    body.pieces().iter().for_each(|piece| hash.update(piece));
    hash.finalize().into()
}

/// The value of a header that is there once; nothing where it is missing.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("a header of the signature is there twice");
    }
    value.to_str().map(Some).map_err(|_| "a header of the signature is not ASCII")
}

/// A secret that its scheme cannot use.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyError {
    secret: String,
    expected: &'static str,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a key for its webhooks, expected {}", self.secret, self.expected)
    }
}

impl std::error::Error for KeyError {}
