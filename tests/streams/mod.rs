//! Streams of message servers: an event is published once with its id, and none is lost, whatever
//! happens to the server.

#[cfg(feature = "amqp")]
mod amqp;
mod cable;
#[cfg(feature = "nats")]
mod nats;
mod product;
mod redis;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyside::config::StreamAddress;
use keyside::delivery::publish::{PublishedEvent, Publisher};
use keyside::secret::Secret;
use keyside::spool::{AttemptOutcome, StreamAnswer};
use rustix::process::Signal;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::support::authority::Authority;
use crate::support::{eventually, stretched};
use cable::Cable;

/// A message server under test, with one stream.
trait Server {
    /// The stream.
    fn stream(&self) -> StreamAddress;
    /// The URL of the server, through a port that leads to it.
    fn url_through(&self, port: u16) -> String;
    fn port(&self) -> u16;
    /// The ids of the events in the stream, the oldest first.
    fn ids(&self) -> Vec<String>;
    /// Kills the server, and starts it with the data of before.
    fn restart(&mut self);
    fn signal(&self, signal: Signal);
}

/// A destination: gives an event to the publisher until the stream has the event, as the spool
/// does.
#[derive(Clone)]
struct Destination {
    publisher: Arc<Publisher>,
    delivered: Arc<AtomicUsize>,
    retried: Arc<AtomicUsize>,
    runtime: Handle,
    _end: Arc<oneshot::Sender<()>>,
}

impl Destination {
    fn at(stream: &StreamAddress, url: &str) -> Self {
        Self::trusting(None, stream, url)
    }

    fn trusting(authority: Option<&str>, stream: &StreamAddress, url: &str) -> Self {
        let authority = authority.map(str::as_bytes);
        let url = Secret::parse(Zeroizing::new(url.as_bytes().to_vec())).unwrap();
        let publisher = Publisher::new(stream, &url, authority, PATIENCE).unwrap();
        let runtime = runtime();
        let (end, ended) = oneshot::channel();
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(ended));
        Self {
            publisher: Arc::new(publisher),
            delivered: Arc::default(),
            retried: Arc::default(),
            runtime: handle,
            _end: Arc::new(end),
        }
    }

    /// Runs a future in the runtime of the destination's connection.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn of(server: &impl Server) -> Self {
        Self::at(&server.stream(), &server.url_through(server.port()))
    }

    /// Makes an attempt to publish an event, and returns the outcome.
    async fn attempt(&self, id: &str, body: Bytes) -> AttemptOutcome {
        let headers = [
            ("Content-Type".to_owned(), b"application/json".to_vec()),
            ("Keyside-Attempt".to_owned(), b"1".to_vec()),
            ("x-hub-signature-256".to_owned(), b"sha256=00".to_vec()),
        ];
        let event = PublishedEvent {
            id,
            ordered_ms: None,
            headers: &headers,
            body: &body,
        };
        self.publisher.publish(&event).await
    }

    /// Attempts until the stream has the event. The outcomes before say that the destination is
    /// down, never that the event has a fault.
    async fn deliver(&self, id: &str, body: Bytes) {
        loop {
            match self.attempt(id, body.clone()).await {
                TAKEN => {
                    self.delivered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                AttemptOutcome::Unreachable
                | AttemptOutcome::Interrupted
                | AttemptOutcome::Published(StreamAnswer::Unready | StreamAnswer::Full) => {}
                outcome => panic!("{outcome:?}: {:?}", self.publisher.problem()),
            }
            self.retried.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Delivers the events of several lanes side by side, on a thread of its own.
    fn load(&self, events: usize) -> JoinHandle<()> {
        let destination = self.clone();
        thread::spawn(move || {
            destination.run(async {
                let lanes = (0..LANES).map(|lane| {
                    let destination = destination.clone();
                    tokio::spawn(async move {
                        for number in 0..events / LANES {
                            let body = Bytes::from_static(b"{\"object\":\"x\"}");
                            destination.deliver(&id(lane, number), body).await;
                        }
                    })
                });
                for lane in lanes.collect::<Vec<_>>() {
                    lane.await.unwrap();
                }
            });
        })
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn id(lane: usize, number: usize) -> String {
    format!("{lane:08}{number:024}")
}

/// Asserts that each event of a load has arrived, in the order of the lane, repeats aside.
fn assert_whole(ids: &[String], events: usize) {
    let mut seen = HashSet::new();
    let mut next = HashMap::new();
    for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
        let (lane, number) = id.split_at(8);
        let expected = next.entry(lane).or_insert(0);
        assert_eq!(number.parse(), Ok(*expected), "lane {lane}");
        *expected += 1;
    }
    assert_eq!(seen.len(), events, "events in the stream");
}

/// Checks that each event stands in the stream once, under its own id, when a publisher sends
/// several.
fn an_event_is_published_once(server: &impl Server) {
    let destination = Destination::of(server);
    destination.run(async {
        for number in 0..3 {
            let outcome = destination
                .attempt(&id(0, number), Bytes::from_static(b"{}"))
                .await;
            assert_eq!(outcome, TAKEN, "{:?}", destination.publisher.problem());
        }
    });
    assert_eq!(server.ids(), [id(0, 0), id(0, 1), id(0, 2)]);
}

/// A server that is killed and started again under load gets every event, in the order of the
/// lanes.
fn a_restart_loses_nothing(server: &mut impl Server) {
    let destination = Destination::of(server);
    let load = destination.load(EVENTS);
    let flows = || destination.delivered.load(Ordering::Relaxed) > 100;
    assert!(eventually(Duration::from_secs(10), flows), "events flow");
    server.restart();
    load.join().expect("every event is delivered");
    assert_whole(&server.ids(), EVENTS);
    assert!(
        destination.retried.load(Ordering::Relaxed) > 0,
        "the restart was felt"
    );
}

/// A server that hangs costs each attempt a bound of time, and gets every event when it goes on.
fn a_server_that_hangs_loses_nothing(server: &impl Server) {
    let destination = Destination::of(server);
    destination.run(destination.deliver(&id(0, 0), Bytes::from_static(b"{}")));
    server.signal(Signal::STOP);
    let load = destination.load(EVENTS);
    let (mut outcome, mut took) = (TAKEN, Duration::ZERO);
    // The server may take some events before it has stopped.
    let hangs = eventually(Duration::from_secs(5), || {
        let began = Instant::now();
        outcome = destination.run(destination.attempt(&id(99, 0), Bytes::from_static(b"{}")));
        took = began.elapsed();
        outcome != TAKEN
    });
    assert!(hangs, "the server hangs");
    assert!(
        matches!(
            outcome,
            AttemptOutcome::Interrupted | AttemptOutcome::Unreachable
        ),
        "{outcome:?}"
    );
    assert!(took < stretched(4 * PATIENCE), "{took:?}");
    // Long enough for several connections that get no answer.
    thread::sleep(4 * PATIENCE);
    server.signal(Signal::CONT);
    load.join().expect("every event is delivered");
    let ids: Vec<_> = server
        .ids()
        .into_iter()
        .filter(|found| *found != id(99, 0))
        .collect();
    assert_whole(&ids, EVENTS);
}

/// A connection cut in the middle of an event leaves no half behind, and the next connection has
/// the event.
fn a_connection_cut_half_way_loses_nothing(server: &impl Server) {
    let cable = Cable::to(server.port());
    let destination = Destination::at(&server.stream(), &server.url_through(cable.port()));
    let body = || Bytes::from(vec![b'x'; 200_000]);
    destination.run(async {
        destination.deliver(&id(0, 0), body()).await;
        cable.cut_after(100_000);
        // The connection was kept from the event before, and so the event goes out once more at
        // once.
        let outcome = destination.attempt(&id(0, 1), body()).await;
        assert_eq!(outcome, TAKEN);
        destination.deliver(&id(0, 2), body()).await;
    });
    assert_eq!(server.ids(), [id(0, 0), id(0, 1), id(0, 2)]);
}

/// Asserts the answer to an event at a stream for a URL.
fn assert_answer(stream: &StreamAddress, url: &str, body: usize, expected: StreamAnswer) {
    let destination = Destination::at(stream, url);
    let attempt = || destination.run(destination.attempt(&id(0, 0), Bytes::from(vec![b'x'; body])));
    // Redis closes the connection of an event that is too large with bytes unread, and the reset
    // may overtake the refusal: on a busy machine nearly each time.
    let outcome = (0..500)
        .map(|_| attempt())
        .find(|outcome| *outcome != AttemptOutcome::Interrupted)
        .expect("an answer");
    let problem = destination.publisher.problem();
    assert_eq!(outcome, AttemptOutcome::Published(expected), "{problem:?}");
    assert!(!problem.unwrap_or_default().contains("CANARY"));
}

/// A server over TLS gets events if its certificate is of an authority that is trusted.
fn the_certificate_of_a_server_is_checked(stream: &StreamAddress, url: &str) {
    let attempt = |authority: &Authority| {
        let destination = Destination::trusting(Some(&authority.pem()), stream, url);
        destination.run(destination.attempt(&id(7, 0), Bytes::from_static(b"{}")))
    };
    assert_eq!(attempt(Authority::trusted()), TAKEN);
    assert_eq!(attempt(&Authority::new()), AttemptOutcome::Unreachable);
}

const TAKEN: AttemptOutcome = AttemptOutcome::Published(StreamAnswer::Taken);
/// The time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The lanes of a load.
const LANES: usize = 16;
/// The events of a load: as many as a server takes in some seconds.
const EVENTS: usize = 2400;
