//! The pace of requests to a receiver that accepts nothing.

use std::time::Duration;

use tokio::time::Instant;

/// The times of requests, after successes and failures.
#[derive(Debug)]
pub(super) struct ExportPace {
    failures: u32,
    not_before: Instant,
}

/// A change that is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PaceChange {
    /// The receiver accepts nothing any more.
    Began,
    /// The receiver takes everything again.
    Ended,
    /// All is as before.
    None,
}

impl Default for ExportPace {
    fn default() -> Self {
        Self {
            failures: 0,
            not_before: Instant::now(),
        }
    }
}

impl ExportPace {
    /// Returns the time before which no spans should be sent.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Notes that the receiver took something.
    pub(super) fn succeeded(&mut self) -> PaceChange {
        match std::mem::take(&mut self.failures) {
            0 => PaceChange::None,
            _ => PaceChange::Ended,
        }
    }

    /// Notes at `now` that the receiver took nothing.
    pub(super) fn failed(&mut self, now: Instant) -> PaceChange {
        let wait = FIRST_WAIT * 2_u32.saturating_pow(self.failures.min(MAX_DOUBLINGS));
        self.not_before = now + wait;
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            1 => PaceChange::Began,
            _ => PaceChange::None,
        }
    }
}

/// The wait after the first failure; each further failure doubles it. A receiver that was restarted
/// is back within a second or two.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The number of doublings: the longest wait is 32 s.
const MAX_DOUBLINGS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_each_trouble_is_told_once() {
        let mut pace = ExportPace::default();
        let now = Instant::now();
        assert_eq!(pace.succeeded(), PaceChange::None);
        for (wait, change) in [
            (1, PaceChange::Began),
            (2, PaceChange::None),
            (4, PaceChange::None),
            (8, PaceChange::None),
            (16, PaceChange::None),
            (32, PaceChange::None),
            (32, PaceChange::None),
        ] {
            assert_eq!(pace.failed(now), change, "{wait}");
            assert_eq!(pace.not_before(), now + Duration::from_secs(wait));
        }
        assert_eq!(pace.succeeded(), PaceChange::Ended);
        assert_eq!(pace.succeeded(), PaceChange::None);
        assert_eq!(pace.failed(now), PaceChange::Began);
        assert_eq!(pace.not_before(), now + Duration::from_secs(1));
    }
}
