//! A connection to an upstream, with one exchange at a time.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body::Body;
use tokio::time::Instant;

use super::error::UpstreamError;
use super::framing::{BodyStep, Framing, ProtocolError};
use super::head::{Head, HeadReader};
use super::idle_time::{MAX_IDLE_AGE, MAX_LEAD, server_idle_time};
use super::io::Io;
use super::outgoing::Outgoing;
use super::place::UpstreamPlace;
use super::request_body::OutgoingBody;
use super::upload::Upload;
use crate::portion::Portion;
use crate::watchdog::Watchdog;

/// A connection, owned by one request at a time. The task of the request polls it, so an exchange
/// costs no second task, no channel and no wake-up between tasks.
#[derive(Debug)]
pub(super) struct Connection {
    io: Io,
    received: BytesMut,
    /// The bytes that the buffer gets room for when the room is used up.
    next_read: usize,
    heads: HeadReader,
    /// The head of an answer that came before the whole request was written.
    early: Option<Head>,
    watchdog: Watchdog,
    portion: Portion,
    times: ExchangeTimes,
    born: Instant,
    /// Time at which the last exchange ended.
    idle_since: Instant,
    is_reused: bool,
    /// Longest life.
    max_age: Duration,
    /// Longest time that the connection stays idle.
    max_idle: Duration,
    /// The idle time by the last answer of the server, less a margin; `None` if the server names
    /// none.
    server_idle_time: Option<Duration>,
    _place: UpstreamPlace,
}

/// The times that bound one exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeTimes {
    /// Beginning of the exchange: now.
    pub start: Instant,
    /// End of the whole exchange, however it goes.
    pub deadline: Instant,
    /// Longest wait from the last byte of the request to the head of the answer.
    pub head: Duration,
    /// Longest wait between two bytes of a body, in either direction.
    pub progress: Duration,
}

impl ExchangeTimes {
    /// The times of an exchange that begins now and ends within `time`, for all parts together.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            deadline: start + time,
            head: time,
            progress: time,
        }
    }

    /// The limits of a further exchange that begins now, and shares the deadline.
    #[must_use]
    pub fn from_now(self) -> Self {
        Self {
            start: Instant::now(),
            ..self
        }
    }
}

impl Connection {
    /// A connection that was opened now. Each exchange sets its own times.
    pub(super) fn new(io: Io, place: UpstreamPlace, now: Instant) -> Self {
        let times = ExchangeTimes {
            start: now,
            deadline: now,
            head: Duration::ZERO,
            progress: Duration::ZERO,
        };
        let watchdog = Watchdog::new(times.deadline);
        let received = BytesMut::with_capacity(FIRST_READ);
        Self {
            io,
            received,
            next_read: FIRST_READ,
            heads: HeadReader::default(),
            early: None,
            watchdog,
            portion: Portion::default(),
            times,
            born: now,
            idle_since: now,
            is_reused: false,
            max_idle: MAX_IDLE_AGE,
            max_age: MAX_AGE,
            server_idle_time: None,
            _place: place,
        }
    }

    /// True for a connection that was idle: the upstream may have closed the connection.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// The time since which the connection is idle.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Bounds the idle time to what the server said of an earlier connection.
    pub(super) fn keep_idle_for(&mut self, server_idle_time: Duration) {
        self.max_idle = server_idle_time;
    }

    /// Bounds the life of the connection.
    pub(super) fn live_for(&mut self, max_age: Duration) {
        self.max_age = max_age;
    }

    /// The idle time that the server allows, by its last answer.
    pub(super) fn server_idle_time(&self) -> Option<Duration> {
        self.server_idle_time
    }

    /// Learns how long the server keeps an idle connection.
    pub(super) fn learn_idle_time(&mut self, headers: &HeaderMap) {
        self.server_idle_time = server_idle_time(headers).map(|time| time.min(MAX_IDLE_AGE));
        self.max_idle = self.server_idle_time.unwrap_or(self.max_idle);
    }

    /// The time at which an idle connection needs a successor, somewhat before its own end.
    pub(super) fn renewal(&self) -> Instant {
        let lead = MAX_LEAD.min(self.max_idle / 4);
        let end = (self.idle_since + self.max_idle).min(self.born + self.max_age);
        end.checked_sub(lead).unwrap_or(end)
    }

    /// Ready once the other side has ended an idle connection, or has sent what nobody asked for.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_receive(cx).map(drop)
    }

    /// Marks the beginning of an idle time; an exchange may follow on this connection.
    pub(super) fn becomes_idle(&mut self, now: Instant) {
        if self.next_read > FIRST_READ {
            self.next_read = FIRST_READ;
            let unread = std::mem::take(&mut self.received);
            self.received.extend_from_slice(&unread);
        }
        self.is_reused = true;
        self.idle_since = now;
    }

    /// True for a connection that is young enough, still open, and without unread bytes: an unread
    /// byte would count as the beginning of the next answer.
    ///
    /// The end of a connection shows as readable. A pending read costs no system call: the last
    /// read did not fill the buffer, and tokio remembers the fact.
    pub(super) fn is_fit(&mut self, now: Instant) -> bool {
        self.is_young(now)
            && self.received.is_empty()
            && self
                .poll_receive(&mut Context::from_waker(std::task::Waker::noop()))
                .is_pending()
    }

    /// True for a connection that is not too old for a further exchange.
    pub(super) fn is_young(&self, now: Instant) -> bool {
        now.duration_since(self.idle_since) < self.max_idle
            && now.duration_since(self.born) < self.max_age
    }

    /// Sends a request and waits for the head of the answer. The flag is false if the answer came
    /// before the whole request was written; the connection then carries no other exchange.
    pub(super) async fn exchange(
        &mut self,
        request: &mut Outgoing,
        times: ExchangeTimes,
        written: &AtomicBool,
    ) -> Result<(Head, bool), UpstreamError> {
        self.times = times;
        self.heads = HeadReader::default();
        let complete = self.send(request, written).await?;
        self.expect_within(times.head);
        let mut head = poll_fn(|cx| self.poll_head(cx, &request.method)).await?;
        head.keep_alive &= complete;
        Ok((head, complete))
    }

    /// Writes the request; false if the upstream answered before the whole request was written.
    async fn send(
        &mut self,
        request: &mut Outgoing,
        written: &AtomicBool,
    ) -> Result<bool, UpstreamError> {
        // Bounds the first write as well: it waits only while the socket's buffer is full.
        self.watchdog.set(
            self.times
                .deadline
                .min(self.times.start + self.times.progress),
        );
        self.write_first(request.head.as_slice(), written).await?;
        match &mut request.body {
            OutgoingBody::Whole(body) => poll_fn(|cx| self.poll_write_all(cx, body)).await,
            OutgoingBody::Secret(body) => {
                let mut rest = body.as_bytes();
                poll_fn(|cx| self.poll_write_all(cx, &mut rest)).await
            }
            OutgoingBody::Pieces(pieces) => poll_fn(|cx| self.poll_write_all(cx, pieces)).await,
            OutgoingBody::Stream {
                body,
                length,
                limit,
                reader,
                is_whole,
            } => {
                let reader = reader.as_deref_mut();
                let mut upload = Upload::new(Pin::new(body), *length, *limit, reader, is_whole);
                poll_fn(|cx| self.poll_upload(cx, &mut upload, &request.method)).await
            }
        }
    }

    /// Writes the head. A failure before the system took a byte proves the upstream without a byte
    /// of the request (`NotWritten`), so the request may go out on a different connection. After
    /// the first byte the proof is missing.
    async fn write_first(
        &mut self,
        head: &[u8],
        written: &AtomicBool,
    ) -> Result<(), UpstreamError> {
        let first = poll_fn(|cx| {
            let written = self.io.poll_write(cx, &[IoSlice::new(head)]);
            let first = self.until_timeout(cx, written);
            first.map(|step| step.ok_or(UNWRITTEN))
        });
        let count = first.await?.map_err(|_| UpstreamError::NotWritten)?;
        written.store(true, Ordering::Relaxed);
        let mut rest = head.get(count..).unwrap_or_default();
        poll_fn(|cx| self.poll_write_all(cx, &mut rest))
            .await
            .map(drop)
    }

    fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut impl Buf,
    ) -> Poll<Result<bool, UpstreamError>> {
        if !ready!(self.poll_write_out(cx, data))? {
            return Poll::Ready(Ok(false));
        }
        self.poll_flush_out(cx)
    }

    fn poll_write_out(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut impl Buf,
    ) -> Poll<Result<bool, UpstreamError>> {
        while data.has_remaining() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = data.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let io = &mut self.io;
            let written = self
                .portion
                .poll_write(cx, slices, |cx, data| io.poll_write(cx, data));
            match ready!(self.or_timeout(cx, written))? {
                Ok(count) => {
                    data.advance(count);
                    self.expect_within(self.times.progress);
                }
                // The upstream no longer reads, perhaps after an early answer: read the answer.
                Err(_) => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Flushes TLS, which may keep written bytes in its own buffer: without a flush the last bytes
    /// of a request may never leave.
    fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UpstreamError>> {
        let flushed = self.io.poll_flush(cx);
        Poll::Ready(Ok(ready!(self.or_timeout(cx, flushed))?.is_ok()))
    }

    /// Passes a streamed body on until the end, or until the upstream answers early. False for an
    /// early answer.
    ///
    /// In each round: look for an early answer first, then write what is staged, then ask for the
    /// next frame. An upload that the upstream has refused must not go on for 100 MB.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<'_>,
        method: &Method,
    ) -> Poll<Result<bool, UpstreamError>> {
        loop {
            match self.poll_receive(cx) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.early = self.heads.take(&mut self.received, method)?;
                    if self.early.is_none() {
                        continue;
                    }
                    return Poll::Ready(Ok(false));
                }
                Poll::Ready(_) => return Poll::Ready(Ok(false)),
                Poll::Pending => {}
            }
            if let Some(part) = upload.parts.iter_mut().find(|part| part.has_remaining()) {
                if !ready!(self.poll_write_out(cx, part))? {
                    return Poll::Ready(Ok(false));
                }
                continue;
            }
            if !ready!(self.poll_flush_out(cx))? {
                return Poll::Ready(Ok(false));
            }
            if upload.ended {
                return Poll::Ready(Ok(true));
            }
            match upload.body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.expect_within(self.times.progress);
                    upload.stage(frame.into_data().unwrap_or_default())?;
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(UpstreamError::RequestBody(error)));
                }
                Poll::Ready(None) => upload.stage_end()?,
                Poll::Pending => {
                    return match self.watchdog.poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Err(UpstreamError::RequestBodyTimedOut)),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<Head, UpstreamError>> {
        if let Some(head) = self.early.take() {
            return Poll::Ready(Ok(head));
        }
        loop {
            if let Some(head) = self.heads.take(&mut self.received, method)? {
                return Poll::Ready(Ok(head));
            }
            let received = self.poll_receive(cx);
            match ready!(self.or_timeout(cx, received))? {
                Ok(0) | Err(_) => return Poll::Ready(Err(ProtocolError::Closed.into())),
                Ok(_) => {}
            }
        }
    }

    /// The part of the body that is here already.
    pub(super) fn take_body(&mut self, framing: &mut Framing) -> Result<BodyStep, ProtocolError> {
        framing.take(&mut self.received)
    }

    /// The next piece of the body; `None` at the end.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        ready!(self.portion.poll_left(cx));
        loop {
            match framing.take(&mut self.received) {
                Ok(BodyStep::Data(data)) => {
                    self.portion.moves(data.len());
                    // A fast body never waits for its next piece, so the watchdog never fires: the
                    // deadline is checked here.
                    if self.expect_within(self.times.progress) {
                        return Poll::Ready(Some(Ok(data)));
                    }
                    return Poll::Ready(Some(Err(UNANSWERED)));
                }
                Ok(BodyStep::End) => return Poll::Ready(None),
                Ok(BodyStep::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            let received = self.poll_receive(cx);
            match ready!(self.or_timeout(cx, received)) {
                Ok(Ok(0)) if matches!(framing, Framing::UntilClose) => return Poll::Ready(None),
                Ok(Ok(0) | Err(_)) => return Poll::Ready(Some(Err(ProtocolError::Closed.into()))),
                Ok(Ok(_)) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// The end of the whole exchange.
    pub(super) fn deadline(&self) -> Instant {
        self.times.deadline
    }

    /// Begins the wait for the next piece of the body anew, after a pause on this side.
    pub(super) fn resume(&mut self) {
        self.expect_within(self.times.progress);
    }

    /// Sets the timeout of the next step; false once the deadline of the exchange has passed.
    fn expect_within(&mut self, time: Duration) -> bool {
        let now = Instant::now();
        self.watchdog.set(self.times.deadline.min(now + time));
        now < self.times.deadline
    }

    /// Ends a pending step with an error once the watchdog has fired.
    fn or_timeout<T>(
        &mut self,
        cx: &mut Context<'_>,
        step: Poll<T>,
    ) -> Poll<Result<T, UpstreamError>> {
        self.until_timeout(cx, step)
            .map(|step| step.ok_or(UNANSWERED))
    }

    /// Ends a pending step with `None` once the watchdog has fired.
    fn until_timeout<T>(&mut self, cx: &mut Context<'_>, step: Poll<T>) -> Poll<Option<T>> {
        match step {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.watchdog.poll(cx).map(|()| None),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.received.capacity() - self.received.len() < FIRST_READ / 2 {
            self.received.reserve(self.next_read);
        }
        let room = self.received.capacity() - self.received.len();
        let received = self.io.poll_read(cx, &mut self.received);
        if matches!(received, Poll::Ready(Ok(length)) if length == room) {
            self.next_read = READ_SIZE;
        }
        received
    }
}

/// The error of a timeout before a byte of the request was written.
const UNWRITTEN: UpstreamError = UpstreamError::TimedOut {
    what: "answering",
    written: false,
};
/// The error of a timeout after the first byte of the request.
const UNANSWERED: UpstreamError = UpstreamError::TimedOut {
    what: "answering",
    written: true,
};
/// The room for the first bytes of an answer: nearly all answers are shorter, and hundreds of
/// connections may wait or be idle at a time.
const FIRST_READ: usize = 4 * 1024;
/// Bytes of a long answer that are read at a time: the largest TLS record.
const READ_SIZE: usize = 16 * 1024;
/// Most pieces of a body in one write. One write of a large body costs half as much as many small
/// writes; most of the difference is waking the reader.
const MAX_SLICES: usize = 64;
/// Longest life of a connection to an application, so that sending follows a change in DNS.
const MAX_AGE: Duration = Duration::from_secs(300);
