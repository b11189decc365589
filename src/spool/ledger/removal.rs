//! The steps by which events and items go: erasure, and the end of their time.

use redb::ReadableTable;

use super::{Ledger, LedgerPlace};
use crate::spool::error::StoreError;
use crate::spool::items::Class;
use crate::spool::tables::{
    DeadRow, DestinationId, EventRow, KnownItems, LaneId, Seq, StoredState, known_name,
};

/// An event that was erased.
pub(in crate::spool) struct ErasedEvent {
    /// The places where the event waited, each with the event's lanes.
    pub(in crate::spool) waited: Vec<(LedgerPlace, Vec<LaneId>)>,
    /// The number of forgotten items.
    pub(in crate::spool) items: u64,
}

impl Ledger<'_> {
    /// Erases an event at every destination; with `items` the event's items are forgotten as well.
    /// Returns `None` for an unknown event.
    pub(in crate::spool) fn erase(
        &mut self,
        seq: Seq,
        items: &[[u8; 16]],
    ) -> Result<Option<ErasedEvent>, StoreError> {
        let Some(row) = self
            .events
            .get(seq)?
            .map(|row| EventRow::decode(row.value()))
        else {
            return Ok(None);
        };
        // A row that cannot be read may name any destination.
        let destinations = match &row {
            Some(row) => row.states.iter().map(|(id, _)| *id).collect(),
            None => self.all_destinations()?,
        };
        let mut waited = Vec::new();
        let mut dead = Vec::new();
        for destination in destinations {
            // The class stands in the head, which perhaps cannot be read.
            for class in Class::ALL {
                let place = LedgerPlace {
                    destination,
                    class,
                    seq,
                };
                waited.extend(self.dequeue(place)?.map(|lanes| (place, lanes)));
            }
            if self.dead.remove((destination, seq))?.is_some() {
                dead.push((destination, StoredState::Dead));
            }
        }
        let mut count = 0;
        for (_, table) in &mut self.known {
            for item in items {
                count += u64::from(table.remove(item)?.is_some());
            }
        }
        let row = row.unwrap_or_else(|| {
            let waiting = waited
                .iter()
                .map(|(place, _)| (place.destination, StoredState::Waiting));
            EventRow::unread(waiting.chain(dead).collect())
        });
        self.remove(seq, &row)?;
        Ok(Some(ErasedEvent {
            waited,
            items: count,
        }))
    }

    /// Removes an event that stands in no queue.
    pub(super) fn remove(&mut self, seq: Seq, row: &EventRow) -> Result<(), StoreError> {
        for (destination, state) in &row.states {
            self.add(*destination, *state, -1);
        }
        self.count_before(row);
        self.events.remove(seq)?;
        self.bodies.remove(seq)?;
        self.repeats.remove(seq)?;
        self.counts.bytes = self.counts.bytes.saturating_sub(row.size);
        self.count_seal(&row.head, -1);
        Ok(())
    }

    /// Forgets items, each with the day of its first sight; returns the number of items.
    pub(in crate::spool) fn forget(
        &mut self,
        items: &[(u64, [u8; 16])],
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        for (of, item) in items {
            if let Some((_, table)) = self.known.iter_mut().find(|(day, _)| day == of) {
                count += u64::from(table.remove(item)?.is_some());
            }
        }
        Ok(count)
    }

    /// Removes delivered events older than `before_ms`, at most `most`; returns how many rows it
    /// went through.
    pub(in crate::spool) fn expire_done(
        &mut self,
        before_ms: u64,
        most: usize,
    ) -> Result<usize, StoreError> {
        let mut old = Vec::new();
        for found in self.done.range(..(before_ms, 0))?.take(most) {
            let (key, _) = found?;
            old.push(key.value());
        }
        for key in &old {
            self.done.remove(*key)?;
            // A replayed event has a later row, or waits.
            if let Some(row) = self.event(key.1)?.filter(EventRow::is_done) {
                self.remove(key.1, &row)?;
            }
        }
        Ok(old.len())
    }

    /// Removes dead letters of a destination from before `before_ms`, at most `most`; returns how
    /// many.
    pub(in crate::spool) fn expire_dead(
        &mut self,
        destination: DestinationId,
        before_ms: u64,
        most: usize,
    ) -> Result<usize, StoreError> {
        let mut old = Vec::new();
        for found in self
            .dead
            .range((destination, 0)..=(destination, Seq::MAX))?
            .take(most)
        {
            let (key, row) = found?;
            if DeadRow::decode(row.value()).is_none_or(|row| row.at_ms < before_ms) {
                old.push(key.value());
            }
        }
        for key in &old {
            self.dead.remove(*key)?;
            let Some(mut row) = self.event(key.1)? else {
                continue;
            };
            self.add(destination, StoredState::Dead, -1);
            row.states.retain(|(id, _)| *id != destination);
            self.count_after(&row);
            self.events.insert(key.1, row.encode().as_slice())?;
            if row.is_done() {
                self.done.insert((before_ms, key.1), ())?;
            }
        }
        Ok(old.len())
    }

    /// Drops the tables of known items of the days before `first`.
    pub(in crate::spool) fn drop_days(&mut self, first: u64) -> Result<(), StoreError> {
        let (old, kept) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|(day, _)| *day < first);
        self.known = kept;
        for (day, table) in old {
            drop(table);
            self.transaction
                .delete_table(KnownItems::new(&known_name(day)))?;
            self.counts.days.remove(&day);
        }
        Ok(())
    }
}
