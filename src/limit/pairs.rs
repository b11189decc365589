//! The limits of all pairs: of each sender to each recipient.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::demand::{Demand, FirstOfPair, Limited, Ticket};
use super::kind::LimitKind;
use super::limit::Limit;
use super::pair::{Pair, PairHasher};
use super::pair_buckets::PairBuckets;
use super::pause::PauseLength;
use super::remote::Sharing;
use super::report::{LimitStatus, LimitUsage};
use super::table::{LimitTable, usage};
use super::terms::Terms;
use super::tokens::Tokens;
use super::turnstile::REPLY_PATIENCE;
use crate::provider::Scope;
use crate::shared::DECISION_TIMEOUT;
use crate::units::Quota;

/// The pairs of one credential. A pair costs some 35 bytes while the bucket is not full. Only a
/// pair with a waiting request or a remembered pause has a `Limit`.
#[derive(Debug)]
pub struct Pairs {
    quota: Option<Quota>,
    sharing: Option<Sharing>,
    buckets: Option<Arc<PairBuckets>>,
    limits: Mutex<LimitTable<Pair, BuildHasherDefault<PairHasher>>>,
    hasher: RandomState,
}

impl Pairs {
    /// Unused pairs at a quota, or with pauses only.
    #[must_use]
    pub fn new(quota: Option<Quota>, sharing: Option<Sharing>) -> Self {
        // Without a quota no tokens are counted, and each sidecar learns pauses alone.
        let sharing = sharing.filter(|_| quota.is_some());
        let mut pairs = Self {
            quota,
            sharing,
            buckets: None,
            limits: Mutex::default(),
            hasher: RandomState::new(),
        };
        let buckets = |own| Arc::new(PairBuckets::new(own, Instant::now()));
        pairs.buckets = pairs.own_quota().map(buckets);
        pairs
    }

    /// Pairs at new terms, with these buckets and pauses: requests of both use the same tokens. The
    /// quota of the buckets stays until [`Self::take_effect`].
    #[must_use]
    pub fn successor(&self, quota: Option<Quota>, sharing: Option<Sharing>) -> Self {
        self.with_terms(quota, sharing, |buckets, _| Arc::clone(buckets))
    }

    /// A copy with new terms and every old debt and pause: a reload never refills a bucket.
    #[must_use]
    pub fn copy_with_terms(&self, quota: Option<Quota>, sharing: Option<Sharing>) -> Self {
        self.with_terms(quota, sharing, |buckets, own| {
            Arc::new(buckets.copy_with_quota(own, Instant::now()))
        })
    }

    fn with_terms(
        &self,
        quota: Option<Quota>,
        sharing: Option<Sharing>,
        carry_over: impl FnOnce(&Arc<PairBuckets>, Quota) -> Arc<PairBuckets>,
    ) -> Self {
        let mut pairs = Self::new(quota, sharing);
        pairs.hasher = self.hasher.clone();
        if let (Some(buckets), Some(own)) = (&self.buckets, pairs.own_quota()) {
            pairs.buckets = Some(carry_over(buckets, own));
        }
        // The shared server remembers the pauses of shared limits.
        if pairs.sharing.is_none() {
            let limits_before = self.limits.lock().all();
            let mut limits = LimitTable::default();
            for (pair, limit) in limits_before {
                limits.get_or_insert(pair, || limit.copy_with_terms(pairs.terms(pair, &[])));
            }
            pairs.limits = Mutex::new(limits);
        }
        pairs
    }

    /// Changes the quota of the buckets taken over from the pairs before. Used tokens stay used.
    pub fn take_effect(&self) {
        if let (Some(buckets), Some(own)) = (&self.buckets, self.own_quota()) {
            buckets.change(own, Instant::now());
        }
    }

    /// Quota of each pair for this sidecar alone.
    fn own_quota(&self) -> Option<Quota> {
        self.quota
            .map(|quota| Sharing::share_of(self.sharing.as_ref(), quota))
    }

    /// Quota of each pair, if there is one.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        self.quota
    }

    /// Sharing with other sidecars, if any.
    #[must_use]
    pub fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    /// Use of all pairs.
    #[must_use]
    pub fn usage(&self) -> LimitUsage {
        let limits = self.limits.lock().all();
        LimitUsage {
            in_use: self.buckets.as_ref().map_or(0, |buckets| buckets.len()),
            ..usage(limits)
        }
    }

    /// State of the limit of a pair. Only the shared server knows the tokens of a pair of shared
    /// limits while no request waits.
    #[must_use]
    pub fn status(&self, sender: &str, recipient: &str) -> LimitStatus {
        let pair = self.pair(sender, recipient);
        let open = self.limits.lock().get(&pair);
        let limit = open.unwrap_or_else(|| Arc::new(self.unused(pair, sender, recipient)));
        limit.status()
    }

    /// Waits for a turn of every pair of the request, from `now` on. Messages to further recipients
    /// are not held up.
    ///
    /// # Errors
    /// If a turn cannot come in time.
    pub(super) async fn pass_all(
        &self,
        demand: &Demand<'_>,
        now: Instant,
    ) -> Result<Ticket, Limited> {
        if let [recipient] = demand.recipients {
            return self.pass(demand, recipient, now).await;
        }
        // A token of a pair cannot be given back: of several recipients, the one for whom a wait is
        // in vain is found before the others pay.
        for recipient in demand.recipients {
            self.check(demand, recipient, now)?;
        }
        // A deadline for each recipient would add up, since each reply of the shared server may
        // take a while.
        let deadline = demand.deadline().max(now + REPLY_PATIENCE);
        let passing = timeout_at(deadline, self.pass_together(demand)).await;
        let refused = Limited::new(Scope::Recipient, self.own_quota(), DECISION_TIMEOUT);
        passing.unwrap_or(Err(refused))
    }

    async fn pass_together(&self, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        let mut recipients = demand.recipients.iter();
        let mut passing = FuturesUnordered::new();
        let mut ticket = Ticket::default();
        loop {
            let room = MAX_TOGETHER - passing.len();
            for recipient in recipients.by_ref().take(room) {
                passing.push(self.pass(demand, recipient, Instant::now()));
            }
            match passing.next().await {
                Some(of_one) => ticket = of_one?.and(ticket),
                None => return Ok(ticket),
            }
        }
    }

    /// Refuses, without taking a token, a request to be refused at once by [`pass`](Self::pass).
    fn check(&self, demand: &Demand<'_>, recipient: &str, now: Instant) -> Result<(), Limited> {
        let pair = self.pair(demand.sender, recipient);
        let open = self.limits.lock().get(&pair);
        if let Some(limit) = open {
            return limit.check(demand, now);
        }
        // Only the shared server knows the tokens of a shared pair.
        let buckets = self.buckets.as_ref().filter(|_| self.sharing.is_none());
        let Some(buckets) = buckets else {
            return Ok(());
        };
        let (_, wait) = buckets.bucket(pair).left(now);
        if wait.is_zero() || now + wait <= demand.deadline() {
            return Ok(());
        }
        Err(Limited::new(Scope::Recipient, self.own_quota(), wait))
    }

    /// Waits for a turn of one pair. `now` is not the time of the arrival: the request may have
    /// waited for its body since.
    ///
    /// # Errors
    /// If the turn cannot come in time.
    async fn pass(
        &self,
        demand: &Demand<'_>,
        recipient: &str,
        now: Instant,
    ) -> Result<Ticket, Limited> {
        let pair = self.pair(demand.sender, recipient);
        let open = self.limits.lock().get(&pair);
        if open.is_none() && self.sharing.is_none() {
            let Some(buckets) = &self.buckets else {
                return Ok(Ticket::default());
            };
            if let Ok(left) = buckets.take(pair, now) {
                return Ok(Ticket::of_pair(pair, self.quota, left, now));
            }
        }
        let limit = open.unwrap_or_else(|| self.limit(pair, demand.sender, recipient));
        let _closing = Closing { pairs: self, pair };
        // The limit may have been made after `now`.
        limit.pass(demand, Instant::now()).await
    }

    /// The limit of a pair; made if missing.
    fn limit(&self, pair: Pair, sender: &str, recipient: &str) -> Arc<Limit> {
        let make = || self.unused(pair, sender, recipient);
        self.limits.lock().get_or_insert(pair, make)
    }

    fn unused(&self, pair: Pair, sender: &str, recipient: &str) -> Limit {
        Limit::new(Scope::Recipient, self.terms(pair, &[sender, recipient]))
    }

    fn terms(&self, pair: Pair, parts: &[&str]) -> Terms {
        let terms = Terms::new(LimitKind::Pair, parts, self.quota, self.sharing.as_ref());
        match &self.buckets {
            Some(buckets) => Terms {
                tokens: Tokens::Pair(Arc::clone(buckets), pair),
                ..terms
            },
            None => terms,
        }
    }

    /// Takes note that the provider answered, now, a message that took the first token of a pair's
    /// full bucket.
    ///
    /// The provider counts a message on its arrival, which a handshake or a slow network delays. A
    /// bucket that refills from the taking would then be ahead of the provider's bucket, and the
    /// provider would refuse a later message. The bucket refills from the answer instead, never
    /// earlier than the arrival.
    pub(super) fn answered(&self, first: FirstOfPair, now: Instant) {
        if let Some(buckets) = &self.buckets {
            buckets.delay(first.pair, now - first.taken);
        }
    }

    /// Pauses a pair after a throttle: four times as long as the last pause if the two are in a
    /// row.
    pub(super) fn throttled(&self, sender: &str, recipient: &str, length: PauseLength) {
        let pair = self.pair(sender, recipient);
        let has_room = {
            let mut limits = self.limits.lock();
            limits.get(&pair).is_some() || limits.has_room()
        };
        if has_room {
            self.limit(pair, sender, recipient).throttled(length);
        }
    }

    fn pair(&self, sender: &str, recipient: &str) -> Pair {
        Pair(self.hasher.hash_one((sender, recipient)))
    }
}

/// Lets the limit of a pair go, however a wait ends, if no further request waits and no pause is
/// remembered. What a sidecar knew of a pair would otherwise grow old: a shared server that has
/// lost its state would be told of a pair that has been quiet since.
struct Closing<'p> {
    pairs: &'p Pairs,
    pair: Pair,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.pairs.limits.lock().forget_unused(&self.pair);
    }
}

/// The recipients of a message whose turns are waited for at a time. The shared server runs one
/// script after the other: 64 take a few milliseconds, in which the scripts of other requests wait.
const MAX_TOGETHER: usize = 64;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::limit::tests::{demand, patience, rate};

    /// The first message arrives at the provider after 300 ms, all later ones at once: the
    /// provider's bucket refills from that arrival on.
    #[tokio::test(start_paused = true)]
    async fn tokens_of_a_pair_come_from_the_answer_to_its_first_message_on() {
        let interval = Duration::from_secs(6);
        let pairs = Pairs::new(Some(rate(1, interval).into()), None);
        let send = async |max_wait| {
            let demand = Demand {
                recipients: &["2".to_owned()],
                ..demand("1", patience(max_wait, 10))
            };
            pairs.pass(&demand, "2", Instant::now()).await
        };
        let began = Instant::now();
        let first = send(Duration::ZERO).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        pairs.answered(first.first_of_pair.unwrap(), Instant::now());
        for later in 1..4 {
            let ticket = send(interval * 2).await.unwrap();
            assert_eq!(ticket.first_of_pair, None);
            let due = Duration::from_millis(300) + interval * later;
            let early = due.saturating_sub(began.elapsed());
            assert!(early.is_zero(), "{later}: {early:?} too early");
            assert!(began.elapsed() < due + Duration::from_millis(10), "{later}");
        }
    }

    /// A token in a minute, with a burst.
    fn minute(burst: u32) -> Option<Quota> {
        Some(Quota {
            rate: rate(1, Duration::from_secs(60)),
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_shares_its_tokens_and_a_copy_keeps_its_own() {
        let old = Pairs::new(minute(3), None);
        let recipients = ["2".to_owned()];
        let demand = Demand {
            recipients: &recipients,
            ..demand("1", patience(Duration::ZERO, 10))
        };
        let send = async |pairs: &Pairs| pairs.pass(&demand, "2", Instant::now()).await.is_ok();
        let left = |pairs: &Pairs| pairs.status("1", "2").remaining;
        assert!(send(&old).await);
        let copy = old.copy_with_terms(minute(2), None);
        let new = old.successor(minute(4), None);
        assert_eq!((left(&old), left(&copy)), (2, 1), "as before the reload");
        new.take_effect();
        assert!(send(&old).await, "a request from before the reload");
        assert!(send(&new).await);
        assert_eq!((left(&old), left(&new), left(&copy)), (1, 1, 1));
    }

    /// Rows of the new burst, and the tokens left then of a pair that had used all three: its
    /// bucket is full again no sooner than before.
    #[tokio::test(start_paused = true)]
    async fn a_changed_quota_is_known_to_status_check_and_turn_alike() {
        let recipients = ["2".to_owned()];
        let demand = Demand {
            recipients: &recipients,
            ..demand("1", patience(Duration::ZERO, 10))
        };
        let left_in_turn = async |pairs: &Pairs| {
            let mut gone = 0;
            while pairs.pass(&demand, "2", Instant::now()).await.is_ok() {
                gone += 1;
            }
            gone
        };
        let mut pairs = Pairs::new(minute(3), None);
        assert_eq!(left_in_turn(&pairs).await, 3);
        for (burst, left) in [(3, 0), (4, 1), (5, 1), (2, 0)] {
            pairs = pairs.successor(minute(burst), None);
            pairs.take_effect();
            assert_eq!(pairs.status("1", "2").remaining, left, "burst {burst}");
            let check = pairs.check(&demand, "2", Instant::now());
            assert_eq!(check.is_ok(), left > 0, "burst {burst}");
            assert_eq!(left_in_turn(&pairs).await, left, "burst {burst}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_gives_up_leaves_nothing_behind() {
        let quota = rate(1, Duration::from_secs(60)).into();
        let pairs = Arc::new(Pairs::new(Some(quota), None));
        let pass = || {
            let pairs = Arc::clone(&pairs);
            tokio::spawn(async move {
                let demand = Demand {
                    recipients: &["2".to_owned()],
                    ..demand("1", patience(Duration::from_secs(600), 10))
                };
                pairs.pass(&demand, "2", Instant::now()).await.is_ok()
            })
        };
        let open = || pairs.limits.lock().all().len();
        assert!(pass().await.unwrap());
        let waiting = [pass(), pass()];
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!((pairs.status("1", "2").waiting, open()), (2, 1));
        for waiting in waiting {
            waiting.abort();
            assert!(waiting.await.is_err());
        }
        assert_eq!((pairs.status("1", "2").waiting, open()), (0, 0));
    }
}
