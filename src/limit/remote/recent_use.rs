//! The number of tokens that a sidecar has used of late. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Number of tokens used in the current span of time and in the span before.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecentUse {
    span: Duration,
    since: Instant,
    current: u32,
    before: u32,
}

impl RecentUse {
    /// No use so far, counted in spans of this length.
    pub(super) fn new(span: Duration, now: Instant) -> Self {
        Self {
            span,
            since: now,
            current: 0,
            before: 0,
        }
    }

    /// Counts a used token.
    pub(super) fn count(&mut self, now: Instant) {
        if now - self.since >= self.span {
            // A span without any use between two spans makes the earlier one too old to tell of the
            // pace.
            let is_next = now - self.since < 2 * self.span;
            self.before = if is_next { self.current } else { 0 };
            self.since = now;
            self.current = 0;
        }
        self.current += 1;
    }

    /// Number of tokens used in a span of late: in the current span or the span before, whichever
    /// had more.
    pub(super) fn recent(&self, now: Instant) -> u32 {
        if now - self.since < 2 * self.span {
            self.before.max(self.current)
        } else {
            0
        }
    }
}
