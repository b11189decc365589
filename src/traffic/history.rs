//! The last hour of a route, a webhook or the whole sidecar, minute by minute, for small plots.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::spread::{Spread, Step};

/// The last hour. Nothing is stored before the first request, and each minute with requests needs
/// 24 bytes: with the counts of the minute under way at most 3 KiB.
#[derive(Debug, Default)]
pub struct History(Mutex<Option<Box<RecentMinutes>>>);

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side took it.
    Passed,
    /// The other side did not take it, or could not be reached.
    Failed,
    /// Keyside refused it: over a limit, or forged.
    Refused,
}

/// One minute for a plot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Requests that passed.
    pub passed: u32,
    /// Requests that failed.
    pub failed: u32,
    /// Requests that Keyside refused.
    pub refused: u32,
    /// The duration of one half of the requests.
    pub median: Option<Duration>,
    /// The duration of all requests but the slowest hundredth.
    pub slowest: Option<Duration>,
    /// The wait in queues of all requests but the hundredth that waited longest.
    pub wait: Option<Duration>,
    /// The largest part of a limit that was used, in percent.
    pub used: Option<u8>,
}

#[derive(Debug)]
struct RecentMinutes {
    /// The minutes before, the oldest first, without those that had no request.
    closed: VecDeque<PastMinute>,
    number: u32,
    open: Minute,
    durations: Spread,
    waits: Spread,
}

/// A minute that is over, small.
#[derive(Clone, Copy, Debug)]
struct PastMinute {
    number: u32,
    passed: u32,
    failed: u32,
    refused: u32,
    median: Option<Step>,
    slowest: Option<Step>,
    wait: Option<Step>,
    used: Option<u8>,
}

impl History {
    /// Notes a request with its duration.
    pub fn note(&self, outcome: Outcome, took: Duration, now: Instant) {
        self.change(now, |recent| {
            let count = match outcome {
                Outcome::Passed => &mut recent.open.passed,
                Outcome::Failed => &mut recent.open.failed,
                Outcome::Refused => &mut recent.open.refused,
            };
            *count = count.saturating_add(1);
            if outcome != Outcome::Refused {
                recent.durations.add(took);
            }
        });
    }

    /// Notes the wait of a request at limits, and the part of a limit that is used, in percent.
    pub fn waited(&self, wait: Duration, used: Option<u8>, now: Instant) {
        self.change(now, |recent| {
            recent.waits.add(wait);
            recent.open.used = recent.open.used.max(used);
        });
    }

    fn change(&self, now: Instant, change: impl FnOnce(&mut RecentMinutes)) {
        let number = number(now);
        let mut state = self.0.lock();
        let recent = state.get_or_insert_with(|| Box::new(RecentMinutes::new(number)));
        recent.go_on(number);
        change(recent);
    }

    /// Returns the minutes of the last hour, the oldest first and the one under way last; none
    /// without a request. What is older than an hour is forgotten.
    #[must_use]
    pub fn report(&self, now: Instant) -> Vec<Minute> {
        let number = number(now);
        let mut state = self.0.lock();
        let Some(recent) = state.as_mut() else {
            return Vec::new();
        };
        recent.go_on(number);
        if recent.is_empty() {
            *state = None;
            return Vec::new();
        }
        recent.minutes()
    }
}

impl RecentMinutes {
    fn new(number: u32) -> Self {
        Self {
            closed: VecDeque::new(),
            number,
            open: Minute::default(),
            durations: Spread::default(),
            waits: Spread::default(),
        }
    }

    /// Closes the minute under way, if it is over, and forgets what is older than an hour.
    fn go_on(&mut self, number: u32) {
        if number <= self.number {
            return;
        }
        let closed = self.closing();
        if !closed.is_empty() {
            self.closed.push_back(closed);
        }
        let first = number.saturating_sub(MINUTES - 1);
        while self
            .closed
            .front()
            .is_some_and(|minute| minute.number < first)
        {
            self.closed.pop_front();
        }
        self.number = number;
        self.open = Minute::default();
        self.durations.clear();
        self.waits.clear();
    }

    /// Returns the minute under way as if it were over.
    fn closing(&self) -> PastMinute {
        PastMinute {
            number: self.number,
            passed: self.open.passed,
            failed: self.open.failed,
            refused: self.open.refused,
            median: self.durations.quantile(50),
            slowest: self.durations.quantile(99),
            wait: self.waits.quantile(99),
            used: self.open.used,
        }
    }

    fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.closing().is_empty()
    }

    fn minutes(&self) -> Vec<Minute> {
        let mut minutes = vec![Minute::default(); MINUTES as usize];
        let open = self.closing();
        for closed in self.closed.iter().chain([&open]) {
            let age = self.number - closed.number;
            let place = usize::try_from(MINUTES - 1 - age).unwrap_or_default();
            if let Some(minute) = minutes.get_mut(place) {
                *minute = closed.minute();
            }
        }
        minutes
    }
}

impl PastMinute {
    fn is_empty(&self) -> bool {
        self.passed == 0 && self.failed == 0 && self.refused == 0 && self.wait.is_none()
    }

    fn minute(&self) -> Minute {
        Minute {
            passed: self.passed,
            failed: self.failed,
            refused: self.refused,
            median: self.median.map(Step::duration),
            slowest: self.slowest.map(Step::duration),
            wait: self.wait.map(Step::duration),
            used: self.used,
        }
    }
}

/// Returns the number of the minute since the start of the process: the same for every history, so
/// that plots add up.
fn number(now: Instant) -> u32 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let minutes = now.saturating_duration_since(*ORIGIN).as_secs() / 60;
    u32::try_from(minutes).unwrap_or(u32::MAX)
}

/// The minutes of a plot: the last hour.
pub const MINUTES: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The beginning of a minute of the histories.
    fn start() -> Instant {
        number(Instant::now());
        Instant::now() + MINUTE * 100
    }

    #[test]
    fn a_history_without_a_request_is_empty() {
        let history = History::default();
        assert_eq!(history.report(start()), []);
        assert_eq!(size_of::<History>(), 16);
    }

    #[test]
    fn minutes_stand_at_their_places_and_leave_after_an_hour() {
        let history = History::default();
        let start = start();
        let took = Duration::from_millis(100);
        history.note(Outcome::Passed, took, start);
        history.note(Outcome::Failed, took * 10, start);
        history.note(Outcome::Refused, Duration::ZERO, start + MINUTE);
        history.waited(took, Some(40), start + MINUTE);
        history.waited(Duration::ZERO, Some(90), start + MINUTE);
        for (later, places) in [(1, [58, 59]), (10, [49, 50]), (59, [0, 1])] {
            let minutes = history.report(start + MINUTE * later);
            assert_eq!(minutes.len(), 60);
            let filled: Vec<_> = (0..60)
                .filter(|place| minutes[*place] != Minute::default())
                .collect();
            assert_eq!(filled, places, "{later} minutes later");
            let [first, second] = places.map(|place| minutes[place]);
            assert_eq!((first.passed, first.failed, first.refused), (1, 1, 0));
            assert!(first.median < first.slowest, "{first:?}");
            assert_eq!((second.passed, second.refused), (0, 1));
            assert_eq!((second.used, second.median), (Some(90), None));
            assert!(second.wait > Some(took / 2), "{second:?}");
        }
        assert_eq!(history.report(start + MINUTE * 61), []);
        assert!(history.0.lock().is_none());
    }

    #[test]
    fn a_busy_hour_needs_less_than_three_kibibytes() {
        let history = History::default();
        let start = start();
        for second in 0..3700 {
            let now = start + Duration::from_secs(second);
            history.note(Outcome::Passed, Duration::from_secs(100), now);
            history.waited(Duration::from_secs(100), Some(1), now);
        }
        let state = history.0.lock();
        let recent = state.as_ref().unwrap();
        assert!(recent.closed.len() < MINUTES as usize);
        let closed = recent.closed.capacity() * size_of::<PastMinute>();
        let counts = recent.durations.size() + recent.waits.size();
        let all = closed + counts + size_of::<RecentMinutes>();
        assert!(all < 3072, "{all} bytes");
    }
}
