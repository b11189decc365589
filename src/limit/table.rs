//! A table of limits, which forgets unused limits.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use tokio::time::Instant;

use super::limit::Limit;
use super::report::LimitUsage;

/// Limits by key: by name, or by pair.
#[derive(Debug, Default)]
pub(super) struct LimitTable<K, S = RandomState> {
    limits: HashMap<K, Arc<Limit>, S>,
    /// Number of limits at which unused limits are forgotten.
    sweep_at: usize,
}

impl<K: Eq + Hash + Clone, S: BuildHasher> LimitTable<K, S> {
    /// The limit of a key, if there is one.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<Limit>>
    where
        K: Borrow<Q>,
    {
        self.limits.get(key).map(Arc::clone)
    }

    /// The limit of a key; made if missing.
    pub(super) fn get_or_insert(&mut self, key: K, make: impl FnOnce() -> Limit) -> Arc<Limit> {
        self.sweep_from(self.sweep_at);
        let limit = self.limits.entry(key).or_insert_with(|| Arc::new(make()));
        Arc::clone(limit)
    }

    /// Forgets the limit of a key, if it is unused.
    pub(super) fn forget_unused(&mut self, key: &K) {
        let now = Instant::now();
        if self.get(key).is_some_and(|limit| limit.is_unused(now)) {
            self.limits.remove(key);
        }
    }

    /// True if a further key may have a limit.
    pub(super) fn has_room(&mut self) -> bool {
        self.sweep_from(MAX_LIMITS);
        self.limits.len() < MAX_LIMITS
    }

    /// Forgets unused limits, if there are at least `count` limits.
    fn sweep_from(&mut self, count: usize) {
        if self.limits.len() < count {
            return;
        }
        let now = Instant::now();
        self.limits
            .retain(|_, limit| Arc::strong_count(limit) > 1 || !limit.is_unused(now));
        self.sweep_at = (2 * self.limits.len()).max(MIN_SWEEP);
    }

    /// The limits with their keys. A lock over the table can end with the call: a thread that looks
    /// at thousands of limits holds up no request.
    pub(super) fn all(&self) -> Vec<(K, Arc<Limit>)> {
        let limits = self.limits.iter();
        limits
            .map(|(key, limit)| (key.clone(), Arc::clone(limit)))
            .collect()
    }
}

/// Use of all the limits of a table.
pub(super) fn usage<K>(limits: Vec<(K, Arc<Limit>)>) -> LimitUsage {
    let mut usage = LimitUsage::default();
    for (_, limit) in limits {
        usage.add(&limit.status());
    }
    usage
}

/// Number of limits below which no sweep runs: a sweep at each new key would cost more than it
/// frees.
pub(super) const MIN_SWEEP: usize = 1024;
/// Most limits of a table. No account has as many senders: an application with invented senders
/// fills a bounded table. A provider that pauses so many pairs at once has a bigger problem, and
/// the provider's refusals still reach the applications.
pub(super) const MAX_LIMITS: usize = 10_000;
