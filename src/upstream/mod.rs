//! The far side of the proxy: one origin and a pool of connections to it.
//!
//! HTTP/1.1 is spoken here directly, not through hyper's client. Measured on the job of this program
//! (`benches/README.md`), the client's dispatch channel, its task per connection and their wake-ups
//! cost a third of a request; polling hyper's connection from the request's task costs as much again
//! at high concurrency. Speaking it here also tells for certain whether a request was written, which
//! decides whether it may be sent again, and leaves no copy of the credential in a buffer.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;
use zeroize::Zeroize;

mod clock;
mod connection;
mod dial;
mod framing;

pub use connection::Limits;
pub use framing::ProtocolError;

use clock::Clock;
use connection::Connection;
use dial::Dialer;
use framing::{Framing, Step};

use crate::provider::Origin;

/// One origin and the idle connections to it. It lives on over reloads, for as long as a generation
/// names the same origin with the same authorities.
#[derive(Debug)]
pub struct Upstream {
    dialer: Dialer,
    idle: Mutex<Vec<Connection>>,
    clock: Clock,
}

/// A request, ready to be written: its head already holds the credential.
#[derive(Debug)]
pub struct Outgoing {
    method: Method,
    /// Request line and headers, and behind them a small body.
    head: Head,
    body: OutgoingBody,
}

impl Outgoing {
    /// A request from its request line and headers (with the empty line) and its body.
    #[must_use]
    pub fn new(method: Method, mut head: Head, body: OutgoingBody) -> Self {
        match body {
            OutgoingBody::Whole(data) if data.len() <= COPY_LIMIT && head.room() >= data.len() => {
                head.bytes.extend_from_slice(&data);
                Self { method, head, body: OutgoingBody::Whole(Bytes::new()) }
            }
            body => Self { method, head, body },
        }
    }
}

/// The bytes of a request's head. Where its secrets stand they are wiped when they have been written;
/// there alone, because wiping has to go byte by byte.
#[derive(Default)]
pub struct Head {
    bytes: Vec<u8>,
    secrets: Range<usize>,
}

impl Head {
    /// A head with room for so many bytes. It should be enough: a head that has to move leaves a copy
    /// behind that nobody wipes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), secrets: 0..0 }
    }

    /// Adds to it.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds a secret to it.
    pub fn push_secret(&mut self, bytes: &[u8]) {
        if self.secrets.is_empty() {
            self.secrets.start = self.bytes.len();
        }
        self.bytes.extend_from_slice(bytes);
        self.secrets.end = self.bytes.len();
    }

    fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.bytes.get_mut(self.secrets.clone()).unwrap_or_default().zeroize();
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// The body of a request.
#[derive(Debug)]
pub enum OutgoingBody {
    /// All of it, perhaps nothing.
    Whole(Bytes),
    /// All of it, in the pieces in which it came.
    Pieces(Pieces),
    /// As it comes from the caller.
    Stream {
        /// Where it comes from.
        body: Incoming,
        /// Whether its length is not known and it goes out in chunks.
        chunked: bool,
        /// The most bytes it may have.
        limit: u64,
    },
}

/// The pieces of a body that are still to be written.
#[derive(Debug)]
pub struct Pieces(VecDeque<Bytes>);

impl From<&[Bytes]> for Pieces {
    fn from(pieces: &[Bytes]) -> Self {
        Self(pieces.iter().filter(|piece| !piece.is_empty()).cloned().collect())
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices.iter_mut().zip(&self.0).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.0.front_mut() {
            if piece.len() > count {
                return piece.advance(count);
            }
            count -= piece.len();
            self.0.pop_front();
        }
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: AnswerBody,
    /// Whether it came before the request had been written whole.
    pub early: bool,
}

/// The answer to a question of Keyside's own.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
    /// Whether the time that the question was asked with was wrong.
    pub clock_was_off: bool,
}

impl Upstream {
    /// An upstream without connections yet.
    ///
    /// # Errors
    /// Where the host is neither a DNS name nor an address.
    pub fn new(origin: Origin, tls: Arc<rustls::ClientConfig>) -> Result<Self, UpstreamError> {
        Ok(Self { dialer: Dialer::origin(origin, tls)?, idle: Mutex::default(), clock: Clock::default() })
    }

    /// An upstream that listens at a Unix socket.
    #[must_use]
    pub fn at_socket(path: PathBuf) -> Self {
        Self { dialer: Dialer::Unix(path), idle: Mutex::default(), clock: Clock::default() }
    }

    /// Sends a request once and returns its answer, whose body may still be on its way.
    ///
    /// A connection that the upstream closed while it was idle is replaced without the caller
    /// noticing, as long as nothing of the request was written. What was written is never written
    /// again. `written` becomes true when the first byte is, for whoever gives up waiting.
    ///
    /// # Errors
    /// What the upstream, or the caller's own body, did wrong.
    pub async fn send(
        self: &Arc<Self>,
        mut request: Outgoing,
        limits: Limits,
        written: &AtomicBool,
    ) -> Result<Answer, UpstreamError> {
        let (mut connection, (head, complete)) = loop {
            let mut connection = match self.take_idle(limits.start) {
                Some(connection) => connection,
                None => Connection::new(self.dialer.dial().await?, limits),
            };
            match connection.exchange(&mut request, limits, written).await {
                Ok(head) => break (connection, head),
                Err(UpstreamError::NotWritten) if connection.is_reused() => {}
                Err(error) => return Err(error),
            }
        };
        let framing::Head { status, headers, mut framing, keep_alive } = head;
        // A small answer is here with its head. The connection then rests before the answer goes on.
        let (first, ended) = match connection.take_body(&mut framing)? {
            Step::End => (None, true),
            Step::More => (None, false),
            Step::Data(data) => (Some(data), framing.is_at_end()),
        };
        let body = if ended {
            self.put_back(connection, keep_alive, limits.start);
            AnswerBody::Whole(first.unwrap_or_default())
        } else {
            AnswerBody::stream(self, connection, framing, keep_alive, first)
        };
        Ok(Answer { status, headers, body, early: !complete })
    }

    /// What time it is there, as far as it has told.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Looks at an answer that came now for what time it is there; true where that was not known rightly before.
    pub fn learn_time(&self, headers: &HeaderMap) -> bool {
        self.clock.learn(headers)
    }

    /// Sends a request that Keyside asks by itself, and reads all of its answer, of 64 KiB at most.
    ///
    /// # Errors
    /// Where no whole answer comes in `time`.
    pub async fn ask(self: &Arc<Self>, request: Outgoing, time: Duration) -> Result<Reply, UpstreamError> {
        let start = Instant::now();
        let limits = Limits { start, deadline: start + time, head: time, progress: time };
        let written = AtomicBool::new(false);
        let exchange = async {
            let answer = self.send(request, limits, &written).await?;
            let clock_was_off = self.clock.learn(&answer.headers);
            Ok(Reply { status: answer.status, body: answer.body.whole(MAX_ASKED).await?, clock_was_off })
        };
        let late = |_| UpstreamError::TimedOut { what: "to answer", written: written.load(Ordering::Relaxed) };
        tokio::time::timeout_at(limits.deadline, exchange).await.map_err(late)?
    }

    /// Closes idle connections that have become too old.
    pub fn reap(&self) {
        let now = Instant::now();
        self.idle().retain_mut(|connection| connection.is_fit(now));
    }

    /// The connection used last, so that the others become idle and close.
    fn take_idle(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(mut connection) = idle.pop() {
            if connection.is_fit(now) {
                return Some(connection);
            }
        }
        None
    }

    fn put_back(&self, mut connection: Connection, keep_alive: bool, now: Instant) {
        if !keep_alive {
            return;
        }
        connection.rest(now);
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// As it comes from the upstream.
    Stream(Box<AnswerStream>),
}

/// A body on its way, with the connection that carries it. Dropped before its end, it closes the
/// connection.
#[derive(Debug)]
pub struct AnswerStream {
    connection: Option<Connection>,
    framing: Framing,
    keep_alive: bool,
    first: Option<Bytes>,
    upstream: Arc<Upstream>,
}

impl From<Bytes> for AnswerBody {
    fn from(data: Bytes) -> Self {
        Self::Whole(data)
    }
}

impl AnswerBody {
    fn stream(
        upstream: &Arc<Upstream>,
        connection: Connection,
        framing: Framing,
        keep_alive: bool,
        first: Option<Bytes>,
    ) -> Self {
        let upstream = Arc::clone(upstream);
        Self::Stream(Box::new(AnswerStream { connection: Some(connection), framing, keep_alive, first, upstream }))
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// Where it does not come whole, or is larger than `limit` bytes.
    pub async fn whole(self, limit: usize) -> Result<Bytes, UpstreamError> {
        let mut stream = match self {
            Self::Whole(data) => return Ok(data),
            Self::Stream(stream) => stream,
        };
        let mut all = bytes::BytesMut::new();
        while let Some(data) = std::future::poll_fn(|cx| stream.poll_next(cx)).await {
            let data = data?;
            if all.len() + data.len() > limit {
                return Err(ProtocolError::BodyTooLarge.into());
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }
}

impl AnswerStream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let next = ready!(connection.poll_body(cx, &mut self.framing));
        match &next {
            Some(Ok(_)) => {}
            Some(Err(_)) => drop(self.connection.take()),
            None => {
                if let Some(connection) = self.connection.take() {
                    self.upstream.put_back(connection, self.keep_alive, Instant::now());
                }
            }
        }
        Poll::Ready(next)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut *self {
            Self::Whole(data) if data.is_empty() => Poll::Ready(None),
            Self::Whole(data) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            Self::Stream(stream) => stream.poll_next(cx).map(|next| next.map(|data| data.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(data) if data.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Self::Stream(stream) => match &stream.framing {
                Framing::Length(left) => {
                    SizeHint::with_exact(left + stream.first.as_ref().map_or(0, |f| f.len() as u64))
                }
                Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
            },
        }
    }
}

/// Why there is no answer, or not all of it.
#[derive(Debug)]
pub enum UpstreamError {
    /// No connection: no address, refused, unreachable.
    Unreachable(String),
    /// The handshake failed: certificate, name, version.
    Tls(String),
    /// What it said is not HTTP/1.1, or not all of it.
    Protocol(ProtocolError),
    /// It took too long.
    TimedOut {
        /// Over what.
        what: &'static str,
        /// Whether something of the request had been written.
        written: bool,
    },
    /// The connection had ended before anything of the request was written.
    NotWritten,
    /// The caller's body was malformed, or ended too early.
    CallerBody(hyper::Error),
    /// The caller's body stopped coming.
    CallerTimedOut,
    /// The caller's body went on past its bound.
    CallerTooLarge {
        /// The bound in bytes.
        limit: u64,
    },
}

impl From<ProtocolError> for UpstreamError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(reason) => write!(f, "the upstream cannot be reached: {reason}"),
            Self::Tls(reason) => write!(f, "no TLS connection to the upstream: {reason}"),
            Self::Protocol(error) => write!(f, "the upstream broke the protocol: {error}"),
            Self::TimedOut { what, .. } => write!(f, "the upstream took too long {what}"),
            Self::NotWritten => f.write_str("the upstream closed the connection before the request was written"),
            Self::CallerBody(_) => f.write_str("the body of the request is malformed or incomplete"),
            Self::CallerTooLarge { limit } => write!(f, "the body of the request is larger than {limit} bytes"),
            Self::CallerTimedOut => f.write_str("the body of the request stopped coming"),
        }
    }
}

impl std::error::Error for UpstreamError {}

/// A body up to here leaves in one write, and so in one TLS record, with its head, if the head has
/// room for it; a head that grew would leave a copy of the credential behind.
pub const COPY_LIMIT: usize = 15 * 1024;
/// Idle connections to one origin: one for each caller that a listener takes. With fewer, a crowd of
/// callers has a new handshake for most requests, at twice the price of all the rest.
const MAX_IDLE: usize = 1024;
/// The most that an answer to Keyside's own question may have.
const MAX_ASKED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::provider::Ca;

    #[tokio::test]
    async fn an_answer_that_is_read_too_slowly_ends_with_the_time_of_its_exchange() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin { tls: false, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut Vec::new()).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
            // The reader goes away before it has taken all of it.
            stream.write_all(&[b'x'; 1_000_000]).await.unwrap_or_default();
        });
        let upstream = Arc::new(Upstream::new(origin, crate::tls::client_config(&Ca::Bundled, None).unwrap()).unwrap());
        let mut head = Head::default();
        head.push(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let outgoing = Outgoing::new(Method::GET, head, OutgoingBody::Whole(Bytes::new()));
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let limits = Limits { start, deadline: start + second / 4, head: second, progress: second };
        let AnswerBody::Stream(mut stream) =
            upstream.send(outgoing, limits, &AtomicBool::new(false)).await.unwrap().body
        else {
            unreachable!("it is too large to be there at once");
        };
        tokio::time::sleep(second / 2).await;
        let error = loop {
            // So slow that the next piece is always there already.
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
}
