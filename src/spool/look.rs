//! A look for the next events of a destination, on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Delivery;
use super::clock::millis;
use super::committer::Store;
use super::destination::{Destination, NextEvent};
use super::error::StoreError;
use super::health::Probe;
use super::lanes::Due;
use super::ledger::LedgerPlace;
use super::query::{self, Listed};
use super::record::{RecordError, Records, Request};

/// A look for the next events of a destination.
pub(super) struct Look {
    pub(super) store: Arc<Store>,
    pub(super) records: Arc<Records>,
    pub(super) max_age: Duration,
    pub(super) to: Arc<Destination>,
}

/// The events that a look has taken.
pub(super) struct TakenEvents {
    pub(super) events: Vec<Delivery>,
    /// The events that are not delivered, each with the cause.
    pub(super) unfit: Vec<(Delivery, String)>,
    pub(super) wait: Wait,
}

/// The time of the next look, for a destination without an event now.
pub(super) enum Wait {
    /// At once.
    Again,
    /// At this time, or when the destination's bell rings.
    Until(Option<Instant>),
    /// After a short time, whether the bell rings or not: the store cannot be read now.
    Rest,
}

enum Taken {
    Event(Box<Delivery>),
    Unfit(Box<Delivery>, String),
    None(Wait),
}

impl Look {
    /// Takes up to `most` events, or as many as have [`ENOUGH`] bytes.
    pub(super) fn take(&self, most: usize) -> TakenEvents {
        let mut found = TakenEvents {
            events: Vec::new(),
            unfit: Vec::new(),
            wait: Wait::Again,
        };
        let mut bytes = 0;
        while found.events.len() < most && bytes < ENOUGH && found.unfit.len() < MAX_UNFIT {
            match self.take_one() {
                Ok(Taken::Event(delivery)) => {
                    bytes += delivery.request.body.len();
                    found.events.push(*delivery);
                }
                Ok(Taken::Unfit(delivery, why)) => found.unfit.push((*delivery, why)),
                Ok(Taken::None(wait)) => {
                    found.wait = wait;
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, to = self.to.name(), "no event can be read");
                    found.wait = Wait::Rest;
                    break;
                }
            }
        }
        found
    }

    /// Takes the next event, if there is one that may go out.
    fn take_one(&self) -> Result<Taken, StoreError> {
        let now = self.store.clock.now();
        let (due, probe) = match self.to.next(&self.store, now)? {
            NextEvent::Event(due, probe) => (due, probe),
            NextEvent::Wait(until) => return Ok(Taken::None(Wait::Until(until))),
            NextEvent::Again => return Ok(Taken::None(Wait::Again)),
        };
        // A dropped delivery gives the event back, after any error below.
        let mut delivery = self.delivery(due, probe);
        let read = self
            .store
            .read(|read| query::event(read, &self.records, due.seq));
        match read {
            Ok(Some((event, request))) => {
                let age = now.wall_ms.saturating_sub(event.head.received_ms);
                delivery.event = event;
                delivery.request = request;
                if age > millis(self.max_age) {
                    let why = "older than `[spool] max_age`".to_owned();
                    return Ok(Taken::Unfit(Box::new(delivery), why));
                }
                Ok(Taken::Event(Box::new(delivery)))
            }
            // The record of a key that is not configured waits for the key.
            Err(StoreError::Record(error @ (RecordError::Damaged | RecordError::Form))) => {
                Ok(Taken::Unfit(Box::new(delivery), error.to_string()))
            }
            Ok(None) => Ok(Taken::Unfit(
                Box::new(delivery),
                RecordError::Damaged.to_string(),
            )),
            Err(error) => Err(error),
        }
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
            probe,
            event: Listed::unread(due.seq),
            request: Request::empty(),
            is_settled: false,
        }
    }
}

/// The bytes of events from which a look ends: the events of a look are in memory together.
const ENOUGH: usize = 256 * 1024;
/// The bound on events that a look finds to be dead letters.
const MAX_UNFIT: usize = 256;
