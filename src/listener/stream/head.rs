//! The head of a request as its bytes arrive, and the refusal of a head that is none.

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
    /// No byte of the line is here.
    Waiting,
    /// The beginning of the line is here. `is_tls` if the first byte begins a TLS handshake.
    Within { is_tls: bool },
    /// The whole line is here. `is_tls` as in `Within`.
    Done { is_tls: bool },
}

impl HeadScan {
    pub(super) fn new(bounds: &ConnectionBounds, room: Option<HeadRoom>) -> Self {
        Self {
            line: LineScan::Waiting,
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
    pub(super) fn scan_line(&mut self, bytes: &[u8], link: &Link) {
        let is_tls = match (self.line, bytes.first()) {
            (LineScan::Done { .. }, _) | (_, None) => return,
            (LineScan::Within { is_tls }, _) => is_tls,
            (LineScan::Waiting, Some(first)) => {
                link.note_fragment(false);
                // No method begins with this byte, so the first byte of the line decides.
                *first == TLS_HANDSHAKE
            }
        };
        let end = memchr::memchr(b'\n', bytes);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if memchr::memchr(b'#', line).is_some() {
            link.note_fragment(true);
        }
        self.line = match end {
            Some(_) => LineScan::Done { is_tls },
            None => LineScan::Within { is_tls },
        };
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

    /// The refusal in the place of the bare status line that hyper writes for a head that it cannot parse.
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
        } else if matches!(
            self.line,
            LineScan::Within { is_tls: true } | LineScan::Done { is_tls: true }
        ) {
            let message = "this is a TLS handshake, and this port speaks plain HTTP";
            Refusal::new(BAD_REQUEST, message, self.tls_advice)
        } else {
            Refusal::new(
                BAD_REQUEST,
                "the head of the request is not valid HTTP/1.1",
                "check the request line and the headers, byte for byte",
            )
        }
    }
}

/// The longest head for which hyper's buffer stays at 16 KiB, in bytes.
const LONG_HEAD: usize = 8 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Bytes that end a head and that no head has.
const NO_HEAD: &[u8] = b"\0\r\n\r\n";
/// The first byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
