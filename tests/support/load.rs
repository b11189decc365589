//! A steady load of sends.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, post};
use super::keyside::Keyside;
use super::{MESSAGES, eventually};

/// Sends 500 requests a second while `during` runs and for half a second more, and on a slow machine for as long as 500
/// requests take. Returns the number of requests, and every answer that was not 200.
pub fn under_load(keyside: &Keyside, during: impl FnOnce()) -> (usize, Vec<String>) {
    under_load_of(keyside, &post(MESSAGES, "{}"), during)
}

/// Works as [`under_load`], with another request.
pub fn under_load_of(
    keyside: &Keyside,
    request: &[u8],
    during: impl FnOnce(),
) -> (usize, Vec<String>) {
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (over, sent, failed) = (&over, &sent, &failed);
            scope.spawn(move || {
                let mut client = Client::connect(keyside.outbound()).unwrap();
                let mut due = Instant::now() + Duration::from_secs(1) / RATE * caller;
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += Duration::from_secs(1) / RATE * CALLERS;
                    let answer = client.ask(request).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                    if answer.status != 200 {
                        failed
                            .lock()
                            .unwrap()
                            .push(format!("{} {}", answer.status, answer.text()));
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(200));
        during();
        thread::sleep(Duration::from_millis(500));
        let enough = eventually(MAX_DURATION, || sent.load(Ordering::Relaxed) > MIN_SENDS);
        over.store(true, Ordering::Relaxed);
        assert!(
            enough,
            "only {} requests sent",
            sent.load(Ordering::Relaxed)
        );
    });
    (sent.into_inner(), failed.into_inner().unwrap())
}

/// Returns the number of messages that pass in a second, sent on several connections so that a slow machine can use the
/// whole rate; each message must get a 200.
pub fn sent_in_a_second(keyside: &Keyside) -> usize {
    let (began, passed) = (Instant::now(), AtomicUsize::new(0));
    let is_over = || began.elapsed() >= Duration::from_secs(1);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = Client::connect(keyside.outbound()).unwrap();
                while !is_over() {
                    assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
                    passed.fetch_add(usize::from(!is_over()), Ordering::Relaxed);
                }
            });
        }
    });
    passed.into_inner()
}

/// Requests per second of all callers together.
const RATE: u32 = 500;
/// Connections that share the rate.
const CALLERS: u32 = 5;
/// Requests that make a load: fewer would prove little about a rotation under load.
const MIN_SENDS: usize = 500;
/// Time within which even a busy machine sends [`MIN_SENDS`] requests.
const MAX_DURATION: Duration = Duration::from_secs(60);
