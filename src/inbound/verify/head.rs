//! The parts of a request besides its body that a signature can cover.

use std::net::IpAddr;
use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::inbound::forgery::Forgery;

/// A request's head, and what the connection and the configuration add to it.
pub(super) struct SignedHead<'a> {
    pub(super) request: &'a Parts,
    /// The path of the webhook as configured: a client can spell the path of a request in several
    /// ways.
    pub(super) webhook: &'a str,
    /// The last segment of the path, for a webhook with a token in the path.
    pub(super) token: Option<&'a str>,
    /// The address of the other end; `None` for a Unix socket.
    pub(super) peer: Option<IpAddr>,
    /// The public URL with the request's query, if the configuration has a public URL.
    pub(super) url: Option<String>,
    pub(super) now: SystemTime,
}

impl SignedHead<'_> {
    /// Returns the URL that the provider sent the request to.
    pub(super) fn url(&self) -> Result<&str, Forgery> {
        self.url.as_deref().ok_or(Forgery::NoPublicUrl)
    }
}

/// Returns the value of a header that is there once, and `None` if the header is missing.
pub(super) fn only_header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, Forgery> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Forgery::HeaderRepeated);
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| Forgery::HeaderNotAscii)
}
