//! Rotations that a process began and did not bring to their end, for status.

use std::time::SystemTime;

use parking_lot::Mutex;

/// The unfinished rotations of a credential. Reloads keep the state.
#[derive(Debug, Default)]
pub struct UnfinishedRotations(Mutex<Vec<UnfinishedRotation>>);

/// A rotation whose journal is there, though no process works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedRotation {
    /// The secret as `keyside rotate` takes it: `NAME`, or `NAME.SECRET`.
    pub target: String,
    /// The command, or the key of the configuration, that began the rotation.
    pub author: &'static str,
    /// The time of the first step.
    pub began: SystemTime,
    /// The place of the journal.
    pub journal: String,
}

impl UnfinishedRotations {
    /// Replaces the rotations by those that were found now. Returns the rotations before.
    pub fn replace(&self, found: Vec<UnfinishedRotation>) -> Vec<UnfinishedRotation> {
        std::mem::replace(&mut *self.0.lock(), found)
    }

    /// Returns the rotations.
    #[must_use]
    pub fn all(&self) -> Vec<UnfinishedRotation> {
        self.0.lock().clone()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
