//! The orders that wait for the writer, and the choice of the orders of a transaction.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::committer::Store;
use super::error::{SpoolRefusal, StoreError};
use super::ledger::Ledger;
use super::teller::CommitReport;

/// The orders that wait for the writer.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) waiting: VecDeque<Order>,
    pub(super) bytes: usize,
    /// True while the store is closed after a failure.
    pub(super) is_broken: bool,
    pub(super) is_closed: bool,
    /// The orders for which the writer waits, while it lets orders gather: fewer are no reason to
    /// wake it.
    pub(super) gathering: Option<usize>,
}

/// The last transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastCommit {
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) orders: usize,
}

impl LastCommit {
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
pub(super) struct Order {
    pub(super) bytes: usize,
    pub(super) apply: LedgerChange,
}

/// The change of an order.
pub(super) type LedgerChange =
    Box<dyn FnOnce(&mut Ledger<'_>) -> Result<CommitReport, StoreError> + Send>;

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

    /// Gives the writer an order.
    pub(super) fn order(&self, order: Order) -> Result<(), SpoolRefusal> {
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

    /// Waits for orders; `None` once the store is to be closed and nothing waits.
    ///
    /// While many orders come, a transaction begins [`GATHER`] after the last transaction at the
    /// earliest: the pages above the rows are written once for each transaction, and cost more than
    /// the rows. Behind a slow sync it also waits for those whom the last transaction has answered:
    /// a transaction with the first of them alone would let the others wait for two syncs. A lone
    /// order never waits.
    pub(super) fn next_batch(&self, last: Option<LastCommit>) -> Option<Vec<Order>> {
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
}

/// The time between the beginnings of two transactions while many orders come. Half of it is the
/// wait of an event on average.
const GATHER: Duration = Duration::from_millis(2);
/// The longest wait for those whom the last transaction has answered: half of [`GATHER`]. A caller
/// on this machine has sent the next event by then.
const MAX_RETURN: Duration = Duration::from_millis(1);
/// The orders with which a transaction begins at once: at 64 events at a time, as many are new as
/// are delivered.
const ENOUGH: usize = 96;
/// The bytes with which a transaction begins at once: writing 1 MiB takes about as long as the
/// gathering would.
const ENOUGH_BYTES: usize = 1024 * 1024;
/// The bound on orders of a transaction: the first order does not wait long for the last.
const MAX_BATCH: usize = 512;
/// The bound on bytes of a transaction: two events of the default `max_body`.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// The bound on bytes that wait for the writer: four transactions of [`MAX_BATCH_BYTES`]. More
/// would wait longer than a provider waits for the answer, on a disk that is slow.
const MAX_WAITING: usize = 32 * 1024 * 1024;

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
            let last = LastCommit {
                began,
                ended: micros(took),
                orders,
            };
            let expected = [(began + GATHER, ENOUGH), (micros(returning), enough)];
            assert_eq!(last.waits(), expected, "{took} {orders}");
        }
    }
}
