//! The one writer of requests: request line, headers and body.
//!
//! A request is written in this order: [`RequestLine`] takes the target, [`RequestLine::headers`]
//! ends the line, [`RequestHead`] takes headers, and [`RequestHead::finish`] adds the framing and
//! the body. All line ends are written here. A byte that could end a line early, inside a target or
//! a header, marks the request as malformed. [`super::Upstream::send`] refuses a malformed request
//! before it dials, and a tunnel is not asked for with such a request.

use http::Method;

use super::head_bytes::HeadBytes;
use super::outgoing::{Outgoing, SecretEncoding, SecretValue};
use super::request_body::OutgoingBody;
use super::request_head::{COPY_LIMIT, RequestHead};
use crate::query;

/// The request line of a request that is being written, up to the target.
#[derive(Debug)]
pub struct RequestLine {
    request: Outgoing,
    has_query: bool,
}

impl RequestLine {
    /// Begins a request. The body is named first, because the length decides the size of the buffer
    /// and the framing headers.
    #[must_use]
    pub fn new(method: Method, body: OutgoingBody) -> Self {
        let copied = body
            .length()
            .filter(|length| *length <= COPY_LIMIT as u64)
            .and_then(|length| usize::try_from(length).ok());
        let mut head = HeadBytes::with_capacity(HEAD_CAPACITY + copied.unwrap_or_default());
        head.push(method.as_str().as_bytes());
        head.push(b" ");
        Self {
            request: Outgoing {
                method,
                head,
                body,
                is_malformed: false,
            },
            has_query: false,
        }
    }

    /// Adds text to the target as it stands, percent-encoded by the author; `?` begins the query.
    pub fn target(&mut self, text: &str) {
        self.has_query |= text.contains('?');
        self.request.push_target(text);
    }

    /// Adds a secret to the path, percent-encoded.
    pub fn secret_segment(&mut self, secret: &str) {
        self.value(SecretEncoding::Percent).push(secret);
    }

    /// Adds pairs to the query as they stand, percent-encoded by their author; an empty text adds
    /// nothing.
    pub fn query(&mut self, pairs: &str) {
        if !pairs.is_empty() {
            self.begin_pair();
            self.request.push_target(pairs);
        }
    }

    /// Adds one pair with a secret value to the query, both percent-encoded.
    pub fn secret_parameter(&mut self, name: &str, secret: &str) {
        self.begin_parameter(name);
        self.value(SecretEncoding::Percent).push(secret);
    }

    /// Adds one pair to the query, with a secret value that `write` gives in pieces.
    ///
    /// # Errors
    /// The error of `write`.
    pub fn secret_parameter_with<E>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut SecretValue<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.begin_parameter(name);
        write(&mut self.value(SecretEncoding::Percent))
    }

    /// Ends the request line, and begins the headers with `Host`.
    #[must_use]
    pub fn headers(mut self, host: &str) -> RequestHead {
        self.request.head.push(b" HTTP/1.1\r\n");
        RequestHead::new(self.request, host)
    }

    fn begin_pair(&mut self) {
        let separator: &[u8] = if self.has_query { b"&" } else { b"?" };
        self.request.head.push(separator);
        self.has_query = true;
    }

    fn begin_parameter(&mut self, name: &str) {
        self.begin_pair();
        for piece in query::encode(name) {
            self.request.head.push(piece.as_bytes());
        }
        self.request.head.push(b"=");
    }

    fn value(&mut self, encoding: SecretEncoding) -> SecretValue<'_> {
        SecretValue {
            request: &mut self.request,
            encoding,
        }
    }
}

/// `User-Agent` of requests that Keyside makes itself, and of applications that send none: Meta's
/// media host refuses requests without one.
pub const USER_AGENT: &str = concat!("keyside/", env!("CARGO_PKG_VERSION"));
/// Room for a head, in bytes: a head of a WhatsApp client with a 250-byte token has about 900. A
/// larger head moves once. Room is wiped when it is freed, used or not.
const HEAD_CAPACITY: usize = 1280;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header;
    use zeroize::Zeroizing;

    use super::*;

    const SECRET: &str = "EAAsecret";

    fn line(method: Method, body: &'static str) -> RequestLine {
        let body = OutgoingBody::Whole(Bytes::from_static(body.as_bytes()));
        RequestLine::new(method, body)
    }

    fn text(request: &Outgoing) -> &str {
        std::str::from_utf8(request.head.as_slice()).unwrap()
    }

    /// Writes `value` as a secret, in pieces of one byte.
    fn pieces(value: &str) -> impl FnOnce(&mut SecretValue<'_>) -> Result<(), ()> {
        move |written| {
            for character in value.chars() {
                written.push(character.encode_utf8(&mut [0; 4]));
            }
            Ok(())
        }
    }

    #[test]
    fn a_request_has_its_parts_in_order_and_a_small_body_behind_them() {
        let mut line = line(Method::POST, "{}");
        line.target("/v23.0/");
        line.secret_segment("a/b");
        line.query("");
        line.query("a=1&b=2");
        line.secret_parameter_with("access token", pieces("x&y"))
            .unwrap();
        let mut head = line.headers("graph.test:8443");
        head.header(&header::ACCEPT, "*/*");
        head.secret_header_with(&header::AUTHORIZATION, pieces("Bearer t"))
            .unwrap();
        let request = head.finish();
        assert!(!request.is_malformed);
        assert_eq!(
            text(&request),
            "POST /v23.0/a%2Fb?a=1&b=2&access%20token=x%26y HTTP/1.1\r\n\
             host: graph.test:8443\r\naccept: */*\r\ncontent-length: 2\r\n\
             authorization: Bearer t\r\n\r\n{}"
        );
        assert_eq!(request.body.length(), Some(0));
    }

    #[test]
    fn a_target_with_a_query_gets_further_pairs_behind_an_ampersand() {
        let mut line = line(Method::GET, "");
        line.target("/me?fields=id");
        line.query("a=1");
        let request = line.headers("h").finish();
        let expected = "GET /me?fields=id&a=1 HTTP/1.1\r\nhost: h\r\n\r\n";
        assert_eq!(text(&request), expected);
    }

    #[test]
    fn only_a_method_with_a_body_names_a_length_of_zero() {
        for (method, body, framing) in [
            (Method::GET, "", None),
            (Method::DELETE, "", None),
            (Method::POST, "", Some("content-length: 0")),
            (Method::PUT, "", Some("content-length: 0")),
            (Method::PATCH, "", Some("content-length: 0")),
            (Method::GET, "{}", Some("content-length: 2")),
        ] {
            let request = line(method.clone(), body).headers("h").finish();
            let found = text(&request)
                .lines()
                .find(|line| line.starts_with("content-length"));
            assert_eq!(found, framing, "{method} {body:?}");
        }
    }

    #[test]
    fn a_large_body_stays_beside_the_head() {
        let large = Bytes::from(vec![b'x'; COPY_LIMIT + 1]);
        let line = RequestLine::new(Method::POST, OutgoingBody::Whole(large));
        let request = line.headers("h").finish();
        assert!(text(&request).ends_with("content-length: 15361\r\n\r\n"));
        assert_eq!(request.body.length(), Some(15_361));
    }

    #[test]
    fn a_byte_that_could_end_a_line_makes_a_request_malformed() {
        let with_target = |target: &str| {
            let mut line = line(Method::GET, "");
            line.target(target);
            line.headers("h").finish().is_malformed
        };
        let with_header = |value: &str| {
            let mut head = line(Method::GET, "").headers("h");
            head.header(&header::ACCEPT, value);
            head.finish().is_malformed
        };
        let with_secret = |value: &str| {
            let mut head = line(Method::GET, "").headers("h");
            head.secret_header(&header::AUTHORIZATION, value);
            head.finish().is_malformed
        };
        for bad in ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "\u{1}"] {
            assert!(with_target(bad), "{bad:?} in a target");
            assert!(with_header(bad), "{bad:?} in a header");
            assert!(with_secret(bad), "{bad:?} in a secret");
        }
        assert!(with_target("/a b"), "a space ends a target");
        assert!(line(Method::GET, "").headers("h\r\n").finish().is_malformed);
        for good in ["", "a b", "a\tb", "~!@"] {
            assert!(!with_header(good) && !with_secret(good), "{good:?}");
        }
        let mut percent = line(Method::GET, "");
        percent.secret_parameter("a", "x\r\ny");
        let request = percent.headers("h").finish();
        assert!(!request.is_malformed, "an encoded line end is none");
        assert!(text(&request).contains("a=x%0D%0Ay "));
    }

    #[test]
    fn a_usual_request_is_written_into_one_buffer() {
        let mut line = line(Method::POST, "{\"to\":\"1\"}");
        let before = line.request.head.as_slice().as_ptr();
        line.target("/v23.0/106540352242922/messages");
        let mut head = line.headers("graph.facebook.com");
        head.header(&header::USER_AGENT, "x".repeat(500));
        head.secret_header(&header::AUTHORIZATION, &"t".repeat(300));
        let request = head.finish();
        assert_eq!(request.head.as_slice().as_ptr(), before);
    }

    #[test]
    fn everything_from_the_first_secret_to_the_last_is_wiped() {
        let body = OutgoingBody::Secret(Zeroizing::new("body".to_owned()));
        let mut line = RequestLine::new(Method::POST, body);
        line.target("/");
        line.secret_parameter("a", SECRET);
        let mut head = line.headers("h");
        head.secret_header(&header::AUTHORIZATION, SECRET);
        let mut request = head.finish();
        assert!(text(&request).contains(SECRET) && text(&request).ends_with("\r\n\r\nbody"));
        request.head.wipe();
        assert!(!text(&request).contains(SECRET) && !text(&request).contains("body"));
        assert!(text(&request).starts_with("POST /?a=\0"));
    }
}
