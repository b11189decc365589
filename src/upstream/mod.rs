//! The far side of the proxy: one origin and a pool of connections to it.
//!
//! Keyside speaks HTTP/1.1 here itself and does not use hyper's client, for three reasons.
//!
//! - Cost, measured on the work of this program (`benches/README.md`): the client's dispatch
//!   channel, the task per connection and their wake-ups cost a third of a request; polling hyper's
//!   connection from the task of the request costs as much again at high concurrency.
//! - Certainty: a sender knows whether a byte of the request was written, and so whether the
//!   request may be sent again.
//! - Secrecy: no copy of a credential stays in a buffer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};

mod addresses;
mod answer;
mod clock;
mod connection;
mod descriptors;
mod dial;
mod error;
mod framing;
mod head;
mod head_bytes;
mod idle_time;
mod io;
mod outgoing;
mod own;
pub mod pieces;
mod place;
mod places;
mod pool;
mod proxy_error;
mod race;
mod request;
mod request_body;
mod request_head;
mod supply;
mod tunnel;
mod upload;
mod warmth;

pub use answer::{Answer, AnswerBody};
pub use clock::ClockReading;
pub use connection::ExchangeTimes;
pub use error::{Unreadable, UpstreamError};
pub use framing::ProtocolError;
pub use outgoing::{Outgoing, SecretValue};
pub use own::OwnAddresses;
pub use places::{UpstreamBounds, UpstreamKind};
pub use proxy_error::{ProxyFailure, ProxyFault};
pub use request::{RequestLine, USER_AGENT};
pub use request_body::{OutgoingBody, Pieces};
pub use request_head::RequestHead;

use clock::Clock;
use dial::Dialer;
use framing::BodyStep;
use head::Head;
use pool::Pool;
use supply::{Supply, WarmKeeper};

use crate::egress::Egress;
use crate::provider::Origin;

/// An origin and its connections. An upstream outlives reloads for as long as a generation names
/// the same origin with the same certificate authorities.
#[derive(Debug)]
pub struct Upstream {
    supply: Supply,
    clock: Clock,
    keeper: OnceLock<WarmKeeper>,
}

/// The fate of a connection after its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    Reuse,
    Close,
}

/// The answer to a question that Keyside asks on its own account.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
    /// The time of the answer by the upstream's clock, if the answer has one.
    pub date: Option<SystemTime>,
}

impl Upstream {
    /// An upstream without connections yet.
    ///
    /// # Errors
    /// A host that is neither a DNS name nor an address.
    pub fn new(
        kind: UpstreamKind,
        origin: Origin,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, UpstreamError> {
        Ok(Self::with_dialer(kind, Dialer::origin(origin, tls)?))
    }

    /// An application that listens at a Unix socket.
    #[must_use]
    pub fn at_socket(path: PathBuf) -> Self {
        Self::with_dialer(UpstreamKind::Application, Dialer::Unix(path))
    }

    fn with_dialer(kind: UpstreamKind, dialer: Dialer) -> Self {
        let pool = Pool::new();
        let places = kind.places_for(&pool);
        Self {
            supply: Supply {
                dialer,
                pool,
                places,
            },
            clock: Clock::default(),
            keeper: OnceLock::new(),
        }
    }

    /// Refuses to connect to Keyside's own addresses.
    #[must_use]
    pub fn apart_from(mut self, own: OwnAddresses) -> Self {
        self.supply.dialer = self.supply.dialer.apart_from(own);
        self
    }

    /// Takes the way out that leads to the origin; without this call the connections are straight.
    #[must_use]
    pub fn through(mut self, egress: &Egress) -> Self {
        self.supply.dialer = self.supply.dialer.through(egress);
        self
    }

    /// Returns the fault of an upstream whose name leads back to Keyside.
    pub async fn leads_back(&self) -> Option<String> {
        self.supply.dialer.leads_back().await
    }

    /// Sends a request once and returns the answer, whose body may still be on the way.
    ///
    /// A connection that the upstream closed while it was idle is replaced without a trace, as long
    /// as no byte of the request was written. Written bytes are never written again. `written`
    /// becomes true with the first written byte; a caller that gives up waiting reads it.
    ///
    /// # Errors
    /// The fault of the upstream, or of the application's body.
    pub async fn send(
        &self,
        request: Outgoing,
        times: ExchangeTimes,
        written: &AtomicBool,
    ) -> Result<Answer, UpstreamError> {
        self.send_then(request, times, written, Afterwards::Reuse)
            .await
    }

    async fn send_then(
        &self,
        mut request: Outgoing,
        times: ExchangeTimes,
        written: &AtomicBool,
        afterwards: Afterwards,
    ) -> Result<Answer, UpstreamError> {
        if request.is_malformed {
            return Err(UpstreamError::MalformedRequest);
        }
        // Ends: each round uses up a connection that was idle, and a new one is not retried.
        let (mut connection, (head, complete)) = loop {
            let mut connection = self.supply.connection(times.start).await?;
            match connection.exchange(&mut request, times, written).await {
                Ok(head) => break (connection, head),
                Err(UpstreamError::NotWritten) if connection.is_reused() => {}
                Err(error) => return Err(error),
            }
        };
        let Head {
            status,
            headers,
            mut framing,
            keep_alive,
        } = head;
        let arrived = Instant::now();
        let is_reusable = keep_alive && afterwards == Afterwards::Reuse;
        connection.learn_idle_time(&headers);
        // A small answer arrives with the head; the connection is idle again before the answer goes
        // on.
        let (first, has_ended) = match connection.take_body(&mut framing)? {
            BodyStep::End => (None, true),
            BodyStep::More => (None, false),
            BodyStep::Data(data) => (Some(data), framing.is_at_end()),
        };
        let body = if has_ended {
            if is_reusable {
                self.supply.pool.put_back(connection, arrived);
            }
            AnswerBody::Whole(first.unwrap_or_default())
        } else {
            let pool = is_reusable.then(|| Arc::clone(&self.supply.pool));
            AnswerBody::stream(pool, connection, framing, first)
        };
        Ok(Answer {
            status,
            headers,
            body,
            arrived,
            early: !complete,
            clock_was_wrong: false,
            failure: None,
        })
    }

    /// The time of day by the upstream's clock; by this machine's clock until the first answer.
    #[must_use]
    pub fn read_clock(&self) -> ClockReading {
        self.read_clock_at(Instant::now())
    }

    /// The time of day by the upstream's clock, as [`Self::read_clock`] gives it. `now` is a look
    /// at the clock of a moment ago.
    #[must_use]
    pub fn read_clock_at(&self, now: Instant) -> ClockReading {
        self.clock.read(now)
    }

    /// Sets the upstream's clock by the `Date` of an answer that arrived now. Returns the date, or
    /// `None` if there is none.
    pub fn learn_time(&self, headers: &HeaderMap) -> Option<SystemTime> {
        self.clock.learn(headers)
    }

    /// Sends a question of Keyside's own, and reads the whole answer, of 64 KiB at most.
    ///
    /// # Errors
    /// No whole answer within `time`.
    pub async fn ask(&self, request: Outgoing, time: Duration) -> Result<Reply, UpstreamError> {
        self.ask_then(request, time, Afterwards::Reuse).await
    }

    /// Sends a question whose answer holds a secret, like [`Self::ask`]. The connection ends with
    /// the answer.
    ///
    /// A connection keeps what it has read: in its buffer until the next answer takes the place,
    /// and decrypted in the buffers of TLS. Without the connection, the caller alone has the
    /// answer, and can wipe it.
    ///
    /// # Errors
    /// No whole answer within `time`.
    pub async fn ask_for_secret(
        &self,
        request: Outgoing,
        time: Duration,
    ) -> Result<Reply, UpstreamError> {
        self.ask_then(request, time, Afterwards::Close).await
    }

    async fn ask_then(
        &self,
        request: Outgoing,
        time: Duration,
        afterwards: Afterwards,
    ) -> Result<Reply, UpstreamError> {
        let times = ExchangeTimes::within(time);
        let written = AtomicBool::new(false);
        let exchange = async {
            let answer = self.send_then(request, times, &written, afterwards).await?;
            let date = self.clock.learn(&answer.headers);
            Ok(Reply {
                status: answer.status,
                body: answer.body.whole(MAX_REPLY).await?,
                date,
            })
        };
        let late = |_| UpstreamError::TimedOut {
            what: "to answer",
            written: written.load(Ordering::Relaxed),
        };
        timeout_at(times.deadline, exchange).await.map_err(late)?
    }

    /// Closes idle connections that have become too old.
    pub fn reap(&self) {
        self.supply.pool.reap(Instant::now());
    }

    /// Ends the connections that are opened from now on at an age.
    pub fn end_connections_at(&self, max_age: Duration) {
        self.supply.pool.set_max_age(max_age);
    }

    /// Keeps so many connections ready while the upstream is in use, from now on. Called inside the
    /// runtime.
    pub fn keep_warm(&self, count: usize) {
        self.supply.pool.set_warm(count);
        if count > 0 {
            self.keeper
                .get_or_init(|| WarmKeeper::start(self.supply.clone()));
        }
    }

    /// Closes the idle connections, and opens none ahead of use any more.
    pub fn cool_down(&self) {
        self.supply.pool.set_warm(0);
        self.supply.pool.close_all();
    }
}

/// Largest answer to a question of Keyside's own, in bytes: token facts and key sets are far
/// smaller.
const MAX_REPLY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::Method;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::memory::MemoryBudget;
    use crate::provider::Ca;

    /// An upstream that answers one request with a million bytes.
    async fn answering_large() -> (Upstream, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin {
            tls: false,
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
        };
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut Vec::new()).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                .await
                .unwrap();
            // The reader goes away before it has taken all of it.
            stream.write_all(&[b'x'; 1_000_000]).await.ok();
        });
        let tls = crate::tls::client_config(&Ca::Bundled, None).unwrap();
        let upstream = Upstream::new(UpstreamKind::Provider, origin, tls).unwrap();
        (upstream, server)
    }

    /// Asks an upstream for an answer that must be read within `time`.
    async fn asked(upstream: &Upstream, time: Duration) -> AnswerBody {
        let mut line = RequestLine::new(Method::GET, OutgoingBody::empty());
        line.target("/");
        let outgoing = line.headers("localhost").finish();
        let start = Instant::now();
        let times = ExchangeTimes {
            start,
            deadline: start + time,
            head: Duration::from_secs(1),
            progress: Duration::from_secs(1),
        };
        let written = AtomicBool::new(false);
        upstream.send(outgoing, times, &written).await.unwrap().body
    }

    #[tokio::test]
    async fn an_answer_that_is_read_too_slowly_ends_with_the_time_of_its_exchange() {
        let (upstream, server) = answering_large().await;
        let second = Duration::from_secs(1);
        let AnswerBody::Stream(mut stream) = asked(&upstream, second / 4).await else {
            unreachable!("it is too large to be there at once");
        };
        tokio::time::sleep(second / 2).await;
        let error = loop {
            // Slow enough for the next piece to be ready always.
            tokio::time::sleep(second / 200).await;
            match poll_fn(|cx| stream.poll_next(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => unreachable!("it was not read to its end in time"),
            }
        };
        assert!(matches!(error, UpstreamError::TimedOut { .. }), "{error}");
        drop(stream);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_waits_for_room_up_to_the_end_of_its_exchange() {
        let memory = Arc::new(MemoryBudget::new(0));
        let full = memory.take(16 << 20);
        let (upstream, server) = answering_large().await;
        let body = asked(&upstream, Duration::from_millis(250)).await;
        let error = body.whole_in_budget(2_000_000, &memory).await.unwrap_err();
        let no_room = matches!(error, UpstreamError::Unreadable(Unreadable::NoRoom));
        assert!(no_room, "{error}");
        server.await.unwrap();

        let (upstream, server) = answering_large().await;
        let body = asked(&upstream, Duration::from_secs(20)).await;
        let (read, ()) = tokio::join!(body.whole_in_budget(2_000_000, &memory), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(full);
        });
        assert_eq!(read.unwrap().len(), 1_000_000);
        server.await.unwrap();
    }
}
