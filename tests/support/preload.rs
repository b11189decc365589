//! Libraries in C that are loaded before Keyside's own: what they measure or delay, no test could
//! from outside.

use std::path::PathBuf;
use std::process::Command;

use super::keyside::Directory;

/// Compiles a source of `tests/support` into a folder.
pub fn compile(source: &str, folder: &Directory) -> PathBuf {
    let library = folder.join(source).with_extension("so");
    let compiled = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(format!(
            "{}/tests/support/{source}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .arg("-ldl")
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "{source}");
    library
}
