//! Sources of secrets: reads the values that references name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

mod asked;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod by_hand;
mod document;
mod edit;
pub(super) mod error;
mod exec;
mod fields;
mod file;
mod file_write;
pub(super) mod found;
#[cfg(feature = "gcp")]
mod gcp;
mod identity;
mod kubernetes;
mod late;
mod managers;
mod mount;
mod place;
mod place_error;
mod place_program;
mod program_error;
mod program_trace;
mod seen;
mod snapshot;
mod vault;

pub use error::SourceError;
pub use file::{read_regular, readable_by_all};
use found::RawSecret;
pub use found::{Findings, FoundSecret};
pub use identity::is_local_path;
pub use late::{LateAnswers, LateReads};
pub use managers::{LastRead, Managers};
pub use place::SecretPlace;
pub use place_error::{PlaceError, PlaceFault};
pub use place_program::{FedProgram, PlaceProgram};
pub use program_trace::{ProgramGoesOn, ProgramLife, ProgramTrace};
pub use seen::{Care, SeenFiles};

use crate::config::Reference;

/// The secrets that a load read from sources.
#[derive(Default)]
pub struct ReadSecrets {
    /// The result for each reference.
    pub findings: Findings,
    /// Each file as it was seen with the very bytes in `findings`: no change can fall between the
    /// two.
    pub files: SeenFiles,
}

/// Reads each reference once; files are read together, so that they form one snapshot.
pub async fn read_all(references: BTreeSet<Reference>, managers: &Arc<Managers>) -> ReadSecrets {
    let (managed, local) = apart(references);
    let (managed, mut read) = tokio::join!(managers.ask(managed), read_files(local));
    read.findings.extend(managed);
    read
}

/// Reads all `references`, but waits no longer than `patience` for programs and secret managers.
/// What they have not answered by then is [`SourceError::Late`], and the reads go on.
pub async fn read_in_time(
    references: BTreeSet<Reference>,
    managers: &Arc<Managers>,
    patience: Duration,
) -> (ReadSecrets, LateReads) {
    let (managed, local) = apart(references);
    let asking = managers.ask_for(managed, patience);
    let ((managed, late), mut read) = tokio::join!(asking, read_files(local));
    read.findings.extend(managed);
    (read, late)
}

/// Returns the references to programs and secret managers, and those to files and variables.
fn apart(references: BTreeSet<Reference>) -> (BTreeSet<Reference>, BTreeSet<Reference>) {
    references.into_iter().partition(Reference::is_asked_for)
}

/// Reads files and environment variables. Files may live on a network: they are never read on the
/// thread that serves requests.
async fn read_files(references: BTreeSet<Reference>) -> ReadSecrets {
    let reading = tokio::task::spawn_blocking(move || read_local(references));
    reading.await.unwrap_or_default()
}

/// Reads files and environment variables.
fn read_local(references: BTreeSet<Reference>) -> ReadSecrets {
    let paths = references.iter().filter_map(path_of).collect();
    let (mut files, seen) = snapshot::read_together(paths);
    // Several fields may share one file with a reference to the whole file, which takes the bytes
    // away.
    let (fields, whole): (Vec<_>, Vec<_>) = references
        .into_iter()
        .partition(|reference| matches!(reference, Reference::FileField { .. }));
    let find = |reference: Reference| {
        let raw = match (&reference, path_of(&reference)) {
            (Reference::FileField { path, field }, _) => fields::of_file(files.get(path), field),
            (_, Some(path)) => files.take(&path),
            (Reference::Env(name), None) => read_variable(name),
            (_, None) => Err(SourceError::NoCredentialsDirectory),
        };
        (reference, raw.and_then(RawSecret::parse))
    };
    ReadSecrets {
        findings: fields.into_iter().chain(whole).map(find).collect(),
        files: seen,
    }
}

/// Returns the files that are mounted by themselves.
#[must_use]
pub fn mounted_files() -> BTreeSet<PathBuf> {
    mount::MountPoints::of_this_process().into_files()
}

/// Returns the file behind a reference, if there is one.
#[must_use]
pub fn path_of(reference: &Reference) -> Option<PathBuf> {
    match reference {
        Reference::File(path) | Reference::FileField { path, .. } => Some(path.clone()),
        Reference::Systemd(name) => {
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(name))
        }
        _ => None,
    }
}

fn read_variable(name: &str) -> Result<RawSecret, SourceError> {
    use std::os::unix::ffi::OsStringExt;
    let value = std::env::var_os(name).ok_or(SourceError::NoVariable)?;
    Ok(RawSecret {
        bytes: Zeroizing::new(value.into_vec()),
        since: None,
        warnings: Vec::new(),
    })
}
