//! An event on its way to a destination, and the settlement of the outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Spool;
use super::clock;
use super::destination::Destination;
use super::error::SpoolRefusal;
use super::health::{HealthChange, Probe};
use super::ledger::{LedgerPlace, LedgerStep};
use super::query::Listed;
use super::record::Request;
use super::schedule::{AttemptEnd, AttemptVerdict, Attempts, judge};
use super::tables::LaneId;

/// An event on its way to a destination. A delivery that is dropped without an outcome is given
/// back.
#[derive(Debug)]
pub struct Delivery {
    pub(super) to: Arc<Destination>,
    pub(super) place: LedgerPlace,
    pub(super) attempts: Attempts,
    pub(super) ordered_ms: Option<u64>,
    pub(super) probe: Probe,
    /// The event's own data.
    pub event: Listed,
    /// The request to deliver.
    pub request: Request,
    pub(super) is_settled: bool,
}

/// The result of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The judgement of the outcome.
    pub verdict: AttemptVerdict,
    /// The change of the destination's health.
    pub change: HealthChange,
}

impl Spool {
    /// Notes the outcome of an attempt. The lane of the event goes on when the outcome is on disk.
    ///
    /// # Errors
    /// If the spool is closed before the outcome is on disk; the event is then delivered once more
    /// after the next start.
    pub async fn settle(
        &self,
        mut delivery: Delivery,
        end: impl Into<AttemptEnd>,
    ) -> Result<Settled, SpoolRefusal> {
        let end = end.into();
        let outcome = end.outcome;
        let random = random();
        let now = self.store.clock.now();
        let verdict = judge(outcome, delivery.attempts, random);
        let to = Arc::clone(&delivery.to);
        let change = to.note(
            delivery.place.seq,
            &end,
            verdict,
            delivery.probe,
            now.at,
            random,
        );
        let place = delivery.place;
        match verdict {
            AttemptVerdict::Done => self.finish(delivery, LedgerStep::Done).await?,
            AttemptVerdict::Dead => {
                let attempts = delivery.attempts.counted.saturating_add(1);
                let why = format!("refused: {outcome}");
                self.finish(delivery, LedgerStep::Dead { attempts, why })
                    .await?;
            }
            AttemptVerdict::Again { after, attempts } => {
                let due_ms = now.wall_ms.saturating_add(clock::millis(after));
                let step = LedgerStep::PutOff {
                    attempts,
                    due_ms,
                    waited: after,
                };
                let waits = self.step(place, step).await?;
                delivery.is_settled = true;
                if waits {
                    to.put_off(place.seq, attempts, now.at + after);
                } else {
                    // The event was erased meanwhile.
                    self.let_go(&to, place, &[]);
                }
            }
            AttemptVerdict::Down { attempts } => {
                delivery.is_settled = true;
                to.give_back(place.seq, attempts);
            }
            AttemptVerdict::Paused => {
                delivery.is_settled = true;
                to.give_back(place.seq, delivery.attempts);
            }
        }
        Ok(Settled { verdict, change })
    }

    /// Makes a dead letter of an event that is not delivered.
    pub(super) async fn bury(&self, delivery: Delivery, why: &str) -> Result<(), SpoolRefusal> {
        tracing::warn!(
            webhook = delivery.to.webhook(),
            to = delivery.to.name(),
            why,
            "event becomes a dead letter"
        );
        let attempts = delivery.attempts.counted;
        delivery.to.probe_unused(delivery.probe);
        let to = Arc::clone(&delivery.to);
        let why = why.to_owned();
        self.finish(delivery, LedgerStep::Dead { attempts, why })
            .await?;
        self.forget_trouble(&to);
        Ok(())
    }

    /// Takes an event out of the lanes after the end of the wait without an attempt.
    pub(super) fn let_go(&self, to: &Destination, place: LedgerPlace, lanes: &[LaneId]) {
        to.release(place.seq, place.class, lanes);
        self.forget_trouble(to);
    }

    /// Forgets the trouble of a destination without a waiting event: no probe could tell the end.
    fn forget_trouble(&self, to: &Destination) {
        if self.store.waiting(to.id) == 0 && to.forget_trouble() {
            tracing::info!(
                webhook = to.webhook(),
                to = to.name(),
                "nothing waits for the destination any more: the next event tells whether it accepts events"
            );
        }
    }

    async fn finish(&self, mut delivery: Delivery, step: LedgerStep) -> Result<(), SpoolRefusal> {
        let place = delivery.place;
        self.step(place, step).await?;
        delivery.is_settled = true;
        delivery.to.release(place.seq, place.class, &[]);
        Ok(())
    }

    /// Commits a step of a delivery, however often the store fails meanwhile: the destination has
    /// the event, and would get it again. Returns false if the event does not wait any more.
    async fn step(&self, place: LedgerPlace, step: LedgerStep) -> Result<bool, SpoolRefusal> {
        let now_ms = self.store.clock.now().wall_ms;
        loop {
            let next = step.clone();
            match self
                .store
                .run(0, move |ledger| ledger.settle(place, &next, now_ms))
                .await
            {
                Err(SpoolRefusal::Broken | SpoolRefusal::Busy) => {
                    tokio::time::sleep(UNREADABLE).await
                }
                other => return other,
            }
        }
    }
}

impl Delivery {
    /// The destination.
    #[must_use]
    pub fn to(&self) -> &Arc<Destination> {
        &self.to
    }

    /// The number of this attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempts.counted.saturating_add(1)
    }

    /// The time of the order behind the delivery, in milliseconds since 1970; `None` without an
    /// order.
    #[must_use]
    pub fn ordered_ms(&self) -> Option<u64> {
        self.ordered_ms
    }

    /// Puts the event off without an attempt; its lane waits.
    pub(super) fn put_off(mut self, until: Instant) {
        self.is_settled = true;
        self.to.probe_unused(self.probe);
        self.to.put_off(self.place.seq, self.attempts, until);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_settled {
            self.to.give_back(self.place.seq, self.attempts);
            self.to.probe_unused(self.probe);
        }
    }
}

/// A random number of at least 0 and below 1; a half without randomness.
fn random() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

/// The wait after a failed read or commit: a store that fails is opened anew meanwhile, and ten
/// tries a second cost no CPU time worth a word.
pub(super) const UNREADABLE: Duration = Duration::from_millis(100);
