//! A token that is signed with HMAC, and that has hashes of the request in it.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Key, Proof, Seen, only};
use crate::credential::Which;
use crate::inbound::body::Body;
use crate::provider::webhook::{Algorithm, Jwt};

/// A token whose signature and times are right.
pub(super) struct Attempt {
    which: Which,
    payload_hash: Option<String>,
    payload_hash_required: bool,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Something that must be understood, and is not.
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

/// Checks the token but for the body; nothing where there is none.
pub(super) fn begin(scheme: &Jwt, keys: &[(Which, Key)], seen: &Seen<'_>) -> Result<Option<Attempt>, &'static str> {
    let Some(value) = only(&seen.request.headers, &scheme.header)? else { return Ok(None) };
    let token = match value.split_once(' ') {
        Some((word, token)) if word.eq_ignore_ascii_case("bearer") => token.trim_start(),
        _ => value,
    };
    if token.len() > MOST_BYTES {
        return Err("the token is too long");
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
    let (header, claims) = signed.split_once('.').ok_or(MALFORMED)?;
    let header: Header = parse(header)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
    let algorithm = algorithm(&header.alg).filter(|algorithm| scheme.algorithms.contains(algorithm));
    let algorithm = algorithm.ok_or("the token names an algorithm that is not allowed")?;
    if header.crit.is_some() {
        return Err("the token has a header that must be understood");
    }
    let which = signer(keys, algorithm, signed.as_bytes(), &signature).ok_or("no secret makes this signature")?;
    // Only what was signed is looked into.
    let claims: Claims = parse(claims)?;
    check_times(scheme, &claims, seen.now)?;
    if scheme.issuer.is_some() && scheme.issuer != claims.iss {
        return Err("the token has another issuer");
    }
    if scheme.url_hash {
        let url = seen.url.as_deref().ok_or("the webhook has no public_url")?;
        let named = claims.url_hash.ok_or("the token has no url_hash")?;
        if !is_written(&named, Sha256::digest(url).into()) {
            return Err("the token is for another URL; is public_url the one that the provider was given?");
        }
    }
    let (payload_hash, payload_hash_required) = (claims.payload_hash, scheme.payload_hash_required);
    Ok(Some(Attempt { which, payload_hash, payload_hash_required }))
}

impl Attempt {
    pub(super) fn finish(self, body: &Body) -> Result<Proof, &'static str> {
        match self.payload_hash {
            Some(_) if self.payload_hash_required && body.is_empty() => {
                Err("the token is for a body, and there is none")
            }
            Some(hash) if !is_written(&hash, super::hash_of(body)) => Err("the token is for another body"),
            None if self.payload_hash_required && !body.is_empty() => Err("the token is for no body, and there is one"),
            Some(_) | None => Ok(Proof::of_body(self.which, body)),
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, &'static str> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)?;
    serde_json::from_slice(&json).map_err(|_| MALFORMED)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::Sha256),
        "HS384" => Some(Algorithm::Sha384),
        "HS512" => Some(Algorithm::Sha512),
        _ => None,
    }
}

fn signer(keys: &[(Which, Key)], algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Option<Which> {
    let mut found = None;
    for (which, key) in keys {
        let Key::Macs(macs) = key else { continue };
        let Some((_, mac)) = macs.iter().find(|(of, _)| *of == algorithm) else { continue };
        let mut mac = mac.clone();
        mac.update(signed);
        if bool::from(mac.finish().as_bytes().ct_eq(signature)) && found.is_none() {
            found = Some(*which);
        }
    }
    found
}

/// A token that never ends is none: it must say until when it counts, or when it was made.
fn check_times(scheme: &Jwt, claims: &Claims, now: SystemTime) -> Result<(), &'static str> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let skew = scheme.skew.as_secs_f64();
    let age = scheme.max_age.map(|age| age.as_secs_f64());
    match (claims.iat, age) {
        (None, Some(_)) => return Err("the token does not say when it was made"),
        (Some(iat), Some(age)) if now > iat + age + skew => return Err("the token is too old"),
        (Some(iat), _) if now + skew < iat => return Err("the token was made in the future"),
        _ => {}
    }
    match claims.exp {
        Some(exp) if now > exp + skew => Err("the token has expired"),
        None if age.is_none() => Err("the token does not say when it expires"),
        _ if claims.nbf.is_some_and(|nbf| now + skew < nbf) => Err("the token is not valid yet"),
        _ => Ok(()),
    }
}

/// Whether `hash` is these bytes in hexadecimal.
fn is_written(hash: &str, bytes: [u8; 32]) -> bool {
    let mut expected = [0; 64];
    for (pair, byte) in expected.chunks_exact_mut(2).zip(bytes) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        }
    }
    expected.ct_eq(hash.as_bytes()).into()
}

const MALFORMED: &str = "the token is malformed";
/// Longer than any seen, and short enough to look into.
const MOST_BYTES: usize = 8 * 1024;
