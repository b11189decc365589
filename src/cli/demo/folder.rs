//! Where the demo keeps its secrets.

use std::path::{Path, PathBuf};

use super::Outcome;
use crate::sandbox::{new_app_secret, new_token};

/// A folder of the demo's own, gone when it ends.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one, with secrets in it.
    pub(super) fn new() -> Outcome<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("keyside-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self(path);
        folder.replace("token", &new_token())?;
        folder.replace("app_secret", &new_app_secret())?;
        folder.replace("verify_token", &new_app_secret())?;
        Ok(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn read(&self, name: &str) -> Outcome<String> {
        Ok(std::fs::read_to_string(self.path(name))?)
    }

    /// In one step, so that nobody reads half a secret.
    pub(super) fn replace(&self, name: &str, secret: &str) -> Outcome<()> {
        let beside = self.path(&format!("{name}.new"));
        write_private(&beside, secret)?;
        Ok(std::fs::rename(beside, self.path(name))?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
