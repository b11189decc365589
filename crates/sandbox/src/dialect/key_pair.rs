//! Key pairs: new keys, and the public half of a key.

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::{BASE64, DecodeError};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

/// Makes an RSA private key of 2048 bits, in PEM.
///
/// # Errors
/// The cryptographic library cannot make a key.
pub fn new_private_key() -> Result<String, KeyPairError> {
    Ok(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?.serialize_pem())
}

/// Returns the public key of an RSA private key, both in PEM.
///
/// # Errors
/// The text is no private key in PEM.
pub fn public_key(private: &str) -> Result<String, KeyPairError> {
    let public = KeyPair::from_pem(private)?.public_key_pem();
    Ok(public.trim_end().to_owned())
}

/// Makes an Ed25519 private key: 32 bytes in base64.
///
/// # Errors
/// The cryptographic library cannot make a key.
pub fn new_seed() -> Result<String, KeyPairError> {
    let seed: Curve25519SeedBin<'_> = Ed25519KeyPair::generate()?.seed()?.as_be_bytes()?;
    Ok(BASE64.encode(seed.as_ref()))
}

/// Returns the public key of an Ed25519 private key, both in base64.
///
/// # Errors
/// The text is not base64 of 32 bytes.
pub fn public_key_of_seed(seed: &str) -> Result<String, KeyPairError> {
    let seed = BASE64.decode(seed.as_bytes())?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed)?;
    Ok(BASE64.encode(pair.public_key().as_ref()))
}

/// A key that cannot be made or read.
#[derive(Debug)]
pub enum KeyPairError {
    /// An RSA key cannot be made or read.
    Rsa(rcgen::Error),
    /// An Ed25519 key is not a key.
    Rejected(KeyRejected),
    /// An Ed25519 key cannot be made.
    Generate(Unspecified),
    /// An Ed25519 key is not base64.
    Base64(DecodeError),
}

impl fmt::Display for KeyPairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(error) => write!(f, "cannot make or read an RSA private key: {error}"),
            Self::Rejected(error) => write!(f, "cannot read an Ed25519 private key: {error}"),
            Self::Generate(error) => write!(f, "cannot make an Ed25519 private key: {error}"),
            Self::Base64(error) => write!(f, "an Ed25519 private key is not base64: {error}"),
        }
    }
}

impl std::error::Error for KeyPairError {}

impl From<rcgen::Error> for KeyPairError {
    fn from(error: rcgen::Error) -> Self {
        Self::Rsa(error)
    }
}

impl From<KeyRejected> for KeyPairError {
    fn from(error: KeyRejected) -> Self {
        Self::Rejected(error)
    }
}

impl From<Unspecified> for KeyPairError {
    fn from(error: Unspecified) -> Self {
        Self::Generate(error)
    }
}

impl From<DecodeError> for KeyPairError {
    fn from(error: DecodeError) -> Self {
        Self::Base64(error)
    }
}
