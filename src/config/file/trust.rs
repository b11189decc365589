//! The trust in a configuration file that nobody has named.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the reason for which another user could change a file; `None` if only the user of the
/// process and root can.
///
/// Judged are the name as given and the file behind all links, each with every directory up to the
/// root: the owner of a directory chooses the content.
pub(super) fn weakness(path: &Path) -> Option<&'static str> {
    let user = rustix::process::geteuid().as_raw();
    let files = [path.symlink_metadata(), path.metadata()];
    let mut found = files.iter().flatten();
    if found.clone().any(|file| is_of_another(file, user)) {
        return Some("it belongs to another user");
    }
    if found.any(|file| file.is_file() && file.mode() & WRITABLE_BY_OTHERS != 0) {
        return Some("other users may write it");
    }
    let named = std::path::absolute(path).ok();
    let resolved = path.canonicalize().ok();
    [&named, &resolved]
        .into_iter()
        .flatten()
        .flat_map(|file| file.ancestors())
        .filter_map(|folder| folder.metadata().ok())
        .any(|folder| folder.is_dir() && may_replace_in(&folder, user))
        .then_some(REPLACEABLE)
}

/// Returns true for a directory in which users besides the owner of a file may replace the file.
fn may_replace_in(folder: &Metadata, user: u32) -> bool {
    let is_open = folder.mode() & WRITABLE_BY_OTHERS != 0 && folder.mode() & STICKY == 0;
    is_open || is_of_another(folder, user)
}

fn is_of_another(file: &Metadata, user: u32) -> bool {
    file.uid() != user && file.uid() != 0
}

const REPLACEABLE: &str = "another user may replace it, or a directory above it";
/// The permission to write, of the group and of all users.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// In a directory with this bit, only the owner of a file may replace the file.
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_trusted_that_no_other_user_can_change() {
        let folder = std::env::temp_dir().join(format!("keyside-trust-{}", std::process::id()));
        let file = folder.join("proxy.toml");
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, "").unwrap();
        for (folder_mode, file_mode, expected) in [
            (0o755, 0o644, None),
            (0o700, 0o600, None),
            (0o1777, 0o644, None),
            (0o755, 0o664, Some("other users may write it")),
            (0o755, 0o646, Some("other users may write it")),
            (0o775, 0o644, Some(REPLACEABLE)),
            (0o777, 0o644, Some(REPLACEABLE)),
        ] {
            fs::set_permissions(&folder, Permissions::from_mode(folder_mode)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(file_mode)).unwrap();
            let found = weakness(&file);
            assert_eq!(found, expected, "{folder_mode:o} {file_mode:o}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_directory_above_a_file_and_above_the_end_of_a_link_counts() {
        let folder = std::env::temp_dir().join(format!("keyside-trust-up-{}", std::process::id()));
        let (open, inner) = (folder.join("open"), folder.join("open/inner"));
        fs::create_dir_all(&inner).unwrap();
        let file = inner.join("proxy.toml");
        fs::write(&file, "").unwrap();
        let link = folder.join("proxy.toml");
        symlink(&file, &link).unwrap();
        for (mode, expected) in [
            (0o755, None),
            (0o1777, None),
            (0o777, Some(REPLACEABLE)),
            (0o775, Some(REPLACEABLE)),
        ] {
            fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
            assert_eq!(weakness(&file), expected, "{mode:o}");
            assert_eq!(weakness(&link), expected, "{mode:o} by a link");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
