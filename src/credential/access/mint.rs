//! A JWT that Keyside signs itself: RS256, RFC 7518 section 3.3.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::super::{Missing, Sent};
use crate::provider::access::Minted;
use crate::secret::Secret;

/// A new token. `now` is the time at the provider.
///
/// # Errors
/// Where there is no key to sign with.
pub(super) fn mint(minted: &Minted, sent: Sent<'_>, now: SystemTime) -> Result<Secret, Missing> {
    let unusable = || Missing(minted.key.clone());
    let key = key_pair(sent.get(&minted.key).ok_or_else(unusable)?).ok_or_else(unusable)?;
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| unusable())?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let own = minted.claims.iter().filter_map(|(name, value)| Some((name.clone(), Value::from(value.text()?))));
    let mut claims: Map<String, Value> = own.collect();
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), (now + minted.lifetime.as_secs()).into());
    claims.insert("jti".to_owned(), HEXLOWER.encode(&id).into());
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let signed = format!("{}.{}", part(HEADER), part(&Value::from(claims).to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    let done = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
    done.map_err(|_| unusable())?;
    let token = Zeroizing::new(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)).into_bytes());
    Secret::parse(token).map_err(|_| unusable())
}

/// Makes sure that a secret is a key that signs.
///
/// # Errors
/// What it is not.
pub(crate) fn check_key(secret: &Secret) -> Result<(), &'static str> {
    match key_pair(secret) {
        Some(_) => Ok(()),
        None => Err("not an RSA private key of 2048 bits or more in PEM (PKCS#8 or PKCS#1, without a passphrase)"),
    }
}

fn key_pair(secret: &Secret) -> Option<KeyPair> {
    #[expect(clippy::disallowed_methods, reason = "the one place where the private key signs")]
    let pem = secret.expose();
    let der = Zeroizing::new(PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?);
    let pair = match &*der {
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
        _ => return None,
    };
    pair.ok()
}

const HEADER: &str = r#"{"alg":"RS256","typ":"JWT"}"#;
