//! The refusal of what finds no place.

use std::time::Duration;

use http::StatusCode;

use crate::response::{Refusal, RefusalKind};

/// The answer to a connection without a place, and to a client with too many requests under way.
pub(super) fn overloaded() -> Refusal {
    let mut refusal = Refusal::new(
        OVERLOADED,
        "too many connections or requests are open",
        "send the request again later, over fewer connections at a time",
    );
    refusal.retry_after = Some(RETRY_AFTER);
    refusal
}

/// The `Retry-After` of a refusal: a request under way ends within a second.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const OVERLOADED: RefusalKind = RefusalKind::new("overloaded", StatusCode::SERVICE_UNAVAILABLE, 2);
