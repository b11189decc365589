//! A turnstile lets requests through as the pacer decides, and keeps the rest in the queue. Pure:
//! no clock, no lock, no channel. [`super::limit`] puts a lock around a turnstile; the simulation
//! of `benches/scale` drives thousands by hand.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::demand::{Demand, Limited, Ticket};
use super::pacer::{LOST_POLL, Next, Pacer};
use super::queue::{Queue, Waiter};
use super::remote::{CountedBy, Prefetch, TakeReply, TakeRequest};
use super::report::LimitStatus;
use super::tokens::Tokens;
use crate::config::OnFailure;
use crate::provider::Scope;
use crate::shared::DECISION_TIMEOUT;
use crate::units::{Quota, saturated};

/// The turns of one limit. `T` is the way to tell a waiting request to go.
#[derive(Debug)]
pub struct Turnstile<T> {
    pub(super) pacer: Pacer,
    queue: Queue<T>,
}

/// The place of a request that came to a turnstile. `W` is the way to hear of the turn.
#[derive(Debug)]
pub enum Place<W> {
    /// The request goes at once.
    Through(Ticket),
    /// The request waits in the queue.
    Waiting {
        /// Number to leave the queue by.
        number: u64,
        /// Time until which the request may be kept.
        deadline: Instant,
        /// The way to hear of the turn.
        turn: W,
    },
}

impl<T> Turnstile<T> {
    /// An unused turnstile.
    pub(super) fn new(pacer: Pacer) -> Self {
        Self {
            pacer,
            queue: Queue::default(),
        }
    }

    /// An unused turnstile of a sender, counted by a shared server for `replicas` sidecars.
    #[must_use]
    pub fn shared(quota: Quota, replicas: NonZeroU32, now: Instant) -> Self {
        let tokens = Tokens::new(Some(quota.share(replicas)), now);
        let mut pacer = Pacer::new(Scope::Sender, Some(quota), tokens, now);
        pacer.set_counter(CountedBy::Server, now);
        Self::new(pacer)
    }

    /// Takes note that the shared server is lost, or is back if `lost` is `None`.
    pub fn server_is(&mut self, lost: Option<OnFailure>, now: Instant) {
        let counted_by = lost.map_or(CountedBy::Server, CountedBy::LocalWhileLost);
        self.pacer.set_counter(counted_by, now);
    }

    /// Lets a request through or into the queue; `channel` makes the way to tell the request to go,
    /// and to hear of it.
    ///
    /// # Errors
    /// If waiting is in vain.
    pub fn enter<W>(
        &mut self,
        demand: &Demand<'_>,
        now: Instant,
        channel: impl FnOnce() -> (T, W),
    ) -> Result<Place<W>, Limited> {
        // No request passes a waiting request, not even for a free token: the order of the queue is
        // fair.
        if self.queue.is_empty()
            && let Ok(ticket) = self.pacer.decide(1, demand.deadline(), now)
        {
            return Ok(Place::Through(ticket));
        }
        self.admit(demand, now)?;
        let (sender, turn) = channel();
        let waiter = Waiter {
            application: demand.application,
            turn: sender,
            deadline: demand.deadline(),
            max_queue: demand.patience.max_queue,
        };
        Ok(Place::Waiting {
            number: self.queue.join(demand.urgency, waiter),
            deadline: self.deadline(demand, now),
            turn,
        })
    }

    /// Refuses, without taking a token, a request to be refused at once by [`enter`](Self::enter).
    pub(super) fn check(&self, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        if self.queue.is_empty() && self.pacer.wait(0, now).is_zero() {
            return Ok(());
        }
        self.admit(demand, now)
    }

    /// Refuses a request for which waiting is in vain.
    fn admit(&self, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        // A reply of the server may let hundreds through at once: until then, a long queue proves
        // nothing.
        let most = if self.pacer.is_wait_known() {
            demand.patience.max_queue
        } else {
            demand.patience.max_queue.max(MAX_ASKING)
        };
        let ahead = self.queue.ahead_of(demand.urgency, demand.application);
        let deadline = self.deadline(demand, now);
        if self.queue.len() >= most || self.pacer.is_in_vain(ahead, deadline, now) {
            return Err(self.refusal(demand, now));
        }
        Ok(())
    }

    /// Takes a request out of the queue before its turn.
    pub fn leave(&mut self, number: u64) {
        self.queue.leave(number);
    }

    /// The refusal of a request without a turn in time, with an honest Retry-After: the time after
    /// which a new request could go.
    pub(super) fn refusal(&self, demand: &Demand<'_>, now: Instant) -> Limited {
        let ahead = self.queue.ahead_of(demand.urgency, demand.application);
        Limited {
            scope: self.pacer.scope,
            retry_after: self.pacer.wait(ahead, now),
            quota: self.pacer.quota_in_charge(),
            waiting: self.queue.len(),
            is_closed: self.pacer.is_closed(),
            pause: self.pacer.pause_at(now).map(|pause| pause.reason),
        }
    }

    /// Lets through all requests with a turn now, and returns the next step. `hand_out` tells a
    /// request to go; false if the request has given up.
    pub fn let_through(
        &mut self,
        now: Instant,
        mut hand_out: impl FnMut(T, Ticket) -> bool,
    ) -> Next {
        loop {
            // Counted anew each time: refused requests and requests that have given up need no
            // token.
            let waiting = self.queue.len();
            match self.pacer.decide(waiting, self.latest(now), now) {
                // A request that has just given up leaves the ticket to the next.
                Ok(ticket) => {
                    while let Some(waiter) = self.queue.next() {
                        if hand_out(waiter.turn, ticket) {
                            break;
                        }
                    }
                }
                Err(Next::At(at)) if waiting > 0 && self.pacer.counted_by != CountedBy::Local => {
                    // The server's reply may have made some requests hopeless.
                    self.dismiss(now);
                    if !self.queue.is_empty() {
                        // The counter may change meanwhile.
                        return Next::At(at.min(now + LOST_POLL));
                    }
                }
                Err(next) => return next,
            }
        }
    }

    /// Time until which the most patient request waits.
    fn latest(&self, now: Instant) -> Instant {
        self.queue.latest().unwrap_or(now)
    }

    /// Refuses the requests known to be too late.
    pub(super) fn dismiss(&mut self, now: Instant) {
        let pacer = &self.pacer;
        self.queue.dismiss(|ahead, waiter| {
            let is_late = pacer.is_in_vain(ahead, waiter.deadline, now);
            !pacer.wait(ahead, now).is_zero() && (ahead >= waiter.max_queue || is_late)
        });
    }

    /// The request for tokens to send to the shared server; none without a quota.
    #[must_use]
    pub fn request(&self, wanted: u32, now: Instant) -> Option<TakeRequest> {
        Some(TakeRequest {
            quota: self.pacer.quota?,
            wanted,
            ahead: Prefetch::ahead(self.latest(now).saturating_duration_since(now)),
            known: self.pacer.prefetch.view(now),
        })
    }

    /// Adds the tokens of the shared server's reply to a request for `wanted`.
    pub fn add(&mut self, reply: TakeReply, wanted: u32, now: Instant) {
        self.pacer.prefetch.add(reply, wanted, now);
    }

    /// True if held tokens run low and new ones should be asked for before a request waits.
    #[must_use]
    pub fn runs_low(&self, now: Instant) -> bool {
        self.pacer.runs_low(now)
    }

    /// True if no request waits, and forgetting the turnstile would change no decision.
    pub(super) fn is_unused(&self, now: Instant) -> bool {
        self.queue.is_empty() && self.pacer.is_unused(now)
    }

    /// State of the limit.
    pub(super) fn status(&self, now: Instant) -> LimitStatus {
        let pacer = &self.pacer;
        let waiting = self.queue.len();
        let (remaining, next_in) = pacer.remaining(now);
        // The pacer may know the next token alone: each waiting request costs an interval more.
        let behind = pacer.interval().saturating_mul(saturated(waiting));
        LimitStatus {
            quota: pacer.quota,
            remaining,
            interval: pacer.shown_interval(now),
            waiting,
            wait: pacer.wait(waiting, now).max(next_in + behind),
            pause: pacer.shown_pause(now),
            is_closed: pacer.is_closed(),
        }
    }

    /// Time until which a request may be kept: even a request without patience waits for the shared
    /// server's reply.
    fn deadline(&self, demand: &Demand<'_>, now: Instant) -> Instant {
        if self.pacer.is_shared() {
            demand.deadline().max(now + REPLY_PATIENCE)
        } else {
            demand.deadline()
        }
    }
}

/// Time for which a request without patience waits for the shared server's reply: a little longer
/// than the server has, so that the sidecar counts alone before the request gives up.
pub(super) const REPLY_PATIENCE: Duration =
    DECISION_TIMEOUT.saturating_add(Duration::from_millis(10));
/// Most requests in the queue while the shared server is asked and the wait is not known: the
/// default of `max_queue`.
const MAX_ASKING: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::pause::{PauseLength, PauseReason};
    use crate::limit::tests::{demand, patience, rate};

    const MICRO: Duration = Duration::from_micros(1);
    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A token in six seconds, and a burst of five: the default of pairs, but for the burst.
    fn of_a_pair() -> Quota {
        Quota {
            rate: rate(1, 6 * SECOND),
            burst: NonZeroU32::new(5).unwrap(),
        }
    }

    /// A request that waits for two seconds at most; true if the request may wait or go.
    fn enters(turnstile: &mut Turnstile<()>, now: Instant) -> bool {
        let demand = demand("1", patience(2 * SECOND, 1000));
        turnstile.enter(&demand, now, || ((), ())).is_ok()
    }

    fn gone(turnstile: &mut Turnstile<()>, now: Instant) -> (u32, Next) {
        let mut gone = 0;
        let next = turnstile.let_through(now, |(), _| {
            gone += 1;
            true
        });
        (gone, next)
    }

    #[test]
    fn requests_at_once_wait_for_a_reply_that_may_let_all_of_them_through() {
        let now = Instant::now();
        let mut turnstile = Turnstile::shared(of_a_pair(), NonZeroU32::MIN, now);
        let entered = (0..8).filter(|_| enters(&mut turnstile, now)).count();
        assert_eq!(entered, 5, "as many as a full bucket has tokens");
        assert_eq!(gone(&mut turnstile, now), (0, Next::Ask(5)));
        // The reply has tokens for two, and leaves three in the bucket.
        let reply = TakeReply {
            count: 2,
            first: now,
            interval: Duration::ZERO,
            left: 3,
            full_in: 12 * SECOND,
            wait: Duration::ZERO,
            account_wait: Duration::ZERO,
            next: Duration::ZERO,
            epoch: 1,
            given_back: Duration::ZERO,
        };
        turnstile.add(reply, 2, now);
        assert_eq!(gone(&mut turnstile, now), (2, Next::Ask(3)));
        assert!(!enters(&mut turnstile, now), "three tokens, three waiters");
        let rest = TakeReply {
            count: 3,
            left: 0,
            full_in: 30 * SECOND,
            next: 6 * SECOND,
            ..reply
        };
        turnstile.add(rest, 3, now);
        assert_eq!(gone(&mut turnstile, now).0, 3);
        assert!(!enters(&mut turnstile, now), "the bucket is empty");
    }

    /// A hundred requests at once, at 80 a second, with a patience of two seconds, of which 150 ms
    /// are kept for the reply of a server that is short of tokens.
    #[test]
    fn in_a_slowdown_no_more_requests_wait_than_can_go_in_time_however_many_tokens_are_left() {
        let now = Instant::now();
        let at_once = TakeReply {
            count: 0,
            first: now,
            interval: 12_500 * MICRO,
            left: 70,
            full_in: 125 * MILLI,
            wait: Duration::ZERO,
            account_wait: Duration::ZERO,
            next: Duration::ZERO,
            epoch: 1,
            given_back: Duration::ZERO,
        };
        let slowed = TakeReply {
            interval: 200 * MILLI,
            ..at_once
        };
        let in_pause = |reply| TakeReply {
            left: 0,
            full_in: Duration::ZERO,
            wait: 500 * MILLI,
            account_wait: Duration::ZERO,
            next: 500 * MILLI,
            ..reply
        };
        for (reply, expected, why) in [
            (at_once, 100, "the whole bucket at once"),
            // Five in the first second, and then one in each 170 ms.
            (slowed, 11, "one in each slowed interval"),
            (in_pause(at_once), 100, "the whole bucket after the pause"),
            (in_pause(slowed), 8, "one in each interval after the pause"),
        ] {
            let mut turnstile = Turnstile::shared(rate(80, SECOND).into(), NonZeroU32::MIN, now);
            assert!(enters(&mut turnstile, now));
            turnstile.add(reply, 1, now);
            let entered = (1..100).filter(|_| enters(&mut turnstile, now)).count();
            assert_eq!(1 + entered, expected, "{why}");

            let mut turnstile = Turnstile::shared(rate(80, SECOND).into(), NonZeroU32::MIN, now);
            (0..100).for_each(|_| assert!(enters(&mut turnstile, now), "{why}"));
            turnstile.add(reply, 100, now);
            turnstile.dismiss(now);
            assert_eq!(turnstile.queue.len(), expected, "{why}: before the reply");
        }
    }

    #[test]
    fn the_status_shows_a_pause_that_the_shared_server_tells_of() {
        let now = Instant::now();
        // The pause met here, that of the reply, the account's part of it, and what is shown.
        for (own, told, account, end, reason) in [
            (0, 0, 0, 0, None),
            (0, 5, 0, 5, Some(PauseReason::Elsewhere)),
            (0, 5, 2, 5, Some(PauseReason::Elsewhere)),
            // The account's pause is told as the account's.
            (0, 5, 5, 0, None),
            (5, 5, 0, 5, Some(PauseReason::Throttled)),
            (1, 60, 0, 60, Some(PauseReason::Elsewhere)),
            (60, 5, 0, 60, Some(PauseReason::Throttled)),
        ] {
            let mut turnstile = Turnstile::shared(rate(20, SECOND).into(), NonZeroU32::MIN, now);
            assert!(enters(&mut turnstile, now));
            let reply = TakeReply {
                account_wait: account * SECOND,
                ..reply_of(50 * MILLI, told * SECOND, now)
            };
            turnstile.add(reply, 1, now);
            if own > 0 {
                let named = PauseLength {
                    first: own * SECOND,
                    named: Some(own * SECOND),
                };
                turnstile.pacer.throttled(named, now);
            }
            let shown = turnstile.status(now).pause;
            let expected = reason.map(|reason| (now + end * SECOND, reason));
            let shown = shown.map(|pause| (pause.until, pause.reason));
            assert_eq!(shown, expected, "{own} {told} {account}");
            assert!(
                turnstile.status(now + 60 * SECOND).pause.is_none(),
                "its end"
            );
        }
    }

    /// A reply of the server with a token in each `interval`, after a pause of `wait`.
    fn reply_of(interval: Duration, wait: Duration, now: Instant) -> TakeReply {
        TakeReply {
            count: 0,
            first: now,
            interval,
            left: 0,
            full_in: Duration::ZERO,
            wait,
            account_wait: Duration::ZERO,
            next: wait,
            epoch: 1,
            given_back: Duration::ZERO,
        }
    }

    /// Rows of the interval in the server's reply, double the interval of the quota, the seconds
    /// since, and the shown interval.
    #[test]
    fn the_status_shows_a_slowdown_that_another_sidecar_met() {
        let now = Instant::now();
        for (told_ms, after, expected) in [
            (100, 0, Some(100)),
            (100, 1, Some(85)),
            (100, 5, None),
            (50, 0, None),
        ] {
            let mut turnstile = Turnstile::shared(rate(20, SECOND).into(), NonZeroU32::MIN, now);
            assert!(enters(&mut turnstile, now));
            turnstile.add(reply_of(told_ms * MILLI, Duration::ZERO, now), 1, now);
            let later = now + after * SECOND;
            let shown = turnstile.status(later).interval;
            let shown = shown.map(|interval| interval.as_millis());
            assert_eq!(shown, expected, "{told_ms} ms, {after} s later");
            turnstile.server_is(Some(OnFailure::Local), later);
            let alone = turnstile.status(later).interval;
            assert_eq!(alone, None, "the sidecar alone knows of no slowdown");
        }
    }

    #[test]
    fn in_the_pause_of_a_throttle_no_more_requests_wait_than_can_go_after_the_pause() {
        let now = Instant::now();
        let mut turnstile = Turnstile::shared(rate(80, SECOND).into(), NonZeroU32::MIN, now);
        let length = PauseLength {
            first: SECOND,
            named: None,
        };
        turnstile.pacer.throttled(length, now);
        let entered = (0..100).filter(|_| enters(&mut turnstile, now)).count();
        assert_eq!(entered, 39, "one in each 25 ms after a second");
    }

    /// Three requests that wait for the reply of a server that is lost then.
    #[test]
    fn the_loss_of_the_server_refuses_no_request_for_which_the_share_has_a_token() {
        for (on_failure, expected) in [
            // A token of the share is taken to be used already.
            (OnFailure::Local, 4),
            (OnFailure::Open, 8),
        ] {
            let now = Instant::now();
            let mut turnstile = Turnstile::shared(of_a_pair(), NonZeroU32::MIN, now);
            assert!((0..3).all(|_| enters(&mut turnstile, now)));
            turnstile.server_is(Some(on_failure), now);
            let entered = (0..5).filter(|_| enters(&mut turnstile, now)).count();
            assert_eq!(3 + entered, expected, "{on_failure:?}");
            let (gone, _) = gone(&mut turnstile, now);
            assert_eq!(gone as usize, expected, "{on_failure:?}");
        }
    }
}
