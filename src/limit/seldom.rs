//! What is there seldom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Something that is nearly always empty: seeing that it is takes no lock. Each request asks for three of them.
#[derive(Debug)]
pub(super) struct Seldom<T> {
    is_empty: fn(&T) -> bool,
    is_there: AtomicBool,
    held: Mutex<T>,
}

impl<T> Seldom<T> {
    pub(super) fn new(held: T, is_empty: fn(&T) -> bool) -> Self {
        Self { is_empty, is_there: AtomicBool::new(!is_empty(&held)), held: Mutex::new(held) }
    }

    /// Looks at it, unless it is empty.
    pub(super) fn look<R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.is_there.load(Ordering::Acquire).then(|| self.change(look))
    }

    /// Changes it.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut held);
        self.is_there.store(!(self.is_empty)(&held), Ordering::Release);
        result
    }
}
