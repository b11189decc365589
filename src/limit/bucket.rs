//! One sender's bucket: governor decides, and those who must wait stand in line here.
//!
//! governor counts exactly and in one atomic, but it has no order among those who wait, no deadline,
//! and a new limiter always starts full (boinkor-net/governor#39). The line is tokio's mutex, which is
//! fair; the deadline is computed from who stands in it; and a changed rate begins with what was used
//! already taken out.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Limited, Patience, Ticket};
use crate::units::Rate;

type Governor = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, StateInformationMiddleware>;

#[derive(Debug)]
pub(super) struct Bucket {
    governor: Governor,
    burst: NonZeroU32,
    /// The time in which one request's worth comes back.
    interval: Duration,
    line: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    last_used: Instant,
    /// When the first in the line may leave, as far as is known.
    first_leaves: Instant,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let interval = (rate.per / rate.count.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MAX));
        let governor = RateLimiter::direct_with_clock(quota.allow_burst(rate.count), MonotonicClock).with_middleware();
        let now = Instant::now();
        let times = Mutex::new(Times { last_used: now, first_leaves: now });
        Self {
            governor,
            burst: rate.count,
            interval,
            line: tokio::sync::Mutex::new(()),
            waiting: AtomicUsize::new(0),
            times,
        }
    }

    pub(super) fn with_rate(&self, rate: Rate) -> Self {
        let changed = Self::new(rate);
        let used = match self.governor.check() {
            // The check itself has taken one.
            Ok(state) => self.burst.get().saturating_sub(state.remaining_burst_capacity() + 1),
            Err(_) => self.burst.get(),
        };
        let debt = self.interval.saturating_mul(used).as_nanos().div_ceil(changed.interval.as_nanos().max(1));
        let debt = u32::try_from(debt).unwrap_or(u32::MAX).min(changed.burst.get());
        if let Some(debt) = NonZeroU32::new(debt) {
            // A fresh bucket holds `burst`, so taking up to `burst` out of it cannot be refused.
            changed.governor.check_n(debt).map(drop).unwrap_or_default();
        }
        changed
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether everything that was ever used has come back.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        let rest = self.interval.saturating_mul(self.burst.get());
        self.waiting() == 0 && now.saturating_duration_since(self.times().last_used) > rest
    }

    pub(super) async fn acquire(&self, patience: Patience, now: Instant) -> Result<Ticket, Limited> {
        let ahead = self.waiting();
        let wait = if ahead == 0 {
            match self.take(now) {
                Ok(ticket) => return Ok(ticket),
                Err(wait) => wait,
            }
        } else {
            let first = self.times().first_leaves.saturating_duration_since(now);
            first + self.interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
        };
        if wait > patience.max_wait || ahead >= patience.max_queue {
            return Err(Limited { retry_after: wait, waiting: ahead });
        }
        let ticket = self.stand_in_line(now + patience.max_wait).await?;
        Ok(Ticket { waited: now.elapsed(), ..ticket })
    }

    async fn stand_in_line(&self, deadline: Instant) -> Result<Ticket, Limited> {
        let _place = Place::new(&self.waiting);
        let too_late = |wait| Limited { retry_after: wait, waiting: self.waiting() };
        let _first = timeout_at(deadline, self.line.lock()).await.map_err(|_| too_late(self.interval))?;
        loop {
            let now = Instant::now();
            match self.take(now) {
                Ok(ticket) => return Ok(ticket),
                Err(wait) if now + wait > deadline => return Err(too_late(wait)),
                Err(wait) => {
                    self.times_mut(|times| times.first_leaves = now + wait);
                    sleep(wait).await;
                }
            }
        }
    }

    fn take(&self, now: Instant) -> Result<Ticket, Duration> {
        match self.governor.check() {
            Ok(state) => {
                self.times_mut(|times| times.last_used = now);
                let remaining = state.remaining_burst_capacity();
                let reset = self.interval.saturating_mul(self.burst.get().saturating_sub(remaining));
                let burst = self.burst.get();
                Ok(Ticket {
                    remaining,
                    burst,
                    waited: Duration::ZERO,
                    window: self.interval.saturating_mul(burst),
                    reset,
                })
            }
            Err(not_until) => Err(not_until.wait_time_from(MonotonicClock.now())),
        }
    }

    fn times(&self) -> Times {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn times_mut(&self, change: impl FnOnce(&mut Times)) {
        change(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A place in the line, given up however the wait ends.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
