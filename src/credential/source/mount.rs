//! Files with a mount of their own.
//!
//! A bind mount of a single file, and a `subPath` of Kubernetes, keep the file from the time of the mount. A
//! replacement of the file outside never arrives.

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
