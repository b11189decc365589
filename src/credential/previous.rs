//! What was sent until it was replaced, for as long as it may still be needed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::access::Access;
use super::{Credential, Held, Slot};

/// The secrets that were current together, until others were.
#[derive(Clone, Debug)]
pub struct Previous {
    secrets: BTreeMap<String, Arc<Held>>,
    pub(super) access: Arc<Access>,
    until: Instant,
}

impl Previous {
    /// The secret of this name.
    #[must_use]
    pub fn get(&self, secret: &str) -> Option<&Arc<Held>> {
        self.secrets.get(secret)
    }

    /// Its secrets by name.
    #[must_use]
    pub fn secrets(&self) -> &BTreeMap<String, Arc<Held>> {
        &self.secrets
    }

    /// When it stops being of use. Not a time of day: a clock that is set neither ends nor revives it.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether it is still of use.
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        Instant::now() < self.until
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.secrets.values().map(Arc::as_ref)
    }

    fn is_as(&self, slots: &BTreeMap<String, Slot>) -> bool {
        self.secrets.len() == slots.len()
            && self
                .secrets
                .iter()
                .all(|(name, held)| slots.get(name).is_some_and(|slot| slot.current.secret().same_as(held.secret())))
    }
}

/// Whether `slots` send what `before` sends.
pub(super) fn are_current(before: &Credential, slots: &BTreeMap<String, Slot>) -> bool {
    current(before).is_as(slots)
}

/// The access tokens of `slots`, where `before` has had the same secrets.
pub(super) fn access(before: &Credential, slots: &BTreeMap<String, Slot>) -> Option<Arc<Access>> {
    let all = std::iter::once(current(before)).chain(before.previous.iter().cloned());
    all.into_iter().find(|previous| previous.is_as(slots)).map(|previous| previous.access)
}

/// What is previous once `slots` take the place of `before`, the latest first.
pub(super) fn after(before: &Credential, slots: &BTreeMap<String, Slot>, overlap: Duration) -> Vec<Previous> {
    let replaced = Previous { until: Instant::now() + overlap, ..current(before) };
    // What the provider refused comes behind what it took in its place.
    let (taken, earlier) = before.previous.split_at(usize::from(before.sent().is_previous()));
    let all = taken.iter().chain([&replaced]).chain(earlier);
    // What is current (again) is not previous.
    all.filter(|previous| previous.is_in_time() && !previous.is_as(slots)).take(MOST).cloned().collect()
}

fn current(credential: &Credential) -> Previous {
    let held = credential.slots.iter().map(|(name, slot)| (name.clone(), Arc::clone(&slot.current)));
    Previous { secrets: held.collect(), access: Arc::clone(&credential.access), until: Instant::now() }
}

/// Enough for a rotation that goes wrong twice; more would only keep what nobody needs.
const MOST: usize = 4;
