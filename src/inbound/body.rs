//! The body of an event: read whole, bounded, and checked as it arrives.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::InboundError;
use super::verify::Check;
use crate::listener::READ_SIZE;
use crate::room::{Held, Room};

/// A body in the pieces in which it came: putting megabytes together would cost as much as reading
/// them.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pieces: Vec<Bytes>,
    length: usize,
}

impl Body {
    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push(piece);
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Its pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// All of it in one piece.
    #[must_use]
    pub fn whole(&self) -> Cow<'_, [u8]> {
        match self.pieces.as_slice() {
            [] => Cow::Borrowed(&[]),
            [piece] => Cow::Borrowed(piece),
            pieces => Cow::Owned(pieces.concat()),
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

/// What bounds the bodies of events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// One of them, in bytes.
    pub(super) max_body: u64,
    /// All of them that are held at a time.
    pub(super) max_in_flight: u64,
    /// When it must be here.
    pub(super) deadline: Instant,
}

/// Reads a body and gives each piece to `check` on the way. Only bytes that came count as held, so
/// that nobody can keep the room with lengths alone.
///
/// # Errors
/// 400, 408, 413, 503.
pub(super) async fn receive<'r>(
    mut incoming: Incoming,
    check: &mut Check<'_>,
    room: &'r Room,
    bounds: Bounds,
) -> Result<(Body, Held<'r>), InboundError> {
    let too_large = || InboundError::BodyTooLarge { limit: bounds.max_body };
    if incoming.size_hint().lower() > bounds.max_body {
        return Err(too_large());
    }
    let mut held = room.take();
    let mut parts = Parts::default();
    let all_of_it = async {
        while let Some(frame) = incoming.frame().await {
            let Ok(piece) = frame.map_err(|_| InboundError::BodyBroken)?.into_data() else { continue };
            check.update(&piece);
            parts.push(piece);
            if parts.length as u64 > bounds.max_body {
                return Err(too_large());
            }
            if !held.grow_to(parts.memory, bounds.max_in_flight) {
                return Err(InboundError::Overloaded);
            }
        }
        Ok(())
    };
    timeout_at(bounds.deadline, all_of_it).await.unwrap_or(Err(InboundError::BodyTimedOut))?;
    Ok((parts.finish(), held))
}

/// A body on its way in.
///
/// A piece keeps the whole of the buffer that it was read into: sent a byte at a time, a body would take
/// thousands of times its length. So small pieces are put together in a buffer of their own.
#[derive(Default)]
struct Parts {
    done: Body,
    small: BytesMut,
    length: usize,
    memory: u64,
}

impl Parts {
    fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        if piece.len() < SMALL {
            self.memory += piece.len() as u64;
            self.small.extend_from_slice(&piece);
        } else {
            self.memory += READ_SIZE as u64;
            self.close_small();
            self.done.push(piece);
        }
        if self.small.len() >= SMALL {
            self.close_small();
        }
    }

    fn close_small(&mut self) {
        if !self.small.is_empty() {
            self.done.push(self.small.split().freeze());
        }
    }

    fn finish(mut self) -> Body {
        self.close_small();
        self.done
    }
}

const SMALL: usize = READ_SIZE / 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_are_put_together_and_large_ones_kept() {
        let large = Bytes::from(vec![b'x'; SMALL]);
        let mut parts = Parts::default();
        for byte in b"before" {
            parts.push(Bytes::copy_from_slice(&[*byte]));
        }
        parts.push(large.clone());
        for _ in 0..SMALL + 1 {
            parts.push(Bytes::from_static(b"y"));
        }
        assert_eq!(parts.memory as usize, 6 + 2 * SMALL + SMALL + 1);
        let body = parts.finish();
        let lengths: Vec<usize> = body.pieces().iter().map(Bytes::len).collect();
        assert_eq!(lengths, [6, SMALL, SMALL, 1]);
        assert_eq!(body.pieces()[1].as_ptr(), large.as_ptr());
        assert_eq!(body.len(), 6 + 2 * SMALL + 1);
    }
}
