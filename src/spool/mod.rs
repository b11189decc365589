//! Events on disk: an event answered 200 waits here until every destination has the event.
//!
//! ```text
//! Spool::accept          one transaction: event, items, a place in the queue of each destination
//! Spool::next            the next events of a destination: lanes in order, messages before statuses
//! Spool::settle          the outcome of an attempt: done, again, dead letter, or the destination is down
//! ```
//!
//! Changes go through one writer, which commits the waiting orders in one transaction and answers
//! after the sync. Readers see the store as it was after the last commit.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

mod aging;
mod answer;
mod clock;
mod cloud_event;
mod committer;
mod contents;
mod delivery;
mod destination;
mod error;
mod expiry;
mod file;
mod footing;
mod forms;
mod health;
mod ids;
mod items;
mod lane_event;
mod lanes;
mod leaps;
mod ledger;
mod opening;
mod operate;
mod orders;
mod place;
mod query;
mod ready;
mod record;
mod reopening;
mod schedule;
mod seal;
mod survey;
mod tables;
mod taking;
mod teller;
#[cfg(test)]
mod tests;

pub use answer::StreamAnswer;
pub use clock::SpoolClock;
pub use contents::EventContents;
pub use delivery::{Delivery, Settled};
pub use destination::{Destination, SpoolDestination, Wait};
pub use error::{SpoolError, SpoolRefusal, StoreError};
pub use file::check_usable;
pub use footing::{Footing, MadeUp};
pub use health::{HealthChange, Trouble, TroubleKind};
pub use items::{Class, Item};
pub use lanes::Setback;
pub use ledger::EventReceipt;
pub use opening::Alarm;
pub use operate::{Erased, Replay};
pub use query::{EventAtDestination, Filter, Listed, Page, UnreadEvent};
pub use record::{EventHead, RecordError, Request};
pub use schedule::{AttemptEnd, AttemptOutcome, AttemptVerdict, Attempts};
pub use seal::{Seal, Sealing};
pub use survey::{Numbers, Pending, Survey, Surveyed};
pub use tables::{DestinationId, Seq, StoredState};

use aging::Passed;
use clock::day;
use committer::Store;
use delivery::UNREADABLE;
use destination::Destinations;
use file::Medium;
use ids::{item_ids, lane_ids};
use ledger::{Prepared, Rules};
use record::Records;
use taking::Taking;

use crate::config::SpoolConfig;

/// The events of all webhooks, on disk.
#[derive(Debug)]
pub struct Spool {
    store: Arc<Store>,
    records: Arc<Records>,
    destinations: Arc<Destinations>,
    config: RwLock<SpoolConfig>,
    passed: Arc<Passed>,
    /// The turns of looks for events.
    looks: tokio::sync::Semaphore,
    /// The turn of changes of the destinations.
    setting: tokio::sync::Mutex<()>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// A genuine event.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The name of the webhook.
    pub webhook: String,
    /// The id of the event, 32 hexadecimal digits.
    pub id: String,
    /// The request as it arrived.
    pub request: Request,
    /// The contents of the body.
    pub contents: EventContents,
}

/// An event that is ready for the store.
#[derive(Debug)]
pub struct ReadyEvent(Prepared);

/// The bounds of a look for events.
#[derive(Clone, Copy, Debug)]
pub struct LookBounds {
    /// The most events.
    pub events: usize,
    /// The most bytes of all events together.
    pub bytes: usize,
}

/// The result of a look for events.
#[derive(Debug)]
pub enum Look {
    /// These events go out.
    Events(Vec<Delivery>),
    /// The next event has as many bytes, more than the bounds allow. It was not read.
    TooLarge(usize),
    /// No event goes out now.
    Nothing(Wait),
}

impl Spool {
    /// Opens the spool, or begins a new one.
    ///
    /// # Errors
    /// If the folder cannot be used, or another process has the spool open. A damaged file is no
    /// error: it is set aside, with an [`Alarm`].
    pub fn open(config: SpoolConfig, seal: Sealing, clock: SpoolClock) -> Result<Self, SpoolError> {
        let medium = Medium::in_folder(&config.dir)?;
        Self::on(medium, config, seal, clock)
    }

    fn on(
        medium: Medium,
        config: SpoolConfig,
        seal: Sealing,
        clock: SpoolClock,
    ) -> Result<Self, SpoolError> {
        let rules = Rules::of(&config);
        let destinations = Arc::new(Destinations::default());
        let (store, writer) = Store::open(medium, rules, clock, Arc::clone(&destinations))?;
        Ok(Self {
            store,
            records: Arc::new(Records::new(seal)),
            destinations,
            config: RwLock::new(config),
            passed: Arc::default(),
            looks: tokio::sync::Semaphore::new(LOOKS),
            setting: tokio::sync::Mutex::default(),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Takes new bounds, and a new seal for new events. The folder stays until a restart.
    pub fn configure(&self, config: &SpoolConfig, seal: Sealing) {
        {
            let mut own = self.config.write();
            let dir = std::mem::take(&mut own.dir);
            *own = SpoolConfig {
                dir,
                ..config.clone()
            };
        }
        self.store.set_rules(Rules::of(config));
        self.records.set_seal(seal);
        for destination in self.destinations.all() {
            destination.bell.notify_one();
        }
    }

    /// Stores an event for every destination of its webhook. `Ok` means: the event is on disk,
    /// synced, or was before.
    ///
    /// # Errors
    /// If the event is not stored. Nothing of it is kept then.
    pub async fn accept(&self, event: NewEvent) -> Result<EventReceipt, SpoolRefusal> {
        let ready = self.prepare(event)?;
        self.store(ready).await
    }

    /// Makes an event ready for the store: hashed, sealed, with its destinations. A large event
    /// takes milliseconds here, and belongs on a thread of its own.
    ///
    /// # Errors
    /// If the webhook has no destination, or the event cannot be sealed.
    pub fn prepare(&self, event: NewEvent) -> Result<ReadyEvent, SpoolRefusal> {
        let now = self.store.clock.now();
        let salt = self.store.salt();
        let contents = &event.contents;
        // An event without a destination would never be delivered.
        let to = self
            .destinations
            .of(&event.webhook, contents)
            .ok_or_else(|| self.store.refusal_without_destination())?;
        let users: std::collections::BTreeSet<_> = contents
            .items
            .iter()
            .flat_map(|item| &item.users)
            .cloned()
            .collect();
        let lanes = lane_ids(&salt, &event.webhook, contents);
        let items = item_ids(&salt, &event.webhook, contents);
        let head = EventHead {
            webhook: event.webhook,
            id: event.id,
            received_ms: now.wall_ms,
            time: contents.time,
            class: contents.class as u8,
            fields: contents.fields.iter().cloned().collect(),
            senders: contents.senders.iter().cloned().collect(),
            users: users.into_iter().collect(),
            items: u32::try_from(contents.items.len()).unwrap_or(u32::MAX),
            length: u64::try_from(event.request.body.len()).unwrap_or(u64::MAX),
            lanes: if contents.is_by_body() {
                lanes.clone()
            } else {
                Vec::new()
            },
            is_partial: contents.is_partial,
        };
        let refused = |error| match error {
            RecordError::NoKey => SpoolRefusal::NoKey,
            _ => SpoolRefusal::Broken,
        };
        Ok(ReadyEvent(Prepared {
            class: contents.class,
            lanes,
            items,
            head: self.records.head(&head).map_err(refused)?,
            body: self.records.request(&event.request).map_err(refused)?,
            to,
            received_ms: now.wall_ms,
        }))
    }

    /// Stores an event that is ready, as [`Self::accept`] does.
    ///
    /// # Errors
    /// If the event is not stored. Nothing of it is kept then.
    pub async fn store(&self, event: ReadyEvent) -> Result<EventReceipt, SpoolRefusal> {
        let prepared = event.0;
        let bytes = prepared.body.len() + prepared.head.len();
        let today = day(prepared.received_ms);
        self.store
            .run(bytes, move |ledger| ledger.accept(&prepared, today))
            .await?
    }

    /// Waits for events that a destination may get now, and takes up to `most` of them, of any
    /// size.
    ///
    /// # Errors
    /// If the spool is closed.
    pub async fn next(
        &self,
        to: &Arc<Destination>,
        most: usize,
    ) -> Result<Vec<Delivery>, SpoolRefusal> {
        let bounds = LookBounds {
            events: most,
            bytes: usize::MAX,
        };
        loop {
            match self.look(to, bounds).await? {
                Look::Events(events) => return Ok(events),
                Look::TooLarge(_) => {}
                Look::Nothing(wait) => self.wait(to, wait).await,
            }
        }
    }

    /// Looks for events that a destination may get now, and takes as many as the bounds allow.
    ///
    /// # Errors
    /// If the spool is closed.
    pub async fn look(
        &self,
        to: &Arc<Destination>,
        bounds: LookBounds,
    ) -> Result<Look, SpoolRefusal> {
        let taking = Taking {
            store: Arc::clone(&self.store),
            records: Arc::clone(&self.records),
            max_age: self.config.read().max_age,
            to: Arc::clone(to),
        };
        // A look reads from the disk, and opens seals.
        let turn = self.looks.acquire().await;
        let taken = tokio::task::spawn_blocking(move || taking.take(bounds))
            .await
            .map_err(|_| SpoolRefusal::Broken)?;
        drop(turn);
        for (delivery, why) in taken.unfit {
            self.bury(delivery, &why).await?;
        }
        for mut delivery in taken.gone {
            delivery.is_settled = true;
            to.probe_unused(delivery.probe);
            self.let_go(to, delivery.place, &[]);
        }
        if !taken.events.is_empty() {
            return Ok(Look::Events(taken.events));
        }
        if let Some(bytes) = taken.too_large {
            return Ok(Look::TooLarge(bytes));
        }
        if self.writer.lock().is_none() {
            return Err(SpoolRefusal::Closed);
        }
        Ok(Look::Nothing(taken.wait))
    }

    /// Waits for the time of the next look. A ring since the last look ends the wait at once.
    pub async fn wait(&self, to: &Destination, wait: Wait) {
        match wait {
            Wait::Again => {}
            Wait::Pause => tokio::time::sleep(UNREADABLE).await,
            Wait::Until(until) => {
                let until = until.unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
                let rung = to.bell.notified();
                tokio::time::timeout_at(until, rung).await.ok();
            }
        }
    }

    /// Closes the spool: all orders are committed, and the file is left ready for a quick start.
    pub fn close(&self) {
        self.store.close();
        let writer = self.writer.lock().take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of the spool gave up");
        }
        for destination in self.destinations.all() {
            destination.bell.notify_one();
        }
    }
}

impl ReadyEvent {
    /// True if a destination wants the event.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.0.to.is_empty()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

/// The longest time without a look for events. A bell rings for each new event, and the time of a
/// put-off event is known: the look is for a ring that was missed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The looks at a time, so that thousands of destinations do not take a thread each.
const LOOKS: usize = 4;
