//! Many small token buckets: a bucket for each sender and recipient.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::mem;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::pair::{Pair, PairHasher};
use crate::units::Quota;

/// The buckets of all pairs of a credential, at one quota. Live on over reloads: used tokens stay
/// used.
///
/// A pair with a full bucket is forgotten. With Meta's quota a bucket is full 6 seconds after a
/// message: a million recipients in an hour are some 2,000 pairs at a time.
#[derive(Debug)]
pub(super) struct PairBuckets(Mutex<PairTable>);

#[derive(Clone, Debug)]
struct PairTable {
    quota: Quota,
    began: Instant,
    /// For each pair the time of a full bucket, in nanoseconds since `began`: half of an
    /// [`Instant`].
    ///
    /// The simple table stays: measured by `cargo bench --bench limit` on a busy machine, an own
    /// table with open addressing in 96 shards was no faster at 1,000 pairs (0.3 µs a decision),
    /// and Meta's quota leaves 2,000 pairs at a time.
    full_at: HashMap<Pair, u64, BuildHasherDefault<PairHasher>>,
    /// Number of pairs at which the pairs with a full bucket are forgotten.
    sweep_at: usize,
}

impl PairBuckets {
    /// Full buckets.
    pub(super) fn new(quota: Quota, now: Instant) -> Self {
        Self(Mutex::new(PairTable {
            quota,
            began: now,
            full_at: HashMap::default(),
            sweep_at: MIN_SWEEP,
        }))
    }

    /// A copy with a new quota and every old debt.
    pub(super) fn copy_with_quota(&self, quota: Quota, now: Instant) -> Self {
        let mut copy = self.0.lock().clone();
        copy.change(quota, now);
        Self(Mutex::new(copy))
    }

    /// Changes the quota. Used tokens stay used.
    pub(super) fn change(&self, quota: Quota, now: Instant) {
        self.0.lock().change(quota, now);
    }

    /// Number of remembered pairs.
    pub(super) fn len(&self) -> usize {
        self.0.lock().full_at.len()
    }

    /// The bucket of a pair as of now.
    pub(super) fn bucket(&self, pair: Pair) -> Bucket {
        let table = self.0.lock();
        table.bucket(table.full_at.get(&pair).copied().unwrap_or_default())
    }

    /// Takes a token of a pair and returns the number left; else the time until the next token.
    pub(super) fn take(&self, pair: Pair, now: Instant) -> Result<u32, Duration> {
        let mut table = self.0.lock();
        if table.full_at.len() >= table.sweep_at {
            table.forget_full(now);
        }
        let PairTable {
            quota,
            began,
            full_at,
            ..
        } = &mut *table;
        let full_at = full_at.entry(pair).or_default();
        let mut bucket = Bucket::new(*quota, *began + Duration::from_nanos(*full_at));
        let left = bucket.take(now)?;
        *full_at = nanos_between(*began, bucket.full_at());
        Ok(left)
    }

    /// Delays the coming tokens of a pair, by an interval at most.
    pub(super) fn delay(&self, pair: Pair, by: Duration) {
        let mut table = self.0.lock();
        if let Some(full_at) = table.full_at.get(&pair).copied() {
            let by = by.min(table.quota.interval());
            let delayed = table.bucket(full_at).full_at() + by;
            table.keep(pair, delayed);
        }
    }
}

impl PairTable {
    fn bucket(&self, full_at: u64) -> Bucket {
        Bucket::new(self.quota, self.began + Duration::from_nanos(full_at))
    }

    fn keep(&mut self, pair: Pair, full_at: Instant) {
        let full_at = self.nanos(full_at);
        self.full_at.insert(pair, full_at);
    }

    fn nanos(&self, time: Instant) -> u64 {
        nanos_between(self.began, time)
    }

    fn change(&mut self, quota: Quota, now: Instant) {
        let mut all = mem::take(&mut self.full_at);
        for full_at in all.values_mut() {
            let changed = self.bucket(*full_at).with_quota(quota, now);
            *full_at = self.nanos(changed.full_at());
        }
        self.full_at = all;
        self.quota = quota;
    }

    fn forget_full(&mut self, now: Instant) {
        let now = self.nanos(now);
        self.full_at.retain(|_, full_at| *full_at > now);
        let room = 2 * self.full_at.len();
        self.full_at.shrink_to(room);
        self.sweep_at = room.max(MIN_SWEEP);
    }
}

fn nanos_between(began: Instant, time: Instant) -> u64 {
    let since = time.saturating_duration_since(began);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Number of pairs below which no sweep runs: 1 KiB of table.
const MIN_SWEEP: usize = 64;
