//! The bytes of a secret to redact from answers.

use zeroize::Zeroizing;

use crate::secret::Secret;

/// Returns the bytes of a secret to look for in answers.
///
/// Short secrets are not looked for: a verify token may well be `whatsapp`, and redacting the word would ruin every
/// answer.
pub(super) fn reflection(secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "redaction needs the bytes to search answers for"
    )]
    let value = secret.expose();
    let is_long = value.len() >= MIN_REFLECTED;
    is_long.then(|| Zeroizing::new(value.as_bytes().to_vec()))
}

/// The minimum length in bytes of a secret to redact. Tokens and keys are longer; a word of a
/// language rarely is.
const MIN_REFLECTED: usize = 12;
