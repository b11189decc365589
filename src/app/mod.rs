//! The sidecar as a whole: binds every listener or none, serves, reloads, drains.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod descriptors;
mod service;
mod signals;
#[cfg(feature = "otlp")]
mod telemetry;

pub use descriptors::Descriptors;
use service::{BoundAddresses, ListenError, Listeners, Services, WithProbes, handlers};
use signals::SignalRequest;
pub use signals::Signals;

use crate::admin::Admin;
use crate::beat::next_beat_of_traffic;
use crate::config::ListenAddress;
use crate::listener::metrics::ListenerMetrics;
use crate::listener::{ConnectionBounds, DrainEnd, Drainer, PassedSockets, Shares};
use crate::outbound::health::sum_up_failures;
use crate::reload::metrics::ReloadMetrics;
use crate::reload::{FirstConfig, Live, LoadError, ReloadCause, Reloader};
use crate::rotation;
use crate::service_manager;
use crate::spool::Spool;
#[cfg(feature = "otlp")]
use crate::telemetry::TelemetryReceiverError;
use crate::units::millis;

/// A sidecar that serves.
///
/// A single thread runs all of it. One core handles tens of thousands of requests a second, and a
/// sender may send a thousand: more threads would only add locks.
#[derive(Debug)]
pub struct App {
    reloader: Arc<Reloader>,
    admin: Arc<Admin>,
    drain_end: Arc<DrainEnd>,
    inbound_drainer: Drainer,
    outbound_drainer: Drainer,
    admin_drainer: Drainer,
    metrics_drainer: Drainer,
    #[cfg(feature = "otlp")]
    telemetry: telemetry::RunningTelemetry,
    tasks: Vec<JoinHandle<()>>,
    addresses: BoundAddresses,
}

/// The way in which serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request that was under way was finished.
    Drained,
    /// Requests were cut off: the drain took too long, or a second signal came.
    Cut,
}

impl App {
    /// Reads all that `config` names, takes or binds the socket of each listener and serves them.
    ///
    /// # Errors
    /// Any fault of the configuration, of a secret or of an address; then nothing listens.
    pub async fn start(config: FirstConfig, sockets: PassedSockets) -> Result<Self, AppError> {
        prepare();
        let mut registry = registry();
        let metrics = ListenerMetrics::register(&mut registry);
        let load_metrics = ReloadMetrics::register(&mut registry);
        let (reloader, queue) = Reloader::start(config, load_metrics.clone())
            .await
            .map_err(AppError::Load)?;
        let live = reloader.live();
        reloader.log_startup();
        let mut listeners = Listeners::bind(&live.config, sockets).map_err(AppError::Bind)?;
        let addresses = listeners.addresses();

        let shares = divide_descriptors(&live);
        let (lookups, lookup_queue) = mpsc::channel(MAX_LOOKUPS);
        #[cfg(feature = "otlp")]
        let telemetry =
            telemetry::Telemetry::prepare(&reloader, &mut registry).map_err(AppError::Telemetry)?;
        let history = Arc::clone(load_metrics.outbound.history());
        let admin = Arc::new(Admin::new(Arc::clone(&reloader), registry, history));
        #[cfg(feature = "otlp")]
        let telemetry = telemetry.start(&admin);
        let (outbound, inbound, drain_end) = handlers(&reloader, &load_metrics, lookups);
        let mut services = Services {
            metrics: &metrics,
            memory: reloader.memory(),
            tasks: Vec::new(),
            addresses: Vec::new(),
        };
        let local = listeners.for_applications(reloader.outbound_tls(), reloader.refusals());
        let outbound_drainer = services.outbound(local, outbound, shares.outbound);
        let internet = ConnectionBounds::internet(reloader.server_tls(), reloader.proxies());
        let watch = tokio::spawn(Arc::clone(&inbound).watch(load_metrics.sends.clone()));
        let inbound = WithProbes::new(inbound, &admin);
        let inbound_drainer =
            services.inbound(listeners.inbound, inbound, &internet, shares.inbound);
        let admin_drainer = services.admin(listeners.admin, &admin, shares.admin);
        let metrics_drainer = services.metrics(listeners.metrics, &admin, shares.metrics);
        let listeners = services.addresses.join(", ");
        let mut tasks = services.tasks;
        tasks.extend([watch, tokio::spawn(report_loops(Arc::clone(&live)))]);
        tasks.extend(reloader.spawn(queue, lookup_queue));
        tasks.push(tokio::spawn(rotation::renew(Arc::clone(&reloader))));
        tasks.push(tokio::spawn(reap(Arc::clone(&reloader))));
        tasks.push(tokio::spawn(service_manager::show_life()));
        tasks.push(tokio::spawn(sum_up_failures(reloader.generation())));
        log_start(&reloader, &listeners);
        Ok(Self {
            reloader,
            admin,
            drain_end,
            inbound_drainer,
            outbound_drainer,
            admin_drainer,
            metrics_drainer,
            #[cfg(feature = "otlp")]
            telemetry,
            tasks,
            addresses,
        })
    }

    /// Returns the addresses at which applications reach this sidecar.
    #[must_use]
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses.outbound
    }

    /// Returns the addresses at which providers reach this sidecar.
    #[must_use]
    pub fn inbound_addresses(&self) -> &[ListenAddress] {
        &self.addresses.inbound
    }

    /// Returns the addresses at which operators reach this sidecar.
    #[must_use]
    pub fn admin_addresses(&self) -> &[ListenAddress] {
        &self.addresses.admin
    }

    /// Returns the store of events that wait on disk, if the configuration has one.
    #[must_use]
    pub fn spool(&self) -> Option<&Arc<Spool>> {
        self.reloader.spool()
    }

    /// Serves until SIGTERM or SIGINT, then drains. SIGHUP reloads.
    pub async fn serve_until_signal(self, mut signals: Signals) -> Ended {
        service_manager::ready(&self.reloader.summary());
        while signals.next().await == SignalRequest::Reload {
            self.reloader.request(ReloadCause::Hangup);
        }
        tokio::select! {
            ended = self.linger_and_stop() => ended,
            () = signals.end() => Ended::Cut,
        }
    }

    /// Serves for the time of `linger` while `/readyz` fails already, so that no new traffic comes
    /// and the rest is served; then stops.
    async fn linger_and_stop(self) -> Ended {
        self.admin.drain();
        service_manager::stopping("finishing the requests under way");
        let config = Arc::clone(&self.reloader.live().config);
        let linger = config.outbound.linger;
        if !linger.is_zero() {
            let linger_ms = millis(linger);
            tracing::info!(linger_ms, "stopping: requests are accepted for a while");
            tokio::time::sleep(linger).await;
        }
        tracing::info!("draining");
        self.stop(config.outbound.drain).await
    }

    /// Stops accepting, finishes the requests under way within `time`, and ends. The inbound
    /// listener stops first: an application that handles the last events can still send. Probes of
    /// the admin listener are answered to the end: an orchestrator must see `/readyz` fail.
    pub async fn stop(self, time: Duration) -> Ended {
        self.admin.drain();
        self.reloader.live().cool_down();
        let share = time.mul_f64(INBOUND_SHARE_OF_DRAIN);
        let deliveries = self.reloader.deliveries().cloned();
        let inbound = self.inbound_drainer;
        let events = async {
            inbound.drain().await;
            if let Some(deliveries) = &deliveries {
                deliveries.stop(share).await;
            }
        };
        let mut drained = pin!(drain_in_turn(events, self.outbound_drainer, share));
        let ended = match timeout(time, drained.as_mut()).await {
            Ok(()) => Ended::Drained,
            Err(_) => {
                self.drain_end.announce();
                timeout(LAST_ANSWERS_TIMEOUT, drained).await.ok();
                Ended::Cut
            }
        };
        // Closed already, unless the drain was cut: what was answered is on disk in any case.
        if let Some(deliveries) = &deliveries {
            deliveries.stop(Duration::ZERO).await;
        }
        self.admin.end();
        let watched =
            async { tokio::join!(self.admin_drainer.drain(), self.metrics_drainer.drain()) };
        timeout(ADMIN_DRAIN_TIMEOUT, watched).await.ok();
        for task in self.tasks {
            task.abort();
        }
        self.reloader.end_overlaps().await;
        self.reloader.keep_nonces().await;
        #[cfg(feature = "otlp")]
        self.telemetry.stop().await;
        let audit = self.reloader.audit();
        audit.record("stop", []);
        tokio::task::spawn_blocking(move || audit.flush())
            .await
            .ok();
        tracing::info!(complete = ended == Ended::Drained, "stopped");
        ended
    }
}

/// Waits for the end of events, and then drains the outbound listener: the latter begins after
/// `patience` at the latest, when events are still under way.
async fn drain_in_turn(events: impl Future<Output = ()>, outbound: Drainer, patience: Duration) {
    let mut inbound = pin!(events);
    let is_over = timeout(patience, inbound.as_mut()).await.is_ok();
    outbound.drain().await;
    if !is_over {
        inbound.await;
    }
}

/// Logs each provider whose name leads back to Keyside.
async fn report_loops(live: Arc<Live>) {
    for fault in live.loops().await {
        tracing::error!("{fault}");
    }
}

/// Closes the memory of the process, and raises the soft limit on open files.
fn prepare() {
    for error in harden() {
        tracing::warn!(%error, "debuggers and core dumps can read the memory of this process");
    }
    if let Err(error) = Descriptors::raise() {
        tracing::warn!(%error, "the soft limit on open files cannot be raised");
    }
}

/// Divides the file descriptors of the process among the listeners.
fn divide_descriptors(live: &Live) -> Shares {
    let descriptors = Descriptors::available();
    let shares = descriptors.divide(&live.config);
    if let Some(shortage) = descriptors.shortage(&live.config) {
        tracing::warn!("{shortage}");
    }
    shares
}

/// Logs the single line about the start.
fn log_start(reloader: &Reloader, listeners: &str) {
    let live = reloader.live();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %reloader.file().path().display(),
        credentials = live.config.credentials.len(),
        routes = live.config.routes.len(),
        webhooks = live.config.webhooks.len(),
        listeners,
        "started"
    );
}

/// Closes idle connections to upstreams when they become too old.
async fn reap(reloader: Arc<Reloader>) {
    loop {
        next_beat_of_traffic(REAP_INTERVAL).await;
        reloader
            .live()
            .upstreams()
            .for_each(|upstream| upstream.reap());
    }
}

/// Forbids core dumps, and forbids every user but root to look into the process: both would show
/// the secrets in memory. Returns the errors of the kernel.
pub fn harden() -> impl Iterator<Item = io::Error> {
    let core = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    [core.err(), dumpable.err()]
        .into_iter()
        .flatten()
        .map(io::Error::from)
}

/// Makes the registry of the process. Every room registers its own metrics.
fn registry() -> Registry {
    let mut registry = Registry::with_prefix("keyside");
    registry.register(
        "build",
        "Version of Keyside",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    registry
}

/// The number of refused requests that may wait while Keyside looks for new secrets. A request
/// beyond them gets the refusal at once.
const MAX_LOOKUPS: usize = 1024;
/// The interval between two searches for idle connections: a few seconds of delay cost one socket
/// each.
const REAP_INTERVAL: Duration = Duration::from_secs(10);
/// The share of `drain` after which the outbound listener stops accepting while events are under
/// way: an application answers an event with requests, which get the other half.
const INBOUND_SHARE_OF_DRAIN: f64 = 0.5;
/// The time for the answers that tell clients of the end of a drain: a few hundred bytes each,
/// written to open connections. The process must be gone before an orchestrator kills it.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_millis(500);
/// The time for answers of the admin listener at the end. Probes are short and can be repeated.
const ADMIN_DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The reasons for which a sidecar does not serve.
#[derive(Debug)]
pub enum AppError {
    /// The configuration or a secret has a fault.
    Load(LoadError),
    /// A listener cannot be bound.
    Bind(ListenError),
    /// The receiver of traces and metrics cannot be used.
    #[cfg(feature = "otlp")]
    Telemetry(TelemetryReceiverError),
    /// Signals cannot be received.
    Signals(io::Error),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => fmt::Display::fmt(error, f),
            Self::Bind(error) => fmt::Display::fmt(error, f),
            #[cfg(feature = "otlp")]
            Self::Telemetry(error) => write!(f, "telemetry.otlp: {error}"),
            Self::Signals(error) => write!(f, "signals cannot be received: {error}"),
        }
    }
}

impl std::error::Error for AppError {}
