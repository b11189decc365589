//! The folder with the demo's configuration and secrets.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use keyside_sandbox::{new_app_secret, new_token};

use super::DemoResult;

/// A temporary folder, deleted when dropped.
pub(super) struct DemoFolder(PathBuf);

impl DemoFolder {
    /// Makes a folder with a token, an app secret and a verify token in it.
    pub(super) fn new() -> DemoResult<Self> {
        let path = std::env::temp_dir().join(format!("keyside-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self(path);
        folder.replace("token", &new_token())?;
        folder.replace("app_secret", &new_app_secret())?;
        folder.replace("verify_token", &new_app_secret())?;
        Ok(folder)
    }

    /// Returns the path of a file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads a file.
    pub(super) fn read(&self, name: &str) -> DemoResult<String> {
        Ok(std::fs::read_to_string(self.path(name))?)
    }

    /// Replaces a file in one step, so that no reader sees half a secret.
    pub(super) fn replace(&self, name: &str, secret: &str) -> DemoResult<()> {
        let new = self.path(&format!("{name}.new"));
        write_private(&new, secret)?;
        Ok(std::fs::rename(new, self.path(name))?)
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Writes a file that only the user can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
