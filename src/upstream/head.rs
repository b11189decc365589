//! The head of an upstream's answer, read as the bytes arrive.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::framing::{Chunks, Framing, ProtocolError};

/// The head of a final answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// True if the connection may carry another request after this answer.
    pub(super) keep_alive: bool,
}

/// The reader of one answer's head. Interim answers (100, 103) are dropped as they arrive.
///
/// The time taken grows with the bytes, however the bytes are cut: a buffer is parsed when the end
/// of a head is in it, and before that only each time its length has doubled, so that garbage is
/// noticed early.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// The number of interim answers so far.
    interim: usize,
    /// The bytes of interim answers and of empty lines so far.
    dropped: usize,
    /// The length of the buffer up to which no head ends.
    searched: usize,
    /// The length of the buffer at the last parse.
    parsed: usize,
}

impl HeadReader {
    /// Takes a final head off the front of `buffer`; `None` if the head is not complete yet.
    pub(super) fn take(
        &mut self,
        buffer: &mut BytesMut,
        method: &Method,
    ) -> Result<Option<Head>, ProtocolError> {
        loop {
            self.drop_empty_lines(buffer)?;
            let Some(length) = self.end_of_head(buffer) else {
                if !buffer.is_empty() && buffer.len() >= 2 * self.parsed {
                    self.parsed = buffer.len();
                    check_begin(buffer)?;
                }
                return check_length(buffer.len()).map(|()| None);
            };
            check_length(length)?;
            let (version, status, headers) = parse(&buffer.split_to(length).freeze())?;
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(ProtocolError::Upgrade);
            }
            if status.is_informational() {
                self.drop_interim(length)?;
                continue;
            }
            return Head::of(version, status, headers, method).map(Some);
        }
    }

    /// Drops empty lines before a head, which a lenient parser skips.
    fn drop_empty_lines(&mut self, buffer: &mut BytesMut) -> Result<(), ProtocolError> {
        loop {
            let length = match buffer.as_ref() {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return Ok(()),
            };
            buffer.advance(length);
            self.count_dropped(length)?;
        }
    }

    fn drop_interim(&mut self, length: usize) -> Result<(), ProtocolError> {
        self.interim += 1;
        (self.searched, self.parsed) = (0, 0);
        if self.interim > MAX_INTERIM {
            return Err(ProtocolError::Interim);
        }
        self.count_dropped(length)
    }

    fn count_dropped(&mut self, length: usize) -> Result<(), ProtocolError> {
        self.dropped += length;
        if self.dropped > MAX_HEAD {
            return Err(ProtocolError::Interim);
        }
        Ok(())
    }

    /// Returns the length of the head, up to the empty line at the end; `None` if the end is not in
    /// the buffer.
    fn end_of_head(&mut self, buffer: &[u8]) -> Option<usize> {
        // The last line end of the searched bytes may begin the empty line at the end of a head.
        let from = self.searched.saturating_sub(2);
        self.searched = buffer.len();
        let new = buffer.get(from..).unwrap_or_default();
        memchr::memchr_iter(b'\n', new).find_map(|at| match new.get(at + 1..) {
            Some([b'\n', ..]) => Some(from + at + 2),
            Some([b'\r', b'\n', ..]) => Some(from + at + 3),
            _ => None,
        })
    }
}

fn check_length(length: usize) -> Result<(), ProtocolError> {
    if length > MAX_HEAD {
        return Err(ProtocolError::HeadTooLarge);
    }
    Ok(())
}

impl Head {
    fn of(
        version: u8,
        status: StatusCode,
        mut headers: HeaderMap,
        method: &Method,
    ) -> Result<Self, ProtocolError> {
        let framing = framing(version, status, &mut headers, method)?;
        let keep_alive =
            version == 1 && !matches!(framing, Framing::UntilClose) && !says_close(&headers);
        Ok(Self {
            status,
            headers,
            framing,
            keep_alive,
        })
    }
}

/// Refuses the beginning of a head that no further byte could make a head.
fn check_begin(buffer: &[u8]) -> Result<(), ProtocolError> {
    with_parsed(buffer, |_, _| Ok(()))
}

/// Reads a complete head: the minor version of HTTP/1, the status, and the headers, whose values
/// share the bytes.
fn parse(head: &Bytes) -> Result<(u8, StatusCode, HeaderMap), ProtocolError> {
    with_parsed(head, |response, parsed| {
        let (Some(version), Some(code)) = (response.version, response.code) else {
            return Err(ProtocolError::Head);
        };
        // The empty line has to end the head for the parser as well.
        if parsed != httparse::Status::Complete(head.len()) {
            return Err(ProtocolError::Head);
        }
        let status = StatusCode::from_u16(code)
            .ok()
            .filter(|s| s.as_u16() < 600)
            .ok_or(ProtocolError::Head)?;
        let mut headers = HeaderMap::with_capacity(response.headers.len() + ADDED_HEADERS);
        for line in &*response.headers {
            let name = HeaderName::from_bytes(line.name.as_bytes());
            let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value));
            match (name, value) {
                (Ok(name), Ok(value)) => headers.append(name, value),
                _ => return Err(ProtocolError::Head),
            };
        }
        Ok((version, status, headers))
    })
}

/// Parses a head, or the beginning of one, and hands the parts to `read`.
fn with_parsed<R>(
    bytes: &[u8],
    read: impl FnOnce(&httparse::Response<'_, '_>, httparse::Status<usize>) -> Result<R, ProtocolError>,
) -> Result<R, ProtocolError> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, bytes, &mut storage)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => ProtocolError::HeadTooLarge,
            _ => ProtocolError::Head,
        })?;
    read(&response, parsed)
}

fn framing(
    version: u8,
    status: StatusCode,
    headers: &mut HeaderMap,
    method: &Method,
) -> Result<Framing, ProtocolError> {
    let length = only_length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err(ProtocolError::TransferCoding);
    }
    if coding.is_some() && (length.is_some() || version == 0) {
        return Err(ProtocolError::TransferCoding);
    }
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Framing::Length(0));
    }
    Ok(match (coding, length) {
        (Some(_), _) => Framing::Chunked(Chunks::default()),
        (None, Some(length)) => Framing::Length(length),
        (None, None) => Framing::UntilClose,
    })
}

/// Returns the length in `Content-Length`. A repeated length, in a line or in several, is one
/// length (RFC 9112, section 6.3), and goes on as a single line.
fn only_length(headers: &mut HeaderMap) -> Result<Option<u64>, ProtocolError> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    let mut members = std::iter::once(first)
        .chain(lines)
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let length = parse_length(members.next().unwrap_or_default())?;
    let mut is_repeated = false;
    for member in members {
        is_repeated = true;
        if parse_length(member)? != length {
            return Err(ProtocolError::Length);
        }
    }
    if is_repeated {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

/// Reads a length: digits only. `str::parse` would take a `+` as well.
fn parse_length(member: &[u8]) -> Result<u64, ProtocolError> {
    let digits = member.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ProtocolError::Length);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(ProtocolError::Length)
}

fn says_close(headers: &HeaderMap) -> bool {
    crate::headers::connection_named(headers).any(|option| option.eq_ignore_ascii_case(b"close"))
}

/// Largest head of an answer, in bytes; Graph's heads have about 2 KiB. Also the bound on all
/// interim answers before it.
const MAX_HEAD: usize = 64 * 1024;
/// Most headers of an answer: five times the 25 of Graph's heads of 2 KiB, and more than the 100
/// that most clients take. The parser keeps 32 bytes for each on the stack.
const MAX_HEADERS: usize = 128;
/// Most interim answers before an answer: a server that reports progress every ten seconds (102)
/// stays below during the longest exchange.
const MAX_INTERIM: usize = 32;
/// Headers that Keyside adds to an answer: the map has room for them from the beginning.
const ADDED_HEADERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, ProtocolError> {
        HeadReader::default().take(&mut BytesMut::from(text), &Method::POST)
    }

    #[test]
    fn an_answer_with_an_unclear_end_is_refused() {
        use ProtocolError::{Head, HeadTooLarge, Length, TransferCoding, Upgrade};
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(129));
        let table = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                TransferCoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
                Length,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\n", Length),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
                Length,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Length),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                TransferCoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                TransferCoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                TransferCoding,
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                TransferCoding,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
                Upgrade,
            ),
            ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", Head),
            ("HTTP/1.1 999 No\r\n\r\n", Head),
            ("\0\x01garbage\r\n\r\n", Head),
            (&many, HeadTooLarge),
        ];
        for (text, expected) in table {
            assert_eq!(head(text).err(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn the_end_of_an_answer_is_found_as_the_rfc_says() {
        let answer = |text: &str| head(text).unwrap().unwrap();
        assert!(matches!(
            answer("HTTP/1.1 200\r\nContent-Length: 7\r\n\r\n").framing,
            Framing::Length(7)
        ));
        assert!(matches!(
            answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n").framing,
            Framing::Chunked(_)
        ));
        assert!(matches!(
            answer("HTTP/1.0 200 OK\r\n\r\n").framing,
            Framing::UntilClose
        ));
        assert!(matches!(
            answer("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n").framing,
            Framing::Length(0)
        ));
        let early = answer(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        );
        assert_eq!((early.status, early.keep_alive), (StatusCode::OK, true));
        assert!(
            !answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\n")
                .keep_alive
        );
        assert!(!answer("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n").keep_alive);
    }

    #[test]
    fn a_head_without_an_end_is_refused_once_it_is_too_large() {
        assert!(head("HTTP/1.1 200 OK\r\nX: a").unwrap().is_none());
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(MAX_HEAD));
        assert_eq!(head(&endless).err(), Some(ProtocolError::HeadTooLarge));
    }

    #[test]
    fn interim_answers_are_dropped_as_they_come_and_are_bounded() {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let long = format!(
            "HTTP/1.1 102 Processing\r\nX: {}\r\n\r\n",
            "a".repeat(40_000)
        );
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for (count, interim, is_read) in [
            (0, interim, true),
            (MAX_INTERIM, interim, true),
            (MAX_INTERIM + 1, interim, false),
            (MAX_HEAD / 2, "\r\n", true),
            (MAX_HEAD / 2 + 1, "\r\n", false),
            (1, &long, true),
            (2, &long, false),
        ] {
            let mut reader = HeadReader::default();
            let mut buffer = BytesMut::new();
            let mut read = Ok(None);
            for piece in std::iter::repeat_n(interim, count).chain([last]) {
                buffer.extend_from_slice(piece.as_bytes());
                read = reader.take(&mut buffer, &Method::POST);
                if !matches!(read, Ok(None)) {
                    break;
                }
                assert!(buffer.is_empty(), "an interim answer is kept");
            }
            match read {
                Ok(Some(head)) => assert!(is_read && head.status == StatusCode::OK, "{count}"),
                Ok(None) => unreachable!("the head is there"),
                Err(error) => assert!(!is_read && error == ProtocolError::Interim, "{count}"),
            }
        }
    }

    #[test]
    fn a_length_that_is_named_twice_is_one_length() {
        for lines in [
            "Content-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 5,5 ,\t05\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\nX: 1\r\nContent-Length: 5\r\n",
        ] {
            let read = head(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
                .unwrap()
                .unwrap();
            assert!(matches!(read.framing, Framing::Length(5)), "{lines:?}");
            let passed: Vec<_> = read
                .headers
                .get_all(header::CONTENT_LENGTH)
                .iter()
                .collect();
            assert_eq!(passed, ["5"], "{lines:?}");
        }
    }

    #[test]
    fn a_head_is_read_alike_wherever_it_is_cut() {
        let text =
            "\r\n\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nA: 1\r\nContent-Length: 2\n\r\nab";
        for size in 1..text.len() {
            let mut reader = HeadReader::default();
            let mut buffer = BytesMut::new();
            let read = text.as_bytes().chunks(size).find_map(|piece| {
                buffer.extend_from_slice(piece);
                reader.take(&mut buffer, &Method::POST).unwrap()
            });
            assert_eq!(read.unwrap().headers.len(), 2, "in pieces of {size} bytes");
        }
    }
}
