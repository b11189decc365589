//! The rhythm of a webhook's events, by which a silence is told.

use std::time::Duration;

use tokio::time::Instant;

/// The rhythm of one webhook's events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rhythm {
    last: Option<Instant>,
    /// The usual time between two events, as a mean in which the latest gaps weigh most.
    usual: Duration,
    /// The usual time between two bursts, as such a mean.
    between_bursts: Duration,
    /// The last event that counted.
    counted: Option<Instant>,
    /// The events, of which those within a minute count as one: a burst alone is no rhythm.
    count: u32,
}

impl Rhythm {
    /// Takes note of an event.
    pub(super) fn event(&mut self, now: Instant) {
        let since = |then| now.saturating_duration_since(then);
        if self
            .counted
            .is_none_or(|counted| since(counted) >= MIN_SILENCE)
        {
            self.counted = Some(now);
            self.count = self.count.saturating_add(1);
        }
        let Some(gap) = self.last.replace(now).map(since) else {
            return;
        };
        // A silence is an exception, and does not make the next one usual.
        let gap = if self.count > MIN_EVENTS {
            gap.min(self.longest())
        } else {
            gap
        };
        self.usual = mean(self.usual, gap);
        if gap >= MIN_SILENCE {
            self.between_bursts = mean(self.between_bursts, gap);
        }
    }

    /// Returns the time since the last event if it is unusually long.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.last?);
        (self.count >= MIN_EVENTS && since > self.longest()).then_some(since)
    }

    /// The longest time between two events that is no alarm.
    fn longest(&self) -> Duration {
        let of_events = self.usual.saturating_mul(UNUSUAL);
        let of_bursts = self.between_bursts.saturating_mul(UNUSUAL_OF_BURSTS);
        of_events.max(of_bursts).max(MIN_SILENCE)
    }
}

fn mean(before: Duration, gap: Duration) -> Duration {
    before.mul_f64(1.0 - WEIGHT) + gap.mul_f64(WEIGHT)
}

/// The events from which a rhythm is known: with fewer, a mean is chance.
const MIN_EVENTS: u32 = 20;
/// The weight of the latest gap in the mean: some twenty gaps, as many as make a rhythm known.
const WEIGHT: f64 = 0.05;
/// The number of usual gaps without an event that make an alarm: of events that come by chance, a
/// gap of twenty means is one in 500 million.
const UNUSUAL: u32 = 20;
/// The number of usual gaps between bursts without an event that make an alarm: bursts come at
/// regular times, such as those of a daily campaign, so that two bursts missed are no chance.
const UNUSUAL_OF_BURSTS: u32 = 3;
/// The shortest time without an event that makes an alarm: events come in bursts.
const MIN_SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The rhythm after this many events, `gap` apart, and the time of the last one.
    fn after(events: u32, gap: Duration) -> (Rhythm, Instant) {
        let mut rhythm = Rhythm::default();
        let mut now = Instant::now();
        for _ in 0..events {
            now += gap;
            rhythm.event(now);
        }
        (rhythm, now)
    }

    /// Rows of events, the gap between them, and seconds without an event that are usual and
    /// unusual.
    #[test]
    fn nothing_for_twenty_times_the_usual_gap_is_a_silence() {
        for (events, gap, usual, unusual) in [
            (20_000, SECOND / 10, 59, 61),
            (1000, 10 * SECOND, 199, 201),
            (1000, 600 * SECOND, 11_990, 12_010),
        ] {
            let (rhythm, last) = after(events, gap);
            assert_eq!(rhythm.silence(last + usual * SECOND), None, "{gap:?}");
            let silence = rhythm.silence(last + unusual * SECOND);
            assert_eq!(silence, Some(unusual * SECOND), "{gap:?}");
        }
    }

    #[test]
    fn a_rhythm_that_is_not_known_makes_no_alarm() {
        let (rhythm, last) = after(MIN_EVENTS - 1, 60 * SECOND);
        assert_eq!(rhythm.silence(last + 86_400 * SECOND), None);
        assert_eq!(Rhythm::default().silence(last), None);
        let (burst, last) = after(10 * MIN_EVENTS, SECOND / 10);
        assert_eq!(burst.silence(last + 86_400 * SECOND), None, "a burst");
    }

    #[test]
    fn the_time_between_bursts_is_no_silence() {
        let mut rhythm = Rhythm::default();
        let mut now = Instant::now();
        for _ in 0..50 {
            now += 3600 * SECOND;
            for _ in 0..30 {
                now += SECOND / 10;
                rhythm.event(now);
            }
        }
        assert_eq!(rhythm.silence(now + 3600 * SECOND), None);
        assert!(rhythm.silence(now + 4 * 3600 * SECOND).is_some());
    }

    #[test]
    fn a_long_silence_does_not_make_the_next_one_usual() {
        let (mut rhythm, last) = after(1000, 10 * SECOND);
        let back = last + 86_400 * SECOND;
        rhythm.event(back);
        assert_eq!(rhythm.silence(back), None);
        assert!(rhythm.silence(back + 420 * SECOND).is_some());
    }
}
