//! The common beat of periodic work: an idle process wakes once for all of it, and not once for
//! each.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::units::millis;

/// Sleeps until the next beat of an interval. All work with one interval, or with a multiple of it,
/// wakes at the same moment.
pub async fn next_beat(interval: Duration) {
    sleep_until(beat_after(*FIRST, Instant::now(), interval)).await;
}

/// Sleeps until the next beat of an interval, for work that only requests and events make
/// necessary. Without any for a minute, the beat is that of a minute, until one comes.
pub async fn next_beat_of_traffic(interval: Duration) {
    let stirred = STIRRED.notified();
    if is_quiet(
        LAST_STIR.load(Ordering::Relaxed),
        since_first(Instant::now()),
    ) {
        tokio::select! {
            () = stirred => {}
            () = next_beat(QUIET) => return,
        }
    }
    next_beat(interval).await;
}

/// Notes a request or an event of `now`.
pub fn stir(now: Instant) {
    let now = since_first(now);
    let before = LAST_STIR.swap(now, Ordering::Relaxed);
    if is_quiet(before, now) {
        STIRRED.notify_waiters();
    }
}

/// True if nothing has happened for a minute. Times are in milliseconds, and 0 stands for never.
fn is_quiet(last: u64, now: u64) -> bool {
    last == 0 || now.saturating_sub(last) >= millis(QUIET)
}

/// Returns a time as milliseconds, at least 1, from the first beat on.
fn since_first(time: Instant) -> u64 {
    millis(time.saturating_duration_since(*FIRST)).max(1)
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
/// The time of the last request or event; 0 before the first.
static LAST_STIR: AtomicU64 = AtomicU64::new(0);
/// Wakes the work of traffic at the first request or event after a quiet time.
static STIRRED: Notify = Notify::const_new();
/// The time without requests and events after which their work is done once a minute only. Log
/// lines sum up minutes, and an idle connection may stay open that much longer.
const QUIET: Duration = Duration::from_secs(60);
/// The shortest interval: timers count in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_quiet_before_the_first_request_and_a_minute_after_the_last() {
        for (last, now, expected) in [
            (0, 1, true),
            (1, 1, false),
            (5_000, 64_999, false),
            (5_000, 65_000, true),
            // Requests of other threads may be a moment ahead.
            (5_001, 5_000, false),
        ] {
            assert_eq!(is_quiet(last, now), expected, "{last} {now}");
        }
    }

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
