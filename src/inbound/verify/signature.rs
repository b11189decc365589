//! Signatures over a message with the body: HMAC and Ed25519.

use std::time::{Duration, SystemTime};

use subtle::{Choice, ConstantTimeEq};

use super::head::{SignedHead, only_header};
use super::key::VerifyKey;
use super::mac::{Ed25519Key, Mac, decode, length_of};
use super::nonces::NonceUse;
use super::proof::{BodyHash, Proof};
use crate::credential::SecretRole;
use crate::inbound::body::Body;
use crate::inbound::forgery::Forgery;
use crate::provider::webhook::{List, MessagePart, Signature, Timestamp};

/// A check with a message hashed up to the body.
pub(super) struct SignatureCheck {
    signatures: Vec<Vec<u8>>,
    keys: Vec<(SecretRole, KeyState)>,
    /// True for a message with the hash of the body in the body's place.
    has_body_hash: bool,
    message: MessageFrame,
    covers_body_alone: bool,
    nonce: Option<NonceUse>,
}

/// A key with the message hashed so far.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every key is the large variant"
)]
enum KeyState {
    Mac(Mac),
    /// Ed25519 needs the whole message at once.
    Ed25519(Ed25519Key),
}

/// The parts of a signed message around the body.
#[derive(Default)]
struct MessageFrame {
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The values of a request's head for the message.
struct SignedValues<'a> {
    timestamp: Option<&'a str>,
    nonce: Option<&'a str>,
    id: Option<&'a str>,
}

/// Begins a check from the headers; returns `None` if the request has no signature of this
/// scheme.
pub(super) fn begin(
    scheme: &Signature,
    keys: &[(SecretRole, VerifyKey)],
    head: &SignedHead<'_>,
) -> Result<Option<SignatureCheck>, Forgery> {
    let Some(value) = only_header(&head.request.headers, &scheme.header)? else {
        return Ok(None);
    };
    let signatures = signatures(scheme, value);
    if signatures.is_empty() {
        return Err(Forgery::SignatureMalformed);
    }
    let values = SignedValues::of(scheme, value, head)?;
    if let (Some(tolerance), Some(timestamp)) = (scheme.tolerance, values.timestamp) {
        check_time(timestamp, tolerance, head.now)?;
    }
    let message = MessageFrame::of(scheme, &values, head)?;
    let keys = keys
        .iter()
        .filter_map(|(role, key)| Some((*role, KeyState::new(key, &message.before)?)))
        .collect();
    Ok(Some(SignatureCheck {
        signatures,
        keys,
        has_body_hash: has_body_hash(scheme),
        message,
        covers_body_alone: scheme.message == [MessagePart::Body],
        nonce: nonce_use(scheme, &values, head),
    }))
}

impl SignatureCheck {
    /// Returns true if the check needs the hash of the body, for the message or for the proof.
    pub(super) fn needs_body_hash(&self) -> bool {
        let is_mac = |(_, state): &(SecretRole, KeyState)| matches!(state, KeyState::Mac(_));
        self.has_body_hash || !self.covers_body_alone || !self.keys.iter().any(is_mac)
    }

    /// Returns true if the end of the check goes through the whole body.
    pub(super) fn reads_body(&self) -> bool {
        let is_ed25519 =
            |(_, state): &(SecretRole, KeyState)| matches!(state, KeyState::Ed25519(_));
        !self.has_body_hash && self.keys.iter().any(is_ed25519)
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        if self.has_body_hash {
            return;
        }
        for (_, state) in &mut self.keys {
            if let KeyState::Mac(mac) = state {
                mac.update(piece);
            }
        }
    }

    pub(super) fn finish(self, body: &Body, hash: &BodyHash) -> Result<Proof, Forgery> {
        let mut signer = None;
        let mut digest = None;
        for (role, state) in self.keys {
            let is_genuine = match state {
                KeyState::Mac(mut mac) => {
                    if self.has_body_hash {
                        mac.update(hash);
                    }
                    mac.update(&self.message.after);
                    let made = mac.finish();
                    // The first key is the current secret's: the digest is the same whichever
                    // accepted secret the provider has signed with.
                    if self.covers_body_alone && digest.is_none() {
                        digest = Some(made.digest());
                    }
                    let equal = self
                        .signatures
                        .iter()
                        .map(|signature| made.as_bytes().ct_eq(signature))
                        .fold(Choice::from(0), |any, equal| any | equal);
                    bool::from(equal)
                }
                KeyState::Ed25519(key) => {
                    let message = if self.has_body_hash {
                        self.message.around([&hash[..]])
                    } else {
                        self.message
                            .around(body.pieces().iter().map(|piece| &piece[..]))
                    };
                    self.signatures
                        .iter()
                        .any(|signature| key.has_signed(&message, signature))
                }
            };
            if is_genuine && signer.is_none() {
                signer = Some(role);
            }
        }
        Ok(Proof {
            which: signer.ok_or(Forgery::SignatureWrong)?,
            digest: digest.unwrap_or(*hash),
            nonce: self.nonce,
        })
    }
}

impl KeyState {
    fn new(key: &VerifyKey, before: &[u8]) -> Option<Self> {
        match key {
            VerifyKey::Mac(mac) => {
                let mut mac = mac.clone();
                mac.update(before);
                Some(Self::Mac(mac))
            }
            VerifyKey::Ed25519(key) => Some(Self::Ed25519(*key)),
            VerifyKey::Macs(_) | VerifyKey::Text(_) => None,
        }
    }
}

impl<'a> SignedValues<'a> {
    /// Reads the values; `signature` is the value of the signature's header, which may contain the
    /// timestamp.
    fn of(scheme: &Signature, signature: &'a str, head: &SignedHead<'a>) -> Result<Self, Forgery> {
        let headers = &head.request.headers;
        let optional = |name: &Option<_>| match name {
            Some(name) => only_header(headers, name),
            None => Ok(None),
        };
        let timestamp = match &scheme.timestamp {
            None => None,
            Some(Timestamp::Header(name)) => {
                Some(only_header(headers, name)?.ok_or(Forgery::TimestampMissing)?)
            }
            Some(Timestamp::Part(prefix)) => Some(only_part(signature, prefix)?),
        };
        let nonce = optional(&scheme.nonce)?;
        let id = optional(&scheme.id)?;
        if [nonce, id]
            .into_iter()
            .flatten()
            .any(|value| has_separator(scheme, value))
        {
            return Err(Forgery::SeparatorInValue);
        }
        Ok(Self {
            timestamp,
            nonce,
            id,
        })
    }
}

impl MessageFrame {
    /// Returns the whole message with these pieces in the body's place.
    fn around<'p>(&self, pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
        let mut message = self.before.clone();
        for piece in pieces {
            message.extend_from_slice(piece);
        }
        message.extend_from_slice(&self.after);
        message
    }

    fn of(
        scheme: &Signature,
        values: &SignedValues<'_>,
        head: &SignedHead<'_>,
    ) -> Result<Self, Forgery> {
        let mut frame = Self::default();
        let mut is_after = false;
        for part in &scheme.message {
            let text = match part {
                MessagePart::Body | MessagePart::BodyHash => {
                    is_after = true;
                    continue;
                }
                MessagePart::Text(text) => text,
                MessagePart::Timestamp => values.timestamp.ok_or(Forgery::TimestampMissing)?,
                MessagePart::Nonce => values.nonce.ok_or(Forgery::NonceMissing)?,
                MessagePart::Id => values.id.ok_or(Forgery::IdMissing)?,
                MessagePart::Url => head.url()?,
            };
            let side = if is_after {
                &mut frame.after
            } else {
                &mut frame.before
            };
            side.extend_from_slice(text.as_bytes());
        }
        Ok(frame)
    }
}

/// Returns true for a value with a text of the message between its parts. The end of a body could
/// pass as the beginning of the value behind it: both make the same message.
fn has_separator(scheme: &Signature, value: &str) -> bool {
    scheme.message.iter().any(|part| match part {
        MessagePart::Text(text) => !text.is_empty() && value.contains(text.as_str()),
        _ => false,
    })
}

/// Returns true if the message has the body's hash in the body's place. A scheme's message has
/// either of them, once.
fn has_body_hash(scheme: &Signature) -> bool {
    scheme.message.contains(&MessagePart::BodyHash)
}

/// Returns the nonce that must not be used twice, for a scheme that refuses replays. Without a
/// nonce the event's id takes its place.
fn nonce_use(
    scheme: &Signature,
    values: &SignedValues<'_>,
    head: &SignedHead<'_>,
) -> Option<NonceUse> {
    if !scheme.replay {
        return None;
    }
    Some(NonceUse::new(
        head.webhook,
        scheme.header.as_str(),
        values.nonce.or(values.id)?,
        // A timestamp that is ahead by the tolerance is accepted until it is behind by the
        // tolerance.
        2 * scheme.tolerance?,
    ))
}

/// Returns the decoded signatures of a header's value, without the parts that do not have the
/// scheme's form.
fn signatures(scheme: &Signature, value: &str) -> Vec<Vec<u8>> {
    let decoded = |part: &str| {
        let written = part.strip_prefix(scheme.prefix.as_str())?;
        decode(scheme.encoding, written).filter(|bytes| bytes.len() == length_of(scheme.algorithm))
    };
    match scheme.list {
        List::Whole => decoded(value).into_iter().collect(),
        List::Commas => value
            .split(',')
            .map(str::trim)
            .filter_map(decoded)
            .take(MAX_SIGNATURES)
            .collect(),
        List::Spaces => value
            .split(' ')
            .filter_map(decoded)
            .take(MAX_SIGNATURES)
            .collect(),
    }
}

/// Returns the part of a list that begins with `prefix`; the list must have exactly one.
fn only_part<'v>(value: &'v str, prefix: &str) -> Result<&'v str, Forgery> {
    let mut parts = value
        .split(',')
        .filter_map(|part| part.trim().strip_prefix(prefix));
    match (parts.next(), parts.next()) {
        (None, _) => Err(Forgery::TimestampMissing),
        (Some(part), None) => Ok(part),
        (Some(_), Some(_)) => Err(Forgery::TimestampRepeated),
    }
}

fn check_time(timestamp: &str, tolerance: Duration, now: SystemTime) -> Result<(), Forgery> {
    // `u64::from_str` would accept a sign.
    let has_form = (1..=MAX_TIMESTAMP_DIGITS).contains(&timestamp.len())
        && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    if !has_form {
        return Err(Forgery::TimestampMalformed);
    }
    let seconds: u64 = timestamp.parse().map_err(|_| Forgery::TimestampMalformed)?;
    let signed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let distance = now
        .duration_since(signed_at)
        .unwrap_or_else(|ahead| ahead.duration());
    if distance > tolerance {
        return Err(Forgery::TimestampTooFar);
    }
    Ok(())
}

/// The number of signatures tried per header. Providers send two while they replace a
/// key; each costs an Ed25519 verification at worst.
const MAX_SIGNATURES: usize = 8;
/// The number of digits of a timestamp in seconds, enough for 30,000 years and too few to overflow
/// a `SystemTime`.
const MAX_TIMESTAMP_DIGITS: usize = 12;
