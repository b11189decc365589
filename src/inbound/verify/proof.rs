//! The proof that an event is genuine.

use std::time::SystemTime;

use super::nonces::{Freshness, NonceUse, Nonces};
use crate::credential::SecretRole;

/// The SHA-256 of a body.
pub(super) type BodyHash = [u8; 32];

/// The proof that an event is genuine. Only `Check::finish` makes a proof.
#[derive(Debug)]
pub struct Proof {
    /// The role of the signing secret.
    pub which: SecretRole,
    /// A digest of the body, equal for equal bodies: the signature's own computation if the
    /// signature covers the body alone, and the body's SHA-256 otherwise.
    pub digest: [u8; 32],
    pub(super) nonce: Option<NonceUse>,
}

impl Proof {
    /// Returns a proof with the body's SHA-256 and without a nonce.
    pub(super) fn of_body(which: SecretRole, hash: &BodyHash) -> Self {
        Self {
            which,
            digest: *hash,
            nonce: None,
        }
    }

    /// Tells whether the event was accepted before. An event without a nonce is always new.
    #[must_use]
    pub fn freshness(&self, nonces: &Nonces, now: SystemTime) -> Freshness {
        match &self.nonce {
            Some(nonce) => nonces.freshness(nonce, &self.digest, now),
            None => Freshness::New,
        }
    }

    /// Spends the event's nonce. Called when the application has accepted the event: an event that
    /// was not accepted may be sent again.
    pub fn spend(&self, nonces: &Nonces, now: SystemTime) {
        if let Some(nonce) = &self.nonce {
            nonces.spend(nonce, &self.digest, now);
        }
    }
}
