//! Where an upstream's answer ends: heads and bodies of HTTP/1.1, strictly (RFC 9112, section 6).
//!
//! Stricter than hyper's client, which drops a `Content-Length` beside a `Transfer-Encoding` and
//! passes `Transfer-Encoding: gzip, chunked` on: an answer whose end two readers could see in two
//! places is refused, because the next caller's answer would begin there.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The head of a final answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection may carry another request after this answer.
    pub(super) keep_alive: bool,
}

/// How the end of a body is found.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything until the connection ends.
    UntilClose,
}

/// Takes a final head off the front of `buffer`; `None` where it is not complete yet. Interim
/// answers (100, 103) are taken off and dropped.
pub(super) fn take_head(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, ProtocolError> {
    loop {
        if buffer.is_empty() {
            return Ok(None);
        }
        let Some((length, version, status, lines)) = parse(buffer)? else {
            return if buffer.len() > MAX_HEAD { Err(ProtocolError::HeadTooLarge) } else { Ok(None) };
        };
        if length > MAX_HEAD {
            return Err(ProtocolError::HeadTooLarge);
        }
        let bytes = buffer.split_to(length).freeze();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ProtocolError::Upgrade);
        }
        if status.is_informational() {
            continue;
        }
        let mut headers = HeaderMap::with_capacity(lines.len() + ADDED_HEADERS);
        for (name, range) in lines {
            let value = HeaderValue::from_maybe_shared(bytes.slice(range)).map_err(|_| ProtocolError::Head)?;
            headers.append(name, value);
        }
        let framing = framing(version, status, &headers, method)?;
        let keep_alive = version == 1 && !matches!(framing, Framing::UntilClose) && !says_close(&headers);
        return Ok(Some(Head { status, headers, framing, keep_alive }));
    }
}

/// A head that is complete: its length, the HTTP/1 minor version, the status, and where the values of
/// its headers stand.
type Parsed = (usize, u8, StatusCode, Vec<(HeaderName, Range<usize>)>);

fn parse(buffer: &[u8]) -> Result<Option<Parsed>, ProtocolError> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, buffer, &mut storage)
        .map_err(|error| match error {
            httparse::Error::TooManyHeaders => ProtocolError::HeadTooLarge,
            _ => ProtocolError::Head,
        })?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let (Some(version), Some(code)) = (response.version, response.code) else { return Err(ProtocolError::Head) };
    let status = StatusCode::from_u16(code).ok().filter(|s| s.as_u16() < 600).ok_or(ProtocolError::Head)?;
    let start = buffer.as_ptr() as usize;
    let mut lines = Vec::with_capacity(response.headers.len());
    for line in response.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| ProtocolError::Head)?;
        let from = line.value.as_ptr() as usize - start;
        lines.push((name, from..from + line.value.len()));
    }
    Ok(Some((length, version, status, lines)))
}

fn framing(version: u8, status: StatusCode, headers: &HeaderMap, method: &Method) -> Result<Framing, ProtocolError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next().map(parse_length).transpose()?;
    if lengths.next().is_some() {
        return Err(ProtocolError::Length);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(b"chunked")) || codings.next().is_some() {
        return Err(ProtocolError::TransferCoding);
    }
    if coding.is_some() && (length.is_some() || version == 0) {
        return Err(ProtocolError::TransferCoding);
    }
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::Length(0));
    }
    Ok(match (coding, length) {
        (Some(_), _) => Framing::Chunked(Chunks::default()),
        (None, Some(length)) => Framing::Length(length),
        (None, None) => Framing::UntilClose,
    })
}

/// Digits only: `str::parse` would take a `+`.
fn parse_length(value: &HeaderValue) -> Result<u64, ProtocolError> {
    let digits = value.to_str().ok().filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|d| d.parse().ok()).ok_or(ProtocolError::Length)
}

fn says_close(headers: &HeaderMap) -> bool {
    crate::headers::connection_named(headers).any(|option| option.eq_ignore_ascii_case(b"close"))
}

/// What the next bytes of a body are.
#[derive(Debug)]
pub(super) enum Step {
    /// Content.
    Data(Bytes),
    /// Not here yet.
    More,
    /// Nothing; the body is complete.
    End,
}

impl Framing {
    /// Whether nothing more can come. Chunks tell only when their end is taken.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Takes content off the front of `buffer`.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Step, ProtocolError> {
        match self {
            Self::Length(0) => Ok(Step::End),
            Self::Length(left) => Ok(take_up_to(left, buffer)),
            Self::Chunked(chunks) => chunks.take(buffer),
            Self::UntilClose if buffer.is_empty() => Ok(Step::More),
            Self::UntilClose => Ok(Step::Data(buffer.split().freeze())),
        }
    }
}

fn take_up_to(left: &mut u64, buffer: &mut BytesMut) -> Step {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    if count == 0 {
        return Step::More;
    }
    *left -= count as u64;
    Step::Data(buffer.split_to(count).freeze())
}

/// A chunked body. Extensions and trailers are dropped.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: ChunkState,
}

#[derive(Debug, Default)]
enum ChunkState {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

impl Chunks {
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Step, ProtocolError> {
        loop {
            self.state = match &mut self.state {
                // httparse takes a line without any digit for a size of 0.
                ChunkState::Size if buffer.first().is_some_and(|b| !b.is_ascii_hexdigit()) => {
                    return Err(ProtocolError::Chunk);
                }
                ChunkState::Size => match httparse::parse_chunk_size(buffer).map_err(|_| ProtocolError::Chunk)? {
                    httparse::Status::Partial if buffer.len() > MAX_LINE => return Err(ProtocolError::Chunk),
                    httparse::Status::Partial => return Ok(Step::More),
                    httparse::Status::Complete((line, size)) => {
                        drop(buffer.split_to(line));
                        if size == 0 { ChunkState::Trailers } else { ChunkState::Data(size) }
                    }
                },
                ChunkState::Data(0) => ChunkState::DataEnd,
                ChunkState::Data(left) => return Ok(take_up_to(left, buffer)),
                ChunkState::DataEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        drop(buffer.split_to(2));
                        ChunkState::Size
                    }
                    Some(_) => return Err(ProtocolError::Chunk),
                    None => return Ok(Step::More),
                },
                ChunkState::Trailers => match memchr::memchr(b'\n', buffer) {
                    None if buffer.len() > MAX_LINE => return Err(ProtocolError::Chunk),
                    None => return Ok(Step::More),
                    Some(end) => match buffer.split_to(end + 1).as_ref() {
                        b"\r\n" | b"\n" => ChunkState::Done,
                        _ => ChunkState::Trailers,
                    },
                },
                ChunkState::Done => return Ok(Step::End),
            };
        }
    }
}

/// What an upstream said that is not HTTP/1.1, or not safely so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A head that cannot be parsed.
    Head,
    /// A head over 64 KiB or 128 lines.
    HeadTooLarge,
    /// A length that is not one number.
    Length,
    /// A transfer coding other than a single `chunked`, or one beside a length.
    TransferCoding,
    /// A malformed chunk.
    Chunk,
    /// 101 without having been asked.
    Upgrade,
    /// The connection ended before the answer did.
    Closed,
    /// An answer that must be read whole and is over its bound.
    BodyTooLarge,
    /// An answer that must be read and is compressed although nothing of the kind was accepted.
    ContentCoding,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "the head of its answer is not HTTP/1.1",
            Self::HeadTooLarge => "the head of its answer is over 64 KiB or 128 lines",
            Self::Length => "its answer has no single valid Content-Length",
            Self::TransferCoding => {
                "its answer has a Transfer-Encoding other than a single `chunked`, or one beside a length"
            }
            Self::Chunk => "its answer has a malformed chunk",
            Self::Upgrade => "it switched protocols without having been asked",
            Self::Closed => "it closed the connection before its answer was complete",
            Self::BodyTooLarge => "its answer is larger than Keyside reads whole (8 MiB)",
            Self::ContentCoding => "its answer is compressed although no compression was accepted",
        })
    }
}

impl std::error::Error for ProtocolError {}

const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
const MAX_LINE: usize = 8 * 1024;
/// Room for the headers that Keyside adds to an answer.
const ADDED_HEADERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, ProtocolError> {
        take_head(&mut BytesMut::from(text), &Method::POST)
    }

    #[test]
    fn an_answer_with_an_unclear_end_is_refused() {
        use ProtocolError::{Head, HeadTooLarge, Length, TransferCoding, Upgrade};
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(129));
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", TransferCoding),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Length),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", TransferCoding),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", TransferCoding),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", TransferCoding),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", TransferCoding),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Upgrade),
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
        assert!(matches!(answer("HTTP/1.1 200\r\nContent-Length: 7\r\n\r\n").framing, Framing::Length(7)));
        assert!(matches!(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n").framing, Framing::Chunked(_)));
        assert!(matches!(answer("HTTP/1.0 200 OK\r\n\r\n").framing, Framing::UntilClose));
        assert!(matches!(answer("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n").framing, Framing::Length(0)));
        let early =
            answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        assert_eq!((early.status, early.keep_alive), (StatusCode::OK, true));
        assert!(!answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\n").keep_alive);
        assert!(!answer("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n").keep_alive);
    }

    #[test]
    fn a_head_without_an_end_is_refused_once_it_is_too_large() {
        assert!(head("HTTP/1.1 200 OK\r\nX: a").unwrap().is_none());
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(MAX_HEAD));
        assert_eq!(head(&endless).err(), Some(ProtocolError::HeadTooLarge));
    }

    fn chunked(text: &str) -> Result<(String, bool), ProtocolError> {
        let mut framing = Framing::Chunked(Chunks::default());
        let mut body = String::new();
        let mut buffer = BytesMut::new();
        // One byte at a time: every place where a chunk can be cut.
        for byte in text.bytes() {
            buffer.extend_from_slice(&[byte]);
            loop {
                match framing.take(&mut buffer)? {
                    Step::Data(data) => body.push_str(std::str::from_utf8(&data).unwrap()),
                    Step::More => break,
                    Step::End => return Ok((body, true)),
                }
            }
        }
        Ok((body, false))
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let whole = |text: &str| Ok((text.to_owned(), true));
        assert_eq!(chunked("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n"), whole("abcde"));
        assert_eq!(chunked("0\r\n\r\n"), whole(""));
        assert_eq!(chunked("3\r\nabc\r\n"), Ok(("abc".to_owned(), false)));
        for bad in ["0x2\r\nab\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n", "fffffffffffffffff\r\na", "\r\n"] {
            assert_eq!(chunked(bad), Err(ProtocolError::Chunk), "{bad:?}");
        }
    }
}
