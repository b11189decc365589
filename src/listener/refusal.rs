//! The refusal of what finds no place.

use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Response, StatusCode};

use super::link::Link;
use crate::refusal_form::{Asked, RefusalForms};
use crate::response::{Refusal, RefusalKind};

/// The answer to a connection without a place, and to a client with too many requests under way.
#[must_use]
pub fn overloaded() -> Refusal {
    let mut refusal = Refusal::new(
        OVERLOADED,
        "too many connections or requests are open",
        "send the request again later, over fewer connections at a time",
    );
    refusal.retry_after = Some(RETRY_AFTER);
    refusal
}

/// The answer for a refusal of a request that has no head yet, or no handler any more: in the form
/// of the providers that the name in the TLS handshake tells.
pub(super) fn in_form(
    refusal: &Refusal,
    forms: &ArcSwap<RefusalForms>,
    link: &Link,
) -> Response<Bytes> {
    let asked = Asked {
        host: link.server_name(),
        path: None,
    };
    forms.load().to_response(refusal, asked)
}

/// The bytes of a refusal that is written below hyper.
pub(super) fn http1(response: &Response<Bytes>) -> Vec<u8> {
    let mut wire = format!(
        "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n",
        response.status(),
        response.body().len()
    )
    .into_bytes();
    for (name, value) in response.headers() {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(response.body());
    wire
}

/// The `Retry-After` of a refusal: a request under way ends within a second.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const OVERLOADED: RefusalKind = RefusalKind::new("overloaded", StatusCode::SERVICE_UNAVAILABLE, 2);
