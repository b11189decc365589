//! Tokens of a shared bucket, taken ahead by a sidecar. Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{LocalView, TakeReply};
use super::known_bucket::KnownBucket;
use super::recent_use::RecentUse;
use crate::limit::bucket::Bucket;
use crate::limit::slowdown::Slowdown;
use crate::units::{Quota, saturated};

#[cfg(test)]
mod tests;

/// Tokens taken ahead, to let most requests go without asking the shared server.
///
/// For each waiting request a token is taken as far ahead as the request would wait, so that a
/// single question is enough. A sidecar that sends often holds further tokens: no more than were
/// used in the last tenth of a second, and no more than come in a tenth of a second. A token unused
/// for a tenth of a second is given back.
#[derive(Debug)]
pub(in crate::limit) struct Prefetch {
    /// Times from which on the held tokens are good, the earliest first.
    due: VecDeque<Instant>,
    /// Number of tokens left in the shared bucket at the last reply.
    left: u32,
    /// True if the last reply left no token in the shared bucket.
    is_empty: bool,
    /// Time between two tokens, as of the last reply: longer than by the quota after a throttle.
    slowdown: Option<Slowdown>,
    /// Time before which asking is of no use: the end of a pause.
    ask_at: Instant,
    /// End of the limit's own pause, if the last reply told of a pause longer than the account's.
    told_pause_end: Option<Instant>,
    /// Earliest time at which a token beyond the held ones can be good, as of the last reply.
    next_at: Instant,
    /// Time for which all sidecars together had taken tokens ahead at the last reply.
    taken_ahead: Duration,
    /// Knowledge about the shared bucket.
    known: KnownBucket,
    /// True if the last reply gave fewer tokens than wanted: more sidecars want tokens.
    is_short: bool,
    /// Use in the last tenth of a second.
    used: RecentUse,
    /// Use in the last second.
    used_lately: RecentUse,
}

impl Prefetch {
    /// No tokens, of an unknown bucket.
    pub(in crate::limit) fn new(now: Instant) -> Self {
        Self {
            due: VecDeque::new(),
            left: 0,
            is_empty: false,
            slowdown: None,
            ask_at: now,
            told_pause_end: None,
            next_at: now,
            taken_ahead: Duration::ZERO,
            known: KnownBucket::new(now),
            is_short: false,
            used: RecentUse::new(WINDOW, now),
            used_lately: RecentUse::new(LATELY, now),
        }
    }

    /// No tokens, of the bucket at a new quota, full in `full_in` at the earliest, whatever the
    /// server knows.
    pub(in crate::limit) fn at_new_quota(&self, full_in: Duration, now: Instant) -> Self {
        Self {
            known: self.known.full_in(full_in, now),
            ..Self::new(now)
        }
    }

    /// Uses a held token; else returns the time at which one becomes good, or `None` if none is
    /// held.
    pub(in crate::limit) fn use_token(&mut self, now: Instant) -> Result<(), Option<Instant>> {
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

    /// Time before which asking for tokens is of no use, while the most patient request waits for
    /// `patience`.
    pub(in crate::limit) fn ask_from(&self, patience: Duration) -> Instant {
        let ahead = patience.min(MAX_AHEAD);
        // Requests that can wait longer than MAX_AHEAD ask seldom while tokens are short: no reply
        // tells of turns beyond it.
        let margin = if patience > MAX_AHEAD && self.is_short {
            MAX_AHEAD / 2
        } else {
            self.margin(ahead)
        };
        let ahead = (ahead - margin).max(ASK_AHEAD);
        let from = self.next_at.checked_sub(ahead).unwrap_or(self.next_at);
        self.ask_at.max(from)
    }

    /// Margin before the end of a wait of `ahead`: a token that becomes good within it is not asked
    /// for, because the reply takes time too. While tokens are short, a question waits until it
    /// brings the tokens of a while, and not a single one.
    pub(in crate::limit) fn margin(&self, ahead: Duration) -> Duration {
        if ahead <= ASK_AHEAD {
            Duration::ZERO
        } else if self.is_short && ahead > SHORT_AHEAD {
            ASK_AHEAD + SHORT_AHEAD / 4
        } else {
            ASK_AHEAD
        }
    }

    /// Time by which a question takes tokens before they become good, while the most patient
    /// request waits for `patience`.
    pub(in crate::limit) fn ahead(patience: Duration) -> Duration {
        let ahead = patience.saturating_sub(ASK_AHEAD);
        ahead.clamp(ASK_AHEAD, MAX_AHEAD)
    }

    /// Time for which all sidecars together had taken tokens ahead at the last reply.
    pub(in crate::limit) fn taken_ahead(&self) -> Duration {
        self.taken_ahead.min(MAX_AHEAD)
    }

    /// The turn of a request with `ahead` requests before it, at a quota; `Err` with the earliest
    /// time, and the number of requests without a token before it, if no token is held for it.
    pub(in crate::limit) fn turn(
        &self,
        ahead: usize,
        quota: Option<Quota>,
        now: Instant,
    ) -> Result<Instant, (Instant, u32)> {
        self.due.get(ahead).copied().ok_or_else(|| {
            let more = saturated(ahead - self.due.len());
            let earliest = quota.map_or(now, |quota| self.earliest(more, quota, now));
            (self.ask_at.max(earliest), more)
        })
    }

    /// Earliest time at which a token can be good that comes after the held ones and `more` others.
    ///
    /// A bucket of which the last reply left tokens, or of which no reply is known, may have tokens
    /// for many requests at once. An empty bucket gives a token in each interval, and so does any
    /// bucket in a slowdown, however many tokens are left.
    fn earliest(&self, more: u32, quota: Quota, now: Instant) -> Instant {
        let by_bucket = self.bucket(quota).token_after(more, now);
        let last = self.due.back().copied().unwrap_or(self.next_at);
        let first = self.next_at.max(last);
        let normal = quota.interval();
        match self.slowdown {
            Some(slowdown) if slowdown.interval(now) > normal => {
                by_bucket.max(slowdown.turn_after(first.max(now), more, normal))
            }
            _ if self.is_empty => by_bucket.max(first + normal.saturating_mul(more)),
            _ => by_bucket,
        }
    }

    /// The shared bucket at a quota, with as few missing tokens as it can have.
    pub(in crate::limit) fn bucket(&self, quota: Quota) -> Bucket {
        Bucket::new(quota, self.known.full_at)
    }

    /// End of the limit's own pause that the last reply told of, if it outlasts that of the
    /// account.
    pub(in crate::limit) fn told_pause_end(&self) -> Option<Instant> {
        self.told_pause_end
    }

    /// Time between two tokens, as the last reply told it; it recovers since.
    pub(in crate::limit) fn told_interval(&self, now: Instant) -> Option<Duration> {
        self.slowdown.map(|slowdown| slowdown.interval(now))
    }

    /// Knowledge of the bucket to tell the server.
    pub(in crate::limit) fn view(&self, now: Instant) -> LocalView {
        self.known.view(now)
    }

    /// True if other sidecars compete for the tokens.
    pub(in crate::limit) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Number of tokens to ask for while `waiting` requests wait; zero if enough are held.
    pub(in crate::limit) fn wanted(&self, waiting: usize, quota: Quota, now: Instant) -> u32 {
        let per_window = self.bucket(quota).tokens_in(WINDOW);
        // A token taken ahead by a sidecar that sends seldom would be given back unused: two
        // commands in vain.
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
        // A token that was good before the reply is good from now on: no token grows old on the
        // way.
        let due = |number| now.max(reply.first + reply.interval.saturating_mul(number));
        self.due.extend((0..reply.count).map(due));
        // Tokens given back by other sidecars may be earlier than the held tokens.
        self.due.make_contiguous().sort_unstable();
        self.left = reply.left;
        self.is_empty = reply.left == 0 && reply.wait.is_zero();
        self.ask_at = now + reply.wait;
        self.told_pause_end = (reply.wait > reply.account_wait).then_some(self.ask_at);
        // The interval recovers after a pause only.
        self.slowdown = Some(Slowdown::told(reply.interval, self.ask_at));
        self.next_at = now + reply.next;
        self.taken_ahead = reply.next;
        self.is_short = reply.count < wanted;
        // A reply in a pause tells nothing about the tokens: the knowledge from before stays.
        if reply.wait.is_zero() {
            self.known = KnownBucket::told(&reply, now);
        } else {
            self.discard_before(self.ask_at);
        }
    }

    /// Discards the tokens that become good before the `end` of a pause: after the pause, the
    /// tokens would be a burst.
    pub(in crate::limit) fn discard_before(&mut self, end: Instant) {
        let lost = self.due.partition_point(|due| *due < end);
        self.due.drain(..lost);
    }

    /// Returns the tokens not used in time: to be given back to the server. Their number is the
    /// result.
    pub(in crate::limit) fn return_unused(&mut self, quota: Quota, now: Instant) -> u32 {
        self.return_first(self.unused(now), quota)
    }

    /// Returns all held tokens, to be given back to the server. Their number is the result.
    pub(in crate::limit) fn return_all(&mut self, quota: Quota) -> u32 {
        self.return_first(self.due.len(), quota)
    }

    fn return_first(&mut self, count: usize, quota: Quota) -> u32 {
        self.due.drain(..count);
        let count = saturated(count);
        let worth = quota.interval().saturating_mul(count);
        self.next_at = self.next_at.checked_sub(worth).unwrap_or(self.next_at);
        self.known.give_back(worth);
        count
    }

    /// Time at which the first held token is to be given back.
    pub(in crate::limit) fn return_at(&self) -> Option<Instant> {
        self.due.front().map(|due| *due + WINDOW)
    }

    /// Forgets that tokens were short at the last reply: with no request left, the reply grows old.
    pub(in crate::limit) fn forget_shortage(&mut self) {
        self.is_short = false;
    }

    /// Starts again without tokens, for a bucket full in `full_in` at the earliest, whatever the
    /// server knows.
    pub(in crate::limit) fn restart(&mut self, full_in: Duration, now: Instant) {
        *self = Self {
            used: self.used,
            used_lately: self.used_lately,
            ..self.at_new_quota(full_in, now)
        };
    }

    /// Goes on after the loss of a reply, with a bucket full in `full_in` at the earliest, or in
    /// `full_in_if_lost` if the server has lost its state.
    pub(in crate::limit) fn resume(
        &mut self,
        full_in: Duration,
        full_in_if_lost: Duration,
        now: Instant,
    ) {
        self.known.used_beside(full_in, full_in_if_lost, now);
    }

    /// Discards the tokens not used in time, while there is no server to give them back to.
    pub(in crate::limit) fn discard_unused(&mut self, now: Instant) {
        self.due.drain(..self.unused(now));
    }

    /// Number of tokens not used in time.
    fn unused(&self, now: Instant) -> usize {
        self.due.partition_point(|due| *due + WINDOW <= now)
    }
}

/// Time for which tokens are taken ahead: the double of the 50 ms allowed for the server's reply.
/// Much more would hold back tokens from other sidecars, and less would make requests wait for the
/// reply.
const WINDOW: Duration = Duration::from_millis(100);
/// Time over which use is counted to tell a sidecar that sends seldom: ten of [`WINDOW`], lest a
/// pause of a tenth of a second between messages count as seldom.
const LATELY: Duration = Duration::from_secs(1);
/// Least number of tokens used in a second by a sidecar that takes tokens ahead: four in
/// [`WINDOW`], most used in time.
const SELDOM: u32 = 40;
/// Least time by which a token may be taken before becoming good: longer than the way to the shared
/// server and back, lest a token come too late.
const ASK_AHEAD: Duration = Duration::from_millis(50);
/// Most time by which a token may be taken before becoming good. A sidecar that ends keeps tokens
/// from other sidecars for no longer, and a pause stays unknown to a quiet sidecar for no longer.
/// As long as the usual `max_wait`: a single question for each message is enough. `take.lua` has
/// the same number.
const MAX_AHEAD: Duration = Duration::from_secs(2);
/// Time ahead beyond which, while tokens are short, a question waits until it brings the tokens of
/// a fourth of this time: a sidecar asks ten times a second at most, however many sidecars compete.
const SHORT_AHEAD: Duration = Duration::from_millis(400);
