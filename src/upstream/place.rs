//! The place of one connection among the connections to upstreams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct UpstreamPlace {
    /// The number of places that are taken, over all upstreams of a kind.
    taken: &'static AtomicUsize,
    /// The number of places of the upstream.
    taken_by_upstream: Arc<AtomicUsize>,
}

impl UpstreamPlace {
    /// Counts a place.
    pub(super) fn take(taken: &'static AtomicUsize, taken_by_upstream: &Arc<AtomicUsize>) -> Self {
        taken.fetch_add(1, Ordering::Relaxed);
        taken_by_upstream.fetch_add(1, Ordering::Relaxed);
        Self {
            taken,
            taken_by_upstream: Arc::clone(taken_by_upstream),
        }
    }
}

impl Drop for UpstreamPlace {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.taken_by_upstream.fetch_sub(1, Ordering::Relaxed);
    }
}
