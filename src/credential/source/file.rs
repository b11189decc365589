//! `file:` and `systemd:`: the secret is a file's content.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{MAX_SIZE, Raw, SourceError};
use crate::secret::Secret;

/// Reads files as of one moment: where any has changed by the time the last one is read, all are read
/// again. Kubernetes replaces all files of a volume in one rename of `..data`, and a token from
/// before it with an app secret from after it would be a pair that never was.
pub(super) fn read_together(paths: Vec<PathBuf>) -> BTreeMap<PathBuf, Result<Raw, SourceError>> {
    for _ in 0..ATTEMPTS {
        let read: Vec<_> = paths.iter().map(|path| (path, read(path))).collect();
        let steady = |(path, result): &(&PathBuf, Result<(Raw, Identity), SourceError>)| match result {
            Ok((_, identity)) => std::fs::metadata(path).is_ok_and(|now| Identity::of(&now) == *identity),
            Err(SourceError::File(_)) => std::fs::metadata(path).is_err() || File::open(path).is_err(),
            Err(SourceError::Unstable) => false,
            Err(_) => true,
        };
        if read.iter().all(steady) {
            return read.into_iter().map(|(path, result)| (path.clone(), result.map(|(raw, _)| raw))).collect();
        }
        std::thread::sleep(PAUSE);
    }
    paths.into_iter().map(|path| (path, Err(SourceError::Unstable))).collect()
}

/// Puts a secret in the place of a file's content at once, with the mode and owner that the file has: a
/// reader sees all of the old one or all of the new one.
///
/// # Errors
/// Where the file or its folder cannot be written; the old content is then still there.
pub fn replace(path: &Path, secret: &Secret) -> std::io::Result<()> {
    // Behind a link: the link stays, the file that it leads to is another.
    let path = path.canonicalize()?;
    let old = std::fs::metadata(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.keyside"));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        #[expect(clippy::disallowed_methods, reason = "the secret goes to where it will be read")]
        file.write_all(secret.expose().as_bytes())?;
        if (old.uid(), old.gid()) != file.metadata().map(|new| (new.uid(), new.gid()))? {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(old.permissions())?;
        file.sync_all()?;
        std::fs::rename(&aside, &path)?;
        File::open(path.parent().unwrap_or(&path))?.sync_all()
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&aside)))
}

/// Makes sure that [`replace`] could put another in the place of this file.
///
/// # Errors
/// Why it could not.
pub fn check_replaceable(path: &Path) -> std::io::Result<()> {
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(&path);
    let (write, as_we_are) = (Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    Ok(accessat(CWD, folder, write, as_we_are)?)
}

/// What tells one state of a file from another.
#[derive(PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.size(), changed }
    }
}

fn read(path: &Path) -> Result<(Raw, Identity), SourceError> {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(SourceError::File)?;
    let before = file.metadata().map_err(SourceError::File)?;
    if !before.is_file() {
        return Err(SourceError::NotAFile);
    }
    // Room for all of it at once: a vector that grew would leave copies behind.
    let size = usize::try_from(before.size()).unwrap_or(MAX_SIZE).min(MAX_SIZE);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    (&file).take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes).map_err(SourceError::File)?;
    if bytes.len() > MAX_SIZE {
        return Err(SourceError::TooLarge);
    }
    let after = file.metadata().map_err(SourceError::File)?;
    let identity = Identity::of(&after);
    if Identity::of(&before) != identity {
        return Err(SourceError::Unstable);
    }
    let warning =
        is_readable_by_all(path, &after).then_some("every user of this machine can read it; give it mode 0400");
    Ok((Raw { bytes, since: after.modified().ok(), warning }, identity))
}

/// Below `/run/secrets` and `/var/run/secrets` the platform keeps others out by other means.
fn is_readable_by_all(path: &Path, metadata: &Metadata) -> bool {
    let by_platform = ["/run/secrets", "/var/run/secrets"].iter().any(|folder| path.starts_with(folder));
    metadata.mode() & 0o004 != 0 && !by_platform
}

/// What each file said, as a hash, to notice a change. Never leaves the process.
pub type Digests = BTreeMap<PathBuf, [u8; 32]>;

/// The digests of these files as they are now.
#[must_use]
pub fn digests(paths: impl IntoIterator<Item = PathBuf>) -> Digests {
    let digest = |path: PathBuf| {
        let read = read(&path).map(|(raw, _)| raw);
        let digest = digest(&path, &read);
        (path, digest)
    };
    paths.into_iter().map(digest).collect()
}

/// What cannot be read counts as content of its own kind.
pub(super) fn digest(path: &Path, read: &Result<Raw, SourceError>) -> [u8; 32] {
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

const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(10);
