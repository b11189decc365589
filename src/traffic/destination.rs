//! The health of a destination of events, from its deliveries.

use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Burst;
use super::failure::Failure;
use super::problem::{TrafficProblem, streak_problem};
use super::track::{Streak, Track, TrackReport};

/// The deliveries to one destination, kept over reloads. Nothing is stored before the first
/// delivery.
#[derive(Debug, Default)]
pub struct DestinationTraffic(Mutex<Option<Box<Track>>>);

impl DestinationTraffic {
    /// Notes that the destination took an event. Returns the ended failures, if the log has told of
    /// one.
    pub fn succeeded(&self, now: Instant) -> Option<Streak> {
        self.note(now, |track| track.succeeded(now))
    }

    /// Notes that the destination did not take an event. Returns what to log now, if anything.
    pub fn failed(&self, failure: &Failure, now: Instant) -> Option<Burst> {
        self.note(now, |track| track.failed(failure, now))
    }

    /// Returns the deliveries as they are at a moment; `None` before the first.
    #[must_use]
    pub fn report(&self, now: Instant) -> Option<TrackReport> {
        self.0.lock().as_ref().map(|track| track.report(now))
    }

    /// Returns what is wrong at a moment, given as the same time by two clocks.
    #[must_use]
    pub fn problem(&self, now: Instant, clock: SystemTime) -> Option<TrafficProblem> {
        streak_problem("event", &self.report(now)?, now, clock)
    }

    fn note<T>(&self, now: Instant, note: impl FnOnce(&mut Track) -> T) -> T {
        let mut track = self.0.lock();
        note(track.get_or_insert_with(|| Box::new(Track::new(now))))
    }
}
