//! A disk that does not answer: neither the end of the process nor a request waits for it.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::{MESSAGES, eventually, preload};

/// The time within which a process ends: no drain, and no wait for the disk.
const END: Duration = Duration::from_secs(5);

/// A sidecar whose file of this name hangs while there is a file with the ending `.hangs` beside
/// it.
fn with_hanging(upstream: &Upstream, name: &str) -> Setup {
    let setup = Setup::new(upstream);
    let library = preload::compile("hangs.c", setup.dir());
    let hangs = setup.dir().join(&format!("{name}.hangs"));
    setup
        .env("LD_PRELOAD", &library.display().to_string())
        .env("KEYSIDE_HANGS", &hangs.display().to_string())
}

fn must_end(keyside: &mut Keyside, what: &str) {
    let begun = Instant::now();
    keyside.signal(Signal::TERM);
    let status = keyside.wait_exit(END);
    let code = status.and_then(|status| status.code());
    assert_eq!(
        code,
        Some(0),
        "{what}, {:?}: {}",
        begun.elapsed(),
        keyside.log()
    );
}

#[test]
fn sigterm_ends_a_start_whose_file_hangs() {
    let upstream = Upstream::ok();
    for name in ["proxy.toml", "token"] {
        let setup = with_hanging(&upstream, name);
        setup.dir().write(&format!("{name}.hangs"), "");
        let mut keyside = setup.spawn();
        assert!(
            eventually(END, || keyside.catches(Signal::TERM)),
            "{name}: {}",
            keyside.log()
        );
        assert!(keyside.is_running(), "{name}: {}", keyside.log());
        must_end(&mut keyside, name);
    }
}

#[test]
fn requests_pass_and_sigterm_ends_the_sidecar_while_the_file_of_a_reload_hangs() {
    let upstream = Upstream::ok();
    for name in ["proxy.toml", "token"] {
        let mut keyside = with_hanging(&upstream, name).start();
        let hangs = keyside.dir().write(&format!("{name}.hangs"), "");
        let before = keyside.reloads();
        keyside.dir().write("token", "EAANEWTOKEN");
        keyside.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(keyside.reloads(), before, "{name}");
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{name}");
        std::fs::remove_file(&hangs).unwrap();
        let is_reloaded = || keyside.reloads() > before;
        assert!(
            eventually(Duration::from_secs(5), is_reloaded),
            "{name}: {}",
            keyside.log()
        );
        keyside.dir().write(&format!("{name}.hangs"), "");
        keyside.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(200));
        must_end(&mut keyside, name);
    }
}
