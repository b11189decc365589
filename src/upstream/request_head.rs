//! The headers of a request, the framing, and a small body behind them.

use http::{HeaderName, HeaderValue, Method, header};

use super::outgoing::{Outgoing, SecretEncoding, SecretValue, has_control_byte};
use super::request_body::OutgoingBody;

/// The headers of a request that is being written.
#[derive(Debug)]
pub struct RequestHead {
    request: Outgoing,
    /// True once the length of the body is written.
    is_framed: bool,
}

impl RequestHead {
    /// Begins the headers of a request whose request line is written, with `Host`.
    pub(super) fn new(request: Outgoing, host: &str) -> Self {
        let mut head = Self {
            request,
            is_framed: false,
        };
        head.header(&header::HOST, host);
        head
    }

    /// Adds a header.
    pub fn header(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        self.begin_header(name);
        self.request.is_malformed |= has_control_byte(value.as_ref());
        self.request.head.push(value.as_ref());
        self.request.head.push(b"\r\n");
    }

    /// Adds a header as it came from another request. A [`HeaderValue`] has no control byte but the
    /// tab, so the value is not looked through again.
    pub fn copied_header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.begin_header(name);
        self.request.head.push(value.as_bytes());
        self.request.head.push(b"\r\n");
    }

    /// Adds a header with a secret value.
    pub fn secret_header(&mut self, name: &HeaderName, secret: &str) {
        self.frame();
        self.begin_header(name);
        self.value().push(secret);
        self.request.head.push(b"\r\n");
    }

    /// Adds a header with a secret value that `write` gives in pieces.
    ///
    /// # Errors
    /// The error of `write`.
    pub fn secret_header_with<E>(
        &mut self,
        name: &HeaderName,
        write: impl FnOnce(&mut SecretValue<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.frame();
        self.begin_header(name);
        write(&mut self.value())?;
        self.request.head.push(b"\r\n");
        Ok(())
    }

    /// Ends the head: adds the framing of the body and the empty line, and behind them a small
    /// body.
    #[must_use]
    pub fn finish(mut self) -> Outgoing {
        self.frame();
        self.request.head.push(b"\r\n");
        let Outgoing { head, body, .. } = &mut self.request;
        match body {
            OutgoingBody::Whole(data) if data.len() <= COPY_LIMIT => {
                head.push(data);
                *body = OutgoingBody::empty();
            }
            OutgoingBody::Secret(data) if data.len() <= COPY_LIMIT => {
                head.push_secret(data.as_bytes());
                *body = OutgoingBody::empty();
            }
            _ => {}
        }
        self.request
    }

    /// Names the length of the body, once. Secret headers come behind it: bytes between two secrets
    /// are wiped with them.
    fn frame(&mut self) {
        if std::mem::replace(&mut self.is_framed, true) {
            return;
        }
        let has_body = matches!(
            self.request.method,
            Method::POST | Method::PUT | Method::PATCH
        );
        match self.request.body.length() {
            None => self.header(&header::TRANSFER_ENCODING, "chunked"),
            // A length of 0 says something only if a method usually has a body (RFC 9110, 8.6).
            Some(0) if !has_body => {}
            Some(length) => {
                self.begin_header(&header::CONTENT_LENGTH);
                self.request.head.push_number(length);
                self.request.head.push(b"\r\n");
            }
        }
    }

    fn value(&mut self) -> SecretValue<'_> {
        SecretValue {
            request: &mut self.request,
            encoding: SecretEncoding::Plain,
        }
    }

    fn begin_header(&mut self, name: &HeaderName) {
        self.request.head.push(name.as_str().as_bytes());
        self.request.head.push(b": ");
    }
}

/// Largest body, in bytes, that is copied behind the head: head and body leave in a single write
/// and TLS record (16 KiB).
pub(super) const COPY_LIMIT: usize = 15 * 1024;
