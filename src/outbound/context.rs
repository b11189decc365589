//! The context of a request: the facts at its arrival, and the data shared by all steps.

use std::sync::atomic::AtomicBool;

use http::request::Parts;
use tokio::time::Instant;

use super::generation::Generation;
use crate::listener::Link;

/// The context of one request.
pub(super) struct RequestContext<'a> {
    /// The head of the request.
    pub(super) request: &'a Parts,
    /// The connection of the application.
    pub(super) link: &'a Link,
    /// The generation that was live when the request arrived.
    pub(super) generation: &'a Generation,
    /// Time at which the head of the request was read.
    pub(super) arrived: Instant,
    /// True once the upstream may have a byte of the request.
    pub(super) written: AtomicBool,
}

impl<'a> RequestContext<'a> {
    /// The context of a request that arrives now.
    pub(super) fn new(request: &'a Parts, link: &'a Link, generation: &'a Generation) -> Self {
        Self {
            request,
            link,
            generation,
            arrived: Instant::now(),
            written: AtomicBool::new(false),
        }
    }
}
