//! The room of the store: the bytes of events, and the removal of delivered events for new events.

use redb::ReadableTable;

use super::{Ledger, Prepared, Rules};
use crate::spool::error::{SpoolRefusal, StoreError};
use crate::spool::tables::EventRow;

impl Ledger<'_> {
    /// Finds room for `size` bytes: delivered events go before the end of `keep`, the oldest first.
    /// Returns the reason, and removes no event, if waiting events and dead letters leave no room.
    pub(super) fn make_room(&mut self, size: u64) -> Result<Option<SpoolRefusal>, StoreError> {
        let held = self.counts.bytes.saturating_sub(self.counts.kept_bytes);
        let Rules { max_size, disk, .. } = self.rules;
        if held.saturating_add(size) > max_size {
            return Ok(Some(SpoolRefusal::Full));
        }
        if !disk.has(held, size) {
            return Ok(Some(SpoolRefusal::DiskFull));
        }
        while self.counts.bytes.saturating_add(size) > max_size.min(disk.bound) {
            if self.room_rows == 0 || !self.remove_oldest_done()? {
                return Ok(Some(if disk.bound < max_size {
                    SpoolRefusal::DiskFull
                } else {
                    SpoolRefusal::Full
                }));
            }
            self.room_rows -= 1;
        }
        self.rules.disk.fresh = disk.fresh.saturating_sub(size);
        Ok(None)
    }

    /// Removes the oldest delivered event; returns false without a delivered event.
    fn remove_oldest_done(&mut self) -> Result<bool, StoreError> {
        let first = self.done.first()?.map(|(key, _)| key.value());
        let Some(key) = first else {
            return Ok(false);
        };
        self.done.remove(key)?;
        // A replayed event has a later row, or waits.
        if let Some(row) = self.event(key.1)?.filter(EventRow::is_done) {
            self.remove(key.1, &row)?;
            self.counts.removed_ms = Some(key.0);
        }
        Ok(true)
    }

    /// Takes an event out of the bytes of delivered events, ahead of a change.
    pub(super) fn count_before(&mut self, row: &EventRow) {
        if row.is_done() {
            self.counts.kept_bytes = self.counts.kept_bytes.saturating_sub(row.size);
        }
    }

    /// Adds an event, after a change, to the bytes of delivered events if every destination has the
    /// event.
    pub(super) fn count_after(&mut self, row: &EventRow) {
        if row.is_done() {
            self.counts.kept_bytes = self.counts.kept_bytes.saturating_add(row.size);
        }
    }
}

/// The bytes of an event in the store.
pub(super) fn size_of(event: &Prepared) -> u64 {
    let items = event.items.len() * ITEM_SIZE;
    let lanes = event.lanes.len() * event.to.len() * LANE_SIZE;
    let size = event.head.len() + event.body.len() + items + lanes + EVENT_SIZE;
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// The allowance for each event, in bytes, for what the store adds: the keys in the tables of
/// heads, bodies, the queue and delivered events, and the state at each destination.
const EVENT_SIZE: usize = 128;
/// The allowance for each item, in bytes: key and value have 24, and pages with random keys are
/// half full.
const ITEM_SIZE: usize = 60;
/// The bytes of a known item, whose event may be gone: as [`ITEM_SIZE`].
pub(super) const KNOWN_SIZE: u64 = 60;
/// The allowance for each lane at each destination, in bytes: key and value have 21, and pages with
/// random keys are half full.
const LANE_SIZE: usize = 60;
/// The bound on delivered events removed for room in a transaction: a large event finds room among
/// small events, and no transaction takes long.
pub(super) const MAX_ROOM_ROWS: usize = 4096;
