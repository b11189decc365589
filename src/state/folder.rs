//! The folder of the state: whole files, written in one step, under a lock.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, accessat, flock};
use zeroize::Zeroizing;

use super::error::StateError;
use super::lock_file::{FILE_MODE, give_to_owner_of, open_lock};

/// A folder that only the user of the process can read.
///
/// Several processes may use one folder: a sidecar, the `rotate` command beside it, and for a
/// moment the sidecar of the next deployment. A lock makes each change one step, and is held for no
/// longer than a change takes. Between two changes of an entry the later one counts.
#[derive(Clone, Debug)]
pub(super) struct StateFolder {
    path: PathBuf,
}

/// The lock of a folder, held until dropped.
pub(super) struct Locked<'f> {
    folder: &'f StateFolder,
    _lock: File,
}

impl StateFolder {
    /// Names a folder. The folder is made when something is first written.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Makes the folder if there is none, and takes other users' rights away.
    fn make(&self) -> Result<(), StateError> {
        let path = &self.path;
        let fault = |error| StateError::of(path)(error);
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path)
            .map_err(fault)?;
        let metadata = std::fs::metadata(path).map_err(fault)?;
        let mode = metadata.permissions().mode() & 0o777;
        // A volume of Kubernetes belongs to root: its mode cannot be changed, and the mode of each
        // file protects.
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        if is_own && mode != FOLDER_MODE {
            std::fs::set_permissions(path, PermissionsExt::from_mode(FOLDER_MODE))
                .map_err(fault)?;
        }
        Ok(())
    }

    /// Writes and removes a file, to see that the folder can be written.
    pub(super) fn probe(&self) -> Result<(), StateError> {
        let locked = self.lock()?;
        locked.write(PROBE, b"")?;
        locked.remove(PROBE)
    }

    /// Checks that the folder can be written, or made, without a change to it.
    pub(super) fn check(&self) -> Result<(), StateError> {
        let existing = self
            .path
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(&self.path);
        let rights = Access::WRITE_OK | Access::EXEC_OK;
        // EACCESS: with the effective user id, which the write will have.
        accessat(CWD, existing, rights, AtFlags::EACCESS)
            .map_err(|error| StateError::of(existing)(error.into()))?;
        if existing.is_dir() {
            Ok(())
        } else {
            Err(StateError::of(existing)(
                io::ErrorKind::NotADirectory.into(),
            ))
        }
    }

    /// Takes the lock, and waits for it at most [`MAX_LOCK_WAIT`].
    pub(super) fn lock(&self) -> Result<Locked<'_>, StateError> {
        self.make()?;
        let path = self.path.join(LOCK);
        let file = open_lock(&path).map_err(StateError::of(&path))?;
        for _ in 0..MAX_LOCK_WAIT.as_millis() / LOCK_RETRY_INTERVAL.as_millis() {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Locked {
                        folder: self,
                        _lock: file,
                    });
                }
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_RETRY_INTERVAL),
                Err(error) => return Err(StateError::of(&path)(error.into())),
            }
        }
        Err(StateError::Busy { path })
    }

    /// Reads a file whole; `None` if there is none.
    pub(super) fn read(&self, file: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        let path = self.path.join(file);
        let opened = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(StateError::of(&path))?,
        };
        let length = opened
            .metadata()
            .map_or(MAX_SIZE, |metadata| metadata.len());
        if length > MAX_SIZE {
            return Err(StateError::TooLarge {
                entry: file.to_owned(),
            });
        }
        // Sized once: a growing buffer would leave copies behind.
        let size = usize::try_from(length).unwrap_or_default() + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        opened
            .take(size as u64)
            .read_to_end(&mut bytes)
            .map_err(StateError::of(&path))?;
        Ok(Some(bytes))
    }

    /// Returns the names of all files that end with `suffix`.
    pub(super) fn files(&self, suffix: &str) -> Result<Vec<String>, StateError> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StateError::of(&self.path))?,
        };
        let mut names: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(suffix) && !name.starts_with('.'))
            .collect();
        names.sort();
        Ok(names)
    }

    fn sync(&self) -> Result<(), StateError> {
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(StateError::of(&self.path))
    }
}

impl Locked<'_> {
    /// Replaces a file in one step: after a crash the file is as before, or as it should be.
    pub(super) fn write(&self, file: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.folder.path.join(file);
        let aside = self.folder.path.join(format!(".{file}.new"));
        let write = || {
            // Under the lock, a file of this name is what a crash left behind.
            remove(&aside)?;
            let mut new = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(&aside)?;
            give_to_owner_of(&self.folder.path, &new);
            new.write_all(bytes)?;
            new.sync_all()?;
            std::fs::rename(&aside, &path)
        };
        write()
            .inspect_err(|_| {
                std::fs::remove_file(&aside).ok();
            })
            .map_err(StateError::of(&path))?;
        self.folder.sync()
    }

    /// Gives a file another name, out of the way.
    pub(super) fn set_aside(&self, file: &str) -> Result<(), StateError> {
        let path = self.folder.path.join(file);
        let aside = self.folder.path.join(format!("{file}.unread"));
        std::fs::rename(&path, aside).map_err(StateError::of(&path))?;
        self.folder.sync()
    }

    /// Removes a file, if there is one.
    pub(super) fn remove(&self, file: &str) -> Result<(), StateError> {
        let path = self.folder.path.join(file);
        if remove(&path).map_err(StateError::of(&path))? == Removed::Yes {
            self.folder.sync()?;
        }
        Ok(())
    }
}

/// The result of removing a file that may not exist.
#[derive(PartialEq, Eq)]
enum Removed {
    Yes,
    WasNotThere,
}

fn remove(path: &Path) -> io::Result<Removed> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(Removed::Yes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removed::WasNotThere),
        Err(error) => Err(error),
    }
}

/// The file with the lock.
const LOCK: &str = "lock";
/// The file that is written and removed to see that the folder can be written.
const PROBE: &str = "probe";
/// The mode of the folder: nothing in it is for other users.
const FOLDER_MODE: u32 = 0o700;
/// The bound on a file: the secrets of a credential, a journal, or ten thousand first sights are
/// far smaller.
const MAX_SIZE: u64 = 4 << 20;
/// The longest wait for the lock. A change takes some milliseconds, on a slow disk some hundred.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(2);
/// The time between two tries of a lock that a different process holds: a change takes some
/// milliseconds.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(10);
