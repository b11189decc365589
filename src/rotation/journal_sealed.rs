//! A journal as a sealed entry of the state folder.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::journal::JournalError;
use super::journal_file::{MAX_ATTEMPTS, RETRY_INTERVAL};
use super::record::Record;
use crate::state::{EntryName, SealedStore, State, open_lock};

/// An open journal. The lock lasts until the journal is dropped, so that one process at a time
/// works on a rotation.
pub(super) struct SealedJournal {
    state: Arc<State>,
    name: String,
    _lock: File,
}

impl SealedJournal {
    /// Opens the journal of the given name.
    ///
    /// # Errors
    /// If another process works on the rotation, or the folder cannot be written.
    pub(super) fn open(state: &Arc<State>, name: &str) -> Result<Self, JournalError> {
        let path = lock_path(state, name);
        let open = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(state.dir())?;
            open_lock(&path)
        };
        let fault = |error| JournalError::File {
            path: path.clone(),
            error,
        };
        let lock = open().map_err(fault)?;
        for _ in 0..MAX_ATTEMPTS {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        state: Arc::clone(state),
                        name: name.to_owned(),
                        _lock: lock,
                    });
                }
                // A peek holds the lock for a moment.
                Err(Errno::WOULDBLOCK) => std::thread::sleep(RETRY_INTERVAL),
                Err(error) => return Err(fault(error.into())),
            }
        }
        Err(JournalError::Busy)
    }

    /// Returns the record of the journal, if there is one, without opening the journal for work.
    ///
    /// # Errors
    /// If a process works on the rotation now, or the journal cannot be read.
    pub(super) fn peek(state: &State, name: &str) -> Result<Option<Record>, JournalError> {
        // The lock outlives the rotation: without the file, no rotation ever began.
        if let Ok(lock) = File::open(lock_path(state, name))
            && flock(&lock, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
        {
            return Err(JournalError::Busy);
        }
        Self::read(state, name)
    }

    /// Returns the record of the journal, if there is one.
    pub(super) fn read(state: &State, name: &str) -> Result<Option<Record>, JournalError> {
        let sealed = store(state)?
            .get(&entry(name))
            .map_err(JournalError::State)?;
        let Some(line) = sealed else {
            return Ok(None);
        };
        match Record::of_line(line.trim_ascii_end()) {
            Some(record) => Ok(Some(record)),
            None => Err(JournalError::NoRecord {
                journal: shown(state, name),
            }),
        }
    }

    /// Returns the names of all journals in the folder.
    pub(super) fn names(state: &State) -> Result<Vec<String>, JournalError> {
        let names = store(state)?.names(KIND).map_err(JournalError::State)?;
        Ok(names.iter().map(|name| name.owner().to_owned()).collect())
    }

    /// Returns the path of the journal of the given name.
    pub(super) fn path(state: &State, name: &str) -> PathBuf {
        state.dir().join(entry(name).file())
    }

    pub(super) fn own_path(&self) -> PathBuf {
        Self::path(&self.state, &self.name)
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), JournalError> {
        store(&self.state)?
            .put(&entry(&self.name), &record.to_line())
            .map_err(JournalError::State)
    }

    pub(super) fn remove(&self) -> Result<(), JournalError> {
        store(&self.state)?
            .remove(&entry(&self.name))
            .map_err(JournalError::State)
    }
}

impl fmt::Display for SealedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.state, &self.name))
    }
}

/// Returns a journal as messages name it.
pub(super) fn shown(state: &State, name: &str) -> String {
    format!("{name}, sealed in {}", state.dir().display())
}

fn store(state: &State) -> Result<&SealedStore, JournalError> {
    state
        .sealed()
        .ok_or_else(|| JournalError::NoKey(state.problems()))
}

fn lock_path(state: &State, name: &str) -> PathBuf {
    state.dir().join(format!("{KIND}-{name}.lock"))
}

fn entry(name: &str) -> EntryName {
    EntryName::new(KIND, name)
}

/// The kind of the entries.
const KIND: &str = "rotation";
