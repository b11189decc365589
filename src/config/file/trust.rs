//! The trust in a configuration file that nobody has named.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the reason for which another user could change a file; `None` if only the user of the process and root can.
pub(super) fn weakness(path: &Path) -> Option<&'static str> {
    let user = rustix::process::geteuid().as_raw();
    // The metadata of a link and of the file behind the link: the owner of either chooses the content.
    let files = [path.symlink_metadata(), path.metadata()];
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.metadata(),
        _ => Path::new(".").metadata(),
    };
    let mut files = files.iter().flatten();
    if files.clone().any(|file| is_of_another(file, user)) {
        return Some("it belongs to another user");
    }
    if files.any(|file| file.is_file() && file.mode() & WRITABLE_BY_OTHERS != 0) {
        return Some("other users may write it");
    }
    let folder = folder.ok()?;
    let is_open = folder.mode() & WRITABLE_BY_OTHERS != 0 && folder.mode() & STICKY == 0;
    (is_open || is_of_another(&folder, user))
        .then_some("another user may replace it in its directory")
}

fn is_of_another(file: &Metadata, user: u32) -> bool {
    file.uid() != user && file.uid() != 0
}

/// The permission to write, of the group and of all users.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// In a directory with this bit, only the owner of a file may replace the file.
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

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
            (
                0o775,
                0o644,
                Some("another user may replace it in its directory"),
            ),
            (
                0o777,
                0o644,
                Some("another user may replace it in its directory"),
            ),
        ] {
            fs::set_permissions(&folder, Permissions::from_mode(folder_mode)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(file_mode)).unwrap();
            let found = weakness(&file);
            assert_eq!(found, expected, "{folder_mode:o} {file_mode:o}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
