//! The clock of the spool: a wall clock that never jumps while the program runs.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::lanes::Now;
use crate::boot::BootTime;

/// The wall clock's time at the start, and the time since then by the monotonic clock. A wall clock
/// that is set meanwhile neither ends what is kept too early nor keeps it for ever.
#[derive(Clone, Debug)]
pub struct SpoolClock {
    start: Instant,
    start_ms: u64,
    /// The time since the machine started, at the start.
    boot: Option<BootTime>,
}

impl SpoolClock {
    /// Starts a clock.
    #[must_use]
    pub fn start(start: Instant, wall: SystemTime, boot: Option<BootTime>) -> Self {
        let since = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start,
            start_ms: millis(since),
            boot,
        }
    }

    /// The time since the machine started, at a moment of this run.
    pub(super) fn boot(&self, at: Instant) -> Option<BootTime> {
        let boot = self.boot.as_ref()?;
        Some(boot.after(at.saturating_duration_since(self.start)))
    }

    /// The time at which the clock was started, in milliseconds since 1970: no time of this run is
    /// before.
    pub(super) fn started_ms(&self) -> u64 {
        self.start_ms
    }

    pub(super) fn now(&self) -> Now {
        let at = Instant::now();
        let wall_ms = self
            .start_ms
            .saturating_add(millis(at.saturating_duration_since(self.start)));
        Now { at, wall_ms }
    }
}

/// Milliseconds of a duration.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The day since 1970 of a time in milliseconds.
pub(super) fn day(wall_ms: u64) -> u64 {
    wall_ms / (24 * 60 * 60 * 1000)
}
