//! The patience with a peer that takes an answer slowly.

use std::time::Duration;

use tokio::time::Instant;

/// The time that a peer has let this side wait during one answer.
///
/// A bound on each wait alone would let a peer that takes a byte now and then hold a place and
/// megabytes for days.
#[derive(Debug, Default)]
pub(super) struct PeerPatience {
    /// The bytes of the answer that the peer has taken.
    taken: u64,
    /// The sum of all waits that have ended.
    waited: Duration,
    /// The beginning of the wait that lasts.
    since: Option<Instant>,
}

impl PeerPatience {
    /// Notes that the peer takes no byte. Returns the end of the wait, for a bound on one wait.
    pub(super) fn waits(&mut self, now: Instant, bound: Duration) -> Instant {
        let since = *self.since.get_or_insert(now);
        let granted = bound + Duration::from_secs(self.taken / LEAST_RATE);
        let left = granted.saturating_sub(self.waited);
        since + left.min(bound)
    }

    /// Notes that the peer has taken bytes.
    pub(super) fn takes(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        self.taken += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += now().saturating_duration_since(since);
        }
    }
}

/// The bytes in a second that a peer takes at least. Slower than any program that works on an
/// answer piece by piece; an answer of 8 MiB, the largest that is held in memory, then ends after
/// 35 minutes.
const LEAST_RATE: u64 = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    /// Returns the time after which a peer that takes `bytes` at each `interval` is given up;
    /// `None` after a day.
    fn given_up_after(bytes: usize, interval: Duration) -> Option<Duration> {
        let start = Instant::now();
        let mut patience = PeerPatience::default();
        let mut now = start;
        while now - start < Duration::from_secs(86_400) {
            let end = patience.waits(now, BOUND);
            if end < now + interval {
                return Some(end - start);
            }
            now += interval;
            patience.takes(bytes, || now);
        }
        None
    }

    #[test]
    fn a_peer_that_drips_is_given_up_and_a_slow_peer_is_not() {
        let seconds = Duration::from_secs;
        assert_eq!(given_up_after(0, seconds(60)), Some(BOUND));
        assert_eq!(given_up_after(1, seconds(29)), Some(BOUND));
        assert_eq!(given_up_after(1000, seconds(1)), Some(seconds(39)));
        assert_eq!(given_up_after(3 * 1024, seconds(1)), Some(seconds(117)));
        assert_eq!(given_up_after(5 * 1024, seconds(1)), None);
        assert_eq!(given_up_after(8 * 1024, seconds(1)), None);
        assert_eq!(given_up_after(1 << 20, seconds(29)), None);
    }

    #[test]
    fn a_peer_that_does_not_let_this_side_wait_may_take_any_time() {
        let start = Instant::now();
        let mut patience = PeerPatience::default();
        for second in 1..1000 {
            patience.takes(1, || start + Duration::from_secs(second));
        }
        assert_eq!(patience.waits(start, BOUND), start + BOUND);
    }
}
