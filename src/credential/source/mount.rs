//! Files with a mount of their own, and folders that are mounted read-only.
//!
//! A bind mount of a single file, and a `subPath` of Kubernetes, keep the file from the time of the
//! mount. A replacement of the file outside never arrives.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The places at which something is mounted.
pub(super) struct MountPoints(BTreeSet<PathBuf>);

impl MountPoints {
    /// Reads the mount points of this process. Without `/proc`, there are none.
    pub(super) fn of_this_process() -> Self {
        Self::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Reads the format of proc(5): the fifth field of each line is the mount point.
    fn parse(mountinfo: &[u8]) -> Self {
        let lines = mountinfo.split(|byte| *byte == b'\n');
        let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
        Self(
            fields
                .map(|field| PathBuf::from(OsString::from_vec(unescaped(field))))
                .collect(),
        )
    }

    /// Returns the mount points that are files.
    pub(super) fn into_files(self) -> BTreeSet<PathBuf> {
        let points = self.0.into_iter();
        points.filter(|point| point.is_file()).collect()
    }

    /// True if a file is itself a mount point, directly or behind symbolic links.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.0.contains(file)
            || file
                .canonicalize()
                .is_ok_and(|target| self.0.contains(&target))
    }
}

/// The mount that a file is on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The place of the mount in the folders of this process.
    pub(super) point: PathBuf,
    /// The part of the file system that is mounted there: `/` for the whole.
    root: PathBuf,
    /// The device, or the share of a server.
    pub(super) source: String,
}

impl Mount {
    /// Returns the mount of a file, behind all links, if nothing can be written there. The file may
    /// be missing.
    pub(super) fn read_only_of(file: &Path) -> Option<Self> {
        let folder = file.parent()?;
        let flags = rustix::fs::statvfs(folder).ok()?.f_flag;
        if !flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            return None;
        }
        Self::find(&std::fs::read("/proc/self/mountinfo").ok()?, folder)
    }

    /// Finds the mount of a folder in the format of proc(5). The last mount at a point hides the
    /// earlier ones.
    fn find(mountinfo: &[u8], folder: &Path) -> Option<Self> {
        let lines = mountinfo.split(|byte| *byte == b'\n');
        lines
            .filter_map(Self::parse)
            .filter(|mount| folder.starts_with(&mount.point))
            // `max_by_key` returns the last of mounts on one point.
            .max_by_key(|mount| mount.point.components().count())
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescaped(field)));
        let mut fields = line.split(|byte| *byte == b' ');
        let root = path(fields.nth(3)?);
        let point = path(fields.next()?);
        // The fields in between are options, of any number.
        let mut behind = fields.skip_while(|field| *field != b"-");
        let source = String::from_utf8_lossy(behind.nth(2)?).into_owned();
        Some(Self {
            point,
            root,
            source,
        })
    }

    /// Returns the path of a file within the file system, if a part of a file system is mounted.
    pub(super) fn path_at_source(&self, file: &Path) -> Option<PathBuf> {
        let is_part = self.root != Path::new("/");
        let rest = file.strip_prefix(&self.point).ok()?;
        is_part.then(|| self.root.join(rest))
    }
}

/// Returns a field with its escapes resolved: a space is `\040`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| after.split_at_checked(3))
            .flatten()
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 8).ok()?, after))
            });
        let (byte, after) = code.unwrap_or((*first, after));
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_a_folder_is_the_innermost_and_the_latest() {
        let mountinfo = b"22 1 0:20 / / rw - overlay overlay rw\n\
              31 22 8:1 /srv/acme /run/secrets ro,relatime master:1 shared:2 - ext4 /dev/sda1 rw\n\
              32 31 0:41 / /run/secrets/inner ro - nfs4 server:/keys rw\n\
              33 31 0:42 / /run/secrets/inner ro - tmpfs second rw\n";
        for (folder, file, source, at_source) in [
            ("/etc", "/etc/token", "overlay", None),
            ("/run/secretsX", "/run/secretsX/token", "overlay", None),
            (
                "/run/secrets",
                "/run/secrets/token",
                "/dev/sda1",
                Some("/srv/acme/token"),
            ),
            (
                "/run/secrets/a",
                "/run/secrets/a/t",
                "/dev/sda1",
                Some("/srv/acme/a/t"),
            ),
            ("/run/secrets/inner", "/run/secrets/inner/t", "second", None),
        ] {
            let mount = Mount::find(mountinfo, Path::new(folder)).unwrap();
            assert_eq!(mount.source, source, "{folder}");
            let found = mount.path_at_source(Path::new(file));
            assert_eq!(found.as_deref(), at_source.map(Path::new), "{folder}");
        }
    }

    #[test]
    fn a_file_that_is_a_mount_point_is_found() {
        let mounts = MountPoints::parse(
            b"22 1 0:20 / / rw - overlay overlay rw\n\
              31 22 8:1 /k/token /run/secrets/token ro,relatime - ext4 /dev/sda1 rw\n\
              32 22 8:1 /x /run/my\\040secrets/a\\134b ro - ext4 /dev/sda1 rw\n",
        );
        for (file, expected) in [
            ("/run/secrets/token", true),
            ("/run/secrets/app_secret", false),
            ("/run/secrets", false),
            ("/run/my secrets/a\\b", true),
        ] {
            assert_eq!(mounts.has(Path::new(file)), expected, "{file}");
        }
    }
}
