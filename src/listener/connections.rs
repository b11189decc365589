//! The places of a kind of listener: who gets a place, and who gives a place up.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::addresses::{AddressCounts, AddressShare};
use super::metrics::{KindMetrics, RefusalReason};
use super::seat::{Seat, SeatUse};
use super::tally::{Incident, Tally};
use crate::memory::{Holder, LARGEST_ANSWER, MemoryBudget, Reservation};

/// The open connections of all listeners of one kind.
///
/// With every place taken, the connection that is idle longest leaves; without an idle connection,
/// the connection with the head under way longest, if longer than a second. With every connection
/// at work, a new connection is refused; the refusals under way are bounded as well.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    addresses: Option<Arc<AddressCounts>>,
    table: Mutex<SeatTable>,
    refusals: Arc<Semaphore>,
    metrics: KindMetrics,
    tally: Mutex<Tally>,
    /// The room for long heads; `None` for operators, who are few and must get in.
    memory: Option<(Arc<MemoryBudget>, Holder)>,
    /// The time of the last question to peers that have ended their side.
    asked: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct SeatTable {
    /// The connections with a place, by number.
    seats: HashMap<u64, Arc<Seat>>,
    /// The number of connections that were told to leave and are still open.
    leaving: usize,
    next: u64,
}

/// The place of a connection, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    connections: Arc<Connections>,
    number: u64,
    _share: Option<AddressShare>,
}

impl Connections {
    /// Makes a table with `max` places, and with a bound for each address or without. Long heads
    /// have no bound on their memory.
    #[must_use]
    pub fn new(max: usize, per_address: Option<usize>, metrics: KindMetrics) -> Self {
        Self {
            max,
            addresses: per_address.map(AddressCounts::new),
            table: Mutex::default(),
            refusals: Arc::new(Semaphore::new(spare(max))),
            metrics,
            tally: Mutex::default(),
            memory: None,
            asked: Mutex::default(),
        }
    }

    /// Takes the memory of long heads from a budget.
    #[must_use]
    pub fn within(mut self, memory: Arc<MemoryBudget>, holder: Holder) -> Self {
        self.memory = Some((memory, holder));
        self
    }

    /// Returns the kind of listener.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.metrics.listener
    }

    /// Gives a new connection a place, as [`Self::admit`] does. Where no place is left, the peers
    /// that have ended their side are asked whether they are gone, and the place of such a peer is
    /// given away.
    ///
    /// # Errors
    /// The reason for which the connection is refused.
    pub(super) async fn admit_or_ask(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        address: Option<IpAddr>,
    ) -> Result<ConnectionPlace, RefusalReason> {
        match self.admit(seat, address) {
            Err(RefusalReason::Overloaded) if self.ask_ended_peers().await => {
                self.admit(seat, address)
            }
            admitted => admitted,
        }
    }

    /// Gives a new connection a place, if need be the place of an idle connection, which closes as
    /// soon as the idle connection's task runs. An `address` has a separate bound; `None` for an
    /// address without.
    ///
    /// # Errors
    /// The reason for which the connection is refused.
    fn admit(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        address: Option<IpAddr>,
    ) -> Result<ConnectionPlace, RefusalReason> {
        let share = self.share_of(address)?;
        let mut table = self.table.lock();
        if table.seats.len() >= self.max {
            // A leaving connection keeps the socket for a moment, so `leaving` bounds the surplus.
            let incident = (table.leaving < spare(self.max))
                .then(|| table.tell_least_busy(Instant::now()))
                .flatten();
            self.note(incident.ok_or(RefusalReason::Overloaded)?, "");
        }
        let number = table.next;
        table.next += 1;
        table.seats.insert(number, Arc::clone(seat));
        drop(table);
        self.metrics.open.inc();
        Ok(ConnectionPlace {
            connections: Arc::clone(self),
            number,
            _share: share,
        })
    }

    /// Asks every peer that waits for an answer and has ended the own side for a sign of life;
    /// twice, because the first write to a vanished peer succeeds. The places of vanished peers are
    /// free afterwards. False without a peer to ask, or if the last questions are less than a
    /// second ago.
    async fn ask_ended_peers(&self) -> bool {
        let now = Instant::now();
        let is_due = |asked: Option<Instant>| asked.is_none_or(|at| now - at >= ASK_INTERVAL);
        if !is_due(*self.asked.lock()) || !self.ask_all() {
            return false;
        }
        *self.asked.lock() = Some(now);
        for _ in 0..2 {
            sleep(ASK_TIME).await;
            self.ask_all();
        }
        true
    }

    /// Asks every peer that has ended its side; false without such a peer.
    fn ask_all(&self) -> bool {
        let table = self.table.lock();
        let asked = table.seats.values().filter(|seat| seat.ask());
        asked.count() > 0
    }

    /// Takes a share of an address, for a connection or for a request that a trusted proxy hands
    /// on.
    pub(super) fn share_of(
        &self,
        address: Option<IpAddr>,
    ) -> Result<Option<AddressShare>, RefusalReason> {
        let (Some(addresses), Some(address)) = (&self.addresses, address) else {
            return Ok(None);
        };
        let share = addresses.take(address);
        share.map(Some).ok_or(RefusalReason::PerAddress)
    }

    /// The room for the long heads of one connection; `None` without a bound.
    pub(super) fn head_room(self: &Arc<Self>) -> Option<HeadRoom> {
        let (memory, holder) = self.memory.as_ref()?;
        Some(HeadRoom {
            reservation: memory.reserve(*holder),
            connections: Arc::clone(self),
        })
    }

    /// Takes the right to answer a connection with a refusal; `None` while too many are under way.
    pub(super) fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }

    /// Counts a refusal, and logs the first of a minute.
    pub(super) fn refused(&self, reason: RefusalReason, caller: &str) {
        self.metrics.refused(reason);
        self.note(Incident::Refused(reason), caller);
    }

    /// Logs the first incident of a kind; [`Self::log_summaries`] sums the others up.
    pub(super) fn note(&self, incident: Incident, detail: &str) {
        if self.tally.lock().note(incident) {
            incident.log(self.metrics.listener, detail);
        }
    }

    /// Logs the number of incidents since the last call that are not in the log yet.
    pub fn log_summaries(&self) {
        let summaries = self.tally.lock().take_summaries();
        for (incident, count) in summaries {
            incident.log_summary(self.metrics.listener, count);
        }
    }
}

/// The memory of a long head, which is part of the budget for bodies.
#[derive(Debug)]
pub(super) struct HeadRoom {
    reservation: Reservation,
    connections: Arc<Connections>,
}

impl HeadRoom {
    /// Takes the room for a long head. Returns false, and counts a refusal, if there is none.
    pub(super) fn take(&mut self, caller: impl FnOnce() -> String) -> bool {
        let has_room = self
            .reservation
            .grow_leaving(LONG_HEAD_MEMORY, LARGEST_ANSWER);
        if !has_room {
            self.connections.refused(RefusalReason::Memory, &caller());
        }
        has_room
    }

    /// Gives the room back.
    pub(super) fn give_back(&mut self) {
        self.reservation.shrink_to(0);
    }
}

impl SeatTable {
    /// Tells the connection to leave that is idle longest, or else the connection at a head
    /// longest, and returns the reason. `None` if each connection is at work, or the head has only
    /// just begun.
    fn tell_least_busy(&mut self, now: Instant) -> Option<Incident> {
        let uses = self
            .seats
            .iter()
            .map(|(number, seat)| (seat.seat_use(), *number));
        let (seat_use, number) = uses.min()?;
        let incident = match seat_use {
            SeatUse::Idle(_) => Incident::ClosedIdle,
            SeatUse::AtHead(since) if now - since >= HEAD_PATIENCE => Incident::ClosedAtHead,
            SeatUse::AtHead(_) | SeatUse::AtWork => return None,
        };
        self.seats.remove(&number)?.tell_to_leave();
        self.leaving += 1;
        Some(incident)
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.connections.metrics.open.dec();
        let mut table = self.connections.table.lock();
        if table.seats.remove(&self.number).is_none() {
            table.leaving -= 1;
        }
    }
}

/// The bytes that a long head takes: hyper's buffer grows from 8 to 32 KiB.
const LONG_HEAD_MEMORY: u64 = 24 * 1024;
/// The time in which a head should be whole where places are short. Clients send a head at once;
/// over a slow line its parts are some hundred milliseconds apart.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// The interval between questions to peers that have ended their side: a question costs a write,
/// and a peer that is gone keeps a place for a second.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// The time for the reset of a peer on this machine, and for the end of its connection: the kernel
/// answers within microseconds, and the rest is for the task of the connection, which ends then.
const ASK_TIME: Duration = Duration::from_millis(2);

/// Connections beyond the places of a listener: refusals under way, and as many that are told to
/// leave.
pub(super) fn spare(max: usize) -> usize {
    (max / 16).clamp(1, 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct House {
        connections: Arc<Connections>,
        start: Instant,
    }

    impl House {
        fn new(max: usize) -> Self {
            Self {
                connections: Arc::new(Connections::new(max, None, KindMetrics::unread("outbound"))),
                start: Instant::now(),
            }
        }

        /// A connection that is idle since `seconds` after the start.
        fn open(&self, seconds: u64) -> (Arc<Seat>, Result<ConnectionPlace, RefusalReason>) {
            let since = self.start + Duration::from_secs(seconds);
            let seat = Arc::new(Seat::new(since));
            let admission = self.connections.admit(&seat, None);
            (seat, admission)
        }
    }

    fn is_told(seat: &Seat) -> bool {
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        seat.poll_told(&cx).is_ready()
    }

    #[test]
    fn the_connection_idle_longest_leaves_and_a_connection_at_work_never_does() {
        let house = House::new(3);
        let (oldest, _first) = house.open(1);
        let (second_oldest, second) = house.open(2);
        let (third_oldest, _third) = house.open(3);
        oldest.works();
        let (_, fourth) = house.open(4);
        assert!(fourth.is_ok());
        assert!(is_told(&second_oldest) && !is_told(&oldest) && !is_told(&third_oldest));
        // While a told connection is still closing, no second connection is told to close, and a
        // newcomer is refused.
        assert_eq!(house.open(5).1.unwrap_err(), RefusalReason::Overloaded);
        drop(second);
        assert!(house.open(6).1.is_ok());
        assert!(is_told(&third_oldest));
    }

    #[test]
    fn a_newcomer_is_refused_while_every_connection_works() {
        let house = House::new(2);
        let places: Vec<_> = (0..2).map(|second| house.open(second)).collect();
        places.iter().for_each(|(seat, _)| seat.works());
        assert_eq!(house.open(3).1.unwrap_err(), RefusalReason::Overloaded);
        drop(places);
        assert!(house.open(4).1.is_ok());
    }

    #[test]
    fn an_address_with_a_bound_holds_a_part_of_the_places() {
        let connections = Arc::new(Connections::new(8, Some(2), KindMetrics::unread("inbound")));
        let open = |address: Option<&str>| {
            let seat = Arc::new(Seat::new(Instant::now()));
            connections.admit(&seat, address.map(|address| address.parse().unwrap()))
        };
        let held = [open(Some("203.0.113.9")), open(Some("203.0.113.9"))];
        assert!(held.iter().all(Result::is_ok));
        let refused = open(Some("203.0.113.9")).unwrap_err();
        assert_eq!(refused, RefusalReason::PerAddress);
        assert!(open(Some("203.0.113.10")).is_ok() && open(None).is_ok());
        drop(held);
        assert!(open(Some("203.0.113.9")).is_ok());
    }

    #[test]
    fn refusals_under_way_are_bounded() {
        let connections = Connections::new(32, None, KindMetrics::unread("outbound"));
        let under_way: Vec<_> = (0..2).map(|_| connections.refusal()).collect();
        assert!(under_way.iter().all(Option::is_some));
        assert!(connections.refusal().is_none());
    }
}
