//! The metadata that changes whenever the content of a file does.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::StatFs;

/// The metadata that changes whenever the content of a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// The time of the last modification, in seconds and nanoseconds.
    modified: (i64, i64),
    /// The time of the last change of content, owner or permissions. No program can set this time.
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the identity of the file that a path leads to now; `None` without a file.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self::of(&metadata))
    }

    /// True if a file read at the time `now` cannot have another content under this identity: the
    /// file was left alone for longer than the steps in which file systems count time.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since_epoch.unwrap_or_default().as_secs();
        let changed = u64::try_from(self.changed.0).unwrap_or(u64::MAX);
        seconds > changed.saturating_add(SETTLING_TIME.as_secs())
    }
}

/// True for a file on a file system of this machine's own. The kernel sees every change there:
/// metadata is never out of date, and a watched folder gives notice of changes.
pub(super) fn is_local(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| is_local_kind(&found))
}

/// True for a path on a file system of this machine's own.
#[must_use]
pub fn is_local_path(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| is_local_kind(&found))
}

fn is_local_kind(found: &StatFs) -> bool {
    // The width of the field differs between machines.
    let kind = i128::from(found.f_type);
    LOCAL_KINDS.contains(&kind)
}

/// The time for which a file must have been left alone: FAT counts in steps of two seconds.
const SETTLING_TIME: Duration = Duration::from_secs(2);
/// The file systems of a machine's own, by their magic numbers (statfs(2)): ext4, XFS, Btrfs,
/// tmpfs, ramfs, overlayfs, F2FS, ZFS, bcachefs. All others, such as NFS, SMB, 9P and FUSE, may
/// change behind the kernel's back.
const LOCAL_KINDS: [i128; 9] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x0102_1994,
    0x8584_58F6,
    0x794C_7630,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xCA45_1A4E,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_once_it_was_left_alone_for_some_seconds() {
        let changed_at = |seconds| Identity {
            device: 1,
            inode: 2,
            size: 3,
            modified: (0, 0),
            changed: (seconds, 0),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (seconds, expected) in [
            (0, true),
            (997, true),
            (998, false),
            (1000, false),
            (2000, false),
            (-1, false),
        ] {
            assert_eq!(changed_at(seconds).is_settled(now), expected, "{seconds}");
        }
    }

    #[test]
    fn a_file_on_proc_is_not_on_a_file_system_of_files() {
        assert!(!is_local_path(Path::new("/proc/self/status")));
        assert!(!is_local_path(Path::new("/no/such/file")));
    }
}
