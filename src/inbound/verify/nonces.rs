//! Nonces that were used.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// The nonces of all webhooks within their time. A nonce that is older is refused by its timestamp.
#[derive(Debug, Default)]
pub struct Nonces {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    until: HashMap<[u8; 16], SystemTime>,
    order: VecDeque<[u8; 16]>,
}

/// A nonce with the time for which it counts.
#[derive(Debug)]
pub(super) struct Used {
    key: [u8; 16],
    tolerance: Duration,
}

impl Used {
    /// A nonce of the scheme that has this header, at the webhook that has this path: a provider gives
    /// one id to an event that it sends to several webhooks, and each of them is to have it.
    pub(super) fn new(path: &str, header: &str, nonce: &str, tolerance: Duration) -> Self {
        let hash = Sha256::new().chain_update(path).chain_update([0]).chain_update(header).chain_update([0]);
        let hash = hash.chain_update(nonce).finalize();
        let mut key = [0; 16];
        key.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self { key, tolerance }
    }
}

impl Nonces {
    /// Takes a nonce; false where it was taken before. With very many of them the oldest are forgotten.
    pub(super) fn is_new(&self, used: &Used, now: SystemTime) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.until.get(&used.key).is_some_and(|until| *until >= now) {
            return false;
        }
        while table.order.len() >= MOST {
            if let Some(oldest) = table.order.pop_front() {
                table.until.remove(&oldest);
            }
        }
        // A timestamp may lie ahead by as much as it may lie behind.
        if table.until.insert(used.key, now + 2 * used.tolerance).is_none() {
            table.order.push_back(used.key);
        }
        true
    }

    /// Gives a nonce back.
    pub(super) fn forget(&self, used: &Used) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.until.remove(&used.key).is_some() {
            table.order.retain(|key| *key != used.key);
        }
    }
}

/// Some 6 MiB.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_counts_once_within_its_time() {
        let nonces = Nonces::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let used = |nonce| Used::new("/a", "x-nonce", nonce, Duration::from_secs(60));
        assert!(nonces.is_new(&used("a"), now));
        assert!(nonces.is_new(&used("b"), now));
        assert!(!nonces.is_new(&used("a"), now + Duration::from_secs(120)));
        assert!(nonces.is_new(&used("a"), now + Duration::from_secs(121)));
        nonces.forget(&used("b"));
        assert!(nonces.is_new(&used("b"), now));
        assert!(nonces.is_new(&Used::new("/a", "y-nonce", "a", Duration::from_secs(60)), now), "of another scheme");
        assert!(nonces.is_new(&Used::new("/b", "x-nonce", "a", Duration::from_secs(60)), now), "of another webhook");
    }

    #[test]
    fn the_table_is_bounded() {
        let nonces = Nonces::default();
        for number in 0..MOST + 10 {
            assert!(
                nonces
                    .is_new(&Used::new("/", "n", &number.to_string(), Duration::from_secs(9)), SystemTime::UNIX_EPOCH)
            );
        }
        let table = nonces.table.lock().unwrap();
        assert_eq!((table.order.len(), table.until.len()), (MOST, MOST));
    }
}
