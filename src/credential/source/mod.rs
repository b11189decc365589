//! Where secrets live: reads what references name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod document;
mod exec;
mod file;
#[cfg(feature = "gcp")]
mod gcp;
mod managers;
mod vault;

pub use file::{Digests, check_replaceable, digests, replace};
pub use managers::{Known, Managers};

use crate::config::Reference;
use crate::secret::{Secret, SecretError, has_byte_order_mark};

/// A secret as it was found.
pub struct Found {
    /// The value.
    pub secret: Arc<Secret>,
    /// When it came to be there, where the place says so.
    pub since: Option<SystemTime>,
    /// What is odd about it but no reason to refuse it.
    pub warnings: Vec<&'static str>,
}

/// The bytes that a reference led to.
struct Raw {
    bytes: Zeroizing<Vec<u8>>,
    since: Option<SystemTime>,
    warning: Option<&'static str>,
}

/// What references led to.
pub type Findings = BTreeMap<Reference, Result<Found, SourceError>>;

/// What was read, at one moment.
#[derive(Default)]
pub struct Reading {
    /// What each reference led to.
    pub findings: Findings,
    /// What the files among them said: of the same bytes, so that no change falls between the two.
    pub digests: Digests,
}

/// Reads all `references`, each once, the files as of one moment.
pub async fn read_all(references: BTreeSet<Reference>, managers: &Arc<Managers>) -> Reading {
    let (asked_for, files) = references.into_iter().partition(Reference::is_asked_for);
    // Files may live on a network: never read on the thread that serves requests.
    let reading = tokio::task::spawn_blocking(move || read_files(files));
    let (asked, reading) = tokio::join!(managers.ask(asked_for), reading);
    let mut reading = reading.unwrap_or_default();
    reading.findings.extend(asked);
    reading
}

fn read_files(references: BTreeSet<Reference>) -> Reading {
    let paths = references.iter().filter_map(path_of).collect();
    let mut files = file::read_together(paths);
    let digests = files.iter().map(|(path, read)| (path.clone(), file::digest(path, read))).collect();
    let found = |reference: Reference| {
        let raw = match (&reference, path_of(&reference)) {
            (_, Some(path)) => files.remove(&path).unwrap_or(Err(SourceError::Cancelled)),
            (Reference::Env(name), None) => read_variable(name),
            (_, None) => Err(SourceError::NoCredentialsDirectory),
        };
        (reference, raw.and_then(parse))
    };
    Reading { findings: references.into_iter().map(found).collect(), digests }
}

/// The file behind a reference, if there is one.
#[must_use]
pub fn path_of(reference: &Reference) -> Option<PathBuf> {
    match reference {
        Reference::File(path) => Some(path.clone()),
        Reference::Systemd(name) => {
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(name))
        }
        _ => None,
    }
}

fn read_variable(name: &str) -> Result<Raw, SourceError> {
    use std::os::unix::ffi::OsStringExt;
    let value = std::env::var_os(name).ok_or(SourceError::NoVariable)?;
    Ok(Raw { bytes: Zeroizing::new(value.into_vec()), since: None, warning: None })
}

fn parse(raw: Raw) -> Result<Found, SourceError> {
    let mut warnings: Vec<_> = raw.warning.into_iter().collect();
    if has_byte_order_mark(&raw.bytes) {
        warnings.push("it begins with a byte order mark, which was dropped");
    }
    let secret = Secret::parse_text_or_key(raw.bytes).map_err(SourceError::Secret)?;
    Ok(Found { secret: Arc::new(secret), since: raw.since, warnings })
}

/// An error of a cloud's crate with its causes, as each shows itself. Their own ways to show all of it print answers
/// whole.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn causes(error: &dyn std::error::Error) -> String {
    let causes: Vec<_> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

/// Why a reference gives no secret.
#[derive(Debug)]
pub enum SourceError {
    /// The environment variable is not set.
    NoVariable,
    /// `$CREDENTIALS_DIRECTORY` is not set, so systemd gave this process no credentials.
    NoCredentialsDirectory,
    /// The file cannot be read.
    File(std::io::Error),
    /// The path leads to something that is not a file.
    NotAFile,
    /// There is more than a secret can be.
    TooLarge,
    /// The files changed each time they were read.
    Unstable,
    /// The program cannot be started.
    Start(std::io::Error),
    /// The program or secret manager took too long.
    TimedOut,
    /// The program ended with something else than 0.
    Failed(std::process::ExitStatus),
    /// A secret manager gave none.
    Manager(String),
    /// What was read cannot be a secret.
    Secret(SecretError),
    /// The reading was given up.
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
            Self::TooLarge => write!(f, "is larger than a secret can be ({} KiB)", MAX_SIZE / 1024),
            Self::Unstable => f.write_str("changed while it was read"),
            Self::Start(error) => write!(f, "cannot be started: {error}"),
            Self::TimedOut => write!(f, "gave no answer within {} s", managers::TIME.as_secs()),
            Self::Failed(status) => write!(f, "ended with {status}"),
            Self::Manager(problem) => f.write_str(problem),
            Self::Secret(error) => fmt::Display::fmt(error, f),
            Self::Cancelled => f.write_str("was not read to the end"),
        }
    }
}

impl std::error::Error for SourceError {}

/// No secret of any provider comes near it; what is larger is a wrong path.
const MAX_SIZE: usize = 64 * 1024;
