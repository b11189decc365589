//! The pause of all sends of an account.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::demand::{Demand, Limited, Ticket};
use super::pause::{Pause, PauseLength, PauseReason, growth};
use crate::provider::Scope;

/// An account: a throttled send with an account-wide code pauses all sends. Lives on over reloads.
#[derive(Debug, Default)]
pub struct AccountPause {
    pause: Mutex<Option<Pause>>,
}

impl AccountPause {
    /// Pauses all sends after a throttle, longer each time in a row.
    pub(super) fn throttled(&self, length: PauseLength, now: Instant) {
        let mut pause = self.pause.lock();
        let growth = growth(Scope::Account);
        *pause = Pause::after_throttle(*pause, length, growth, now).or(*pause);
    }

    /// Takes over a pause learned by another sidecar, with `rest` left.
    pub(super) fn paused_elsewhere(&self, rest: Duration, now: Instant) {
        let mut pause = self.pause.lock();
        *pause = Some(Pause::new(rest, PauseReason::Throttled, now).or_later(*pause));
    }

    /// End of the pause, while there is one.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        let pause = (*self.pause.lock())?;
        pause.is_running(Instant::now()).then_some(pause.until)
    }

    /// Waits until no pause is running.
    ///
    /// # Errors
    /// At once if the pause ends after the deadline of the request.
    pub(super) async fn pass(&self, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        let mut ticket = Ticket::default();
        while let Some(until) = self.paused_until() {
            if until > demand.deadline() {
                return Err(limited(until));
            }
            sleep_until(until).await;
            ticket.waited = demand.arrived.elapsed();
        }
        Ok(ticket)
    }

    /// The refusal to give: the account's during a pause, else the given refusal of a limit.
    pub(super) fn or_paused(&self, other: Limited) -> Limited {
        self.paused_until().map_or(other, limited)
    }
}

fn limited(until: Instant) -> Limited {
    Limited {
        pause: Some(PauseReason::Throttled),
        ..Limited::new(
            Scope::Account,
            None,
            until.saturating_duration_since(Instant::now()),
        )
    }
}
