//! The common beat of periodic work: an idle process wakes once for all of it, and not once for each.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Sleeps until the next beat of an interval. All work with one interval, or with a multiple of it, wakes at the same
/// moment.
pub async fn next_beat(interval: Duration) {
    sleep_until(beat_after(*FIRST, Instant::now(), interval)).await;
}

/// Returns the first beat after `now`.
fn beat_after(first: Instant, now: Instant, interval: Duration) -> Instant {
    let interval = interval.max(SHORTEST);
    let passed = now.saturating_duration_since(first);
    let since_beat = passed.as_nanos() % interval.as_nanos();
    let since_beat = u64::try_from(since_beat).map_or(interval, Duration::from_nanos);
    now + interval - since_beat
}

/// The beat from which all others are counted.
static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The shortest interval: timers count in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_of_multiples_coincide() {
        let first = Instant::now();
        let millis = |count| Duration::from_millis(count);
        for (now, interval, expected) in [
            (0, 10_000, 10_000),
            (1, 10_000, 10_000),
            (9_999, 10_000, 10_000),
            (10_000, 10_000, 20_000),
            (59_990, 60_000, 60_000),
            (59_990, 5_000, 60_000),
            (59_990, 0, 59_991),
        ] {
            let beat = beat_after(first, first + millis(now), millis(interval));
            assert_eq!(beat - first, millis(expected), "{now} {interval}");
        }
    }
}
