//! Notices of the kernel (inotify) about the folders of files: files are checked after a change in
//! the folder, and not before.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::pending;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::credential::source::{is_local_path, mounted_files};

/// A queue of notices.
#[derive(Clone, Debug)]
pub(super) struct Notices(Arc<AsyncFd<OwnedFd>>);

/// The folders that a queue has notices of.
#[derive(Debug, Default)]
pub(super) struct Followed {
    watches: BTreeSet<i32>,
    /// The reason for which some changes bring no notice; `None` if all do.
    pub(super) gap: Option<Gap>,
}

/// The reason for which some changes bring no notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// The user may watch no more folders.
    TooManyFolders,
    /// A folder is missing, or lies on a file system that others change as well.
    UnseenFolder,
}

impl Notices {
    /// Opens a queue.
    ///
    /// # Errors
    /// If the user has too many queues, or the kernel has none.
    pub(super) fn open() -> std::io::Result<Self> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self(Arc::new(asynchronous(queue)?)))
    }

    /// Waits for notices, and takes all of them.
    pub(super) async fn wait(&self) {
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                return pending().await;
            };
            let count = self.take();
            if count == 0 {
                ready.clear_ready();
            } else {
                return;
            }
        }
    }

    /// Takes the notices in the queue. Returns their number.
    fn take(&self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(self.0.get_ref(), &mut buffer);
        (0..MAX_NOTICES)
            .take_while(|_| reader.next().is_ok())
            .count()
    }

    /// Follows the folders of these files, and the folders among the files of the configuration, in
    /// place of what was followed before. Waits for the disk.
    pub(super) fn follow(
        &self,
        files: &[PathBuf],
        config_files: &[PathBuf],
        before: &Followed,
    ) -> Followed {
        let folders = config_files.iter().filter(|path| path.is_dir());
        let view = FileSystemView {
            link: &|path| std::fs::read_link(path).ok(),
            mounted: mounted_files(),
            folders: folders.cloned().collect(),
        };
        let mut followed = Followed::default();
        for place in places_of(files, &view) {
            // The folder of a relative path.
            let place = if place.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                place
            };
            match inotify::add_watch(self.0.get_ref(), &place, CHANGES) {
                Ok(watch) => {
                    followed.watches.insert(watch);
                    if !is_local_path(&place) {
                        followed.gap = Some(Gap::UnseenFolder);
                    }
                }
                Err(Errno::NOSPC) => {
                    self.forget(&followed.watches);
                    self.forget(&before.watches);
                    return Followed {
                        watches: BTreeSet::new(),
                        gap: Some(Gap::TooManyFolders),
                    };
                }
                Err(_) => followed.gap = Some(Gap::UnseenFolder),
            }
        }
        let gone: BTreeSet<_> = before
            .watches
            .difference(&followed.watches)
            .copied()
            .collect();
        self.forget(&gone);
        followed
    }

    fn forget(&self, watches: &BTreeSet<i32>) {
        for watch in watches {
            // The kernel has forgotten a folder that was removed.
            inotify::remove_watch(self.0.get_ref(), *watch).ok();
        }
    }
}

#[expect(
    deprecated,
    reason = "the successor is unsafe for types that may change or close their descriptor; an OwnedFd does neither"
)]
fn asynchronous(queue: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(queue)
}

/// Returns the places in which the content of any path may change: the parent folders, the folders
/// of all links on the way, folders among the paths, and files with a mount of their own.
fn places_of(paths: &[PathBuf], view: &FileSystemView<'_>) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    let mut links = HashMap::new();
    let mut seen = HashSet::new();
    let mut todo: Vec<_> = paths.to_vec();
    while let Some(path) = todo.pop() {
        // A circle of links leads nowhere.
        if path.components().count() > MAX_DEPTH || !seen.insert(path.clone()) {
            continue;
        }
        if view.mounted.contains(&path) || view.folders.contains(&path) {
            places.insert(path.clone());
        }
        places.extend(path.parent().map(Path::to_owned));
        for part in path.ancestors() {
            let target = links
                .entry(part.to_owned())
                .or_insert_with(|| (view.link)(part));
            if let (Some(target), Some(folder)) = (target, part.parent()) {
                places.insert(folder.to_owned());
                let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
                todo.push(
                    folder
                        .join(target)
                        .components()
                        .chain(rest.components())
                        .collect(),
                );
            }
        }
    }
    places
}

/// The file system, as far as it decides about places.
struct FileSystemView<'v> {
    /// The target of a symbolic link; `None` for anything else.
    link: &'v dyn Fn(&Path) -> Option<PathBuf>,
    /// The files that are mounted by themselves: changes happen in another folder.
    mounted: BTreeSet<PathBuf>,
    /// The folders among the paths.
    folders: BTreeSet<PathBuf>,
}

/// The events that may change the content behind a path.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVE);
/// The length of the buffer for notices, in bytes: a notice with the longest name has some 270.
const BUFFER: usize = 4096;
/// The notices that are taken at once, before other work has its turn: more than one update of a
/// volume makes.
const MAX_NOTICES: usize = 1024;
/// The number of segments of a path that only a circle of links can have: the system follows at
/// most 40 links, and paths of a volume have some ten segments.
const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_path_changes_in_its_folder_and_in_the_folders_of_links_on_the_way() {
        let link = |path: &Path| {
            let target = match path.to_str()? {
                "/run/acme/token" => "..data/token",
                "/run/acme/..data" => "..2026_1",
                "/etc/keyside" => "/opt/v1/etc",
                "/circle/a" => "b",
                "/circle/b" => "a",
                _ => return None,
            };
            Some(PathBuf::from(target))
        };
        let view = FileSystemView {
            link: &link,
            mounted: BTreeSet::from(["/mnt/one".into()]),
            folders: BTreeSet::from(["/conf/conf.d".into()]),
        };
        for (path, expected) in [
            ("/secrets/token", &["/secrets"][..]),
            (
                "/run/acme/token",
                &["/run/acme", "/run/acme/..2026_1", "/run/acme/..data"],
            ),
            (
                "/etc/keyside/proxy.toml",
                &["/etc", "/etc/keyside", "/opt/v1/etc"],
            ),
            ("/circle/a", &["/circle"]),
            ("/mnt/one", &["/mnt", "/mnt/one"]),
            ("/conf/conf.d", &["/conf", "/conf/conf.d"]),
            ("proxy.toml", &[""]),
        ] {
            let places = places_of(&[path.into()], &view);
            let expected = expected.iter().map(PathBuf::from).collect();
            assert_eq!(places, expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_swapped_link_brings_a_notice_and_a_read_file_brings_none() {
        let folder = std::env::temp_dir().join(format!("keyside-notices-{}", std::process::id()));
        for version in ["v1", "v2"] {
            std::fs::create_dir_all(folder.join(version)).unwrap();
            std::fs::write(folder.join(version).join("token"), version).unwrap();
        }
        std::os::unix::fs::symlink("v1", folder.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", folder.join("token")).unwrap();
        let notices = Notices::open().unwrap();
        let files = [folder.join("token")];
        let followed = notices.follow(&files, &[], &Followed::default());
        assert_eq!(followed.gap, None);
        let moment = Duration::from_millis(50);
        std::fs::read(&files[0]).unwrap();
        assert!(timeout(moment, notices.wait()).await.is_err());
        std::os::unix::fs::symlink("v2", folder.join("new")).unwrap();
        std::fs::rename(folder.join("new"), folder.join("..data")).unwrap();
        timeout(moment, notices.wait()).await.unwrap();
        // The file behind the new link is followed as well, and no longer the old one.
        let followed = notices.follow(&files, &[], &followed);
        std::fs::write(folder.join("v2/token"), "new").unwrap();
        timeout(moment, notices.wait()).await.unwrap();
        std::fs::write(folder.join("v1/token"), "old").unwrap();
        assert!(timeout(moment, notices.wait()).await.is_err());
        std::fs::remove_dir_all(folder.join("v2")).unwrap();
        let followed = notices.follow(&files, &[], &followed);
        assert_eq!(followed.gap, Some(Gap::UnseenFolder));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
