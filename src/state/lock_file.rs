//! Files of the folder that several users' processes open: a sidecar, and a command that root runs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens the file of a lock, or makes an empty one. The file belongs to the owner of its folder,
/// even if root makes it: a sidecar of another user must be able to take the lock later.
///
/// # Errors
/// If the file cannot be opened or made, or a link is in its place.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default())
        .open(path)?;
    give_to_owner_of(path.parent().unwrap_or(path), &file);
    Ok(file)
}

/// Gives a file to the owner of the folder. Without the right to do so, the file stays as it is,
/// and the work goes on.
pub(super) fn give_to_owner_of(folder: &Path, file: &File) {
    let give = || {
        let owner = std::fs::metadata(folder)?;
        let own = file.metadata()?;
        // The owner of the folder could have linked another user's file into it.
        let is_alone = own.is_file() && own.nlink() == 1;
        if is_alone && own.uid() != owner.uid() && rustix::process::geteuid().is_root() {
            fchown(file, Some(owner.uid()), Some(owner.gid()))?;
        }
        io::Result::Ok(())
    };
    give().ok();
}

/// The mode of each file.
pub(super) const FILE_MODE: u32 = 0o600;
