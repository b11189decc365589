//! Work on large bodies: whatever is looked through, no small message waits for it.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::MESSAGES;
use crate::support::client::{get, post};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, answer, json};

/// The path of an account, whose description the test's upstream answers with megabytes.
const LARGE: &str = "/v23.0/1234567890/message_templates";
const MIB: usize = 1 << 20;
/// Callers with large bodies at a time.
const CALLERS: usize = 20;

/// An upstream that answers a question about templates with 1 MiB of links, and anything else with a line.
fn provider() -> Upstream {
    let link = r#"{"url":"https:\/\/example.com\/%41\u0045&amp;EAA"},"#;
    let body = format!("{{\"data\":[{}0]}}", link.repeat(MIB / link.len()));
    let large = answer(
        "200 OK",
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    );
    Upstream::answering(move |request| {
        if request.target().starts_with(LARGE) {
            large.clone()
        } else {
            json("{}")
        }
    })
}

/// A message of nearly 1 MiB with many fields, and a key that no other message has.
fn large_message() -> Vec<u8> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let fields = r#"{"name":"a","value":"b\"c"},"#.repeat(36_000);
    let body = format!("{{\"to\":\"{number}\",\"access_token\":\"x\",\"list\":[{fields}0]}}");
    assert!(body.len() < MIB);
    let request = String::from_utf8(post(MESSAGES, &body)).unwrap();
    let key = format!("Idempotency-Key: {number}\r\nContent-Length");
    request.replacen("Content-Length", &key, 1).into_bytes()
}

/// The time for which the thread of requests has run. Unlike the time on a clock, this time does not grow while other
/// programs have the processor.
fn time_of_thread(keyside: &Keyside) -> Duration {
    let pid = keyside.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
    let nanoseconds = text.split(' ').next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// The longest time for which the thread of requests runs while a small message waits, with callers that send `request`
/// for some seconds, and the number of their answers.
fn longest_beside(keyside: &Keyside, request: impl Fn() -> Vec<u8> + Sync) -> (Duration, usize) {
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = keyside.connect().patience(Duration::from_secs(60));
                while !is_over.load(Ordering::Relaxed) {
                    let status = client.ask(&request()).map(|answer| answer.status);
                    assert!(matches!(status, Ok(200 | 503)), "{status:?}");
                    if status == Ok(503) {
                        // The body was not read, so the connection ends.
                        client = keyside.connect().patience(Duration::from_secs(60));
                    }
                    answers.fetch_add(usize::from(status == Ok(200)), Ordering::Relaxed);
                }
            });
        }
        let mut client = keyside.connect().patience(Duration::from_secs(60));
        let small = post(MESSAGES, "{}");
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < Duration::from_secs(3) {
            let before = time_of_thread(keyside);
            assert_eq!(client.ask(&small).unwrap().status, 200);
            longest = longest.max(time_of_thread(keyside) - before);
            thread::sleep(Duration::from_millis(2));
        }
        is_over.store(true, Ordering::Relaxed);
        (longest, answers.load(Ordering::Relaxed))
    })
}

#[test]
fn no_small_message_waits_for_work_on_large_bodies() {
    let upstream = provider();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"messages\", \"templates\"]")
        .level("info")
        .start();
    for (name, request) in [
        ("answers", (|| get(LARGE)) as fn() -> Vec<u8>),
        ("messages with a key", large_message),
    ] {
        let (longest, answers) = longest_beside(&keyside, request);
        let told = format!("{name}: {longest:?} while a small message waited, {answers} answers");
        eprintln!("{told}");
        assert!(longest < LONGEST && answers > 0, "{told}");
    }
}

/// The longest time in a build for tests: a turn of each of the callers, of a millisecond at most, on a machine five times slower.
/// Work on large bodies takes seconds there.
const LONGEST: Duration = Duration::from_millis(5 * CALLERS as u64);
