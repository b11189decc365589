//! The retry schedule: the meaning of an attempt's outcome for the event and for the destination.

use std::fmt;
use std::time::Duration;

use super::answer::StreamAnswer;

/// The outcome of an attempt to deliver an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The destination answered.
    Answered {
        /// The status of the answer.
        status: u16,
        /// The time that the answer asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection came about, or the connection ended before the request was written.
    Unreachable,
    /// The connection ended after the request was written, before the answer.
    Interrupted,
    /// No answer came in time.
    TimedOut,
    /// The message server behind a stream answered.
    Published(StreamAnswer),
}

impl AttemptOutcome {
    /// Returns one word for the outcome, from a closed set.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Answered { status, .. } if (200..300).contains(&status) => "delivered",
            Self::Answered { .. } => "refused",
            Self::Unreachable => "unreachable",
            Self::Interrupted => "interrupted",
            Self::TimedOut => "timeout",
            Self::Published(StreamAnswer::Taken) => "delivered",
            Self::Published(StreamAnswer::Full) => "stream_full",
            Self::Published(StreamAnswer::TooLarge) => "too_large",
            Self::Published(StreamAnswer::Missing) => "stream_missing",
            Self::Published(StreamAnswer::Denied | StreamAnswer::NoDatabase) => "denied",
            Self::Published(StreamAnswer::WrongKind) => "wrong_kind",
            Self::Published(StreamAnswer::Unready) => "unready",
            Self::Published(StreamAnswer::Failed) => "failed",
            Self::Published(StreamAnswer::NoServer) => "no_server",
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, .. } => write!(f, "status {status}"),
            Self::Unreachable => f.write_str("no connection"),
            Self::Interrupted => f.write_str("connection closed"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Published(answer) => answer.fmt(f),
        }
    }
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// The outcome.
    pub outcome: AttemptOutcome,
    /// The reason with the remedy, for people: of a failure, the address as well.
    pub reason: String,
}

impl From<AttemptOutcome> for AttemptEnd {
    fn from(outcome: AttemptOutcome) -> Self {
        Self {
            outcome,
            reason: outcome.to_string(),
        }
    }
}

/// The history of an event at one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// The number of attempts that count.
    pub counted: u32,
    /// The number of answers that refuse the event itself.
    pub refusals: u32,
    /// The number of connections that ended while the destination had the event.
    pub interruptions: u32,
}

/// The judgement of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// The destination has the event.
    Done,
    /// The event is tried again after a time; the lane waits, other lanes do not.
    Again {
        /// The time until the next attempt.
        after: Duration,
        /// The history with this attempt.
        attempts: Attempts,
    },
    /// The event is a dead letter, and the lane goes on.
    Dead,
    /// The destination is down: the event waits for a probe, and no attempt is counted.
    Down {
        /// The history with this attempt.
        attempts: Attempts,
    },
    /// The destination refuses every event until a person mends the cause: only probes go out.
    Paused,
}

/// Judges the outcome of an attempt. `random` is at least 0 and below 1.
pub(super) fn judge(outcome: AttemptOutcome, before: Attempts, random: f64) -> AttemptVerdict {
    let attempts = Attempts {
        counted: before.counted.saturating_add(1),
        ..before
    };
    match outcome {
        AttemptOutcome::Unreachable => AttemptVerdict::Down { attempts: before },
        AttemptOutcome::Interrupted => {
            let interruptions = before.interruptions.saturating_add(1);
            // An event with which each connection ends may crash the application: the event goes by
            // the schedule, and other lanes go on.
            if interruptions < MAX_INTERRUPTIONS {
                let attempts = Attempts {
                    interruptions,
                    ..before
                };
                return AttemptVerdict::Down { attempts };
            }
            AttemptVerdict::Again {
                after: backoff(attempts.counted, random),
                attempts: Attempts {
                    interruptions,
                    ..attempts
                },
            }
        }
        AttemptOutcome::TimedOut => AttemptVerdict::Again {
            after: backoff(attempts.counted, random),
            attempts,
        },
        AttemptOutcome::Answered {
            status,
            retry_after,
        } => judge_answer(status, retry_after, attempts, random),
        AttemptOutcome::Published(answer) => match answer {
            StreamAnswer::Taken => AttemptVerdict::Done,
            // The server refuses every event: probes tell the end.
            StreamAnswer::Full | StreamAnswer::Unready | StreamAnswer::NoServer => {
                AttemptVerdict::Down { attempts: before }
            }
            // The size of an event never changes: a second attempt would meet the bound as well.
            StreamAnswer::TooLarge => AttemptVerdict::Dead,
            StreamAnswer::Missing
            | StreamAnswer::Denied
            | StreamAnswer::NoDatabase
            | StreamAnswer::WrongKind => AttemptVerdict::Paused,
            StreamAnswer::Failed => AttemptVerdict::Again {
                after: backoff(attempts.counted, random),
                attempts,
            },
        },
    }
}

fn judge_answer(
    status: u16,
    retry_after: Option<Duration>,
    attempts: Attempts,
    random: f64,
) -> AttemptVerdict {
    let after = backoff(attempts.counted, random);
    match status {
        200..=299 => AttemptVerdict::Done,
        429 | 503 => AttemptVerdict::Again {
            after: retry_after.map_or(after, |asked| asked.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)),
            attempts,
        },
        // The address or the secret of the destination is wrong: every event would get this answer.
        300..=399 | 401 | 403 | 404 | 405 | 407 | 410 | 421 => AttemptVerdict::Paused,
        408 | 425 | 500..=599 => AttemptVerdict::Again { after, attempts },
        _ => {
            let refusals = attempts.refusals.saturating_add(1);
            if refusals >= MAX_REFUSALS {
                return AttemptVerdict::Dead;
            }
            let attempts = Attempts {
                refusals,
                ..attempts
            };
            AttemptVerdict::Again { after, attempts }
        }
    }
}

/// Returns the time until the next attempt, with full jitter: many events that failed together do
/// not come back together.
fn backoff(counted: u32, random: f64) -> Duration {
    let step = usize::try_from(counted.saturating_sub(1)).unwrap_or(usize::MAX);
    let longest = STEPS.get(step).copied().unwrap_or(HOURLY);
    longest.mul_f64(random.clamp(0.0, 1.0)).max(MIN_WAIT)
}

/// Returns the time until the next probe of a destination that is down, with jitter of a quarter.
pub(super) fn probe_after(failed_probes: u32, random: f64) -> Duration {
    let doubled = MIN_WAIT.saturating_mul(1 << failed_probes.min(10));
    doubled
        .min(MAX_PROBE)
        .mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0)
        .max(MIN_WAIT)
}

/// Returns the time until an attempt that was put off before a restart. The wall clock may have
/// jumped either way meanwhile: the wait is never longer than it was, and never below zero.
pub(super) fn due_in(due_ms: u64, waited: Duration, now_ms: u64) -> Duration {
    Duration::from_millis(due_ms.saturating_sub(now_ms)).min(waited)
}

/// The longest waits before the second attempt, the third, ... .
const STEPS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
];
/// The longest wait after the steps: a destination that was down for days gets each event within an
/// hour.
const HOURLY: Duration = Duration::from_secs(60 * 60);
/// The shortest wait: a wait of nothing would be a busy loop.
const MIN_WAIT: Duration = Duration::from_millis(50);
/// The longest time between two probes: the events go on as soon as people see the destination
/// again.
const MAX_PROBE: Duration = Duration::from_secs(2);
/// The shortest `Retry-After`: each attempt is noted on disk, and a zero would be a busy loop of
/// writes.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that counts. A longer one would keep a lane past an operator's
/// patience.
const MAX_RETRY_AFTER: Duration = HOURLY;
/// The number of refusals that make a dead letter: an application that is half started may refuse a
/// good event once or twice.
const MAX_REFUSALS: u32 = 3;
/// The number of interrupted attempts from which the event itself is suspected: chance seldom meets
/// one event twice.
const MAX_INTERRUPTIONS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> AttemptOutcome {
        AttemptOutcome::Answered {
            status,
            retry_after: None,
        }
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let again = |seconds| AttemptVerdict::Again {
            after: Duration::from_secs(seconds),
            attempts: Attempts {
                counted: 1,
                ..Attempts::default()
            },
        };
        let refused = AttemptVerdict::Again {
            after: Duration::from_secs(1),
            attempts: Attempts {
                counted: 1,
                refusals: 1,
                ..Attempts::default()
            },
        };
        let down = |interruptions| AttemptVerdict::Down {
            attempts: Attempts {
                interruptions,
                ..Attempts::default()
            },
        };
        let asked = |status, seconds| AttemptOutcome::Answered {
            status,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let table = [
            (answered(200), AttemptVerdict::Done),
            (answered(204), AttemptVerdict::Done),
            (answered(302), AttemptVerdict::Paused),
            (answered(400), refused),
            (answered(413), refused),
            (answered(422), refused),
            (answered(401), AttemptVerdict::Paused),
            (answered(403), AttemptVerdict::Paused),
            (answered(404), AttemptVerdict::Paused),
            (answered(408), again(1)),
            (answered(500), again(1)),
            (answered(503), again(1)),
            (asked(503, 7), again(7)),
            (asked(429, 9), again(9)),
            (asked(500, 9), again(1)),
            (asked(429, 999_999), again(3600)),
            (asked(429, 0), again(1)),
            (asked(503, 0), again(1)),
            (AttemptOutcome::TimedOut, again(1)),
            (AttemptOutcome::Unreachable, down(0)),
            (AttemptOutcome::Interrupted, down(1)),
        ];
        for (outcome, verdict) in table {
            assert_eq!(
                judge(outcome, Attempts::default(), 1.0),
                verdict,
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn each_answer_of_a_message_server_has_its_meaning() {
        let down = AttemptVerdict::Down {
            attempts: Attempts::default(),
        };
        let again = AttemptVerdict::Again {
            after: Duration::from_secs(1),
            attempts: Attempts {
                counted: 1,
                ..Attempts::default()
            },
        };
        for (answer, verdict) in [
            (StreamAnswer::Taken, AttemptVerdict::Done),
            (StreamAnswer::Full, down),
            (StreamAnswer::Unready, down),
            (StreamAnswer::NoServer, down),
            (StreamAnswer::TooLarge, AttemptVerdict::Dead),
            (StreamAnswer::Missing, AttemptVerdict::Paused),
            (StreamAnswer::Denied, AttemptVerdict::Paused),
            (StreamAnswer::NoDatabase, AttemptVerdict::Paused),
            (StreamAnswer::WrongKind, AttemptVerdict::Paused),
            (StreamAnswer::Failed, again),
        ] {
            let judged = judge(AttemptOutcome::Published(answer), Attempts::default(), 1.0);
            assert_eq!(judged, verdict, "{answer:?}");
        }
    }

    #[test]
    fn an_event_refused_three_times_is_dead() {
        let mut attempts = Attempts::default();
        for _ in 0..2 {
            let AttemptVerdict::Again { attempts: next, .. } = judge(answered(400), attempts, 0.5)
            else {
                panic!("again");
            };
            // A failure of another kind between two refusals does not start the count anew.
            let AttemptVerdict::Again { attempts: next, .. } = judge(answered(500), next, 0.5)
            else {
                panic!("again");
            };
            attempts = next;
        }
        assert_eq!(judge(answered(422), attempts, 0.5), AttemptVerdict::Dead);
    }

    #[test]
    fn waits_grow_to_an_hour_with_full_jitter() {
        let waits = [1, 5, 30, 120, 600, 3600, 3600].map(Duration::from_secs);
        for (counted, wait) in (1..).zip(waits) {
            assert_eq!(backoff(counted, 1.0), wait);
            assert_eq!(backoff(counted, 0.5), wait / 2);
            assert_eq!(backoff(counted, 0.0), MIN_WAIT);
        }
        assert_eq!(backoff(u32::MAX, 1.0), HOURLY);
    }

    #[test]
    fn an_event_that_ends_the_connection_again_and_again_leaves_the_probe_to_others() {
        let attempts = Attempts {
            interruptions: 2,
            ..Attempts::default()
        };
        assert!(matches!(
            judge(AttemptOutcome::Interrupted, attempts, 0.5),
            AttemptVerdict::Again {
                attempts: Attempts {
                    counted: 1,
                    interruptions: 3,
                    ..
                },
                ..
            }
        ));
    }

    #[test]
    fn probes_go_from_50_ms_to_2_s() {
        assert_eq!(probe_after(0, 0.0), Duration::from_millis(50));
        assert_eq!(probe_after(1, 0.0), Duration::from_millis(100));
        assert_eq!(probe_after(60, 0.0), Duration::from_secs(2));
        assert_eq!(probe_after(60, 1.0), Duration::from_millis(1500));
    }

    #[test]
    fn a_clock_that_jumped_neither_hastens_nor_stretches_a_wait() {
        let waited = Duration::from_secs(30);
        let table = [
            (100_000, Duration::ZERO),
            (80_000, Duration::from_secs(20)),
            (0, waited),
            (999_999_999, Duration::ZERO),
        ];
        for (now_ms, expected) in table {
            assert_eq!(due_in(100_000, waited, now_ms), expected, "{now_ms}");
        }
    }
}
