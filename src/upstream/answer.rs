//! The answer of an upstream, whose body may still be on the way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::error::{Unreadable, UpstreamError};
use super::framing::Framing;
use super::pool::Pool;
use crate::memory::{MemoryBudget, Reservation, SMALL};
use crate::traffic::Failure;
use crate::workers::work_on;

/// An answer as the upstream sent it.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody,
    /// Time at which the head was here.
    pub arrived: Instant,
    /// True if the answer came before the whole request had been written.
    pub early: bool,
    /// True for the refusal of a request that was signed with a wrong time. The sender of the
    /// request finds it out.
    pub clock_was_wrong: bool,
    /// The failure that the answer tells of. The reader of the answer notes it.
    pub failure: Option<Box<Failure>>,
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// The whole body.
    Whole(Bytes),
    /// A body that passes through while the upstream sends it.
    Stream(Box<AnswerStream>),
    /// A body that was to be read whole and could not be.
    Unreadable(Unreadable),
}

/// A body on the way, with its connection. A drop before the end closes the connection; at the end
/// the connection goes back to the pool, if the connection can carry a further exchange.
#[derive(Debug)]
pub struct AnswerStream {
    connection: Option<Connection>,
    framing: Framing,
    first: Option<Bytes>,
    /// The end of a body that broke off, until the reader has passed on what came before.
    broken: Option<UpstreamError>,
    /// The pool for the connection after the end; `None` for a connection that carries no other
    /// exchange.
    pool: Option<Arc<Pool>>,
    /// The memory of the buffers, for a body that passes through.
    buffers: Option<Reservation>,
}

impl From<Bytes> for AnswerBody {
    fn from(data: Bytes) -> Self {
        Self::Whole(data)
    }
}

impl AnswerBody {
    pub(super) fn stream(
        pool: Option<Arc<Pool>>,
        connection: Connection,
        framing: Framing,
        first: Option<Bytes>,
    ) -> Self {
        Self::Stream(Box::new(AnswerStream {
            connection: Some(connection),
            framing,
            first,
            broken: None,
            pool,
            buffers: None,
        }))
    }

    /// Reserves the memory of a body that passes through, and waits for room at most to the
    /// deadline of the exchange. A small body needs none.
    ///
    /// # Errors
    /// No room in time.
    pub async fn passing(mut self, memory: &Arc<MemoryBudget>) -> Result<Self, UpstreamError> {
        if let Self::Stream(stream) = &mut self
            && stream.buffers.is_none()
            && stream.bytes_left().is_none_or(|left| left > SMALL)
        {
            let room = memory.wait_to_pass(STREAM_BUFFERS);
            stream.buffers = Some(stream.wait_for_room(room).await?);
        }
        Ok(self)
    }

    /// Reads the whole body of an answer to a question of Keyside's own, for which `limit` is
    /// small.
    ///
    /// # Errors
    /// A body that is cut off, or larger than `limit` bytes.
    pub async fn whole(self, limit: usize) -> Result<Bytes, UpstreamError> {
        self.gather(limit, None).await
    }

    /// Reads the whole body. A body that is not small takes its part of `memory`, until the last
    /// copy of the bytes is dropped, and waits for room at most to the deadline of the exchange.
    /// The upstream waits meanwhile, because nothing is read.
    ///
    /// # Errors
    /// A body that is cut off, or larger than `limit` bytes, or without room in time.
    pub async fn whole_in_budget(
        self,
        limit: usize,
        memory: &Arc<MemoryBudget>,
    ) -> Result<Bytes, UpstreamError> {
        self.gather(limit, Some(memory)).await
    }

    /// Reads the whole body within the budget, or lets a body larger than `limit` bytes pass
    /// through.
    ///
    /// # Errors
    /// A body that is cut off, or without room in time.
    pub async fn whole_or_stream(
        self,
        limit: usize,
        memory: &Arc<MemoryBudget>,
    ) -> Result<Self, UpstreamError> {
        let mut stream = match self {
            Self::Stream(stream) => stream,
            whole => return Ok(whole),
        };
        let expected = stream.bytes_left().unwrap_or(limit);
        if expected > limit {
            return Ok(Self::Stream(stream));
        }
        let mut reservation = None;
        if expected > SMALL {
            let room = memory.wait_for(expected as u64);
            reservation = Some(stream.wait_for_room(room).await?);
        }
        let mut all = Vec::new();
        while let Some(data) = std::future::poll_fn(|cx| stream.poll_next(cx)).await {
            let data = data?;
            let length = all.len() + data.len();
            let expected = stream.bytes_left().unwrap_or_default();
            grow(&mut all, length.saturating_add(expected), usize::MAX).await;
            all.extend_from_slice(&data);
            if all.len() > limit {
                fit(&mut all).await;
                stream.first = Some(all.into());
                stream.buffers = reservation;
                return Ok(Self::Stream(stream));
            }
        }
        fit(&mut all).await;
        Ok(Self::Whole(match reservation {
            Some(mut reservation) => {
                reservation.shrink_to(all.capacity() as u64);
                reservation.keep(all.into())
            }
            None => all.into(),
        }))
    }

    async fn gather(
        self,
        limit: usize,
        memory: Option<&Arc<MemoryBudget>>,
    ) -> Result<Bytes, UpstreamError> {
        let mut stream = match self {
            Self::Whole(data) => return Ok(data),
            Self::Stream(stream) => stream,
            Self::Unreadable(reason) => return Err(reason.into()),
        };
        let mut all = Vec::new();
        let mut reservation: Option<Reservation> = None;
        while let Some(data) = std::future::poll_fn(|cx| stream.poll_next(cx)).await {
            let data = data?;
            let length = all.len() + data.len();
            let expected = stream
                .bytes_left()
                .map_or(length, |left| length.saturating_add(left));
            if expected > limit {
                return Err(Unreadable::TooLarge { limit }.into());
            }
            if let Some(memory) = memory
                && expected > SMALL
                && reservation.is_none()
            {
                // Without a length the largest body is expected: two answers that each have part of
                // the room and wait for more could wait for each other.
                let capacity = stream.bytes_left().map_or(limit, |_| expected);
                let room = memory.wait_for(capacity as u64);
                reservation = Some(stream.wait_for_room(room).await?);
            }
            grow(&mut all, expected, limit).await;
            all.extend_from_slice(&data);
        }
        let Some(mut reservation) = reservation else {
            return Ok(all.into());
        };
        fit(&mut all).await;
        reservation.shrink_to(all.capacity() as u64);
        Ok(reservation.keep(all.into()))
    }
}

/// Makes room for `length` bytes. The capacity doubles, and never exceeds `limit`. Megabytes are
/// moved, and wiped where they were, on another thread.
async fn grow(all: &mut Vec<u8>, length: usize, limit: usize) {
    if all.capacity() < length {
        let capacity = length.max(2 * all.capacity()).min(limit);
        let mut moved = std::mem::take(all);
        *all = work_on(moved.len(), move || {
            moved.reserve_exact(capacity - moved.len());
            moved
        })
        .await;
    }
}

/// Gives room back that is not used, as [`grow`] makes it.
async fn fit(all: &mut Vec<u8>) {
    if all.capacity() > all.len() {
        let mut moved = std::mem::take(all);
        *all = work_on(moved.capacity(), move || {
            moved.shrink_to_fit();
            moved
        })
        .await;
    }
}

/// The memory of a body while passing through, in bytes: the read piece, the pieces waiting for a
/// slow reader, and the buffers of TLS on both sides.
const STREAM_BUFFERS: u64 = 96 * 1024;

impl AnswerStream {
    /// The number of bytes still to come, if the upstream has said it. A number beyond memory is
    /// the largest number.
    fn bytes_left(&self) -> Option<usize> {
        match &self.framing {
            Framing::Length(left) => Some(usize::try_from(*left).unwrap_or(usize::MAX)),
            Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// Waits until there is room, at most to the deadline of the exchange.
    async fn wait_for_room(
        &mut self,
        room: impl Future<Output = Reservation>,
    ) -> Result<Reservation, UpstreamError> {
        let deadline = self
            .connection
            .as_ref()
            .map_or_else(Instant::now, Connection::deadline);
        let reservation = timeout_at(deadline, room)
            .await
            .map_err(|_| Unreadable::NoRoom)?;
        if let Some(connection) = &mut self.connection {
            connection.resume();
        }
        Ok(reservation)
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        let next = ready!(connection.poll_body(cx, &mut self.framing));
        match &next {
            Some(Ok(_)) => {}
            Some(Err(_)) => drop(self.connection.take()),
            None => {
                if let Some(connection) = self.connection.take()
                    && let Some(pool) = &self.pool
                {
                    pool.put_back(connection, Instant::now());
                }
            }
        }
        Poll::Ready(next)
    }

    /// Returns the next piece for the application. An error comes one turn late: hyper drops what
    /// it has not yet written when a body fails, and the application would get neither the head nor
    /// the pieces before.
    fn poll_passing(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(self.poll_next(cx)) {
            Some(Err(error)) => {
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            next => Poll::Ready(next.map(|data| data.map(Frame::data))),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut *self {
            Self::Whole(data) if data.is_empty() => Poll::Ready(None),
            Self::Whole(data) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            Self::Stream(stream) => stream.poll_passing(cx),
            Self::Unreadable(reason) => Poll::Ready(Some(Err((*reason).into()))),
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
            Self::Unreadable(_) => SizeHint::default(),
        }
    }
}
