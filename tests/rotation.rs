//! A rotation under 500 requests a second: the end of an overlap, a storm of signals, and what
//! stays in memory.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::book::Book;
use crate::support::keyside::{Keyside, Setup};
use crate::support::load::under_load;
use crate::support::upstream::Upstream;
use crate::support::{MESSAGES, eventually, hmac_sha256};

/// Starts a sidecar that asks about new tokens.
fn start(book: &Book, more: &str) -> (Upstream, Keyside) {
    book.issue("EAAOLDTOKEN", "one");
    let upstream = book.provider();
    let keyside = Setup::new(&upstream)
        .check()
        .level("info")
        .watch("100ms")
        .file("token", "EAAOLDTOKEN")
        .file("app_secret", "secret of one")
        .credential(&format!(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nproof = \"classic\"\n{more}"
        ))
        .start();
    (upstream, keyside)
}

fn wait(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}

#[test]
fn no_send_fails_when_an_overlap_ends() {
    let book = Book::new();
    let (_upstream, keyside) = start(&book, "overlap = \"500ms\"");
    book.issue("EAANEWTOKEN", "one");
    let (sent, failed) = under_load(&keyside, || {
        keyside.dir().write("token", "EAANEWTOKEN");
        wait(1200);
    });
    assert!(sent > 500, "{sent}");
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(
        keyside.status()["credentials"][0]["previous"],
        serde_json::json!([])
    );
}

#[test]
fn no_send_fails_under_ten_thousand_signals() {
    let book = Book::new();
    let (upstream, keyside) = start(&book, "");
    let descriptors = keyside.descriptors();
    let (sent, failed) = under_load(&keyside, || {
        for signal in 0..10_000 {
            keyside.signal(Signal::HUP);
            if signal == 9_000 {
                book.issue("EAANEWTOKEN", "one");
                keyside.dir().write("token", "EAANEWTOKEN");
            }
            if signal % 10 == 0 {
                wait(1);
            }
        }
        wait(300);
    });
    assert!(sent > 500, "{sent}");
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(
        upstream
            .last_to(MESSAGES)
            .header("authorization")
            .as_deref(),
        Some("Bearer EAANEWTOKEN"),
        "the last signal counts"
    );
    assert!(
        keyside.descriptors() <= descriptors + 20,
        "{} of {descriptors}",
        keyside.descriptors()
    );
}

/// Counts `needle` in the memory of a process; `None` if the user may not look.
fn in_memory(pid: u32, needle: &str) -> Option<usize> {
    use std::io::{Read, Seek, SeekFrom};
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let (start, end) = (
            u64::from_str_radix(start, 16).ok()?,
            u64::from_str_radix(end, 16).ok()?,
        );
        let mut bytes = Vec::new();
        memory.seek(SeekFrom::Start(start)).ok()?;
        // A mapping of the kernel's own cannot be read.
        if memory
            .by_ref()
            .take(end - start)
            .read_to_end(&mut bytes)
            .is_ok()
        {
            count += memchr::memmem::find_iter(&bytes, needle.as_bytes()).count();
        }
    }
    Some(count)
}

/// Secrets have a usual length: HMAC leaves its last block on the stack, beyond the reach of
/// wiping, until a later call overwrites the block.
#[test]
fn replaced_secrets_leave_the_memory_when_their_overlap_ends() {
    let book = Book::new();
    let (_upstream, keyside) = start(&book, "overlap = \"500ms\"");
    let old =
        ["EAAOLD", "secret"].map(|begin| format!("{begin}{}", hmac_sha256("a", begin).repeat(3)));
    let [token, secret] = old.clone();
    book.issue(&token, "one");
    book.set_secrets("one", &[Box::leak(secret.clone().into_boxed_str())]);
    keyside.dir().write("token", &token);
    keyside.dir().write("app_secret", &secret);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let found = || {
        old.clone()
            .map(|secret| in_memory(keyside.pid(), &secret[..24]))
    };
    if found() == [None, None] {
        eprintln!("skipped: this user may not read the memory of a process that cannot be dumped");
        return;
    }
    assert!(
        found().iter().all(|count| *count > Some(0)),
        "they are found while they are in use: {:?}",
        found()
    );
    book.issue("EAANEWTOKEN", "two");
    keyside.dir().write("token", "EAANEWTOKEN");
    keyside.dir().write("app_secret", "secret of two");
    assert_eq!(keyside.reload().status, 200);
    let gone = eventually(Duration::from_secs(5), || found() == [Some(0), Some(0)]);
    assert!(gone, "{:?} copies", found());
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}
