//! The destinations of the store: their numbers, and the events that one gets by an order or waits
//! for too long.

use redb::ReadableTable;

use super::{Ledger, LedgerPlace, LedgerStep};
use crate::spool::aging::{OrderChange, TOO_OLD, WaitingEvent};
use crate::spool::error::StoreError;
use crate::spool::tables::{
    DESTINATIONS, DestinationId, EventRow, LaneId, ORDERS, Row, StoredState, since_ms,
};

impl Ledger<'_> {
    /// Returns the numbers of destinations by their names, and true for each that is new. A new
    /// number holds once it is [named](Self::name_destination).
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

    /// Makes dead letters of events with a wait since before a time, and returns these: an order
    /// for one of them may have come meanwhile.
    pub(in crate::spool) fn expire_waiting(
        &mut self,
        old: Vec<WaitingEvent>,
        before_ms: u64,
        now_ms: u64,
    ) -> Result<Vec<WaitingEvent>, StoreError> {
        let mut expired = Vec::with_capacity(old.len());
        for event in old {
            let step = LedgerStep::Dead {
                attempts: event.row.attempts.counted,
                why: TOO_OLD.to_owned(),
            };
            if self.waits_since(event.place)? < Some(before_ms)
                && self.settle(event.place, &step, now_ms)?
            {
                expired.push(event);
            }
        }
        Ok(expired)
    }

    /// Returns the beginning of a wait; `None` for an event that does not wait.
    fn waits_since(&self, at: LedgerPlace) -> Result<Option<u64>, StoreError> {
        let key = (at.destination, at.class as u8, at.seq);
        let Some(row) = self.queue.get(key)?.map(|row| Row::decode(row.value())) else {
            return Ok(None);
        };
        let event = self.events.get(at.seq)?;
        let received_ms = event.and_then(|event| EventRow::received_ms(event.value()));
        let ordered_ms = row.and_then(|row| row.ordered_ms);
        Ok(Some(since_ms(ordered_ms, received_ms.unwrap_or_default())))
    }

    /// Changes the numbers of events that wait because of orders.
    pub(in crate::spool) fn change_orders(
        &mut self,
        changes: &[OrderChange],
    ) -> Result<(), StoreError> {
        for ((destination, ordered_ms), change) in changes {
            self.count_order(*destination, Some(*ordered_ms), *change)?;
        }
        Ok(())
    }

    /// Counts an event in or out that waits because of an order.
    pub(super) fn count_order(
        &mut self,
        destination: DestinationId,
        ordered_ms: Option<u64>,
        change: i64,
    ) -> Result<(), StoreError> {
        let Some(ordered_ms) = ordered_ms else {
            return Ok(());
        };
        let mut orders = match self.orders.take() {
            Some(orders) => orders,
            None => self.transaction.open_table(ORDERS)?,
        };
        let key = (destination, ordered_ms);
        let before = orders.get(key)?.map_or(0, |count| count.value());
        match before.saturating_add_signed(change) {
            0 => drop(orders.remove(key)?),
            count => drop(orders.insert(key, count)?),
        }
        self.orders = Some(orders);
        Ok(())
    }
}
