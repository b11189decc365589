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

/// The book of a provider: apps and tokens, each token either good or with a reason for its refusal.
#[derive(Clone)]
struct Book(Arc<Mutex<Pages>>);

struct Pages {
    tokens: HashMap<String, (&'static str, Option<&'static str>)>,
    secrets: HashMap<&'static str, &'static str>,
}

impl Book {
    fn new() -> Self {
        let secrets = HashMap::from([("one", "secret of one"), ("two", "secret of two")]);
        Self(Arc::new(Mutex::new(Pages {
            tokens: HashMap::new(),
            secrets,
        })))
    }

    fn issue(&self, token: &str, app: &'static str) {
        self.0
            .lock()
            .unwrap()
            .tokens
            .insert(token.to_owned(), (app, None));
    }

    fn end(&self, token: &str, why: &'static str) {
        self.0
            .lock()
            .unwrap()
            .tokens
            .entry(token.to_owned())
            .and_modify(|(_, end)| *end = Some(why));
    }

    fn revoke(&self, token: &str) {
        self.end(
            token,
            "Error validating access token: The session has been invalidated",
        );
    }

    fn reset_secret(&self, app: &'static str, secret: &'static str) {
        self.0.lock().unwrap().secrets.insert(app, secret);
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        let pages = self.0.lock().unwrap();
        let token = request
            .header("authorization")
            .unwrap_or_default()
            .replace("Bearer ", "");
        let app = match pages.tokens.get(&token) {
            Some((app, None)) => app,
            Some((_, Some(why))) => return error(190, why),
            None => {
                return error(
                    190,
                    "Invalid OAuth access token - Cannot parse access token",
                );
            }
        };
        let proof = hmac_sha256(pages.secrets[app], &token);
        if !request
            .target()
            .contains(&format!("appsecret_proof={proof}"))
        {
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

fn error(code: i64, message: &str) -> Vec<u8> {
    let body = format!(r#"{{"error":{{"message":"{message}","code":{code}}}}}"#);
    format!(
        "HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn start(book: &Book, more: &str) -> (Upstream, Keyside) {
    start_where(book, true, more)
}

/// Starts a sidecar that asks about new tokens, or that learns from the first request.
fn start_where(book: &Book, is_asked_about: bool, more: &str) -> (Upstream, Keyside) {
    book.issue("EAAOLDTOKEN", "one");
    let answering = book.clone();
    let upstream = Upstream::answering(move |request| answering.answer(request));
    let setup = Setup::new(&upstream);
    let keyside = if is_asked_about { setup.check() } else { setup }
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

/// Cases: a name, the token sent in the end, and the event.
type Case = (&'static str, &'static str, fn(&Keyside, &Book));

fn cases() -> Vec<Case> {
    vec![
        ("a good one", "EAANEWTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            keyside.dir().write("token", "EAANEWTOKEN");
        }),
        (
            "a good one, and the old one revoked at once",
            "EAANEWTOKEN",
            |keyside, book| {
                book.issue("EAANEWTOKEN", "one");
                keyside.dir().write("token", "EAANEWTOKEN");
                book.revoke("EAAOLDTOKEN");
            },
        ),
        (
            "a good one, and the old one revoked 0.1 s later",
            "EAANEWTOKEN",
            |keyside, book| {
                book.issue("EAANEWTOKEN", "one");
                keyside.dir().write("token", "EAANEWTOKEN");
                wait(100);
                book.revoke("EAAOLDTOKEN");
            },
        ),
        ("a revoked one", "EAAOLDTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            book.revoke("EAANEWTOKEN");
            keyside.dir().write("token", "EAANEWTOKEN");
        }),
        ("an expired one", "EAAOLDTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "one");
            book.end(
                "EAANEWTOKEN",
                "Error validating access token: Session has expired",
            );
            keyside.dir().write("token", "EAANEWTOKEN");
        }),
        ("one of another app", "EAAOLDTOKEN", |keyside, book| {
            book.issue("EAANEWTOKEN", "two");
            keyside.dir().write("token", "EAANEWTOKEN");
        }),
        ("an empty file", "EAAOLDTOKEN", |keyside, _| {
            keyside.dir().write("token", "");
        }),
        (
            "a file written by halves",
            "EAANEWTOKEN",
            |keyside, book| {
                book.issue("EAANEWTOKEN", "one");
                std::fs::write(keyside.dir().join("token"), "EAANEW").unwrap();
                wait(100);
                std::fs::write(keyside.dir().join("token"), "EAANEWTOKEN").unwrap();
            },
        ),
        (
            "token and app secret of another app, together",
            "EAANEWTOKEN",
            |keyside, book| {
                book.issue("EAANEWTOKEN", "two");
                keyside.dir().write("token", "EAANEWTOKEN");
                keyside.dir().write("app_secret", "secret of two");
            },
        ),
        (
            "token and app secret of another app, one after the other",
            "EAANEWTOKEN",
            |keyside, book| {
                book.issue("EAANEWTOKEN", "two");
                keyside.dir().write("token", "EAANEWTOKEN");
                wait(250);
                keyside.dir().write("app_secret", "secret of two");
            },
        ),
        (
            "app secret and token of another app, one after the other",
            "EAANEWTOKEN",
            |keyside, book| {
                book.issue("EAANEWTOKEN", "two");
                keyside.dir().write("app_secret", "secret of two");
                wait(250);
                keyside.dir().write("token", "EAANEWTOKEN");
            },
        ),
        (
            "an app secret that replaces the old one at once",
            "EAAOLDTOKEN",
            |keyside, book| {
                keyside.dir().write("app_secret", "secret of one, reset");
                book.reset_secret("one", "secret of one, reset");
            },
        ),
        (
            "one that is revoked when it is in use",
            "EAAOLDTOKEN",
            |keyside, book| {
                book.issue("EAANEWTOKEN", "one");
                keyside.dir().write("token", "EAANEWTOKEN");
                wait(300);
                book.revoke("EAANEWTOKEN");
            },
        ),
        (
            "two that are revoked, one after the other",
            "EAAOLDTOKEN",
            |keyside, book| {
                for token in ["EAAFIRSTBAD", "EAASECONDBAD"] {
                    book.issue(token, "one");
                    book.revoke(token);
                    keyside.dir().write("token", token);
                    wait(250);
                }
            },
        ),
    ]
}

fn no_send_fails(is_asked_about: bool) {
    for (what, expected, happens) in cases() {
        let book = Book::new();
        let (upstream, keyside) = start_where(&book, is_asked_about, "");
        let (sent, failed) = under_load(&keyside, || {
            happens(&keyside, &book);
            wait(500);
        });
        assert!(sent > 300, "{what}: {sent}");
        assert_eq!(failed, Vec::<String>::new(), "{what}");
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        let last = upstream.last_to(MESSAGES);
        assert_eq!(
            last.header("authorization"),
            Some(format!("Bearer {expected}")),
            "{what}"
        );
    }
}

#[test]
fn no_send_fails_whatever_the_new_secret_is() {
    no_send_fails(true);
}

#[test]
fn no_send_fails_whatever_the_new_secret_is_without_a_check() {
    no_send_fails(false);
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

/// Secrets have a usual length: HMAC leaves its last block on the stack, beyond the reach of wiping, until a later call
/// overwrites the block.
#[test]
fn replaced_secrets_leave_the_memory_when_their_overlap_ends() {
    let book = Book::new();
    let (_upstream, keyside) = start(&book, "overlap = \"500ms\"");
    let old =
        ["EAAOLD", "secret"].map(|begin| format!("{begin}{}", hmac_sha256("a", begin).repeat(3)));
    let [token, secret] = old.clone();
    book.issue(&token, "one");
    book.reset_secret("one", Box::leak(secret.clone().into_boxed_str()));
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
