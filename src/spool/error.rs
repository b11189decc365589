//! The errors of the spool.

use std::fmt;
use std::path::PathBuf;

use super::footing::MadeUp;
use super::record::RecordError;

/// A failed step of the store. Whatever failed, the transaction counts as a whole or not at all.
#[derive(Debug)]
pub enum StoreError {
    /// The engine failed, or the disk below it.
    Engine(Box<redb::Error>),
    /// The engine gave up in the middle of a step.
    Panic,
    /// A record cannot be read or written.
    Record(RecordError),
    /// The file has a form that came after this version of Keyside.
    Newer(u8),
    /// The open file was removed or moved.
    Removed,
    /// The open file was removed or moved, and a different file has the place.
    Replaced,
}

impl StoreError {
    /// True if the file itself is damaged, rather than the way to it.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Engine(error) => match &**error {
                redb::Error::Corrupted(_) => true,
                redb::Error::Io(error) => matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                ),
                _ => false,
            },
            Self::Panic => true,
            Self::Record(_) | Self::Newer(_) | Self::Removed | Self::Replaced => false,
        }
    }

    /// True if the file system takes no writes.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::Engine(error) if matches!(
            &**error,
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem
        ))
    }

    /// True if the text says what to do.
    pub(super) fn has_remedy(&self) -> bool {
        matches!(self, Self::Newer(_) | Self::Replaced)
    }

    /// True if the disk failed, which a later attempt may find in order: the disk is full, or gives
    /// an error.
    pub(super) fn is_of_disk(&self) -> bool {
        match self {
            Self::Engine(error) => match &**error {
                redb::Error::Io(error) => !is_lasting(error),
                redb::Error::PreviousIo => true,
                _ => false,
            },
            Self::Panic | Self::Record(_) | Self::Newer(_) | Self::Removed | Self::Replaced => {
                false
            }
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => write!(f, "the store failed: {error}"),
            Self::Panic => {
                f.write_str("the store gave up in the middle of a step: its file is damaged")
            }
            Self::Record(error) => error.fmt(f),
            Self::Newer(version) => write!(
                f,
                "a newer version of Keyside wrote the file (form {version}): run that version, or name another `[spool] dir`"
            ),
            Self::Removed => f.write_str(
                "the store's file was removed or moved from `[spool] dir` while it was open",
            ),
            Self::Replaced => f.write_str(
                "a different file is in the place of the store's open file: move it away, and the spool goes on with what \
                 waits; a restart uses it, and what waits is lost",
            ),
        }
    }
}

impl std::error::Error for StoreError {}

/// True for an error of the system that time does not mend: the configuration names the wrong
/// place, or a place of another user.
pub(super) fn is_lasting(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported
    )
}

macro_rules! from_engine {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Engine(Box::new(error.into()))
            }
        })*
    };
}
from_engine!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    DatabaseError,
    SetDurabilityError
);

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Engine(Box::new(redb::Error::Io(error)))
    }
}

impl From<RecordError> for StoreError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// The reason why a spool cannot be opened.
#[derive(Debug)]
pub enum SpoolError {
    /// The folder cannot be made or used.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The folder lies in a file system that keeps nothing.
    MadeUp {
        /// The folder.
        path: PathBuf,
        /// The file system.
        found: MadeUp,
    },
    /// The file cannot be opened.
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The place of the file holds something else than a file.
    NoFile {
        /// The place.
        path: PathBuf,
    },
    /// The spool is open in a second process.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The store cannot be opened.
    Store {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: StoreError,
    },
}

impl SpoolError {
    /// Returns the error for a store that cannot be opened.
    pub(super) fn of_opening(path: PathBuf, error: StoreError) -> Self {
        let StoreError::Engine(engine) = error else {
            return Self::Store { path, error };
        };
        match *engine {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::File { path, error }
            }
            other => Self::Store {
                path,
                error: StoreError::Engine(Box::new(other)),
            },
        }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path, error } => {
                write!(
                    f,
                    "`{}` cannot be used as `[spool] dir`: {error}",
                    path.display()
                )
            }
            Self::MadeUp { path, found } => write!(
                f,
                "`{}` cannot be used as `[spool] dir`: the kernel makes up the files of {} ({}), and keeps none: name a folder \
                 on a disk",
                path.display(),
                found.point.display(),
                found.kind
            ),
            Self::File { path, error } => write!(
                f,
                "`{}` cannot be opened: {error}: {}",
                path.display(),
                match error.kind() {
                    std::io::ErrorKind::ReadOnlyFilesystem =>
                        "mount the volume of `[spool] dir` for writing",
                    _ => "`[spool] dir` and its files must belong to the user of the sidecar",
                }
            ),
            Self::NoFile { path } => write!(
                f,
                "`{}` is no regular file: move it away, and the spool makes its file there",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "`{}` is in use by another process: each sidecar needs a `[spool] dir` of its own",
                path.display()
            ),
            Self::Store { path, error } => write!(f, "`{}`: {error}", path.display()),
        }
    }
}

impl std::error::Error for SpoolError {}

/// The reason why the spool does not take an event or an order now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpoolRefusal {
    /// The spool holds as much as `max_size` allows.
    Full,
    /// The disk has no room but the reserve for the outcomes of deliveries.
    DiskFull,
    /// More events wait to be written than memory may hold.
    Busy,
    /// The store failed and is being opened again.
    Broken,
    /// The webhook has no destination.
    NoDestination,
    /// A key is configured that seals records, and cannot be had.
    NoKey,
    /// The spool is closed.
    Closed,
}

impl SpoolRefusal {
    /// True where the spool takes no event of any webhook.
    #[must_use]
    pub fn is_of_all_webhooks(self) -> bool {
        !matches!(self, Self::NoDestination)
    }
}

impl fmt::Display for SpoolRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the spool holds as much as `[spool] max_size` allows",
            Self::DiskFull => {
                "the disk of `[spool] dir` is full but for a reserve, with which waiting events are delivered"
            }
            Self::Busy => {
                "more events wait to be written than memory may hold: the disk is too slow"
            }
            Self::Broken => "the spool's store failed and is being opened again",
            Self::NoDestination => "the webhook has no destination for its events",
            Self::NoKey => "the key of `[state] key`, which seals events, cannot be had",
            Self::Closed => "the spool is closed",
        })
    }
}

impl std::error::Error for SpoolRefusal {}
