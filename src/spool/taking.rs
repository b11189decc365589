//! The taking of the next events of a destination, on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Delivery;
use super::aging::TOO_OLD;
use super::committer::Store;
use super::destination::{Destination, Wait};
use super::error::StoreError;
use super::health::Probe;
use super::lanes::Due;
use super::ledger::LedgerPlace;
use super::query::{self, Listed};
use super::record::{RecordError, Records, Request};
use super::tables::since_ms;

/// The taking of the next events of a destination.
pub(super) struct Taking {
    pub(super) store: Arc<Store>,
    pub(super) records: Arc<Records>,
    pub(super) max_age: Duration,
    pub(super) to: Arc<Destination>,
}

/// The events that were taken at a time.
pub(super) struct TakenEvents {
    pub(super) events: Vec<Delivery>,
    /// The events that are not delivered, each with the cause.
    pub(super) unfit: Vec<(Delivery, String)>,
    /// The events that were erased while they were under way.
    pub(super) gone: Vec<Delivery>,
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

impl TakenEvents {
    fn new(wait: Wait) -> Self {
        Self {
            events: Vec::new(),
            unfit: Vec::new(),
            gone: Vec::new(),
            wait,
        }
    }
}

impl Taking {
    /// Takes up to `most` events, or as many as have [`ENOUGH`] bytes.
    pub(super) fn take(&self, most: usize) -> TakenEvents {
        let now = self.store.clock.now();
        match self.to.next(&self.store, now, most) {
            Ok(next) => {
                let due = next.due.into_iter();
                let taken: Vec<_> = due.map(|due| self.delivery(due, next.probe)).collect();
                self.read(taken, next.wait, now.at)
            }
            Err(error) => self.unreadable(TakenEvents::new(Wait::Rest), &error),
        }
    }

    /// Reads the events that were taken. Events beyond [`ENOUGH`] bytes, or after an error, are given back.
    ///
    /// No delivery is dropped or put off while the store is being read: both take the lock of the lanes, under which
    /// others read the store.
    fn read(&self, taken: Vec<Delivery>, wait: Wait, now: Instant) -> TakenEvents {
        let mut found = TakenEvents::new(wait);
        let mut taken = taken.into_iter();
        let mut locked = Vec::new();
        let before_ms = self.store.before(self.max_age);
        let read = self.store.read(|read| {
            let rows = query::Rows::open(read)?;
            let mut bytes = 0;
            while let Some(mut delivery) = (bytes < ENOUGH).then(|| taken.next()).flatten() {
                match self.read_one(&rows, &mut delivery, before_ms) {
                    Ok(EventContent::Fit) => {
                        bytes += delivery.request.body.len();
                        found.events.push(delivery);
                    }
                    Ok(EventContent::Unfit(why)) => found.unfit.push((delivery, why)),
                    Ok(EventContent::Gone) => found.gone.push(delivery),
                    Ok(EventContent::Locked) => locked.push(delivery),
                    Err(error) => return Ok(Some((delivery, error))),
                }
            }
            Ok(None)
        });
        for delivery in locked {
            delivery.put_off(now + LOCKED);
        }
        if taken.len() > 0 {
            found.wait = Wait::Again;
        }
        match read {
            Ok(None) => found,
            Ok(Some((_, error))) | Err(error) => self.unreadable(found, &error),
        }
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
        found.wait = Wait::Rest;
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
