//! The spread of durations: counts in steps of a quarter of an octave, so that a quantile is right
//! to a tenth.

use std::time::Duration;

/// Counts of durations. Grows with the longest duration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread {
    counts: Vec<u32>,
}

/// A step of a spread, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step(u8);

impl Spread {
    pub(super) fn add(&mut self, duration: Duration) {
        let place = usize::from(Step::of(duration).0);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    /// Forgets all durations, and keeps the room.
    pub(super) fn clear(&mut self) {
        self.counts.clear();
    }

    /// Returns the bytes of the counts.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.counts.capacity() * size_of::<u32>()
    }

    /// Returns the step below which `percent` of the durations are; `None` without a duration.
    pub(super) fn quantile(&self, percent: u64) -> Option<Step> {
        let all: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all * percent).div_ceil(100).max(1);
        let mut below = 0;
        let place = self.counts.iter().position(|count| {
            below += u64::from(*count);
            below >= wanted
        })?;
        u8::try_from(place).ok().map(Step)
    }
}

impl Step {
    fn of(duration: Duration) -> Self {
        let units = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX) / UNIT;
        if units == 0 {
            return Self(0);
        }
        let octave = units.ilog2();
        // The two bits behind the first one.
        let quarter = match octave {
            0 => 0,
            1 => (units & 1) << 1,
            _ => (units >> (octave - 2)) & 3,
        };
        let step = u64::from(octave) * 4 + quarter + 1;
        Self(u8::try_from(step).unwrap_or(LAST).min(LAST))
    }

    /// Returns the duration in the middle of the step.
    pub(super) fn duration(self) -> Duration {
        let Some(step) = self.0.checked_sub(1) else {
            return Duration::ZERO;
        };
        let octave = 1_u64 << (step / 4);
        let eighths = 8 + 2 * u64::from(step % 4) + 1;
        Duration::from_micros(UNIT * octave * eighths / 8)
    }
}

/// The microseconds of the shortest step: what is faster counts as nothing.
const UNIT: u64 = 100;
/// The last step, which begins at nearly two minutes: no request takes longer.
const LAST: u8 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_to_an_eighth() {
        for millis in [1, 3, 7, 20, 99, 100, 640, 5000, 31_000, 100_000] {
            let duration = Duration::from_millis(millis);
            let found = Step::of(duration).duration();
            let error = found.abs_diff(duration);
            assert!(error <= duration / 8, "{duration:?}: {found:?}");
        }
        assert_eq!(Step::of(Duration::ZERO).duration(), Duration::ZERO);
        assert_eq!(Step::of(Duration::MAX), Step(LAST));
    }

    #[test]
    fn steps_grow_with_the_duration() {
        let steps: Vec<_> = (0..20_000)
            .map(|tenths| Step::of(Duration::from_micros(tenths * 100)))
            .collect();
        assert!(steps.is_sorted());
    }

    #[test]
    fn quantiles_divide_the_durations() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantile(50), None);
        for millis in 1..=100 {
            spread.add(Duration::from_millis(millis));
        }
        for (percent, millis) in [(1, 1), (50, 50), (99, 99), (100, 100)] {
            let step = Step::of(Duration::from_millis(millis));
            assert_eq!(spread.quantile(percent), Some(step), "{percent} %");
        }
    }
}
