//! Leaps of the wall clock between two runs: a leap ages no event, because a wrong clock and a long stop look alike.

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

impl ClockLeaps {
    /// Takes the time of a start, and the last time of the run before: a step of more than `most` is a leap. A leap beyond
    /// the present time was a wrong clock's, and is forgotten.
    pub(super) fn start(&mut self, last_ms: u64, now_ms: u64, most: Duration) {
        self.0.retain(|leap| leap.to_ms <= now_ms);
        if now_ms.saturating_sub(last_ms) > millis(most) {
            self.0.push(ClockLeap {
                from_ms: last_ms,
                to_ms: now_ms,
            });
        }
        let old = self.0.len().saturating_sub(MAX_LEAPS);
        self.0.drain(..old);
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

/// The bound on leaps in the store.
const MAX_LEAPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const WEEK: Duration = Duration::from_millis(7 * DAY);

    fn started(starts: &[(u64, u64)]) -> ClockLeaps {
        let mut leaps = ClockLeaps::default();
        for (last, now) in starts {
            leaps.start(last * DAY, now * DAY, WEEK);
        }
        assert_eq!(ClockLeaps::decode(&leaps.encode()), leaps);
        leaps
    }

    #[test]
    fn a_leap_of_the_clock_ages_nothing() {
        for (starts, now, before) in [
            // Stops within `max_age` count.
            (&[][..], 100, 93),
            (&[(90, 97)], 100, 93),
            (&[(95, 90)], 100, 93),
            // A leap is left out, whether a year or eight days.
            (&[(100, 500)], 500, 93),
            (&[(100, 500)], 502, 95),
            (&[(100, 500)], 507, 500),
            (&[(100, 500)], 510, 503),
            (&[(92, 100)], 103, 88),
            (&[(100, 500), (501, 900)], 902, 96),
            // A clock that is set right has made no leap.
            (&[(100, 500), (500, 101)], 101, 94),
        ] {
            let leaps = started(starts);
            assert_eq!(
                leaps.before(now * DAY, WEEK),
                before * DAY,
                "{starts:?} {now}"
            );
        }
    }
}
