//! The provider's first answer to a message, kept for repeated requests.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

/// The answer that a repeated request for a message gets again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status.
    pub status: StatusCode,
    /// The `Content-Type` header.
    pub media_type: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
}

impl StoredAnswer {
    /// Copies a response into memory of its own: the response's body may be a slice of a
    /// connection's buffer, which would stay allocated for a day.
    #[must_use]
    pub fn copy_of(status: StatusCode, media_type: Option<&HeaderValue>, body: &[u8]) -> Self {
        Self {
            status,
            media_type: media_type.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()),
            body: Bytes::copy_from_slice(body),
        }
    }

    /// Returns the approximate memory use in bytes.
    pub(super) fn size(&self) -> usize {
        self.body.len() + OVERHEAD
    }

    /// Writes the answer as bytes: a line with status and media type, then the body.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let media_type = self
            .media_type
            .as_ref()
            .map_or(&b""[..], HeaderValue::as_bytes);
        [
            self.status.as_str().as_bytes(),
            b" ",
            media_type,
            b"\n",
            &self.body,
        ]
        .concat()
    }

    /// Reads the bytes of [`StoredAnswer::to_bytes`]; returns `None` for any other bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end_of_line = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, body) = bytes.split_at_checked(end_of_line)?;
        let end_of_status = line.iter().position(|byte| *byte == b' ')?;
        let (status, media_type) = line.split_at_checked(end_of_status)?;
        let media_type = media_type.get(1..).filter(|text| !text.is_empty());
        Some(Self {
            status: StatusCode::from_bytes(status).ok()?,
            media_type: media_type.map(HeaderValue::from_bytes).transpose().ok()?,
            body: Bytes::copy_from_slice(body.get(1..)?),
        })
    }
}

/// The bytes counted for an answer besides its body: status, media type and the struct.
const OVERHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_written_as_bytes_is_read_back_unchanged() {
        let json = Some(HeaderValue::from_static("application/json; charset=UTF-8"));
        for (media_type, body) in [(json, &b"{\"a\":\n1}"[..]), (None, b""), (None, b"\n\n")] {
            let answer = StoredAnswer {
                status: StatusCode::OK,
                media_type,
                body: Bytes::from_static(body),
            };
            assert_eq!(StoredAnswer::from_bytes(&answer.to_bytes()), Some(answer));
        }
        for bytes in [&b""[..], b"200", b"200 \r", b"2x0 a\nb"] {
            assert_eq!(StoredAnswer::from_bytes(bytes), None);
        }
    }
}
