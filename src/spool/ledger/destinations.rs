//! The destinations of the store: their numbers, and the events that one gets beside or waits for too long.

use redb::ReadableTable;

use super::{Ledger, LedgerPlace};
use crate::spool::error::StoreError;
use crate::spool::items::Class;
use crate::spool::tables::{DESTINATIONS, DestinationId, LaneId, Row, Seq, StoredState};

impl Ledger<'_> {
    /// Returns the numbers of destinations by their names, and true for each that is new. A new number
    /// holds once it is [named](Self::name_destination).
    pub(in crate::spool) fn destinations(
        &mut self,
        keys: &[String],
    ) -> Result<Vec<(DestinationId, bool)>, StoreError> {
        let table = self.transaction.open_table(DESTINATIONS)?;
        let mut next = 0;
        for row in table.iter()? {
            next = next.max(row?.1.value() + 1);
        }
        let mut ids = Vec::with_capacity(keys.len());
        for key in keys {
            let known = table.get(key.as_str())?.map(|id| id.value());
            ids.push((known.unwrap_or(next), known.is_none()));
            next += u32::from(known.is_none());
        }
        Ok(ids)
    }

    /// The numbers of all destinations that have a name.
    pub(super) fn all_destinations(&self) -> Result<Vec<DestinationId>, StoreError> {
        let table = self.transaction.open_table(DESTINATIONS)?;
        let mut ids = Vec::new();
        for row in table.iter()? {
            ids.push(row?.1.value());
        }
        Ok(ids)
    }

    /// Gives a destination its number for good.
    pub(in crate::spool) fn name_destination(
        &mut self,
        key: &str,
        id: DestinationId,
    ) -> Result<(), StoreError> {
        self.transaction.open_table(DESTINATIONS)?.insert(key, id)?;
        Ok(())
    }

    /// Adds a destination to a stored event: the event waits there from now on.
    pub(in crate::spool) fn add_destination(
        &mut self,
        place: LedgerPlace,
        lanes: &[LaneId],
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let Some(mut row) = self.event(place.seq)? else {
            return Ok(());
        };
        if row.state_mut(place.destination).is_some() {
            return Ok(());
        }
        self.count_before(&row);
        row.states.push((place.destination, StoredState::Waiting));
        self.events.insert(place.seq, row.encode().as_slice())?;
        self.add(place.destination, StoredState::Waiting, 1);
        self.enqueue(place, Row::ordered(lanes, now_ms))
    }

    /// The events of a destination with a wait since before a time, at most `most` of each class, with lanes.
    pub(in crate::spool) fn waiting_since(
        &self,
        destination: DestinationId,
        before_ms: u64,
        most: usize,
    ) -> Result<Vec<(LedgerPlace, Row)>, StoreError> {
        let mut old = Vec::new();
        for class in Class::ALL {
            let number = class as u8;
            let keys = (destination, number, 0)..=(destination, number, Seq::MAX);
            let end = old.len() + most;
            for found in self.queue.range(keys)? {
                let (key, row) = found?;
                let row = Row::decode(row.value()).unwrap_or_default();
                // An order may have come at any time: the row says nothing about the rows behind.
                if row.ordered_ms.is_some_and(|at| at >= before_ms) {
                    continue;
                }
                let seq = key.value().2;
                let received_ms = self.event(seq)?.map_or(0, |event| event.received_ms);
                // Behind a young event of a class all others are young.
                if old.len() == end || received_ms >= before_ms {
                    break;
                }
                let place = LedgerPlace {
                    destination,
                    class,
                    seq,
                };
                old.push((place, row));
            }
        }
        Ok(old)
    }
}
