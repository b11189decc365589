//! The idle connections to one upstream, and the requests that wait for a connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::connection::Connection;
use super::error::UpstreamError;

/// The idle connections and the waiting requests of one upstream.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<PoolState>,
    /// Wakes the keeper of warm connections after a use.
    used: Notify,
}

/// The connection for a waiting request, or the error of the dial that it waited for.
pub(super) type Handed = Result<Connection, UpstreamError>;

#[derive(Debug, Default)]
struct PoolState {
    /// A stack: the connection used last is used next. Under less load the rest grow old and close.
    idle: Vec<Connection>,
    /// The waiting requests, the oldest first. Never more requests wait than dials are under way,
    /// so each request gets a connection or the error of a dial.
    waiters: VecDeque<oneshot::Sender<Handed>>,
    last_use: Option<Instant>,
    /// The number of idle connections to keep ready.
    warm: usize,
    /// True while the keeper of warm connections wants to hear of the next use.
    keeper_waits: bool,
    /// The longest life of a connection, where the configuration says it.
    max_age: Option<Duration>,
    /// The time that the server said it keeps idle connections, less a margin.
    server_idle_time: Option<Duration>,
}

impl Pool {
    /// Makes an empty pool.
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes a connection fit for a further exchange, and closes the unfit connections on the way.
    ///
    /// # Errors
    /// Without a fit connection: the place in the queue of waiting requests. The caller has to
    /// begin a dial.
    pub(super) fn take_or_wait(
        &self,
        now: Instant,
    ) -> Result<Connection, oneshot::Receiver<Handed>> {
        let mut state = self.state.lock();
        self.note_use(&mut state, now);
        while let Some(mut connection) = state.idle.pop() {
            if connection.is_fit(now) {
                return Ok(connection);
            }
        }
        let (waiter, handed) = oneshot::channel();
        state.waiters.push_back(waiter);
        Err(handed)
    }

    /// Takes back a connection after a whole exchange.
    pub(super) fn put_back(&self, mut connection: Connection, now: Instant) {
        connection.becomes_idle(now);
        let mut state = self.state.lock();
        self.note_use(&mut state, now);
        state.server_idle_time = connection.server_idle_time().or(state.server_idle_time);
        hand_on(&mut state, connection, now);
    }

    /// Takes a new connection.
    pub(super) fn add(&self, mut connection: Connection, now: Instant) {
        let mut state = self.state.lock();
        if let Some(time) = state.server_idle_time {
            connection.keep_idle_for(time);
        }
        if let Some(max_age) = state.max_age {
            connection.live_for(max_age);
        }
        hand_on(&mut state, connection, now);
    }

    /// Passes the error of a dial to the request that waits longest; that no place is free, to the
    /// request that came last.
    pub(super) fn fail(&self, mut error: UpstreamError) {
        let mut state = self.state.lock();
        loop {
            let waiter = match error {
                UpstreamError::NoPlace => state.waiters.pop_back(),
                _ => state.waiters.pop_front(),
            };
            let Some(waiter) = waiter else { return };
            match waiter.send(Err(error)) {
                Err(Err(unsent)) => error = unsent,
                Err(Ok(_)) | Ok(()) => return,
            }
        }
    }

    /// Closes connections that are too old or that the upstream has closed.
    pub(super) fn reap(&self, now: Instant) {
        let mut state = self.state.lock();
        // A look at the socket would take the place of the keeper's own, which sees closed
        // connections at once.
        let is_watched = state.warm > 0 && state.last_use.is_some();
        state.idle.retain_mut(|connection| {
            if is_watched {
                connection.is_young(now)
            } else {
                connection.is_fit(now)
            }
        });
    }

    /// The time since which the connection idle longest is idle. Connections come back in the order
    /// of time.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.state.lock().idle.first().map(Connection::idle_since)
    }

    /// Closes the connection that is idle longest; false without an idle connection.
    pub(super) fn close_idlest(&self) -> bool {
        let mut state = self.state.lock();
        if state.idle.is_empty() {
            return false;
        }
        drop(state.idle.remove(0));
        true
    }

    /// Closes every idle connection.
    pub(super) fn close_all(&self) {
        self.state.lock().idle.clear();
    }

    /// Sets the longest life of the connections that are opened from now on.
    pub(super) fn set_max_age(&self, max_age: Duration) {
        self.state.lock().max_age = Some(max_age);
    }

    /// Sets the number of idle connections to keep ready.
    pub(super) fn set_warm(&self, warm: usize) {
        self.state.lock().warm = warm;
        self.used.notify_one();
    }

    /// Closes the unfit among the idle connections. Returns the number to keep ready, the time of
    /// the last use, and the time at which each connection needs a successor.
    pub(super) fn warm_state(&self, now: Instant) -> (usize, Option<Instant>, Vec<Instant>) {
        let mut state = self.state.lock();
        state.idle.retain_mut(|connection| connection.is_fit(now));
        let renewals = state.idle.iter().map(Connection::renewal).collect();
        (state.warm, state.last_use, renewals)
    }

    /// Waits for the next use.
    pub(super) async fn next_use(&self) {
        self.state.lock().keeper_waits = true;
        self.used.notified().await;
    }

    /// Waits until an idle connection has ended, and closes it. A connection in use is not watched
    /// any more; the use wakes the keeper.
    pub(super) async fn next_close(&self) {
        poll_fn(|cx| self.poll_close(cx)).await;
    }

    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        let before = state.idle.len();
        state
            .idle
            .retain_mut(|connection| connection.poll_end(cx).is_pending());
        if state.idle.len() < before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn note_use(&self, state: &mut PoolState, now: Instant) {
        state.last_use = Some(now);
        if std::mem::take(&mut state.keeper_waits) {
            self.used.notify_one();
        }
    }
}

/// Hands a connection to the request that waits longest, or keeps it; closes it if the pool is
/// full.
fn hand_on(state: &mut PoolState, mut connection: Connection, now: Instant) {
    while let Some(waiter) = state.waiters.pop_front() {
        match waiter.send(Ok(connection)) {
            Err(Ok(unsent)) => connection = unsent,
            Ok(()) | Err(Err(_)) => return,
        }
    }
    connection.becomes_idle(now);
    if state.idle.len() < MAX_IDLE {
        state.idle.push(connection);
    }
}

/// Idle connections to one upstream: as many as a listener takes applications. With fewer, a crowd
/// of applications needs a handshake for most requests, and a handshake costs as much CPU time as
/// the rest of a request.
const MAX_IDLE: usize = 512;
