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

use super::bounds::ConnectionBounds;
use super::connections::HeadRoom;
use super::link::{Link, Phase, Timeouts};
use super::patience::PeerPatience;
use super::peer_end::PeerEnd;
use super::refusal::{http1, in_form, overloaded};
use crate::portion::Portion;
use crate::refusal_form::RefusalForms;
use crate::response::{BAD_REQUEST, HEADERS_TOO_LARGE, Refusal};
use crate::watchdog::Watchdog;

/// A socket with the [`Link`] and the timeouts.
#[derive(Debug)]
pub(super) struct LinkStream<T> {
    stream: Take<T>,
    link: Arc<Link>,
    timeouts: Timeouts,
    max_head: usize,
    tls_advice: &'static str,
    refusals: Arc<ArcSwap<RefusalForms>>,
    watchdog: Watchdog,
    line: LineScan,
    /// Bytes that were read for an earlier request and belong to the next one.
    ahead: Bytes,
    /// The bytes of the head so far.
    head_length: usize,
    /// True once hyper's buffer has grown for a long head.
    is_long: bool,
    /// The room for a long head; `None` if heads need none.
    room: Option<HeadRoom>,
    /// True once a head is refused because it has no room in memory, or its place is needed.
    is_head_refused: bool,
    /// The refusal that replaces an error answer of hyper's, and the count of the written bytes.
    replacement: Option<(Vec<u8>, usize)>,
    /// True once this side is shut down and the rest of the peer's bytes are thrown away.
    is_lingering: bool,
    /// Time at which the peer's side ended, if that was before the request was read.
    ended: Option<Instant>,
    /// True if the peer's side has ended, and hyper was not told.
    hides_end: bool,
    /// True if a read of hyper's is pending since the last flush. hyper does not read while it holds bytes of a
    /// further request, or of a body that its handler does not ask for.
    is_reading: bool,
    /// True once a byte of the answer was written.
    has_written: bool,
    /// The time of the last interim answer that the peer has got to see if it is still there.
    probed: Option<Instant>,
    /// True while the peer takes no byte of what is to be written. The watchdog then has the end of the
    /// wait.
    is_stalled: bool,
    patience: PeerPatience,
    portion: Portion,
}

/// The scan of a request line as the bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineScan {
    /// No byte of the line is here.
    Waiting,
    /// The beginning of the line is here. `is_tls` if the first byte begins a TLS handshake.
    Within { is_tls: bool },
    /// The whole line is here. `is_tls` as in `Within`.
    Done { is_tls: bool },
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
            max_head: bounds.max_head,
            tls_advice: bounds.tls_advice,
            refusals: Arc::clone(&bounds.refusals),
            watchdog: Watchdog::new(Instant::now() + bounds.timeouts.head),
            line: LineScan::Waiting,
            ahead: Bytes::new(),
            head_length: 0,
            is_long: false,
            room,
            is_head_refused: false,
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

    /// Returns ready once there are bytes to read, or the end of the peer's side: true. False for a peer that is to leave.
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
        // An empty line behind a body begins no request (RFC 9112, 2.2): it must not start the timeout of a head.
        let begin = ahead.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let ahead = ahead
            .get(begin.unwrap_or(ahead.len())..)
            .unwrap_or_default();
        // A copy: the bytes as they are would keep hyper's buffer, also if there are none.
        self.ahead = Bytes::copy_from_slice(ahead);
        self.is_long = false;
        if let Some(room) = &mut self.room {
            room.give_back();
        }
    }

    /// Scans the bytes of a head as they arrive: the first byte starts the head's timeout, and a `#` in
    /// the first line is a fragment.
    fn scan_head(&mut self, bytes: &[u8]) {
        let is_tls = match (self.line, bytes.first()) {
            (LineScan::Done { .. }, _) | (_, None) => return,
            (LineScan::Within { is_tls }, _) => is_tls,
            (LineScan::Waiting, Some(first)) => {
                self.link.note_fragment(false);
                let now = Instant::now();
                self.link.seat().begins_head(now);
                self.watchdog.set(now + self.timeouts.head);
                *first == TLS_HANDSHAKE
            }
        };
        let end = memchr::memchr(b'\n', bytes);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if memchr::memchr(b'#', line).is_some() {
            self.link.note_fragment(true);
        }
        self.line = match end {
            Some(_) => LineScan::Done { is_tls },
            None => LineScan::Within { is_tls },
        };
    }

    /// Reserves room for a long head. Without room, the head is refused.
    fn reserve_head(&mut self, new: usize, buf: &mut ReadBuf<'_>, before: usize) {
        self.head_length += new;
        if self.head_length <= LONG_HEAD || self.is_long {
            return;
        }
        self.is_long = true;
        if let Some(room) = &mut self.room
            && !room.take(|| self.link.client())
        {
            buf.set_filled(before);
            self.refuse_head(buf);
        }
    }

    /// Makes the head one that hyper cannot parse; a refusal replaces the answer of hyper.
    fn refuse_head(&mut self, buf: &mut ReadBuf<'_>) {
        self.is_head_refused = true;
        let length = NO_HEAD.len().min(buf.remaining());
        buf.put_slice(NO_HEAD.get(..length).unwrap_or_default());
    }

    /// Replaces the bare status line that hyper writes for a head that it cannot parse.
    fn replace(&mut self, written_by_hyper: &[u8]) {
        let status = written_by_hyper.get(9..12).unwrap_or_default();
        let refusal = if self.is_head_refused {
            overloaded()
        } else if status == b"431" || status == b"414" {
            let limit = self.max_head / 1024;
            Refusal::new(
                HEADERS_TOO_LARGE,
                "the head of the request is too large",
                format!("send at most 100 headers and {limit} KiB of request line and headers"),
            )
        } else if matches!(
            self.line,
            LineScan::Within { is_tls: true } | LineScan::Done { is_tls: true }
        ) {
            let message = "this is a TLS handshake, and this port speaks plain HTTP";
            Refusal::new(BAD_REQUEST, message, self.tls_advice)
        } else {
            Refusal::new(
                BAD_REQUEST,
                "the head of the request is not valid HTTP/1.1",
                "check the request line and the headers, byte for byte",
            )
        };
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

    /// Decides on the end of the peer's side outside a head: pending while it is held back or hidden.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.take_whole_body();
        // Told of the end, hyper would close the connection with the answer unsent. `begin_head` wakes
        // hyper once the answer is flushed.
        if self.link.is(Phase::Read) || self.link.is(Phase::Answered) {
            self.hides_end = true;
            self.link.seat().peer_ends(cx);
            return Poll::Pending;
        }
        // The end may arrive together with the request, before the handler could say that the request
        // is read.
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

    /// Asks a peer that has ended its side, and may still want an answer, if it is still there: at once, then after each
    /// interval. Ready once the peer is gone.
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
        // The end has been read, so that a reset wakes nobody: the next write tells.
        self.watchdog.set(Instant::now() + WATCH_INTERVAL);
        if self.watchdog.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Looks for the end of a peer while hyper does not read: a request that waits ends with its peer, also if
    /// bytes of a body or of further requests stand before the end. An error ends the connection.
    fn watch_for_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_waiting = self.link.is_waiting();
        let stream = self.stream.get_ref();
        // Bytes or the end wake the connection, if none of them are here yet.
        let is_readable = stream.poll_readable(cx).is_ready();
        if is_readable && stream.has_ended() && (is_waiting || stream.has_no_bytes()) {
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

    /// Finds out if a peer that has ended its own side is still there: an interim answer makes the system of a peer
    /// that is gone send a reset, and the next write then fails. An error ends the connection.
    fn probe(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
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

    /// Ends a pending write with an error once the peer has taken nothing for `Timeouts::write`, or has taken the answer
    /// too slowly on the whole. Other wake-ups of the connection do not prolong the wait.
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
        // Looked at beforehand, so that a pause between two portions does not count as a wait for the peer.
        ready!(self.portion.poll_left(cx));
        let stream = self.stream.get_mut();
        let step = self.portion.poll_write(cx, data, |cx, data| {
            Pin::new(stream).poll_write_vectored(cx, data)
        });
        self.note_taken(&step);
        self.write_or_timeout(cx, step)
    }

    fn note_taken(&mut self, step: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = step {
            self.patience.takes(*bytes, Instant::now);
        }
    }

    /// Waits for the next request, after the answer was flushed.
    fn begin_head(&mut self, cx: &mut Context<'_>) {
        self.link.set(Phase::Head);
        self.line = LineScan::Waiting;
        self.head_length = 0;
        self.has_written = false;
        self.patience = PeerPatience::default();
        self.probed = None;
        let now = Instant::now();
        self.watchdog.set(now + self.timeouts.keep_alive);
        self.link.seat().rests(now);
        // hyper does not read now if an earlier read is pending: then no read would start the timer, or
        // listen for the order to leave.
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
            let length = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(length));
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
            this.scan_head(new);
            // Behind the end of the head stands a body, which moves through the buffer.
            let head = memchr::memmem::find(new, END_OF_HEAD).unwrap_or(new.len());
            this.reserve_head(head, buf, before);
        } else if this.link.seat().poll_told(cx).is_ready() {
            // Without a byte of a request, this looks to hyper as if the peer had closed the connection.
            if this.line != LineScan::Waiting {
                this.refuse_head(buf);
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
        // No handler has run, so hyper answers by itself: it could not parse the head.
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
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(this.stream.get_mut()).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.watchdog.poll(cx).map(Ok),
            }
        }
    }
}

/// The most bytes in one read, one less than hyper's first buffer has: hyper doubles its buffer after a read that fills
/// it.
const MAX_PIECE: u64 = 8 * 1024 - 1;
/// The longest head for which hyper's buffer stays at 16 KiB, in bytes.
const LONG_HEAD: usize = 8 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Bytes that end a head and that no head has.
const NO_HEAD: &[u8] = b"\0\r\n\r\n";
/// The first byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Time for a handler to read a request whose peer ended its own side with the last byte. A handler
/// needs microseconds; a peer that is gone holds the place in a queue for no longer than this.
const END_GRACE: Duration = Duration::from_millis(50);
/// The time in which the last bytes of an upload should reach the provider once its caller has ended its side: what is
/// still on its way is in hyper's buffers, some 32 KiB.
const LAST_BYTES: Duration = Duration::from_secs(10);
/// The interval of looks for the end of a peer behind unread bytes.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// The interval of questions to a peer whose request waits.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The interim answer that asks a peer if it is still there. Of all interim answers, old clients know this one.
const INTERIM_ANSWER: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Time for the peer to read an answer that came before the request had ended.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;
    use crate::listener::accept::bound_unread;
    use crate::listener::peer::Peer;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    /// A stream whose peer has ended its side.
    fn ended(phase: Phase) -> (Arc<Link>, LinkStream<UnixStream>) {
        let link = Arc::new(Link::new(Peer::Unix { uid: 0 }));
        link.set(phase);
        let (near, _far) = pair();
        let stream = LinkStream::new(near, Arc::clone(&link), &ConnectionBounds::local(), None);
        (link, stream)
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_peers_side_is_held_back_until_its_request_can_be_read() {
        for (phase, held_back) in [(Phase::Head, Duration::ZERO), (Phase::Busy, END_GRACE)] {
            let (_link, mut stream) = ended(phase);
            let began = Instant::now();
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "{phase:?}");
            let waited = began.elapsed();
            let latest = held_back + Duration::from_millis(2);
            assert!(
                (held_back..=latest).contains(&waited),
                "{phase:?}: {waited:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_peers_side_is_hidden_from_the_request_to_the_last_byte_of_the_answer() {
        let (link, mut stream) = ended(Phase::Busy);
        let hour = Duration::from_secs(3600);
        let mut buffer = [0; 8];
        assert!(
            timeout(END_GRACE / 2, stream.read(&mut buffer))
                .await
                .is_err()
        );
        link.request_is_read();
        assert!(timeout(hour, stream.read(&mut buffer)).await.is_err());
        link.answer_ends();
        assert!(timeout(hour, stream.read(&mut buffer)).await.is_err());
        stream.flush().await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_line_behind_a_body_begins_no_request() {
        let link = Arc::new(Link::new(Peer::Unix { uid: 0 }));
        let (near, _far) = pair();
        let mut stream = LinkStream::new(near, link, &ConnectionBounds::local(), None);
        for (ahead, is_woken) in [(&b"\r\n"[..], false), (b"\r\nGET", true), (b"", false)] {
            stream.put_back(ahead);
            let woken = std::future::poll_fn(|cx| stream.poll_wake(cx));
            let woken = timeout(Duration::from_millis(10), woken).await;
            assert_eq!(woken.is_ok(), is_woken, "{ahead:?}");
        }
    }

    /// The bytes of `length` that a peer gets which reads 1 KiB at a time, `rate` bytes a second.
    async fn read_slowly(length: usize, rate: u32) -> usize {
        let link = Arc::new(Link::new(Peer::Unix { uid: 0 }));
        link.set(Phase::Read);
        let (near, mut far) = pair();
        bound_unread(&near);
        let mut stream = LinkStream::new(near, link, &ConnectionBounds::local(), None);
        let writing = tokio::spawn(async move { stream.write_all(&vec![b'x'; length]).await });
        let (mut taken, mut piece) = (0, [0; 1024]);
        loop {
            tokio::time::sleep(Duration::from_secs(1) * 1024 / rate).await;
            match far.read(&mut piece).await.unwrap() {
                0 => break,
                bytes => taken += bytes,
            }
        }
        writing.await.unwrap().ok();
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_at_a_unix_socket_gets_the_whole_answer_and_one_that_drips_does_not() {
        let length = 1 << 20;
        for rate in [5, 8, 24] {
            assert_eq!(
                read_slowly(length, rate * 1024).await,
                length,
                "{rate} KiB/s"
            );
        }
        assert!(read_slowly(length, 1024).await < length / 4);
    }

    /// A waker that counts.
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flushed_answer_wakes_the_connection_for_a_hidden_end_or_the_keep_alive_timeout() {
        let keep_alive = ConnectionBounds::local().timeouts.keep_alive;
        for (peer_ended, wait) in [(true, Duration::ZERO), (false, keep_alive)] {
            let link = Arc::new(Link::new(Peer::Unix { uid: 0 }));
            let (near, far) = pair();
            let mut stream =
                LinkStream::new(near, Arc::clone(&link), &ConnectionBounds::local(), None);
            let far = (!peer_ended).then_some(far);
            let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&wakes));
            let mut cx = Context::from_waker(&waker);
            let mut buffer = [0; 8];
            let mut buffer = ReadBuf::new(&mut buffer);
            link.request_is_read();
            // The read of hyper while the handler runs; no other read follows by itself.
            assert!(
                Pin::new(&mut stream)
                    .poll_read(&mut cx, &mut buffer)
                    .is_pending()
            );
            link.answer_ends();
            assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
            tokio::time::sleep(wait + Duration::from_millis(5)).await;
            assert!(
                wakes.0.load(Ordering::Relaxed) > 0,
                "peer ended: {peer_ended}"
            );
            let read = Pin::new(&mut stream).poll_read(&mut cx, &mut buffer);
            assert!(read.is_ready(), "peer ended: {peer_ended}");
            drop(far);
        }
    }
}
