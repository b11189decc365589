//! The reasons why a secret was not written to its place.

use std::fmt;

use super::error::SourceError;

/// The reason why a secret was not written, or may not have been written.
#[derive(Debug)]
pub enum PlaceError {
    /// The place holds an unexpected value, from a different writer. The new secret is not in the
    /// place.
    Changed,
    /// The place is as it was, for the given reason.
    NotWritten(PlaceFault),
    /// The secret may be in its place: the answer is lost, or no proof exists. Reading the place
    /// gives the answer.
    Unknown(PlaceFault),
}

/// The fault of a place, with advice.
#[derive(Debug)]
pub enum PlaceFault {
    /// The reference names a place that Keyside cannot write. Holds the advice.
    ReadOnly(&'static str),
    /// The present value cannot be read.
    Read(SourceError),
    /// The file or its folder cannot be written.
    File(std::io::Error),
    /// The file is a mount point.
    Mounted,
    /// The folder is locked: a second process replaces a file there.
    Busy,
    /// The manager refuses, or does not answer.
    Manager(String),
    /// The program fails.
    Program(SourceError),
    /// The manager answers no question for the right to write: only a write proves the right. Holds
    /// the reason.
    Unchecked(&'static str),
}

impl PlaceError {
    /// An error of a write that did not happen.
    pub(super) fn unread(error: SourceError) -> Self {
        Self::NotWritten(PlaceFault::Read(error))
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str(
                "the place does not hold the expected value: somebody else has written meanwhile",
            ),
            Self::NotWritten(fault) => fmt::Display::fmt(fault, f),
            Self::Unknown(fault @ PlaceFault::Unchecked(_)) => fmt::Display::fmt(fault, f),
            Self::Unknown(fault) => {
                write!(f, "{fault}; the new value may be in place nevertheless")
            }
        }
    }
}

impl fmt::Display for PlaceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly(advice) => write!(f, "cannot be written: {advice}"),
            Self::Read(error) => write!(f, "nothing was written: {error}"),
            Self::File(error) => {
                write!(f, "cannot be written: {error}")?;
                match advice(error) {
                    Some(advice) => write!(f, "; {advice}"),
                    None => Ok(()),
                }
            }
            Self::Mounted => f.write_str(
                "cannot be written: the file is mounted by itself (a bind mount of one file, or a subPath), so it cannot be \
                 replaced from here; mount its folder",
            ),
            Self::Busy => f.write_str(
                "cannot be written: another process is replacing a secret in this folder; try again",
            ),
            Self::Manager(problem) => f.write_str(problem),
            Self::Program(error) => write!(f, "the program {error}"),
            Self::Unchecked(reason) => write!(f, "only a write can tell: {reason}"),
        }
    }
}

impl std::error::Error for PlaceError {}

/// Returns what to do about an error of the file system, where the error alone gives no remedy.
fn advice(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => Some(
            "it is mounted read-only: write it where it comes from, and name that place with `place` or --place",
        ),
        ErrorKind::PermissionDenied => Some(
            "the folder must be writable for this user, and the owner of the file must be this user",
        ),
        ErrorKind::ResourceBusy => Some("the file is mounted by itself; mount its folder"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("make room"),
        _ => None,
    }
}
