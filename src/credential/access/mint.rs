//! A JWT signed by Keyside: RS256, RFC 7518 section 3.3.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::super::missing::MissingSecret;
use super::super::secret_set::SecretSet;
use super::signing_key::key_pair;
use crate::provider::access::MintedToken;
use crate::secret::Secret;

/// Signs a new token. `now` is the time by the provider's clock.
///
/// # Errors
/// If the secret set has no usable key.
pub(super) fn mint(
    minted: &MintedToken,
    secrets: SecretSet<'_>,
    now: SystemTime,
) -> Result<Secret, MissingSecret> {
    let unusable = || MissingSecret(minted.key.clone());
    let key = secrets
        .get(&minted.key)
        .and_then(key_pair)
        .ok_or_else(unusable)?;
    let claims = claims(minted, now).ok_or_else(unusable)?;
    let signed = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(HEADER.as_bytes()),
        BASE64URL_NOPAD.encode(claims.to_string().as_bytes())
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| unusable())?;
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
    Secret::parse(Zeroizing::new(token.into_bytes())).map_err(|_| unusable())
}

/// Returns the claims of the provider's template with the times and a random id; `None` without
/// randomness.
fn claims(minted: &MintedToken, now: SystemTime) -> Option<Value> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).ok()?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims: Map<String, Value> = minted
        .claims
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), Value::from(value.text()?))))
        .collect();
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), (now + minted.lifetime.as_secs()).into());
    claims.insert("jti".to_owned(), HEXLOWER.encode(&id).into());
    Some(Value::from(claims))
}

/// The JOSE header of every minted token.
const HEADER: &str = r#"{"alg":"RS256","typ":"JWT"}"#;
