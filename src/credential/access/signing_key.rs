//! The private key for minted tokens.

use aws_lc_rs::rsa::KeyPair;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Checks that a secret is a usable private key.
///
/// # Errors
/// If not; the text says which keys are usable.
pub(in super::super) fn check_key(secret: &Secret) -> Result<(), &'static str> {
    key_pair(secret).map(drop).ok_or(
        "not an RSA private key of 2048 bits or more in PEM (PKCS#8 or PKCS#1, without a passphrase)",
    )
}

/// Parses a secret as an RSA private key.
pub(super) fn key_pair(secret: &Secret) -> Option<KeyPair> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the private key signs"
    )]
    let pem = secret.expose();
    let der = Zeroizing::new(PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?);
    match &*der {
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()).ok(),
        _ => None,
    }
}
