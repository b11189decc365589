//! The memory budget for all bodies that are held, of requests, of events and of answers, and for
//! kept answers.
//!
//! # The memory of the process
//!
//! Everything that peers can make grow has a bound, and the sum of all bounds, reached at once, is
//! 96 MiB, three quarters of the limit that `deploy/kubernetes/keyside.yaml` sets:
//!
//! | for | MiB | bound |
//! |---|---|---|
//! | the program, with a configuration of usual size | 10 | |
//! | 1,024 connections of applications at work: 31 KiB | 31 | `[outbound] max_connections` |
//! | 512 connections of providers at work: 31 KiB | 16 | `app::descriptors::MAX_INBOUND` |
//! | 64 connections of operators and 16 of those who only watch, 2 large answers to them | 4 | `app::descriptors::MAX_ADMIN`, `MAX_METRICS`, `Admin::unread` |
//! | large events and heads; small events beyond their own room | 6 | `[inbound] max_in_flight` |
//! | large requests, heads and answers, streams on the way; small sends beyond their own room | 12 | [`ROOM_FOR_SENDS`] |
//! | small bodies of events and of sends | 4 | `ROOM_FOR_SMALL`, twice |
//! | copies of bodies that are worked on: an answer of 8 MiB, an event of 4 MiB | 12 | `workers::TURNS`, `Inbound::turn` |
//! | answers kept under an `Idempotency-Key`, while bodies need all other room | 1 | `ROOM_FOR_KEPT` |
//! | together | 96 | |
//!
//! A connection at work has hyper's state and two buffers (23 KiB), the task of the request, and
//! the connection on the far side; measured with 1,000 requests that wait for an answer. An idle
//! connection has 5 KiB.
//!
//! Kept answers may take up to 16 MiB (`MAX_KEPT`) of the room that large bodies leave; the oldest
//! are forgotten where a body needs the room, while its bytes arrive. Beside these, within the rest
//! of the limit:
//!
//! | for | MiB | bound |
//! |---|---|---|
//! | with `[spool]` (limit of `deploy/kubernetes/spool.yaml`: 192 MiB): the engine's cache | 24 | `spool::file::CACHE` |
//! | events on their way from the disk to destinations, however many hang | 8 | `delivery::room::SHARED` |
//! | a small event for each destination | 0.02 each | `delivery::room::PORTION` |
//!
//! Events on their way to the disk are counted above. TLS on a listener takes some
//! 10 KiB for each connection. The kernel's buffers of the sockets need the rest of the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};

mod kept;
#[cfg(test)]
mod tests;

use kept::KeptBytes;

/// The memory that bodies take now, and the bounds.
///
/// The numbers are capacities of buffers and not lengths of bodies: the process needs the capacity.
///
/// Small reservations have room of their own for each kind of holder, and beyond it take from the
/// room for large ones. So neither large bodies nor small events can stop small sends, nor the
/// other way round.
#[derive(Debug)]
pub struct MemoryBudget {
    events: TakenBytes,
    sends: TakenBytes,
    kept: KeptBytes,
    max_events: AtomicU64,
    /// The turn of the answers that wait for room: the first of them holds the lock.
    turn: Mutex<()>,
    /// The turn of the answers that pass through and wait for room, apart from those that are read
    /// whole.
    passing_turn: Mutex<()>,
    /// The sign that a reservation was given back.
    freed: Notify,
}

/// The bytes that the reservations of one kind of holder take.
#[derive(Debug, Default)]
struct TakenBytes {
    large: AtomicU64,
    small: AtomicU64,
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

/// The bytes in memory at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReport {
    /// The bytes of events.
    pub events: u64,
    /// The bytes of requests and answers.
    pub sends: u64,
    /// The bytes of answers kept under an `Idempotency-Key`.
    pub kept_answers: u64,
    /// The bound on kept answers at this moment, in bytes.
    pub room_for_kept: u64,
}

/// The bytes of a body together with their reservation.
struct HeldBytes {
    bytes: Bytes,
    reservation: Reservation,
}

impl MemoryBudget {
    /// Returns a budget of which events may take `max_events` bytes.
    #[must_use]
    pub fn new(max_events: u64) -> Self {
        Self {
            events: TakenBytes::default(),
            sends: TakenBytes::default(),
            kept: KeptBytes::default(),
            max_events: AtomicU64::new(max_events),
            turn: Mutex::default(),
            passing_turn: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Changes the bound on events. Bodies that are held already stay.
    pub fn set_max_events(&self, max_events: u64) {
        self.max_events.store(max_events, Ordering::Relaxed);
        self.freed.notify_waiters();
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
        self.wait(&self.turn, |reservation| reservation.grow_to(bytes))
            .await
    }

    /// Waits until there is room for `bytes` of an answer that passes through, beside an answer of
    /// the largest size: slow readers of media hold up no answer that is read whole. The caller
    /// bounds the wait.
    pub async fn wait_to_pass(self: &Arc<Self>, bytes: u64) -> Reservation {
        let grow = |reservation: &mut Reservation| reservation.grow_leaving(bytes, LARGEST_ANSWER);
        self.wait(&self.passing_turn, grow).await
    }

    async fn wait(
        self: &Arc<Self>,
        turn: &Mutex<()>,
        grow: impl Fn(&mut Reservation) -> bool,
    ) -> Reservation {
        let mut reservation = self.reserve(Holder::Send);
        let _turn = turn.lock().await;
        loop {
            let freed = self.freed.notified();
            if grow(&mut reservation) {
                return reservation;
            }
            freed.await;
        }
    }

    /// Lets answers be kept in what room bodies leave. `give_back` forgets the oldest answers
    /// beyond a number of bytes, thousands of them in several turns; it must not reserve.
    pub fn keep_answers(&self, give_back: impl Fn(u64) + Send + Sync + 'static) {
        self.kept.register(give_back);
    }

    /// Notes the bytes of all kept answers.
    pub fn set_kept(&self, bytes: u64) {
        self.kept.set(bytes);
    }

    /// Returns the bytes that kept answers may take now: room of their own, and what bodies leave
    /// of the room for large ones.
    #[must_use]
    pub fn room_for_kept(&self) -> u64 {
        let taken = self.events.sizes().shared() + self.sends.sizes().shared();
        let max_events = self.max_events.load(Ordering::Relaxed);
        let left = max_events
            .saturating_add(ROOM_FOR_SENDS)
            .saturating_sub(taken);
        MAX_KEPT.min(ROOM_FOR_KEPT.saturating_add(left))
    }

    /// Returns the bytes in memory, for operators.
    #[must_use]
    pub fn report(&self) -> MemoryReport {
        let all = |taken: &TakenBytes| {
            let sizes = taken.sizes();
            sizes.large.saturating_add(sizes.small)
        };
        MemoryReport {
            events: all(&self.events),
            sends: all(&self.sends),
            kept_answers: self.kept.bytes(),
            room_for_kept: self.room_for_kept(),
        }
    }

    /// Has the oldest answers forgotten that take what a body needs now.
    fn make_room(&self) {
        if self.kept.bytes() > ROOM_FOR_KEPT {
            self.kept.shrink_to(self.room_for_kept());
        }
    }

    /// Counts bytes already in memory, with or without room, until the last copy of the bytes is
    /// dropped.
    #[must_use]
    pub fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.len() <= SMALL {
            return bytes;
        }
        self.take(bytes.len()).keep(bytes)
    }

    /// Reserves `length` bytes already in memory, with or without room.
    #[must_use]
    pub fn take(self: &Arc<Self>, length: usize) -> Reservation {
        let mut reservation = self.reserve(Holder::Send);
        reservation.change_to(length as u64);
        reservation
    }

    /// Returns true if a reservation of `before` bytes may grow to `bytes`, and the room for large
    /// ones then has `left`.
    fn has_room(&self, holder: Holder, before: u64, bytes: u64, left: u64) -> bool {
        let max_events = self.max_events.load(Ordering::Relaxed);
        let mut events = self.events.sizes();
        let mut sends = self.sends.sizes();
        let own = match holder {
            Holder::Event => &mut events,
            Holder::Send => &mut sends,
        };
        own.change(before, bytes);
        if is_small(bytes) && own.small <= ROOM_FOR_SMALL {
            return true;
        }
        let all = events.shared() + sends.shared();
        let is_within_share = holder == Holder::Send || events.shared() <= max_events;
        is_within_share && all + left <= max_events.saturating_add(ROOM_FOR_SENDS)
    }

    fn taken(&self, holder: Holder) -> &TakenBytes {
        match holder {
            Holder::Event => &self.events,
            Holder::Send => &self.sends,
        }
    }
}

impl TakenBytes {
    fn sizes(&self) -> Sizes {
        Sizes {
            large: self.large.load(Ordering::Relaxed),
            small: self.small.load(Ordering::Relaxed),
        }
    }

    fn of_size(&self, bytes: u64) -> &AtomicU64 {
        if is_small(bytes) {
            &self.small
        } else {
            &self.large
        }
    }
}

/// The bytes of a kind of holder, read from [`TakenBytes`] at a moment.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    large: u64,
    small: u64,
}

impl Sizes {
    /// Changes one reservation.
    fn change(&mut self, before: u64, bytes: u64) {
        let sum = self.of_size(before);
        *sum = sum.saturating_sub(before);
        let sum = self.of_size(bytes);
        *sum = sum.saturating_add(bytes);
    }

    fn of_size(&mut self, bytes: u64) -> &mut u64 {
        if is_small(bytes) {
            &mut self.small
        } else {
            &mut self.large
        }
    }

    /// The bytes of small reservations beyond the room of their own.
    fn overflow(self) -> u64 {
        self.small.saturating_sub(ROOM_FOR_SMALL)
    }

    /// The bytes that take from the room for large reservations.
    fn shared(self) -> u64 {
        self.large.saturating_add(self.overflow())
    }
}

impl Reservation {
    /// Enlarges the reservation to `bytes`; a smaller number changes nothing. Returns false, and
    /// changes nothing, if there is no room.
    #[must_use]
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        if bytes <= self.bytes {
            return true;
        }
        // Small reservations leave room for an answer of the largest size, which they may be
        // waiting for.
        let left = if is_small(bytes) { LARGEST_ANSWER } else { 0 };
        self.grow_leaving(bytes, left)
    }

    /// Enlarges the reservation to `bytes`, as [`Self::grow_to`], if the room for large ones then
    /// has `left` bytes.
    #[must_use]
    pub fn grow_leaving(&mut self, bytes: u64, left: u64) -> bool {
        // A single thread reserves, so no other reservation comes between the question and the
        // answer.
        let has_room = self.budget.has_room(self.holder, self.bytes, bytes, left);
        if has_room {
            self.change_to(bytes);
        }
        has_room
    }

    /// Gives back what exceeds `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.change_to(bytes);
            // The first of both turns may be waiting.
            self.budget.freed.notify_waiters();
        }
    }

    /// Ties the reservation to bytes: their last copy gives it back.
    #[must_use]
    pub fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(HeldBytes {
            bytes,
            reservation: self,
        })
    }

    fn change_to(&mut self, bytes: u64) {
        let taken = self.budget.taken(self.holder);
        taken.of_size(bytes).fetch_add(bytes, Ordering::Relaxed);
        let before = std::mem::replace(&mut self.bytes, bytes);
        taken.of_size(before).fetch_sub(before, Ordering::Relaxed);
        if bytes > before {
            self.budget.make_room();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Drop for HeldBytes {
    /// Lets another thread free a long body: freed memory is wiped.
    fn drop(&mut self) {
        if self.bytes.len() < LONG {
            return;
        }
        // A call from outside the runtime comes at the end of the process, or in a test.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let nothing = Reservation {
            budget: Arc::clone(&self.reservation.budget),
            holder: self.reservation.holder,
            bytes: 0,
        };
        let reservation = std::mem::replace(&mut self.reservation, nothing);
        let bytes = std::mem::take(&mut self.bytes);
        runtime.spawn_blocking(move || drop((bytes, reservation)));
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn is_small(bytes: u64) -> bool {
    bytes <= SMALL as u64
}

/// The largest small body, in bytes. Nearly all messages and events are small, and go on while
/// large bodies have used up the budget.
pub const SMALL: usize = 16 * 1024;
/// The length from which another thread wipes a body, in bytes: wiping 512 KiB takes as long as
/// sending a message.
const LONG: usize = 512 * 1024;
/// The largest answer that is read whole, in bytes: a page of any list is far shorter, and media
/// pass through in pieces.
pub const LARGEST_ANSWER: u64 = 8 << 20;
/// The bytes that events leave for sends: an answer of the largest size, and others.
pub const ROOM_FOR_SENDS: u64 = 12 << 20;
/// The bytes that small bodies of events have of their own, and those of sends as well: a thousand
/// of 2 KiB.
const ROOM_FOR_SMALL: u64 = 2 << 20;
/// The bytes that kept answers have of their own, so that no crowd of bodies makes Keyside forget
/// the messages of the last minutes: an application repeats a message within seconds.
const ROOM_FOR_KEPT: u64 = 1 << 20;
/// The most bytes of kept answers: a message a second for half a day.
const MAX_KEPT: u64 = 16 << 20;
