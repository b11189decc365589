//! A moment that can be compared across restarts, and what is left of a time after a restart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::boot::BootTime;
use crate::units::millis;

/// A moment by two clocks: the wall clock, which may be wrong, and the time since the machine
/// started, which cannot be set, and compares only within one run of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since 1970, by the wall clock.
    wall_ms: u64,
    /// The time since the machine started, if known.
    boot: Option<BootTime>,
}

/// The rest of a time that began before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The time that is left.
    Time(Duration),
    /// The wall clock is not within the time, and may be wrong: nothing can be said before it is
    /// set, or the whole time has passed in this process.
    Unsure,
    /// The time is over.
    Nothing,
}

impl Moment {
    /// Returns the moment of now.
    #[must_use]
    pub fn now() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall_ms: millis(wall),
            boot: BootTime::now(),
        }
    }

    /// Returns what is left `now` of the time `left` at this moment. The process has `known` of the
    /// time since.
    ///
    /// Within a run of the machine no clock can be wrong. Across runs, a wall clock outside of the
    /// time is no proof: the time is neither used nor given up until the whole time has passed in
    /// this process.
    #[must_use]
    pub fn left(&self, left: Duration, now: &Self, known: Duration) -> Left {
        if known >= left {
            return Left::Nothing;
        }
        let of_one_run = self.boot.as_ref().zip(now.boot.as_ref());
        let since_boot = of_one_run.and_then(|(then, now)| now.since(then));
        if let Some(elapsed) = since_boot {
            return match left.checked_sub(elapsed) {
                Some(Duration::ZERO) | None => Left::Nothing,
                Some(left) => Left::Time(left),
            };
        }
        let elapsed = now
            .wall_ms
            .checked_sub(self.wall_ms)
            .map(|elapsed| Duration::from_millis(elapsed).max(known));
        match elapsed.and_then(|elapsed| left.checked_sub(elapsed)) {
            Some(Duration::ZERO) | None => Left::Unsure,
            Some(left) => Left::Time(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;

    fn moment(wall_ms: u64, run: &str, up_ms: u64) -> Moment {
        Moment {
            wall_ms,
            boot: (!run.is_empty()).then(|| BootTime::new(run, up_ms)),
        }
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_millis(hours * HOUR)
    }

    #[test]
    fn within_one_run_of_the_machine_the_wall_clock_does_not_count() {
        let then = moment(2 * YEAR, "a", HOUR);
        for wall in [0, YEAR, 2 * YEAR, 3 * YEAR] {
            let left = |up| then.left(hours(24), &moment(wall, "a", up), Duration::ZERO);
            assert_eq!(left(11 * HOUR), Left::Time(hours(14)), "{wall}");
            assert_eq!(left(25 * HOUR), Left::Nothing, "{wall}");
        }
    }

    #[test]
    fn across_runs_the_wall_clock_counts_while_it_can_be_right() {
        for run in ["b", ""] {
            let then = moment(2 * YEAR, "a", HOUR);
            let left = |wall, known| then.left(hours(24), &moment(wall, run, 0), hours(known));
            assert_eq!(left(2 * YEAR + 10 * HOUR, 0), Left::Time(hours(14)));
            // A clock set back while the process runs gives nothing back.
            assert_eq!(left(2 * YEAR + HOUR, 10), Left::Time(hours(14)));
            for wrong in [YEAR, 2 * YEAR - 1, 2 * YEAR + 24 * HOUR, 3 * YEAR] {
                assert_eq!(left(wrong, 0), Left::Unsure);
                assert_eq!(left(wrong, 23), Left::Unsure);
                assert_eq!(left(wrong, 24), Left::Nothing);
            }
        }
    }
}
