//! The items that arrived lately at webhooks without a spool: a repeat counts once.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::sends::{Digest16, digest16};

/// The items that arrived lately. Two sets take turns: the older set is forgotten when the newer
/// set is full.
#[derive(Debug, Default)]
pub(super) struct Recent {
    sets: Mutex<[HashSet<Digest16>; 2]>,
}

impl Recent {
    /// Takes note of an item; returns true if the item did not arrive lately.
    pub(super) fn is_new(&self, webhook: &str, key: &str) -> bool {
        let digest = digest16([webhook.as_bytes(), key.as_bytes()]);
        let mut sets = self.sets.lock();
        let [newer, older] = &mut *sets;
        if newer.contains(&digest) || older.contains(&digest) {
            return false;
        }
        if newer.len() >= MAX {
            std::mem::swap(newer, older);
            newer.clear();
        }
        newer.insert(digest)
    }
}

/// The bound on items of a set: some seconds at the highest rate, in less than half a megabyte.
const MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_new_once_and_again_after_many_others() {
        let recent = Recent::default();
        assert!(recent.is_new("acme", "a") && !recent.is_new("acme", "a"));
        assert!(recent.is_new("other", "a"));
        for number in 0..MAX {
            assert!(recent.is_new("acme", &number.to_string()));
        }
        assert!(!recent.is_new("acme", "a"), "the older set knows it");
        for number in 0..MAX {
            recent.is_new("acme", &format!("x{number}"));
        }
        assert!(recent.is_new("acme", "a"));
    }
}
