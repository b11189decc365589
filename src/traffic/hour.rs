//! Counts of the last hour, in steps of five minutes.

use std::time::Duration;

use tokio::time::Instant;

/// Successes and failures of the last hour.
#[derive(Debug)]
pub(super) struct Hour {
    began: Instant,
    steps: [Step; STEPS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    /// The number of the step since the beginning, from 1 on.
    number: u64,
    succeeded: u32,
    failed: u32,
}

impl Hour {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            steps: [Step::default(); STEPS as usize],
        }
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        self.step(now, |step| {
            step.succeeded = step.succeeded.saturating_add(1)
        });
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.step(now, |step| step.failed = step.failed.saturating_add(1));
    }

    fn step(&mut self, now: Instant, count: impl FnOnce(&mut Step)) {
        let number = self.number(now);
        let place = usize::try_from(number % STEPS).unwrap_or_default();
        if let Some(step) = self.steps.get_mut(place) {
            if step.number != number {
                *step = Step {
                    number,
                    ..Step::default()
                };
            }
            count(step);
        }
    }

    /// Returns the successes and the failures.
    pub(super) fn counts(&self, now: Instant) -> (u64, u64) {
        let number = self.number(now);
        let recent = self
            .steps
            .iter()
            .filter(|step| step.number > 0 && step.number + STEPS > number);
        recent.fold((0, 0), |(succeeded, failed), step| {
            let more = u64::from(step.succeeded);
            let worse = u64::from(step.failed);
            (succeeded + more, failed + worse)
        })
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / STEP.as_secs() + 1
    }
}

/// The steps of an hour: the counts of an hour are exact to five minutes, in a few numbers for each
/// route.
const STEPS: u64 = 12;
/// The length of a step: a twelfth of an hour.
const STEP: Duration = Duration::from_secs(300);
