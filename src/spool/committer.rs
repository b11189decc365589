//! The writer: takes the waiting orders, commits all in a single transaction, then answers each
//! order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use redb::{Database, ReadableDatabase};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::clock::SpoolClock;
use super::destination::Destinations;
use super::error::{SpoolError, SpoolRefusal, StoreError};
use super::file::{Medium, StoreCheck};
use super::ledger::{Counts, Ledger, Rules};
use super::opening::{Alarm, Begun, QUICK_REPAIR, StoreProof, open_or_renew};
use super::operate::unreadable;
use super::tables::{DestinationId, StoredState};
use super::teller::{CommitReport, Committed, Teller};

/// The store with its writer.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) medium: Medium,
    pub(super) clock: SpoolClock,
    rules: Mutex<Rules>,
    database: RwLock<Option<Database>>,
    orders: Mutex<Orders>,
    bell: Condvar,
    /// The counts after the last commit.
    counts: Mutex<Counts>,
    salt: Mutex<[u8; 16]>,
    alarm: Mutex<Alarm>,
    destinations: Arc<Destinations>,
    /// True from the first opening of the store on, or after the end.
    is_begun: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Orders {
    waiting: VecDeque<Order>,
    bytes: usize,
    /// True while the store is closed after a failure.
    is_broken: bool,
    is_closed: bool,
    /// The orders for which the writer waits, while it lets orders gather: fewer are no reason to
    /// wake it.
    gathering: Option<usize>,
}

/// The last transaction.
#[derive(Clone, Copy, Debug)]
struct Last {
    began: Instant,
    ended: Instant,
    orders: usize,
}

impl Last {
    /// Returns the times until which the next transaction waits, each with the orders with which it
    /// begins at once.
    fn waits(self) -> [(Instant, usize); 2] {
        let took = self.ended.saturating_duration_since(self.began);
        let returning = self.ended + (took / 4).min(MAX_RETURN);
        [
            (self.began + GATHER, ENOUGH),
            (returning, ENOUGH.min(self.orders * 3 / 4)),
        ]
    }
}

/// A change of the store, with the answer to the client.
struct Order {
    bytes: usize,
    apply: LedgerChange,
}

/// The change of an order.
type LedgerChange = Box<dyn FnOnce(&mut Ledger<'_>) -> Result<CommitReport, StoreError> + Send>;

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Orders {
    /// True if a transaction of as many orders, or of many bytes, can begin.
    fn has_enough(&self, orders: usize) -> bool {
        self.waiting.len() >= orders || self.bytes >= ENOUGH_BYTES || self.is_closed
    }
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

    /// Orders a change, and waits until it is on disk.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        change: impl FnOnce(&mut Ledger<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SpoolRefusal> {
        let (sender, receiver) = oneshot::channel();
        let apply = Box::new(move |ledger: &mut Ledger<'_>| {
            let result = change(ledger)?;
            let answer: CommitReport = Box::new(move || {
                sender.send(result).ok();
            });
            Ok(answer)
        });
        self.order(Order { bytes, apply })?;
        // An order is dropped without an answer if the transaction failed.
        receiver.await.map_err(|_| SpoolRefusal::Broken)
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
    fn prove(&self, proof: StoreProof) {
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

    fn order(&self, order: Order) -> Result<(), SpoolRefusal> {
        let mut orders = self.orders.lock();
        if orders.is_closed {
            return Err(SpoolRefusal::Closed);
        }
        if orders.is_broken {
            return Err(SpoolRefusal::Broken);
        }
        // Orders without bytes are outcomes of deliveries and the like, which make room: none is
        // refused.
        if orders.bytes.saturating_add(order.bytes) > MAX_WAITING && order.bytes > 0 {
            return Err(SpoolRefusal::Busy);
        }
        orders.bytes += order.bytes;
        orders.waiting.push_back(order);
        // A wake-up of the gathering writer for each order would cost more than the gathering
        // saves.
        let is_awaited = orders
            .gathering
            .is_none_or(|enough| orders.has_enough(enough));
        drop(orders);
        if is_awaited {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// The loop of the writer.
    fn write(&self, teller: &Teller) {
        let mut last = None;
        while let Some(batch) = self.next_batch(last) {
            let began = Instant::now();
            let orders = batch.len();
            let has_events = batch.iter().any(|order| order.bytes > 0);
            let committed = self.commit(batch);
            last = Some(Last {
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

    /// Waits for orders; `None` once the store is to be closed and nothing waits.
    ///
    /// While many orders come, a transaction begins [`GATHER`] after the last transaction at the
    /// earliest: the pages above the rows are written once for each transaction, and cost more than
    /// the rows. Behind a slow sync it also waits for those whom the last transaction has answered:
    /// a transaction with the first of them alone would let the others wait for two syncs. A lone
    /// order never waits.
    fn next_batch(&self, last: Option<Last>) -> Option<Vec<Order>> {
        let mut orders = self.orders.lock();
        while orders.waiting.is_empty() {
            if orders.is_closed {
                return None;
            }
            self.bell.wait(&mut orders);
        }
        if let Some(last) = last.filter(|last| last.orders > 1) {
            for (until, enough) in last.waits() {
                orders.gathering = Some(enough);
                while !orders.has_enough(enough)
                    && !self
                        .bell
                        .wait_until(&mut orders, until.into_std())
                        .timed_out()
                {}
            }
            orders.gathering = None;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        // The first order goes however large: a single event may be larger than the bound.
        while batch.len() < MAX_BATCH
            && let Some(next) = orders.waiting.front()
            && (batch.is_empty() || bytes + next.bytes <= MAX_BATCH_BYTES)
            && let Some(order) = orders.waiting.pop_front()
        {
            bytes += order.bytes;
            orders.bytes -= order.bytes;
            batch.push(order);
        }
        Some(batch)
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

    /// Notes a failure, and tells of a new failure alone: each event for a full disk fails.
    fn note(&self, error: &StoreError, result: &str) {
        let mut alarm = self.alarm.lock();
        if alarm.fail(error) {
            tracing::error!(%error, "{result}");
        }
    }

    /// Opens the file again, after a removed file is put back.
    fn open_again(&self, alarm: &mut Alarm) -> Result<Begun, StoreError> {
        self.medium.put_back()?;
        let names = self.destinations.names();
        let rules = *self.rules.lock();
        open_or_renew(
            &self.medium,
            StoreCheck::All,
            rules,
            &self.clock,
            alarm,
            &names,
        )
    }

    /// Closes the store after a failure and opens the file again, verified as a whole. No event is
    /// answered meanwhile: a failed sync says little about the content of the disk, and is never
    /// tried again.
    fn reopen(&self, error: &StoreError) {
        self.note(error, "the spool's store failed: it is opened again and verified, and no event is answered meanwhile");
        let aside = {
            let mut alarm = self.alarm.lock();
            alarm.failures += 1;
            alarm.set_aside.clone()
        };
        self.orders.lock().is_broken = true;
        drop(self.database.write().take());
        let mut wait = MIN_REOPEN;
        loop {
            // The end of an order refuses the event.
            let refused = {
                let mut orders = self.orders.lock();
                orders.bytes = 0;
                std::mem::take(&mut orders.waiting)
            };
            drop(refused);
            let mut alarm = self.alarm.lock().clone();
            let opened = self.open_again(&mut alarm);
            let is_new = alarm.set_aside != aside;
            *self.alarm.lock() = alarm;
            match opened {
                Ok(Begun {
                    database,
                    mut counts,
                    salt,
                }) => {
                    // The number of an event under way is not given again, even if the file is set
                    // aside.
                    counts.next_seq = counts.next_seq.max(self.counts.lock().next_seq);
                    *self.counts.lock() = counts;
                    *self.salt.lock() = salt;
                    *self.database.write() = Some(database);
                    if is_new {
                        self.destinations.renew();
                    }
                    self.orders.lock().is_broken = false;
                    self.prove(StoreProof::Opened);
                    return;
                }
                Err(error) => self.note(
                    &error,
                    "the spool's store cannot be opened: free or mend the disk of `[spool] dir`",
                ),
            }
            let mut orders = self.orders.lock();
            if !orders.is_closed {
                self.bell.wait_for(&mut orders, wait);
            }
            if orders.is_closed {
                return;
            }
            drop(orders);
            wait = (wait * 2).min(MAX_REOPEN);
        }
    }
}

/// The time between the beginnings of two transactions while many orders come. Half of it is the
/// wait of an event on average.
const GATHER: Duration = Duration::from_millis(2);
/// The longest wait for those whom the last transaction has answered.
const MAX_RETURN: Duration = Duration::from_millis(1);
/// The orders with which a transaction begins at once: at 64 events at a time, as many are new as
/// are delivered.
const ENOUGH: usize = 96;
/// The bytes with which a transaction begins at once.
const ENOUGH_BYTES: usize = 1024 * 1024;
/// The bound on orders of a transaction: the first order does not wait long for the last.
const MAX_BATCH: usize = 512;
/// The bound on bytes of a transaction: two events of the default `max_body`.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// The bound on bytes that wait for the writer.
const MAX_WAITING: usize = 32 * 1024 * 1024;
/// The first wait before a store that cannot be opened is tried again: some faults last for a
/// moment only.
const MIN_REOPEN: Duration = Duration::from_millis(100);
/// The longest wait before a store that cannot be opened is tried again: a mended disk is in use
/// within seconds.
const MAX_REOPEN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_behind_a_slow_sync_waits_for_those_who_were_answered() {
        let began = Instant::now();
        for (took, orders, returning, enough) in [
            // A fast disk: the time between two transactions counts.
            (200, 100, 250, 75),
            (2_000, 100, 2_500, 75),
            (4_000, 40, 5_000, 30),
            // The wait and the number of orders have bounds.
            (40_000, 500, 41_000, ENOUGH),
            (4_000, 2, 5_000, 1),
        ] {
            let micros = |micros| began + Duration::from_micros(micros);
            let last = Last {
                began,
                ended: micros(took),
                orders,
            };
            let expected = [(began + GATHER, ENOUGH), (micros(returning), enough)];
            assert_eq!(last.waits(), expected, "{took} {orders}");
        }
    }
}
