//! The first answer to a message, as it was.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

/// What a message was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The `Content-Type`.
    pub media_type: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Of a response, in memory of its own: its body may be a piece of a whole connection's buffer.
    #[must_use]
    pub fn of(status: StatusCode, media_type: Option<&HeaderValue>, body: &[u8]) -> Self {
        let media_type = media_type.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        Self { status, media_type, body: Bytes::copy_from_slice(body) }
    }

    /// How much memory it takes, about.
    pub(super) fn size(&self) -> usize {
        self.body.len() + 64
    }

    /// As one piece: a line with status and media type, then the body.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let media_type = self.media_type.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        [self.status.as_str().as_bytes(), b" ", media_type, b"\n", &self.body].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, body) = bytes.split_at_checked(end)?;
        let (status, media_type) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
        let media_type = media_type.get(1..).filter(|text| !text.is_empty());
        Some(Self {
            status: StatusCode::from_bytes(status).ok()?,
            media_type: media_type.map(HeaderValue::from_bytes).transpose().ok()?,
            body: Bytes::copy_from_slice(body.get(1..)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_after_it_was_kept() {
        let json = Some(HeaderValue::from_static("application/json; charset=UTF-8"));
        for (media_type, body) in [(json, &b"{\"a\":\n1}"[..]), (None, b""), (None, b"\n\n")] {
            let answer = Answer { status: StatusCode::OK, media_type, body: Bytes::from_static(body) };
            assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
        }
        for bytes in [&b""[..], b"200", b"200 \r", b"2x0 a\nb"] {
            assert_eq!(Answer::from_bytes(bytes), None);
        }
    }
}
