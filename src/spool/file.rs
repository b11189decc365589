//! The file of the store: opened for its owner alone, verified after a failure, set aside if
//! damaged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Durability};
use rustix::fs::{Access, access};

use super::error::{SpoolError, StoreError, is_lasting};
use super::footing::{self, DiskRoom};
use super::ledger::Counts;
use super::place::{StorePlace, make_folder, sync_folder};

/// The place where the store lies.
#[derive(Debug)]
pub(super) enum Medium {
    /// A file.
    File(StorePlace),
    /// A disk of a test.
    #[cfg(test)]
    Disk(super::tests::Disk, Durability),
}

impl Medium {
    /// Returns the file of a spool in a folder. A missing folder is made.
    pub(super) fn in_folder(folder: &Path) -> Result<Self, SpoolError> {
        let failed = |error| SpoolError::Folder {
            path: folder.to_owned(),
            error,
        };
        must_keep_files(folder)?;
        must_be_file(&folder.join(FILE))?;
        match make_folder(folder) {
            // A full disk has no room for a folder, and the store is opened later.
            Err(error) if !is_lasting(&error) => {}
            made => made.map_err(failed)?,
        }
        Ok(Self::File(StorePlace::new(folder.join(FILE))))
    }

    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(place) => place.path().to_owned(),
            #[cfg(test)]
            Self::Disk(..) => PathBuf::from(FILE),
        }
    }

    /// True if there is a store, perhaps with events.
    pub(super) fn has_store(&self) -> bool {
        match self {
            Self::File(place) => place.path().exists(),
            #[cfg(test)]
            Self::Disk(disk, _) => disk.length() > 0,
        }
    }

    /// The size of the file in bytes; 0 if it cannot be told.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::File(place) => std::fs::metadata(place.path()).map_or(0, |data| data.len()),
            #[cfg(test)]
            Self::Disk(disk, _) => disk.length(),
        }
    }

    /// The bytes of the file on the disk, fewer than the length: the engine makes the file longer
    /// in large steps, and the system gives a place to written pages alone. 0 if unknown.
    pub(super) fn on_disk(&self) -> u64 {
        match self {
            Self::File(place) => {
                std::fs::metadata(place.path()).map_or(0, |data| data.blocks() * 512)
            }
            #[cfg(test)]
            Self::Disk(disk, _) => disk.written(),
        }
    }

    /// The room of the disk for events beside those in the store.
    pub(super) fn room(&self, counts: &Counts) -> DiskRoom {
        let space = match self {
            Self::File(place) => place.path().parent().and_then(footing::space),
            #[cfg(test)]
            Self::Disk(disk, _) => disk.space(),
        };
        space.map_or(DiskRoom::UNKNOWN, |space| {
            space.room(self.on_disk(), counts.bytes, counts.known_bytes)
        })
    }

    /// The durability of each commit.
    pub(super) fn durability(&self) -> Durability {
        match self {
            Self::File(_) => Durability::Immediate,
            #[cfg(test)]
            Self::Disk(_, durability) => *durability,
        }
    }

    /// Opens the store, or makes a new one.
    pub(super) fn open(&self, check: StoreCheck) -> Result<Database, StoreError> {
        // An engine that meets damage may give up with a panic.
        let steps = std::panic::AssertUnwindSafe(|| self.open_checked(check));
        let opened = std::panic::catch_unwind(steps);
        opened.unwrap_or(Err(StoreError::Panic))
    }

    fn open_checked(&self, check: StoreCheck) -> Result<Database, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let mut database = match self {
            Self::File(place) => {
                let path = place.path();
                path.parent().map_or(Ok(()), make_folder)?;
                let mut options = OpenOptions::new();
                options
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600);
                let file = options.open(path)?;
                must_not_be_newer(&file)?;
                file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
                sync_folder(path)?;
                place.note_open()?;
                builder.create_with_backend(FileBackend::new(file)?)?
            }
            #[cfg(test)]
            Self::Disk(disk, _) => builder.create_with_backend(disk.attach())?,
        };
        if check == StoreCheck::All {
            database.check_integrity()?;
        }
        Ok(database)
    }

    /// Lets the disk of a test know the thread that reads the store.
    #[cfg(test)]
    pub(super) fn note_reader(&self) {
        if let Self::Disk(disk, _) = self {
            disk.note_reader();
        }
    }

    /// Checks that the open file has its place.
    pub(super) fn check_place(&self) -> Result<(), StoreError> {
        match self {
            Self::File(place) => place.check(),
            #[cfg(test)]
            Self::Disk(..) => Ok(()),
        }
    }

    /// Puts a removed or moved file back.
    pub(super) fn put_back(&self) -> Result<(), StoreError> {
        match self {
            Self::File(place) => place.put_back(),
            #[cfg(test)]
            Self::Disk(..) => Ok(()),
        }
    }

    /// Moves a damaged file out of the way; returns the new path.
    pub(super) fn set_aside(&self, now_ms: u64) -> io::Result<PathBuf> {
        match self {
            Self::File(place) => {
                let path = place.path();
                let aside = path.with_extension(format!("redb.damaged-{}", now_ms / 1000));
                std::fs::rename(path, &aside)?;
                place.forget();
                sync_folder(path)?;
                Ok(aside)
            }
            #[cfg(test)]
            Self::Disk(disk, _) => {
                disk.clear();
                Ok(PathBuf::from("damaged"))
            }
        }
    }
}

/// Checks that a spool can be opened in a folder, or made there. Makes and changes nothing, and
/// takes no notice of a sidecar that has the spool open.
///
/// # Errors
/// If the folder or the file in it is not for this user, or a newer version of Keyside wrote the
/// file.
pub fn check_usable(folder: &Path) -> Result<(), SpoolError> {
    must_keep_files(folder)?;
    let path = folder.join(FILE);
    must_be_file(&path)?;
    match OpenOptions::new().read(true).write(true).open(&path) {
        // An existing file needs no rights on the folder.
        Ok(file) => {
            return must_not_be_newer(&file).map_err(|error| SpoolError::Store { path, error });
        }
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(SpoolError::File { path, error }),
    }
    let mut above = folder.ancestors();
    let there = above.find(|path| path.exists()).unwrap_or(folder);
    let is_usable = if there.is_dir() {
        access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    };
    is_usable.map_err(|error| SpoolError::Folder {
        path: folder.to_owned(),
        error,
    })
}

/// Checks that a folder lies, or would lie, in a file system that keeps files.
fn must_keep_files(folder: &Path) -> Result<(), SpoolError> {
    footing::made_up(folder).map_or(Ok(()), |found| {
        let path = folder.to_owned();
        Err(SpoolError::MadeUp { path, found })
    })
}

/// Checks that a path leads to a regular file, or to nothing. The engine's message for anything
/// else says little.
fn must_be_file(path: &Path) -> Result<(), SpoolError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(SpoolError::NoFile {
            path: path.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Compares the form of a file with the newest form that the engine knows. The engine takes a newer
/// form for damage, and a damaged file is set aside with all that waits in it.
fn must_not_be_newer(file: &File) -> Result<(), StoreError> {
    let mut head = [0; HEAD];
    // A new file is shorter, and a file that cannot be read fails at the next step.
    if file.read_exact_at(&mut head, 0).is_err() {
        return Ok(());
    }
    match form_of(&head) {
        Some(form) if form > NEWEST_FORM => Err(StoreError::Newer(form)),
        _ => Ok(()),
    }
}

/// Returns the form of a file of the engine, if both heads of transactions name the same.
fn form_of(head: &[u8; HEAD]) -> Option<u8> {
    let [first, second] = FORM_PLACES.map(|place| head.get(place).copied());
    first.filter(|_| head.starts_with(ENGINE) && first == second)
}

/// The part of the store that is verified at its opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreCheck {
    /// The part that the engine verifies: after a crash the whole file, unless commits have saved
    /// the data for a quick start.
    Usual,
    /// Every page.
    All,
}

/// The first bytes of each file of the engine.
const ENGINE: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// The places of the form in the heads of the two transactions.
const FORM_PLACES: [usize; 2] = [64, 192];
/// The length of the start of a file that names the form, in bytes: up to the second of
/// [`FORM_PLACES`].
const HEAD: usize = 193;
/// The newest form that the engine knows: the file format 3 of redb.
const NEWEST_FORM: u8 = 3;
/// The name of the file.
const FILE: &str = "spool.redb";
/// The bound on the engine's cache in bytes. The pages at the ends of the queue are few.
const CACHE: usize = 24 * 1024 * 1024;
