//! An access token with the times of its life.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::reflection::Reflection;
use crate::secret::Secret;

/// An access token, minted or got in exchange for a secret set.
pub struct IssuedToken {
    reflection: Reflection,
    issued_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
    cause: IssueCause,
}

/// The cause for which a token was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IssueCause {
    /// No good token was at hand, or renewal was due.
    Need,
    /// The provider had refused the token before.
    Refusal,
}

impl IssueCause {
    /// Returns the cause for the successor of a refused token, or for a token without a
    /// predecessor.
    pub(super) fn of(refused: Option<&IssuedToken>) -> Self {
        refused.map_or(Self::Need, |_| Self::Refusal)
    }
}

impl IssuedToken {
    /// Creates a token with a `lifetime` from now on.
    pub(super) fn new(secret: Secret, lifetime: Duration, cause: IssueCause) -> Self {
        let now = Instant::now();
        Self {
            reflection: Reflection::of(Arc::new(secret)),
            issued_at: now,
            renew_at: now + lifetime.mul_f64(RENEWAL_SHARE),
            ends_at: now + lifetime,
            cause,
        }
    }

    /// Returns the token.
    pub(in super::super) fn secret(&self) -> &Secret {
        self.reflection.secret()
    }

    /// Returns the texts to redact from answers; none for a token too short to redact.
    pub fn reflections(&self) -> impl Iterator<Item = &[u8]> {
        self.reflection.texts()
    }

    /// True if a new token may do better after a refusal.
    ///
    /// If the provider refuses two tokens in a row, neither has ended early: the cause is
    /// elsewhere.
    #[must_use]
    pub fn may_have_ended(&self) -> bool {
        self.cause == IssueCause::Need || self.issued_at.elapsed() > REPLACEMENT_TRUST
    }

    /// True until the token ends.
    pub(super) fn is_good(&self) -> bool {
        self.ends_at > Instant::now()
    }

    /// True once the token should be renewed.
    pub(super) fn is_due(&self) -> bool {
        self.renew_at <= Instant::now()
    }

    /// True if the token was issued after `other`.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        self.issued_at > other.issued_at
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("fingerprint", &self.secret().fingerprint())
            .finish_non_exhaustive()
    }
}

/// The share of the lifetime before a renewal: a fifth is left for failed exchanges.
const RENEWAL_SHARE: f64 = 0.8;
/// The time for which the successor of a refused token is not replaced in turn. A provider with a
/// refusal for every token would otherwise cost an exchange per request.
const REPLACEMENT_TRUST: Duration = Duration::from_secs(60);
