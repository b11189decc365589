//! A pause: a time in which no request of a sender, a pair, an account or an object goes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::provider::Scope;

/// A time in which no request goes.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// End of the pause.
    pub until: Instant,
    /// Cause of the pause.
    pub reason: PauseReason,
    /// Length of the whole pause, from which the next pause grows.
    pub(super) length: Duration,
}

/// Length of the pause after a throttle.
#[derive(Clone, Copy, Debug)]
pub struct PauseLength {
    /// Length of a first pause, used if the provider named none. Further pauses in a row grow.
    pub first: Duration,
    /// Length named by the provider.
    pub named: Option<Duration>,
}

impl Pause {
    /// A pause of `length` from now, at most [`MAX_PAUSE`].
    pub(super) fn new(length: Duration, reason: PauseReason, now: Instant) -> Self {
        let length = length.min(MAX_PAUSE);
        Self {
            until: now + length,
            reason,
            length,
        }
    }

    /// The pause after a throttle: as long as the provider named, else as a first pause. A pause in
    /// a row, begun before the last has been over for its own length, is `growth` times as long as
    /// the last. Never ends before the pause `before`.
    ///
    /// `None` if the pause `before` goes on: requests already in flight when it began must not
    /// extend it, unless the provider names a time.
    pub(super) fn after_throttle(
        before: Option<Self>,
        length: PauseLength,
        growth: u32,
        now: Instant,
    ) -> Option<Self> {
        let last = before.filter(|before| before.reason == PauseReason::Throttled);
        if length.named.is_none() && last.is_some_and(|last| last.is_running(now)) {
            return None;
        }
        let in_a_row = last.filter(|last| !last.is_forgotten(now));
        let grown = in_a_row.map_or(length.first, |last| last.length.saturating_mul(growth));
        let next = Self::new(length.named.unwrap_or(grown), PauseReason::Throttled, now);
        Some(next.or_later(before))
    }

    /// True while no request goes.
    pub(super) fn is_running(&self, now: Instant) -> bool {
        self.until > now
    }

    /// True when a new pause would not count as the next in a row: the pause has been over for as
    /// long as its length.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.until + self.length <= now
    }

    /// The later-ending of two pauses.
    pub(super) fn or_later(self, other: Option<Self>) -> Self {
        other
            .filter(|other| other.until > self.until)
            .unwrap_or(self)
    }
}

/// Cause of a pause. The status has the name in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// The provider refused a request as too fast.
    Throttled,
    /// The provider reports a limit as nearly used up.
    NearLimit,
    /// The provider reports a limit as used up.
    NothingLeft,
    /// More messages than the limit had left came in, or went to several recipients at once.
    Overdrawn,
    /// The shared server tells of a pause: by another sidecar, or from before a restart.
    Elsewhere,
}

impl PauseReason {
    /// Words for refusals and for `keyside explain`.
    #[must_use]
    pub const fn explained(self) -> &'static str {
        match self {
            Self::Throttled => "the provider refused a request as too fast",
            Self::NearLimit => "the provider says that nearly all of its limit is used",
            Self::NothingLeft => "the provider says that nothing of its limit is left",
            Self::Overdrawn => {
                "more messages came in, or went out to several recipients at once, than the limit had left"
            }
            Self::Elsewhere => {
                "the shared server tells of a pause, by another sidecar or from before a restart"
            }
        }
    }
}

/// Factor by which pauses in a row grow. Meta asks for "4^X seconds, X = 0, 1, 2, ..." between
/// messages of a pair; elsewhere the usual doubling.
pub(super) fn growth(scope: Scope) -> u32 {
    match scope {
        Scope::Recipient => 4,
        Scope::Sender | Scope::Account | Scope::Operation => 2,
    }
}

/// Factor of pauses that do not grow, because the interval doubles after each.
pub(super) const NO_GROWTH: u32 = 1;
/// Longest pause, however often throttles come in a row and whatever a provider names: Meta counts
/// the longest windows by the hour.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(3600);
