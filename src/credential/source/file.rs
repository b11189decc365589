//! `file:` and `systemd:`: the secret is a file's content.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::error::{MAX_SIZE, SourceError};
use super::found::RawSecret;
use super::identity::{Identity, is_local};

/// The content of a file with its metadata, or the reason why there is none.
pub(super) type ReadFile = Result<(RawSecret, Sight), SourceError>;

/// The metadata of a file at the time of reading.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    pub(super) identity: Identity,
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
/// If the file cannot be read, or is no regular file. Of a file longer than any use needs, only the
/// beginning is read.
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

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_named_pipe_that_nobody_writes_to_holds_up_no_read() {
        let name = format!("keyside-pipe-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let (secret, plain) = (read(&path), read_regular(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(secret, Err(SourceError::NotAFile)));
        assert!(plain.is_err());
    }
}
