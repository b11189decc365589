//! The course of the requests of one kind: successes, and failures without a success in between.

use tokio::time::Instant;

use super::failure::Failure;
use super::hour::Hour;
use super::{Burst, SUMMARY_INTERVAL};

/// The course of the requests of one kind.
#[derive(Debug)]
pub(super) struct Track {
    last_success: Option<Instant>,
    streak: Option<Streak>,
    hour: Hour,
    logged: Vec<LoggedFailures>,
    /// The ended failures without a log line: behind the sum in the log, a line tells the end.
    ended: Option<Streak>,
}

/// Failures without a success in between.
#[derive(Clone, Debug)]
pub struct Streak {
    /// The time of the first.
    pub since: Instant,
    /// The time of the last.
    pub last: Instant,
    /// The number.
    pub count: u64,
    /// The last.
    pub failure: Failure,
    /// True once a failure is in the log.
    is_logged: bool,
}

/// The log lines about failures of one kind.
#[derive(Debug)]
struct LoggedFailures {
    failure: Failure,
    at: Instant,
    /// The failures since.
    unlogged: u64,
    /// The part of `unlogged` that is of the streak.
    of_streak: u64,
}

/// The course of the requests of one kind, at a moment.
#[derive(Clone, Debug)]
pub struct TrackReport {
    /// The time of the last success.
    pub last_success: Option<Instant>,
    /// The failures since the last success.
    pub streak: Option<Streak>,
    /// The successes of the last hour.
    pub succeeded: u64,
    /// The failures of the last hour.
    pub failed: u64,
}

impl Track {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last_success: None,
            streak: None,
            hour: Hour::new(now),
            logged: Vec::new(),
            ended: None,
        }
    }

    /// Notes a success. Returns the ended failures, if the log has told of one.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Streak> {
        self.last_success = Some(now);
        self.hour.succeeded(now);
        let ended = self.streak.take()?;
        self.logged_end(ended)
    }

    /// Notes an answer of the provider. Returns the ended failures of the network, if the log has
    /// told of one.
    pub(super) fn reached(&mut self) -> Option<Streak> {
        let ended = self
            .streak
            .take_if(|streak| streak.failure.class.is_of_network())?;
        self.logged_end(ended)
    }

    /// Returns ended failures, if the log has told of a failure. The line about the end counts all
    /// failures, and no later line repeats the count.
    fn logged_end(&mut self, ended: Streak) -> Option<Streak> {
        for logged in &mut self.logged {
            let of_streak = std::mem::take(&mut logged.of_streak);
            if ended.is_logged {
                logged.unlogged -= of_streak;
            }
        }
        if ended.is_logged {
            return Some(ended);
        }
        match &mut self.ended {
            Some(earlier) => {
                earlier.last = ended.last;
                earlier.count += ended.count;
                earlier.failure = ended.failure;
            }
            None => self.ended = Some(ended),
        }
        None
    }

    /// Notes a failure. Returns what to log now: the first of a kind at once, then one line a
    /// minute.
    pub(super) fn failed(&mut self, failure: &Failure, now: Instant) -> Option<Burst> {
        self.hour.failed(now);
        let burst = self.log_line_of(failure, now);
        let streak = self.streak.get_or_insert_with(|| Streak {
            since: now,
            last: now,
            count: 0,
            failure: failure.clone(),
            is_logged: false,
        });
        streak.last = now;
        streak.count += 1;
        streak.failure = failure.clone();
        if burst.is_some() {
            streak.is_logged = true;
            // The end of these failures is a line to come; failures of other kinds may have ended
            // without a line.
            if self.logged.iter().all(|logged| logged.unlogged == 0) {
                self.ended = None;
            }
        }
        burst
    }

    fn log_line_of(&mut self, failure: &Failure, now: Instant) -> Option<Burst> {
        if let Some(logged) = self
            .logged
            .iter_mut()
            .find(|logged| logged.failure.is_like(failure))
        {
            logged.failure = failure.clone();
            logged.unlogged += 1;
            logged.of_streak += 1;
            return logged.burst(now);
        }
        // With many kinds, the one that was told of first makes room.
        if self.logged.len() == MAX_KINDS {
            self.logged.remove(0);
        }
        self.logged.push(LoggedFailures {
            failure: failure.clone(),
            at: now,
            unlogged: 0,
            of_streak: 0,
        });
        Some(Burst {
            failure: failure.clone(),
            count: 1,
        })
    }

    /// Returns the failures to log now, with their end if they have ended.
    pub(super) fn sum_up(&mut self, now: Instant) -> (Vec<Burst>, Option<Streak>) {
        let bursts: Vec<_> = self
            .logged
            .iter_mut()
            .filter_map(|logged| logged.burst(now))
            .collect();
        if bursts.is_empty() {
            return (bursts, None);
        }
        let ended = self.ended.take();
        match &mut self.streak {
            // The end of the present failures tells of the ended failures as well.
            Some(streak) => {
                streak.is_logged = true;
                (bursts, None)
            }
            None => (bursts, ended),
        }
    }

    pub(super) fn report(&self, now: Instant) -> TrackReport {
        let (succeeded, failed) = self.hour.counts(now);
        TrackReport {
            last_success: self.last_success,
            streak: self.streak.clone(),
            succeeded,
            failed,
        }
    }
}

impl LoggedFailures {
    /// Returns the failures since the last line, if the line is a minute old.
    fn burst(&mut self, now: Instant) -> Option<Burst> {
        if self.unlogged == 0 || now.saturating_duration_since(self.at) < SUMMARY_INTERVAL {
            return None;
        }
        self.at = now;
        self.of_streak = 0;
        Some(Burst {
            failure: self.failure.clone(),
            count: std::mem::take(&mut self.unlogged),
        })
    }
}

/// The kinds of failures of a route that the log tells apart: a provider fails in few ways at a
/// time, and unknown codes must not fill the memory.
const MAX_KINDS: usize = 16;
