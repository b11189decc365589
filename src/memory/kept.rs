//! The bytes of kept answers, which give way to bodies.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of kept answers, and the way to give some of them back.
#[derive(Default)]
pub(super) struct KeptBytes {
    bytes: AtomicU64,
    give_back: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
}

impl KeptBytes {
    pub(super) fn register(&self, give_back: impl Fn(u64) + Send + Sync + 'static) {
        self.give_back.set(Box::new(give_back)).ok();
    }

    pub(super) fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Has the oldest answers forgotten until the others take no more than `bytes`, if they do.
    pub(super) fn shrink_to(&self, bytes: u64) {
        if let Some(give_back) = self.give_back.get().filter(|_| self.bytes() > bytes) {
            give_back(bytes);
        }
    }
}

impl fmt::Debug for KeptBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeptBytes").field(&self.bytes).finish()
    }
}
