//! Source of the tokens of a limit: a bucket, the bucket of a pair, or no bucket.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::pair::Pair;
use super::pair_buckets::PairBuckets;
use crate::units::Quota;

/// Source of the tokens of a limit.
#[derive(Debug)]
pub(super) enum Tokens {
    /// No rate: only pauses hold anything back.
    Unlimited,
    /// The limit's own bucket.
    Own(Bucket),
    /// The bucket of a pair, among the buckets of all pairs.
    Pair(Arc<PairBuckets>, Pair),
}

impl Tokens {
    /// Tokens at a quota; unlimited without one.
    pub(super) fn new(quota: Option<Quota>, now: Instant) -> Self {
        quota.map_or(Self::Unlimited, |quota| Self::Own(Bucket::new(quota, now)))
    }

    /// Unused tokens at a new quota, less the debt of the tokens `before`. The buckets of pairs
    /// change all together, elsewhere.
    pub(super) fn after(self, before: &Self, now: Instant) -> Self {
        match (&self, before) {
            (Self::Own(new), Self::Own(old)) => Self::Own(old.with_quota(new.quota(), now)),
            _ => self,
        }
    }

    /// The bucket as of now, if any: of a shared limit the local share.
    pub(super) fn bucket(&self) -> Option<Bucket> {
        match self {
            Self::Unlimited => None,
            Self::Own(bucket) => Some(*bucket),
            Self::Pair(buckets, pair) => Some(buckets.bucket(*pair)),
        }
    }

    /// Takes a token and returns the number left; else the time until the next token.
    pub(super) fn take(&mut self, now: Instant) -> Result<u32, Duration> {
        match self {
            Self::Unlimited => Ok(u32::MAX),
            Self::Own(bucket) => bucket.take(now),
            Self::Pair(buckets, pair) => buckets.take(*pair, now),
        }
    }
}
