//! How fast a sender may send: what a request asks before it leaves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

mod bucket;

use bucket::Bucket;

use crate::units::Rate;

/// One rate for each of many senders. It lives on over reloads: what was used stays used.
#[derive(Debug)]
pub struct Budget {
    rate: Rate,
    senders: Mutex<Senders>,
}

#[derive(Debug, Default)]
struct Senders {
    buckets: HashMap<Box<str>, Arc<Bucket>>,
    /// How many there may be before those at rest are forgotten.
    sweep_at: usize,
}

/// How long a request may wait for its turn, and behind how many.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest wait.
    pub max_wait: Duration,
    /// The most requests of one sender that wait at a time.
    pub max_queue: usize,
}

/// Leave to send one request.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// How many more could leave at once.
    pub remaining: u32,
    /// How many could leave at once after a rest.
    pub burst: u32,
    /// How long it took to come.
    pub waited: Duration,
    /// The time in which `burst` requests may leave.
    pub window: Duration,
    /// How long it takes until `remaining` is `burst` again.
    pub reset: Duration,
}

/// A request that cannot leave within its patience.
#[derive(Clone, Copy, Debug)]
pub struct Limited {
    /// When it could.
    pub retry_after: Duration,
    /// How many are waiting before it.
    pub waiting: usize,
}

impl Budget {
    /// A budget of which nothing is used yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, senders: Mutex::default() }
    }

    /// Its rate.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// The same senders at another rate. The time that each would have had to rest at the old rate it
    /// has to rest at the new one, so that changing a limit never gives anything away.
    #[must_use]
    pub fn with_rate(&self, rate: Rate) -> Self {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets =
            senders.buckets.iter().map(|(name, bucket)| (name.clone(), Arc::new(bucket.with_rate(rate)))).collect();
        Self { rate, senders: Mutex::new(Senders { buckets, sweep_at: 0 }) }
    }

    /// Waits for a sender's turn, in the order of arrival.
    ///
    /// # Errors
    /// At once where the turn could not come within `patience`.
    pub async fn acquire(&self, sender: &str, patience: Patience, now: Instant) -> Result<Ticket, Limited> {
        self.bucket(sender).acquire(patience, now).await
    }

    /// How many senders are remembered, and how many requests wait for them.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        (senders.buckets.len(), senders.buckets.values().map(|bucket| bucket.waiting()).sum())
    }

    fn bucket(&self, sender: &str) -> Arc<Bucket> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = senders.buckets.get(sender) {
            return Arc::clone(bucket);
        }
        if senders.buckets.len() >= senders.sweep_at {
            // A sender that has rested long enough is the same as one never seen.
            let now = Instant::now();
            senders.buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_rested(now));
            senders.sweep_at = (senders.buckets.len() * 2).clamp(MIN_SWEEP, MAX_SENDERS);
        }
        // No account has so many numbers; those beyond it share what one has.
        let name = if senders.buckets.len() < MAX_SENDERS { sender } else { "" };
        Arc::clone(senders.buckets.entry(name.into()).or_insert_with(|| Arc::new(Bucket::new(self.rate))))
    }
}

const MIN_SWEEP: usize = 1024;
/// The most senders that are told apart at a time.
const MAX_SENDERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn rate(count: u32, per: Duration) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const IMPATIENT: Patience = Patience { max_wait: Duration::ZERO, max_queue: 10 };

    #[tokio::test]
    async fn senders_do_not_share_a_bucket() {
        let budget = Budget::new(rate(2, 60 * SECOND));
        for sender in ["1", "2"] {
            assert_eq!(budget.acquire(sender, IMPATIENT, Instant::now()).await.unwrap().remaining, 1);
            assert_eq!(budget.acquire(sender, IMPATIENT, Instant::now()).await.unwrap().remaining, 0);
            let limited = budget.acquire(sender, IMPATIENT, Instant::now()).await.unwrap_err();
            assert!(limited.retry_after > 29 * SECOND && limited.retry_after <= 30 * SECOND);
        }
    }

    #[tokio::test]
    async fn a_changed_rate_gives_nothing_away() {
        for (old, new) in [(10, 40), (40, 10), (10, 10)] {
            let budget = Budget::new(rate(old, 60 * SECOND));
            while budget.acquire("1", IMPATIENT, Instant::now()).await.is_ok() {}
            let changed = budget.with_rate(rate(new, 60 * SECOND));
            assert!(changed.acquire("1", IMPATIENT, Instant::now()).await.is_err(), "{old} -> {new}");
            assert_eq!(changed.acquire("2", IMPATIENT, Instant::now()).await.unwrap().remaining, new - 1);
        }
    }

    #[tokio::test]
    async fn a_half_used_bucket_stays_half_used_at_another_rate() {
        let budget = Budget::new(rate(100, 3600 * SECOND));
        for _ in 0..50 {
            budget.acquire("1", IMPATIENT, Instant::now()).await.unwrap();
        }
        let changed = budget.with_rate(rate(10, 3600 * SECOND));
        assert_eq!(changed.acquire("1", IMPATIENT, Instant::now()).await.unwrap().remaining, 4);
    }

    #[tokio::test]
    async fn those_over_the_limit_wait_in_order_of_arrival() {
        let budget = Arc::new(Budget::new(rate(1, SECOND / 50)));
        let patience = Patience { max_wait: SECOND, max_queue: 100 };
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..10)
            .map(|turn| {
                let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
                tokio::spawn(async move {
                    budget.acquire("1", patience, Instant::now()).await.unwrap();
                    order.lock().unwrap().push(turn);
                })
            })
            .collect();
        let start = std::time::Instant::now();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
        assert!(start.elapsed() >= Duration::from_millis(170));
    }

    #[tokio::test]
    async fn a_wait_that_would_be_too_long_is_refused_at_once_and_a_full_queue_too() {
        let budget = Arc::new(Budget::new(rate(1, SECOND)));
        let patience = Patience { max_wait: 3 * SECOND, max_queue: 2 };
        budget.acquire("1", patience, Instant::now()).await.unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { budget.acquire("1", patience, Instant::now()).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = std::time::Instant::now();
        let limited = budget.acquire("1", patience, Instant::now()).await.unwrap_err();
        assert_eq!(limited.waiting, 2);
        assert!(limited.retry_after > 2 * SECOND && limited.retry_after <= 3 * SECOND, "{limited:?}");
        let short = Patience { max_wait: SECOND, max_queue: 100 };
        assert!(budget.acquire("1", short, Instant::now()).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(50));
        for task in waiting {
            task.abort();
        }
    }

    #[tokio::test]
    async fn one_who_leaves_the_queue_makes_room_in_it() {
        let budget = Arc::new(Budget::new(rate(1, SECOND / 10)));
        let patience = Patience { max_wait: SECOND, max_queue: 1 };
        budget.acquire("1", patience, Instant::now()).await.unwrap();
        let gone = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.acquire("1", patience, Instant::now()).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!(budget.usage(), (1, 0));
        budget.acquire("1", patience, Instant::now()).await.unwrap();
    }

    #[tokio::test]
    async fn however_many_names_are_used_the_table_has_a_bound() {
        let budget = Budget::new(rate(2, 3600 * SECOND));
        let mut refused = 0;
        for sender in 0..MAX_SENDERS + 100 {
            refused += usize::from(budget.acquire(&sender.to_string(), IMPATIENT, Instant::now()).await.is_err());
        }
        assert_eq!((budget.usage().0, refused), (MAX_SENDERS + 1, 98));
        assert!(budget.acquire("0", IMPATIENT, Instant::now()).await.is_ok(), "one that is known has its own");
    }

    #[tokio::test]
    async fn senders_at_rest_are_forgotten() {
        let budget = Budget::new(rate(1000, SECOND / 100));
        for sender in 0..5000 {
            budget.acquire(&sender.to_string(), IMPATIENT, Instant::now()).await.unwrap();
            if sender % 1000 == 0 {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        assert!(budget.usage().0 <= 3 * MIN_SWEEP, "{:?}", budget.usage());
    }
}
