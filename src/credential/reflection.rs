//! The texts to redact from answers because of a secret: the secret, and its base64.

use std::fmt;
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::spelling::base64_needles;

/// The texts to redact from answers because of the secrets of a credential, the longest secret
/// first.
#[derive(Default)]
pub(super) struct Reflections(Box<[Reflection]>);

impl Reflections {
    /// Takes those secrets that are long enough, each once.
    pub(super) fn of(secrets: impl Iterator<Item = Arc<Secret>>) -> Self {
        let mut all: Vec<_> = secrets
            .filter(|secret| reflected(secret).is_some())
            .collect();
        all.sort_by(|one, other| {
            let one = reflected(one);
            let other = reflected(other);
            (other.map(<[u8]>::len), other).cmp(&(one.map(<[u8]>::len), one))
        });
        all.dedup_by(|one, other| one.same_as(other));
        Self(all.into_iter().map(Reflection::of).collect())
    }

    /// Returns every text.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().flat_map(Reflection::texts)
    }
}

impl fmt::Debug for Reflections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reflections")
            .field("secrets", &self.0.len())
            .finish()
    }
}

/// A secret with the texts to look for in answers. The secret itself is that of the credential, and
/// no copy.
pub(super) struct Reflection {
    secret: Arc<Secret>,
    /// The secret in base64. Made for the first answer, because a tenant that sends nothing needs
    /// none: 700 bytes for a token and an app secret.
    base64: OnceLock<Box<[Zeroizing<Vec<u8>>]>>,
}

impl Reflection {
    /// The texts for a secret; none for a short one.
    pub(super) fn of(secret: Arc<Secret>) -> Self {
        Self {
            secret,
            base64: OnceLock::new(),
        }
    }

    /// Returns the secret.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Returns the texts to look for in answers.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let secret = reflected(&self.secret);
        let encoded = self
            .base64
            .get_or_init(|| secret.map(base64_needles).unwrap_or_default().into());
        secret
            .into_iter()
            .chain(encoded.iter().map(|text| text.as_slice()))
    }
}

/// Returns the bytes of a secret to look for in answers.
///
/// Short secrets are not looked for: a verify token may well be `whatsapp`, and redacting the word
/// would ruin every answer.
fn reflected(secret: &Secret) -> Option<&[u8]> {
    #[expect(
        clippy::disallowed_methods,
        reason = "redaction needs the bytes to search answers for"
    )]
    let value = secret.expose();
    let is_long = value.len() >= MIN_REFLECTED;
    is_long.then_some(value.as_bytes())
}

/// The minimum length in bytes of a secret to redact. Tokens and keys are longer; a word of a
/// language rarely is.
const MIN_REFLECTED: usize = 12;
