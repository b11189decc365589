//! `file:` and `systemd:`: the secret is a file's content.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::error::{MAX_SIZE, SourceError};
use super::found::RawSecret;
use super::identity::{Identity, is_local};
use super::mount::MountPoints;

/// The content of a file with its metadata, or the reason why there is none.
pub(super) type ReadFile = Result<(RawSecret, Sight), SourceError>;

/// Reads files as of one moment: if any has changed by the time the last one is read, all are read
/// again.
///
/// Kubernetes replaces all files of a volume in one rename of `..data`. A token from before the
/// rename with an app secret from after the rename would be a pair that never existed.
pub(super) fn read_together(paths: Vec<PathBuf>) -> BTreeMap<PathBuf, ReadFile> {
    for _ in 0..MAX_ATTEMPTS {
        let read: Vec<_> = paths.iter().map(|path| (path, read(path))).collect();
        if read.iter().all(|(path, result)| is_unchanged(path, result)) {
            let mounts = MountPoints::of_this_process();
            return read
                .into_iter()
                .map(|(path, result)| {
                    let warned =
                        result.map(|(raw, sight)| (with_mount_warning(path, raw, &mounts), sight));
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
fn is_unchanged(path: &Path, result: &ReadFile) -> bool {
    match result {
        Ok((_, sight)) => Identity::at(path) == Some(sight.identity),
        Err(SourceError::File(_)) => std::fs::metadata(path).is_err() || open(path).is_err(),
        Err(SourceError::Unstable) => false,
        Err(_) => true,
    }
}

/// The metadata of a file at the time of reading.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    identity: Identity,
    /// True if no later content can have the same identity.
    is_settled: bool,
}

impl Sight {
    /// Reads the metadata of an open file.
    pub(super) fn of(file: &File, metadata: &Metadata) -> Self {
        let identity = Identity::of(metadata);
        Self {
            identity,
            is_settled: identity.is_settled(SystemTime::now()) && is_local(file),
        }
    }

    /// Returns the identity by which the content is known again; `None` if an equal identity may
    /// hide a change.
    pub(super) fn trusted(&self) -> Option<Identity> {
        self.is_settled.then_some(self.identity)
    }
}

/// Reads one file, unless the file changes meanwhile.
pub(super) fn read(path: &Path) -> Result<(RawSecret, Sight), SourceError> {
    let file = open(path).map_err(SourceError::unreadable)?;
    let before = file.metadata().map_err(SourceError::unreadable)?;
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
        .map_err(SourceError::unreadable)?;
    if bytes.len() > MAX_SIZE {
        return Err(SourceError::TooLarge);
    }
    let after = file.metadata().map_err(SourceError::unreadable)?;
    let sight = Sight::of(&file, &after);
    if Identity::of(&before) != sight.identity {
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
        sight,
    ))
}

/// Reads a file of certificates, or a file that the platform writes for its clients.
///
/// # Errors
/// If the file cannot be read, or is no regular file. Of a file beyond every use, only the begin is
/// read.
pub fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    // Sized once, as a token of the cluster is read as well.
    let size = metadata.size().min(MAX_PLAIN_SIZE);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.take(MAX_PLAIN_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file for reading. Without `O_NONBLOCK`, opening a FIFO would wait for its writer.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
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

/// The number of bytes that are read of a file that is no secret. The certificates of operating
/// systems have some 250 KiB.
const MAX_PLAIN_SIZE: u64 = 4 * 1024 * 1024;
/// The concern about a secret in a file that every user of the machine can read.
const READABLE_BY_ALL: &str = "every user of this machine can read it; give it mode 0400";
/// The number of readings of files that change during a reading: a volume is replaced once a minute
/// at most, and a reading takes milliseconds.
const MAX_ATTEMPTS: usize = 5;
/// The time between two attempts: longer than replacing the files of a volume takes.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_named_pipe_that_nobody_writes_to_holds_up_no_read() {
        let name = format!("keyside-pipe-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let missing = Err(SourceError::unreadable(std::io::ErrorKind::NotFound.into()));
        let is_unchanged = is_unchanged(&path, &missing);
        let (secret, plain) = (read(&path), read_regular(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_unchanged, "there is something by now");
        assert!(matches!(secret, Err(SourceError::NotAFile)));
        assert!(plain.is_err());
    }
}
