//! The body of an event: read whole, bounded, and checked as it arrives.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::InboundError;
use super::verify::Check;
use crate::room::{Held, Room};

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
    mut body: Incoming,
    check: &mut Check<'_>,
    room: &'r Room,
    bounds: Bounds,
) -> Result<(Bytes, Held<'r>), InboundError> {
    let too_large = || InboundError::BodyTooLarge { limit: bounds.max_body };
    let expected = body.size_hint();
    if expected.lower() > bounds.max_body {
        return Err(too_large());
    }
    let mut held = room.take(0, bounds.max_in_flight).ok_or(InboundError::Overloaded)?;
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    let mut length = 0;
    while !body.is_end_stream() {
        let frame = match timeout_at(bounds.deadline, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|_| InboundError::BodyBroken)?,
            Ok(None) => break,
            Err(_) => return Err(InboundError::BodyTimedOut),
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length > bounds.max_body {
            return Err(too_large());
        }
        if !held.grow(data.len() as u64, bounds.max_in_flight) {
            return Err(InboundError::Overloaded);
        }
        check.update(&data);
        // Most events are one frame, which is then the body as it is.
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            // Memory that is not written to yet is not there yet.
            whole.reserve(usize::try_from(expected.lower()).unwrap_or_default());
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok((if whole.is_empty() { first } else { whole.freeze() }, held))
}
