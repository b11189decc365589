//! The body of an event: read whole, bounded, and shown piece by piece to the signature check.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::InboundError;
use crate::memory::{Holder, MemoryBudget, Reservation};

/// A body in pieces. A single piece of megabytes would be copied each time it grows.
///
/// Copies share the pieces, and the part of the memory budget that the pieces take.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pieces: Vec<Bytes>,
    length: usize,
    reservation: Option<Arc<Reservation>>,
}

impl Body {
    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push(piece);
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Returns true for a body of no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the pieces in order.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Returns the whole body as one slice; several pieces are copied.
    #[must_use]
    pub fn whole(&self) -> Cow<'_, [u8]> {
        match self.pieces.as_slice() {
            [] => Cow::Borrowed(&[]),
            [piece] => Cow::Borrowed(piece),
            pieces => Cow::Owned(pieces.concat()),
        }
    }
}

impl Body {
    /// Returns the whole body; several pieces are copied.
    #[must_use]
    pub fn whole_bytes(&self) -> Bytes {
        match self.pieces.as_slice() {
            [] => Bytes::new(),
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Self {
        let mut body = Self::default();
        body.push(Bytes::copy_from_slice(bytes));
        body
    }
}

/// The bounds of an event's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyBounds {
    /// The bound on this body, in bytes.
    pub(super) max_body: u64,
    /// The time by which the whole body must have arrived.
    pub(super) deadline: Instant,
}

/// Reads a body, and shows each piece to `seen` as it arrives.
///
/// Only bytes that have arrived are reserved in `memory`, so no client can use up the budget
/// by announcing lengths.
///
/// # Errors
/// A broken (400), late (408) or too large (413) body, or a used-up budget (503).
pub(super) async fn receive(
    mut incoming: Incoming,
    bounds: BodyBounds,
    memory: &Arc<MemoryBudget>,
    mut seen: impl FnMut(&[u8]),
) -> Result<Body, InboundError> {
    let too_large = || InboundError::BodyTooLarge {
        limit: bounds.max_body,
    };
    if incoming.size_hint().lower() > bounds.max_body {
        return Err(too_large());
    }
    let longest = incoming.size_hint().exact().unwrap_or(bounds.max_body);
    let mut assembly = Assembly::new(memory, longest);
    let read_all = async {
        while let Some(frame) = incoming.frame().await {
            // Any other frame has trailers, and no signature covers trailers.
            let Ok(piece) = frame.map_err(|_| InboundError::BodyBroken)?.into_data() else {
                continue;
            };
            seen(&piece);
            if (assembly.length + piece.len()) as u64 > bounds.max_body {
                return Err(too_large());
            }
            let before = assembly.length / YIELD_AFTER;
            assembly.push(&piece)?;
            // A fast sender's next piece is always there already: other requests get their turn
            // here.
            if assembly.length / YIELD_AFTER != before {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    };
    timeout_at(bounds.deadline, read_all)
        .await
        .unwrap_or(Err(InboundError::BodyTimedOut))?;
    Ok(assembly.finish())
}

/// An arriving body.
///
/// A piece as read keeps the whole read buffer alive: a body in many pieces would take several
/// times its length. The pieces are therefore copied together, into segments that are reserved by
/// their capacity. A segment is as long as all before it, up to [`MAX_SEGMENT`], so the capacity is
/// at most twice the length. No segment is longer than the bytes that may still come, so a body of
/// `max_body` bytes takes no more than `max_body`.
struct Assembly {
    body: Body,
    /// The bound on the length of the body.
    longest: usize,
    /// The segment that is being filled, not in `body` yet.
    segment: Vec<u8>,
    length: usize,
    /// The capacity of all segments.
    capacity: usize,
    reservation: Reservation,
}

impl Assembly {
    fn new(memory: &Arc<MemoryBudget>, longest: u64) -> Self {
        Self {
            body: Body::default(),
            longest: usize::try_from(longest).unwrap_or(usize::MAX),
            segment: Vec::new(),
            length: 0,
            capacity: 0,
            reservation: memory.reserve(Holder::Event),
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), InboundError> {
        let room = self.segment.capacity() - self.segment.len();
        let (first, rest) = piece.split_at(piece.len().min(room));
        self.segment.extend_from_slice(first);
        self.length += first.len();
        if !rest.is_empty() {
            self.begin_segment(rest.len())?;
            self.segment.extend_from_slice(rest);
            self.length += rest.len();
        }
        Ok(())
    }

    /// Begins a segment with room for `length` bytes at least.
    fn begin_segment(&mut self, length: usize) -> Result<(), InboundError> {
        let to_come = self.longest.saturating_sub(self.length);
        let capacity = self.length.min(MAX_SEGMENT).min(to_come).max(length);
        self.capacity += capacity;
        if !self.reservation.grow_to(self.capacity as u64) {
            return Err(InboundError::Overloaded);
        }
        self.end_segment();
        self.segment.reserve_exact(capacity);
        Ok(())
    }

    fn end_segment(&mut self) {
        if !self.segment.is_empty() {
            self.body.push(std::mem::take(&mut self.segment).into());
        }
    }

    fn finish(mut self) -> Body {
        // The application may take seconds for the event: the room that its last segment did not
        // fill is given back.
        let slack = self.segment.capacity() - self.segment.len();
        self.segment.shrink_to_fit();
        let kept = self.capacity.saturating_sub(slack) as u64;
        self.reservation.shrink_to(kept);
        self.end_segment();
        self.body.reservation = Some(Arc::new(self.reservation));
        self.body
    }
}

/// The bytes of a body that are hashed in a row: some 200 microseconds.
const YIELD_AFTER: usize = 256 * 1024;
/// The bound on the length of segments, in bytes. Buffers of equal size fill the gaps that freed
/// buffers leave behind.
const MAX_SEGMENT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_at_most_twice_its_length_however_it_is_cut() {
        let whole: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        for size in [1, 100, 5000, 16 * 1024, 64 * 1024, 200_000, 300_000] {
            let memory = Arc::new(MemoryBudget::new(1 << 20));
            let mut assembly = Assembly::new(&memory, 1 << 20);
            for piece in whole.chunks(size) {
                assembly.push(piece).unwrap();
            }
            assert!(assembly.capacity <= 2 * whole.len(), "pieces of {size}");
            let body = assembly.finish();
            assert_eq!(body.len(), whole.len());
            assert!(*body.whole() == *whole, "pieces of {size}");
            assert!(body.pieces().len() < 32, "pieces of {size}");
        }
    }

    #[test]
    fn a_body_within_its_bound_fits_into_the_room_for_one() {
        for (longest, room, lengths) in [
            (80 << 10, 120 << 10, &[70_000, 80 << 10][..]),
            (4 << 20, 4 << 20, &[4 << 20]),
            // A body with a length: the length is the bound.
            (100_000, 100_000, &[100_000]),
        ] {
            for length in lengths {
                let memory = Arc::new(MemoryBudget::new(room));
                let mut assembly = Assembly::new(&memory, longest);
                for piece in vec![b'x'; *length].chunks(10_000) {
                    assert!(assembly.push(piece).is_ok(), "{length} of {longest}");
                }
                assert_eq!(assembly.finish().len(), *length);
            }
        }
    }

    #[test]
    fn a_body_is_reserved_until_its_last_copy_is_dropped() {
        let memory = Arc::new(MemoryBudget::new(1 << 20));
        let mut assembly = Assembly::new(&memory, 1 << 20);
        assembly.push(&[b'x'; 1 << 20]).unwrap();
        let body = assembly.finish();
        let copy = body.clone();
        drop(body);
        let mut other = Assembly::new(&memory, 1 << 20);
        assert!(matches!(
            other.push(&[b'x'; 100_000]),
            Err(InboundError::Overloaded)
        ));
        drop((copy, other));
        assert!(
            Assembly::new(&memory, 1 << 20)
                .push(&[b'x'; 100_000])
                .is_ok()
        );
    }
}
