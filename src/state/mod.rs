//! The folder of `[state] dir`, whose contents outlive a restart: sealed entries, and first sights
//! of secrets.
//!
//! - [`SealedStore`] holds entries with secrets. It exists only where `[state] key` leads to a key.
//! - [`Sights`] keeps the time at which each secret was first seen, by a hash under a key.
//!
//! A fault of the folder, of a key or of an entry never stops a sidecar: [`State::problems`] lists
//! the fault, and the content of the folder stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

mod entry;
mod error;
mod folder;
mod key;
mod lock_file;
mod moment;
mod sealed;
mod sights;

pub use entry::EntryName;
pub use error::StateError;
use folder::StateFolder;
pub use key::WeakKey;
pub use lock_file::open_lock;
pub use moment::{Left, Moment};
pub use sealed::SealedStore;
use sights::SightKeys;
pub use sights::{SightKind, Sights};

use crate::secret::{Fingerprint, Secret};

/// The folder of the state, as far as it can be used.
#[derive(Debug)]
pub struct State {
    folder: StateFolder,
    dir: PathBuf,
    /// The secrets of the keys, as fingerprints, to notice other keys.
    key_fingerprints: Vec<Fingerprint>,
    sealed: Option<SealedStore>,
    sight_keys: SightKeys,
    problems: Mutex<BTreeMap<String, StateProblem>>,
    strays: Mutex<Vec<StrayEntry>>,
    /// Held by the only thread of the process at work with the folder.
    turn: Mutex<()>,
}

impl State {
    /// Makes the state of the folder `dir`, with the keys from `secrets`, the current one first.
    /// Nothing is read or written yet.
    #[must_use]
    pub fn new(dir: &Path, secrets: &[&Secret]) -> Self {
        let mut problems = BTreeMap::new();
        let keys = SealedStore::keys(secrets.iter().copied()).unwrap_or_else(|weak| {
            let problem = StateProblem::of_key(format!("state.key: {weak}"));
            problems.insert(KEY.to_owned(), problem);
            None
        });
        let folder = StateFolder::new(dir);
        Self {
            sight_keys: SightKeys::new(keys.as_ref()),
            sealed: keys.map(|keys| SealedStore::new(folder.clone(), keys)),
            folder,
            dir: dir.to_owned(),
            key_fingerprints: secrets.iter().map(|secret| secret.fingerprint()).collect(),
            problems: Mutex::new(problems),
            strays: Mutex::default(),
            turn: Mutex::new(()),
        }
    }

    /// Returns the reason against deriving a key from a secret.
    #[must_use]
    pub fn weakness(secret: &Secret) -> Option<WeakKey> {
        SealedStore::keys([secret]).err()
    }

    /// Notes that the key cannot be read, for the given reason.
    #[must_use]
    pub fn without_key(self, reason: String) -> Self {
        let problem = StateProblem::of_key(reason);
        self.problems.lock().insert(KEY.to_owned(), problem);
        self
    }

    /// True if the state is of this folder and these keys.
    #[must_use]
    pub fn is_of(&self, dir: &Path, secrets: &[&Secret]) -> bool {
        let fingerprints = secrets.iter().map(|secret| secret.fingerprint());
        self.dir == dir && self.key_fingerprints.iter().copied().eq(fingerprints)
    }

    /// True if a key was derived from the secret with this fingerprint.
    #[must_use]
    pub fn has_key(&self, fingerprint: Fingerprint) -> bool {
        self.key_fingerprints.contains(&fingerprint)
    }

    /// Does work with the folder, after the thread at work; `None` if the thread at work takes too
    /// long: on a hanging disk, no threads gather.
    pub fn exclusively<T>(&self, work: impl FnOnce(&Self) -> T) -> Option<T> {
        let _turn = self.turn.try_lock_for(MAX_TURN_WAIT)?;
        Some(work(self))
    }

    /// Notes that the disk does not answer.
    pub fn note_silence(&self) {
        let silent = StateError::Silent {
            path: self.dir.clone(),
        };
        self.note::<()>(FOLDER, Err(silent));
    }

    /// Gets the folder ready for use: sees that it can be written, and seals anew what an older key
    /// has sealed.
    pub fn prepare(&self) {
        self.note(FOLDER, self.folder.probe());
        let Some(sealed) = &self.sealed else {
            return;
        };
        for name in self.note(ENTRIES, sealed.all_names()).unwrap_or_default() {
            self.note(&name.to_string(), sealed.reseal(&name));
        }
    }

    /// Checks, without a change to the folder, that the folder can be written and each entry be
    /// opened.
    pub fn check(&self) {
        self.note(FOLDER, self.folder.check());
        let Some(sealed) = &self.sealed else {
            return;
        };
        for name in self.note(ENTRIES, sealed.all_names()).unwrap_or_default() {
            self.note(&name.to_string(), sealed.get(&name));
        }
    }

    /// Returns the entries that hold secrets; `None` without a usable key.
    #[must_use]
    pub fn sealed(&self) -> Option<&SealedStore> {
        self.sealed.as_ref()
    }

    /// Returns the keys from which the spool derives the keys of its records, the current one
    /// first; none without a usable key.
    pub fn spool_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.sealed.iter().flat_map(SealedStore::spool_keys)
    }

    /// Returns the first sights of secrets.
    #[must_use]
    pub fn sights(&self) -> Sights {
        let read = self.sight_keys.read(&self.folder);
        self.note(SIGHTS, read).unwrap_or_default()
    }

    /// Keeps the first sights of the secrets in use.
    pub fn record_sights<'s>(
        &self,
        used: impl Iterator<Item = (&'s Secret, SightKind, SystemTime)>,
        now: SystemTime,
    ) {
        let recorded = self.sight_keys.record(&self.folder, used, now);
        self.note(SIGHTS, recorded);
    }

    /// Returns the kept nonces of events; nothing if there are none.
    #[must_use]
    pub fn nonces(&self) -> Vec<u8> {
        let read = self.note(NONCES, self.folder.read(NONCES_FILE));
        let kept = read.flatten().map(|kept| kept.to_vec());
        kept.unwrap_or_default()
    }

    /// Keeps nonces of events: `merged` makes the bytes to keep of the bytes in the folder.
    pub fn keep_nonces(&self, merged: impl FnOnce(&[u8]) -> Vec<u8>) {
        let keep = || {
            let locked = self.folder.lock()?;
            let before = match self.folder.read(NONCES_FILE) {
                // A file that Keyside has not written stays, under another name.
                Err(StateError::TooLarge { .. }) => {
                    locked.set_aside(NONCES_FILE)?;
                    None
                }
                read => read?,
            };
            let before = before.map(|before| before.to_vec()).unwrap_or_default();
            let merged = merged(&before);
            if merged == before {
                Ok(())
            } else {
                locked.write(NONCES_FILE, &merged)
            }
        };
        self.note(NONCES, keep());
    }

    /// Returns the folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Notes a problem with a subject, such as the name of an entry, or the end of the problem. Of
    /// an unusable folder, the first fault is logged: the faults of the entries follow from the
    /// folder's fault.
    pub fn note<T>(&self, subject: &str, result: Result<T, StateError>) -> Option<T> {
        let mut problems = self.problems.lock();
        match result {
            Ok(value) => {
                problems.remove(subject);
                Some(value)
            }
            Err(error) => {
                let problem = StateProblem::of(&error);
                let is_logged = |known: &StateProblem| {
                    *known == problem || (known.is_of_folder && problem.is_of_folder)
                };
                if !problems.values().any(is_logged) {
                    tracing::error!("{}", problem.text);
                }
                problems.insert(subject.to_owned(), problem);
                None
            }
        }
    }

    /// Returns the problems, and the entries that need a person, each as a line for people.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let strays = self.strays().into_iter().map(|stray| stray.concern);
        self.faults().into_iter().chain(strays).collect()
    }

    /// Returns the problems with folder and key, each as a line for people. Of an unusable folder,
    /// the faults of the entries are left out: these follow from the folder's fault.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let problems = self.problems.lock();
        let is_unusable = problems.get(FOLDER).is_some_and(|it| it.is_of_folder);
        let shown = problems.iter().filter(|(subject, problem)| {
            *subject == FOLDER || !(is_unusable && problem.is_of_folder)
        });
        shown.map(|(_, problem)| problem.text.clone()).collect()
    }

    /// Replaces the entries that need a person by the newly found entries. Returns the entries
    /// before.
    pub fn replace_strays(&self, found: Vec<StrayEntry>) -> Vec<StrayEntry> {
        std::mem::replace(&mut *self.strays.lock(), found)
    }

    /// Returns the entries of no configured credential that somebody has to act on.
    #[must_use]
    pub fn strays(&self) -> Vec<StrayEntry> {
        self.strays.lock().clone()
    }

    /// Returns what is wrong with the key, as a line for people.
    #[must_use]
    pub fn key_problem(&self) -> Option<String> {
        let problems = self.problems.lock();
        problems.get(KEY).map(|problem| problem.text.clone())
    }
}

/// An entry of a credential that the configuration does not have, with secrets that may be alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayEntry {
    /// The name of the credential, when the entry was written.
    pub credential: String,
    /// The matter and the remedy, as a line for people.
    pub concern: String,
}

/// A problem with a subject of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StateProblem {
    /// The problem as a line for people.
    text: String,
    /// True if the system refuses the folder, or a file in the folder.
    is_of_folder: bool,
}

impl StateProblem {
    fn of(error: &StateError) -> Self {
        Self {
            text: error.to_string(),
            is_of_folder: matches!(error, StateError::Folder { .. }),
        }
    }

    fn of_key(text: String) -> Self {
        Self {
            text,
            is_of_folder: false,
        }
    }
}

/// The longest wait of a thread for the thread at work: as long as the wait for the folder's lock
/// (2 s) and a slow sync. At a hanging disk, threads give up before many of them gather.
const MAX_TURN_WAIT: Duration = Duration::from_secs(4);
/// The subject of problems with the key.
const KEY: &str = "key";
/// The subject of problems with the folder.
const FOLDER: &str = "folder";
/// The subject of problems with the list of entries: a folder can be listed that cannot be written.
const ENTRIES: &str = "entries";

/// The subject of problems with the nonces of events.
const NONCES: &str = "nonces";
/// The file with the nonces of events. Nonces are no secrets, and only hashes of them are kept.
const NONCES_FILE: &str = "nonces";

/// The subject of problems with the first sights.
const SIGHTS: &str = "first sights";

#[cfg(test)]
mod tests;
