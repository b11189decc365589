//! `file:` and `systemd:`: the secret is a file's content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::{MAX_SIZE, SourceError};
use super::found::RawSecret;
use super::mount::MountPoints;

/// Reads files as of one moment: if any has changed by the time the last one is read, all are read again.
///
/// Kubernetes replaces all files of a volume in one rename of `..data`. A token from before the rename with an
/// app secret from after the rename would be a pair that never existed.
pub(super) fn read_together(
    paths: Vec<PathBuf>,
) -> BTreeMap<PathBuf, Result<RawSecret, SourceError>> {
    for _ in 0..MAX_ATTEMPTS {
        let read: Vec<_> = paths.iter().map(|path| (path, read(path))).collect();
        if read.iter().all(|(path, result)| is_unchanged(path, result)) {
            let mounts = MountPoints::of_this_process();
            return read
                .into_iter()
                .map(|(path, result)| {
                    let warned = result.map(|(raw, _)| with_mount_warning(path, raw, &mounts));
                    (path.clone(), warned)
                })
                .collect();
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
    paths
        .into_iter()
        .map(|path| (path, Err(SourceError::Unstable)))
        .collect()
}

/// Adds a warning about a file that no rename outside reaches.
fn with_mount_warning(path: &Path, mut raw: RawSecret, mounts: &MountPoints) -> RawSecret {
    if mounts.has(path) {
        raw.warnings.push(
            "it is mounted by itself (a bind mount of one file, or a subPath): a new file that replaces it outside never \
             arrives here; mount its folder",
        );
    }
    raw
}

/// True if reading the file now would give an equal result.
fn is_unchanged(path: &Path, result: &Result<(RawSecret, Identity), SourceError>) -> bool {
    match result {
        Ok((_, identity)) => {
            std::fs::metadata(path).is_ok_and(|now| Identity::of(&now) == *identity)
        }
        Err(SourceError::File(_)) => std::fs::metadata(path).is_err() || File::open(path).is_err(),
        Err(SourceError::Unstable) => false,
        Err(_) => true,
    }
}

/// The metadata that changes whenever the content of a file does.
#[derive(PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// The time of the last modification, in seconds and nanoseconds.
    modified: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Reads one file, unless the file changes meanwhile.
pub(super) fn read(path: &Path) -> Result<(RawSecret, Identity), SourceError> {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(SourceError::File)?;
    let before = file.metadata().map_err(SourceError::File)?;
    if !before.is_file() {
        return Err(SourceError::NotAFile);
    }
    // Sized once: a growing buffer leaves copies of secrets behind.
    let size = usize::try_from(before.size())
        .unwrap_or(MAX_SIZE)
        .min(MAX_SIZE);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    (&file)
        .take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(SourceError::File)?;
    if bytes.len() > MAX_SIZE {
        return Err(SourceError::TooLarge);
    }
    let after = file.metadata().map_err(SourceError::File)?;
    let identity = Identity::of(&after);
    if Identity::of(&before) != identity {
        return Err(SourceError::Unstable);
    }
    let warnings = is_readable_by_all(path, &after)
        .then_some(READABLE_BY_ALL)
        .into_iter()
        .collect();
    Ok((
        RawSecret {
            bytes,
            since: after.modified().ok(),
            warnings,
        },
        identity,
    ))
}

/// Returns the concern about a file with a private key that every user of the machine can read.
#[must_use]
pub fn readable_by_all(path: &Path) -> Option<&'static str> {
    let metadata = std::fs::metadata(path).ok()?;
    is_readable_by_all(path, &metadata).then_some(READABLE_BY_ALL)
}

/// True if every user of the machine can read the file. The platform guards `/run/secrets` and
/// `/var/run/secrets` by the mode of their folders, so files below count as guarded.
fn is_readable_by_all(path: &Path, metadata: &Metadata) -> bool {
    let by_platform = ["/run/secrets", "/var/run/secrets"]
        .iter()
        .any(|folder| path.starts_with(folder));
    metadata.mode() & 0o004 != 0 && !by_platform
}

/// The digest of each file's content, to notice changes. Digests never leave the process.
pub type Digests = BTreeMap<PathBuf, [u8; 32]>;

/// Reads these files and returns their digests.
#[must_use]
pub fn digests(paths: impl IntoIterator<Item = PathBuf>) -> Digests {
    paths
        .into_iter()
        .map(|path| {
            if path.is_dir() {
                let names = digest_of_names(&path);
                return (path, names);
            }
            let read = read(&path).map(|(raw, _)| raw);
            let digest = digest(&path, &read);
            (path, digest)
        })
        .collect()
}

/// Returns the digest of the names of the configuration files in a folder: the watch notices new files.
fn digest_of_names(folder: &Path) -> [u8; 32] {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let names: BTreeSet<_> = names
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|ending| ending == "toml")
        })
        .collect();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_encoded_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Returns the digest of what was read. A file that cannot be read has a digest as well, and a file that is too
/// large is told from its later versions by the time of modification.
pub(super) fn digest(path: &Path, read: &Result<RawSecret, SourceError>) -> [u8; 32] {
    let mut hash = Sha256::new();
    match read {
        Ok(raw) => {
            hash.update([1]);
            hash.update(&raw.bytes[..]);
        }
        Err(SourceError::TooLarge) => {
            let modified = std::fs::metadata(path).and_then(|m| m.modified()).ok();
            let since = modified.and_then(|m| m.duration_since(SystemTime::UNIX_EPOCH).ok());
            hash.update([2]);
            hash.update(since.unwrap_or_default().as_nanos().to_le_bytes());
        }
        Err(_) => hash.update([3]),
    }
    hash.finalize().into()
}

/// The concern about a secret in a file that every user of the machine can read.
const READABLE_BY_ALL: &str = "every user of this machine can read it; give it mode 0400";
/// The number of times that files are read which change meanwhile.
const MAX_ATTEMPTS: usize = 5;
/// The time between two attempts: longer than replacing the files of a volume takes.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
