//! Files that are read together, as of one moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::SourceError;
use super::file::{ReadFile, open, read};
use super::found::RawSecret;
use super::identity::Identity;
use super::mount::MountPoints;
use super::seen::{Seen, SeenFiles};

/// The contents of files that were read together, in the order of the bytes of their paths. Both
/// are lists and no trees, because those of ten thousand tenants would leave their nodes as holes
/// in the heap.
pub(super) struct ReadFiles {
    paths: Vec<PathBuf>,
    contents: Vec<Result<RawSecret, SourceError>>,
}

impl ReadFiles {
    /// Returns the content of a file; `None` for a file that was not read.
    pub(super) fn get(&self, path: &Path) -> Option<&Result<RawSecret, SourceError>> {
        self.contents.get(self.place(path)?)
    }

    /// Takes the content of a file, and leaves [`SourceError::Cancelled`].
    pub(super) fn take(&mut self, path: &Path) -> Result<RawSecret, SourceError> {
        let place = self.place(path);
        let content = place.and_then(|place| self.contents.get_mut(place));
        content.map_or(Err(SourceError::Cancelled), |content| {
            std::mem::replace(content, Err(SourceError::Cancelled))
        })
    }

    fn place(&self, path: &Path) -> Option<usize> {
        let found = self
            .paths
            .binary_search_by(|own| own.as_os_str().cmp(path.as_os_str()));
        found.ok()
    }
}

/// Reads files as of one moment: if any has changed by the time the last one is read, all are read
/// again. A file with the fields of several secrets is read once.
///
/// Kubernetes replaces all files of a volume in one rename of `..data`. A token from before the
/// rename with an app secret from after the rename would be a pair that never existed.
pub(super) fn read_together(mut paths: Vec<PathBuf>) -> (ReadFiles, SeenFiles) {
    paths.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    paths.dedup_by(|one, other| one.as_os_str() == other.as_os_str());
    let results = read_snapshot(&paths);
    let each = paths.iter().zip(&results);
    let seen = each.map(|(path, result)| (path.clone(), Seen::of(path, result)));
    let seen = SeenFiles::new(seen);
    let mounts = MountPoints::of_this_process();
    let contents = paths.iter().zip(results).map(|(path, result)| {
        let (raw, _) = result?;
        Ok(with_mount_warning(path, raw, &mounts))
    });
    let contents = contents.collect();
    (ReadFiles { paths, contents }, seen)
}

/// Reads files until none has changed by the time the last one is read.
fn read_snapshot(paths: &[PathBuf]) -> Vec<ReadFile> {
    for _ in 0..MAX_ATTEMPTS {
        let results: Vec<_> = paths.iter().map(|path| read(path)).collect();
        if is_snapshot(paths, &results) {
            return results;
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
    let unstable = paths.iter().map(|_| Err(SourceError::Unstable));
    unstable.collect()
}

/// True if reading every file now would give the results that were read.
fn is_snapshot(paths: &[PathBuf], results: &[ReadFile]) -> bool {
    let mut read = paths.iter().zip(results);
    read.all(|(path, result)| is_unchanged(path, result))
}

/// Adds a warning about a file that no rename outside reaches.
fn with_mount_warning(path: &Path, mut raw: RawSecret, mounts: &MountPoints) -> RawSecret {
    if mounts.has(path) {
        raw.warnings.push(
            "it is mounted by itself (a bind mount of one file, or a subPath): a new file that replaces it outside never \
             arrives here; mount its folder",
        );
    }
    raw
}

/// True if reading the file now would give an equal result.
fn is_unchanged(path: &Path, result: &ReadFile) -> bool {
    match result {
        Ok((_, sight)) => Identity::at(path) == Some(sight.identity),
        Err(SourceError::File(_)) => std::fs::metadata(path).is_err() || open(path).is_err(),
        Err(SourceError::Unstable) => false,
        Err(_) => true,
    }
}

/// The number of readings of files that change during a reading: a volume is replaced once a minute
/// at most, and a reading takes milliseconds.
const MAX_ATTEMPTS: usize = 5;
/// The time between two attempts: longer than replacing the files of a volume takes.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_named_pipe_in_the_place_of_a_missing_file_is_a_change() {
        let name = format!("keyside-snapshot-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let missing = Err(SourceError::unreadable(ErrorKind::NotFound.into()));
        let was_unchanged = is_unchanged(&path, &missing);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let is_unchanged = is_unchanged(&path, &missing);
        std::fs::remove_file(&path).unwrap();
        assert!(was_unchanged);
        assert!(!is_unchanged);
    }

    #[test]
    fn contents_are_found_by_path_and_taken_once() {
        let paths = ["/keyside/none/a", "/keyside/none/b"].map(PathBuf::from);
        let (mut files, _) = read_together(paths.to_vec());
        assert!(files.get(Path::new("/keyside/none/c")).is_none());
        let first = files.take(&paths[1]);
        assert!(matches!(first, Err(SourceError::File(_))));
        let second = files.take(&paths[1]);
        assert!(matches!(second, Err(SourceError::Cancelled)));
        let other = files.get(&paths[0]);
        assert!(matches!(other, Some(Err(SourceError::File(_)))));
    }
}
