//! The bytes behind a head: a body, and perhaps a further request that a peer sent without waiting
//! for the answer.
//!
//! hyper gets a request, and nothing of the next one before the answer is flushed. So each request
//! line is seen when its head begins, however requests lie in packets. Only behind a chunked body
//! may hyper get bytes of the next request.

/// True if bytes behind a head may have more than the body. Nearly all messages are one JSON
/// object, or nothing is behind the head: only other requests are looked at closely.
pub(super) fn may_exceed_body(head: &[u8], behind: &[u8]) -> bool {
    match behind.last() {
        None => false,
        // hyper knows the preface of HTTP/2 as a whole.
        Some(_) if head.starts_with(HTTP_2) => false,
        Some(b'}') if memchr::memmem::find(behind, VERSION).is_none() => false,
        Some(_) => content_length(head).is_none_or(|length| behind.len() > length),
    }
}

/// The length of the body that the first header of this name tells; `None` if there is none, or the
/// head is not whole.
fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(CONTENT_LENGTH.len())?;
        let digits = str::from_utf8(value).ok()?.trim();
        name.eq_ignore_ascii_case(CONTENT_LENGTH)
            .then(|| digits.parse().ok())?
    })
}

/// The begin of the preface of HTTP/2: RFC 9113, section 3.4.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// The end of a request line.
const VERSION: &[u8] = b" HTTP/1.";
const CONTENT_LENGTH: &[u8] = b"content-length:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_alone_exceeds_nothing() {
        for (head, behind, expected) in [
            ("", "", false),
            ("Content-Length: 2", "{}", false),
            ("CONTENT-LENGTH:3", "a=1", false),
            ("X: 1\r\ncontent-length: 4\r\n", "a=1", false),
            ("Content-Length: 16", "{\"a\":\" HTTP/1.\"}", false),
            ("Content-Length: 2", "{}GET / HTTP/1.1\r\n\r\n", true),
            ("Content-Length: 2", "{}GE", true),
            ("Content-Length: x", "a", true),
            ("", "GET / HTTP/1.1\r\n\r\n", true),
            ("", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", true),
            ("PRI * HTTP/2.0\r\n\r\n", "SM\r\n\r\n", false),
            ("Transfer-Encoding: chunked", "0\r\n\r\n", true),
        ] {
            let exceeds = may_exceed_body(head.as_bytes(), behind.as_bytes());
            assert_eq!(exceeds, expected, "{head:?} {behind:?}");
        }
    }
}
