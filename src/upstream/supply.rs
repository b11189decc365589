//! The connections to an upstream: at work, idle, or about to open.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::dial::Dialer;
use super::error::UpstreamError;
use super::places::UpstreamPlaces;
use super::pool::Pool;
use super::warmth::{PoolView, Schedule, WarmStep};

/// The way to connections to one upstream.
#[derive(Clone, Debug)]
pub(super) struct Supply {
    pub(super) dialer: Dialer,
    pub(super) pool: Arc<Pool>,
    pub(super) places: UpstreamPlaces,
}

impl Supply {
    /// Returns a connection: an idle connection, or else the first to become free or open. Each
    /// waiting request begins a dial, which goes on for other requests if a connection becomes free
    /// sooner.
    ///
    /// # Errors
    /// The fault of the dial.
    pub(super) async fn connection(&self, now: Instant) -> Result<Connection, UpstreamError> {
        // Ends: a connection that was in use is handed on at most once for each request that ended,
        // and a new connection is taken as it is.
        loop {
            let handed = match self.pool.take_or_wait(now) {
                Ok(connection) => return Ok(connection),
                Err(handed) => handed,
            };
            let supply = self.clone();
            tokio::spawn(async move {
                supply
                    .open()
                    .await
                    .unwrap_or_else(|error| supply.pool.fail(error))
            });
            let mut connection = handed.await.unwrap_or_else(|_| Err(cancelled()))?;
            if !connection.is_reused() || connection.is_fit(Instant::now()) {
                return Ok(connection);
            }
        }
    }

    /// Opens a connection for the pool.
    ///
    /// # Errors
    /// The fault of the dial.
    async fn open(&self) -> Result<(), UpstreamError> {
        let (io, place) = self.dialer.dial(&self.places).await?;
        let now = Instant::now();
        self.pool.add(Connection::new(io, place, now), now);
        Ok(())
    }

    /// Keeps connections warm, for as long as the task lives.
    pub(super) async fn keep_warm(self) {
        let mut schedule = Schedule::new(Instant::now());
        loop {
            let now = Instant::now();
            match schedule.next(&self.view(now), now) {
                WarmStep::Rest => self.pool.next_use().await,
                WarmStep::Pause(until) => sleep_until(until).await,
                WarmStep::Watch(until) => {
                    tokio::select! {
                        () = self.pool.next_use() => {}
                        () = self.pool.next_close() => {}
                        () = sleep_until(until) => {}
                    }
                }
                WarmStep::Open(count) => {
                    self.dialer.renew_addresses();
                    let dials = std::iter::repeat_with(|| self.open()).take(count);
                    let results = join_all(dials).await;
                    match results.into_iter().find_map(Result::err) {
                        None => schedule.succeeded(),
                        Some(error) => {
                            tracing::debug!(%error, "no connection could be opened ahead of use");
                            schedule.failed(Instant::now());
                        }
                    }
                }
            }
        }
    }

    fn view(&self, now: Instant) -> PoolView {
        let (wanted, last_use, renewals) = self.pool.warm_state(now);
        PoolView {
            wanted,
            last_use,
            at_work: self
                .places
                .taken_by_upstream()
                .saturating_sub(renewals.len()),
            renewals,
        }
    }
}

/// The task that keeps connections warm. The task ends with the value.
#[derive(Debug)]
pub(super) struct WarmKeeper(AbortHandle);

impl WarmKeeper {
    pub(super) fn start(supply: Supply) -> Self {
        Self(tokio::spawn(supply.keep_warm()).abort_handle())
    }
}

impl Drop for WarmKeeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn cancelled() -> UpstreamError {
    UpstreamError::Unreachable("the process ends".to_owned())
}
