//! A request that is ready to be written, and the way of a secret into a request.

use http::Method;

use super::head_bytes::HeadBytes;
use super::request_body::OutgoingBody;
use crate::query;

/// A request that is ready to be written.
#[derive(Debug)]
pub struct Outgoing {
    pub(super) method: Method,
    /// Request line and headers, and behind the headers a small body.
    pub(super) head: HeadBytes,
    /// The part of the body that does not stand behind the head.
    pub(super) body: OutgoingBody,
    /// True if a target or a header has a byte that could end a line early.
    pub(super) is_malformed: bool,
}

impl Outgoing {
    /// Adds text to the target.
    pub(super) fn push_target(&mut self, text: &str) {
        // No early return, so that the compiler looks at many bytes at a time.
        self.is_malformed |= text
            .bytes()
            .fold(false, |found, byte| found | (byte <= b' '));
        self.head.push(text.as_bytes());
    }
}

/// The value of a secret header or parameter while it is being written.
#[derive(Debug)]
pub struct SecretValue<'r> {
    pub(super) request: &'r mut Outgoing,
    pub(super) encoding: SecretEncoding,
}

impl SecretValue<'_> {
    /// Adds a piece to the value.
    pub fn push(&mut self, text: &str) {
        match self.encoding {
            SecretEncoding::Plain => {
                self.request.is_malformed |= has_control_byte(text.as_bytes());
                self.request.head.push_secret(text.as_bytes());
            }
            SecretEncoding::Percent => {
                for piece in query::encode(text) {
                    self.request.head.push_secret(piece.as_bytes());
                }
            }
        }
    }
}

/// The form in which a secret enters a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum SecretEncoding {
    /// Byte for byte, as a header value takes a secret.
    Plain,
    /// Percent-encoded, as a target takes a secret.
    Percent,
}

/// True for bytes that no header value may have (RFC 9110, section 5.5): CR and LF would end the
/// line, and no control character but the tab is allowed.
pub(super) fn has_control_byte(value: &[u8]) -> bool {
    // No early return, so that the compiler looks at many bytes at a time.
    value.iter().fold(false, |found, byte| {
        found | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f)
    })
}
