//! Many small token buckets: a bucket for each sender and recipient.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::bucket::Bucket;
use crate::units::Quota;

/// A sender and a recipient, as a hash with a secret key of the process: no phone
/// number is kept in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pair(pub(super) u64);

/// The hasher of pairs, which are hashes already.
#[derive(Debug, Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, pair: u64) {
        self.0 = pair;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The buckets of all pairs of a credential, at one quota.
///
/// A pair with a full bucket is forgotten. With Meta's quota a bucket is full 6 seconds after a
/// message: a million recipients in an hour are some 2,000 pairs at a time.
#[derive(Debug)]
pub(super) struct PairBuckets {
    quota: Quota,
    began: Instant,
    table: Mutex<PairTable>,
}

#[derive(Debug)]
struct PairTable {
    /// For each pair the time of a full bucket, in nanoseconds since `began`: half of an [`Instant`].
    ///
    /// The simple table stays: measured by `cargo bench --bench limit` on a busy machine, an own
    /// table with open addressing in 96 shards was no faster at 1,000 pairs (0.3 µs a decision), and
    /// Meta's quota leaves 2,000 pairs at a time.
    full_at: HashMap<Pair, u64, BuildHasherDefault<PairHasher>>,
    /// Number of pairs at which the pairs with a full bucket are forgotten.
    sweep_at: usize,
    /// The buckets at the quota before, until the last token taken there has come back.
    before: Option<(Arc<PairBuckets>, Instant)>,
}

impl PairBuckets {
    /// Full buckets. While tokens taken from the buckets `before` can still be missing there, a
    /// request needs a token of both: a changed quota gives no token away.
    pub(super) fn new(quota: Quota, before: Option<&Arc<Self>>, now: Instant) -> Self {
        let before = before.map(|before| (Arc::clone(before), now + before.quota.window()));
        Self {
            quota,
            began: now,
            table: Mutex::new(PairTable {
                full_at: HashMap::default(),
                sweep_at: MIN_SWEEP,
                before,
            }),
        }
    }

    /// Number of remembered pairs.
    pub(super) fn len(&self) -> usize {
        self.table.lock().full_at.len()
    }

    /// The bucket of a pair as of now.
    pub(super) fn bucket(&self, pair: Pair) -> Bucket {
        let full_at = self.table.lock().full_at.get(&pair).copied();
        self.bucket_full_at(full_at.unwrap_or_default())
    }

    /// Takes a token of a pair and returns the number left; else the time until the next token.
    pub(super) fn take(&self, pair: Pair, now: Instant) -> Result<u32, Duration> {
        let mut table = self.table.lock();
        table.before.take_if(|(_, until)| *until <= now);
        if let Some((before, _)) = &table.before {
            before.take(pair, now)?;
        }
        if table.full_at.len() >= table.sweep_at {
            table.forget_full(self.nanos(now));
        }
        let full_at = table.full_at.entry(pair).or_default();
        let mut bucket = self.bucket_full_at(*full_at);
        let left = bucket.take(now)?;
        *full_at = self.nanos(bucket.full_at());
        Ok(left)
    }

    /// Delays the coming tokens of a pair, by an interval at most.
    pub(super) fn delay(&self, pair: Pair, by: Duration) {
        let by = by.min(self.quota.interval());
        if let Some(full_at) = self.table.lock().full_at.get_mut(&pair) {
            let delayed = self.bucket_full_at(*full_at).full_at() + by;
            *full_at = self.nanos(delayed);
        }
    }

    fn bucket_full_at(&self, nanos: u64) -> Bucket {
        Bucket::new(self.quota, self.began + Duration::from_nanos(nanos))
    }

    fn nanos(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl PairTable {
    fn forget_full(&mut self, now: u64) {
        self.full_at.retain(|_, full_at| *full_at > now);
        let room = 2 * self.full_at.len();
        self.full_at.shrink_to(room);
        self.sweep_at = room.max(MIN_SWEEP);
    }
}

/// Number of pairs below which no sweep runs: 1 KiB of table.
const MIN_SWEEP: usize = 64;
