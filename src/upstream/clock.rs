//! The clock of an upstream.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The time of day by an upstream's clock: the last `Date` of an answer, and the time since then by
/// a monotonic clock. The upstream judges the age of a proof by the upstream's clock, so the proof
/// must not depend on the clock of this machine, which may be wrong or be set at any time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last_date: Mutex<Option<(SystemTime, Instant)>>,
}

/// A look at an upstream's clock: the time that a request was signed with.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// The time of day.
    pub time: SystemTime,
    at: Instant,
}

impl ClockReading {
    /// True if the clock was wrong by more than a minute at this check, by the `Date` of an answer
    /// that arrived now. The clock may be right by now: other answers correct the clock as well.
    ///
    /// The clock is wrong with a wrong clock of this machine until the first answer, and after this
    /// machine was suspended, because the monotonic clock stops then.
    #[must_use]
    pub fn was_wrong(&self, date: Option<SystemTime>) -> bool {
        let Some(date) = date else {
            return false;
        };
        let believed = self.time + self.at.elapsed();
        let error = date
            .duration_since(believed)
            .unwrap_or_else(|error| error.duration());
        error > TOLERANCE
    }
}

impl Clock {
    /// Sets the clock by the `Date` of an answer that arrived now. Returns the date, or `None` if
    /// there is none.
    pub(super) fn learn(&self, headers: &HeaderMap) -> Option<SystemTime> {
        let written = headers.get(header::DATE)?.to_str().ok()?;
        let date = httpdate::parse_http_date(written).ok()?;
        *self.last_date.lock() = Some((date, Instant::now()));
        Some(date)
    }

    /// The time of day; by this machine's clock until the first answer.
    pub(super) fn read(&self, at: Instant) -> ClockReading {
        let time = match *self.last_date.lock() {
            Some((date, since)) => date + (at - since),
            None => SystemTime::now(),
        };
        ClockReading { time, at }
    }
}

/// Largest difference that counts as right: more than an answer is on the way, and less than the
/// five minutes that Meta allows for the time of a proof.
const TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const BILLION: Duration = Duration::from_secs(1_000_000_000);

    fn answer() -> HeaderMap {
        HeaderMap::from_iter([(
            header::DATE,
            "Sun, 09 Sep 2001 01:46:40 GMT".parse().unwrap(),
        )])
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_starts_at_the_last_date_and_runs_on_without_this_machines_clock() {
        let clock = Clock::default();
        assert!(
            clock.read(Instant::now()).time > UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            "this machine's clock before the first answer"
        );
        assert_eq!(clock.learn(&HeaderMap::new()), None);
        assert_eq!(clock.learn(&answer()), Some(UNIX_EPOCH + BILLION));
        tokio::time::advance(Duration::from_secs(60)).await;
        let minute_later = UNIX_EPOCH + BILLION + Duration::from_secs(60);
        assert_eq!(clock.read(Instant::now()).time, minute_later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_was_signed_with_a_wrong_time_whoever_corrected_the_clock_since() {
        let clock = Clock::default();
        let signed = clock.read(Instant::now());
        let date = clock.learn(&answer());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(signed.was_wrong(date), "another answer was first");
        assert!(!clock.read(Instant::now()).was_wrong(date));
        assert!(!signed.was_wrong(None), "nothing is known");
    }
}
