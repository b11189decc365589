//! A steady load of sends.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::MESSAGES;
use super::client::{Client, post};
use super::keyside::Keyside;

/// Sends 500 times a second while `during` runs and half a second more; gives how many were sent, and every answer that was not 200.
pub fn under_load(keyside: &Keyside, during: impl FnOnce()) -> (usize, Vec<String>) {
    under_load_of(keyside, &post(MESSAGES, "{}"), during)
}

/// The same with a request of the caller's choice.
pub fn under_load_of(keyside: &Keyside, request: &[u8], during: impl FnOnce()) -> (usize, Vec<String>) {
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
                        failed.lock().unwrap().push(format!("{} {}", answer.status, answer.text()));
                    }
                }
            });
        }
        thread::sleep(Duration::from_millis(200));
        during();
        thread::sleep(Duration::from_millis(500));
        over.store(true, Ordering::Relaxed);
    });
    (sent.into_inner(), failed.into_inner().unwrap())
}

/// Sends one after the other for a second, and gives how many; all of them must pass.
pub fn sent_in_a_second(keyside: &Keyside) -> usize {
    let (began, mut client) = (Instant::now(), Client::connect(keyside.outbound()).unwrap());
    let mut count = 0;
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
        count += 1;
    }
    count
}

const RATE: u32 = 500;
const CALLERS: u32 = 5;
