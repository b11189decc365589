//! A replaced secret set within its overlap, for signatures and as a fallback.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::access::tokens::AccessTokens;
use super::slot::Slot;
use super::version::SecretVersion;
use crate::named::ByName;
use crate::provider::Provider;

/// The current secrets of an earlier load, in use together until a later load replaced the set.
#[derive(Clone, Debug)]
pub struct Previous {
    pub(super) secrets: BTreeMap<String, Arc<SecretVersion>>,
    /// The provider with the account of the set, such as a key's id beside the key.
    pub(super) provider: Arc<Provider>,
    pub(super) access: Arc<AccessTokens>,
    pub(super) replaced: Instant,
    pub(super) until: Instant,
    /// The last event that a secret of the set signed. Copies of the set share it.
    pub(super) last_match: Arc<LastEvent>,
}

/// The time of the last event of one kind, such as a success or a match of a signature.
#[derive(Debug, Default)]
pub struct LastEvent(Mutex<Option<Instant>>);

impl LastEvent {
    /// Records an event of now.
    pub fn note(&self) {
        self.note_at(Instant::now());
    }

    /// Records an event of this time.
    pub fn note_at(&self, time: Instant) {
        *self.0.lock() = Some(time);
    }

    /// Returns the time since the last event; `None` if there was none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.0.lock().map(|at| at.elapsed())
    }
}

impl Previous {
    /// Returns the secret with the given name.
    #[must_use]
    pub fn get(&self, secret: &str) -> Option<&Arc<SecretVersion>> {
        self.secrets.get(secret)
    }

    /// Returns the secrets by name.
    #[must_use]
    pub fn secrets(&self) -> &BTreeMap<String, Arc<SecretVersion>> {
        &self.secrets
    }

    /// Returns the time since a later load replaced the set.
    pub(super) fn replaced_since(&self) -> Duration {
        self.replaced.elapsed()
    }

    /// Returns the end of the overlap. A monotonic instant: setting the clock neither ends nor
    /// prolongs an overlap.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Returns the last event that a secret of the set signed.
    #[must_use]
    pub fn last_match(&self) -> &LastEvent {
        &self.last_match
    }

    /// True until the overlap ends.
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        Instant::now() < self.until
    }

    /// Returns the secret versions in the order of names.
    pub(super) fn versions(&self) -> impl Iterator<Item = &SecretVersion> {
        self.secrets.values().map(Arc::as_ref)
    }

    /// True if both sets have the same secrets, for the same account.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.secrets.len() == other.secrets.len()
            && self.provider.authorizes_as(&other.provider)
            && self.secrets.iter().all(|(name, version)| {
                let theirs = other.secrets.get(name);
                theirs.is_some_and(|theirs| theirs.secret().same_as(version.secret()))
            })
    }

    /// True if the set equals the current secrets of `slots`, for the same account.
    pub(super) fn equals(&self, slots: &ByName<Slot>, provider: &Provider) -> bool {
        self.secrets.len() == slots.len()
            && self.provider.authorizes_as(provider)
            && self.secrets.iter().all(|(name, version)| {
                slots
                    .get(name)
                    .is_some_and(|slot| slot.current.secret().same_as(version.secret()))
            })
    }
}
