//! The files in use as they were last seen: the digest of each content, and the metadata that
//! spares a further read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::file::{ReadFile, Sight, open};
use super::identity::Identity;

/// The files in use as they were last seen, to notice changes. Digests never leave the process.
///
/// Equal if all contents are equal, whatever the metadata.
///
/// Paths are compared as bytes: a comparison by components took a third of a reload of ten thousand
/// tenants.
#[derive(Clone, Debug, Default)]
pub struct SeenFiles(BTreeMap<OsString, Seen>);

/// A file as it was last seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The digest of the content, or of the fault.
    digest: [u8; 32],
    /// The metadata by which the content is known again; `None` if only a read can prove the
    /// content.
    identity: Option<Identity>,
}

/// The care of a check of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Files whose metadata is unchanged are not read.
    Metadata,
    /// Every file is read: a change that left no trace in the metadata is found as well.
    Content,
}

impl SeenFiles {
    /// Files that were seen by reading their secrets.
    pub(super) fn new(files: impl Iterator<Item = (PathBuf, Seen)>) -> Self {
        let by_bytes = files.map(|(path, seen)| (path.into_os_string(), seen));
        Self(by_bytes.collect())
    }

    /// Reads these files and folders.
    #[must_use]
    pub fn read(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self::new(paths.into_iter().map(|path| {
            let seen = Seen::now(&path);
            (path, seen)
        }))
    }

    /// Checks all files again. Returns the present state, and the number of read files.
    #[must_use]
    pub fn checked(&self, care: Care) -> (Self, usize) {
        let mut count = 0;
        let mut look = |path: &Path, before: &Seen| match care {
            Care::Metadata if before.is_unchanged(path) => *before,
            Care::Metadata | Care::Content => {
                count += 1;
                Seen::now(path)
            }
        };
        let seen = self
            .0
            .iter()
            .map(|(path, before)| (path.clone(), look(Path::new(path), before)))
            .collect();
        (Self(seen), count)
    }

    /// True if the metadata of a file proves that its content is the same as when the file was last
    /// seen.
    #[must_use]
    pub fn is_unchanged(&self, path: &Path) -> bool {
        let seen = self.0.get(path.as_os_str());
        seen.is_some_and(|seen| seen.is_unchanged(path))
    }

    /// Notes the content of a file from a reading before this check. If the content differs, the
    /// next check finds the difference.
    pub fn note_content(&mut self, path: &Path, content: &[u8]) {
        let digest = digest(content);
        if let Some(seen) = self
            .0
            .get_mut(path.as_os_str())
            .filter(|seen| seen.digest != digest)
        {
            *seen = Seen {
                digest,
                identity: None,
            };
        }
    }

    /// Adds files, or replaces known files.
    pub fn extend(&mut self, other: Self) {
        // Built anew, the nodes of the tree are full: one by one, files in the order of names leave
        // each half empty.
        let own = std::mem::take(&mut self.0);
        self.0 = own.into_iter().chain(other.0).collect();
    }

    /// Adds a file as `other` has seen it.
    pub fn copy_from(&mut self, other: &Self, path: &Path) {
        if let Some(seen) = other.0.get(path.as_os_str()) {
            self.0.insert(path.as_os_str().to_owned(), *seen);
        }
    }

    /// Returns each file with the digest of its content.
    fn digests(&self) -> impl Iterator<Item = (&OsString, [u8; 32])> {
        self.0.iter().map(|(path, seen)| (path, seen.digest))
    }

    /// Returns the files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(Path::new)
    }

    /// True if a file has another content than in `before`, or is new.
    #[must_use]
    pub fn differs(&self, before: &Self, path: &Path) -> bool {
        let digest = |files: &Self| files.0.get(path.as_os_str()).map(|seen| seen.digest);
        digest(self) != digest(before)
    }
}

impl PartialEq for SeenFiles {
    fn eq(&self, other: &Self) -> bool {
        self.digests().eq(other.digests())
    }
}

impl Seen {
    /// A file as the reading of a secret has seen it.
    pub(super) fn of(path: &Path, read: &ReadFile) -> Self {
        match read {
            Ok((raw, sight)) => Self {
                digest: digest(&raw.bytes),
                identity: sight.trusted(),
            },
            Err(_) => Self::now(path),
        }
    }

    /// Reads a file, or the names in a folder.
    fn now(path: &Path) -> Self {
        Self::read(path).unwrap_or(Self {
            digest: UNREADABLE,
            identity: None,
        })
    }

    fn read(path: &Path) -> std::io::Result<Self> {
        let mut file = open(path)?;
        // The metadata comes first: a change while the content is read changes the metadata as
        // well.
        let metadata = file.metadata()?;
        let digest = if metadata.is_dir() {
            digest_of_names(path)
        } else if metadata.is_file() {
            digest_of_content(&mut file)?
        } else {
            UNREADABLE
        };
        Ok(Self {
            digest,
            identity: Sight::of(&file, &metadata).trusted(),
        })
    }

    fn is_unchanged(&self, path: &Path) -> bool {
        self.identity.is_some() && self.identity == Identity::at(path)
    }
}

/// Returns the digest of the names of the configuration files in a folder: the watch notices new
/// files.
fn digest_of_names(folder: &Path) -> [u8; 32] {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: BTreeSet<_> = entries
        .map(|entry| entry.file_name())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|ending| ending == "toml")
        })
        .collect();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_encoded_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// Returns the digest of a file's content, however long the file is. The file may hold a secret:
/// the buffer is wiped.
fn digest_of_content(file: &mut File) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut buffer = Zeroizing::new([0; 4096]);
    loop {
        let length = file.read(&mut buffer[..])?;
        match buffer.get(..length).unwrap_or_default() {
            [] => return Ok(hash.finalize().into()),
            bytes => hash.update(bytes),
        }
    }
}

fn digest(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// The digest of a file that cannot be read, which no content has.
const UNREADABLE: [u8; 32] = [0; 32];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// A folder with files that were changed an hour ago, by the clock of the kernel: `count`
    /// copies cannot be aged, since nobody sets the time of a change, so the settling time is
    /// waited for once.
    fn settled(name: &str, count: usize) -> (PathBuf, SeenFiles) {
        let folder =
            std::env::temp_dir().join(format!("keyside-seen-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let paths: Vec<_> = (0..count).map(|at| folder.join(at.to_string())).collect();
        for path in &paths {
            fs::write(path, "one").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_secs(4));
        (folder, SeenFiles::read(paths))
    }

    #[test]
    fn of_many_files_only_the_changed_one_is_read() {
        let (folder, seen) = settled("many", 200);
        let (now, read) = seen.checked(Care::Metadata);
        assert_eq!((read, now == seen), (0, true));
        assert_eq!(seen.checked(Care::Content).1, 200);
        let changed = folder.join("7");
        fs::write(&changed, "two").unwrap();
        let (now, read) = seen.checked(Care::Metadata);
        assert_eq!((read, now == seen), (1, false));
        assert!(now.differs(&seen, &changed));
        assert!(!now.differs(&seen, &folder.join("8")));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_change_is_seen_whose_size_and_time_of_modification_are_the_old_ones() {
        let (folder, seen) = settled("times", 2);
        let file = folder.join("1");
        fs::write(&file, "two").unwrap();
        let touched = Command::new("touch")
            .arg("-r")
            .args([folder.join("0"), file])
            .status();
        assert!(touched.unwrap().success());
        assert!(seen.checked(Care::Metadata).0 != seen);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_was_written_just_now_is_read_again() {
        let folder = std::env::temp_dir().join(format!("keyside-seen-new-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("new"), "one").unwrap();
        let seen = SeenFiles::read([folder.join("new"), folder.join("missing")]);
        assert_eq!(seen.checked(Care::Metadata).1, 2);
        fs::remove_dir_all(&folder).unwrap();
    }
}
