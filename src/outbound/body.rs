//! The body of a request: read whole where something in it may change, streamed otherwise.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::OutboundError;
use crate::room::{Held, Room};
use crate::upstream::UpstreamError;

/// What a body is, by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON, or text that may be.
    Json,
    /// A form-encoded body.
    UrlEncoded,
    /// Media, and anything else that nothing is looked up in.
    Stream,
}

impl Form {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return Self::Json };
        let media_type = value.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let starts =
            |prefix: &[u8]| media_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let ends = |suffix: &[u8]| {
            media_type.len() >= suffix.len()
                && media_type.get(media_type.len() - suffix.len()..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        if starts(b"application/x-www-form-urlencoded") {
            Self::UrlEncoded
        } else if starts(b"application/json") || starts(b"text/") || ends(b"+json") || media_type.is_empty() {
            Self::Json
        } else {
            Self::Stream
        }
    }
}

/// Reads all of a body; what is known to be too long is refused before a byte of it is read.
pub(super) async fn read_whole(
    mut body: Incoming,
    room: &Room,
    deadline: Instant,
) -> Result<(Bytes, Held<'_>), OutboundError> {
    let expected = body.size_hint().lower();
    if expected > MAX_WHOLE {
        return Err(OutboundError::BodyTooLarge { limit: MAX_WHOLE });
    }
    let mut held = room.take();
    hold(&mut held, expected)?;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let until = deadline.min(Instant::now() + PROGRESS);
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|error| caller_broke(UpstreamError::CallerBody(error)))?,
            Ok(None) => break,
            Err(_) => return Err(caller_broke(UpstreamError::CallerTimedOut)),
        };
        let Ok(data) = frame.into_data() else { continue };
        let length = (first.len() + rest.len() + data.len()) as u64;
        if length > MAX_WHOLE {
            return Err(OutboundError::BodyTooLarge { limit: MAX_WHOLE });
        }
        hold(&mut held, length)?;
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, held))
}

/// Holds room for a body of so many bytes. A small one counts for none: it is bounded by the number of
/// connections.
fn hold(held: &mut Held<'_>, length: u64) -> Result<(), OutboundError> {
    match length <= FREE || held.grow_to(length, MAX_HELD) {
        true => Ok(()),
        false => Err(OutboundError::Overloaded),
    }
}

/// Refuses a streamed body that is known to be too long. One without a length is cut off by
/// [`crate::upstream`] when it gets there.
pub(super) fn check_stream(body: &Incoming) -> Result<(), OutboundError> {
    if body.size_hint().lower() > MAX_STREAM {
        return Err(OutboundError::BodyTooLarge { limit: MAX_STREAM });
    }
    Ok(())
}

fn caller_broke(error: UpstreamError) -> OutboundError {
    OutboundError::Upstream { error, outcome_unknown: false }
}

/// JSON and forms.
const MAX_WHOLE: u64 = 1024 * 1024;
/// Media: WhatsApp takes documents of 100 MB, and multipart adds to that.
pub(super) const MAX_STREAM: u64 = 110 * 1024 * 1024;
/// Whole bodies at a time; a small one is bounded by the number of connections and counts for none.
const MAX_HELD: u64 = 64 * 1024 * 1024;
const FREE: u64 = 16 * 1024;
/// Between two pieces of a body.
pub(super) const PROGRESS: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_forms_are_read_and_media_is_streamed() {
        let table = [
            ("application/json", Form::Json),
            ("Application/JSON; charset=utf-8", Form::Json),
            ("application/problem+json", Form::Json),
            ("text/plain", Form::Json),
            ("", Form::Json),
            ("application/x-www-form-urlencoded; charset=utf-8", Form::UrlEncoded),
            ("multipart/form-data; boundary=json", Form::Stream),
            ("image/png", Form::Stream),
            ("application/octet-stream", Form::Stream),
        ];
        for (media_type, form) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
            assert_eq!(Form::of(&headers), form, "{media_type}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Form::Json);
    }
}
