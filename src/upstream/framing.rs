//! The end of an upstream's answer: bodies of HTTP/1.1, read strictly (RFC 9112, section 6).
//!
//! An answer whose end two readers could see in two places is refused, because the answer to the
//! next application's request would begin there. hyper's client is less strict: it drops a
//! `Content-Length` beside a `Transfer-Encoding`, and passes `Transfer-Encoding: gzip, chunked` on.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// The rule by which the end of a body is found.
#[derive(Debug)]
pub(super) enum Framing {
    /// Bytes that are still to come.
    Length(u64),
    /// Chunks, each with its own size.
    Chunked(Chunks),
    /// The end of the connection ends the body.
    UntilClose,
}

/// The next part of a body.
#[derive(Debug)]
pub(super) enum BodyStep {
    /// Content.
    Data(Bytes),
    /// Content that has not arrived yet.
    More,
    /// The end of the body.
    End,
}

impl Framing {
    /// True if no further byte can come. Chunks show their end only when it is taken.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Takes the next content off the front of `buffer`.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<BodyStep, ProtocolError> {
        match self {
            Self::Length(0) => Ok(BodyStep::End),
            Self::Length(left) => Ok(take_up_to(left, buffer)),
            Self::Chunked(chunks) => chunks.take(buffer),
            Self::UntilClose if buffer.is_empty() => Ok(BodyStep::More),
            Self::UntilClose => Ok(BodyStep::Data(buffer.split().freeze())),
        }
    }
}

fn take_up_to(left: &mut u64, buffer: &mut BytesMut) -> BodyStep {
    let count = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(buffer.len());
    if count == 0 {
        return BodyStep::More;
    }
    *left -= count as u64;
    BodyStep::Data(buffer.split_to(count).freeze())
}

/// The parser of a chunked body. Extensions and trailers are dropped.
///
/// The buffer may end anywhere, in the middle of a size as well, so each state takes only what is
/// complete and otherwise waits for more. A body has this form, and each state stands before one
/// part:
///
/// ```text
/// 4;name=value CR LF   Size
/// abcd                 Data(bytes left)
/// CR LF                DataEnd
/// 0 CR LF              Size, which a size of 0 ends
/// X-Trailer: 1 CR LF   Trailers, line by line
/// CR LF                Trailers, then Done
/// ```
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: ChunkState,
    /// The bytes of all trailers so far.
    trailers: usize,
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
    fn take(&mut self, buffer: &mut BytesMut) -> Result<BodyStep, ProtocolError> {
        loop {
            self.state = match &mut self.state {
                // httparse reads a line without any digit as a size of 0, which would end the body.
                ChunkState::Size if buffer.first().is_some_and(|b| !b.is_ascii_hexdigit()) => {
                    return Err(ProtocolError::Chunk);
                }
                ChunkState::Size => {
                    match httparse::parse_chunk_size(buffer).map_err(|_| ProtocolError::Chunk)? {
                        // An endless extension would fill the memory.
                        httparse::Status::Partial if buffer.len() >= MAX_LINE => {
                            return Err(ProtocolError::Chunk);
                        }
                        // A reader that ends a line at LF alone would find another end of the body.
                        httparse::Status::Partial if buffer.contains(&b'\n') => {
                            return Err(ProtocolError::Chunk);
                        }
                        httparse::Status::Partial => return Ok(BodyStep::More),
                        httparse::Status::Complete((line, _))
                            if line > MAX_LINE
                                || memchr::memchr(b'\n', buffer) != Some(line - 1) =>
                        {
                            return Err(ProtocolError::Chunk);
                        }
                        httparse::Status::Complete((line, size)) => {
                            drop(buffer.split_to(line));
                            if size == 0 {
                                ChunkState::Trailers
                            } else {
                                ChunkState::Data(size)
                            }
                        }
                    }
                }
                ChunkState::Data(0) => ChunkState::DataEnd,
                ChunkState::Data(left) => return Ok(take_up_to(left, buffer)),
                // Exactly CR LF: a reader that skips other bytes here could be led to another end.
                ChunkState::DataEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        drop(buffer.split_to(2));
                        ChunkState::Size
                    }
                    Some(_) => return Err(ProtocolError::Chunk),
                    None => return Ok(BodyStep::More),
                },
                ChunkState::Trailers => match memchr::memchr(b'\n', buffer) {
                    None if buffer.len() >= MAX_LINE => return Err(ProtocolError::Chunk),
                    None => return Ok(BodyStep::More),
                    Some(end) if end >= MAX_LINE || self.trailers > MAX_TRAILERS => {
                        return Err(ProtocolError::Chunk);
                    }
                    Some(end) => {
                        self.trailers += end + 1;
                        match buffer.split_to(end + 1).as_ref() {
                            b"\r\n" | b"\n" => ChunkState::Done,
                            _ => ChunkState::Trailers,
                        }
                    }
                },
                ChunkState::Done => return Ok(BodyStep::End),
            };
        }
    }
}

/// The reason why the bytes of an upstream are no answer in HTTP/1.1, or no unambiguous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A head that cannot be parsed.
    Head,
    /// A head over 64 KiB or 128 lines.
    HeadTooLarge,
    /// More interim answers than any provider sends.
    Interim,
    /// A `Content-Length` that is not one number.
    Length,
    /// A transfer coding other than a single `chunked`, or a coding beside a length.
    TransferCoding,
    /// A malformed chunk.
    Chunk,
    /// Status 101, although no upgrade was asked for.
    Upgrade,
    /// The connection ended before the answer did.
    Closed,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "the head of its answer is not HTTP/1.1",
            Self::HeadTooLarge => "the head of its answer is over 64 KiB or 128 lines",
            Self::Interim => "it sent more than 32 interim answers (1xx), or 64 KiB of them",
            Self::Length => "its answer has no single valid Content-Length",
            Self::TransferCoding => {
                "its answer has a Transfer-Encoding other than a single `chunked`, or one beside a length"
            }
            Self::Chunk => "its answer has a malformed chunk",
            Self::Upgrade => "it switched protocols without having been asked",
            Self::Closed => "it closed the connection before its answer was complete",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// Longest line of a chunk's size or of a trailer, in bytes: a size has 16 digits at most, and the
/// rest is room for extensions.
const MAX_LINE: usize = 8 * 1024;
/// Most bytes of trailers of one answer: as many as a head may have.
const MAX_TRAILERS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(text: &str) -> Result<(String, bool), ProtocolError> {
        let mut framing = Framing::Chunked(Chunks::default());
        let mut body = String::new();
        let mut buffer = BytesMut::new();
        // One byte at a time: every place where a chunk can be cut.
        for byte in text.bytes() {
            buffer.extend_from_slice(&[byte]);
            loop {
                match framing.take(&mut buffer)? {
                    BodyStep::Data(data) => body.push_str(std::str::from_utf8(&data).unwrap()),
                    BodyStep::More => break,
                    BodyStep::End => return Ok((body, true)),
                }
            }
        }
        Ok((body, false))
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let whole = |text: &str| Ok((text.to_owned(), true));
        assert_eq!(
            chunked("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n"),
            whole("abcde")
        );
        assert_eq!(chunked("0\r\n\r\n"), whole(""));
        assert_eq!(chunked("3\r\nabc\r\n"), Ok(("abc".to_owned(), false)));
        for bad in [
            "0x2\r\nab\r\n0\r\n\r\n",
            "2\r\nabc\r\n0\r\n\r\n",
            "fffffffffffffffff\r\na",
            "\r\n",
            &format!("0\r\n{}", "X-T: 1\r\n".repeat(MAX_TRAILERS / 8 + 2)),
        ] {
            assert_eq!(chunked(bad), Err(ProtocolError::Chunk), "{bad:?}");
        }
    }
}
