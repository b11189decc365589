//! The time of day at an upstream.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use tokio::time::Instant;

/// What time it is at an upstream: what it last said, and how long ago that was by a clock that nobody sets. What is
/// judged by it, such as how old a proof may be, must not hang on the time of this machine, which may be off or be set
/// meanwhile.
#[derive(Debug, Default)]
pub(super) struct Clock {
    said: Mutex<Option<(SystemTime, Instant)>>,
}

impl Clock {
    /// Takes note of the `Date` of an answer that came now; true where what was known before was wrong, as it is where
    /// this machine's time is, or after it was suspended.
    pub(super) fn learn(&self, headers: &HeaderMap) -> bool {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(time) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return false };
        let believed = self.now();
        *self.said() = Some((time, Instant::now()));
        let error = time.duration_since(believed).unwrap_or_else(|error| error.duration());
        error > TOLERANCE
    }

    /// The time there; this machine's, where it is not known.
    pub(super) fn now(&self) -> SystemTime {
        match *self.said() {
            Some((time, at)) => time + at.elapsed(),
            None => SystemTime::now(),
        }
    }

    fn said(&self) -> MutexGuard<'_, Option<(SystemTime, Instant)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than an answer takes, and less than Meta's five minutes for a proof.
const TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tells_the_time_of_the_upstream_and_goes_on_from_there() {
        let clock = Clock::default();
        assert!(clock.now() > UNIX_EPOCH + Duration::from_secs(1_700_000_000), "that of this machine");
        assert!(!clock.learn(&HeaderMap::new()));
        let headers = HeaderMap::from_iter([(header::DATE, "Sun, 09 Sep 2001 01:46:40 GMT".parse().unwrap())]);
        assert!(clock.learn(&headers));
        assert!(!clock.learn(&headers), "as it was known");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), UNIX_EPOCH + Duration::from_secs(1_000_000_060));
    }
}
