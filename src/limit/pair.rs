//! A pair of a sender and a recipient, as the key of tables.

use std::hash::Hasher;

/// A sender and a recipient, as a hash with a secret key of the process: no phone
/// number is kept in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pair(pub(super) u64);

/// The hasher of tables of pairs. A pair is a keyed hash already, which no caller can aim at a
/// place in a table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, pair: u64) {
        self.0 = pair;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}
