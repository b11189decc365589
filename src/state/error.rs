//! The reasons why an entry of the state folder cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The reason why the state folder, or an entry in it, cannot be used. Nothing is deleted in any of
/// these cases.
#[derive(Debug)]
pub enum StateError {
    /// The folder cannot be made, read or written.
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The lock is held for too long by a second process.
    Busy {
        /// The file with the lock.
        path: PathBuf,
    },
    /// The disk does not answer.
    Silent {
        /// The folder.
        path: PathBuf,
    },
    /// An entry is sealed with a key that is not configured.
    OtherKey {
        /// The name of the entry.
        entry: String,
    },
    /// An entry is no sealed entry, was changed, or belongs under another name.
    Damaged {
        /// The name of the entry.
        entry: String,
    },
    /// An entry is larger than any that Keyside writes.
    TooLarge {
        /// The name of the entry.
        entry: String,
    },
    /// The cipher failed, which no known cause explains.
    Cipher,
}

impl StateError {
    /// Makes the error of a file from an error of the system.
    pub(super) fn of(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Folder { path, error }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path, error } => {
                let path = path.display();
                write!(
                    f,
                    "state.dir: {path} cannot be used: {error}, expected a folder that Keyside may write"
                )
            }
            Self::Busy { path } => write!(
                f,
                "state.dir: another process has held the lock {} for seconds: is a Keyside stopped in the middle?",
                path.display()
            ),
            Self::Silent { path } => write!(
                f,
                "state.dir: the disk of {} does not answer: nothing is kept until it does",
                path.display()
            ),
            Self::OtherKey { entry } => write!(
                f,
                "state.key: the entry `{entry}` is sealed with another key: list the key of before second, as in \
                 key = [\"NEW\", \"OLD\"]; the entry stays as it is"
            ),
            Self::Damaged { entry } => write!(
                f,
                "state.dir: the entry `{entry}` is damaged: it was changed, cut or renamed; the file stays as it is, \
                 remove it to begin anew"
            ),
            Self::TooLarge { entry } => write!(
                f,
                "state.dir: the entry `{entry}` is larger than any that Keyside writes: the file is not read"
            ),
            Self::Cipher => f.write_str("state.key: the cipher failed"),
        }
    }
}

impl std::error::Error for StateError {}
