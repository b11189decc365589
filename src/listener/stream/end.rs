//! The end of the peer's side outside a head, and the questions to a peer that may be gone;
//! `link.rs` tells why.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::LinkStream;
use crate::listener::link::Phase;
use crate::listener::peer_end::PeerEnd;

impl<T: AsyncRead + AsyncWrite + PeerEnd + Unpin> LinkStream<T> {
    /// Decides on the end of the peer's side outside a head: pending while it is held back or
    /// hidden.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.take_whole_body();
        // Told of the end, hyper would close the connection with the answer unsent. `begin_head`
        // wakes hyper once the answer is flushed.
        if self.link.is(Phase::Read) || self.link.is(Phase::Answered) {
            self.hides_end = true;
            self.link.seat().peer_ends(cx);
            return Poll::Pending;
        }
        // The end may arrive together with the request, before the handler could say that the
        // request is read.
        let ended = *self.ended.get_or_insert_with(Instant::now);
        if ended.elapsed() < END_GRACE {
            self.watchdog.set(ended + END_GRACE);
            ready!(self.watchdog.poll(cx));
        }
        // The body may be whole, with its last bytes on their way to the provider.
        let may_be_whole = self.link.passes_through() && ended.elapsed() < LAST_BYTES;
        let is_wanted = self.link.is_waiting() || may_be_whole;
        if is_wanted && self.link.takes_interim_answers() && !self.has_written {
            return self.ask_ended_peer(cx);
        }
        Poll::Ready(())
    }

    /// Asks a peer that has ended its side, and may still want an answer, for a sign of life: at
    /// once, then after each interval. Ready once the peer is gone.
    fn ask_ended_peer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self
            .probed
            .is_some_and(|asked| asked.elapsed() >= PROBE_INTERVAL)
        {
            self.probed = None;
        }
        if self.probe(cx).is_err() {
            return Poll::Ready(());
        }
        // The end has been read, so no reset wakes the task: the next write shows the reset.
        self.watchdog.set(Instant::now() + WATCH_INTERVAL);
        if self.watchdog.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Looks for the end of a peer while hyper does not read: a request that waits ends with its
    /// peer, also if bytes of a body or of further requests stand before the end. An error ends the
    /// connection.
    pub(super) fn watch_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_waiting = self.link.is_waiting();
        let stream = self.stream.get_ref();
        // Bytes or the end wake the connection, if none of them are here yet.
        let is_readable = stream.poll_readable(cx).is_ready();
        let is_read = || self.ahead.is_empty() && stream.has_no_bytes();
        if is_readable && stream.has_ended() && (is_waiting || is_read()) {
            return match self.poll_end(cx) {
                Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
                Poll::Pending => Ok(()),
            };
        }
        if !is_waiting {
            return Ok(());
        }
        if self.link.is_upload() {
            // The first question comes after an interval: most uploads do not wait.
            let last = *self.probed.get_or_insert_with(Instant::now);
            if last.elapsed() >= PROBE_INTERVAL {
                self.probed = None;
                self.probe(cx)?;
            }
        }
        // The end wakes nobody while unread bytes stand before it.
        if !self.is_stalled {
            self.watchdog.set(Instant::now() + WATCH_INTERVAL);
            if self.watchdog.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Ok(())
    }

    /// Finds out if a peer that has ended its own side is still there: an interim answer makes the
    /// system of a peer that is gone send a reset, and the next write then fails. An error ends the
    /// connection.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.has_written || !self.link.takes_interim_answers() {
            return Ok(());
        }
        let is_first = self.probed.is_none();
        let bytes: &[u8] = if is_first { INTERIM_ANSWER } else { b"" };
        match Pin::new(self.stream.get_mut()).poll_write(cx, bytes)? {
            Poll::Ready(written) if written < bytes.len() => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(_) => {
                self.probed.get_or_insert_with(Instant::now);
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }
}

/// Time for a handler to read a request whose peer ended its own side with the last byte. A handler
/// needs microseconds; a peer that is gone holds the place in a queue for no longer than this.
pub(super) const END_GRACE: Duration = Duration::from_millis(50);
/// The time in which the last bytes of an upload should reach the provider once its caller has
/// ended its side: what is still on its way is in hyper's buffers, some 32 KiB.
const LAST_BYTES: Duration = Duration::from_secs(10);
/// The interval of looks for the end of a peer behind unread bytes: a look is a system call, and a
/// turn in a queue is seldom nearer.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// The interval of questions to a peer whose request waits: a second is short beside `max_wait`,
/// and long beside a round trip.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The interim answer that asks a peer if it is still there. Of all interim answers, old clients
/// know this one.
const INTERIM_ANSWER: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
