//! The keys of signature checks, made ready when a generation is built.

use std::fmt;

use zeroize::Zeroizing;

use super::mac::{self, Ed25519Key, Mac};
use crate::provider::webhook::{Algorithm, KeyForm, Scheme, SchemeKind, Signature};
use crate::secret::Secret;

/// A secret in the form needed by its scheme.
#[expect(
    clippy::large_enum_variant,
    reason = "there are few keys, and nearly all are the large variant"
)]
pub(super) enum VerifyKey {
    Mac(Mac),
    /// An HMAC per algorithm, for tokens with a choice of algorithms.
    Macs(Vec<(Algorithm, Mac)>),
    Ed25519(Ed25519Key),
    Text(Zeroizing<Vec<u8>>),
}

impl VerifyKey {
    pub(super) fn new(scheme: &Scheme, secret: &Secret) -> Result<Self, KeyError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where a secret becomes the key of a check"
        )]
        let text = secret.expose();
        match &scheme.kind {
            SchemeKind::Signature(signature) => {
                Self::for_signature(signature, text).map_err(|expected| KeyError {
                    secret: scheme.secret.clone(),
                    expected,
                })
            }
            SchemeKind::UrlParams(params) => {
                Ok(Self::Mac(Mac::new(params.algorithm, text.as_bytes())))
            }
            SchemeKind::Jwt(jwt) => {
                let mac =
                    |algorithm: &Algorithm| (*algorithm, Mac::new(*algorithm, text.as_bytes()));
                Ok(Self::Macs(jwt.algorithms.iter().map(mac).collect()))
            }
            SchemeKind::Static(_) => Ok(Self::Text(Zeroizing::new(text.as_bytes().to_vec()))),
        }
    }

    fn for_signature(signature: &Signature, text: &str) -> Result<Self, ExpectedKey> {
        let text = text
            .strip_prefix(signature.key_prefix.as_str())
            .unwrap_or(text);
        let bytes = match signature.key {
            KeyForm::Text => Zeroizing::new(text.as_bytes().to_vec()),
            KeyForm::Base64 => mac::from_base64(text)
                .map(Zeroizing::new)
                .ok_or(ExpectedKey::Base64)?,
        };
        // Anybody can sign with an empty key.
        if bytes.is_empty() {
            return Err(ExpectedKey::NotEmpty);
        }
        match signature.algorithm {
            Algorithm::Ed25519 => Ed25519Key::new(&bytes)
                .map(Self::Ed25519)
                .ok_or(ExpectedKey::Ed25519Public),
            algorithm => Ok(Self::Mac(Mac::new(algorithm, &bytes))),
        }
    }
}

/// A secret unfit as the key of its webhooks' signatures.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyError {
    secret: String,
    expected: ExpectedKey,
}

/// The form of key needed by a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpectedKey {
    Base64,
    NotEmpty,
    Ed25519Public,
}

impl KeyError {
    /// Returns the name of the secret.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = match self.expected {
            ExpectedKey::Base64 => "base64",
            ExpectedKey::NotEmpty => "at least one byte after its prefix",
            ExpectedKey::Ed25519Public => "the 32 bytes of an Ed25519 public key in base64",
        };
        write!(
            f,
            "`{}` is not a key for its webhooks, expected {expected}",
            self.secret
        )
    }
}

impl std::error::Error for KeyError {}
