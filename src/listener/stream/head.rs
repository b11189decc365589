//! The head of a request as its bytes arrive, and the refusal of a head that is none.

use std::ops::Range;

use tokio::io::ReadBuf;

use crate::listener::bounds::ConnectionBounds;
use crate::listener::connections::HeadRoom;
use crate::listener::link::Link;
use crate::listener::refusal::overloaded;
use crate::response::{BAD_REQUEST, HEADERS_TOO_LARGE, Refusal};

/// The scan of a head that hyper has not parsed yet.
#[derive(Debug)]
pub(super) struct HeadScan {
    line: LineScan,
    /// True if a request line surely begins where the scan began: hyper may hold the first part of
    /// a pipelined head, and what arrives then is the rest of the head, or a body.
    is_line: bool,
    /// True if the first byte of the line begins a TLS handshake.
    is_tls: bool,
    /// The bytes of the head so far.
    length: usize,
    /// True once hyper's buffer has grown for a long head.
    is_long: bool,
    /// The room for a long head; `None` if heads need none.
    room: Option<HeadRoom>,
    /// True once the head is refused because it has no room in memory, or its place is needed.
    is_refused: bool,
    max_length: usize,
    tls_advice: &'static str,
}

/// The scan of a request line as the bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineScan {
    /// No byte is here.
    Waiting,
    /// Line ends are here, which may stand before a request: RFC 9112, section 2.2.
    Empty,
    /// A part of the method is here.
    Method,
    /// The method is here, and perhaps a part of the target.
    Target,
    /// The whole line is here.
    Done,
}

impl HeadScan {
    pub(super) fn new(bounds: &ConnectionBounds, room: Option<HeadRoom>) -> Self {
        Self {
            line: LineScan::Waiting,
            is_line: true,
            is_tls: false,
            length: 0,
            is_long: false,
            room,
            is_refused: false,
            max_length: bounds.max_head,
            tls_advice: bounds.tls_advice,
        }
    }

    /// Begins the next head. hyper's buffer stays as long as it is.
    pub(super) fn restart(&mut self) {
        self.line = LineScan::Waiting;
        self.is_line = false;
        self.is_tls = false;
        self.length = 0;
    }

    /// Forgets a long head: hyper's buffer is gone.
    pub(super) fn give_back_room(&mut self) {
        self.is_long = false;
        if let Some(room) = &mut self.room {
            room.give_back();
        }
    }

    /// True once a byte of the head is here.
    pub(super) fn has_begun(&self) -> bool {
        self.line != LineScan::Waiting
    }

    /// Scans the request line as the bytes arrive: a `#` in it is a fragment, which hyper drops.
    /// Returns the bytes with an encoded target if the target has a byte that hyper refuses and
    /// other servers take.
    pub(super) fn scan_line(&mut self, bytes: &[u8], link: &Link) -> Option<Vec<u8>> {
        let begin = self.begin_line(bytes, link)?;
        let rest = bytes.get(begin..)?;
        let end = memchr::memchr(b'\n', rest).map(|length| begin + length);
        let line = bytes.get(begin..end.unwrap_or(bytes.len()))?;
        if memchr::memchr(b'#', line).is_some() {
            link.note_fragment(true);
        }
        let target = match self.line {
            LineScan::Target => Some(begin),
            _ => memchr::memchr(b' ', line).map(|length| begin + length),
        };
        self.line = match (end, target) {
            (Some(_), _) => LineScan::Done,
            (None, Some(_)) => LineScan::Target,
            (None, None) => LineScan::Method,
        };
        let target = target?..end.unwrap_or(bytes.len());
        self.is_line.then(|| with_encoded(bytes, target))?
    }

    /// Returns the position of the first byte of the line; `None` if the line is over, or has not
    /// begun.
    fn begin_line(&mut self, bytes: &[u8], link: &Link) -> Option<usize> {
        match self.line {
            LineScan::Done => return None,
            LineScan::Method | LineScan::Target => return Some(0),
            LineScan::Waiting | LineScan::Empty => {}
        }
        if !bytes.is_empty() {
            self.line = LineScan::Empty;
        }
        let begin = bytes.iter().position(|byte| !LINE_ENDS.contains(byte))?;
        self.line = LineScan::Method;
        self.is_line |= begins_request(bytes.get(begin..).unwrap_or_default());
        link.note_fragment(false);
        // No method begins with this byte, so the first byte of the line decides.
        self.is_tls = bytes.get(begin) == Some(&TLS_HANDSHAKE);
        Some(begin)
    }

    /// Reserves room for a head that these bytes make long. Returns false if there is none.
    pub(super) fn reserve(&mut self, bytes: &[u8], link: &Link) -> bool {
        // Behind the end of the head stands a body, which moves through the buffer.
        self.length += memchr::memmem::find(bytes, END_OF_HEAD).unwrap_or(bytes.len());
        if self.length <= LONG_HEAD || self.is_long {
            return true;
        }
        self.is_long = true;
        self.room
            .as_mut()
            .is_none_or(|room| room.take(|| link.caller()))
    }

    /// Makes the head one that hyper cannot parse; [`Self::refusal`] replaces the answer of hyper.
    pub(super) fn refuse(&mut self, buf: &mut ReadBuf<'_>) {
        self.is_refused = true;
        let length = NO_HEAD.len().min(buf.remaining());
        buf.put_slice(NO_HEAD.get(..length).unwrap_or_default());
    }

    /// The refusal in the place of the bare status line that hyper writes for a head that it cannot
    /// parse.
    pub(super) fn refusal(&self, written_by_hyper: &[u8]) -> Refusal {
        let status = written_by_hyper.get(9..12).unwrap_or_default();
        if self.is_refused {
            overloaded()
        } else if status == b"431" || status == b"414" {
            let limit = self.max_length / 1024;
            Refusal::new(
                HEADERS_TOO_LARGE,
                "the head of the request is too large",
                format!("send at most 100 headers and {limit} KiB of request line and headers"),
            )
        } else if self.is_tls {
            let message = "this is a TLS handshake, and this port speaks plain HTTP";
            Refusal::new(BAD_REQUEST, message, self.tls_advice)
        } else {
            Refusal::new(
                BAD_REQUEST,
                "the head of the request is not valid HTTP/1.1",
                "check the request line and the headers, byte for byte; in the target, percent-encode spaces, quotes, `<`, `>` and control characters",
            )
        }
    }
}

/// True for bytes that begin with a method and a target. No line of a header does, nor does JSON or
/// a form.
fn begins_request(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    let target = bytes.get(method.count()..).unwrap_or_default();
    target.len() < bytes.len() && (target.starts_with(b" /") || target.starts_with(b" http"))
}

/// Returns the bytes with percent signs for what hyper refuses in a part of them; `None` if there
/// is nothing to encode.
fn with_encoded(bytes: &[u8], part: Range<usize>) -> Option<Vec<u8>> {
    let target = bytes.get(part.clone())?;
    if !target.iter().any(|byte| ENCODED.contains(byte)) {
        return None;
    }
    let mut encoded = bytes.get(..part.start)?.to_vec();
    for byte in target {
        if ENCODED.contains(byte) {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.push(*byte);
        }
    }
    encoded.extend_from_slice(bytes.get(part.end..)?);
    Some(encoded)
}

/// The characters that a target must not have unencoded (RFC 3986, section 2), that every other
/// server takes, and that Meta's own examples have:
/// `conversation_directions(["business_initiated"])`.
const ENCODED: [u8; 4] = *b"\"<>`";
const LINE_ENDS: [u8; 2] = *b"\r\n";
/// The longest head for which hyper's buffer stays at 16 KiB, in bytes.
const LONG_HEAD: usize = 8 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Bytes that end a head and that no head has.
const NO_HEAD: &[u8] = b"\0\r\n\r\n";
/// The first byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of bytes behind an answer: a new request, and the rest of a pipelined head or a body.
    #[test]
    fn only_a_method_and_a_target_begin_a_request() {
        for (bytes, expected) in [
            ("GET /v23.0/1?a=\"b\" HTTP/1.1\r\n", true),
            ("POST http://localhost/v23.0/1 HTTP/1.1\r\n", true),
            ("Idempotency-Key: \"order 4711\"\r\n\r\n", false),
            ("HOST: localhost\r\n", false),
            ("{\"to\": \"1\"}", false),
            (" /v23.0", false),
            ("GET", false),
            ("", false),
        ] {
            assert_eq!(begins_request(bytes.as_bytes()), expected, "{bytes}");
        }
    }
}
