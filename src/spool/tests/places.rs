//! A file that is removed, moved or replaced while the spool has it open.

use std::path::{Path, PathBuf};

use super::*;
use crate::spool::SpoolRefusal;

/// A folder of a test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("keyside-place-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Spool {
        let config = SpoolConfig {
            dir: self.0.join("spool"),
            ..config()
        };
        Spool::open(config, Sealing::Off, clock()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.join("spool/spool.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

async fn eventually(what: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never happens");
}

async fn takes(spool: &Spool, id: &str) -> bool {
    spool.accept(event(id, &[message(id, id)])).await.is_ok()
}

fn has(spool: &Spool, id: &str) -> bool {
    all(spool).iter().any(|event| event.head.id == id)
}

fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
}

fn move_away(folder: &Path) {
    std::fs::rename(folder, folder.with_extension("moved")).unwrap();
}

#[tokio::test]
async fn a_folder_that_is_removed_or_moved_while_it_is_open_loses_no_event() {
    for (name, act) in [("removed", remove as fn(&Path)), ("moved", move_away)] {
        let folder = Folder::new(name);
        let spool = folder.open();
        to_app(&spool).await;
        accept(&spool, "a").await;
        act(&folder.0.join("spool"));
        let refused = spool.accept(event("b", &[message("b", "2")])).await;
        assert_eq!(refused, Err(SpoolRefusal::Broken), "{name}");
        eventually(async || spool.numbers().alarm.failures == 1).await;
        eventually(async || takes(&spool, "c").await).await;
        drop(spool);
        let spool = folder.open();
        let to = to_app(&spool).await;
        assert!(has(&spool, "a") && has(&spool, "c"), "{name}");
        assert!(!due(&spool, &to).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_folder_that_is_removed_comes_back_without_an_event_and_at_the_end() {
    let folder = Folder::new("quiet");
    let spool = folder.open();
    to_app(&spool).await;
    accept(&spool, "a").await;
    remove(&folder.0);
    assert!(spool.survey().has_waiting());
    eventually(async || folder.file().exists()).await;
    eventually(async || takes(&spool, "b").await).await;
    remove(&folder.0);
    drop(spool);
    let spool = folder.open();
    assert!(has(&spool, "a") && has(&spool, "b"));
}

#[tokio::test]
async fn a_file_in_the_place_of_the_open_one_is_left_alone_until_it_is_moved_away() {
    let folder = Folder::new("replaced");
    let spool = folder.open();
    to_app(&spool).await;
    accept(&spool, "a").await;
    std::fs::remove_file(folder.file()).unwrap();
    std::fs::write(folder.file(), "of somebody else").unwrap();
    assert!(!takes(&spool, "b").await);
    let is_told = async || {
        let failure = spool.numbers().alarm.failure.unwrap_or_default();
        failure.contains("a different file is in the place")
    };
    eventually(is_told).await;
    assert!(!takes(&spool, "b").await);
    assert_eq!(std::fs::read(folder.file()).unwrap(), b"of somebody else");
    std::fs::remove_file(folder.file()).unwrap();
    eventually(async || takes(&spool, "c").await).await;
    assert!(has(&spool, "a"));
}
