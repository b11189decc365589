//! The files with certificates and their keys that a configuration names.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::LoadError;
use crate::config::Config;
use crate::credential::source::{Digests, digests};
use crate::provider::Ca;

/// What each file has, or why it cannot be read.
pub(super) type Authorities = BTreeMap<PathBuf, std::io::Result<Vec<u8>>>;

/// What is in files with certificates and their keys, with their digests, which again come first.
pub(super) async fn read_authorities(paths: Vec<PathBuf>) -> Result<(Authorities, Digests), LoadError> {
    let read = move || {
        let digests = digests(paths.clone());
        (paths.into_iter().map(|path| (path.clone(), read_authority(&path))).collect(), digests)
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| LoadError::Interrupted)
}

/// The files of authorities that a configuration names.
pub(super) fn ca_files(config: &Config) -> Vec<PathBuf> {
    let cas = config.credentials.values().map(|credential| &credential.provider.ca);
    let of_providers = cas.filter_map(|ca| if let Ca::File(path) = ca { Some(path) } else { None });
    let of_limits = config.limits.iter().filter_map(|limits| limits.ca.as_ref());
    of_providers.chain(of_limits).cloned().collect()
}

fn read_authority(path: &Path) -> std::io::Result<Vec<u8>> {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer, and no reload would follow.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut pem = Vec::new();
    file.take(MAX_AUTHORITIES).read_to_end(&mut pem)?;
    Ok(pem)
}

/// The lists of systems have some 250 KiB.
const MAX_AUTHORITIES: u64 = 4 * 1024 * 1024;
