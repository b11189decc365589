//! The idle connections to one upstream.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::Connection;

/// A stack of idle connections: the connection used last is used next. Under less load the rest
/// grow old and close.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Connection>>);

impl Pool {
    /// Makes an empty pool.
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes a connection fit for a further exchange, and closes the unfit connections on the way.
    pub(super) fn take(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.0.lock();
        while let Some(mut connection) = idle.pop() {
            if connection.is_fit(now) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection after a whole exchange, or closes it if the pool is full.
    pub(super) fn put_back(&self, mut connection: Connection, now: Instant) {
        connection.becomes_idle(now);
        let mut idle = self.0.lock();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    /// Closes connections that are too old or that the upstream has closed.
    pub(super) fn reap(&self, now: Instant) {
        self.0
            .lock()
            .retain_mut(|connection| connection.is_fit(now));
    }

    /// The time since which the connection idle longest is idle. Connections come back in the order of time.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.0.lock().first().map(Connection::idle_since)
    }

    /// Closes the connection that is idle longest; false without an idle connection.
    pub(super) fn close_idlest(&self) -> bool {
        let mut idle = self.0.lock();
        if idle.is_empty() {
            return false;
        }
        drop(idle.remove(0));
        true
    }

    /// Closes every idle connection.
    pub(super) fn close_all(&self) {
        self.0.lock().clear();
    }
}

/// Idle connections to one upstream: as many as a listener takes applications. With fewer, a crowd of
/// applications needs a handshake for most requests, and a handshake costs as much CPU time as the
/// rest of a request.
const MAX_IDLE: usize = 512;
