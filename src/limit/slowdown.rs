//! A longer interval, taught by throttles. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A longer interval, taught by throttles: the provider's limit is lower than the quota, or is used
/// by further clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slowdown {
    /// Time between two requests, as of `since`.
    interval: Duration,
    /// End of the pause after which the interval recovers.
    since: Instant,
    /// Time at which the last request went.
    last: Instant,
}

impl Slowdown {
    /// The slowdown after a pause until `since`: twice the `current` interval, within a bound by
    /// the `normal` interval of the quota.
    pub(super) fn new(current: Duration, normal: Duration, since: Instant, now: Instant) -> Self {
        Self {
            interval: (current * 2).min(normal * MAX_SLOWDOWN),
            since,
            last: now,
        }
    }

    /// Time between two requests now. Shrinks from second to second, and so probes for the
    /// provider's limit.
    pub(super) fn interval(&self, now: Instant) -> Duration {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        self.interval.mul_f64(RECOVERY.powi(seconds))
    }

    /// Time before which no further request goes.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        self.last + self.interval(now)
    }

    /// Takes note that a request was sent.
    pub(super) fn note_sent(&mut self, now: Instant) {
        self.last = now;
    }
}

/// Factor by which a slowed interval shrinks in each second: from the double it is back in five
/// seconds, from the longest in 22.
const RECOVERY: f64 = 0.85;
/// Longest slowed interval, as a multiple of the interval by the quota: after five doublings, 80
/// messages a second are 2.5.
const MAX_SLOWDOWN: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_interval_doubles_up_to_a_bound() {
        let now = Instant::now();
        for (current_ms, slowed_ms) in [(100, 200), (200, 400), (2000, 3200), (3200, 3200)] {
            let slowdown = Slowdown::new(current_ms * MILLI, 100 * MILLI, now, now);
            assert_eq!(slowdown.interval(now), slowed_ms * MILLI, "{current_ms} ms");
        }
    }
}
