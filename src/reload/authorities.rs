//! The files with certificates and keys that a configuration names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::LoadError;
use super::streams::streams;
use crate::config::Config;
use crate::credential::source::{SeenFiles, read_regular};
use crate::provider::Ca;
use crate::tls::{self, ServerFiles, UnusableFiles};

/// The content of each file, or the reason why the file cannot be read.
pub(super) type Authorities = BTreeMap<PathBuf, std::io::Result<Vec<u8>>>;

/// Returns the PEM of a file of authorities.
///
/// # Errors
/// If the file could not be read, or has no usable authority.
pub(super) fn pem_of<'a>(files: &'a Authorities, path: &Path) -> Result<&'a [u8], UnusableFiles> {
    let shown = path.display();
    let problem = match files.get(path) {
        Some(Ok(pem)) => match tls::client_config(&Ca::File(path.to_owned()), Some(pem)) {
            Ok(_) => return Ok(pem),
            Err(fault) => format!("{shown}: {fault}"),
        },
        Some(Err(error)) => format!("{shown} cannot be read: {error}"),
        None => format!("{shown} was not read"),
    };
    Err(UnusableFiles {
        paths: vec![path.to_owned()],
        problem,
    })
}

/// True if the same files have the same contents. A file that cannot be read equals none.
pub(super) fn have_equal_contents(one: &Authorities, other: &Authorities) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((path, content), (other_path, other))| {
                path == other_path
                    && matches!((content, other), (Ok(content), Ok(other)) if content == other)
            })
}

/// Reads files on a thread of their own, as they are seen for the watch.
///
/// The watch's check comes first: a change between check and reading is then noticed by the watch.
pub(super) async fn read_authorities(
    paths: BTreeSet<PathBuf>,
) -> Result<(Authorities, SeenFiles), LoadError> {
    let read = move || {
        let seen = SeenFiles::read(paths.clone());
        let files: Authorities = paths
            .into_iter()
            .map(|path| {
                let content = read_regular(&path);
                (path, content)
            })
            .collect();
        (files, seen)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| LoadError::Interrupted)
}

/// Returns every file with certificates, authorities or keys that a configuration names.
pub(super) fn all_files(config: &Config) -> BTreeSet<PathBuf> {
    let mut files = ca_files(config);
    files.extend(server_tls_files(config));
    files
}

/// Returns the files of authorities for upstreams, the shared server and the servers of streams.
fn ca_files(config: &Config) -> BTreeSet<PathBuf> {
    let for_providers =
        config
            .credentials
            .values()
            .filter_map(|credential| match &credential.provider.ca {
                Ca::File(path) => Some(path),
                Ca::Bundled | Ca::System => None,
            });
    let for_limits = config.limits.iter().filter_map(|limits| limits.ca.as_ref());
    let for_streams = config
        .webhooks
        .iter()
        .flat_map(streams)
        .filter_map(|(_, target)| target.ca.as_ref());
    for_providers
        .chain(for_limits)
        .chain(for_streams)
        .cloned()
        .collect()
}

/// Returns the files of `[inbound.tls]` and `[outbound.tls]`.
fn server_tls_files(config: &Config) -> Vec<PathBuf> {
    let inbound = config.inbound.tls.iter().map(ServerFiles::inbound);
    let outbound = config.outbound.tls.iter().map(ServerFiles::outbound);
    let all = inbound.chain(outbound);
    all.flat_map(|files| files.paths().collect::<Vec<_>>())
        .collect()
}
