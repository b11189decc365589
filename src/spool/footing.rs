//! The ground under the spool: a lasting disk, or memory and folders with a shorter life.

use std::path::{Path, PathBuf};

/// The kind of file system below the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// A disk or volume, as far as the system tells.
    Disk,
    /// Memory (tmpfs), gone with the machine or the pod.
    Memory,
    /// The writable layer of a container, gone with the container.
    Container,
    /// An `emptyDir` of Kubernetes, gone with the pod.
    Pod,
}

/// Looks at the file system below a folder. An unknown file system counts as a disk.
pub(super) fn below(folder: &Path) -> Footing {
    let kind = rustix::fs::statfs(folder).map_or(0, |data| u64::try_from(data.f_type).unwrap_or(0));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    judge(kind, &mounts, &folder)
}

/// Returns the free bytes below a folder; `None` if unknown.
pub(super) fn free(folder: &Path) -> Option<u64> {
    let data = rustix::fs::statvfs(folder).ok()?;
    Some(data.f_bavail.saturating_mul(data.f_frsize))
}

fn judge(kind: u64, mounts: &str, folder: &Path) -> Footing {
    // An `emptyDir` lies on the disk of the node or in memory: either way the folder ends with the pod.
    if source_of(mounts, folder).is_some_and(|source| source.contains(EMPTY_DIR)) {
        return Footing::Pod;
    }
    match kind {
        TMPFS | RAMFS => Footing::Memory,
        OVERLAY => Footing::Container,
        _ => Footing::Disk,
    }
}

/// Returns the root of the mount above `folder` inside the mounted file system, from the list of the kernel
/// (proc(5), `mountinfo`): `ID PARENT DEVICE ROOT POINT ...`.
fn source_of<'m>(mounts: &'m str, folder: &Path) -> Option<&'m str> {
    let points = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(3);
        Some((words.next()?, PathBuf::from(unescaped(words.next()?))))
    });
    // The later of two mounts at a point is seen.
    points
        .filter(|(_, point)| folder.starts_with(point))
        .max_by_key(|(_, point)| point.as_os_str().len())
        .map(|(source, _)| source)
}

/// Undoes the form of blanks in `mountinfo`.
fn unescaped(point: &str) -> String {
    point.replace("\\040", " ")
}

/// The number of tmpfs in statfs(2).
const TMPFS: u64 = 0x0102_1994;
/// The number of ramfs in statfs(2).
const RAMFS: u64 = 0x8584_58f6;
/// The number of overlayfs in statfs(2): the layers of a container.
const OVERLAY: u64 = 0x794c_7630;
/// The part of the path of an `emptyDir` on the node.
const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:21 / / rw - overlay overlay rw
30 22 8:1 /pods/1f/volumes/kubernetes.io~empty-dir/spool /var/lib/keyside rw - ext4 /dev/sda1 rw
31 22 8:16 / /var/lib/keyside/kept rw - ext4 /dev/sdb rw
32 22 8:1 /pods/1f/volumes/kubernetes.io~empty-dir/a /with\\040blank rw - ext4 /dev/sda1 rw
";

    #[test]
    fn what_ends_with_the_pod_is_told_from_a_volume() {
        const EXT4: u64 = 0xef53;
        for (kind, folder, expected) in [
            (EXT4, "/var/lib/keyside/spool", Footing::Pod),
            (TMPFS, "/var/lib/keyside/spool", Footing::Pod),
            (EXT4, "/var/lib/keyside/kept/spool", Footing::Disk),
            (EXT4, "/var/lib/keysides", Footing::Disk),
            (EXT4, "/with blank/spool", Footing::Pod),
            (OVERLAY, "/srv/spool", Footing::Container),
            (TMPFS, "/run/spool", Footing::Memory),
            (RAMFS, "/run/spool", Footing::Memory),
            (0, "/srv/spool", Footing::Disk),
        ] {
            assert_eq!(judge(kind, MOUNTS, Path::new(folder)), expected, "{folder}");
        }
    }

    #[test]
    fn the_system_tells_of_memory_and_of_free_space() {
        assert_eq!(below(Path::new("/dev/shm")), Footing::Memory);
        assert!(free(Path::new("/")).is_some());
        assert_eq!(free(Path::new("/nowhere")), None);
    }
}
