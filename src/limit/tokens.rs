//! What lets requests through: governor counts the tokens.
//!
//! governor counts exactly and in one atomic, but it has no order among those who wait, no deadline, nothing can be
//! given back to it, and a new limiter always starts full (boinkor-net/governor#39). So the order is kept in
//! [`super::line`], and a changed quota begins with what was used already taken out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, RateLimiter};
use tokio::time::Instant;

use super::Ticket;
use super::pairs::Pairs;
use super::states::Pair;
use crate::units::Quota;

type Governor = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, StateInformationMiddleware>;

/// Where the tokens of a gate come from.
#[derive(Debug)]
pub(super) enum Tokens {
    /// A bucket of its own.
    Own(Bucket),
    /// One of many small ones.
    Pair(Arc<Pairs>, Pair),
}

impl Tokens {
    /// A token, or how long it takes until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<Ticket, Duration> {
        match self {
            Self::Own(bucket) => bucket.take(now),
            Self::Pair(pairs, pair) => pairs.take(*pair),
        }
    }

    /// The same at another quota. The time that they would have had to rest at the old rate they have to rest at the new
    /// one, so that changing a limit never gives anything away. Those of a pair change with all pairs.
    pub(super) fn with_quota(&self, quota: Quota) -> Self {
        match self {
            Self::Own(bucket) => Self::Own(bucket.with_quota(quota)),
            Self::Pair(pairs, pair) => Self::Pair(Arc::clone(pairs), *pair),
        }
    }

    /// In how much time everything that was ever used has come back; those of a pair are looked after with all pairs.
    pub(super) fn full_in(&self, now: Instant) -> Duration {
        match self {
            Self::Own(bucket) => bucket.full_at.saturating_duration_since(now),
            Self::Pair(..) => Duration::ZERO,
        }
    }

    /// The time in which one token comes.
    pub(super) fn interval(&self) -> Duration {
        match self {
            Self::Own(bucket) => bucket.quota.interval(),
            Self::Pair(pairs, _) => pairs.own_quota().interval(),
        }
    }
}

/// The tokens of one sender, or one account.
#[derive(Debug)]
pub(super) struct Bucket {
    governor: Governor,
    quota: Quota,
    /// When everything that was used has come back. governor cannot say without taking one.
    full_at: Instant,
}

impl Bucket {
    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    pub(super) fn new(quota: Quota) -> Self {
        let governor = RateLimiter::direct_with_clock(governor_quota(quota), MonotonicClock).with_middleware();
        Self { governor, quota, full_at: Instant::now() }
    }

    fn with_quota(&self, quota: Quota) -> Self {
        let mut changed = Self::new(quota);
        let used = match self.governor.check() {
            // The check itself has taken one.
            Ok(state) => self.quota.burst.get().saturating_sub(state.remaining_burst_capacity() + 1),
            Err(_) => self.quota.burst.get(),
        };
        let debt = self.quota.interval().saturating_mul(used).as_nanos().div_ceil(quota.interval().as_nanos().max(1));
        let debt = u32::try_from(debt).unwrap_or(u32::MAX).min(quota.burst.get());
        if let Some(debt) = NonZeroU32::new(debt) {
            // A fresh bucket holds `burst`, so taking up to `burst` out of it cannot be refused.
            changed.governor.check_n(debt).map(drop).unwrap_or_default();
            changed.full_at += quota.interval().saturating_mul(debt.get());
        }
        changed
    }

    fn take(&mut self, now: Instant) -> Result<Ticket, Duration> {
        let taken = ticket(self.governor.check(), self.quota)?;
        self.full_at = now + taken.reset;
        Ok(taken)
    }
}

/// What governor's decision means for a request.
pub(super) fn ticket(
    decision: Result<StateSnapshot, NotUntil<std::time::Instant>>,
    quota: Quota,
) -> Result<Ticket, Duration> {
    let state = decision.map_err(|not_until| not_until.wait_time_from(MonotonicClock.now()))?;
    Ok(Ticket::with_left(quota, state.remaining_burst_capacity()))
}

pub(super) fn governor_quota(quota: Quota) -> governor::Quota {
    let base = governor::Quota::with_period(quota.interval());
    base.unwrap_or_else(|| governor::Quota::per_second(NonZeroU32::MAX)).allow_burst(quota.burst)
}
