//! JSON Web Tokens signed with HMAC, with hashes of the body and the URL.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::head::{SignedHead, only_header};
use super::key::VerifyKey;
use super::proof::{BodyHash, Proof};
use crate::credential::SecretRole;
use crate::inbound::body::Body;
use crate::inbound::forgery::Forgery;
use crate::provider::webhook::{Algorithm, Jwt};

/// A check whose token has a right signature, right times and the right URL.
pub(super) struct JwtCheck {
    which: SecretRole,
    payload_hash: Option<String>,
    payload_hash_required: bool,
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    /// Extensions required to be understood (RFC 7515, section 4.1.11); Keyside knows none.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    iat: Option<f64>,
    nbf: Option<f64>,
    exp: Option<f64>,
    payload_hash: Option<String>,
    url_hash: Option<String>,
}

/// Checks everything of the token but the hash of the body; returns `None` if the request has no
/// token.
pub(super) fn begin(
    scheme: &Jwt,
    keys: &[(SecretRole, VerifyKey)],
    head: &SignedHead<'_>,
) -> Result<Option<JwtCheck>, Forgery> {
    let Some(value) = only_header(&head.request.headers, &scheme.header)? else {
        return Ok(None);
    };
    let token = match value.split_once(' ') {
        Some((word, token)) if word.eq_ignore_ascii_case("bearer") => token.trim_start(),
        _ => value,
    };
    let (which, claims) = verified(scheme, keys, token)?;
    check_times(scheme, &claims, head.now)?;
    if scheme.issuer.is_some() && scheme.issuer != claims.iss {
        return Err(Forgery::TokenIssuer);
    }
    if scheme.url_hash {
        let url = head.url()?;
        let named = claims.url_hash.ok_or(Forgery::TokenUrlHashMissing)?;
        if !is_hex_of(&named, Sha256::digest(url).into()) {
            return Err(Forgery::TokenUrl);
        }
    }
    Ok(Some(JwtCheck {
        which,
        payload_hash: claims.payload_hash,
        payload_hash_required: scheme.payload_hash_required,
    }))
}

impl JwtCheck {
    pub(super) fn finish(self, body: &Body, hash: &BodyHash) -> Result<Proof, Forgery> {
        match self.payload_hash {
            Some(_) if self.payload_hash_required && body.is_empty() => {
                Err(Forgery::TokenBodyMissing)
            }
            Some(named) if !is_hex_of(&named, *hash) => Err(Forgery::TokenBody),
            None if self.payload_hash_required && !body.is_empty() => {
                Err(Forgery::TokenBodyNotCovered)
            }
            Some(_) | None => Ok(Proof::of_body(self.which, hash)),
        }
    }
}

/// Checks the signature of a token, and returns the signing secret's role and the claims. The
/// claims are parsed after the check, so only signed text is looked into.
fn verified(
    scheme: &Jwt,
    keys: &[(SecretRole, VerifyKey)],
    token: &str,
) -> Result<(SecretRole, Claims), Forgery> {
    if token.len() > MAX_TOKEN {
        return Err(Forgery::TokenTooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Forgery::TokenMalformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Forgery::TokenMalformed)?;
    let header: TokenHeader = parse(header)?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| Forgery::TokenMalformed)?;
    let algorithm = algorithm(&header.alg)
        .filter(|algorithm| scheme.algorithms.contains(algorithm))
        .ok_or(Forgery::TokenAlgorithm)?;
    if header.crit.is_some() {
        return Err(Forgery::TokenCritical);
    }
    let which =
        signer(keys, algorithm, signed.as_bytes(), &signature).ok_or(Forgery::SignatureWrong)?;
    Ok((which, parse(claims)?))
}

fn parse<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Forgery> {
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Forgery::TokenMalformed)?;
    serde_json::from_slice(&json).map_err(|_| Forgery::TokenMalformed)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::Sha256),
        "HS384" => Some(Algorithm::Sha384),
        "HS512" => Some(Algorithm::Sha512),
        _ => None,
    }
}

/// Returns the role of the signing secret. All secrets are tried even after
/// a match.
fn signer(
    keys: &[(SecretRole, VerifyKey)],
    algorithm: Algorithm,
    signed: &[u8],
    signature: &[u8],
) -> Option<SecretRole> {
    let mut found = None;
    for (role, key) in keys {
        let VerifyKey::Macs(macs) = key else { continue };
        let Some((_, mac)) = macs.iter().find(|(of, _)| *of == algorithm) else {
            continue;
        };
        let mut mac = mac.clone();
        mac.update(signed);
        if bool::from(mac.finish().as_bytes().ct_eq(signature)) && found.is_none() {
            found = Some(*role);
        }
    }
    found
}

/// Checks the times of a token. A token must have an expiry, or, if the scheme has a maximal
/// age, the time of its making: without either it would be good forever.
fn check_times(scheme: &Jwt, claims: &Claims, now: SystemTime) -> Result<(), Forgery> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let skew = scheme.skew.as_secs_f64();
    let max_age = scheme.max_age.map(|age| age.as_secs_f64());
    match (claims.iat, max_age) {
        (None, Some(_)) => return Err(Forgery::TokenUndated),
        (Some(iat), Some(age)) if now > iat + age + skew => return Err(Forgery::TokenTooOld),
        (Some(iat), _) if now + skew < iat => return Err(Forgery::TokenFromFuture),
        _ => {}
    }
    match claims.exp {
        Some(exp) if now > exp + skew => Err(Forgery::TokenExpired),
        None if max_age.is_none() => Err(Forgery::TokenWithoutEnd),
        _ if claims.nbf.is_some_and(|nbf| now + skew < nbf) => Err(Forgery::TokenNotYetValid),
        _ => Ok(()),
    }
}

/// Returns true if `hash` is `bytes` in lower-case hexadecimal digits.
fn is_hex_of(hash: &str, bytes: [u8; 32]) -> bool {
    let expected = HEXLOWER.encode(&bytes);
    expected.as_bytes().ct_eq(hash.as_bytes()).into()
}

/// The bound on a token, in bytes, far above any provider's. The header is decoded before the
/// signature is checked, so anybody can make Keyside decode as much.
const MAX_TOKEN: usize = 8 * 1024;
