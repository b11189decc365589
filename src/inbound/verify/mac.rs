//! The primitives of signature checks: HMAC, Ed25519, and the encodings of signatures.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::provider::webhook::{Algorithm, Encoding};

/// An HMAC computation. A clone starts with the key already hashed in.
#[derive(Clone)]
pub(super) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Mac {
    /// Starts an HMAC with a key of any length.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        fn keyed<M: KeyInit>(key: &[u8]) -> Option<M> {
            M::new_from_slice(key).ok()
        }
        let made = match algorithm {
            Algorithm::Sha1 => keyed(key).map(Self::Sha1),
            Algorithm::Sha384 => keyed(key).map(Self::Sha384),
            Algorithm::Sha512 => keyed(key).map(Self::Sha512),
            Algorithm::Sha256 | Algorithm::Ed25519 => None,
        };
        made.or_else(|| keyed(key).map(Self::Sha256))
            .unwrap_or_else(|| Self::Sha256(Hmac::new(&Default::default())))
    }

    pub(super) fn update(&mut self, part: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(part),
            Self::Sha256(mac) => mac.update(part),
            Self::Sha384(mac) => mac.update(part),
            Self::Sha512(mac) => mac.update(part),
        }
    }

    pub(super) fn finish(self) -> MacOutput {
        fn output(bytes: &[u8]) -> MacOutput {
            let mut output = MacOutput {
                bytes: [0; 64],
                length: bytes.len(),
            };
            output
                .bytes
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            output
        }
        match self {
            Self::Sha1(mac) => output(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => output(&mac.finalize().into_bytes()),
            Self::Sha384(mac) => output(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => output(&mac.finalize().into_bytes()),
        }
    }
}

/// The result of an HMAC computation, of 20 to 64 bytes.
pub(super) struct MacOutput {
    bytes: [u8; 64],
    length: usize,
}

impl MacOutput {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Returns the first 32 bytes; a shorter result is followed by zeros.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest
            .iter_mut()
            .zip(self.as_bytes())
            .for_each(|(to, from)| *to = *from);
        digest
    }
}

/// The public key of an Ed25519 signature.
#[derive(Clone, Copy)]
pub(super) struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

/// Returns the length of a signature in bytes.
pub(super) fn length_of(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Sha1 => 20,
        Algorithm::Sha256 => 32,
        Algorithm::Sha384 => 48,
        Algorithm::Sha512 | Algorithm::Ed25519 => 64,
    }
}

/// Decodes a signature. The decoding is strict: each signature has one spelling, so nobody can
/// send an event again under a second spelling.
pub(super) fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Base64 => from_base64(text),
        Encoding::Hex => from_hex(text),
    }
}

/// Decodes standard base64 with padding.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Decodes lower-case hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_lower_case_and_whole() {
        assert_eq!(from_hex("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for wrong in ["0", "0g", "FF", "0x", " 00", "00 ", "é0"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn base64_is_padded_and_canonical() {
        assert_eq!(from_base64("AAE="), Some(vec![0, 1]));
        for wrong in ["AAE", "AAF=", "AA-_", "AAE=\n", " AAE="] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }
}
