//! The folder with the files of an authority.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::CaError;

/// A folder that exists.
pub(super) struct CaFolder(PathBuf);

impl CaFolder {
    /// Opens the folder; makes it if it is missing.
    pub(super) fn open(dir: &Path) -> Result<Self, CaError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder
            .create(dir)
            .and_then(|()| dir.canonicalize())
            .map(Self)
            .map_err(|error| at(dir, error))
    }

    /// Returns the path of a file.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Checks that a file is missing, or was written by [`Self::write`].
    pub(super) fn check_ours(&self, name: &str) -> Result<(), CaError> {
        let path = self.path(name);
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&path, error)),
            Ok(metadata) if !metadata.is_file() => return Err(CaError::Foreign(path)),
            Ok(_) => {}
        }
        let mut start = Vec::with_capacity(MARK.len());
        let read =
            File::open(&path).and_then(|file| file.take(MARK.len() as u64).read_to_end(&mut start));
        match read {
            Ok(_) if start == MARK.as_bytes() => Ok(()),
            Ok(_) => Err(CaError::Foreign(path)),
            Err(error) => Err(at(&path, error)),
        }
    }

    /// Reads a file; empty if the file is missing.
    pub(super) fn read(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CaError> {
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(content) => Ok(Zeroizing::new(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Zeroizing::default()),
            Err(error) => Err(at(&path, error)),
        }
    }

    /// Writes a file in one step: a reader sees the old content or the new one.
    pub(super) fn write(&self, name: &str, pem: &str, mode: u32) -> Result<(), CaError> {
        let path = self.path(name);
        let temporary = self.path(&format!(".{name}.{}", std::process::id()));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&temporary)?;
            file.write_all(MARK.as_bytes())?;
            file.write_all(pem.as_bytes())?;
            // The umask may have taken rights that applications need.
            file.set_permissions(PermissionsExt::from_mode(mode))?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| {
            std::fs::remove_file(&temporary).ok();
            at(&path, error)
        })
    }

    /// True for a file that users besides the owner may read.
    pub(super) fn is_open(&self, name: &str) -> bool {
        let metadata = std::fs::metadata(self.path(name));
        metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    }
}

fn at(path: &Path, error: io::Error) -> CaError {
    CaError::Io {
        path: path.to_owned(),
        error,
    }
}

/// The mode of a file with a key: the owner alone.
pub(super) const SECRET: u32 = 0o600;
/// The mode of a file with certificates, which applications of other users read.
pub(super) const SHARED: u32 = 0o644;
/// The first line of each file. PEM readers skip text before the first block.
const MARK: &str = "# Made by `keyside ca`, which replaces this file when it runs again.\n";
