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

/// A file system whose files the kernel makes up: nothing of a program stays there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeUp {
    /// The name of its kind.
    pub kind: String,
    /// The place where it begins.
    pub point: PathBuf,
}

/// Returns the file system at a folder, or at the next folder above that exists, if the kernel
/// makes up its files.
pub(super) fn made_up(folder: &Path) -> Option<MadeUp> {
    let there = folder
        .ancestors()
        .find_map(|path| path.canonicalize().ok())?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    judge_kind(&mounts, &there)
}

/// The space of the disk below the spool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskSpace {
    /// The free bytes.
    pub(super) free: u64,
    /// The size of the disk.
    pub(super) size: u64,
}

/// The room of a disk for events, in bytes of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskRoom {
    /// The bound on all events in the store.
    pub(super) bound: u64,
    /// The bound on the new events of a transaction: removed events give no page to the same
    /// transaction.
    pub(super) fresh: u64,
}

/// Returns the space of the disk below a folder; `None` if unknown.
pub(super) fn space(folder: &Path) -> Option<DiskSpace> {
    let data = rustix::fs::statvfs(folder).ok()?;
    Some(DiskSpace {
        free: data.f_bavail.saturating_mul(data.f_frsize),
        size: data.f_blocks.saturating_mul(data.f_frsize),
    })
}

impl DiskSpace {
    /// Returns the room for events, with `bytes` of events and `known` bytes of known items in a
    /// file that takes `file` bytes of the disk.
    ///
    /// New events leave a reserve to the outcomes of deliveries: a store that cannot note an
    /// outcome delivers nothing, and makes no room ever again. An event takes up to twice its
    /// length, because the engine gives out pages in powers of two, and the file keeps the pages of
    /// removed events for later events.
    pub(super) fn room(self, file: u64, bytes: u64, known: u64) -> DiskRoom {
        let reserve = RESERVE.min(self.size / 8);
        let fresh = self.free.saturating_sub(reserve / 4) / 2;
        if self.free < reserve / 2 {
            // Most pages of the file must be free, so that the file need not grow.
            let bound = (file / 4).saturating_sub(known);
            return DiskRoom { bound, fresh };
        }
        let new = self.free.saturating_sub(reserve) / 2;
        let in_file = (file / 2).saturating_sub(known);
        DiskRoom {
            bound: bytes.saturating_add(new).max(in_file),
            fresh,
        }
    }
}

impl DiskRoom {
    /// The room of a disk of unknown size: no bound.
    pub(super) const UNKNOWN: Self = Self {
        bound: u64::MAX,
        fresh: u64::MAX,
    };

    /// True if an event of this size finds room beside `held` bytes of events that no removal makes
    /// room of.
    pub(super) fn has(self, held: u64, size: u64) -> bool {
        held.saturating_add(size) <= self.bound && size <= self.fresh
    }
}

fn judge(kind: u64, mounts: &str, folder: &Path) -> Footing {
    // An `emptyDir` lies on the disk of the node or in memory: either way the folder ends with the
    // pod.
    if mount_above(mounts, folder).is_some_and(|mount| mount.root.contains(EMPTY_DIR)) {
        return Footing::Pod;
    }
    match kind {
        TMPFS | RAMFS => Footing::Memory,
        OVERLAY => Footing::Container,
        _ => Footing::Disk,
    }
}

fn judge_kind(mounts: &str, folder: &Path) -> Option<MadeUp> {
    let mount = mount_above(mounts, folder)?;
    // The devices of a container lie on a tmpfs.
    let is_made_up = MADE_UP.contains(&mount.kind) || mount.point == Path::new(DEVICES);
    is_made_up.then(|| MadeUp {
        kind: mount.kind.to_owned(),
        point: mount.point,
    })
}

/// A mount, from the list of the kernel (proc(5), `mountinfo`): `ID PARENT DEVICE ROOT POINT
/// OPTIONS [TAGS] - KIND ...`.
struct MountLine<'m> {
    /// The root of the mount inside the mounted file system.
    root: &'m str,
    point: PathBuf,
    /// The name of the kind of the file system.
    kind: &'m str,
}

impl<'m> MountLine<'m> {
    fn read(line: &'m str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut words = head.split(' ').skip(3);
        Some(Self {
            root: words.next()?,
            point: PathBuf::from(unescaped(words.next()?)),
            kind: tail.split(' ').next()?,
        })
    }
}

/// Returns the mount above `folder`.
fn mount_above<'m>(mounts: &'m str, folder: &Path) -> Option<MountLine<'m>> {
    // The later of two mounts at a point is seen.
    mounts
        .lines()
        .filter_map(MountLine::read)
        .filter(|mount| folder.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len())
}

/// Undoes the form of blanks in `mountinfo`.
fn unescaped(point: &str) -> String {
    point.replace("\\040", " ")
}

/// The reserve of the disk for outcomes, in bytes: a transaction of 512 outcomes writes some 8 MiB
/// of pages at most. A disk of less than 128 MiB keeps an eighth.
const RESERVE: u64 = 16 << 20;
/// The number of tmpfs in statfs(2).
const TMPFS: u64 = 0x0102_1994;
/// The number of ramfs in statfs(2).
const RAMFS: u64 = 0x8584_58f6;
/// The number of overlayfs in statfs(2): the layers of a container.
const OVERLAY: u64 = 0x794c_7630;
/// The kinds of file systems whose files the kernel makes up (filesystems(5)). A folder in some of
/// them can even be made, and a file in none keeps what is written.
const MADE_UP: [&str; 20] = [
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];
/// The place of devices.
const DEVICES: &str = "/dev";
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
    fn a_file_system_that_the_kernel_makes_up_is_told_from_a_disk() {
        const SYSTEM: &str = "\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:22 / /proc rw,relatime shared:5 - proc proc rw
24 22 0:6 / /dev rw - devtmpfs devtmpfs rw
25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw
26 22 0:7 / /sys rw - sysfs sysfs rw
27 26 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup rw
28 22 0:8 / /run rw - tmpfs tmpfs rw
";
        const CONTAINER: &str = "\
22 1 0:21 / / rw - overlay overlay rw
24 22 0:6 / /dev rw - tmpfs tmpfs rw
";
        for (mounts, folder, kind) in [
            (SYSTEM, "/proc", Some("proc")),
            (SYSTEM, "/proc/1/task", Some("proc")),
            (SYSTEM, "/sys/kernel", Some("sysfs")),
            (SYSTEM, "/sys/fs/cgroup/unified", Some("cgroup2")),
            (SYSTEM, "/dev", Some("devtmpfs")),
            (CONTAINER, "/dev", Some("tmpfs")),
            // Memory is no disk either, and the alarm about memory says so.
            (SYSTEM, "/dev/shm", None),
            (SYSTEM, "/run", None),
            (SYSTEM, "/var/lib", None),
            (SYSTEM, "/process", None),
            (CONTAINER, "/var/lib", None),
        ] {
            let judged = judge_kind(mounts, Path::new(folder));
            let found = judged.as_ref().map(|judged| judged.kind.as_str());
            assert_eq!(found, kind, "{folder}");
        }
        assert_eq!(
            made_up(Path::new("/proc/there/is/none")).map(|found| found.kind),
            Some("proc".to_owned())
        );
    }

    #[test]
    fn the_system_tells_of_memory_and_of_free_space() {
        assert_eq!(below(Path::new("/dev/shm")), Footing::Memory);
        assert!(space(Path::new("/")).is_some_and(|space| space.size >= space.free));
        assert_eq!(space(Path::new("/nowhere")), None);
    }

    #[test]
    fn new_events_leave_a_reserve_and_use_the_pages_of_removed_events() {
        const MIB: u64 = 1 << 20;
        for (size, free, file, bytes, bound, fresh) in [
            // Beyond the reserve, half of the free bytes.
            (1024, 116, 400, 300, 350, 56),
            // The reserve: new events take the place of delivered events.
            (1024, 16, 800, 500, 500, 6),
            (1024, 10, 800, 500, 500, 3),
            // Many pages of the file are free, but for 50 MiB of known items.
            (1024, 10, 800, 100, 350, 3),
            // Half of the reserve is gone.
            (1024, 6, 800, 500, 150, 1),
            // The rest is for outcomes alone.
            (1024, 4, 800, 100, 150, 0),
            (1024, 0, 800, 100, 150, 0),
            // A small disk has a small reserve.
            (16, 6, 8, 4, 6, 2),
        ] {
            let space = DiskSpace {
                free: free * MIB,
                size: size * MIB,
            };
            let room = space.room(file * MIB, bytes * MIB, 50 * MIB);
            let found = (room.bound / MIB, room.fresh / MIB);
            assert_eq!(found, (bound, fresh), "{space:?} {file} {bytes}");
        }
    }
}
