//! A longer interval, taught by throttles. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::units::saturated;

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

    /// The slowdown that the shared server tells of: an `interval` that recovers from `since` on.
    pub(super) fn told(interval: Duration, since: Instant) -> Self {
        Self {
            interval,
            since,
            last: since,
        }
    }

    /// Time between two requests now. Shrinks from second to second, and so probes for the
    /// provider's limit.
    pub(super) fn interval(&self, now: Instant) -> Duration {
        self.interval_after(now.saturating_duration_since(self.since).as_secs())
    }

    /// Time of the turn that comes `more` turns after the turn `first`, with the interval by the
    /// quota as soon as the slowed interval is `normal` again.
    pub(super) fn turn_after(&self, first: Instant, more: u32, normal: Duration) -> Instant {
        let mut turn = first;
        let mut left = more;
        for second in first.saturating_duration_since(self.since).as_secs().. {
            let interval = self.interval_after(second);
            if interval <= normal {
                break;
            }
            let end = self.since + Duration::from_secs(second + 1);
            let within = end.saturating_duration_since(turn).as_nanos() / interval.as_nanos();
            let turns = left.min(saturated(within));
            turn += interval.saturating_mul(turns);
            left -= turns;
            if left == 0 {
                return turn;
            }
        }
        turn + normal.saturating_mul(left)
    }

    fn interval_after(&self, seconds: u64) -> Duration {
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

    /// Rows of slowed interval, normal interval, number of turns before, and time of the turn.
    #[test]
    fn turns_come_sooner_as_the_interval_recovers() {
        let now = Instant::now();
        for (slowed_ms, normal_ms, more, turn_ms) in [
            (200, 100, 0, 0),
            (200, 100, 5, 1000),
            (200, 100, 10, 1850),
            (200, 100, 100, 11_406),
            (36_000, 18_000, 1, 18_000),
            (36_000, 18_000, 2, 36_000),
            (12, 12, 100, 1200),
        ] {
            let slowdown = Slowdown::told(slowed_ms * MILLI, now);
            let turn = slowdown.turn_after(now, more, normal_ms * MILLI);
            assert_eq!((turn - now).as_millis(), turn_ms, "{slowed_ms} {more}");
        }
    }
}
