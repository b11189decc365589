//! A slot: the versions of one secret that count at a time.

use std::sync::Arc;

use super::version::SecretVersion;
use crate::config::Reference;

/// The versions of one secret that the configuration lists.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The version that requests are sent with, from the first reference.
    pub current: Arc<SecretVersion>,
    /// The versions of the further references, accepted in signatures of webhooks.
    pub accepted: Vec<Arc<SecretVersion>>,
    /// The further references whose values are left out.
    pub left_out: Vec<LeftOut>,
}

/// A further reference with a value that plainly is no secret of its kind.
#[derive(Clone, Debug)]
pub struct LeftOut {
    pub(super) reference: Reference,
    pub(super) hint: &'static str,
}

impl Slot {
    /// Accepts one more version in signatures of webhooks.
    pub(super) fn accept(&mut self, version: &Arc<SecretVersion>) {
        let is_known = self
            .versions()
            .any(|known| known.secret().same_as(version.secret()));
        if !is_known {
            self.accepted.push(Arc::clone(version));
        }
    }

    /// Returns all versions, the current one first.
    pub fn versions(&self) -> impl Iterator<Item = &SecretVersion> {
        std::iter::once(&self.current)
            .chain(&self.accepted)
            .map(Arc::as_ref)
    }
}

/// The role of a secret version, seen from a webhook that was signed with that version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRole {
    /// The version that requests are sent with.
    Current,
    /// A version that the configuration lists after the current one.
    Accepted,
    /// A version that was replaced and is within its overlap. Holds the place among the previous
    /// secret sets: of the sets with the version, the one that ends last.
    Previous(usize),
}

impl SecretRole {
    /// Returns the role as metrics label it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Accepted => "accepted",
            Self::Previous(_) => "previous",
        }
    }
}
