//! Whatever becomes of a rotation, no send fails: each case under 500 requests a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::keyside::{Keyside, Setup};
use crate::support::load::under_load;
use crate::support::upstream::{Request, Upstream, json};
use crate::support::{MESSAGES, eventually, hmac_sha256};

/// A provider with its tokens: each is of an app, and good or not. The secret of app `a` is `secret of a`.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<HashMap<String, (&'static str, bool)>>>);

impl Book {
    fn issue(&self, token: &str, app: &'static str) {
        self.0.lock().unwrap().insert(token.to_owned(), (app, true));
    }

    fn revoke(&self, token: &str) {
        self.0.lock().unwrap().entry(token.to_owned()).and_modify(|(_, good)| *good = false);
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        let token = request.header("authorization").unwrap_or_default().replace("Bearer ", "");
        let Some((app, true)) = self.0.lock().unwrap().get(&token).copied() else { return error(190, "invalid") };
        let proof = hmac_sha256(&secret_of(app), &token);
        if !request.target().contains(&format!("appsecret_proof={proof}")) {
            return error(100, "Invalid appsecret_proof provided in the API argument");
        }
        if request.target().starts_with("/debug_token") {
            return json(&format!(
                r#"{{"data":{{"app_id":"{app}","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}}}"#
            ));
        }
        json(r#"{"messages":[{"id":"wamid.1"}]}"#)
    }
}

fn secret_of(app: &str) -> String {
    format!("secret of {app}")
}

fn error(code: i64, message: &str) -> Vec<u8> {
    let body = format!(r#"{{"error":{{"message":"{message}","code":{code}}}}}"#);
    format!("HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn start(book: &Book, more: &str) -> (Upstream, Keyside) {
    book.issue("EAAOLDTOKEN", "one");
    let answering = book.clone();
    let upstream = Upstream::answering(move |request| answering.answer(request));
    let keyside = Setup::new(&upstream)
        .check()
        .level("info")
        .watch("100ms")
        .file("token", "EAAOLDTOKEN")
        .file("app_secret", secret_of("one"))
        .credential(&format!(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nproof = \"classic\"\n{more}"
        ))
        .start();
    (upstream, keyside)
}

fn wait(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}

/// What happens, with the token that is sent at the end.
type Case = (&'static str, &'static str, fn(&Keyside, &Book));

#[test]
fn no_send_fails_whatever_the_new_secret_is() {
    let cases: [Case; 9] = [
        ("a good one", "EAANEWTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            keyside.dir().write("token", "EAANEWTOKEN");
        }),
        ("a good one, and the old one revoked at once", "EAANEWTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            keyside.dir().write("token", "EAANEWTOKEN");
            book.revoke("EAAOLDTOKEN");
        }),
        ("a good one, and the old one revoked 0.1 s later", "EAANEWTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            keyside.dir().write("token", "EAANEWTOKEN");
            wait(100);
            book.revoke("EAAOLDTOKEN");
        }),
        ("a revoked one", "EAAOLDTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            book.revoke("EAANEWTOKEN");
            keyside.dir().write("token", "EAANEWTOKEN");
        }),
        ("one of another app", "EAAOLDTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "two");
            keyside.dir().write("token", "EAANEWTOKEN");
        }),
        ("an empty file", "EAAOLDTOKEN", |keyside, _| {
            keyside.dir().write("token", "");
        }),
        ("a file written by halves", "EAANEWTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            std::fs::write(keyside.dir().join("token"), "EAANEW").unwrap();
            wait(100);
            std::fs::write(keyside.dir().join("token"), "EAANEWTOKEN").unwrap();
        }),
        ("token and app secret of another app, one after the other", "EAANEWTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "two");
            keyside.dir().write("token", "EAANEWTOKEN");
            wait(250);
            keyside.dir().write("app_secret", secret_of("two"));
        }),
        ("one that is revoked when it is in use", "EAAOLDTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            keyside.dir().write("token", "EAANEWTOKEN");
            wait(300);
            book.revoke("EAANEWTOKEN");
        }),
    ];
    for (what, expected, happens) in cases {
        let book = Book::default();
        let (upstream, keyside) = start(&book, "");
        let (sent, failed) = under_load(&keyside, || {
            happens(&keyside, &book);
            wait(500);
        });
        assert!(sent > 300, "{what}: {sent}");
        assert_eq!(failed, Vec::<String>::new(), "{what}");
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        assert_eq!(upstream.last_to(MESSAGES).header("authorization"), Some(format!("Bearer {expected}")), "{what}");
    }
}

#[test]
fn no_send_fails_when_an_overlap_ends() {
    let book = Book::default();
    let (_upstream, keyside) = start(&book, "overlap = \"500ms\"");
    book.issue("EAANEWTOKEN", "one");
    let (sent, failed) = under_load(&keyside, || {
        keyside.dir().write("token", "EAANEWTOKEN");
        wait(1200);
    });
    assert!(sent > 500, "{sent}");
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(keyside.status()["credentials"][0]["previous"], serde_json::json!([]));
}

#[test]
fn no_send_fails_under_ten_thousand_signals() {
    let book = Book::default();
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
        upstream.last_to(MESSAGES).header("authorization").as_deref(),
        Some("Bearer EAANEWTOKEN"),
        "the last signal counts"
    );
    assert!(keyside.descriptors() <= descriptors + 20, "{} of {descriptors}", keyside.descriptors());
}

/// How often `needle` stands in the memory of a process; nothing where this user may not look.
fn in_memory(pid: u32, needle: &str) -> Option<usize> {
    use std::io::{Read, Seek, SeekFrom};
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let mut bytes = Vec::new();
        memory.seek(SeekFrom::Start(start)).ok()?;
        // A mapping of the kernel's own cannot be read.
        if memory.by_ref().take(end - start).read_to_end(&mut bytes).is_ok() {
            count += memchr::memmem::find_iter(&bytes, needle.as_bytes()).count();
        }
    }
    Some(count)
}

/// Of a token of a usual length, because the last block that HMAC has seen stays on the stack, where nothing can wipe
/// it, until another call overwrites it.
#[test]
fn a_replaced_secret_leaves_the_memory_when_its_overlap_ends() {
    let book = Book::default();
    let (_upstream, keyside) = start(&book, "overlap = \"500ms\"");
    let old = format!("EAAOLD{}", hmac_sha256("a", "b").repeat(3));
    book.issue(&old, "one");
    book.issue("EAANEWTOKEN", "one");
    keyside.dir().write("token", &old);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let begin = &old[..24];
    let Some(before) = in_memory(keyside.pid(), begin) else {
        eprintln!("skipped: this user may not read the memory of a process that cannot be dumped");
        return;
    };
    assert!(before > 0, "it is found while it is in use");
    keyside.dir().write("token", "EAANEWTOKEN");
    assert_eq!(keyside.reload().status, 200);
    let gone = || in_memory(keyside.pid(), begin) == Some(0);
    assert!(eventually(Duration::from_secs(5), gone), "{:?} copies", in_memory(keyside.pid(), begin));
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}
