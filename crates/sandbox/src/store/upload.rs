//! Sessions of resumable uploads.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The upload sessions, by name.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Progress>>);

/// The progress of an upload, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// The length of the whole file.
    pub(crate) length: u64,
    /// The bytes that have arrived.
    pub(crate) received: u64,
}

impl Uploads {
    /// Sets the progress of a session; a new session beyond [`MAX_SESSIONS`] drops all others.
    pub(crate) fn set(&self, session: &str, progress: Progress) {
        let mut sessions = self.0.lock();
        if sessions.len() >= MAX_SESSIONS && !sessions.contains_key(session) {
            sessions.clear();
        }
        sessions.insert(session.to_owned(), progress);
    }

    /// Returns the progress of a session.
    pub(crate) fn get(&self, session: &str) -> Option<Progress> {
        self.0.lock().get(session).copied()
    }
}

/// The sessions that are remembered: a bound for a process that runs for days.
const MAX_SESSIONS: usize = 1000;
