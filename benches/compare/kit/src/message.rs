//! The end of an HTTP/1.1 body: by its length, or by its chunks.

pub struct Malformed;

pub enum Body {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    LastLine,
}

impl Body {
    /// The end of a body by the framing headers of a message.
    pub fn of(headers: &[httparse::Header<'_>]) -> Result<Body, Malformed> {
        let mut body = Body::Length(0);
        for header in headers {
            if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return if header.value.eq_ignore_ascii_case(b"chunked") {
                    Ok(Body::ChunkSize)
                } else {
                    Err(Malformed)
                };
            }
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = std::str::from_utf8(header.value).ok().and_then(|v| v.trim().parse().ok());
                body = Body::Length(length.ok_or(Malformed)?);
            }
        }
        Ok(body)
    }

    /// Takes the bytes of the body out of the buffer. True after the end of the body. Trailers are
    /// not expected.
    pub fn consume(&mut self, buffer: &mut Vec<u8>, bytes: &mut u64) -> Result<bool, Malformed> {
        loop {
            match self {
                Body::Length(left) => {
                    *bytes += take(left, buffer);
                    return Ok(*left == 0);
                }
                Body::ChunkSize => match httparse::parse_chunk_size(buffer) {
                    Ok(httparse::Status::Complete((head, size))) => {
                        buffer.drain(..head);
                        *self = if size == 0 { Body::LastLine } else { Body::ChunkData(size) };
                    }
                    Ok(httparse::Status::Partial) => return Ok(false),
                    Err(_) => return Err(Malformed),
                },
                Body::ChunkData(left) => {
                    *bytes += take(left, buffer);
                    if *left > 0 || !take_line_end(buffer) {
                        return Ok(false);
                    }
                    *self = Body::ChunkSize;
                }
                Body::LastLine => return Ok(take_line_end(buffer)),
            }
        }
    }
}

fn take(left: &mut u64, buffer: &mut Vec<u8>) -> u64 {
    let n = (*left).min(buffer.len() as u64);
    *left -= n;
    buffer.drain(..n as usize);
    n
}

fn take_line_end(buffer: &mut Vec<u8>) -> bool {
    let whole = buffer.len() >= 2;
    if whole {
        buffer.drain(..2);
    }
    whole
}
