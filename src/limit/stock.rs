//! What a sidecar holds of a shared limit: tokens that it has taken and not used yet.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::lease::{Grant, Recall};
use crate::units::Quota;

/// Tokens taken ahead, so that most requests need not ask the server. At most so many as this sidecar has used in the
/// last tenth of a second, and as come in a tenth of a second; what nobody used a tenth of a second after it was good is
/// given back.
#[derive(Debug)]
pub(super) struct Stock {
    /// From when on each is good, the earliest first.
    due: VecDeque<Instant>,
    /// How many were left to all when it was last asked.
    left: u32,
    /// It is of no use to ask before.
    ask_at: Instant,
    /// Before this, not all tokens can be there, whatever the server says.
    full_at: Instant,
    /// The same where the server has forgotten what was taken of it.
    full_at_if_lost: Instant,
    /// Since when the server has counted; 0 before it was asked.
    since: u64,
    /// Whether the last answer gave less than was wanted: others want it too.
    is_short: bool,
    /// How far apart tokens come to this sidecar while it is short of them.
    pace: Duration,
    came: Instant,
    used: Used,
}

/// How many tokens were used of late.
#[derive(Debug)]
struct Used {
    since: Instant,
    now: u32,
    before: u32,
}

impl Stock {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let used = Used { since: now, now: 0, before: 0 };
        Self {
            due: VecDeque::new(),
            left: 0,
            ask_at: now,
            full_at: now,
            full_at_if_lost: now,
            since: 0,
            is_short: false,
            pace: Duration::ZERO,
            came: now,
            used,
        }
    }

    /// Takes one; else says when one that is held is good, or `None` where none is held.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        match self.due.front() {
            Some(due) if *due <= now => {
                self.due.pop_front();
                self.used.count(now);
                Ok(())
            }
            due => Err(due.copied()),
        }
    }

    /// How many could go at once: those that are held and those that are left to all.
    pub(super) fn left(&self) -> u32 {
        self.left.saturating_add(u32::try_from(self.due.len()).unwrap_or(u32::MAX))
    }

    /// Before this it is of no use to ask.
    pub(super) fn ask_at(&self) -> Instant {
        self.ask_at
    }

    /// In how much time, at the earliest, all tokens can be there.
    pub(super) fn full_in(&self, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now)
    }

    /// What to tell the server of the bucket.
    pub(super) fn recall(&self, now: Instant) -> Recall {
        let full_in_if_lost = self.full_at_if_lost.saturating_duration_since(now);
        Recall { full_in: self.full_in(now), full_in_if_lost, since: self.since }
    }

    /// Whether others take what this sidecar would take.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// How far apart tokens come to this sidecar, as far as that is known.
    pub(super) fn pace(&self) -> Duration {
        if self.is_short { self.pace } else { Duration::ZERO }
    }

    /// How many to ask for, where so many requests wait; none where there are enough.
    pub(super) fn wanted(&self, waiting: usize, quota: Quota, now: Instant) -> u32 {
        let ahead = self.used.lately(now).min(per_window(quota));
        let held = u32::try_from(self.due.len()).unwrap_or(u32::MAX);
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        // Asked for before it is empty, so that nobody has to wait for the answer.
        if waiting == 0 && held >= ahead.div_ceil(2) {
            return 0;
        }
        waiting.saturating_add(ahead).saturating_sub(held)
    }

    /// Takes what the server gave.
    pub(super) fn add(&mut self, grant: Grant, wanted: u32, now: Instant) {
        self.due.extend(grant.due(now));
        self.left = grant.left;
        (self.ask_at, self.full_at) = (now + grant.wait, now + grant.full_in);
        (self.full_at_if_lost, self.since) = (self.full_at, grant.since);
        let was_short = std::mem::replace(&mut self.is_short, grant.count < wanted);
        if !was_short {
            (self.came, self.pace) = (now, Duration::ZERO);
        } else if grant.count > 0 {
            let sample = (now - std::mem::replace(&mut self.came, now)) / grant.count;
            self.pace = if self.pace.is_zero() { sample } else { (self.pace * 3 + sample) / 4 };
        }
    }

    /// Takes out those that nobody used in time, and says how many they are.
    pub(super) fn take_stale(&mut self, quota: Quota, now: Instant) -> u32 {
        let stale = self.due.iter().take_while(|due| **due + WINDOW <= now).count();
        self.due.drain(..stale);
        let stale = u32::try_from(stale).unwrap_or(u32::MAX);
        let given = quota.interval().saturating_mul(stale);
        self.full_at = self.full_at.checked_sub(given).unwrap_or(self.full_at);
        self.full_at_if_lost = self.full_at;
        stale
    }

    /// When the first will not have been used in time.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        self.due.front().map(|due| *due + WINDOW)
    }

    /// Nobody waits any more: what was last said of how much others take is of no use later.
    pub(super) fn rest(&mut self) {
        self.is_short = false;
    }

    /// Begins anew, with nothing held, where all tokens are there in so much time, and in so much if the server has
    /// forgotten: somebody else has counted.
    pub(super) fn begin(&mut self, full_in: Duration, full_in_if_lost: Duration, now: Instant) {
        self.due.clear();
        self.is_short = false;
        (self.ask_at, self.full_at, self.full_at_if_lost) = (now, now + full_in, now + full_in_if_lost);
    }

    /// Goes on where another was.
    pub(super) fn goes_on(&mut self, before: &Self) {
        self.since = before.since;
    }
}

impl Used {
    fn count(&mut self, now: Instant) {
        if now - self.since >= WINDOW {
            self.before = if now - self.since < 2 * WINDOW { self.now } else { 0 };
            (self.since, self.now) = (now, 0);
        }
        self.now += 1;
    }

    fn lately(&self, now: Instant) -> u32 {
        if now - self.since < 2 * WINDOW { self.before.max(self.now) } else { 0 }
    }
}

/// How many come in a tenth of a second.
fn per_window(quota: Quota) -> u32 {
    u32::try_from(WINDOW.as_nanos() / quota.interval().as_nanos().max(1)).unwrap_or(u32::MAX)
}

const WINDOW: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    use crate::units::Rate;

    const MILLI: Duration = Duration::from_millis(1);

    fn quota(per_second: u32) -> Quota {
        Rate { count: NonZeroU32::new(per_second).unwrap(), per: Duration::from_secs(1) }.into()
    }

    fn grant(count: u32) -> Grant {
        Grant {
            count,
            first: Ok(Duration::ZERO),
            spacing: Duration::ZERO,
            left: 5,
            full_in: MILLI,
            wait: Duration::ZERO,
            since: 1,
        }
    }

    #[test]
    fn who_sends_seldom_takes_nothing_ahead() {
        let mut stock = Stock::new();
        let now = Instant::now();
        assert_eq!(stock.wanted(1, quota(80), now), 1);
        stock.add(grant(1), 1, now);
        assert_eq!((stock.take(now), stock.take(now)), (Ok(()), Err(None)));
        let later = now + 250 * MILLI;
        assert_eq!((stock.wanted(0, quota(80), later), stock.wanted(1, quota(80), later)), (0, 1));
    }

    #[test]
    fn what_is_taken_ahead_is_bounded_by_the_use_and_by_the_rate() {
        let mut stock = Stock::new();
        let now = Instant::now();
        stock.add(grant(50), 50, now);
        (0..50).for_each(|_| stock.take(now).unwrap());
        assert_eq!(stock.wanted(0, quota(1000), now), 50, "as many as were used");
        assert_eq!(stock.wanted(0, quota(80), now), 8, "as many as come in a tenth of a second");
        assert_eq!(stock.wanted(3, quota(80), now), 11, "and those that wait");
        assert_eq!(stock.wanted(0, quota(1), now), 0);
        stock.add(grant(5), 8, now);
        assert_eq!(stock.wanted(0, quota(80), now), 0, "more than half is there");
    }

    #[test]
    fn each_token_is_good_from_its_own_time_on() {
        let mut stock = Stock::new();
        let now = Instant::now();
        let spacing = 10 * MILLI;
        let first = Err(15 * MILLI);
        stock.add(Grant { count: 4, first, spacing, left: 0, wait: MILLI, ..grant(4) }, 9, now);
        assert_eq!((stock.take(now), stock.take(now)), (Ok(()), Ok(())));
        assert_eq!(stock.take(now), Err(Some(now + 5 * MILLI)));
        assert_eq!((stock.take(now + 5 * MILLI), stock.left()), (Ok(()), 1));
        assert!(stock.is_short());
    }

    #[test]
    fn what_nobody_used_in_time_is_given_back() {
        let mut stock = Stock::new();
        let now = Instant::now();
        stock.add(Grant { spacing: 30 * MILLI, ..grant(5) }, 5, now);
        assert_eq!((stock.take_stale(quota(80), now + 99 * MILLI), stock.stale_at()), (0, Some(now + WINDOW)));
        assert_eq!(stock.take_stale(quota(80), now + 131 * MILLI), 2);
        assert_eq!(stock.left(), 8);
    }
}
