//! The check that an event is genuine.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use http::StatusCode;
use http::request::Parts;
use sha2::{Digest, Sha256};

mod encodings;
mod fixed;
mod head;
mod jwt;
mod key;
mod mac;
mod nonces;
mod proof;
mod signature;
#[cfg(test)]
mod tests;
mod url_params;

pub use key::KeyError;
pub use nonces::{Freshness, Nonces};
pub use proof::Proof;

use encodings::other_encodings;
use head::SignedHead;
use key::VerifyKey;

use super::body::Body;
use super::error::InboundError;
use super::forgery::Forgery;
use crate::credential::{Credential, SecretRole};
use crate::provider::webhook::{SchemeKind, TokenPlace, WebhookSpec};
use crate::query;

/// The check of one webhook's events. Keys are made ready when the verifier is built, so an
/// event costs the hashing of its own bytes only.
#[derive(Debug)]
pub struct Verifier {
    challenge: Option<String>,
    /// True if events may be GET requests.
    takes_get: bool,
    /// The status of the answer to a request without a signature.
    unsigned: StatusCode,
    public_url: Option<String>,
    schemes: Vec<PreparedScheme>,
    /// The names of secret query parameters.
    secret_parameters: Vec<String>,
}

/// A scheme with a key for every accepted secret.
struct PreparedScheme {
    kind: SchemeKind,
    keys: Vec<(SecretRole, VerifyKey)>,
}

/// A check in progress: the request's head has a well-formed signature.
pub struct Check {
    attempts: Vec<SchemeCheck>,
    /// The hash of the body so far, if an attempt needs it.
    body_hash: Option<Sha256>,
}

/// The check of one scheme. A request can carry signatures of several schemes, of which one must be
/// right.
enum SchemeCheck {
    Signature(signature::SignatureCheck),
    UrlParams(url_params::UrlParamsCheck),
    Jwt(jwt::JwtCheck),
    Static(fixed::StaticCheck),
}

impl Verifier {
    /// Returns the verifier for a provider's webhook. Schemes are left out if the credential
    /// does not have their secret.
    ///
    /// # Errors
    /// A secret unfit as a key of its scheme.
    pub fn new(
        webhook: &WebhookSpec,
        credential: &Credential,
        public_url: Option<&str>,
    ) -> Result<Self, KeyError> {
        let mut schemes = Vec::new();
        for scheme in &webhook.schemes {
            let keys: Vec<_> = credential
                .accepted(&scheme.secret)
                .map(|(role, version)| Ok((role, VerifyKey::new(scheme, version.secret())?)))
                .collect::<Result<_, KeyError>>()?;
            if !keys.is_empty() {
                schemes.push(PreparedScheme {
                    kind: scheme.kind.clone(),
                    keys,
                });
            }
        }
        Ok(Self {
            challenge: webhook.challenge.clone(),
            takes_get: webhook.get,
            unsigned: webhook.unsigned,
            public_url: public_url.map(|url| url.split('?').next().unwrap_or_default().to_owned()),
            secret_parameters: secret_parameters(webhook),
            schemes,
        })
    }

    /// True if signatures can be checked: the credential has a secret for at least one scheme.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.schemes.is_empty()
    }

    /// Returns the name of the handshake's secret, for providers with a
    /// handshake.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    /// True if events may be GET requests, with all parameters in the query.
    #[must_use]
    pub fn takes_get(&self) -> bool {
        self.takes_get
    }

    /// Begins a check with the request's head, before a byte of the body is read. `webhook` is the
    /// path of the webhook; `token` is the last segment of the request's path, for a webhook with a
    /// token in the path; `peer` is the address of the other end.
    ///
    /// # Errors
    /// If there is no signature, if no signature can be right, or if there is no secret to
    /// check signatures with.
    pub fn begin(
        &self,
        request: &Parts,
        webhook: &str,
        token: Option<&str>,
        peer: Option<IpAddr>,
        now: SystemTime,
    ) -> Result<Check, InboundError> {
        if self.schemes.is_empty() {
            return Err(InboundError::CredentialUnavailable);
        }
        let head = SignedHead {
            request,
            webhook,
            token,
            peer,
            url: self.url_of(request),
            now,
        };
        let mut attempts = Vec::with_capacity(1);
        let mut forgery = None;
        for scheme in &self.schemes {
            match scheme.begin(&head) {
                Ok(attempt) => attempts.extend(attempt),
                Err(reason) => forgery = Some(reason),
            }
        }
        if !attempts.is_empty() {
            return Ok(Check::new(attempts));
        }
        Err(match forgery {
            Some(forgery) => InboundError::Forged(forgery),
            None => InboundError::Unsigned(self.unsigned),
        })
    }

    /// Returns true if an accepted secret makes the signature of the body in a different encoding
    /// of the JSON: a program on the way has read the event, and written the JSON anew. `begun`
    /// begins the check of the request.
    pub fn is_reencoded(
        &self,
        body: &Body,
        begun: impl Fn(&Self) -> Result<Check, InboundError>,
    ) -> bool {
        if body.len() > MAX_DIAGNOSED {
            return false;
        }
        other_encodings(&body.whole()).into_iter().any(|other| {
            begun(self).is_ok_and(|mut check| {
                check.update(&other);
                check.finish(&Body::from(&*other)).is_ok()
            })
        })
    }

    /// Returns a request's query without its secret parameters.
    #[must_use]
    pub fn public_query<'r>(&self, request: &'r Parts) -> Option<Cow<'r, str>> {
        let query = query::without(request.uri.query()?, &self.secret_parameters);
        (!query.is_empty()).then_some(query)
    }

    /// Returns the URL used by the provider: the public URL of the configuration,
    /// with the query as it arrived.
    fn url_of(&self, request: &Parts) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(match request.uri.query() {
            Some(query) => format!("{url}?{query}"),
            None => url.clone(),
        })
    }
}

fn secret_parameters(webhook: &WebhookSpec) -> Vec<String> {
    let mut names = Vec::new();
    for scheme in &webhook.schemes {
        if let SchemeKind::Static(token) = &scheme.kind
            && let TokenPlace::Query(name) = &token.place
        {
            names.push(name.clone());
        }
    }
    names
}

impl PreparedScheme {
    /// Begins the check of this scheme; returns `None` if the request has no signature of it.
    fn begin(&self, head: &SignedHead<'_>) -> Result<Option<SchemeCheck>, Forgery> {
        let keys = &self.keys;
        Ok(match &self.kind {
            SchemeKind::Signature(scheme) => {
                signature::begin(scheme, keys, head)?.map(SchemeCheck::Signature)
            }
            SchemeKind::UrlParams(scheme) => {
                url_params::begin(scheme, keys, head)?.map(SchemeCheck::UrlParams)
            }
            SchemeKind::Jwt(scheme) => jwt::begin(scheme, keys, head)?.map(SchemeCheck::Jwt),
            SchemeKind::Static(scheme) => {
                fixed::begin(scheme, keys, head)?.map(SchemeCheck::Static)
            }
        })
    }
}

impl fmt::Debug for PreparedScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedScheme")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Check {
    fn new(attempts: Vec<SchemeCheck>) -> Self {
        let needs_hash = |attempt: &SchemeCheck| match attempt {
            SchemeCheck::Signature(check) => check.needs_body_hash(),
            SchemeCheck::UrlParams(_) | SchemeCheck::Jwt(_) | SchemeCheck::Static(_) => true,
        };
        let body_hash = attempts.iter().any(needs_hash).then(Sha256::new);
        Self {
            attempts,
            body_hash,
        }
    }

    /// Returns the bound on the body that the schemes set, in bytes. Parameters are sorted before
    /// they are signed, so a form costs time and memory before anything is known about the sender.
    #[must_use]
    pub fn max_body(&self) -> u64 {
        let bounds = self.attempts.iter().map(|attempt| match attempt {
            SchemeCheck::UrlParams(check) => check.max_body(),
            SchemeCheck::Signature(_) | SchemeCheck::Jwt(_) | SchemeCheck::Static(_) => u64::MAX,
        });
        bounds.min().unwrap_or(u64::MAX)
    }

    /// Returns true if [`Check::finish`] goes through the whole body. Otherwise all has been
    /// computed while the body arrived.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.attempts.iter().any(|attempt| match attempt {
            SchemeCheck::Signature(check) => check.reads_body(),
            SchemeCheck::UrlParams(check) => check.reads_body(),
            SchemeCheck::Jwt(_) | SchemeCheck::Static(_) => false,
        })
    }

    /// Takes in the next piece of the body, as it arrives.
    pub fn update(&mut self, piece: &[u8]) {
        if let Some(hash) = &mut self.body_hash {
            hash.update(piece);
        }
        for attempt in &mut self.attempts {
            if let SchemeCheck::Signature(check) = attempt {
                check.update(piece);
            }
        }
    }

    /// Ends the check, with the whole body. Every accepted secret is tried even after a match, so
    /// that the time taken tells nothing.
    ///
    /// # Errors
    /// 401, if no signature is right.
    pub fn finish(self, body: &Body) -> Result<Proof, InboundError> {
        let hash = self
            .body_hash
            .map_or([0; 32], |hash| hash.finalize().into());
        let mut proof = Err(Forgery::SignatureWrong);
        for attempt in self.attempts {
            let result = match attempt {
                SchemeCheck::Signature(check) => check.finish(body, &hash),
                SchemeCheck::UrlParams(check) => check.finish(body, &hash),
                SchemeCheck::Jwt(check) => check.finish(body, &hash),
                SchemeCheck::Static(check) => Ok(check.finish(&hash)),
            };
            proof = proof.or(result);
        }
        proof.map_err(InboundError::Forged)
    }
}

/// The longest body with a look for a different encoding, in bytes: more than any single event has.
const MAX_DIAGNOSED: usize = 64 * 1024;
