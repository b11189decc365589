//! A write transaction: every change of the store is a step here, and either all steps count or no
//! step.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

mod destinations;
mod known;
mod removal;
mod room;

use known::positions;
use room::{KNOWN_SIZE, MAX_ROOM_ROWS, size_of};

use crate::boot::BootTime;
use crate::config::SpoolConfig;
use crate::spool::clock::SpoolClock;
use crate::spool::error::{SpoolRefusal, StoreError};
use crate::spool::footing::DiskRoom;
use crate::spool::items::Class;
use crate::spool::leaps::ClockLeaps;
use crate::spool::record::key_name;
use crate::spool::schedule::Attempts;
use crate::spool::tables::{
    BODIES, BYTES, COUNTS, DEAD, DONE, DeadRow, DestinationId, EVENTS, EventRow, KEPT_BYTES,
    KeyName, KnownItems, LANES, LaneId, META, QUEUE, REPEATS, Row, SEALS, Seq, StoredState,
    known_name,
};

/// The numbers of the store beside the events.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) next_seq: Seq,
    /// The last known time, in milliseconds since 1970.
    pub(super) last_ms: u64,
    /// The last known time since the machine started.
    pub(super) last_boot: Option<BootTime>,
    /// The leaps of the clock between runs.
    pub(super) leaps: ClockLeaps,
    /// The bytes of all events, with an allowance for what the store adds.
    pub(super) bytes: u64,
    /// The part of `bytes` for delivered events: room for new events.
    pub(super) kept_bytes: u64,
    /// The time of delivery of the event removed last for room, since the start.
    pub(super) removed_ms: Option<u64>,
    pub(super) events: HashMap<(DestinationId, StoredState), u64>,
    /// The events whose head is sealed, by the name of the key.
    pub(super) seals: HashMap<KeyName, u64>,
    /// The days that have a table of known items.
    pub(super) days: BTreeSet<u64>,
    /// The bytes of known items.
    pub(super) known_bytes: u64,
}

/// The sizes before a transaction.
#[derive(Clone, Copy, Debug)]
struct SizesBefore {
    next_seq: Seq,
    bytes: u64,
    kept_bytes: u64,
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
        /// The positions of the known items.
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
    /// Opened by the first order of a transaction.
    orders: Option<Table<'t, (DestinationId, u64), u64>>,
    /// The known items of each day, the newest first.
    known: Vec<(u64, Table<'t, [u8; 16], u64>)>,
    pub(super) counts: Counts,
    before: SizesBefore,
    /// The counts of events that changed.
    changed: BTreeSet<(DestinationId, StoredState)>,
    /// True if a count of sealed events changed.
    has_other_seals: bool,
    rules: Rules,
    /// The bound on further delivered events to remove for room.
    room_rows: usize,
    /// The destinations with new events to deliver.
    pub(super) touched: BTreeSet<DestinationId>,
}

/// The bounds of the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_size: u64,
    pub(super) keep: Duration,
    pub(super) max_age: Duration,
    /// The room of the disk, as a transaction finds it.
    pub(super) disk: DiskRoom,
}

impl Rules {
    pub(super) fn of(config: &SpoolConfig) -> Self {
        Self {
            max_size: config.max_size,
            keep: config.keep,
            max_age: config.max_age,
            disk: DiskRoom::UNKNOWN,
        }
    }
}

impl<'t> Ledger<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        mut counts: Counts,
        rules: Rules,
    ) -> Result<Self, StoreError> {
        let mut known = Vec::with_capacity(counts.days.len());
        counts.known_bytes = 0;
        for day in counts.days.iter().rev() {
            let name = known_name(*day);
            let table = transaction.open_table(KnownItems::new(&name))?;
            counts.known_bytes += table.len()?.saturating_mul(KNOWN_SIZE);
            known.push((*day, table));
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
            orders: None,
            known,
            before: SizesBefore {
                next_seq: counts.next_seq,
                bytes: counts.bytes,
                kept_bytes: counts.kept_bytes,
            },
            changed: BTreeSet::new(),
            has_other_seals: false,
            counts,
            rules,
            room_rows: MAX_ROOM_ROWS,
            touched: BTreeSet::new(),
        })
    }

    /// Writes the counts, and returns them for the next transaction.
    pub(super) fn close(
        mut self,
        clock: &SpoolClock,
    ) -> Result<(Counts, BTreeSet<DestinationId>), StoreError> {
        let now = clock.now();
        let mut table = self.transaction.open_table(COUNTS)?;
        for at in &self.changed {
            let count = self.counts.events.get(at).copied().unwrap_or_default();
            table.insert((at.0, at.1 as u8), count)?;
        }
        if self.has_other_seals {
            let mut seals = self.transaction.open_table(SEALS)?;
            for (key, count) in &self.counts.seals {
                seals.insert(key, *count)?;
            }
        }
        if self.before.bytes != self.counts.bytes {
            table.insert(BYTES, self.counts.bytes)?;
        }
        if self.before.kept_bytes != self.counts.kept_bytes {
            table.insert(KEPT_BYTES, self.counts.kept_bytes)?;
        }
        let is_new = self.before.next_seq != self.counts.next_seq;
        if is_new || now.wall_ms.saturating_sub(self.counts.last_ms) >= LAST_INTERVAL {
            let mut meta = self.transaction.open_table(META)?;
            meta.insert("next", self.counts.next_seq.to_le_bytes().as_slice())?;
            note_time(&mut meta, now.wall_ms, clock.boot(now.at).as_ref())?;
            self.counts.last_ms = now.wall_ms;
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
        if let Some(refused) = self.make_room(size)? {
            return Ok(Err(refused));
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
        self.count_after(&row);
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
            self.enqueue(place, Row::of_lanes(&event.lanes))?;
            self.add(*destination, StoredState::Waiting, 1);
        }
        if event.to.is_empty() {
            self.done.insert((event.received_ms, seq), ())?;
        }
        Ok(Ok(EventReceipt::Stored { seq, known }))
    }

    /// Takes a step of a waiting event. Returns false, and changes nothing, if the event does not
    /// wait any more.
    pub(super) fn settle(
        &mut self,
        at: LedgerPlace,
        step: &LedgerStep,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
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
                return Ok(false);
            };
            row.attempts = *attempts;
            row.due_ms = *due_ms;
            row.waited = *waited;
            self.queue.insert(key, row.encode().as_slice())?;
            return Ok(true);
        }
        if self.dequeue(at)?.is_none() {
            return Ok(false);
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
        self.become_state(at.seq, at.destination, state, now_ms)?;
        Ok(true)
    }

    /// Lets a dead or delivered event wait at a destination again, from now on; returns false if
    /// the event waits there already, or is gone.
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
        self.enqueue(at, Row::ordered(lanes, now_ms))?;
        self.become_state(at.seq, at.destination, StoredState::Waiting, now_ms)?;
        Ok(true)
    }

    /// The states and the head of an event.
    pub(super) fn event(&self, seq: Seq) -> Result<Option<EventRow>, StoreError> {
        let row = self.events.get(seq)?;
        Ok(row.and_then(|row| EventRow::decode(row.value())))
    }

    fn enqueue(&mut self, at: LedgerPlace, row: Row) -> Result<(), StoreError> {
        let class = at.class as u8;
        self.queue
            .insert((at.destination, class, at.seq), row.encode().as_slice())?;
        for lane in row.lanes {
            self.lanes.insert((at.destination, lane, at.seq), class)?;
        }
        self.count_order(at.destination, row.ordered_ms, 1)?;
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
        self.count_order(at.destination, row.ordered_ms, -1)?;
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
        self.count_before(&row);
        let before = row
            .state_mut(destination)
            .map(|slot| std::mem::replace(slot, state));
        self.count_after(&row);
        let Some(before) = before else {
            return Ok(());
        };
        self.add(destination, before, -1);
        self.add(destination, state, 1);
        let is_done = row.is_done();
        if is_done && self.rules.keep.is_zero() {
            return self.remove(seq, &row);
        }
        if is_done {
            self.done.insert((now_ms, seq), ())?;
        }
        self.events.insert(seq, row.encode().as_slice())?;
        Ok(())
    }

    fn count_seal(&mut self, head: &[u8], change: i64) {
        if let Some(key) = key_name(head) {
            self.has_other_seals = true;
            let count = self.counts.seals.entry(key).or_default();
            *count = count.saturating_add_signed(change);
        }
    }

    fn add(&mut self, destination: DestinationId, state: StoredState, change: i64) {
        self.changed.insert((destination, state));
        let count = self.counts.events.entry((destination, state)).or_default();
        *count = count.saturating_add_signed(change);
    }
}

/// Writes the last known time, by the wall clock and since the machine started.
pub(super) fn note_time(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    wall_ms: u64,
    boot: Option<&BootTime>,
) -> Result<(), StoreError> {
    meta.insert(LAST, wall_ms.to_le_bytes().as_slice())?;
    match boot {
        Some(boot) => meta.insert(BOOT, boot.encode().as_slice())?,
        // The time of an earlier run is no time of this moment.
        None => meta.remove(BOOT)?,
    };
    Ok(())
}

/// The key of the last known time.
pub(super) const LAST: &str = "last";
/// The key of the last known time since the machine started.
pub(super) const BOOT: &str = "boot";
/// The time in milliseconds after which the last known time is written without a new event: a quiet
/// spool writes once an hour, and a crash leaves the time in doubt by no more.
const LAST_INTERVAL: u64 = 60 * 60 * 1000;
