//! The reasons for which no authority is made.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::document::shown_place;

/// The reason for which no authority is made.
#[derive(Debug)]
pub enum CaError {
    /// No provider of the configuration has a host with a name.
    NoHosts,
    /// The folder or a file cannot be read or written.
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A file in the way that `keyside ca` has not made.
    Foreign(PathBuf),
    /// The certificate or the key cannot be made.
    Generate(rcgen::Error),
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHosts => f.write_str(
                "no route has a provider with a host name, so there is nothing that a certificate could be for: add a \
                 [[route]] to the configuration, or name the right one with --config",
            ),
            Self::Io { path, error } => write!(
                f,
                "{}: {}: name a folder that this user may write",
                shown_place(&path.to_string_lossy()),
                error
            ),
            Self::Foreign(path) => write!(
                f,
                "{} is there already, and `keyside ca` has not made it: name another folder, or move the file away",
                shown_place(&path.to_string_lossy())
            ),
            Self::Generate(error) => write!(f, "the certificate cannot be made: {error}"),
        }
    }
}

impl std::error::Error for CaError {}

impl From<rcgen::Error> for CaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Generate(error)
    }
}
