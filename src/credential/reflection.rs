//! The bytes of a secret to redact from answers.

use std::fmt;
use std::sync::Arc;

use crate::secret::Secret;

/// The secrets to redact from answers, the longest first. The values are those of the credential, and no copies.
#[derive(Default)]
pub(super) struct Reflections(Box<[Arc<Secret>]>);

impl Reflections {
    /// Takes those secrets that are long enough, each once.
    pub(super) fn of(secrets: impl Iterator<Item = Arc<Secret>>) -> Self {
        let mut all: Vec<_> = secrets
            .filter(|secret| reflection(secret).is_some())
            .collect();
        all.sort_by(|one, other| {
            let (one, other) = (reflection(one), reflection(other));
            (other.map(<[u8]>::len), other).cmp(&(one.map(<[u8]>::len), one))
        });
        all.dedup_by(|one, other| one.same_as(other));
        Self(all.into())
    }

    /// Returns the bytes of each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter_map(|secret| reflection(secret))
    }
}

impl fmt::Debug for Reflections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reflections")
            .field("secrets", &self.0.len())
            .finish()
    }
}

/// Returns the bytes of a secret to look for in answers.
///
/// Short secrets are not looked for: a verify token may well be `whatsapp`, and redacting the word would ruin every
/// answer.
pub(super) fn reflection(secret: &Secret) -> Option<&[u8]> {
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
