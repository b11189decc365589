//! The private key for minted tokens.

use aws_lc_rs::rsa::KeyPair;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// True for a private key that can sign.
pub(in super::super) fn is_usable(secret: &Secret) -> bool {
    key_pair(secret).is_some()
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
