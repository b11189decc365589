//! Rotations that a process began and did not bring to their end, for status.

use std::time::SystemTime;

use parking_lot::Mutex;

/// The unfinished rotations of a credential. Reloads keep the state.
#[derive(Debug, Default)]
pub struct UnfinishedRotations(Mutex<Vec<UnfinishedRotation>>);

/// A rotation with a journal, but without a process at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedRotation {
    /// The secret as `keyside rotate` takes it: `NAME`, or `NAME.SECRET`.
    pub target: String,
    /// The command, or the key of the configuration, that began the rotation.
    pub author: &'static str,
    /// The time of the first step, or of the last one if the journal cannot be read.
    pub began: SystemTime,
    /// The place of the journal.
    pub journal: String,
    /// The reason why this process cannot read the journal; `None` for a readable journal.
    pub unread: Option<String>,
}

impl UnfinishedRotation {
    /// Returns the event, with the commands that bring the rotation to an end.
    #[must_use]
    pub fn concern(&self) -> String {
        let Self { target, author, .. } = self;
        match &self.unread {
            None => format!(
                "{author} of {target} was cut off, and two secrets may be alive: run `keyside rotate {target}` again to \
                 bring it to its end, or `keyside revoke {target}` to revoke what is not in place"
            ),
            Some(problem) => format!(
                "{author} of {target} may have been cut off, and two secrets may be alive: its journal {} cannot be read \
                 by this process: {problem}: run `keyside rotate {target}` again as the user who began it",
                self.journal
            ),
        }
    }
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
