//! Tokens of a shared bucket, taken ahead by a sidecar. Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{LocalView, TakeReply};
use crate::limit::bucket::Bucket;
use crate::units::{Quota, saturated};

/// Tokens taken ahead, to let most requests go without asking the shared server.
///
/// For each waiting request a token is taken as far ahead as the request would wait, so that one question is enough. Beyond
/// that a sidecar that sends often holds at most as many tokens as it used in the last tenth of a second, and at most as
/// many as come in a tenth of a second. A token unused for a tenth of a second is given back.
#[derive(Debug)]
pub(in crate::limit) struct Prefetch {
    /// Times from which on the held tokens are good, the earliest first.
    due: VecDeque<Instant>,
    /// Number of tokens left in the shared bucket at the last reply.
    left: u32,
    /// Time before which asking is of no use: the end of a pause.
    ask_at: Instant,
    /// Earliest time at which a token beyond the held ones can be good, as of the last reply.
    next_at: Instant,
    /// Time for which all sidecars together had taken tokens ahead at the last reply.
    taken_ahead: Duration,
    /// Earliest time at which the shared bucket can be full, whatever the server says.
    full_at: Instant,
    /// Earliest time at which the shared bucket can be full, if the server has lost its state.
    full_at_if_lost: Instant,
    /// Epoch of the server; 0 before the first reply.
    epoch: u64,
    /// Worth of the tokens given back by all sidecars that `full_at` has left out already.
    given_back: Duration,
    /// True if the last reply gave fewer tokens than wanted: more sidecars want tokens.
    is_short: bool,
    /// Use in the last tenth of a second.
    used: RecentUse,
    /// Use in the last second.
    used_lately: RecentUse,
}

/// Number of tokens used in the current span of time and in the span before.
#[derive(Debug)]
struct RecentUse {
    span: Duration,
    since: Instant,
    current: u32,
    before: u32,
}

impl Prefetch {
    /// No tokens, of an unknown bucket.
    pub(in crate::limit) fn new(now: Instant) -> Self {
        Self {
            due: VecDeque::new(),
            left: 0,
            ask_at: now,
            next_at: now,
            taken_ahead: Duration::ZERO,
            full_at: now,
            full_at_if_lost: now,
            epoch: 0,
            given_back: Duration::ZERO,
            is_short: false,
            used: RecentUse::new(WINDOW, now),
            used_lately: RecentUse::new(LATELY, now),
        }
    }

    /// Takes a token; else returns the time at which a held token becomes good, or `None` without
    /// any.
    pub(in crate::limit) fn take(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        match self.due.front() {
            Some(due) if *due <= now => {
                self.due.pop_front();
                self.used.count(now);
                self.used_lately.count(now);
                Ok(())
            }
            due => Err(due.copied()),
        }
    }

    /// Number of tokens to be had at once: tokens held, and tokens left in the shared bucket.
    pub(in crate::limit) fn left(&self) -> u32 {
        self.left.saturating_add(saturated(self.due.len()))
    }

    /// Number of held tokens.
    pub(in crate::limit) fn held(&self) -> usize {
        self.due.len()
    }

    /// Time before which asking for tokens by `ahead` of their time is of no use.
    pub(in crate::limit) fn ask_from(&self, ahead: Duration) -> Instant {
        let from = self.next_at.checked_sub(ahead).unwrap_or(self.next_at);
        self.ask_at.max(from)
    }

    /// Time for which all sidecars together had taken tokens ahead at the last reply.
    pub(in crate::limit) fn taken_ahead(&self) -> Duration {
        self.taken_ahead
    }

    /// The turn of a request with `ahead` requests before it; `Err` with the earliest time if no token is held for it.
    pub(in crate::limit) fn turn(
        &self,
        ahead: usize,
        interval: Duration,
    ) -> Result<Instant, Instant> {
        self.due.get(ahead).copied().ok_or_else(|| {
            let more = saturated(ahead - self.due.len());
            let last = self
                .due
                .back()
                .map_or(self.next_at, |last| self.next_at.max(*last));
            self.ask_at.max(last + interval.saturating_mul(more))
        })
    }

    /// The shared bucket at a quota, with as few missing tokens as it can have.
    pub(in crate::limit) fn bucket(&self, quota: Quota) -> Bucket {
        Bucket::new(quota, self.full_at)
    }

    /// Knowledge of the bucket to tell the server.
    pub(in crate::limit) fn view(&self, now: Instant) -> LocalView {
        LocalView {
            full_in: self.full_at.saturating_duration_since(now),
            full_in_if_lost: self.full_at_if_lost.saturating_duration_since(now),
            epoch: self.epoch,
            given_back: self.given_back,
        }
    }

    /// True if other sidecars compete for the tokens.
    pub(in crate::limit) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Number of tokens to ask for while `waiting` requests wait; zero if enough are held.
    pub(in crate::limit) fn wanted(&self, waiting: usize, quota: Quota, now: Instant) -> u32 {
        let per_window = self.bucket(quota).tokens_in(WINDOW);
        // A token taken ahead by a sidecar that sends seldom would be given back unused: two commands in vain.
        let ahead = match self.used_lately.recent(now) {
            0..SELDOM => 0,
            _ => self.used.recent(now).min(per_window),
        };
        let held = saturated(self.due.len());
        // Asked for while half of the tokens are left, lest a request wait for the reply.
        if waiting == 0 && held >= ahead.div_ceil(2) {
            return 0;
        }
        saturated(waiting)
            .saturating_add(ahead)
            .saturating_sub(held)
    }

    /// Adds the tokens of a reply to a request for `wanted`.
    pub(in crate::limit) fn add(&mut self, reply: TakeReply, wanted: u32, now: Instant) {
        // A token that was good before it came is good from now on: its age is not the time that it lay unused here.
        let due = |number| now.max(reply.first + reply.interval.saturating_mul(number));
        self.due.extend((0..reply.count).map(due));
        // Tokens that others gave back may be earlier than those taken before.
        self.due.make_contiguous().sort_unstable();
        self.left = reply.left;
        self.ask_at = now + reply.wait;
        self.next_at = now + reply.next;
        self.taken_ahead = reply.next;
        self.full_at = now + reply.full_in;
        self.full_at_if_lost = self.full_at;
        self.epoch = reply.epoch;
        self.given_back = reply.given_back;
        self.is_short = reply.count < wanted;
        if !reply.wait.is_zero() {
            self.lose_until(self.ask_at);
        }
    }

    /// Loses the tokens that become good in a pause: after it they would be a burst.
    pub(in crate::limit) fn lose_until(&mut self, end: Instant) {
        let lost = self.due.partition_point(|due| *due < end);
        self.due.drain(..lost);
    }

    /// Takes out the tokens not used in time, and returns the number.
    pub(in crate::limit) fn take_stale(&mut self, quota: Quota, now: Instant) -> u32 {
        let stale = self.due.partition_point(|due| *due + WINDOW <= now);
        self.take_out(stale, quota)
    }

    /// Takes out all tokens, and returns the number.
    pub(in crate::limit) fn take_all(&mut self, quota: Quota) -> u32 {
        self.take_out(self.due.len(), quota)
    }

    fn take_out(&mut self, count: usize, quota: Quota) -> u32 {
        self.due.drain(..count);
        let count = saturated(count);
        let returned = quota.interval().saturating_mul(count);
        for at in [&mut self.full_at, &mut self.next_at] {
            *at = at.checked_sub(returned).unwrap_or(*at);
        }
        self.full_at_if_lost = self.full_at;
        self.given_back += returned;
        count
    }

    /// Time at which the first held token is to be given back.
    pub(in crate::limit) fn stale_at(&self) -> Option<Instant> {
        self.due.front().map(|due| *due + WINDOW)
    }

    /// Forgets the competition of other sidecars: with no request left, the last reply grows old.
    pub(in crate::limit) fn rest(&mut self) {
        self.is_short = false;
    }

    /// Starts again without tokens, for a bucket full in `full_in` at the earliest, whatever the server knows.
    pub(in crate::limit) fn restart(&mut self, full_in: Duration, now: Instant) {
        self.due.clear();
        self.is_short = false;
        self.ask_at = now;
        self.next_at = now;
        self.taken_ahead = Duration::ZERO;
        self.full_at = now + full_in;
        self.full_at_if_lost = self.full_at;
    }

    /// Goes on after the loss of a reply, with a bucket full in `full_in` at the earliest, or in `full_in_if_lost` if the
    /// server has lost its state.
    pub(in crate::limit) fn resume(
        &mut self,
        full_in: Duration,
        full_in_if_lost: Duration,
        now: Instant,
    ) {
        self.full_at = self.full_at.max(now + full_in);
        self.full_at_if_lost = self.full_at.max(now + full_in_if_lost);
    }

    /// Loses the tokens not used in time, while there is no server to give them back to.
    pub(in crate::limit) fn lose_stale(&mut self, now: Instant) {
        let stale = self.due.partition_point(|due| *due + WINDOW <= now);
        self.due.drain(..stale);
    }

    /// Takes over from the replaced prefetch what is known of the server's count: the epoch, and the tokens given back.
    pub(in crate::limit) fn keep_count(&mut self, before: &Self) {
        self.epoch = before.epoch;
        self.given_back = before.given_back;
    }
}

impl RecentUse {
    fn new(span: Duration, now: Instant) -> Self {
        Self {
            span,
            since: now,
            current: 0,
            before: 0,
        }
    }

    fn count(&mut self, now: Instant) {
        if now - self.since >= self.span {
            let is_next = now - self.since < 2 * self.span;
            self.before = if is_next { self.current } else { 0 };
            self.since = now;
            self.current = 0;
        }
        self.current += 1;
    }

    fn recent(&self, now: Instant) -> u32 {
        if now - self.since < 2 * self.span {
            self.before.max(self.current)
        } else {
            0
        }
    }
}

/// Time for which tokens are taken ahead: the double of the 50 ms allowed for the server's reply.
/// Much more would hold back tokens from other sidecars, and less would make requests wait for the
/// reply.
const WINDOW: Duration = Duration::from_millis(100);
/// Time in which a sidecar that sends seldom is told apart.
const LATELY: Duration = Duration::from_secs(1);
/// Number of tokens used in a second from which on some are taken ahead: four in [`WINDOW`], so that most are used in time.
const SELDOM: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    use crate::units::Rate;

    const MILLI: Duration = Duration::from_millis(1);

    fn quota(per_second: u32) -> Quota {
        Rate {
            count: NonZeroU32::new(per_second).unwrap(),
            per: Duration::from_secs(1),
        }
        .into()
    }

    fn reply(count: u32, now: Instant) -> TakeReply {
        TakeReply {
            count,
            first: now,
            interval: Duration::ZERO,
            left: 5,
            full_in: MILLI,
            wait: Duration::ZERO,
            next: Duration::ZERO,
            epoch: 1,
            given_back: Duration::ZERO,
        }
    }

    #[test]
    fn a_sidecar_that_sends_seldom_takes_nothing_ahead() {
        let now = Instant::now();
        let mut prefetch = Prefetch::new(now);
        assert_eq!(prefetch.wanted(1, quota(80), now), 1);
        prefetch.add(reply(1, now), 1, now);
        assert_eq!(prefetch.take(now), Ok(()));
        assert_eq!(prefetch.take(now), Err(None));
        assert_eq!(prefetch.wanted(0, quota(80), now), 0);
        let later = now + 250 * MILLI;
        assert_eq!(prefetch.wanted(0, quota(80), later), 0);
        assert_eq!(prefetch.wanted(1, quota(80), later), 1);
    }

    #[test]
    fn tokens_taken_ahead_are_bounded_by_use_and_by_rate() {
        let now = Instant::now();
        let mut prefetch = Prefetch::new(now);
        prefetch.add(reply(50, now), 50, now);
        (0..50).for_each(|_| prefetch.take(now).unwrap());
        for (waiting, per_second, expected, why) in [
            (0, 1000, 50, "as many as were used"),
            (0, 80, 8, "as many as come in a tenth of a second"),
            (3, 80, 11, "and one for each request that waits"),
            (0, 1, 0, "none at a slow rate"),
        ] {
            let wanted = prefetch.wanted(waiting, quota(per_second), now);
            assert_eq!(wanted, expected, "{why}");
        }
        prefetch.add(reply(5, now), 8, now);
        assert_eq!(
            prefetch.wanted(0, quota(80), now),
            0,
            "more than half is there"
        );
    }

    #[test]
    fn each_token_is_good_from_its_own_time_on() {
        let now = Instant::now();
        let mut prefetch = Prefetch::new(now);
        let four = TakeReply {
            first: now - 15 * MILLI,
            interval: 10 * MILLI,
            left: 0,
            next: MILLI,
            ..reply(4, now)
        };
        prefetch.add(four, 9, now);
        assert_eq!(prefetch.take(now), Ok(()));
        assert_eq!(prefetch.take(now), Ok(()));
        assert_eq!(prefetch.take(now), Err(Some(now + 5 * MILLI)));
        assert_eq!(prefetch.take(now + 5 * MILLI), Ok(()));
        assert_eq!(prefetch.left(), 1);
        assert!(prefetch.is_short());
    }

    #[test]
    fn tokens_that_nobody_used_in_time_are_given_back() {
        let now = Instant::now();
        let mut prefetch = Prefetch::new(now);
        let five = TakeReply {
            interval: 30 * MILLI,
            ..reply(5, now)
        };
        prefetch.add(five, 5, now);
        assert_eq!(prefetch.take_stale(quota(80), now + 99 * MILLI), 0);
        assert_eq!(prefetch.stale_at(), Some(now + WINDOW));
        assert_eq!(prefetch.take_stale(quota(80), now + 131 * MILLI), 2);
        assert_eq!(prefetch.left(), 8);
    }

    #[test]
    fn a_token_is_not_unused_for_the_time_before_it_came() {
        let now = Instant::now();
        let mut prefetch = Prefetch::new(now);
        let old = TakeReply {
            first: now - 10 * WINDOW,
            ..reply(1, now)
        };
        prefetch.add(old, 1, now);
        assert_eq!(prefetch.take_stale(quota(80), now + MILLI), 0);
        assert_eq!(prefetch.stale_at(), Some(now + WINDOW));
    }
}
