//! The reasons why a reference gives no secret.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::log::bounded;
use crate::secret::SecretError;

/// The reason why a reference gives no secret.
#[derive(Clone, Debug)]
pub enum SourceError {
    /// The environment variable is not set.
    NoVariable,
    /// `$CREDENTIALS_DIRECTORY` is not set: systemd gave this process no credentials.
    NoCredentialsDirectory,
    /// The file cannot be read.
    File(Arc<io::Error>),
    /// The path leads to a folder, socket or device.
    NotAFile,
    /// The source has more than 64 KiB.
    TooLarge,
    /// The files changed each time they were read.
    Unstable,
    /// The program cannot be started.
    Start(Arc<io::Error>),
    /// The program or secret manager gave no answer within this time.
    TimedOut(Duration),
    /// The program ended with a status other than 0.
    Failed {
        /// The status.
        status: std::process::ExitStatus,
        /// The first line of standard error, without secrets.
        complaint: Option<String>,
    },
    /// The file, which is no JSON object, has no line `NAME=value` for this field.
    NoField(String),
    /// The program or secret manager has not answered yet, and a load did not wait for it.
    Late,
    /// The content was read and lacks the value. Holds the reason.
    NoValue(String),
    /// The secret manager gave no value, for this reason.
    Manager(String),
    /// The bytes that were read cannot be a secret.
    Secret(SecretError),
    /// The reading was given up, because the process ends.
    Cancelled,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVariable => f.write_str("the environment variable is not set"),
            Self::NoCredentialsDirectory => {
                f.write_str("$CREDENTIALS_DIRECTORY is not set; give the unit LoadCredential=")
            }
            Self::File(error) => write!(f, "cannot be read: {error}"),
            Self::NotAFile => f.write_str("is not a regular file"),
            Self::TooLarge => write!(
                f,
                "is larger than a secret can be ({} KiB)",
                MAX_SIZE / 1024
            ),
            Self::Unstable => f.write_str("changed while it was read"),
            Self::Start(error) => write!(f, "cannot be started: {error}"),
            Self::TimedOut(time) => write!(f, "gave no answer within {} s", time.as_secs()),
            Self::Failed {
                status,
                complaint: Some(complaint),
            } => write!(f, "ended with {status}: {complaint}"),
            Self::Failed { status, .. } => write!(f, "ended with {status}"),
            Self::NoField(name) => write!(
                f,
                "is no JSON object, and has no line `{name}=value`, so it has no field `{name}`"
            ),
            Self::Late => f.write_str("has not answered yet: the answer is used once it is there"),
            Self::NoValue(problem) | Self::Manager(problem) => f.write_str(problem),
            Self::Secret(error) => fmt::Display::fmt(error, f),
            Self::Cancelled => f.write_str("was not read to the end"),
        }
    }
}

impl std::error::Error for SourceError {}

impl SourceError {
    /// True if the source was read, and holds no possible secret.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::File(error) => error.kind() == io::ErrorKind::NotFound,
            Self::NoField(_) | Self::NoValue(_) | Self::Secret(_) => true,
            _ => false,
        }
    }

    /// The error of a file that cannot be read.
    pub(super) fn unreadable(error: io::Error) -> Self {
        Self::File(Arc::new(error))
    }

    /// The error of a program that cannot be started.
    pub(super) fn not_started(error: io::Error) -> Self {
        Self::Start(Arc::new(error))
    }
}

/// Joins an error of a cloud's crate with its causes, each by its `Display`. The `Debug` of these
/// errors would print whole answers, secrets included.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let causes: Vec<_> = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    causes.join(": ")
}

/// Returns the reason that a secret manager gives, for a log line: without control characters, and
/// bounded.
pub(super) fn reason(given: &str) -> String {
    let shown = bounded(given, MAX_REASON);
    if shown.is_empty() {
        "no reason given".to_owned()
    } else {
        shown
    }
}

/// The characters of a reason that a log line shows: two lines of a terminal.
const MAX_REASON: usize = 200;
/// The largest secret, in bytes. The largest real ones are keys of some 4 KiB; a larger source is a
/// wrong path.
pub(super) const MAX_SIZE: usize = 64 * 1024;
