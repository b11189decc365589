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
use redb::{ReadTransaction, TableError};

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
}

/// Returns the time of the oldest order behind a waiting event.
pub(super) fn oldest_order(
    read: &ReadTransaction,
    to: DestinationId,
) -> Result<Option<u64>, StoreError> {
    let orders = match read.open_table(ORDERS) {
        Ok(orders) => orders,
        // There was never an order.
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let first = orders.range((to, 0)..=(to, u64::MAX))?.next().transpose()?;
    Ok(first.map(|(key, _)| key.value().1))
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
