//! A token bucket, counted by governor. Pure: time is an argument.
//!
//! governor decides whether a token is there, by the generic cell rate algorithm, as in
//! `remote/scripts/take.lua`. governor keeps no queue, takes no token back, begins full at a
//! changed quota (boinkor-net/governor#39), and cannot tell the tokens left without taking one.
//! Therefore [`super::queue`] keeps the queue, and the bucket keeps the one time that is the whole
//! state of the algorithm; governor gets the state and the time for each decision.

use std::cell::Cell;
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use tokio::time::Instant;

use super::demand::UnqueuedMessages;
use crate::units::{MAX_WINDOW, Quota, saturated};

/// The tokens of a sender, a pair or an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    quota: Quota,
    /// Time at which all tokens are back: the whole state of the algorithm.
    full_at: Instant,
}

impl Bucket {
    /// A bucket that is full again at the given time.
    pub(super) fn new(quota: Quota, full_at: Instant) -> Self {
        Self { quota, full_at }
    }

    /// A copy with a new quota and the old debt: the bucket is full again at the time of the old
    /// bucket, and a changed limit gives no token away. Overdrawn tokens are to come at the new
    /// rate.
    pub(super) fn with_quota(&self, quota: Quota, now: Instant) -> Self {
        let overdrawn = self.missing(now).saturating_sub(self.quota.burst.get());
        let full_in = self.full_in(now).min(self.quota.window());
        let mut changed = Self::new(quota, now + full_in.min(quota.window()));
        // Tokens that would come for much longer than before are forgiven: whoever lowers a limit
        // stops no sending.
        let longest = self.overdrawn_for(now).max(MAX_OVERDRAFT);
        changed.overdraw(overdrawn, longest, now);
        changed
    }

    /// Quota of the bucket.
    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    /// Time at which the bucket is full again.
    pub(super) fn full_at(&self) -> Instant {
        self.full_at
    }

    /// Time until the bucket is full again.
    pub(super) fn full_in(&self, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now)
    }

    /// Number of tokens left, and the time until a token is left.
    pub(super) fn left(&self, now: Instant) -> (u32, Duration) {
        self.quota.left(self.full_in(now))
    }

    /// Time at which a token is good that comes after `more` others.
    pub(super) fn token_after(&self, more: u32, now: Instant) -> Instant {
        let tokens = self.quota.interval().saturating_mul(more.saturating_add(1));
        let used = self.full_in(now).saturating_add(tokens);
        now + used.saturating_sub(self.quota.window())
    }

    /// Number of missing tokens; above the burst if the bucket is overdrawn.
    pub(super) fn missing(&self, now: Instant) -> u32 {
        let missing = self.full_in(now).as_nanos();
        saturated(missing.div_ceil(self.quota.interval().as_nanos()))
    }

    /// Number of tokens that come in a time.
    pub(super) fn tokens_in(&self, time: Duration) -> u32 {
        saturated(time.as_nanos() / self.quota.interval().as_nanos())
    }

    /// Time until the bucket is no more than empty; zero if the bucket is not overdrawn.
    pub(super) fn overdrawn_for(&self, now: Instant) -> Duration {
        self.full_in(now).saturating_sub(self.quota.window())
    }

    /// Takes a token and returns the number left; else the time until the next token.
    pub(super) fn take(&mut self, now: Instant) -> Result<u32, Duration> {
        let state = BucketMemory {
            full_in: Cell::new(self.full_in(now).into()),
        };
        let governor: RateLimiter<_, _, _, StateInformationMiddleware> =
            RateLimiter::new(self.quota.into(), &state, TimeOfDecision);
        let taken = governor
            .check()
            .map_err(|not_until| not_until.wait_time_from(TimeOfDecision.now()))?;
        self.full_at = now + state.full_in.get().into();
        Ok(taken.remaining_burst_capacity())
    }

    /// Makes at least `tokens` tokens missing at `at`, at most the whole bucket.
    pub(super) fn remove_at_least(&mut self, tokens: u32, at: Instant) {
        let tokens = tokens.min(self.quota.burst.get());
        let full_in = self.quota.interval().saturating_mul(tokens);
        self.full_at = self.full_at.max(at + full_in);
    }

    /// Takes tokens, even missing tokens, for messages that cannot wait. Sent messages are charged
    /// whole, received messages up to an overdraft of [`MAX_OVERDRAFT`] or a token.
    pub(super) fn charge(&mut self, messages: UnqueuedMessages, now: Instant) {
        let longest = match messages {
            UnqueuedMessages::Received(_) => MAX_OVERDRAFT,
            UnqueuedMessages::Sent(_) => MAX_WINDOW,
        };
        self.overdraw(messages.count(), longest, now);
    }

    /// Takes tokens, so that the bucket is overdrawn for `longest` at most, or by a token. A longer
    /// overdraft stays.
    fn overdraw(&mut self, tokens: u32, longest: Duration, now: Instant) {
        let interval = self.quota.interval();
        let most = self.quota.window() + longest.max(interval);
        let before = self.full_in(now);
        let charged = before + interval.saturating_mul(tokens).min(most);
        self.full_at = now + charged.min(most).max(before);
    }
}

/// The memory of governor for one decision.
struct BucketMemory {
    /// The time from the decision to a full bucket.
    full_in: Cell<Nanos>,
}

impl StateStore for &BucketMemory {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (taken, full_in) = decide(Some(self.full_in.get()))?;
        self.full_in.set(full_in);
        Ok(taken)
    }
}

/// The clock of governor for one decision: it stands at zero, and states are times from there.
struct TimeOfDecision;

impl Clock for TimeOfDecision {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}

impl From<Quota> for governor::Quota {
    fn from(quota: Quota) -> Self {
        // An interval is never zero.
        Self::with_period(quota.interval())
            .unwrap_or_else(|| Self::per_second(quota.burst))
            .allow_burst(quota.burst)
    }
}

/// Longest overdraft for received messages, as the time to pay for them: however many messages come
/// at once, sending goes on after ten seconds.
const MAX_OVERDRAFT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::tests::rate;

    const MILLI: Duration = Duration::from_millis(1);

    fn quota(count: u32, per: Duration) -> Quota {
        rate(count, per).into()
    }

    fn per_second(count: u32) -> Quota {
        quota(count, Duration::from_secs(1))
    }

    /// Rows of milliseconds since the bucket was full, and the outcome of a taking then.
    #[test]
    fn a_burst_goes_and_then_a_token_in_each_interval() {
        let began = Instant::now();
        let mut bucket = Bucket::new(per_second(4), began);
        for (at_ms, outcome) in [
            (0, Ok(3)),
            (0, Ok(2)),
            (0, Ok(1)),
            (0, Ok(0)),
            (0, Err(250)),
            (249, Err(1)),
            (250, Ok(0)),
            (251, Err(249)),
            (1000, Ok(2)),
            (5000, Ok(3)),
        ] {
            let taken = bucket.take(began + at_ms * MILLI);
            assert_eq!(taken, outcome.map_err(|wait| wait * MILLI), "{at_ms} ms");
        }
    }

    /// Rows of old rate, missing tokens, new rate, and missing tokens then.
    #[test]
    fn a_changed_quota_gives_no_token_away() {
        let now = Instant::now();
        for (old, missing, new, then) in [
            (10, 0, 40, 0),
            (10, 10, 40, 40),
            (40, 40, 10, 10),
            (100, 50, 10, 5),
            (10, 15, 40, 45),
            (40, 45, 10, 15),
        ] {
            let mut bucket = Bucket::new(per_second(old), now);
            bucket.charge(UnqueuedMessages::Received(missing), now);
            let changed = bucket.with_quota(per_second(new), now);
            assert_eq!(changed.missing(now), then, "{old} -> {new}");
        }
    }

    /// Rows of quota, tokens charged to a full bucket, and the time for which it is overdrawn.
    #[test]
    fn an_overdraft_has_a_bound() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        for (quota, tokens, overdrawn_for) in [
            (per_second(10), 10, Duration::ZERO),
            (per_second(10), 15, 500 * MILLI),
            (per_second(10), u32::MAX, MAX_OVERDRAFT),
            (quota(1, hour), u32::MAX, hour),
            (quota(1, MAX_WINDOW), u32::MAX, MAX_WINDOW),
        ] {
            let mut bucket = Bucket::new(quota, now);
            bucket.charge(UnqueuedMessages::Received(tokens), now);
            bucket.charge(
                UnqueuedMessages::Received(tokens.saturating_sub(1_000_000)),
                now,
            );
            assert_eq!(bucket.overdrawn_for(now), overdrawn_for, "{quota} {tokens}");
        }
    }

    #[test]
    fn sent_messages_are_paid_for_whole_and_received_ones_forgive_none() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let mut bucket = Bucket::new(per_second(10), now);
        bucket.charge(UnqueuedMessages::Sent(1010), now);
        assert_eq!(bucket.overdrawn_for(now), seconds(100));
        bucket.charge(UnqueuedMessages::Received(50), now);
        assert_eq!(bucket.overdrawn_for(now), seconds(100));
        bucket.charge(UnqueuedMessages::Sent(10), now);
        assert_eq!(bucket.overdrawn_for(now), seconds(101));
        for (rate, overdrawn_ms) in [(10, 101_000), (100, 10_100), (1, 101_000)] {
            let changed = bucket.with_quota(per_second(rate), now);
            assert_eq!(changed.overdrawn_for(now), overdrawn_ms * MILLI, "{rate}");
        }
        bucket.charge(UnqueuedMessages::Sent(u32::MAX), now);
        bucket.charge(UnqueuedMessages::Sent(u32::MAX), now);
    }
}
