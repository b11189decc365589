//! Leaps of the wall clock between two runs: a leap ages no event.
//!
//! Within one run of the machine, the time since its start tells how long a stop was, and the rest
//! of a step of the wall clock is a leap. Across a start of the machine, a wrong clock and a stop
//! look alike, and the whole step is a leap: an event that waits some days longer does no harm, and
//! an event that is given up early does.

use std::time::Duration;

use super::clock::millis;

/// The leaps of the wall clock, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockLeaps(Vec<ClockLeap>);

/// A leap of the wall clock, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ClockLeap {
    /// The last time before the leap.
    from_ms: u64,
    /// The first time after the leap.
    to_ms: u64,
}

/// The step of the wall clock from the last time of a run to the first of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockStep {
    pub(super) last_ms: u64,
    pub(super) now_ms: u64,
    /// The time between the two, if the machine has not started meanwhile.
    pub(super) stopped: Option<Duration>,
}

impl ClockLeaps {
    /// Takes the step of a start. A leap beyond the present time was a wrong clock's, and is
    /// forgotten.
    pub(super) fn start(&mut self, step: ClockStep, max_age: Duration) {
        let ClockStep {
            last_ms, now_ms, ..
        } = step;
        self.0.retain(|leap| leap.to_ms <= now_ms);
        // A stop longer than `max_age` ages nothing either.
        let stopped = step.stopped.filter(|stopped| *stopped <= max_age);
        let leap = ClockLeap {
            from_ms: last_ms.saturating_add(stopped.map_or(0, millis)),
            to_ms: now_ms,
        };
        if leap.length() > SLEW {
            self.0.push(leap);
        }
        if self.0.len() > MAX_LEAPS {
            self.forget_shortest();
        }
    }

    fn forget_shortest(&mut self) {
        let lengths = self.0.iter().map(|leap| leap.length()).enumerate();
        if let Some((shortest, _)) = lengths.min_by_key(|(_, length)| *length) {
            self.0.remove(shortest);
        }
    }

    /// Returns the time of arrival of events with an age of `age`, leaps left out.
    pub(super) fn before(&self, now_ms: u64, age: Duration) -> u64 {
        let mut left = millis(age);
        let mut at_ms = now_ms;
        for leap in self.0.iter().rev() {
            let since = at_ms.saturating_sub(leap.to_ms);
            if since >= left {
                break;
            }
            left -= since;
            at_ms = leap.from_ms;
        }
        at_ms.saturating_sub(left)
    }

    /// Returns the time from a moment to now, leaps left out.
    pub(super) fn age(&self, now_ms: u64, since_ms: u64) -> Duration {
        let leapt = self.0.iter().map(|leap| {
            let end = leap.to_ms.min(now_ms);
            end.saturating_sub(leap.from_ms.max(since_ms))
        });
        let passed = now_ms.saturating_sub(since_ms);
        Duration::from_millis(passed.saturating_sub(leapt.sum()))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let times = self.0.iter().flat_map(|leap| [leap.from_ms, leap.to_ms]);
        times.flat_map(u64::to_le_bytes).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (times, _) = bytes.as_chunks();
        let times: Vec<_> = times.iter().map(|time| u64::from_le_bytes(*time)).collect();
        let (leaps, _) = times.as_chunks();
        let leaps = leaps.iter().map(|[from_ms, to_ms]| ClockLeap {
            from_ms: *from_ms,
            to_ms: *to_ms,
        });
        Self(leaps.collect())
    }
}

impl ClockLeap {
    fn length(self) -> Duration {
        Duration::from_millis(self.to_ms.saturating_sub(self.from_ms))
    }
}

/// The difference of two clocks that is no leap: clocks that keep time are set by seconds, at a
/// leap of a day by as much.
const SLEW: Duration = Duration::from_secs(60);
/// The bound on leaps in the store, 16 bytes each, which every look at an age goes through: a leap
/// at each of 32 starts within the time of an event. Beyond the bound the shortest is forgotten,
/// which ages what is older by the least.
const MAX_LEAPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const WEEK: Duration = Duration::from_millis(7 * DAY);

    fn started(starts: &[(u64, u64, Option<u64>)]) -> ClockLeaps {
        let mut leaps = ClockLeaps::default();
        for (last, now, stopped) in starts {
            let step = ClockStep {
                last_ms: last * DAY,
                now_ms: now * DAY,
                stopped: stopped.map(|days| Duration::from_millis(days * DAY)),
            };
            leaps.start(step, WEEK);
        }
        let stored = ClockLeaps::decode(&leaps.encode());
        assert_eq!(stored, leaps);
        leaps
    }

    #[test]
    fn a_leap_of_the_clock_ages_nothing() {
        for (starts, now, before) in [
            (&[][..], 100, 93),
            (&[(95, 90, None)], 100, 93),
            // A step across a start of the machine is left out, whether a year or a day, and for
            // good.
            (&[(99, 100, None)], 100, 92),
            (&[(90, 97, None)], 100, 86),
            (&[(94, 100, None)], 101, 88),
            (&[(88, 94, None), (94, 100, None)], 100, 81),
            (&[(100, 500, None)], 500, 93),
            (&[(100, 500, None)], 502, 95),
            (&[(100, 500, None)], 507, 500),
            (&[(100, 500, None)], 510, 503),
            (&[(92, 100, None)], 103, 88),
            (&[(100, 500, None), (501, 900, None)], 902, 96),
            // A clock that is set right has made no leap.
            (&[(100, 500, None), (500, 101, None)], 101, 94),
            // Within one run of the machine a wrong clock is told from a stop, however small the
            // step.
            (&[(94, 100, Some(0))], 100, 87),
            (&[(94, 100, Some(0))], 101, 88),
            (&[(94, 100, Some(6))], 101, 94),
            (&[(94, 100, Some(4))], 101, 92),
            (&[(94, 100, Some(0)), (100, 96, Some(2))], 96, 89),
            (&[(90, 100, Some(10))], 101, 84),
        ] {
            let leaps = started(starts);
            assert_eq!(
                leaps.before(now * DAY, WEEK),
                before * DAY,
                "{starts:?} {now}"
            );
            let age = leaps.age(now * DAY, before * DAY);
            assert_eq!(age, WEEK, "{starts:?} {now}");
        }
    }

    #[test]
    fn of_too_many_leaps_the_shortest_are_forgotten() {
        let mut starts = vec![(0, 400, None)];
        for night in 0..100 {
            starts.push((400 + 2 * night, 401 + 2 * night, None));
        }
        let leaps = started(&starts);
        assert_eq!(leaps.0.len(), MAX_LEAPS);
        assert_eq!(leaps.age(600 * DAY, 0), Duration::from_millis(169 * DAY));
    }
}
