//! Replacing the secret in a file.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags, accessat, flock};
use rustix::io::Errno;

use super::document::SecretDocument;
use super::edit::{EditStep, compare, content};
use super::file::read;
use super::mount::MountPoints;
use super::place_error::{PlaceError, PlaceFault};
use crate::secret::Secret;

/// Replaces the content of a file, or one field of the JSON object in it, in one step if the file
/// holds the expected secret, keeping mode and owner: a reader sees the whole old content or the
/// whole new one. A missing file is made, if no secret is expected.
///
/// A lock on the folder keeps other sidecars and commands out between the comparison and the write.
/// Programs that write the file without the lock can still come between the two.
///
/// # Errors
/// If the file holds another secret, or cannot be written.
pub(super) fn replace_expected(
    path: &Path,
    field: Option<&str>,
    expected: Option<&Secret>,
    new: &Secret,
) -> Result<(), PlaceError> {
    let path = behind_links(path).map_err(not_written)?;
    let folder = path.parent().unwrap_or(&path);
    let _lock = lock(folder)?;
    let present = read(&path).map(|(raw, _)| raw);
    let new_content = match field {
        None => {
            if compare(present, expected, new)? == EditStep::Done {
                return Ok(());
            }
            None
        }
        Some(field) => {
            let present = present.map_err(PlaceError::unread)?;
            let object = SecretDocument::new(present.bytes, None);
            if compare(object.field(field), expected, new)? == EditStep::Done {
                return Ok(());
            }
            Some(content(&object, Some(field), new)?)
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the secret goes to the place that it will be read from"
    )]
    let bytes = new_content
        .as_deref()
        .map_or(new.expose(), String::as_str)
        .as_bytes();
    let aside = aside(&path);
    let written = write_aside(&path, &aside, bytes).and_then(|()| std::fs::rename(&aside, &path));
    if let Err(error) = written {
        std::fs::remove_file(&aside).ok();
        return Err(not_written(error));
    }
    // The new content is in place. A power failure may bring the old content back if this fails.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| PlaceError::Unknown(PlaceFault::File(error)))
}

/// Returns the file to replace, which may be missing: a symbolic link stays, and its target is
/// replaced.
pub(super) fn behind_links(path: &Path) -> std::io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(error);
            };
            Ok(folder.canonicalize()?.join(name))
        }
        found => found,
    }
}

/// Checks that a file with several secrets is a JSON object: lines `NAME=value` are changed by
/// hand.
///
/// # Errors
/// If the file cannot be read, or is no object.
pub(super) fn must_be_object(path: &Path) -> Result<(), PlaceError> {
    let (present, _) = read(path).map_err(PlaceError::unread)?;
    match present.bytes.trim_ascii_start().first() {
        Some(b'{') => Ok(()),
        _ => Err(PlaceError::NotWritten(PlaceFault::ReadOnly(
            "Keyside changes a JSON object, and no lines `NAME=value`: give the secret a file of its own, or name a program \
             with `place = \"exec:/path\"`",
        ))),
    }
}

/// Writes the content to a file beside the file to replace, with mode and owner of the file to
/// replace.
fn write_aside(path: &Path, aside: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // The rest of a killed write: the lock proves the lack of a writer.
    std::fs::remove_file(aside).ok();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(aside)?;
    file.write_all(bytes)?;
    match std::fs::metadata(path) {
        Ok(old) => take_owner_and_mode(&file, &old)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.sync_all()
}

fn take_owner_and_mode(file: &File, old: &Metadata) -> std::io::Result<()> {
    let own = file.metadata()?;
    if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
}

fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.keyside"))
}

/// Locks a folder, until the returned file is dropped. A file system without locks gives none,
/// which is no error.
fn lock(folder: &Path) -> Result<Option<File>, PlaceError> {
    let Ok(file) = File::open(folder) else {
        return Ok(None);
    };
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOCK_INTERVAL),
            Err(_) => return Ok(None),
        }
    }
    Err(PlaceError::NotWritten(PlaceFault::Busy))
}

/// Checks that [`replace_expected`] could replace a file. Nothing can be seen of the check: the
/// trial file has no name.
///
/// # Errors
/// If the file or its folder could not be written.
pub(super) fn check_writable(path: &Path) -> Result<(), PlaceError> {
    let path = behind_links(path).map_err(not_written)?;
    let folder = path.parent().unwrap_or(&path);
    if MountPoints::of_this_process().has(&path) {
        return Err(PlaceError::NotWritten(PlaceFault::Mounted));
    }
    let old = match std::fs::metadata(&path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(not_written(error)),
    };
    // EACCESS: with the effective user id, which the write will have.
    accessat(
        CWD,
        folder,
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    )
    .map_err(|error| not_written(error.into()))?;
    if let Some(old) = &old {
        check_sticky(&std::fs::metadata(folder).map_err(not_written)?, old)?;
    }
    let opened = rustix::fs::open(
        folder,
        OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    );
    let mut trial = match opened {
        Ok(opened) => File::from(opened),
        // The file system has no nameless files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => return Ok(()),
        Err(error) => return Err(not_written(error.into())),
    };
    trial
        .write_all(&[0; TRIAL_SIZE])
        .and_then(|()| old.map_or(Ok(()), |old| take_owner_and_mode(&trial, &old)))
        .map_err(not_written)
}

/// In a folder with the sticky bit (`/tmp`), only the owner of the file or of the folder may
/// replace a file.
fn check_sticky(folder: &Metadata, file: &Metadata) -> Result<(), PlaceError> {
    let user = rustix::process::geteuid();
    let is_owner = user.as_raw() == file.uid() || user.as_raw() == folder.uid();
    if folder.mode() & 0o1000 == 0 || is_owner || user.is_root() {
        return Ok(());
    }
    Err(not_written(std::io::ErrorKind::PermissionDenied.into()))
}

fn not_written(error: std::io::Error) -> PlaceError {
    PlaceError::NotWritten(PlaceFault::File(error))
}

/// The number of times that a locked folder is tried: together 2 s, far more than a replacement
/// takes.
const LOCK_ATTEMPTS: usize = 100;
/// The time between two attempts to lock a folder: a write with its syncs takes about as long.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// The size of the file that tries if there is room: the largest real secrets are keys of some 4
/// KiB.
const TRIAL_SIZE: usize = 4096;
