//! A write transaction: every change of the store is a step here, and either all steps count or no step.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use redb::{ReadableTable, Table, WriteTransaction};

mod removal;

use crate::config::SpoolConfig;
use crate::spool::error::{SpoolRefusal, StoreError};
use crate::spool::items::Class;
use crate::spool::record::key_name;
use crate::spool::schedule::Attempts;
use crate::spool::tables::{
    BODIES, BYTES, COUNTS, DEAD, DESTINATIONS, DONE, DeadRow, DestinationId, EVENTS, EventRow,
    KeyName, Known, LANES, LaneId, META, QUEUE, REPEATS, Row, SEALS, Seq, StoredState, known_name,
};

/// The numbers that the store keeps beside the events.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) next_seq: Seq,
    /// The bytes of all events, with an allowance for what the store adds.
    pub(super) bytes: u64,
    pub(super) events: HashMap<(DestinationId, StoredState), u64>,
    /// The events whose head is sealed, by the name of the key.
    pub(super) seals: HashMap<KeyName, u64>,
    /// The days that have a table of known items.
    pub(super) days: BTreeSet<u64>,
}

/// An event ready for the store.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) class: Class,
    pub(super) lanes: Vec<LaneId>,
    /// The hash of each item, and the hash of its first user.
    pub(super) items: Vec<([u8; 16], u64)>,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) to: Vec<DestinationId>,
    pub(super) received_ms: u64,
}

/// The result for an event that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventReceipt {
    /// The event is stored.
    Stored {
        /// The number of the event.
        seq: Seq,
        /// The positions of the items that were known before.
        known: Vec<u32>,
    },
    /// The event is not stored again: every item was known.
    Known,
}

/// A change of a waiting event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LedgerStep {
    /// The destination has the event.
    Done,
    /// The event waits for its next attempt.
    PutOff {
        attempts: Attempts,
        due_ms: u64,
        waited: Duration,
    },
    /// The event becomes a dead letter.
    Dead { attempts: u32, why: String },
}

/// A waiting event: destination, class, number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LedgerPlace {
    pub(super) destination: DestinationId,
    pub(super) class: Class,
    pub(super) seq: Seq,
}

/// The tables of a write transaction.
pub(super) struct Ledger<'t> {
    transaction: &'t WriteTransaction,
    events: Table<'t, Seq, &'static [u8]>,
    bodies: Table<'t, Seq, &'static [u8]>,
    repeats: Table<'t, Seq, &'static str>,
    queue: Table<'t, (DestinationId, u8, Seq), &'static [u8]>,
    lanes: Table<'t, (DestinationId, LaneId, Seq), u8>,
    dead: Table<'t, (DestinationId, Seq), &'static [u8]>,
    done: Table<'t, (u64, Seq), ()>,
    /// The known items of each day, the newest first.
    known: Vec<(u64, Table<'t, [u8; 16], u64>)>,
    pub(super) counts: Counts,
    before: Counts,
    rules: Rules,
    /// The destinations that have something new to deliver.
    pub(super) touched: BTreeSet<DestinationId>,
}

/// The bounds of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_size: u64,
    pub(super) keep: Duration,
}

impl Rules {
    pub(super) fn of(config: &SpoolConfig) -> Self {
        Self {
            max_size: config.max_size,
            keep: config.keep,
        }
    }
}

impl<'t> Ledger<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        counts: Counts,
        rules: Rules,
    ) -> Result<Self, StoreError> {
        let mut known = Vec::with_capacity(counts.days.len());
        for day in counts.days.iter().rev() {
            let name = known_name(*day);
            known.push((*day, transaction.open_table(Known::new(&name))?));
        }
        Ok(Self {
            transaction,
            events: transaction.open_table(EVENTS)?,
            bodies: transaction.open_table(BODIES)?,
            repeats: transaction.open_table(REPEATS)?,
            queue: transaction.open_table(QUEUE)?,
            lanes: transaction.open_table(LANES)?,
            dead: transaction.open_table(DEAD)?,
            done: transaction.open_table(DONE)?,
            known,
            before: counts.clone(),
            counts,
            rules,
            touched: BTreeSet::new(),
        })
    }

    /// Writes the counts, and returns them for the next transaction.
    pub(super) fn close(self) -> Result<(Counts, BTreeSet<DestinationId>), StoreError> {
        let mut table = self.transaction.open_table(COUNTS)?;
        for (at, count) in &self.counts.events {
            if self.before.events.get(at) != Some(count) {
                table.insert((at.0, at.1 as u8), *count)?;
            }
        }
        if self.before.seals != self.counts.seals {
            let mut seals = self.transaction.open_table(SEALS)?;
            for (key, count) in &self.counts.seals {
                seals.insert(key, *count)?;
            }
        }
        if self.before.bytes != self.counts.bytes {
            table.insert(BYTES, self.counts.bytes)?;
        }
        if self.before.next_seq != self.counts.next_seq {
            let mut meta = self.transaction.open_table(META)?;
            meta.insert("next", self.counts.next_seq.to_le_bytes().as_slice())?;
        }
        Ok((self.counts, self.touched))
    }

    /// Stores an event with its items, unless all of them are known.
    pub(super) fn accept(
        &mut self,
        event: &Prepared,
        today: u64,
    ) -> Result<Result<EventReceipt, SpoolRefusal>, StoreError> {
        let mut known = Vec::new();
        for (position, (item, _)) in (0..).zip(&event.items) {
            if self.knows(item)? {
                known.push(position);
            }
        }
        if !known.is_empty() && known.len() == event.items.len() {
            return Ok(Ok(EventReceipt::Known));
        }
        let size = size_of(event);
        if self.counts.bytes.saturating_add(size) > self.rules.max_size {
            return Ok(Err(SpoolRefusal::Full));
        }
        self.know(event, today)?;
        let seq = self.counts.next_seq;
        self.counts.next_seq = seq.saturating_add(1);
        self.counts.bytes = self.counts.bytes.saturating_add(size);
        let states: Vec<_> = event
            .to
            .iter()
            .map(|id| (*id, StoredState::Waiting))
            .collect();
        self.count_seal(&event.head, 1);
        let row = EventRow {
            states,
            received_ms: event.received_ms,
            head: event.head.clone(),
            size,
        };
        self.events.insert(seq, row.encode().as_slice())?;
        self.bodies.insert(seq, event.body.as_slice())?;
        if !known.is_empty() {
            self.repeats.insert(seq, positions(&known).as_str())?;
        }
        for destination in &event.to {
            let place = LedgerPlace {
                destination: *destination,
                class: event.class,
                seq,
            };
            self.enqueue(place, &event.lanes)?;
            self.add(*destination, StoredState::Waiting, 1);
        }
        if event.to.is_empty() {
            self.done.insert((event.received_ms, seq), ())?;
        }
        Ok(Ok(EventReceipt::Stored { seq, known }))
    }

    /// Takes a step of a waiting event. A step of an event that does not wait any more changes nothing.
    pub(super) fn settle(
        &mut self,
        at: LedgerPlace,
        step: &LedgerStep,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let key = (at.destination, at.class as u8, at.seq);
        if let LedgerStep::PutOff {
            attempts,
            due_ms,
            waited,
        } = step
        {
            let Some(mut row) = self
                .queue
                .get(key)?
                .and_then(|row| Row::decode(row.value()))
            else {
                return Ok(());
            };
            row.attempts = *attempts;
            row.due_ms = *due_ms;
            row.waited = *waited;
            self.queue.insert(key, row.encode().as_slice())?;
            return Ok(());
        }
        if self.dequeue(at)?.is_none() {
            return Ok(());
        }
        let state = match step {
            LedgerStep::Dead { attempts, why } => {
                let dead = DeadRow {
                    at_ms: now_ms,
                    attempts: *attempts,
                    why: why.clone(),
                };
                self.dead
                    .insert((at.destination, at.seq), dead.encode().as_slice())?;
                StoredState::Dead
            }
            LedgerStep::Done | LedgerStep::PutOff { .. } => StoredState::Delivered,
        };
        self.become_state(at.seq, at.destination, state, now_ms)
    }

    /// Lets a dead or delivered event wait at a destination again; returns false if the event waits
    /// there already, or is gone.
    pub(super) fn replay(
        &mut self,
        at: LedgerPlace,
        lanes: &[LaneId],
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let is_stored = self.events.get(at.seq)?.is_some();
        let key = (at.destination, at.class as u8, at.seq);
        if !is_stored || self.queue.get(key)?.is_some() {
            return Ok(false);
        }
        self.dead.remove((at.destination, at.seq))?;
        self.enqueue(at, lanes)?;
        self.become_state(at.seq, at.destination, StoredState::Waiting, now_ms)?;
        Ok(true)
    }

    /// The states and the head of an event.
    pub(super) fn event(&self, seq: Seq) -> Result<Option<EventRow>, StoreError> {
        let row = self.events.get(seq)?;
        Ok(row.and_then(|row| EventRow::decode(row.value())))
    }

    /// Returns the numbers of destinations by their names, and true for each that is new. A new number
    /// holds once it is [named](Self::name_destination).
    pub(super) fn destinations(
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

    /// Gives a destination its number for good.
    pub(super) fn name_destination(
        &mut self,
        key: &str,
        id: DestinationId,
    ) -> Result<(), StoreError> {
        self.transaction.open_table(DESTINATIONS)?.insert(key, id)?;
        Ok(())
    }

    /// Adds a destination to a stored event, which waits there.
    pub(super) fn add_destination(
        &mut self,
        place: LedgerPlace,
        lanes: &[LaneId],
    ) -> Result<(), StoreError> {
        let Some(mut row) = self.event(place.seq)? else {
            return Ok(());
        };
        if row.state_mut(place.destination).is_some() {
            return Ok(());
        }
        row.states.push((place.destination, StoredState::Waiting));
        self.events.insert(place.seq, row.encode().as_slice())?;
        self.add(place.destination, StoredState::Waiting, 1);
        self.enqueue(place, lanes)
    }

    /// The waiting events of a destination that arrived before a time, at most `most` of each class, with lanes.
    pub(super) fn waiting_since(
        &self,
        destination: DestinationId,
        before_ms: u64,
        most: usize,
    ) -> Result<Vec<(LedgerPlace, Row)>, StoreError> {
        let mut old = Vec::new();
        for class in Class::ALL {
            let number = class as u8;
            let keys = (destination, number, 0)..=(destination, number, Seq::MAX);
            for found in self.queue.range(keys)?.take(most) {
                let (key, row) = found?;
                let seq = key.value().2;
                let received_ms = self.event(seq)?.map_or(0, |event| event.received_ms);
                // Behind a young event of a class all are young.
                if received_ms >= before_ms {
                    break;
                }
                let place = LedgerPlace {
                    destination,
                    class,
                    seq,
                };
                old.push((place, Row::decode(row.value()).unwrap_or_default()));
            }
        }
        Ok(old)
    }

    fn knows(&self, item: &[u8; 16]) -> Result<bool, StoreError> {
        for (_, table) in &self.known {
            if table.get(item)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn know(&mut self, event: &Prepared, today: u64) -> Result<(), StoreError> {
        if self.known.first().is_none_or(|(day, _)| *day < today) {
            let name = known_name(today);
            let table = self.transaction.open_table(Known::new(&name))?;
            self.known.insert(0, (today, table));
            self.counts.days.insert(today);
        }
        if let Some((_, table)) = self.known.first_mut() {
            for (item, user) in &event.items {
                table.insert(item, *user)?;
            }
        }
        Ok(())
    }

    fn enqueue(&mut self, at: LedgerPlace, lanes: &[LaneId]) -> Result<(), StoreError> {
        let row = Row {
            lanes: lanes.to_vec(),
            ..Row::default()
        };
        let class = at.class as u8;
        self.queue
            .insert((at.destination, class, at.seq), row.encode().as_slice())?;
        for lane in lanes {
            self.lanes.insert((at.destination, *lane, at.seq), class)?;
        }
        self.touched.insert(at.destination);
        Ok(())
    }

    /// Takes an event out of the queue; returns its lanes, or `None` if it did not wait.
    fn dequeue(&mut self, at: LedgerPlace) -> Result<Option<Vec<LaneId>>, StoreError> {
        let removed = self
            .queue
            .remove((at.destination, at.class as u8, at.seq))?;
        let Some(row) = removed.and_then(|row| Row::decode(row.value())) else {
            return Ok(None);
        };
        for lane in &row.lanes {
            self.lanes.remove((at.destination, *lane, at.seq))?;
        }
        Ok(Some(row.lanes))
    }

    /// Notes the state of an event at a destination. An event that every destination has stays for
    /// `keep`.
    fn become_state(
        &mut self,
        seq: Seq,
        destination: DestinationId,
        state: StoredState,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let Some(mut row) = self.event(seq)? else {
            return Ok(());
        };
        let Some(slot) = row.state_mut(destination) else {
            return Ok(());
        };
        let before = std::mem::replace(slot, state);
        self.add(destination, before, -1);
        self.add(destination, state, 1);
        if row.is_done() && self.rules.keep.is_zero() {
            return self.remove(seq, &row);
        }
        if row.is_done() {
            self.done.insert((now_ms, seq), ())?;
        }
        self.events.insert(seq, row.encode().as_slice())?;
        Ok(())
    }

    fn count_seal(&mut self, head: &[u8], change: i64) {
        if let Some(key) = key_name(head) {
            let count = self.counts.seals.entry(key).or_default();
            *count = count.saturating_add_signed(change);
        }
    }

    fn add(&mut self, destination: DestinationId, state: StoredState, change: i64) {
        let count = self.counts.events.entry((destination, state)).or_default();
        *count = count.saturating_add_signed(change);
    }
}

/// The bytes that an event counts.
fn size_of(event: &Prepared) -> u64 {
    let items = event.items.len() * ITEM_SIZE;
    let lanes = event.lanes.len() * event.to.len() * LANE_SIZE;
    let size = event.head.len() + event.body.len() + items + lanes + EVENT_SIZE;
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Writes positions as ranges: `0-2,5`.
fn positions(known: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for position in known {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *position => *last = *position,
            _ => ranges.push((*position, *position)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

/// The allowance for each event, in bytes, for what the store adds.
const EVENT_SIZE: usize = 128;
/// The allowance for each item, in bytes.
const ITEM_SIZE: usize = 60;
/// The allowance for each lane at each destination, in bytes.
const LANE_SIZE: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_as_ranges() {
        for (known, text) in [
            (&[0, 1, 2, 5][..], "0-2,5"),
            (&[3], "3"),
            (&[1, 3, 4], "1,3-4"),
        ] {
            assert_eq!(positions(known), text);
        }
    }
}
