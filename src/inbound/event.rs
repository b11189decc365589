//! A genuine event.

use std::borrow::Cow;
use std::fmt;

use data_encoding::HEXLOWER;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use sha2::{Digest, Sha256};

use super::body::Body;
use super::verify::Proof;

/// An event signed by the provider. An event is made from a [`Proof`] only, and only events are
/// delivered.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// The method of the request.
    pub(super) method: &'a Method,
    /// The body, byte for byte as it arrived.
    pub(super) body: Body,
    /// The headers of the request.
    pub(super) headers: &'a HeaderMap,
    /// The query of the request without its secret parameters.
    pub(super) query: Option<Cow<'a, str>>,
    /// The id by which the application can notice repetitions.
    pub(super) id: EventId,
}

/// The id of an event: equal for equal bytes at one webhook, as long as the current secret stays.
/// A provider that sends an event again sends the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId([u8; 16]);

impl<'a> Event<'a> {
    pub(super) fn new(
        proof: &Proof,
        webhook: &str,
        request: &'a Parts,
        query: Option<Cow<'a, str>>,
        body: Body,
    ) -> Self {
        Self {
            method: &request.method,
            body,
            headers: &request.headers,
            query,
            id: EventId::new(webhook, proof),
        }
    }

    /// Returns the headers that the application gets: those of the names `more`, and the content
    /// type.
    pub(super) fn headers_named<'h>(
        &'h self,
        more: &'h [HeaderName],
    ) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> {
        let names = more.iter().chain([&header::CONTENT_TYPE]);
        names.filter_map(|name| Some((name, self.headers.get(name)?)))
    }
}

impl EventId {
    /// Derives the id from the digest that the verifier has computed, which saves a second pass
    /// over the body.
    fn new(webhook: &str, proof: &Proof) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update("keyside:event:")
            .chain_update(webhook)
            .chain_update(proof.digest)
            .finalize()
            .into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}
