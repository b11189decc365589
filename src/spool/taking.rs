//! The taking of the next events of a destination, on a thread of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadTransaction;

use super::aging::TOO_OLD;
use super::committer::Store;
use super::destination::{Destination, Wait};
use super::error::StoreError;
use super::health::Probe;
use super::lane_event::Due;
use super::ledger::LedgerPlace;
use super::query::{self, Listed};
use super::record::{RecordError, Records, Request};
use super::tables::since_ms;
use super::{Delivery, LookBounds};

/// The taking of the next events of a destination.
pub(super) struct Taking {
    pub(super) store: Arc<Store>,
    pub(super) records: Arc<Records>,
    pub(super) max_age: Duration,
    pub(super) to: Arc<Destination>,
}

/// The events that were taken at a time.
#[derive(Default)]
pub(super) struct TakenEvents {
    pub(super) events: Vec<Delivery>,
    /// The events that are not delivered, each with the cause.
    pub(super) unfit: Vec<(Delivery, String)>,
    /// The events that were erased while they were under way.
    pub(super) gone: Vec<Delivery>,
    /// The events that wait for their key.
    locked: Vec<Delivery>,
    /// The bytes of the next event, if more than the bounds of the look allow.
    pub(super) too_large: Option<usize>,
    pub(super) wait: Wait,
}

/// The content of an event that was taken.
enum EventContent {
    /// The event goes out.
    Fit,
    /// The event becomes a dead letter, for this cause.
    Unfit(String),
    /// The event was erased while it was under way.
    Gone,
    /// The event waits for its key, and holds up its own lane alone.
    Locked,
}

impl Taking {
    /// Takes as many events as the bounds allow, of [`ENOUGH`] bytes together at most. Events
    /// beyond the bounds, or after an error, are given back.
    ///
    /// No delivery is dropped or put off while the store is being read: both take the lock of the
    /// lanes, under which others read the store.
    pub(super) fn take(&self, bounds: LookBounds) -> TakenEvents {
        let now = self.store.clock.now();
        let taken = self.to.next(&self.store, now, bounds.events, |read, due| {
            let probe = due.probe;
            let due = due.events.into_iter();
            let mut left = due.map(|due| self.delivery(due, probe)).collect();
            let mut found = TakenEvents::default();
            let result = self.read(read, &mut left, bounds.bytes, &mut found);
            (found, left, result)
        });
        match taken {
            Ok((wait, None)) => TakenEvents {
                wait,
                ..TakenEvents::default()
            },
            Ok((wait, Some((mut found, left, result)))) => {
                if found.events.is_empty() {
                    self.to.turn_unused();
                }
                found.wait = if left.is_empty() { wait } else { Wait::Again };
                drop(left);
                for delivery in std::mem::take(&mut found.locked) {
                    delivery.put_off(now.at + LOCKED);
                }
                match result {
                    Ok(()) => found,
                    Err(error) => self.unreadable(found, &error),
                }
            }
            Err(error) => self.unreadable(TakenEvents::default(), &error),
        }
    }

    /// Reads the events that were `taken`, until the bounds or an error. The others stay in
    /// `taken`.
    fn read(
        &self,
        read: &ReadTransaction,
        taken: &mut VecDeque<Delivery>,
        most_bytes: usize,
        found: &mut TakenEvents,
    ) -> Result<(), StoreError> {
        let before_ms = self.store.before(self.max_age);
        let rows = query::Rows::open(read)?;
        let mut bytes = 0_usize;
        while let Some(next) = taken.front_mut().filter(|_| bytes < ENOUGH) {
            let size = rows.size(next.place.seq)?;
            if bytes.saturating_add(size) > most_bytes {
                found.too_large = Some(size);
                break;
            }
            bytes += size;
            let content = self.read_one(&rows, next, before_ms)?;
            let Some(delivery) = taken.pop_front() else {
                break;
            };
            match content {
                EventContent::Fit => found.events.push(delivery),
                EventContent::Unfit(why) => found.unfit.push((delivery, why)),
                EventContent::Gone => found.gone.push(delivery),
                EventContent::Locked => found.locked.push(delivery),
            }
        }
        Ok(())
    }

    fn read_one(
        &self,
        rows: &query::Rows,
        delivery: &mut Delivery,
        before_ms: u64,
    ) -> Result<EventContent, StoreError> {
        match rows.event(&self.records, delivery.place.seq) {
            Ok(Some((event, request))) => {
                let waits_since = since_ms(delivery.ordered_ms, event.head.received_ms);
                delivery.event = event;
                delivery.request = request;
                Ok(if waits_since < before_ms {
                    EventContent::Unfit(TOO_OLD.to_owned())
                } else {
                    EventContent::Fit
                })
            }
            Ok(None) => Ok(EventContent::Gone),
            Err(StoreError::Record(RecordError::NoKey)) => Ok(EventContent::Locked),
            Err(StoreError::Record(error @ (RecordError::Damaged | RecordError::Form))) => {
                Ok(EventContent::Unfit(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    fn unreadable(&self, mut found: TakenEvents, error: &StoreError) -> TakenEvents {
        tracing::debug!(%error, to = self.to.name(), "no event can be read");
        found.wait = Wait::Pause;
        found
    }

    fn delivery(&self, due: Due, probe: Probe) -> Delivery {
        Delivery {
            to: Arc::clone(&self.to),
            place: LedgerPlace {
                destination: self.to.id,
                class: due.class,
                seq: due.seq,
            },
            attempts: due.attempts,
            ordered_ms: due.ordered_ms,
            probe,
            event: Listed::unread(due.seq),
            request: Request::empty(),
            is_settled: false,
        }
    }
}

/// The time until an event whose key is not there is looked at again: a reload may bring the key.
const LOCKED: Duration = Duration::from_secs(2);
/// The bytes of events from which a look ends: the events of a look are in memory together.
const ENOUGH: usize = 256 * 1024;
