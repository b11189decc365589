//! The caller's side of one connection: the bytes below hyper, with the times that hyper does not
//! keep and the words that it does not say.
//!
//! hyper's own header timeout is its keep-alive timeout as well, so the two cannot differ; it answers
//! what it cannot parse with an empty body; and it drops the fragment of a request target in silence.
//! All three are seen to here, where the bytes pass.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Caller;
use crate::response::{BAD_REQUEST, HEADERS_TOO_LARGE, Refusal};
use crate::watchdog::Watchdog;

/// What a handler may know of the connection that its request came on.
#[derive(Debug)]
pub struct Link {
    caller: Caller,
    phase: AtomicU8,
    fragment: AtomicBool,
    linger: AtomicBool,
}

/// Where a connection is between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a head, or reading it.
    Head = 0,
    /// A handler is at work, or its answer is on its way.
    Busy = 1,
    /// The request is here whole, and is being answered.
    Read = 2,
    /// The answer's last byte was handed to hyper and has not been flushed yet.
    Answered = 3,
}

impl Link {
    pub(crate) fn new(caller: Caller) -> Self {
        let phase = AtomicU8::new(Phase::Head as u8);
        Self { caller, phase, fragment: AtomicBool::new(false), linger: AtomicBool::new(false) }
    }

    /// Who is on the other end.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the target of the request had a fragment, which hyper has dropped by now. Not seen on
    /// a request that was pipelined behind another; its fragment is dropped all the same.
    #[must_use]
    pub fn had_fragment(&self) -> bool {
        self.fragment.load(Ordering::Relaxed)
    }

    /// To be called when a request is refused with its body unread: the connection then stays open a
    /// moment for what the caller still sends, or a reset would cost it the answer.
    pub fn body_unread(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    /// To be called when a request is here whole and will be answered whatever its caller does: one that then shuts down
    /// its own side still wants the answer. Until then, and over a body that is streamed on, it is taken to be gone, and
    /// its request ends, which gives up its place in a line.
    pub fn request_is_read(&self) {
        self.set(Phase::Read);
    }

    pub(super) fn request_begins(&self) {
        self.set(Phase::Busy);
    }

    pub(super) fn answer_ends(&self) {
        self.set(Phase::Answered);
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}

/// The times that bound what a caller may take; hyper keeps none of them.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For the first byte of a new connection, and from the first byte of a head to its end.
    pub head: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// For the caller to take some bytes of an answer.
    pub write: Duration,
}

/// A stream with its [`Link`] and its times.
#[derive(Debug)]
pub(super) struct LinkStream<T> {
    stream: T,
    link: Arc<Link>,
    times: Times,
    /// What to do for who sends TLS to a plain port.
    tls_advice: &'static str,
    watchdog: Watchdog,
    /// How much of the request line has been looked at.
    line: Line,
    /// The answer that takes the place of hyper's.
    replacement: Option<(Vec<u8>, usize)>,
    lingering: Option<u8>,
    /// When the caller's side ended before its request was read.
    ended: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Unread,
    Begun { tls: bool },
    Read { tls: bool },
}

impl<T: AsyncRead + AsyncWrite + Unpin> LinkStream<T> {
    pub(super) fn new(stream: T, link: Arc<Link>, times: Times, tls_advice: &'static str) -> Self {
        let watchdog = Watchdog::new(Instant::now() + times.head);
        Self {
            stream,
            link,
            times,
            tls_advice,
            watchdog,
            line: Line::Unread,
            replacement: None,
            lingering: None,
            ended: None,
        }
    }

    /// Looks at the bytes of a head as they arrive: the first one starts its time, and a `#` in the
    /// first line is a fragment.
    fn look_at_head(&mut self, bytes: &[u8]) {
        let tls = match (self.line, bytes.first()) {
            (Line::Read { .. }, _) | (_, None) => return,
            (Line::Begun { tls }, _) => tls,
            (Line::Unread, Some(first)) => {
                self.link.fragment.store(false, Ordering::Relaxed);
                self.watchdog.set(Instant::now() + self.times.head);
                *first == TLS_HANDSHAKE
            }
        };
        let end = memchr::memchr(b'\n', bytes);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if memchr::memchr(b'#', line).is_some() {
            self.link.fragment.store(true, Ordering::Relaxed);
        }
        self.line = if end.is_some() { Line::Read { tls } } else { Line::Begun { tls } };
    }

    /// In place of the bare status that hyper writes for a head that it cannot parse.
    fn replace(&mut self, written_by_hyper: &[u8]) {
        let refusal = if written_by_hyper.get(9..12).is_some_and(|code| code == b"431" || code == b"414") {
            let limit = "send at most 100 headers and 32 KiB of request line and headers";
            Refusal::new(HEADERS_TOO_LARGE, "the head of the request is too large", limit)
        } else if matches!(self.line, Line::Begun { tls: true } | Line::Read { tls: true }) {
            let message = "this is a TLS handshake, and this port speaks plain HTTP";
            Refusal::new(BAD_REQUEST, message, self.tls_advice)
        } else {
            Refusal::new(
                BAD_REQUEST,
                "the head of the request is not valid HTTP/1.1",
                "check the request line and the headers, byte for byte",
            )
        };
        self.replacement = Some((http1(&refusal), 0));
        self.link.body_unread();
    }

    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.replacement {
            let rest = bytes.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.replacement = None;
                break;
            }
            *written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        Poll::Ready(Ok(()))
    }

    fn or_timeout<R>(
        &mut self,
        cx: &mut Context<'_>,
        step: Poll<io::Result<R>>,
        time: Option<Duration>,
    ) -> Poll<io::Result<R>> {
        if step.is_pending() {
            if let Some(time) = time {
                self.watchdog.set(Instant::now() + time);
            }
            ready!(self.watchdog.poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        step
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for LinkStream<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let step = Pin::new(&mut this.stream).poll_read(cx, buf);
        if step.is_ready() && buf.filled().len() == before && !this.link.is(Phase::Head) {
            // hyper would end the connection with its answer unsent. It asks again when that is.
            if this.link.is(Phase::Read) {
                return Poll::Pending;
            }
            // The end may come with the request, before anybody had the time to read that.
            let ended = *this.ended.get_or_insert_with(Instant::now);
            if ended.elapsed() < TO_BE_READ {
                this.watchdog.set(ended + TO_BE_READ);
                ready!(this.watchdog.poll(cx));
            }
            return step;
        }
        if !this.link.is(Phase::Head) {
            return step;
        }
        if step.is_ready() {
            this.look_at_head(buf.filled().get(before..).unwrap_or_default());
        }
        this.or_timeout(cx, step, None)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LinkStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.link.is(Phase::Head) {
            this.replace(data);
            return Poll::Ready(Ok(data.len()));
        }
        let step = Pin::new(&mut this.stream).poll_write(cx, data);
        this.or_timeout(cx, step, Some(this.times.write))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.link.is(Phase::Head) {
            let first = data.iter().find(|slice| !slice.is_empty());
            this.replace(first.map_or(&[], |slice| slice));
            return Poll::Ready(Ok(data.iter().map(|slice| slice.len()).sum()));
        }
        let step = Pin::new(&mut this.stream).poll_write_vectored(cx, data);
        this.or_timeout(cx, step, Some(this.times.write))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let step = match this.poll_replacement(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.stream).poll_flush(cx),
            other => other,
        };
        let flushed = ready!(this.or_timeout(cx, step, Some(this.times.write)));
        if this.link.is(Phase::Answered) {
            this.link.set(Phase::Head);
            this.line = Line::Unread;
            this.watchdog.set(Instant::now() + this.times.keep_alive);
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_replacement(cx))?;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.link.linger.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            this.watchdog.set(Instant::now() + LINGER_TIME);
            this.lingering = Some(0);
        }
        let mut scratch = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.watchdog.poll(cx).map(Ok),
            }
        }
    }
}

/// A refusal as it stands on the wire, where no hyper helps any more.
fn http1(refusal: &Refusal) -> Vec<u8> {
    let response = refusal.to_response();
    let mut wire =
        format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n", response.status(), response.body().len())
            .into_bytes();
    for (name, value) in response.headers() {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(response.body());
    wire
}

/// The first byte of a TLS record that carries a handshake.
/// How long a request that is here whole may take to be read, before the end of its caller's side means that it is gone.
const TO_BE_READ: Duration = Duration::from_millis(50);
const TLS_HANDSHAKE: u8 = 0x16;
/// For the caller to read an answer that came before its request had ended.
const LINGER_TIME: Duration = Duration::from_secs(2);
