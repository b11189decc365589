//! The age of what waits: the oldest event of a destination, and the events that have waited too
//! long.
//!
//! A wait begins with the arrival of an event, or with an order: a replay, or a new destination.
//! Events without an order stand in the queue in the order of their arrival. Events with an order
//! stand among them at their numbers, perhaps a million ahead of the first event without: a search
//! remembers the number up to which it found none, and never goes there again. The times of orders
//! have a table with few rows.

use std::collections::HashMap;

use parking_lot::Mutex;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableError};

use super::committer::Store;
use super::error::StoreError;
use super::items::Class;
use super::ledger::LedgerPlace;
use super::tables::{DestinationId, EVENTS, EventRow, ORDERS, QUEUE, Row, Seq, since_ms};

/// For each destination and class, a number before which no event without an order waits. New
/// events get higher numbers, so that it never has to go back.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<HashMap<(DestinationId, u8), Seq>>);

/// A waiting event with its row in the queue.
#[derive(Clone, Debug)]
pub(super) struct WaitingEvent {
    pub(super) place: LedgerPlace,
    pub(super) row: Row,
}

/// The result of a part of a search through the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// The first event without an order.
    First(Seq),
    /// No event without an order waits.
    None,
    /// The next part goes on where this part has ended.
    Unfinished,
}

impl Passed {
    /// Returns the number from which a search for events without an order begins.
    pub(super) fn from(&self, to: DestinationId, class: Class) -> Seq {
        let from = self.0.lock().get(&(to, class as u8)).copied();
        from.unwrap_or_default()
    }

    /// Searches a part of the queue for the first event without an order.
    pub(super) fn search(
        &self,
        read: &ReadTransaction,
        to: DestinationId,
        class: Class,
    ) -> Result<Search, StoreError> {
        let queue = read.open_table(QUEUE)?;
        let number = class as u8;
        let mut from = self.from(to, class);
        let mut search = Search::None;
        for (step, found) in queue
            .range((to, number, from)..=(to, number, Seq::MAX))?
            .enumerate()
        {
            let (key, row) = found?;
            from = key.value().2;
            let is_ordered = Row::decode(row.value()).is_some_and(|row| row.ordered_ms.is_some());
            if !is_ordered {
                search = Search::First(from);
                break;
            }
            from = from.saturating_add(1);
            if step >= MAX_STEPS {
                search = Search::Unfinished;
                break;
            }
        }
        self.0.lock().insert((to, number), from);
        Ok(search)
    }

    /// Returns the first waiting event of a class without an order.
    pub(super) fn first(
        &self,
        store: &Store,
        to: DestinationId,
        class: Class,
    ) -> Result<Option<Seq>, StoreError> {
        loop {
            match store.read(|read| self.search(read, to, class))? {
                Search::First(seq) => return Ok(Some(seq)),
                Search::None => return Ok(None),
                Search::Unfinished => {}
            }
        }
    }
}

/// Returns the number from which a search for old events begins: past events with an order, unless
/// one of these is old.
pub(super) fn first_to_expire(
    store: &Store,
    passed: &Passed,
    to: DestinationId,
    class: Class,
    before_ms: u64,
) -> Result<Seq, StoreError> {
    let oldest = store.read(|read| oldest_order(read, to))?;
    if oldest.is_some_and(|oldest| oldest < before_ms) {
        return Ok(0);
    }
    passed.first(store, to, class)?;
    Ok(passed.from(to, class))
}

/// Returns the time of the oldest order behind a waiting event.
pub(super) fn oldest_order(
    read: &ReadTransaction,
    to: DestinationId,
) -> Result<Option<u64>, StoreError> {
    let Some(orders) = orders(read)? else {
        return Ok(None);
    };
    let first = orders.range((to, 0)..=(to, u64::MAX))?.next().transpose()?;
    Ok(first.map(|(key, _)| key.value().1))
}

/// The numbers of events that wait because of an order, as a reader sees them.
type OrderTable = ReadOnlyTable<(DestinationId, u64), u64>;

/// The table of orders; `None` if there was never an order.
fn orders(read: &ReadTransaction) -> Result<Option<OrderTable>, StoreError> {
    match read.open_table(ORDERS) {
        Ok(orders) => Ok(Some(orders)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A destination and the time of an order, with a change of the number of events that wait because
/// of the order.
pub(super) type OrderChange = ((DestinationId, u64), i64);

/// Compares the numbers of events that wait because of orders with the queue, for orders from
/// before a time to which no further order comes; returns what the numbers lack.
pub(super) fn wrong_orders(
    read: &ReadTransaction,
    before_ms: u64,
) -> Result<Vec<OrderChange>, StoreError> {
    let mut lacks = HashMap::<_, i64>::new();
    for found in read.open_table(QUEUE)?.iter()? {
        let (key, row) = found?;
        let ordered_ms = Row::decode(row.value()).and_then(|row| row.ordered_ms);
        if let Some(ordered_ms) = ordered_ms.filter(|at| *at < before_ms) {
            *lacks.entry((key.value().0, ordered_ms)).or_default() += 1;
        }
    }
    if let Some(orders) = orders(read)? {
        for found in orders.iter()? {
            let (key, count) = found?;
            if key.value().1 < before_ms {
                let count = i64::try_from(count.value()).unwrap_or(i64::MAX);
                *lacks.entry(key.value()).or_default() -= count;
            }
        }
    }
    Ok(lacks.into_iter().filter(|(_, lacks)| *lacks != 0).collect())
}

/// A part of the events that have waited too long.
#[derive(Debug, Default)]
pub(super) struct OldEvents {
    pub(super) events: Vec<WaitingEvent>,
    /// The number at which the search goes on; `None` at its end.
    pub(super) next: Option<Seq>,
}

/// Reads a part of the events of a class with a wait since before a time, from a number on: at most
/// `most`, and of [`MAX_STEPS`] events.
pub(super) fn old_events(
    read: &ReadTransaction,
    to: DestinationId,
    class: Class,
    from: Seq,
    before_ms: u64,
    most: usize,
) -> Result<OldEvents, StoreError> {
    let queue = read.open_table(QUEUE)?;
    let events = read.open_table(EVENTS)?;
    let number = class as u8;
    let mut old = OldEvents::default();
    for (step, found) in queue
        .range((to, number, from)..=(to, number, Seq::MAX))?
        .enumerate()
    {
        let (key, row) = found?;
        let seq = key.value().2;
        if step >= MAX_STEPS || old.events.len() >= most {
            old.next = Some(seq);
            break;
        }
        let row = Row::decode(row.value()).unwrap_or_default();
        // An order may have come at any time: the row says nothing about the rows behind.
        if row.ordered_ms.is_some_and(|at| at >= before_ms) {
            continue;
        }
        let event = events.get(seq)?;
        let received_ms = event.and_then(|event| EventRow::received_ms(event.value()));
        if since_ms(row.ordered_ms, received_ms.unwrap_or_default()) >= before_ms {
            // Behind a young event of a class all others are young.
            break;
        }
        let place = LedgerPlace {
            destination: to,
            class,
            seq,
        };
        old.events.push(WaitingEvent { place, row });
    }
    Ok(old)
}

/// The cause of a dead letter that no destination has got in time.
pub(super) const TOO_OLD: &str = "older than `[spool] max_age`";
/// The bound on rows that a part of a search goes through: a reader keeps the store from using
/// removed pages again.
const MAX_STEPS: usize = 4096;
