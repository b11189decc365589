//! The place of the store's file: a file removed or moved while open comes back from the open file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::error::StoreError;

/// The path of the store's file, and a second view of the file that is open.
#[derive(Debug)]
pub(super) struct StorePlace {
    path: PathBuf,
    open: Mutex<Option<File>>,
}

impl StorePlace {
    /// Returns the place at a path. Nothing is open yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file at the path as the open file.
    pub(super) fn note_open(&self) -> io::Result<()> {
        *self.open.lock() = Some(File::open(&self.path)?);
        Ok(())
    }

    /// Forgets the open file, after the file was set aside.
    pub(super) fn forget(&self) {
        *self.open.lock() = None;
    }

    /// Checks the path for the open file: an event in a removed file is lost with the process.
    ///
    /// # Errors
    /// If the file was removed or moved. A folder without permission to look inside is no proof.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &*self.open.lock() {
            Some(open) if !is_at(open, &self.path)? => Err(StoreError::Removed),
            _ => Ok(()),
        }
    }

    /// Writes the content of the open file to a new file at the path, if the file was removed or
    /// moved.
    ///
    /// # Errors
    /// If the disk takes no copy, or a different file is at the path. The open file stays open.
    pub(super) fn put_back(&self) -> Result<(), StoreError> {
        let mut slot = self.open.lock();
        let Some(open) = &mut *slot else {
            return Ok(());
        };
        if is_at(open, &self.path)? {
            return Ok(());
        }
        if std::fs::symlink_metadata(&self.path).is_ok() {
            return Err(StoreError::Replaced);
        }
        if let Some(folder) = self.path.parent() {
            make_folder(folder)?;
            sync_folder(folder)?;
        }
        let part = self.path.with_extension("redb.part");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut copy = options.open(&part)?;
        open.rewind()?;
        let bytes = io::copy(open, &mut copy)?;
        copy.sync_all()?;
        std::fs::rename(&part, &self.path)?;
        sync_folder(&self.path)?;
        *slot = Some(File::open(&self.path)?);
        tracing::warn!(
            bytes,
            file = %self.path.display(),
            "the spool's file was removed or moved while it was open: its content is in a new file at its place, and no event is lost"
        );
        Ok(())
    }
}

/// True if a path leads to an open file.
fn is_at(open: &File, path: &Path) -> io::Result<bool> {
    let open = open.metadata()?;
    Ok(match std::fs::metadata(path) {
        Ok(there) => (there.dev(), there.ino()) == (open.dev(), open.ino()),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    })
}

/// Makes the folder of the store, with missing folders above.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)
}

/// Makes a new or renamed file durable under its name.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
