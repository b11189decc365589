//! The signature of events for applications, in the form of Standard Webhooks.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The signing of events for an application.
#[derive(Clone, Debug)]
pub enum Signing {
    /// No key is configured: events have no signature.
    Off,
    /// Each event is signed.
    On(Arc<Signer>),
    /// A key is configured and cannot be had: no event goes out.
    KeyMissing,
}

/// The keys that sign events for an application, the current key first. Each event has a signature
/// of every key: an application may change the key at any time.
#[derive(Default)]
pub struct Signer {
    keys: Vec<Hmac<Sha256>>,
}

impl Signer {
    /// Returns the signer with one more key, made of a secret: `whsec_` and Base64.
    ///
    /// # Errors
    /// If the secret is no such key. The error does not repeat the secret.
    pub fn with(mut self, secret: &Secret) -> Result<Self, SignerError> {
        self.keys.push(key(secret)?);
        Ok(self)
    }

    /// Signs an event with its id and the time of the attempt, in seconds since 1970: the value of
    /// the header `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, time: u64, body: &[impl AsRef<[u8]>]) -> String {
        let head = format!("{id}.{time}.");
        let signatures = self.keys.iter().map(|key| {
            let mut mac = key.clone();
            mac.update(head.as_bytes());
            for piece in body {
                mac.update(piece.as_ref());
            }
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("keys", &self.keys.len())
            .finish()
    }
}

/// The reason why a secret cannot be the key of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignerError {
    /// The secret is not Base64.
    Form,
    /// The key has too few or too many bytes.
    Length {
        /// The number of bytes.
        length: usize,
    },
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("not a key, expected whsec_ and Base64"),
            Self::Length { length } => write!(
                f,
                "a key of {length} bytes, expected 24 to 64: `printf whsec_; openssl rand -base64 32` makes one"
            ),
        }
    }
}

impl std::error::Error for SignerError {}

fn key(secret: &Secret) -> Result<Hmac<Sha256>, SignerError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the key of the signature is made of the secret"
    )]
    let text = secret.expose();
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignerError::Form)?);
    let length = key.len();
    if !(24..=64).contains(&length) {
        return Err(SignerError::Length { length });
    }
    Hmac::new_from_slice(&key).map_err(|_| SignerError::Length { length })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    /// The example of the Standard Webhooks libraries.
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_standard_webhooks_has_its_signature_however_it_is_cut() {
        let signer = Signer::default().with(&secret(KEY)).unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(signer.sign(id, 1_614_265_330, &[BODY]), SIGNED);
        let (begin, end) = BODY.split_at(7);
        assert_eq!(signer.sign(id, 1_614_265_330, &[begin, end]), SIGNED);
        let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDAAAA";
        let both = Signer::default()
            .with(&secret(other))
            .unwrap()
            .with(&secret(KEY))
            .unwrap();
        let value = both.sign(id, 1_614_265_330, &[BODY]);
        let signatures: Vec<_> = value.split(' ').collect();
        assert_eq!((signatures.len(), signatures[1]), (2, SIGNED));
    }

    #[test]
    fn a_secret_in_another_form_is_no_key() {
        for (text, expected) in [
            ("not base64!", SignerError::Form),
            ("whsec_AAAA", SignerError::Length { length: 3 }),
        ] {
            assert_eq!(Signer::default().with(&secret(text)).unwrap_err(), expected);
        }
    }
}
