//! One Redis or Valkey that many sidecars share.
//!
//! What it keeps is of use to all of them and vital to none: while it does not answer in time, each goes on alone.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

mod names;
mod server;

pub use names::Names;
use server::{Link, Place};
pub use server::{Server, ServerError};

use crate::metrics::Metrics;
use crate::secret::Fingerprint;

/// The server, and how it is reached now.
pub struct Shared {
    names: Names,
    of: Option<Fingerprint>,
    /// Where it is, until it is connected to for the first time.
    place: Mutex<Option<Place>>,
    state: Mutex<State>,
    /// There is no connection, so one is needed.
    is_lost: Notify,
    /// There is one again.
    is_back: Notify,
    metrics: Arc<Metrics>,
}

struct State {
    link: Option<Link>,
    /// Counts the connections, so that one that is late to fail does not end its successor.
    number: u64,
    since: Instant,
    problem: Option<String>,
    warned: Option<Instant>,
}

/// How it stands with the server.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Why it is not used, where it is not.
    pub problem: Option<String>,
    /// Since when that is so.
    pub since: Instant,
}

/// The server did not do what it was asked in time. Whether it did it at all is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Shared {
    /// A server that is not connected to yet.
    #[must_use]
    pub fn new(server: Server, metrics: Arc<Metrics>) -> Arc<Self> {
        let Server { place, names, fingerprint } = server;
        Self::assemble(names, Some((place, fingerprint)), NOT_YET.to_owned(), metrics)
    }

    /// The place of a server of which it is not known where it is. It is never there.
    #[must_use]
    pub fn unknown(problem: String, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::assemble(Names::new(&[]), None, problem, metrics)
    }

    fn assemble(names: Names, at: Option<(Place, Fingerprint)>, problem: String, metrics: Arc<Metrics>) -> Arc<Self> {
        let state = State { link: None, number: 0, since: Instant::now(), problem: Some(problem), warned: None };
        let (place, of) = at.unzip();
        let (place, state) = (Mutex::new(place), Mutex::new(state));
        Arc::new(Self { names, of, place, state, is_lost: Notify::new(), is_back: Notify::new(), metrics })
    }

    /// Connects, and does so again whenever the connection is lost, for as long as somebody holds it. Waits a moment for
    /// the first connection.
    pub async fn begin(self: &Arc<Self>) {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(place) = place {
            let is_back = self.is_back.notified();
            tokio::spawn(keep(Arc::downgrade(self), place));
            timeout(BEGIN, is_back).await.unwrap_or_default();
        }
    }

    /// The fingerprint of the URL that it is reached by, where that is known.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.of
    }

    /// What things are called there.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Whether there is a connection. A call may be the first to find that there is none any more.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state().link.is_some()
    }

    /// Why it is not used, where it is not, and since when.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.state();
        Standing { problem: state.problem.clone().filter(|_| state.link.is_none()), since: state.since }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// Where it is not done within [`BUDGET`]; then the connection is made anew.
    pub async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Lost> {
        let (link, number) = {
            let state = self.state();
            (state.link.clone().ok_or(Lost)?, state.number)
        };
        let result = match timeout(BUDGET, link.run(script)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => explain(&error),
            Err(_) => format!("no answer within {} ms", BUDGET.as_millis()),
        };
        self.lose(number, result);
        Err(Lost)
    }

    /// Whether this process is the one that may do something now: nobody else may for so long.
    ///
    /// # Errors
    /// Where nobody can tell.
    pub async fn claim(&self, account: &str, what: &str, time: Duration) -> Result<bool, Lost> {
        let mut script = CLAIM.key(self.names.below(&self.names.account(account), "claim", &[what]));
        self.run(script.arg(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))).await
    }

    fn lose(&self, number: u64, problem: String) {
        let mut state = self.state();
        if state.number != number || state.link.take().is_none() {
            return;
        }
        self.metrics.shared.up.set(0);
        self.metrics.shared.losses.inc();
        state.since = Instant::now();
        // Whatever is wrong may come and go many times a second.
        if state.warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN) {
            state.warned = Some(Instant::now());
            tracing::error!(problem, "the shared limits are lost: until they are back, `on_failure` holds");
        }
        state.problem = Some(problem);
        drop(state);
        self.is_lost.notify_one();
    }

    fn use_link(&self, link: Link) {
        let mut state = self.state();
        (state.link, state.number) = (Some(link), state.number + 1);
        let away = std::mem::replace(&mut state.since, Instant::now()).elapsed();
        let is_told = state.warned.take_if(|warned| warned.elapsed() >= WARN_AGAIN).is_none() && state.number > 1;
        state.problem = None;
        drop(state);
        self.metrics.shared.up.set(1);
        match is_told {
            true => tracing::debug!(away_ms = away.as_millis(), "the shared limits are back"),
            false => tracing::info!(away_ms = away.as_millis(), "limits are shared"),
        }
        self.is_back.notify_waiters();
    }

    fn failed(&self, problem: String) {
        let mut state = self.state();
        if state.warned.is_none_or(|warned| warned.elapsed() >= WARN_AGAIN) {
            state.warned = Some(Instant::now());
            tracing::error!(problem, "no connection for the shared limits: `on_failure` holds");
        }
        state.problem = Some(problem);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("of", &self.of).finish_non_exhaustive()
    }
}

/// Connects whenever there is no connection.
async fn keep(shared: Weak<Shared>, mut place: Place) {
    while let Some(held) = shared.upgrade() {
        if held.is_up() {
            // It may be let go meanwhile.
            timeout(LOOK, held.is_lost.notified()).await.unwrap_or_default();
            continue;
        }
        let patience = place.patience();
        match timeout(patience, place.connect()).await {
            Ok(Ok(link)) => held.use_link(link),
            Ok(Err(error)) => held.failed(explain(&error)),
            Err(_) => held.failed(format!("no connection within {} ms", patience.as_millis())),
        }
        drop(held);
        sleep(REST).await;
    }
}

/// An error of the server's or of the way to it, without what was asked: that may show whom a message is for.
fn explain(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("the server answers {code}"),
        None => error.to_string().chars().filter(|character| !character.is_control()).take(200).collect(),
    }
}

static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) and 1 or 0"));
/// How long a decision may wait for the server: a send is late before its limit is.
pub const BUDGET: Duration = Duration::from_millis(50);
/// For name, TCP, TLS and password of one host. It is far more than a decision may take, and so little that a host which
/// is silent keeps nobody from the others, and that limits are shared again within a second of its return.
const CONNECT: Duration = Duration::from_millis(300);
/// Between two attempts.
const REST: Duration = Duration::from_millis(100);
/// A start or a reload waits no longer: what comes first is limited as when the server is lost.
const BEGIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_secs(1);
const WARN_AGAIN: Duration = Duration::from_secs(60);
const NOT_YET: &str = "not connected yet";
