//! The memory budget for all bodies that are held: of requests, of events and of answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{Mutex, Notify};

/// The memory that bodies take now, over all requests and events, and the bounds.
///
/// The numbers are capacities of buffers and not lengths of bodies: the process needs the capacity.
#[derive(Debug)]
pub struct MemoryBudget {
    all: AtomicU64,
    events: AtomicU64,
    max_events: AtomicU64,
    /// The turn of the answers that wait for room: the first of them holds the lock.
    turn: Mutex<()>,
    /// The sign that a reservation was given back.
    freed: Notify,
}

/// A part of a [`MemoryBudget`], given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    holder: Holder,
    bytes: u64,
}

/// The kind of body that a reservation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The body of an event, which waits for an application.
    Event,
    /// The body of a request or of an answer.
    Send,
}

/// The bytes of a body together with their reservation.
struct HeldBytes {
    bytes: Bytes,
    _reservation: Reservation,
}

impl MemoryBudget {
    /// Returns a budget of which events may take `max_events` bytes.
    #[must_use]
    pub fn new(max_events: u64) -> Self {
        Self {
            all: AtomicU64::new(0),
            events: AtomicU64::new(0),
            max_events: AtomicU64::new(max_events),
            turn: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Changes the bound on events. Bodies that are held already stay.
    pub fn set_max_events(&self, max_events: u64) {
        self.max_events.store(max_events, Ordering::Relaxed);
    }

    /// Returns a reservation of zero bytes.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, holder: Holder) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            holder,
            bytes: 0,
        }
    }

    /// Waits until there is room for `bytes` of an answer. Answers get room in the order of their
    /// arrival. The caller bounds the wait.
    pub async fn wait_for(self: &Arc<Self>, bytes: u64) -> Reservation {
        let mut reservation = self.reserve(Holder::Send);
        let _turn = self.turn.lock().await;
        loop {
            let freed = self.freed.notified();
            if reservation.grow_to(bytes) {
                return reservation;
            }
            freed.await;
        }
    }

    /// Counts bytes that are in memory already, whether there is room or not, until the last copy of
    /// them is dropped.
    #[must_use]
    pub fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.len() <= SMALL {
            return bytes;
        }
        self.take(bytes.len()).keep(bytes)
    }

    /// Reserves `length` bytes that are in memory already, whether there is room or not.
    #[must_use]
    pub fn take(self: &Arc<Self>, length: usize) -> Reservation {
        let mut reservation = self.reserve(Holder::Send);
        reservation.add(length as u64);
        reservation
    }

    /// Returns true if `more` bytes fit for a body that then has `whole` bytes.
    fn has_room(&self, holder: Holder, whole: u64, more: u64) -> bool {
        let max_events = self.max_events.load(Ordering::Relaxed);
        let max = max_events.saturating_add(ROOM_FOR_SENDS);
        let all = self.all.load(Ordering::Relaxed).saturating_add(more);
        if whole <= SMALL as u64 {
            return all <= max.saturating_add(ROOM_FOR_SMALL);
        }
        let events = self.events.load(Ordering::Relaxed).saturating_add(more);
        all <= max && (holder == Holder::Send || events <= max_events)
    }
}

impl Reservation {
    /// Enlarges the reservation to `bytes`; a smaller number changes nothing. Returns false, and
    /// changes nothing, if there is no room.
    #[must_use]
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        // A single thread reserves, so no other reservation comes between the question and the answer.
        let has_room = more == 0 || self.budget.has_room(self.holder, bytes, more);
        if has_room {
            self.add(more);
        }
        has_room
    }

    /// Gives back what exceeds `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.give_back(less);
        }
    }

    /// Ties the reservation to bytes: their last copy gives it back.
    #[must_use]
    pub fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(HeldBytes {
            bytes,
            _reservation: self,
        })
    }

    fn add(&mut self, more: u64) {
        self.bytes += more;
        self.budget.all.fetch_add(more, Ordering::Relaxed);
        if self.holder == Holder::Event {
            self.budget.events.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn give_back(&mut self, less: u64) {
        self.bytes -= less;
        self.budget.all.fetch_sub(less, Ordering::Relaxed);
        if self.holder == Holder::Event {
            self.budget.events.fetch_sub(less, Ordering::Relaxed);
        }
        self.budget.freed.notify_one();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.give_back(self.bytes);
        }
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The largest small body, in bytes. Nearly all messages and events are small, and go on while large
/// bodies have used up the budget.
pub const SMALL: usize = 16 * 1024;
/// The bytes that events leave for bodies of requests and of answers: two answers of the largest size.
pub const ROOM_FOR_SENDS: u64 = 16 << 20;
/// The bytes that large bodies leave for small bodies: 512 of the largest size.
const ROOM_FOR_SMALL: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn held(budget: &Arc<MemoryBudget>, holder: Holder, bytes: u64) -> Option<Reservation> {
        let mut reservation = budget.reserve(holder);
        reservation.grow_to(bytes).then_some(reservation)
    }

    #[test]
    fn a_dropped_reservation_gives_its_bytes_back() {
        let budget = Arc::new(MemoryBudget::new(4 * MIB));
        let mut reservations: Vec<_> = (0..4).map(|_| budget.reserve(Holder::Event)).collect();
        for reservation in &mut reservations {
            assert!(reservation.grow_to(MIB / 2));
            assert!(reservation.grow_to(MIB));
            assert!(reservation.grow_to(1), "a smaller number changes nothing");
        }
        assert!(held(&budget, Holder::Event, MIB).is_none());
        drop(reservations);
        assert!(held(&budget, Holder::Event, 4 * MIB).is_some());
        assert_eq!(budget.all.load(Ordering::Relaxed), 0);
        assert_eq!(budget.events.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn events_leave_room_for_sends_and_large_bodies_leave_room_for_small_ones() {
        let budget = Arc::new(MemoryBudget::new(4 * MIB));
        let _events = held(&budget, Holder::Event, 4 * MIB).unwrap();
        assert!(held(&budget, Holder::Event, MIB).is_none());
        assert!(held(&budget, Holder::Event, SMALL as u64).is_some());
        let _sends = held(&budget, Holder::Send, ROOM_FOR_SENDS).unwrap();
        assert!(held(&budget, Holder::Send, MIB).is_none());
        let small = || held(&budget, Holder::Send, SMALL as u64);
        let all_small: Vec<_> = std::iter::from_fn(small).collect();
        assert_eq!(all_small.len() as u64, ROOM_FOR_SMALL / SMALL as u64);
        budget.set_max_events(8 * MIB);
        assert!(small().is_some(), "a reload makes more room");
    }

    #[test]
    fn bytes_keep_their_reservation_until_the_last_copy_is_dropped() {
        let budget = Arc::new(MemoryBudget::new(0));
        let bytes = budget.count(Bytes::from(vec![b'x'; SMALL + 1]));
        let copy = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(budget.all.load(Ordering::Relaxed), SMALL as u64 + 1);
        drop(copy);
        assert_eq!(budget.all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_wait_for_room_in_the_order_of_their_arrival() {
        let budget = Arc::new(MemoryBudget::new(0));
        let first = budget.wait_for(ROOM_FOR_SENDS).await;
        let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let waiting: Vec<_> = [ROOM_FOR_SENDS, MIB, MIB]
            .into_iter()
            .enumerate()
            .map(|(number, bytes)| {
                let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
                tokio::spawn(async move {
                    let reservation = budget.wait_for(bytes).await;
                    order.lock().push(number);
                    drop(reservation);
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(order.lock().is_empty());
        drop(first);
        for task in waiting {
            timeout(Duration::from_secs(1), task)
                .await
                .unwrap()
                .unwrap();
        }
        assert_eq!(*order.lock(), [0, 1, 2]);
        assert_eq!(budget.all.load(Ordering::Relaxed), 0);
    }
}
