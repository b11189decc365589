//! The files of a sandbox: a directory that only the user can read, with the secrets.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use keyside_sandbox::{KeyPairError, new_app_secret};

/// Makes the named directory, or without a name a temporary directory. Returns its absolute path.
pub(super) fn directory(named: Option<&Path>) -> Result<PathBuf, FileError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    let dir = match named {
        Some(dir) => {
            builder.recursive(true);
            dir.to_owned()
        }
        None => std::env::temp_dir().join(format!("keyside-sandbox-{:.12}", new_app_secret())),
    };
    let created = builder.create(&dir);
    created
        .and_then(|()| dir.canonicalize())
        .map_err(|error| FileError::Io(dir, error))
}

/// Returns the content of a file without surrounding space. A missing or empty file gets new
/// content first.
pub(super) fn read_or_create(
    file: &Path,
    make: impl FnOnce() -> Result<String, KeyPairError>,
) -> Result<String, FileError> {
    match std::fs::read_to_string(file) {
        Ok(content) if !content.trim().is_empty() => Ok(content.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Io(file.to_owned(), error))
        }
        _ => {
            let made = make().map_err(|error| FileError::Key(file.to_owned(), error))?;
            replace(file, &format!("{}\n", made.trim_end()))?;
            Ok(made.trim_end().to_owned())
        }
    }
}

/// Writes a file that only the user can read, in one step: a reader sees the old or the new
/// content.
pub(super) fn replace(file: &Path, content: &str) -> Result<(), FileError> {
    let new = file.with_extension("new");
    let write = || {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?
            .write_all(content.as_bytes())?;
        std::fs::rename(&new, file)
    };
    write().map_err(|error| FileError::Io(file.to_owned(), error))
}

/// Returns a path as a string in TOML, after a prefix.
pub(super) fn toml_string(prefix: &str, path: &Path) -> String {
    let path = path.display().to_string();
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{prefix}{escaped}\"")
}

/// A file that cannot be read or written, or whose content cannot be made or used.
#[derive(Debug)]
pub(super) enum FileError {
    /// The file or directory cannot be read or written.
    Io(PathBuf, io::Error),
    /// The key in the file cannot be made or used.
    Key(PathBuf, KeyPairError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Key(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use keyside_sandbox::new_token;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_the_user_can_read_it() {
        let dir = directory(None).unwrap();
        let file = dir.join("token");
        let make = || Ok(new_token());
        let made = read_or_create(&file, make).unwrap();
        assert_eq!(read_or_create(&file, make).unwrap(), made);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&dir), 0o700);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
