//! A power cut: the image of a disk is copied while the sidecar stands still. The copy has the
//! blocks that were given to the device without the contents of the system's memory; a kill would
//! leave the contents there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::support::client::Client;
use crate::support::keyside::{Directory, free_port};
use crate::support::webhook::{application, configured, genuine, message};

/// The power cuts of a run.
const CUTS: usize = 3;
/// The providers that send at a time.
const PROVIDERS: usize = 8;

/// A file system on a loop device, whose blocks lie in a file. Unmounted when it is dropped.
struct LoopDisk {
    device: String,
    mount: PathBuf,
}

impl LoopDisk {
    /// Mounts the image; makes a file system before, if asked.
    fn of(image: &Path, mount: PathBuf, make: Option<&str>) -> Self {
        let image = image.to_str().unwrap();
        let device = run("losetup", &["--find", "--show", image]);
        let disk = Self { device, mount };
        if let Some(program) = make {
            run(program, &["-q", "-F", &disk.device]);
        }
        std::fs::create_dir_all(&disk.mount).unwrap();
        run("mount", &[&disk.device, disk.mount.to_str().unwrap()]);
        disk
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(&self.mount)
            .status()
            .ok();
        Command::new("losetup")
            .args(["--detach", &self.device])
            .status()
            .ok();
    }
}

fn run(program: &str, words: &[&str]) -> String {
    let done = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    assert!(done.status.success(), "{program} {words:?}: {done:?}");
    said
}

/// Sends events until `stop`; notes each that was answered 200.
fn provider(
    number: usize,
    inbound: std::net::SocketAddr,
    stop: &AtomicBool,
    answered: &Mutex<Vec<String>>,
) {
    let mut client = Client::connect(inbound).unwrap();
    for count in 0.. {
        let id = format!("{number}.{count}");
        let request = genuine(message(&id, &number.to_string()).as_bytes());
        match client.ask(&request) {
            Ok(answer) if answer.status == 200 => answered.lock().unwrap().push(id),
            _ => return,
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[test]
#[ignore = "needs root and a loop device: tests/run servers"]
fn what_was_answered_200_is_there_after_a_power_cut() {
    let dir = Directory::new();
    let image = dir.join("disk.img");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(256 << 20)
        .unwrap();
    let disk = LoopDisk::of(&image, dir.join("mounted"), Some("mkfs.ext4"));
    let nowhere = free_port();
    let spool = |mount: &Path| format!("[spool]\ndir = \"{}/spool\"\n", mount.display());
    let forward = |port: u16| format!("forward = \"http://127.0.0.1:{port}/\"\n");
    let keyside = configured(&(forward(nowhere) + &spool(&disk.mount)), "").start();
    let (answered, stop) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicBool::new(false)),
    );
    let providers: Vec<_> = (0..PROVIDERS)
        .map(|number| {
            let (inbound, stop, answered) =
                (keyside.inbound(), Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || provider(number, inbound, &stop, &answered))
        })
        .collect();
    let mut cuts = Vec::new();
    for cut in 0..CUTS {
        std::thread::sleep(Duration::from_millis(700));
        // What nobody has synced is not on the disk: the copy shows the loss of an answer without a
        // sync.
        std::fs::write(disk.mount.join(format!("unsynced-{cut}")), [b'x'; 4096]).unwrap();
        keyside.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(50));
        let promised = answered.lock().unwrap().clone();
        let copy = dir.join(&format!("copy-{cut}.img"));
        run(
            "cp",
            &[
                "--sparse=always",
                image.to_str().unwrap(),
                copy.to_str().unwrap(),
            ],
        );
        keyside.signal(Signal::CONT);
        cuts.push((copy, promised));
    }
    stop.store(true, Ordering::Relaxed);
    providers
        .into_iter()
        .for_each(|provider| provider.join().unwrap());
    drop(keyside);

    for (cut, (copy, promised)) in cuts.into_iter().enumerate() {
        let disk = LoopDisk::of(&copy, dir.join(&format!("copy-{cut}")), None);
        let unsynced = std::fs::read(disk.mount.join(format!("unsynced-{cut}")));
        assert!(
            unsynced.is_err() || unsynced.unwrap().is_empty(),
            "the copy has unsynced data"
        );
        let application = application();
        let url = format!("forward = \"{}/\"\n", application.url());
        let keyside = configured(&(url + &spool(&disk.mount)), "").start();
        let mut missing = promised.clone();
        let all = eventually(Duration::from_secs(60), || {
            let got: std::collections::BTreeSet<_> = delivered(&application).into_iter().collect();
            missing.retain(|id| !got.contains(id));
            missing.is_empty()
        });
        assert!(
            all,
            "cut {cut}: {} of {} lost: {missing:.3?}",
            missing.len(),
            promised.len()
        );
        assert!(
            promised.len() > 20 * (cut + 1),
            "cut {cut}: {} events",
            promised.len()
        );
        eprintln!("cut {cut}: 0 of {} events lost", promised.len());
        drop(keyside);
    }
}
