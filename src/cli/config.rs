//! The option that names the configuration.

use std::path::{Path, PathBuf};

use crate::config::{ConfigFile, DEFAULT_PATH, PATH_HERE};

/// The option of every command that reads the configuration.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration: a file, or a folder with *.toml [default: proxy.toml, then
    /// /etc/keyside/proxy.toml]
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Returns the named file, or the first existing default.
    pub(super) fn file(self) -> ConfigFile {
        let here = Path::new(PATH_HERE);
        match self.config {
            Some(path) => ConfigFile::Named(path),
            None if here.exists() => ConfigFile::Found(here.to_owned()),
            None => ConfigFile::Named(DEFAULT_PATH.into()),
        }
    }
}
