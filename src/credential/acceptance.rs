//! The provider's acceptance of a credential's secret sets, as the answers to requests show.

use std::sync::atomic::{AtomicBool, Ordering};

/// The provider's acceptance of a credential's secret sets, learned from traffic.
///
/// Every load begins with a fresh `Acceptance`: the newest secrets are tried first again. The flags are
/// independent of each other, so relaxed ordering is enough.
#[derive(Debug, Default)]
pub struct Acceptance {
    fell_back: AtomicBool,
    /// True if requests fell back because the newest secret set may do too little.
    too_little: AtomicBool,
    refused: AtomicBool,
    /// True once the provider was asked for the reason of the refusals of now.
    asked: AtomicBool,
    objected: AtomicBool,
}

impl Acceptance {
    /// Creates a copy, for a credential whose secrets stay in use over a load.
    pub(super) fn copy(&self) -> Self {
        Self {
            fell_back: AtomicBool::new(self.fell_back()),
            too_little: AtomicBool::new(self.may_do_too_little()),
            refused: AtomicBool::new(self.is_refused()),
            asked: AtomicBool::new(self.asked.load(Ordering::Relaxed)),
            objected: AtomicBool::new(self.objected.load(Ordering::Relaxed)),
        }
    }

    /// True while requests are sent with the previous secret set, because the provider refuses the newest.
    #[must_use]
    pub fn fell_back(&self) -> bool {
        self.fell_back.load(Ordering::Relaxed)
    }

    /// True while requests are sent with the previous secret set because the newest may do too little.
    #[must_use]
    pub fn may_do_too_little(&self) -> bool {
        self.fell_back() && self.too_little.load(Ordering::Relaxed)
    }

    /// Records that the newest secret set may do too little. The fallback then outlives loads with equal secrets:
    /// a permission error blames a secret only just after its change, so a later one would go to the application.
    pub fn note_too_little(&self) {
        self.too_little.store(true, Ordering::Relaxed);
    }

    /// True after the provider has refused every secret set at hand, until the next accepted request.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Records that the provider accepted the newest secret set. Returns true if requests fell back before.
    pub(super) fn use_newest(&self) -> bool {
        self.accept();
        self.too_little.store(false, Ordering::Relaxed);
        self.fell_back.swap(false, Ordering::Relaxed)
    }

    /// Records that the provider accepted the previous secret set. Returns true if the newest was sent before.
    pub(super) fn fall_back(&self) -> bool {
        self.accept();
        !self.fell_back.swap(true, Ordering::Relaxed)
    }

    fn accept(&self) {
        self.refused.store(false, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// True once after the provider has refused every secret set at hand: the provider can then be asked why.
    #[must_use]
    pub fn wants_reason(&self) -> bool {
        self.is_refused() && !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Records that the provider objects to the messages (a policy error). Returns true for the first time.
    pub fn note_objection(&self) -> bool {
        !self.objected.swap(true, Ordering::Relaxed)
    }

    /// Records that the provider refused every secret set at hand. Returns true for the first time.
    pub fn note_refusal(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }
}
