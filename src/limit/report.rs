//! The view of limits for the status, `keyside explain` and metrics.

use std::time::Duration;

use tokio::time::Instant;

use super::pause::Pause;
use crate::units::Quota;

/// Use of all limits of one kind: of all senders, or of all pairs.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitUsage {
    /// Number of remembered senders, pairs, accounts or objects.
    pub in_use: usize,
    /// Number of waiting requests.
    pub waiting: usize,
    /// Number of paused senders, pairs, accounts or objects.
    pub paused: usize,
    /// End of the last pause.
    pub paused_until: Option<Instant>,
    /// Number of limits with a longer interval than the quota says.
    pub slowed: usize,
    /// The longest of these intervals.
    pub slowest: Option<Duration>,
}

impl LimitUsage {
    /// Counts a limit in use.
    pub(super) fn add(&mut self, status: &LimitStatus) {
        self.in_use += 1;
        self.waiting += status.waiting;
        self.slowed += usize::from(status.interval.is_some());
        self.slowest = self.slowest.max(status.interval);
        if let Some(pause) = status.pause {
            self.paused += 1;
            self.paused_until = self.paused_until.max(Some(pause.until));
        }
    }
}

/// State of a limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitStatus {
    /// Quota; none if only pauses hold requests back.
    pub quota: Option<Quota>,
    /// Number of tokens left; `u32::MAX` without a quota.
    pub remaining: u32,
    /// Time between two requests, if throttles have made the interval longer than the quota says.
    pub interval: Option<Duration>,
    /// Number of waiting requests.
    pub waiting: usize,
    /// Wait of a new request behind the waiting requests.
    pub wait: Duration,
    /// The pause, while there is one.
    pub pause: Option<Pause>,
    /// True if no request goes because the shared server is lost.
    pub is_closed: bool,
}

impl LimitStatus {
    /// True if the limit is unused: no waiter, no pause, no used token.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_free = self.pause.is_none() && self.interval.is_none() && self.waiting == 0;
        let is_full = self
            .quota
            .is_none_or(|quota| self.remaining == quota.burst.get());
        is_free && is_full
    }
}
