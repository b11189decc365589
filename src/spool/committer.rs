//! The writer: takes the waiting orders, commits all in a single transaction, then answers each
//! order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use redb::{Database, ReadableDatabase};
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::SpoolClock;
use super::destination::Destinations;
use super::error::{SpoolError, SpoolRefusal, StoreError};
use super::file::{Medium, StoreCheck};
use super::ledger::{Counts, Ledger, Rules};
use super::opening::{Alarm, QUICK_REPAIR, StoreProof, open_or_renew};
use super::operate::unreadable;
use super::orders::{LastCommit, LedgerChange, Order, Orders};
use super::tables::{DestinationId, StoredState};
use super::teller::{Committed, Teller};

/// The store with its writer.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) medium: Medium,
    pub(super) clock: SpoolClock,
    pub(super) rules: Mutex<Rules>,
    pub(super) database: RwLock<Option<Database>>,
    pub(super) orders: Mutex<Orders>,
    pub(super) bell: Condvar,
    /// The counts after the last commit.
    pub(super) counts: Mutex<Counts>,
    pub(super) salt: Mutex<[u8; 16]>,
    pub(super) alarm: Mutex<Alarm>,
    pub(super) destinations: Arc<Destinations>,
    /// True from the first opening of the store on, or after the end.
    pub(super) is_begun: watch::Sender<bool>,
}

impl Store {
    /// Opens the store and starts its writer. A damaged file is set aside and a new one begun.
    /// While the disk fails, the store is closed as after a failure of a commit, and the writer
    /// opens the store later.
    pub(super) fn open(
        medium: Medium,
        rules: Rules,
        clock: SpoolClock,
        destinations: Arc<Destinations>,
    ) -> Result<(Arc<Self>, std::thread::JoinHandle<()>), SpoolError> {
        let path = medium.path();
        let mut alarm = Alarm::default();
        let opened = open_or_renew(&medium, StoreCheck::Usual, rules, &clock, &mut alarm, &[]);
        let (begun, failure) = match opened {
            Ok(begun) => (Some(begun), None),
            Err(error) if error.is_of_disk() => (None, Some(error)),
            // The system makes a volume read-only after errors of the disk. An empty volume is a
            // wrong place.
            Err(error) if error.is_read_only() && medium.has_store() => (None, Some(error)),
            Err(error) => return Err(SpoolError::of_opening(path, error)),
        };
        let (database, counts, salt) = begun.map_or_else(Default::default, |begun| {
            (Some(begun.database), begun.counts, begun.salt)
        });
        let store = Arc::new(Self {
            medium,
            clock,
            rules: Mutex::new(rules),
            orders: Mutex::new(Orders {
                is_broken: database.is_none(),
                ..Orders::default()
            }),
            is_begun: watch::Sender::new(database.is_some()),
            database: RwLock::new(database),
            bell: Condvar::new(),
            counts: Mutex::new(counts),
            salt: Mutex::new(salt),
            alarm: Mutex::new(alarm),
            destinations,
        });
        let writer = Arc::clone(&store);
        let teller = Teller::start(Arc::clone(&store.destinations));
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                if let Some(failure) = failure {
                    writer.reopen(&failure);
                    writer.is_begun.send_replace(true);
                }
                writer.write(&teller);
            })
            .map_err(|error| SpoolError::Folder { path, error })?;
        Ok((store, thread))
    }

    /// Waits for the first opening of a store whose disk failed at the start.
    pub(super) async fn begun(&self) {
        let mut begun = self.is_begun.subscribe();
        // The sender lives as long as the store.
        begun.wait_for(|begun| *begun).await.ok();
    }

    /// The refusal of an event without a destination: no destination is known before the first
    /// opening.
    pub(super) fn refusal_without_destination(&self) -> SpoolRefusal {
        if *self.is_begun.borrow() {
            SpoolRefusal::NoDestination
        } else {
            SpoolRefusal::Broken
        }
    }

    /// Reads from the store as it was after the last commit.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        #[cfg(test)]
        self.medium.note_reader();
        let database = self.database.read();
        let database = database
            .as_ref()
            .ok_or(StoreError::Engine(Box::new(redb::Error::DatabaseClosed)))?;
        read(&database.begin_read()?)
    }

    /// Reads from the store on a thread of its own: on the thread of requests, a read of the disk
    /// would hold up all of them.
    pub(super) async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SpoolRefusal> {
        let store = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || read(&store)).await;
        // A thread is lost at the end of the process only.
        done.map_or(Err(SpoolRefusal::Closed), |result| {
            result.map_err(|error| unreadable(&error))
        })
    }

    /// Sets the bounds for the next transaction.
    pub(super) fn set_rules(&self, rules: Rules) {
        *self.rules.lock() = rules;
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }

    /// The number of waiting events of a destination.
    pub(super) fn waiting(&self, to: DestinationId) -> u64 {
        let counts = self.counts.lock();
        let count = counts.events.get(&(to, StoredState::Waiting));
        count.copied().unwrap_or_default()
    }

    /// The time of arrival, in milliseconds since 1970, of events with an age of `age`.
    pub(super) fn before(&self, age: Duration) -> u64 {
        let now_ms = self.clock.now().wall_ms;
        self.counts.lock().leaps.before(now_ms, age)
    }

    /// The age of what began at a time, in milliseconds since 1970.
    pub(super) fn age(&self, since_ms: u64) -> Duration {
        let now_ms = self.clock.now().wall_ms;
        self.counts.lock().leaps.age(now_ms, since_ms)
    }

    /// The salt of the hashes of items, lanes and users.
    pub(super) fn salt(&self) -> [u8; 16] {
        *self.salt.lock()
    }

    pub(super) fn alarm(&self) -> Alarm {
        self.prove(StoreProof::Waited);
        self.alarm.lock().clone()
    }

    /// Takes a proof that the store works, and tells of the end of a failure.
    pub(super) fn prove(&self, proof: StoreProof) {
        let mut alarm = self.alarm.lock();
        if alarm.take(proof, Instant::now()) {
            let failures = alarm.failures;
            tracing::info!(failures, "the spool's store accepts events again");
        }
    }

    /// Lets the writer finish what is ordered, and close the store.
    pub(super) fn close(&self) {
        self.orders.lock().is_closed = true;
        self.bell.notify_one();
    }

    /// Orders an empty change if the file has lost its place: the writer finds the loss, and mends
    /// the store.
    pub(super) fn look_after_place(&self) {
        if self.medium.check_place().is_err() {
            let apply: LedgerChange = Box::new(|_| Ok(Box::new(|| {})));
            // A store without orders is closed, or under repair.
            self.order(Order { bytes: 0, apply }).ok();
        }
    }

    /// The loop of the writer.
    fn write(&self, teller: &Teller) {
        let mut last = None;
        while let Some(batch) = self.next_batch(last) {
            let began = Instant::now();
            let orders = batch.len();
            let has_events = batch.iter().any(|order| order.bytes > 0);
            let committed = self.commit(batch);
            last = Some(LastCommit {
                began,
                ended: Instant::now(),
                orders,
            });
            match committed {
                Ok(committed) => {
                    if has_events {
                        self.prove(StoreProof::Stored);
                    }
                    teller.tell(committed);
                }
                Err(error) => self.reopen(&error),
            }
        }
        if let Some(database) = self.database.write().take()
            && let Err(error) = database.close()
        {
            tracing::warn!(%error, "the spool's store is closed without its last notes: the next start verifies it");
        }
        if let Err(error) = self.medium.put_back() {
            tracing::error!(%error, "the events that wait in the spool are lost with the end of the process");
        }
    }

    fn commit(&self, batch: Vec<Order>) -> Result<Committed, StoreError> {
        let counts = self.counts.lock().clone();
        let rules = Rules {
            disk: self.medium.room(&counts),
            ..*self.rules.lock()
        };
        let database = self.database.read();
        let database = database
            .as_ref()
            .ok_or(StoreError::Engine(Box::new(redb::Error::DatabaseClosed)))?;
        let steps = AssertUnwindSafe(|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(self.medium.durability())?;
            // The verification of a large file after a crash would take seconds.
            transaction.set_quick_repair(self.medium.length() > QUICK_REPAIR);
            let mut ledger = Ledger::open(&transaction, counts, rules)?;
            let mut reports = Vec::with_capacity(batch.len());
            for order in batch {
                reports.push((order.apply)(&mut ledger)?);
            }
            let (counts, touched) = ledger.close(&self.clock)?;
            transaction.commit()?;
            Ok((reports, counts, touched))
        });
        let (reports, counts, touched) = catch_unwind(steps).unwrap_or(Err(StoreError::Panic))?;
        // A commit to a removed file is lost with the process.
        self.medium.check_place()?;
        *self.counts.lock() = counts;
        Ok(Committed { reports, touched })
    }
}
