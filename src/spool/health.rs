//! The health of a destination, as the outcomes of attempts tell it.

use std::time::Duration;

use tokio::time::Instant;

use super::schedule::{AttemptEnd, AttemptOutcome, AttemptVerdict, probe_after};

/// The health of a destination.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    trouble: Option<Trouble>,
    /// The lanes that failed since the last event that the destination took or refused for good.
    failures: u32,
}

/// A destination that gets probes alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kind of the trouble.
    pub kind: TroubleKind,
    /// The outcome of the last probe.
    pub outcome: AttemptOutcome,
    /// The reason of the last probe's failure, with the remedy.
    pub reason: String,
    /// The beginning of the trouble.
    pub since: Instant,
    /// The number of probes that failed.
    pub probes: u32,
    next_probe: Instant,
}

/// The kind of a destination's trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// No connection comes about.
    Down,
    /// Event after event fails, whatever its lane.
    Failing,
    /// The destination refuses every event: the address or the secret is wrong.
    Paused,
}

/// The number of events that may go out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// As much as the lanes allow.
    Open,
    /// A single event, as a probe.
    Probe,
    /// Closed: no event goes out before this time.
    Shut(Instant),
}

/// A change that an operator is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// The health is as before.
    None,
    /// A trouble began, or changed to a different kind.
    Began(TroubleKind),
    /// The destination accepts events again.
    Ended(TroubleKind),
}

impl Health {
    /// Returns how much may go out at a time.
    pub(super) fn gate(&self, now: Instant) -> Gate {
        match &self.trouble {
            None => Gate::Open,
            Some(trouble) if trouble.next_probe <= now => Gate::Probe,
            Some(trouble) => Gate::Shut(trouble.next_probe),
        }
    }

    /// Returns the trouble, if there is one.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.clone()
    }

    /// A probe has gone out: the next probe waits for the outcome, or as long as an outcome can
    /// take.
    pub(super) fn probing(&mut self, now: Instant) {
        if let Some(trouble) = &mut self.trouble {
            trouble.next_probe = now + PROBE_LOST;
        }
    }

    /// The event of a probe has not gone out: the next probe need not wait for its outcome.
    pub(super) fn probe_unused(&mut self, now: Instant) {
        if let Some(trouble) = &mut self.trouble {
            trouble.next_probe = now;
        }
    }

    /// Takes note of the outcome of an attempt. The outcomes of attempts that were under way when
    /// the trouble began can only end the trouble.
    pub(super) fn note(
        &mut self,
        end: &AttemptEnd,
        verdict: AttemptVerdict,
        probe: Probe,
        now: Instant,
        random: f64,
    ) -> HealthChange {
        let outcome = end.outcome;
        let kind = match verdict {
            AttemptVerdict::Done | AttemptVerdict::Dead => return self.recover(),
            // The destination looked at the event and refused the event: the destination works.
            AttemptVerdict::Again { .. } if is_refusal(outcome) => return self.recover(),
            AttemptVerdict::Again { .. } => {
                self.failures = self.failures.saturating_add(1);
                if self.failures < MAX_FAILURES && self.trouble.is_none() {
                    return HealthChange::None;
                }
                TroubleKind::Failing
            }
            AttemptVerdict::Down { .. } => TroubleKind::Down,
            AttemptVerdict::Paused => TroubleKind::Paused,
        };
        let before = self.trouble.as_ref();
        let probes = match (before, probe) {
            (Some(trouble), Probe::No) if trouble.kind == kind => return HealthChange::None,
            (Some(trouble), Probe::Yes) if trouble.kind == kind => trouble.probes.saturating_add(1),
            _ => 0,
        };
        let wait = match kind {
            TroubleKind::Paused => PAUSE,
            TroubleKind::Down | TroubleKind::Failing => probe_after(probes, random),
        };
        let change = match before {
            Some(trouble) if trouble.kind == kind => HealthChange::None,
            _ => HealthChange::Began(kind),
        };
        self.trouble = Some(Trouble {
            kind,
            outcome,
            reason: end.reason.clone(),
            since: before.map_or(now, |trouble| trouble.since),
            probes,
            next_probe: now + wait,
        });
        change
    }

    fn recover(&mut self) -> HealthChange {
        self.failures = 0;
        self.trouble.take().map_or(HealthChange::None, |trouble| {
            HealthChange::Ended(trouble.kind)
        })
    }
}

/// True if an attempt is a probe of a destination in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// The attempt is a probe.
    Yes,
    /// The attempt is like any other.
    No,
}

fn is_refusal(outcome: AttemptOutcome) -> bool {
    matches!(
        outcome,
        AttemptOutcome::Answered {
            status: 400..=499,
            ..
        }
    ) && !matches!(
        outcome,
        AttemptOutcome::Answered {
            status: 408 | 425 | 429,
            ..
        }
    )
}

/// The failures in a row, without an event taken between them, from which the destination is at
/// fault rather than an event.
const MAX_FAILURES: u32 = 8;
/// The time between two probes of a destination that refuses every event: people mend the cause,
/// and half a minute later the events go on.
const PAUSE: Duration = Duration::from_secs(30);
/// The time after which a probe without an outcome is taken as lost.
const PROBE_LOST: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::super::schedule::{Attempts, judge};
    use super::*;

    fn note(
        health: &mut Health,
        outcome: AttemptOutcome,
        probe: Probe,
        now: Instant,
    ) -> HealthChange {
        let verdict = judge(outcome, Attempts::default(), 0.0);
        health.note(&outcome.into(), verdict, probe, now, 0.0)
    }

    fn answered(status: u16) -> AttemptOutcome {
        AttemptOutcome::Answered {
            status,
            retry_after: None,
        }
    }

    #[test]
    fn a_destination_that_refuses_connections_is_probed_ever_more_slowly() {
        let mut health = Health::default();
        let start = Instant::now();
        let change = note(&mut health, AttemptOutcome::Unreachable, Probe::No, start);
        assert_eq!(change, HealthChange::Began(TroubleKind::Down));
        let mut now = start;
        for wait in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let Gate::Shut(next) = health.gate(now) else {
                panic!("open")
            };
            assert_eq!(next - now, Duration::from_millis(wait));
            // An event that was under way when the destination went down is no probe.
            note(&mut health, AttemptOutcome::Unreachable, Probe::No, now);
            now = next;
            assert_eq!(health.gate(now), Gate::Probe);
            health.probing(now);
            assert!(matches!(health.gate(now), Gate::Shut(_)));
            health.probe_unused(now);
            assert_eq!(health.gate(now), Gate::Probe, "its event did not go out");
            health.probing(now);
            note(&mut health, AttemptOutcome::Unreachable, Probe::Yes, now);
        }
        let change = note(&mut health, answered(200), Probe::Yes, now);
        assert_eq!(change, HealthChange::Ended(TroubleKind::Down));
        assert_eq!(health.gate(now), Gate::Open);
    }

    #[test]
    fn single_failures_are_the_events_and_many_are_the_destinations() {
        let mut health = Health::default();
        let now = Instant::now();
        for _ in 0..3 {
            for _ in 1..MAX_FAILURES {
                assert_eq!(
                    note(&mut health, answered(500), Probe::No, now),
                    HealthChange::None
                );
            }
            assert_eq!(
                note(&mut health, answered(400), Probe::No, now),
                HealthChange::None
            );
        }
        for _ in 1..MAX_FAILURES {
            note(&mut health, AttemptOutcome::TimedOut, Probe::No, now);
        }
        let change = note(&mut health, answered(500), Probe::No, now);
        assert_eq!(change, HealthChange::Began(TroubleKind::Failing));
    }

    #[test]
    fn a_wrong_address_pauses_and_ends_with_the_first_success() {
        let mut health = Health::default();
        let now = Instant::now();
        let change = note(&mut health, answered(404), Probe::No, now);
        assert_eq!(change, HealthChange::Began(TroubleKind::Paused));
        assert_eq!(health.gate(now), Gate::Shut(now + PAUSE));
        let change = note(
            &mut health,
            AttemptOutcome::Unreachable,
            Probe::Yes,
            now + PAUSE,
        );
        assert_eq!(change, HealthChange::Began(TroubleKind::Down));
        let change = note(&mut health, answered(200), Probe::No, now + PAUSE);
        assert_eq!(change, HealthChange::Ended(TroubleKind::Down));
    }
}
