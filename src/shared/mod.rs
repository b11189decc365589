//! The shared server: one Redis or Valkey, named by `[limits] redis`, that many sidecars use.
//!
//! The content of the shared server is useful to all sidecars and vital to none: while the server
//! does not answer within [`DECISION_TIMEOUT`], each sidecar goes on alone.

use std::fmt;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

mod client;
mod losses;
pub mod metrics;
mod names;
mod sight;
mod url;

use client::ConnectError;
pub use client::{ServerAddress, ServerClient, ServerConnection, ServerTimeouts, exposes_password};
pub use names::KeyNames;
pub use url::ServerUrlError;

use losses::{EarlyLosses, RECONNECT_INTERVAL, end_of_told_loss};
use metrics::SharedMetrics;

use crate::log::bounded;
use crate::secret::Fingerprint;
use crate::units::millis;

/// The shared server with its present connection.
pub struct SharedServer {
    names: KeyNames,
    url: Option<Fingerprint>,
    /// The client that makes connections; [`SharedServer::connect`] takes it.
    client: Mutex<Option<ServerClient>>,
    state: Mutex<ConnectionState>,
    /// Notified when the connection is lost, so a new one is made.
    lost: Notify,
    /// Notified when a connection is made.
    connected: Notify,
    metrics: SharedMetrics,
}

struct ConnectionState {
    connection: Option<ServerConnection>,
    /// The number of connections made so far. A late failure of a command names the used
    /// connection, and never ends the connection's successor.
    number: u64,
    since: Instant,
    problem: Option<String>,
    /// The last losses that each came soon after the connection was made.
    early: EarlyLosses,
    warned: Option<Instant>,
    /// The time of the loss that the log tells, until the log tells the end of the loss as well.
    told: Option<Instant>,
}

/// The state of the connection to the shared server, for `status` and `check`.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// The reason why the shared server is not in use; `None` while it is in use.
    pub problem: Option<String>,
    /// The reason of the last loss, while the shared server comes and goes.
    pub comes_and_goes: Option<String>,
    /// The time of the last change between in use and not in use.
    pub since: Instant,
}

/// The error of a command without an answer in time. The server may have
/// executed the command all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLost;

impl fmt::Display for ServerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shared server does not answer")
    }
}

impl std::error::Error for ServerLost {}

impl SharedServer {
    /// Returns a server without a connection.
    #[must_use]
    pub fn new(address: ServerAddress, metrics: SharedMetrics) -> Arc<Self> {
        let client = Some((address.client, address.fingerprint));
        Self::assemble(address.names, client, NOT_YET.to_owned(), metrics)
    }

    /// Returns a server without a readable URL, never connected. `problem` says
    /// why, for `status`.
    #[must_use]
    pub fn without_address(problem: String, metrics: SharedMetrics) -> Arc<Self> {
        Self::assemble(KeyNames::new(&[]), None, problem, metrics)
    }

    fn assemble(
        names: KeyNames,
        client: Option<(ServerClient, Fingerprint)>,
        problem: String,
        metrics: SharedMetrics,
    ) -> Arc<Self> {
        metrics.configured();
        let (client, url) = client.unzip();
        Arc::new(Self {
            names,
            url,
            client: Mutex::new(client),
            state: Mutex::new(ConnectionState {
                connection: None,
                number: 0,
                since: Instant::now(),
                problem: Some(problem),
                early: EarlyLosses::default(),
                warned: None,
                told: None,
            }),
            lost: Notify::new(),
            connected: Notify::new(),
            metrics,
        })
    }

    /// Starts the task that connects, and connects again whenever the connection is lost, until the
    /// last `Arc` is dropped. Waits at most `FIRST_CONNECTION_TIMEOUT` for the first connection.
    /// A second call does nothing.
    pub async fn connect(self: &Arc<Self>) {
        let client = self.client.lock().take();
        if let Some(client) = client {
            let connected = self.connected.notified();
            tokio::spawn(keep_connected(Arc::downgrade(self), client));
            timeout(FIRST_CONNECTION_TIMEOUT, connected).await.ok();
        }
    }

    /// Returns the fingerprint of the server's URL, if the URL could be read.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.url
    }

    /// Returns the maker of Redis keys for this server.
    #[must_use]
    pub fn names(&self) -> &KeyNames {
        &self.names
    }

    /// Returns true while there is a connection. The next command may still find it broken.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.lock().connection.is_some()
    }

    /// Returns true until the first attempt to connect has ended.
    #[must_use]
    pub fn is_untried(&self) -> bool {
        let state = self.state.lock();
        state.connection.is_none() && state.problem.as_deref() == Some(NOT_YET)
    }

    /// Returns whether the server is in use, and since when.
    #[must_use]
    pub fn status(&self) -> ServerStatus {
        let state = self.state.lock();
        let since_change = state.since.elapsed();
        let is_up = state.connection.is_some();
        let comes_and_goes = if is_up {
            state.early.shown_while_up(since_change)
        } else {
            state.early.shown_while_down(since_change)
        };
        ServerStatus {
            problem: state.problem.clone().filter(|_| !is_up),
            comes_and_goes,
            since: state.since,
        }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// If there is no connection or no answer within [`DECISION_TIMEOUT`]. The connection is
    /// then given up and made anew in the background.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, ServerLost> {
        let (connection, number) = {
            let state = self.state.lock();
            (state.connection.clone().ok_or(ServerLost)?, state.number)
        };
        let problem = match timeout(DECISION_TIMEOUT, connection.run(script)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => explain(&error),
            Err(_) => format!("no answer within {} ms", DECISION_TIMEOUT.as_millis()),
        };
        self.lose(number, problem);
        Err(ServerLost)
    }

    /// Claims `task` of an account for `time`. Returns true in the one sidecar that got the claim.
    ///
    /// # Errors
    /// If the shared server does not answer, so no sidecar knows.
    pub async fn claim(
        &self,
        account: &str,
        task: &str,
        time: Duration,
    ) -> Result<bool, ServerLost> {
        let account = self.names.account(account);
        let mut script = CLAIM.key(self.names.below(&account, "claim", &[task]));
        self.run(script.arg(millis(time))).await
    }

    /// Gives up a connection, if it is still the present one.
    fn lose(&self, number: u64, problem: String) {
        let mut state = self.state.lock();
        if state.number != number || state.connection.take().is_none() {
            return;
        }
        self.metrics.lost();
        let now = Instant::now();
        let lived = now - state.since;
        state.early.note(lived, &problem);
        state.since = now;
        if state.should_warn() {
            tracing::error!(
                problem,
                "the shared limits are lost: until the shared server is back, each sidecar does \
                 what `on_failure` in [limits] says"
            );
        }
        state.problem = Some(problem);
        drop(state);
        self.lost.notify_one();
    }

    /// Returns the time to leave between a loss and the next connection.
    fn reconnect_delay(&self) -> Duration {
        self.state.lock().early.reconnect_delay()
    }

    fn use_connection(&self, connection: ServerConnection) {
        let mut state = self.state.lock();
        state.connection = Some(connection);
        state.number += 1;
        let now = Instant::now();
        let away = now - state.since;
        state.since = now;
        state.problem = None;
        let is_first = state.number == 1;
        if is_first {
            state.told = None;
        }
        drop(state);
        self.metrics.connected();
        let away_ms = millis(away);
        if is_first {
            tracing::info!(away_ms, "{SHARED_AGAIN}");
        } else {
            tracing::debug!(away_ms, "the shared server is back");
        }
        self.connected.notify_waiters();
    }

    /// Tells the end of a loss that the log told, once the connection has lasted.
    fn report_lasting_connection(&self) {
        let away = self.state.lock().end_of_loss(Instant::now());
        if let Some(away) = away {
            tracing::info!(away_ms = millis(away), "{SHARED_AGAIN}");
        }
    }

    fn report_failed_connection(&self, problem: String) {
        let mut state = self.state.lock();
        if state.should_warn() {
            tracing::error!(
                problem,
                "no connection to the shared server: each sidecar does what `on_failure` in \
                 [limits] says"
            );
        }
        state.problem = Some(problem);
    }
}

impl ConnectionState {
    /// Returns true at most once per [`WARNING_INTERVAL`]: a connection may come and go many times
    /// a second.
    fn should_warn(&mut self) -> bool {
        let is_due = self
            .warned
            .is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL);
        if is_due {
            self.warned = Some(Instant::now());
            self.told.get_or_insert(self.since);
        }
        is_due
    }

    /// Returns how long the server was away, if the log told the loss, the connection made since
    /// then lasts, and the log has not told the end yet.
    fn end_of_loss(&mut self, now: Instant) -> Option<Duration> {
        self.connection.as_ref()?;
        end_of_told_loss(&mut self.told, self.since, now)
    }
}

impl fmt::Debug for SharedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedServer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Connects whenever there is no connection, until the server is dropped.
async fn keep_connected(server: Weak<SharedServer>, mut client: ServerClient) {
    while let Some(server) = server.upgrade() {
        if server.is_up() {
            // The timeout lets go of the `Arc`, so a server that a reload dropped ends here.
            let lost = timeout(DROP_CHECK_INTERVAL, server.lost.notified()).await;
            server.report_lasting_connection();
            let delay = server.reconnect_delay();
            drop(server);
            if lost.is_ok() {
                sleep(delay).await;
            }
            continue;
        }
        let patience = client.connect_timeout();
        match timeout(patience, client.connect(DECISION_TIMEOUT)).await {
            Ok(Ok(connection)) => server.use_connection(connection),
            // The client has a timeout of its own, and either may be first.
            Ok(Err(ConnectError::Refused(error))) if !error.is_timeout() => {
                server.report_failed_connection(explain(&error));
            }
            Ok(Err(ConnectError::Slow(bound))) => server.report_failed_connection(format!(
                "the shared server takes more than {} ms to run a script",
                bound.as_millis()
            )),
            Ok(Err(_)) | Err(_) => server.report_failed_connection(format!(
                "no connection within {} ms",
                patience.as_millis()
            )),
        }
        drop(server);
        sleep(RECONNECT_INTERVAL).await;
    }
}

/// Describes an error without the failed command: the command's keys may show a recipient.
fn explain(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("the shared server answers {code}"),
        None => bounded(&error.to_string(), MAX_PROBLEM),
    }
}

static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new("return redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) and 1 or 0")
});
/// The time for an answer of the shared server to a decision about a request. A server in the same
/// network answers within 1 ms, and a request that waits longer than 50 ms would be late for the
/// limit that it asks about.
pub const DECISION_TIMEOUT: Duration = Duration::from_millis(50);
/// The wait of a start or a reload for the first connection. Requests that come before it
/// are limited as if the server were lost.
const FIRST_CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// The time after which the connecting task looks whether the server was dropped: a reload leaves
/// an idle connection for that long.
const DROP_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two warnings about a connection that comes and goes: a minute, as for each
/// summary in the log.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// The number of characters of a Redis error in a log line: two lines of a terminal.
const MAX_PROBLEM: usize = 200;
/// The line of the log about a server in use: at the start, and at the end of a loss.
const SHARED_AGAIN: &str = "limits are shared through the shared server";
/// The problem shown by `status` before the first attempt to connect has ended.
const NOT_YET: &str = "not connected yet";
