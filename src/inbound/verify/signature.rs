//! A signature over a message that has the body in it: HMAC and Ed25519.

use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::mac::{Ed25519Key, Mac, decode, length_of};
use super::nonces::Used;
use super::{Key, Proof, Seen, hash_of, only};
use crate::credential::Which;
use crate::inbound::body::Body;
use crate::provider::webhook::{List, MessagePart, Signature, Timestamp};

/// A signature whose head is in order.
pub(super) struct Attempt<'v> {
    signatures: Vec<Vec<u8>>,
    keys: Vec<(Which, State<'v>)>,
    /// The hash of the body, where the message has that in its place.
    body_hash: Option<Sha256>,
    /// What stands before the body, for who cannot take it in bit by bit.
    before: Vec<u8>,
    after: Vec<u8>,
    covers_body_alone: bool,
    nonce: Option<Used>,
}

#[expect(clippy::large_enum_variant, reason = "nearly every signature is the large one")]
enum State<'v> {
    Mac(Mac),
    Ed25519(&'v Ed25519Key),
}

/// Reads the headers; nothing where there is no signature of this scheme.
pub(super) fn begin<'v>(
    scheme: &'v Signature,
    keys: &'v [(Which, Key)],
    seen: &Seen<'_>,
) -> Result<Option<Attempt<'v>>, &'static str> {
    let headers = &seen.request.headers;
    let Some(value) = only(headers, &scheme.header)? else { return Ok(None) };
    let signatures = signatures(scheme, value);
    if signatures.is_empty() {
        return Err("the signature is malformed");
    }
    let timestamp = match &scheme.timestamp {
        None => None,
        Some(Timestamp::Header(name)) => Some(only(headers, name)?.ok_or("the timestamp is missing")?),
        Some(Timestamp::Part(prefix)) => Some(only_part(value, prefix)?),
    };
    if let (Some(tolerance), Some(timestamp)) = (scheme.tolerance, timestamp) {
        check_time(timestamp, tolerance, seen.now)?;
    }
    let optional = |name: &Option<_>| name.as_ref().map_or(Ok(None), |name| only(headers, name));
    let (nonce, id) = (optional(&scheme.nonce)?, optional(&scheme.id)?);
    let mut before = Vec::new();
    let mut after = Vec::new();
    let mut body_hash = None;
    let mut is_after = false;
    for part in &scheme.message {
        let text = match part {
            MessagePart::Body | MessagePart::BodyHash => {
                is_after = true;
                body_hash = (*part == MessagePart::BodyHash).then(Sha256::new);
                continue;
            }
            MessagePart::Text(text) => text,
            MessagePart::Timestamp => timestamp.ok_or("the timestamp is missing")?,
            MessagePart::Nonce => nonce.ok_or("the nonce is missing")?,
            MessagePart::Id => id.ok_or("the id is missing")?,
            MessagePart::Url => seen.url.as_deref().ok_or("the webhook has no public_url")?,
        };
        if is_after { &mut after } else { &mut before }.extend_from_slice(text.as_bytes());
    }
    let keys = keys.iter().filter_map(|(which, key)| {
        let state = match key {
            Key::Mac(mac) => {
                let mut mac = mac.clone();
                mac.update(&before);
                State::Mac(mac)
            }
            Key::Ed25519(key) => State::Ed25519(key),
            Key::Macs(_) | Key::Text(_) => return None,
        };
        Some((*which, state))
    });
    let keys = keys.collect();
    let covers_body_alone = scheme.message == [MessagePart::Body];
    let once = nonce.or(id).filter(|_| scheme.replay).zip(scheme.tolerance);
    let nonce =
        once.map(|(nonce, tolerance)| Used::new(seen.request.uri.path(), scheme.header.as_str(), nonce, tolerance));
    Ok(Some(Attempt { signatures, keys, body_hash, before, after, covers_body_alone, nonce }))
}

impl Attempt<'_> {
    pub(super) fn update(&mut self, part: &[u8]) {
        if let Some(hash) = &mut self.body_hash {
            hash.update(part);
            return;
        }
        for (_, state) in &mut self.keys {
            if let State::Mac(mac) = state {
                mac.update(part);
            }
        }
    }

    pub(super) fn finish(self, body: &Body) -> Result<Proof, &'static str> {
        let hash = self.body_hash.map(Sha256::finalize);
        let mut found = None;
        let mut digest = None;
        for (which, state) in self.keys {
            let genuine = match state {
                State::Mac(mut mac) => {
                    if let Some(hash) = &hash {
                        mac.update(hash);
                    }
                    mac.update(&self.after);
                    let made = mac.finish();
                    // That of the current secret, whichever the provider used.
                    digest = digest.or_else(|| self.covers_body_alone.then(|| made.digest()));
                    let same = self.signatures.iter().map(|signature| made.as_bytes().ct_eq(signature));
                    bool::from(same.fold(Choice::from(0), |any, same| any | same))
                }
                State::Ed25519(key) => {
                    let whole = body.whole();
                    let body = hash.as_ref().map_or(&*whole, |hash| hash.as_slice());
                    let message = [&self.before, body, &self.after].concat();
                    self.signatures.iter().filter(|signature| key.has_signed(&message, signature)).count() > 0
                }
            };
            if genuine && found.is_none() {
                found = Some(which);
            }
        }
        let which = found.ok_or("no secret makes this signature")?;
        let digest = digest.unwrap_or_else(|| hash_of(body));
        Ok(Proof { which, digest, nonce: self.nonce })
    }
}

/// The signatures in a header's value; those that cannot be right are none.
fn signatures(scheme: &Signature, value: &str) -> Vec<Vec<u8>> {
    let one = |part: &str| {
        let written = part.strip_prefix(scheme.prefix.as_str())?;
        decode(scheme.encoding, written).filter(|bytes| bytes.len() == length_of(scheme.algorithm))
    };
    match scheme.list {
        List::Whole => one(value).into_iter().collect(),
        List::Commas => value.split(',').map(str::trim).filter_map(one).take(MOST_SIGNATURES).collect(),
        List::Spaces => value.split(' ').filter_map(one).take(MOST_SIGNATURES).collect(),
    }
}

/// The part of a list that begins with `prefix`, which must be there once.
fn only_part<'v>(value: &'v str, prefix: &str) -> Result<&'v str, &'static str> {
    let mut parts = value.split(',').filter_map(|part| part.trim().strip_prefix(prefix));
    match (parts.next(), parts.next()) {
        (Some(part), None) => Ok(part),
        _ => Err("the timestamp is missing or there twice"),
    }
}

fn check_time(timestamp: &str, tolerance: Duration, now: SystemTime) -> Result<(), &'static str> {
    let digits = !timestamp.is_empty() && timestamp.len() <= 12 && timestamp.bytes().all(|b| b.is_ascii_digit());
    let seconds: u64 =
        if digits { timestamp.parse().unwrap_or_default() } else { return Err("the timestamp is malformed") };
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let apart = now.duration_since(then).unwrap_or_else(|ahead| ahead.duration());
    if apart > tolerance { Err("the timestamp is too far from now") } else { Ok(()) }
}

/// While a key is replaced there are two.
const MOST_SIGNATURES: usize = 8;
