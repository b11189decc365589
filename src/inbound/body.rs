//! The body of an event: read whole, bounded, and checked as it arrives.

use std::borrow::Cow;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::InboundError;
use super::verify::Check;
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
    let mut body = Body::default();
    while !incoming.is_end_stream() {
        let frame = match timeout_at(bounds.deadline, incoming.frame()).await {
            Ok(Some(frame)) => frame.map_err(|_| InboundError::BodyBroken)?,
            Ok(None) => break,
            Err(_) => return Err(InboundError::BodyTimedOut),
        };
        let Ok(piece) = frame.into_data() else { continue };
        let length = (body.len() + piece.len()) as u64;
        if length > bounds.max_body {
            return Err(too_large());
        }
        if !held.grow_to(length, bounds.max_in_flight) {
            return Err(InboundError::Overloaded);
        }
        check.update(&piece);
        body.push(piece);
    }
    Ok((body, held))
}
