//! Reads an answer from pieces of bytes without a connection: the door of the fuzz target `answer`.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};

use super::framing::{BodyStep, ProtocolError};
use super::head::HeadReader;

/// An answer that was read from pieces, up to its end or to the last piece.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The status of the final answer.
    pub status: StatusCode,
    /// The headers of the final answer.
    pub headers: HeaderMap,
    /// True when the connection could carry another request after this answer.
    pub keep_alive: bool,
    /// The content, without chunk framing.
    pub body: Vec<u8>,
    /// True when the end of the body was found in the pieces.
    pub is_complete: bool,
    /// The number of bytes behind the end of the answer.
    pub unread: usize,
}

/// Reads the answer to a request with `method`, piece by piece, with the code that reads from
/// connections; `None` when the pieces end before the head does.
///
/// # Errors
/// The first violation of HTTP/1.1 in the pieces.
pub fn read_answer<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    method: &Method,
) -> Result<Option<ReadAnswer>, ProtocolError> {
    let mut pieces = pieces.into_iter();
    let mut buffer = BytesMut::new();
    let mut heads = HeadReader::default();
    let mut head = loop {
        // One piece may hold interim answers and the final head: a piece is added only once the
        // buffer has no head left.
        if let Some(head) = heads.take(&mut buffer, method)? {
            break head;
        }
        let Some(piece) = pieces.next() else {
            return Ok(None);
        };
        buffer.extend_from_slice(piece);
    };
    let mut body = Vec::new();
    // The bytes behind the head are in the buffer already: the framing takes them before the next
    // piece.
    let is_complete = loop {
        match head.framing.take(&mut buffer)? {
            BodyStep::Data(data) => body.extend_from_slice(&data),
            BodyStep::End => break true,
            BodyStep::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => break false,
            },
        }
    };
    Ok(Some(ReadAnswer {
        status: head.status,
        headers: head.headers,
        keep_alive: head.keep_alive,
        body,
        is_complete,
        unread: buffer.len() + pieces.map(<[u8]>::len).sum::<usize>(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a line of a chunked body may be.
    const LONG: usize = 9 * 1024;

    #[test]
    fn an_answer_reads_alike_however_it_is_cut() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let long = "x".repeat(LONG);
        for (body, is_valid) in [
            ("3\r\nabc\r\n0\r\nX: y\r\n\r\nmore", true),
            (&format!("3;{long}\r\nabc\r\n0\r\n\r\n"), false),
            (&format!("0\r\nX: {long}\r\n\r\n"), false),
            ("0;a\nb\r\n\r\n", false),
            ("3;a\n\r\nabc\r\n0\r\n\r\n", false),
        ] {
            let bytes = format!("{head}{body}").into_bytes();
            let whole = read_answer([&bytes[..]], &Method::GET);
            assert_eq!(whole.is_ok(), is_valid);
            assert_eq!(read_answer(bytes.chunks(1), &Method::GET), whole);
        }
    }
}
