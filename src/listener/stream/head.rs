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
        let begins_here = matches!(self.line, LineScan::Waiting | LineScan::Empty);
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
        if !self.is_line {
            return None;
        }
        let later = if begins_here {
            later_targets(bytes, begin)
        } else {
            Vec::new()
        };
        if later.is_empty() {
            return with_encoded(bytes, &[target]);
        }
        let targets: Vec<_> = std::iter::once(target).chain(later).collect();
        with_encoded(bytes, &targets)
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

/// Returns the targets of the requests behind the request at `begin`, as far as the requests before
/// surely have no body: nothing in their heads speaks of a body, or of a different protocol. Where
/// a body ends, only hyper decides.
fn later_targets(bytes: &[u8], begin: usize) -> Vec<Range<usize>> {
    let mut targets = Vec::new();
    let mut at = begin;
    while let Some(next) = behind_head_without_body(bytes, at) {
        let rest = bytes.get(next..).unwrap_or_default();
        let line_end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..line_end).unwrap_or_default();
        let Some(target) = memchr::memchr(b' ', line).filter(|_| begins_request(rest)) else {
            break;
        };
        targets.push(next + target..next + line_end);
        at = next;
    }
    targets
}

/// Returns the place behind a head and the line ends that may follow; `None` if the head is not
/// whole, or may have a body.
fn behind_head_without_body(bytes: &[u8], begin: usize) -> Option<usize> {
    let rest = bytes.get(begin..)?;
    if !BODILESS.iter().any(|method| rest.starts_with(method)) {
        return None;
    }
    let length = memchr::memmem::find(rest, END_OF_HEAD)?;
    // Most requests are alone, and none is searched for words that decide nothing.
    if rest.len() == length + END_OF_HEAD.len() {
        return None;
    }
    let head = rest.get(..length)?;
    let speaks_of = |name: &&[u8]| {
        let mut places = head.windows(name.len());
        places.any(|place| place.eq_ignore_ascii_case(name))
    };
    if OF_BODIES.iter().any(speaks_of) {
        return None;
    }
    let behind = rest.get(length..)?;
    let line_ends = behind.iter().take_while(|byte| LINE_ENDS.contains(byte));
    Some(begin + length + line_ends.count())
}

/// Returns the bytes with percent signs for what hyper refuses in these parts of them, which stand
/// in order; `None` if there is nothing to encode.
fn with_encoded(bytes: &[u8], parts: &[Range<usize>]) -> Option<Vec<u8>> {
    let is_encoded = |byte: &u8| ENCODED.contains(byte);
    let in_part = |part: &Range<usize>| bytes.get(part.clone()).unwrap_or_default();
    if !parts
        .iter()
        .any(|part| in_part(part).iter().any(is_encoded))
    {
        return None;
    }
    let mut encoded = Vec::with_capacity(2 * bytes.len());
    let mut from = 0;
    for part in parts {
        encoded.extend_from_slice(bytes.get(from..part.start)?);
        for byte in in_part(part) {
            if is_encoded(byte) {
                encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
            } else {
                encoded.push(*byte);
            }
        }
        from = part.end;
    }
    encoded.extend_from_slice(bytes.get(from..)?);
    Some(encoded)
}

/// The characters that a target must not have unencoded (RFC 3986, section 2), that every other
/// server takes, and that Meta's own examples have:
/// `conversation_directions(["business_initiated"])`.
const ENCODED: [u8; 4] = *b"\"<>`";
const LINE_ENDS: [u8; 2] = *b"\r\n";
/// The methods behind whose heads no program sends a body unannounced.
const BODILESS: [&[u8]; 4] = [b"GET ", b"HEAD ", b"DELETE ", b"OPTIONS "];
/// The words of a head behind which something else than a request may stand.
const OF_BODIES: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"upgrade"];
/// The longest head for which hyper's buffer stays at 16 KiB, in bytes.
const LONG_HEAD: usize = 8 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Bytes that end a head and that no head has.
const NO_HEAD: &[u8] = b"\0\r\n\r\n";
/// The first byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::listener::peer::Peer;

    const GET: &str = "GET /a?b=\"c\" HTTP/1.1\r\nHost: \"x\"\r\n\r\n";
    const ENCODED_GET: &str = "GET /a?b=%22c%22 HTTP/1.1\r\nHost: \"x\"\r\n\r\n";

    /// Returns the bytes as hyper gets them.
    fn scanned(text: &str) -> String {
        let link = Link::new(Peer::Unix { uid: 0 });
        let mut scan = HeadScan::new(&ConnectionBounds::local(), None);
        let encoded = scan.scan_line(text.as_bytes(), &link);
        encoded.map_or_else(
            || text.to_owned(),
            |bytes| String::from_utf8(bytes).unwrap(),
        )
    }

    fn post(more: &str, body: &str) -> String {
        format!("POST /a?b=\"c\" HTTP/1.1\r\n{more}\r\n\r\n{body}")
    }

    #[test]
    fn targets_are_encoded_up_to_the_first_request_that_may_have_a_body() {
        let line_feeds = GET.replace("\r\n", "\n");
        for (before, is_encoded) in [
            (GET.to_owned(), true),
            (format!("\r\n{GET}\r\n"), true),
            (format!("{GET}{GET}"), true),
            (GET.replace("GET", "HEAD"), true),
            // The end of such a head is not looked for.
            (line_feeds, false),
            (GET.replace("Host", "content-LENGTH"), false),
            (GET.replace("Host", "Transfer-Encoding"), false),
            (GET.replace("Host: \"x\"", "Connection: upgrade"), false),
            (GET.replace("GET", "CONNECT"), false),
            (post("Content-Length: 2", "{}"), false),
            (post("Content-Length: 46", GET), false),
            (
                post("Transfer-Encoding: chunked", "2\r\n\"<\r\n0\r\n\r\n"),
                false,
            ),
            (post("Host: x", ""), false),
        ] {
            let found = scanned(&format!("{before}{GET}"));
            let last = if is_encoded { ENCODED_GET } else { GET };
            assert!(found.ends_with(last), "{before:?}: {found:?}");
        }
    }

    proptest! {
        /// Bodies and headers come through as they are, however requests follow one another.
        #[test]
        fn only_targets_of_requests_change(kinds in prop::collection::vec(0..5_usize, 1..8)) {
            let body = format!("\"<`>\"{GET}");
            let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            let (mut sent, mut expected) = (String::new(), String::new());
            let mut has_body = false;
            for (number, kind) in kinds.into_iter().enumerate() {
                let request = match kind {
                    0 | 1 => GET.to_owned(),
                    2 => GET.replace("GET", "DELETE"),
                    3 => post(&format!("Content-Length: {}", body.len()), &body),
                    _ => post("Transfer-Encoding: chunked", &chunk),
                };
                sent.push_str(&request);
                // The first target is encoded in any case, and that of the first body's head.
                let is_encoded = number == 0 || !has_body;
                expected.push_str(&match is_encoded {
                    true => request.replacen("\"c\"", "%22c%22", 1),
                    false => request,
                });
                has_body |= kind > 2;
            }
            prop_assert_eq!(scanned(&sent), expected);
        }
    }

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
