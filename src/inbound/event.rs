//! A genuine event.

use std::borrow::Cow;
use std::fmt;

use data_encoding::HEXLOWER;
use http::HeaderMap;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::body::Body;
use super::verify::Proof;

/// An event that the provider signed. Made from a [`Proof`] alone, and nothing else is delivered.
#[derive(Debug)]
pub(super) struct Event<'a> {
    /// Its bytes, as they came.
    pub(super) body: Body,
    /// The headers that came with it.
    pub(super) headers: &'a HeaderMap,
    /// The query that came with it, without what is a secret in it.
    pub(super) query: Option<Cow<'a, str>>,
    /// What tells it from others.
    pub(super) id: EventId,
}

/// The same for the same bytes at the same webhook, as long as the secret is the same: a provider that
/// sends an event again sends the same bytes.
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
        Self { body, headers: &request.headers, query, id: EventId::new(webhook, proof) }
    }
}

impl EventId {
    /// From what the verifier computed over the body: no second pass over it.
    fn new(webhook: &str, proof: &Proof) -> Self {
        let digest = Sha256::new().chain_update("keyside:event:").chain_update(webhook).chain_update(proof.digest);
        let mut id = [0; 16];
        id.iter_mut().zip(digest.finalize()).for_each(|(byte, of)| *byte = of);
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}
