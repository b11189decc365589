//! The files of a sandbox: a directory for the user alone, and the secrets in it.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::sandbox;

/// The directory asked for, or a new one that only the user can read.
pub(super) fn directory(asked: Option<&Path>) -> io::Result<PathBuf> {
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    let dir = match asked {
        Some(dir) => {
            builder.recursive(true).create(dir)?;
            dir.to_owned()
        }
        None => {
            let dir = std::env::temp_dir().join(format!("keyside-sandbox-{:.12}", sandbox::new_app_secret()));
            builder.create(&dir)?;
            dir
        }
    };
    dir.canonicalize()
}

/// The content of a file, which is made if it is not there.
pub(super) fn kept(file: &Path, make: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
    match std::fs::read_to_string(file) {
        Ok(content) if !content.trim().is_empty() => Ok(content.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(about(file, &error).into()),
        _ => {
            let made = make()?;
            replace(file, &format!("{}\n", made.trim_end()))?;
            Ok(made.trim_end().to_owned())
        }
    }
}

/// Why there is no file, or nothing to put into it.
pub(super) type Failure = Box<dyn std::error::Error>;

/// Writes a file as a whole, for the user alone: a reader finds the old content or the new.
pub(super) fn replace(file: &Path, content: &str) -> io::Result<()> {
    let beside = file.with_extension("new");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        new.write_all(content.as_bytes())?;
        std::fs::rename(&beside, file)
    };
    write().map_err(|error| about(file, &error))
}

/// The same error with the file's name.
pub(super) fn about(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

/// A path as a TOML string.
pub(super) fn quoted(scheme: &str, path: &Path) -> String {
    let path = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{scheme}{path}\"")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_the_user_alone() {
        let dir = directory(None).unwrap();
        let file = dir.join("token");
        let make = || Ok(sandbox::new_token());
        let made = kept(&file, make).unwrap();
        assert_eq!(kept(&file, make).unwrap(), made);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
