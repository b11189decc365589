//! Keys in pairs: new ones, and the public half of one.

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

/// A new RSA private key in PEM, or why there is none.
pub fn new_private_key() -> Result<String, Box<dyn std::error::Error>> {
    Ok(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?.serialize_pem())
}

/// The public key of an RSA private key, both in PEM.
pub fn public_key(private: &str) -> Result<String, Box<dyn std::error::Error>> {
    Ok(KeyPair::from_pem(private)?.public_key_pem().trim_end().to_owned())
}

/// A new Ed25519 private key: its 32 bytes in base64.
pub fn new_seed() -> Result<String, Box<dyn std::error::Error>> {
    let seed: Curve25519SeedBin<'_> = Ed25519KeyPair::generate()?.seed()?.as_be_bytes()?;
    Ok(BASE64.encode(seed.as_ref()))
}

/// The public key of an Ed25519 private key, both in base64.
pub fn public_key_of_seed(seed: &str) -> Result<String, Box<dyn std::error::Error>> {
    Ok(BASE64.encode(Ed25519KeyPair::from_seed_unchecked(&BASE64.decode(seed.as_bytes())?)?.public_key().as_ref()))
}
