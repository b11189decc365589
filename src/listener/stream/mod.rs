//! The bytes of one connection, below hyper; `link.rs` tells what the phases mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::time::Instant;

mod end;
mod head;
#[cfg(test)]
mod tests;

use head::HeadScan;

use super::bounds::ConnectionBounds;
use super::connections::HeadRoom;
use super::link::{Link, Phase, Timeouts};
use super::patience::PeerPatience;
use super::peer_end::PeerEnd;
use super::refusal::{http1, in_form};
use crate::portion::Portion;
use crate::refusal_form::RefusalForms;
use crate::watchdog::Watchdog;

/// A socket with the [`Link`] and the timeouts.
#[derive(Debug)]
pub(super) struct LinkStream<T> {
    stream: Take<T>,
    link: Arc<Link>,
    timeouts: Timeouts,
    refusals: Arc<ArcSwap<RefusalForms>>,
    watchdog: Watchdog,
    head: HeadScan,
    /// Bytes that were read, and that hyper has not got yet: they belong to the next request, or
    /// found no room.
    ahead: Bytes,
    /// The refusal that replaces an error answer of hyper's, and the count of the written bytes.
    replacement: Option<(Vec<u8>, usize)>,
    /// True once this side is shut down and the rest of the peer's bytes are thrown away.
    is_lingering: bool,
    /// Time at which the peer's side ended, if that was before the request was read.
    ended: Option<Instant>,
    /// True if the peer's side has ended, and hyper was not told.
    hides_end: bool,
    /// True if a read of hyper's is pending since the last flush. hyper does not read while it
    /// holds bytes of a further request, or of a body that its handler does not ask for.
    is_reading: bool,
    /// True once a byte of the answer was written.
    has_written: bool,
    /// The time of the last interim answer that the peer has got to see if it is still there.
    probed: Option<Instant>,
    /// True while the peer takes no byte of what is to be written. The watchdog then has the end of
    /// the wait.
    is_stalled: bool,
    patience: PeerPatience,
    portion: Portion,
}

impl<T: AsyncRead + AsyncWrite + PeerEnd + Unpin> LinkStream<T> {
    pub(super) fn new(
        stream: T,
        link: Arc<Link>,
        bounds: &ConnectionBounds,
        room: Option<HeadRoom>,
    ) -> Self {
        Self {
            stream: stream.take(MAX_PIECE),
            link,
            timeouts: bounds.timeouts,
            refusals: Arc::clone(&bounds.refusals),
            watchdog: Watchdog::new(Instant::now() + bounds.timeouts.head),
            head: HeadScan::new(bounds, room),
            ahead: Bytes::new(),
            replacement: None,
            is_lingering: false,
            ended: None,
            hides_end: false,
            is_reading: false,
            has_written: false,
            probed: None,
            is_stalled: false,
            patience: PeerPatience::default(),
            portion: Portion::default(),
        }
    }

    /// Returns ready once there are bytes to read, or the end of the peer's side: true. False for a
    /// peer that is to leave.
    pub(super) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.ahead.is_empty() || self.stream.get_ref().poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        if self.link.seat().poll_told(cx).is_ready() || self.watchdog.poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        Poll::Pending
    }

    /// Takes back bytes that hyper has read ahead, and forgets a long head.
    pub(super) fn put_back(&mut self, ahead: &[u8]) {
        // An empty line behind a body begins no request (RFC 9112, 2.2): it must not start the
        // timeout of a head.
        let begin = ahead.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let ahead = ahead
            .get(begin.unwrap_or(ahead.len())..)
            .unwrap_or_default();
        // A copy: the bytes as they are would keep hyper's buffer, also if there are none.
        self.ahead = [ahead, &self.ahead].concat().into();
        self.head.give_back_room();
    }

    /// Moves bytes that were read into a buffer, as many as there is room for.
    fn take_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(length));
    }

    /// Replaces the bare status line that hyper writes for a malformed head.
    fn replace(&mut self, written_by_hyper: &[u8]) {
        let refusal = self.head.refusal(written_by_hyper);
        let response = in_form(&refusal, &self.refusals, &self.link);
        self.replacement = Some((http1(&response), 0));
        self.link.body_unread();
    }

    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.replacement {
            let rest = bytes.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.replacement = None;
                break;
            }
            *written += ready!(Pin::new(self.stream.get_mut()).poll_write(cx, rest))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends a pending write with an error once the peer has taken nothing for `Timeouts::write`, or
    /// has taken the answer too slowly on the whole. Other wake-ups of the connection do not
    /// prolong the wait.
    fn write_or_timeout<R>(
        &mut self,
        cx: &mut Context<'_>,
        step: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if step.is_pending() && !self.is_stalled {
            let end = self.patience.waits(Instant::now(), self.timeouts.write);
            self.watchdog.set(end);
        } else if step.is_ready() && self.is_stalled {
            self.patience.takes(0, Instant::now);
        }
        self.is_stalled = step.is_pending();
        self.or_timeout(cx, step)
    }

    /// Writes a piece of an answer.
    fn poll_write_answer(
        &mut self,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        // Looked at beforehand, so that a pause between two portions does not count as a wait for
        // the peer.
        ready!(self.portion.poll_left(cx));
        let stream = self.stream.get_mut();
        let step = self.portion.poll_write(cx, data, |cx, data| {
            Pin::new(stream).poll_write_vectored(cx, data)
        });
        if let Poll::Ready(Ok(bytes)) = step {
            self.patience.takes(bytes, Instant::now);
        }
        self.write_or_timeout(cx, step)
    }

    /// Waits for the next request, after the answer was flushed.
    fn begin_head(&mut self, cx: &mut Context<'_>) {
        self.link.set(Phase::Head);
        self.head.restart();
        self.has_written = false;
        self.patience = PeerPatience::default();
        self.probed = None;
        let now = Instant::now();
        self.watchdog.set(now + self.timeouts.keep_alive);
        self.link.seat().rests(now);
        // hyper does not read now if an earlier read is pending: then no read would start the
        // timer, or listen for the order to leave.
        let is_over =
            self.watchdog.poll(cx).is_ready() || self.link.seat().poll_told(cx).is_ready();
        if is_over || self.hides_end {
            self.hides_end = false;
            cx.waker().wake_by_ref();
        }
    }

    /// Ends a pending step with an error once the watchdog has fired.
    fn or_timeout<R>(
        &mut self,
        cx: &mut Context<'_>,
        step: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if step.is_pending() {
            ready!(self.watchdog.poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        step
    }
}

impl<T: AsyncRead + AsyncWrite + PeerEnd + Unpin> AsyncRead for LinkStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let step = if this.ahead.is_empty() {
            this.stream.set_limit(MAX_PIECE);
            Pin::new(&mut this.stream).poll_read(cx, buf)
        } else {
            this.take_ahead(buf);
            Poll::Ready(Ok(()))
        };
        this.is_reading = step.is_pending();
        if !this.link.is(Phase::Head) {
            let has_ended = step.is_ready() && buf.filled().len() == before;
            if has_ended {
                ready!(this.poll_end(cx));
            }
            return step;
        }
        if step.is_ready() {
            let new = buf.filled().get(before..).unwrap_or_default();
            if !this.head.has_begun() && !new.is_empty() {
                let now = Instant::now();
                this.link.seat().begins_head(now);
                this.watchdog.set(now + this.timeouts.head);
            }
            if let Some(encoded) = this.head.scan_line(new, &this.link) {
                buf.set_filled(before);
                this.ahead = [&encoded, &*this.ahead].concat().into();
                this.take_ahead(buf);
            }
            let new = buf.filled().get(before..).unwrap_or_default();
            if !this.head.reserve(new, &this.link) {
                buf.set_filled(before);
                this.head.refuse(buf);
            }
        } else if this.link.seat().poll_told(cx).is_ready() {
            // Without a byte of a request, this looks to hyper as if the peer had closed the
            // connection.
            if this.head.has_begun() {
                this.head.refuse(buf);
            }
            return Poll::Ready(Ok(()));
        }
        this.or_timeout(cx, step)
    }
}

impl<T: AsyncRead + AsyncWrite + PeerEnd + Unpin> AsyncWrite for LinkStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // No handler has run, so the answer is hyper's own, for a malformed head.
        if this.link.is(Phase::Head) {
            this.replace(data);
            return Poll::Ready(Ok(data.len()));
        }
        let data = io::IoSlice::new(data);
        this.poll_write_answer(cx, &[data])
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
        this.poll_write_answer(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let step = match this.poll_replacement(cx) {
            Poll::Ready(Ok(())) => Pin::new(this.stream.get_mut()).poll_flush(cx),
            other => other,
        };
        let flushed = ready!(this.write_or_timeout(cx, step));
        let is_reading = std::mem::take(&mut this.is_reading);
        if this.link.is_under_way() && !is_reading {
            this.watch_for_end(cx)?;
        }
        if this.hides_end && this.link.is(Phase::Read) && this.link.seat().take_question(cx) {
            this.probe(cx)?;
        }
        if this.link.is(Phase::Answered) {
            this.begin_head(cx);
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.link.seat().works();
        if !this.is_lingering {
            // TLS has a last record to write, which a peer that takes no byte would hold up.
            let step = match this.poll_replacement(cx) {
                Poll::Ready(Ok(())) => Pin::new(this.stream.get_mut()).poll_shutdown(cx),
                other => other,
            };
            ready!(this.write_or_timeout(cx, step))?;
            if !this.link.lingers() {
                return Poll::Ready(Ok(()));
            }
            this.watchdog.set(Instant::now() + LINGER_TIMEOUT);
            this.is_lingering = true;
        }
        // A close with unread bytes would reset the connection, and the reset could overtake the
        // answer. So the rest of the peer's bytes is read and thrown away for a moment.
        let mut scratch = [0; 4096];
        for _ in 0..THROWN_AWAY_AT_A_TIME {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(this.stream.get_mut()).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.watchdog.poll(cx).map(Ok),
            }
        }
        // A peer that sends without a pause keeps the thread from no other connection.
        cx.waker().wake_by_ref();
        this.watchdog.poll(cx).map(Ok)
    }
}

/// The reads of a turn that throw bytes away: some 64 KiB, in a tenth of a millisecond.
const THROWN_AWAY_AT_A_TIME: usize = 16;

/// The most bytes in a read, a byte less than hyper's first buffer: hyper doubles the buffer after
/// a read that fills the whole buffer.
const MAX_PIECE: u64 = 8 * 1024 - 1;
/// Time for the peer to read an answer that came before the request had ended.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
