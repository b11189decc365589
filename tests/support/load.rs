//! A steady load of sends.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, post};
use super::keyside::Keyside;
use super::{MESSAGES, eventually};

/// A steady load: each connection asks for one of some requests in its turn.
pub struct Load<'r> {
    /// The requests, which the connections share out among themselves.
    pub requests: &'r [Vec<u8>],
    /// Requests per second of all connections together.
    pub rate: u32,
    /// Connections with a common rate. A connection waits for the answer before the next request.
    pub callers: u32,
    /// Requests that make a load: fewer would prove little.
    pub min_sends: usize,
}

/// An answer other than 2xx.
#[derive(Debug)]
pub struct Failure {
    /// The place of the request among the requests of the load.
    pub request: usize,
    /// The status.
    pub status: u16,
    /// The body.
    pub text: String,
    /// The time since the begin of the load.
    pub at: Duration,
}

impl Load<'_> {
    /// Sends while `during` runs and for half a second more, and on a slow machine for as long as
    /// the least number of requests takes. Returns the number of requests, and the failures.
    pub fn during(&self, keyside: &Keyside, during: impl FnOnce()) -> (usize, Vec<Failure>) {
        self.during_at(keyside.outbound(), during)
    }

    /// Works as [`Self::during`], with the address of a sidecar that `during` may restart. A
    /// connection that ends after an answer is made anew.
    pub fn during_at(&self, address: SocketAddr, during: impl FnOnce()) -> (usize, Vec<Failure>) {
        let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let failures = Mutex::new(Vec::new());
        let began = Instant::now();
        thread::scope(|scope| {
            for caller in 0..self.callers {
                let (over, sent, failures) = (&over, &sent, &failures);
                scope.spawn(move || {
                    let request = caller as usize % self.requests.len();
                    let mut client = Client::connect(address).unwrap();
                    let interval = Duration::from_secs(1) / self.rate;
                    let mut due = Instant::now() + interval * caller;
                    while !over.load(Ordering::Relaxed) {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        due += interval * self.callers;
                        let answer = client.ask(&self.requests[request]).unwrap();
                        sent.fetch_add(1, Ordering::Relaxed);
                        if answer.header("connection") == Some("close") {
                            client = Client::connect(address).unwrap();
                        }
                        if answer.status / 100 != 2 {
                            failures.lock().unwrap().push(Failure {
                                request,
                                status: answer.status,
                                text: answer.text(),
                                at: began.elapsed(),
                            });
                        }
                    }
                });
            }
            // The callers end with this value, also where an assertion of `during` fails.
            let end = OnDrop(&over);
            thread::sleep(Duration::from_millis(200));
            during();
            thread::sleep(Duration::from_millis(500));
            let is_enough = || sent.load(Ordering::Relaxed) > self.min_sends;
            let enough = eventually(MAX_DURATION, is_enough);
            drop(end);
            assert!(
                enough,
                "only {} requests sent",
                sent.load(Ordering::Relaxed)
            );
        });
        (sent.into_inner(), failures.into_inner().unwrap())
    }
}

/// Sets a flag when it is dropped.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends 500 messages a second while `during` runs and for a while more. Returns the number of
/// requests, and every answer that was not 2xx.
pub fn under_load(keyside: &Keyside, during: impl FnOnce()) -> (usize, Vec<String>) {
    under_load_of(keyside, &post(MESSAGES, "{}"), during)
}

/// Works as [`under_load`], with another request.
pub fn under_load_of(
    keyside: &Keyside,
    request: &[u8],
    during: impl FnOnce(),
) -> (usize, Vec<String>) {
    let load = Load {
        requests: &[request.to_vec()],
        rate: RATE,
        callers: CALLERS,
        min_sends: MIN_SENDS,
    };
    let (sent, failures) = load.during(keyside, during);
    let shown = |failure: &Failure| format!("{} {}", failure.status, failure.text);
    (sent, failures.iter().map(shown).collect())
}

/// Returns the number of messages that pass in a second, sent on several connections so that a slow
/// machine can use the whole rate; each message must get a 200.
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
