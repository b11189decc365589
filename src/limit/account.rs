//! What all requests of one account share.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::seldom::Seldom;
use super::{Demand, Limited, Scope, Why};

/// One account. It lives on over reloads.
#[derive(Debug)]
pub struct Account {
    pause: Seldom<Option<Pause>>,
}

impl Default for Account {
    fn default() -> Self {
        Self { pause: Seldom::new(None, Option::is_none) }
    }
}

/// For how long nothing goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// How long it is in all.
    pub(super) time: Duration,
}

impl Pause {
    /// One from now: for the `named` time, or else for the `first`, `growth` times as long as that `before`, where this
    /// came back before as much time again had passed.
    pub(super) fn after(before: Option<Self>, named: Option<Duration>, first: Duration, growth: u32) -> Self {
        let now = Instant::now();
        let in_a_row = before.filter(|before| before.until + before.time > now);
        let grown = in_a_row.map_or(first, |before| before.time.saturating_mul(growth));
        let time = named.unwrap_or(grown).min(LONGEST_PAUSE);
        Self { until: now + time, time }
    }
}

impl Account {
    /// Lets nothing go for the `named` time; else for longer each time in a row.
    pub(super) fn throttled(&self, first: Duration, named: Option<Duration>) {
        self.pause.change(|pause| {
            // What was on its way meanwhile says nothing new.
            if named.is_some() || pause.is_none_or(|pause| pause.until <= Instant::now()) {
                *pause = Some(Pause::after(*pause, named, first, GROWTH));
            }
        });
    }

    /// Takes note that another sidecar has paused it.
    pub(super) fn paused_elsewhere(&self, time: Duration) {
        let until = Instant::now() + time;
        self.pause.change(|pause| {
            if pause.is_none_or(|pause| pause.until < until) {
                *pause = Some(Pause { until, time });
            }
        });
    }

    /// Until when nothing goes, where that is so.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.pause.look(|pause| pause.map(|pause| pause.until)).flatten().filter(|until| *until > Instant::now())
    }

    /// Waits until the account may be used.
    ///
    /// # Errors
    /// At once where that is not in time.
    pub async fn pass(&self, demand: &Demand<'_>) -> Result<(), Limited> {
        while let Some(until) = self.paused_until() {
            if until > demand.deadline() {
                return Err(self.limited(until));
            }
            sleep_until(until).await;
        }
        Ok(())
    }

    /// A refusal of another limit of its, where all that is wrong is that the account is paused.
    pub(super) fn or_paused(&self, limited: Limited) -> Limited {
        self.paused_until().map_or(limited, |until| self.limited(until))
    }

    fn limited(&self, until: Instant) -> Limited {
        let retry_after = until.saturating_duration_since(Instant::now());
        Limited { scope: Scope::Account, retry_after, waiting: 0, is_closed: false, why: Some(Why::Throttled) }
    }
}

/// However often it comes back.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How many times as long each pause in a row is as the one before.
pub(super) const GROWTH: u32 = 2;
