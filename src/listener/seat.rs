//! The seat of one connection: idle, at a head or at work, and told to leave or not.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The part of a connection that the table of connections sees.
///
/// A connection is idle before the first byte and between two requests. A connection at work is
/// never told to leave, so that making room costs no request. Part of a head is no request yet:
/// whoever sends no more of the head holds a place for nothing.
#[derive(Debug)]
pub(super) struct Seat(Mutex<SeatState>);

/// The use of a connection, by which the one to leave is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SeatUse {
    /// No byte of a request is here.
    Idle(Instant),
    /// Part of the head of a request is here, the first byte since this time.
    AtHead(Instant),
    /// The head of a request is whole, and its answer has not ended.
    AtWork,
}

#[derive(Debug)]
struct SeatState {
    seat_use: SeatUse,
    is_told_to_leave: bool,
    /// True while the peer waits for an answer and has ended its own side.
    has_ended_peer: bool,
    /// True if the connection is to find out the peer's presence.
    is_asked: bool,
    waker: Option<Waker>,
}

impl Seat {
    /// Makes the seat of a new connection: idle since `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(SeatState {
            seat_use: SeatUse::Idle(now),
            is_told_to_leave: false,
            has_ended_peer: false,
            is_asked: false,
            waker: None,
        }))
    }

    /// Marks the connection as idle.
    pub(super) fn rests(&self, now: Instant) {
        self.set_use(SeatUse::Idle(now));
    }

    /// Marks the connection as one with part of a head.
    pub(super) fn begins_head(&self, now: Instant) {
        self.set_use(SeatUse::AtHead(now));
    }

    /// Marks the connection as at work.
    pub(super) fn works(&self) {
        self.set_use(SeatUse::AtWork);
    }

    fn set_use(&self, seat_use: SeatUse) {
        let mut state = self.0.lock();
        state.seat_use = seat_use;
        state.has_ended_peer = false;
    }

    /// Returns the use of the connection.
    pub(super) fn seat_use(&self) -> SeatUse {
        self.0.lock().seat_use
    }

    /// Returns the time since which the connection is idle.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self.seat_use() {
            SeatUse::Idle(since) => Some(since),
            SeatUse::AtHead(_) | SeatUse::AtWork => None,
        }
    }

    /// Tells the connection to leave, unless a whole head arrives before.
    pub(super) fn tell_to_leave(&self) {
        let mut state = self.0.lock();
        state.is_told_to_leave = true;
        state.wake();
    }

    /// Marks the peer as one that has ended its own side and waits for an answer.
    pub(super) fn peer_ends(&self, cx: &Context<'_>) {
        let mut state = self.0.lock();
        state.has_ended_peer = true;
        state.register(cx);
    }

    /// Asks the connection for the presence of a peer that has ended its own side; false for any
    /// other peer.
    pub(super) fn ask(&self) -> bool {
        let mut state = self.0.lock();
        state.is_asked = state.has_ended_peer;
        if state.is_asked {
            state.wake();
        }
        state.is_asked
    }

    /// Returns true once for each question of [`ask`](Self::ask).
    pub(super) fn take_question(&self, cx: &Context<'_>) -> bool {
        let mut state = self.0.lock();
        state.register(cx);
        std::mem::take(&mut state.is_asked)
    }

    /// Returns ready once the connection is told to leave.
    pub(super) fn poll_told(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.is_told_to_leave {
            return Poll::Ready(());
        }
        state.register(cx);
        Poll::Pending
    }
}

impl SeatState {
    fn register(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
