//! The sidecar as a whole: binds every listener or none, serves, reloads, drains.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::Admin;
use crate::config::{Config, ListenAddress, LogFormat};
use crate::inbound::Inbound;
use crate::listener::{BindError, Drain, Drainer, Link, Listener, Terms, drain};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::outbound::{LookAgain, Outbound};
use crate::reload::{LoadError, Reloader};
use crate::rotation;
use crate::sends::Sends;

/// A sidecar that serves. What it runs on is one thread: a sidecar handles some tens of thousands of
/// requests a second on one core, a sender may send a thousand, and what one thread does nobody has
/// to lock against.
#[derive(Debug)]
pub struct App {
    reloader: Arc<Reloader>,
    admin: Arc<Admin>,
    drainer: Drainer,
    admin_drainer: Drainer,
    tasks: Vec<JoinHandle<()>>,
    addresses: Vec<ListenAddress>,
    inbound_addresses: Vec<ListenAddress>,
    log: Log,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that was under way was finished.
    Drained,
    /// Some of it was cut off: the time was over, or a second signal came.
    Cut,
}

impl App {
    /// Loads the configuration and binds all listeners.
    ///
    /// # Errors
    /// Where anything is wrong; then nothing listens.
    pub async fn start(path: PathBuf) -> Result<Self, AppError> {
        harden();
        let metrics = Metrics::new();
        let (reloader, queue) = Reloader::start(path, Arc::clone(&metrics)).await.map_err(AppError::Load)?;
        let live = reloader.live();
        let log = start_log(&live.config);
        reloader.tell_of_the_start();
        let bind = |addresses: &[ListenAddress], uids: &[u32]| {
            addresses.iter().map(|address| Listener::bind(address, uids)).collect::<Result<Vec<_>, _>>()
        };
        let outbound_listeners =
            bind(&live.config.outbound.listen, &live.config.outbound.allow_uids).map_err(AppError::Bind)?;
        let inbound_listeners = bind(&live.config.inbound.listen, &[]).map_err(AppError::Bind)?;
        let admin_listeners = bind(&live.config.admin.listen, &[]).map_err(AppError::Bind)?;
        let at = |listeners: &[Listener]| listeners.iter().map(Listener::address).collect();
        let (outbound_addresses, inbound_addresses) = (at(&outbound_listeners), at(&inbound_listeners));

        let (look, wishes) = mpsc::channel(LOOKS);
        let (outbound, inbound) = handlers(&reloader, &metrics, look);
        let admin = Arc::new(Admin::new(Arc::clone(&reloader), Arc::clone(&metrics)));
        let ((drainer, begun), (admin_drainer, admin_begun)) = (drain(), drain());
        let mut tasks = Vec::new();
        let applications = move |request, link: Arc<Link>| {
            let outbound = Arc::clone(&outbound);
            async move { outbound.handle(request, &link).await }
        };
        let providers = move |request, link: Arc<Link>| {
            let inbound = Arc::clone(&inbound);
            async move { inbound.handle(request, &link).await }
        };
        let asked = Arc::clone(&admin);
        let operators = move |request, link: Arc<Link>| {
            let admin = Arc::clone(&asked);
            async move {
                link.request_is_read();
                admin.handle(request).await
            }
        };
        let internet = Terms::internet(reloader.server_tls());
        let serve = Serve { metrics: &metrics, begun: &begun };
        tasks.extend(serve.all("outbound", outbound_listeners, &applications, &Terms::local()));
        tasks.extend(serve.all("inbound", inbound_listeners, &providers, &internet));
        let serve = Serve { metrics: &metrics, begun: &admin_begun };
        tasks.extend(serve.all("admin", admin_listeners, &operators, &Terms::local()));
        // Only the listeners hold them from here on, or a drain would never end.
        drop((begun, admin_begun));
        tasks.extend(reloader.spawn(queue, wishes));
        tasks.push(tokio::spawn(rotation::renew(Arc::clone(&reloader))));
        tasks.push(tokio::spawn(reap(Arc::clone(&reloader))));
        Ok(Self {
            reloader,
            admin,
            drainer,
            admin_drainer,
            tasks,
            addresses: outbound_addresses,
            inbound_addresses,
            log,
        })
    }

    /// Where applications reach it.
    #[must_use]
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// Where providers reach it.
    #[must_use]
    pub fn inbound_addresses(&self) -> &[ListenAddress] {
        &self.inbound_addresses
    }

    /// Serves until SIGTERM or SIGINT, then drains. SIGHUP reloads.
    ///
    /// # Errors
    /// Where signals cannot be received.
    pub async fn serve_until_signal(self) -> Result<Ended, AppError> {
        let receive = |kind| signal(kind).map_err(AppError::Signals);
        let mut hangup = receive(SignalKind::hangup())?;
        let (mut terminate, mut interrupt) = (receive(SignalKind::terminate())?, receive(SignalKind::interrupt())?);
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reloader.ask("SIGHUP"),
                () = either(&mut terminate, &mut interrupt) => break,
            }
        }
        tracing::info!("draining");
        let time = self.reloader.live().config.outbound.drain;
        let ended = tokio::select! {
            ended = self.stop(time) => ended,
            () = either(&mut terminate, &mut interrupt) => Ended::Cut,
        };
        Ok(ended)
    }

    /// Stops accepting, finishes what is under way within `time`, and ends. Probes are answered to
    /// the end, so that an orchestrator sees that it is not ready.
    pub async fn stop(self, time: Duration) -> Ended {
        let _log = self.log;
        self.admin.drain();
        let ended = match timeout(time, self.drainer.drain()).await {
            Ok(()) => Ended::Drained,
            Err(_) => Ended::Cut,
        };
        // Operators' connections have nothing to lose.
        timeout(Duration::from_millis(100), self.admin_drainer.drain()).await.unwrap_or_default();
        for task in self.tasks {
            task.abort();
        }
        let audit = self.reloader.audit();
        audit.record("stop", []);
        tokio::task::spawn_blocking(move || audit.flush()).await.unwrap_or_default();
        tracing::info!(complete = ended == Ended::Drained, "stopped");
        ended
    }
}

/// What answers applications, and what answers providers: one tells the other what became of messages.
fn handlers(reloader: &Reloader, metrics: &Arc<Metrics>, look: LookAgain) -> (Arc<Outbound>, Arc<Inbound>) {
    let (sends, metrics) = (Arc::new(Sends::default()), || Arc::clone(metrics));
    let outbound = Outbound::new(reloader.generation(), metrics(), reloader.audit(), look, Arc::clone(&sends));
    let inbound = Inbound::new(reloader.inbound(), metrics(), sends);
    (Arc::new(outbound), Arc::new(inbound))
}

/// What all listeners are served with.
struct Serve<'a> {
    metrics: &'a Metrics,
    begun: &'a Drain,
}

impl Serve<'_> {
    /// Serves the listeners of one kind, each in a task of its own.
    fn all<H, F, B>(
        &self,
        kind: &'static str,
        listeners: Vec<Listener>,
        handler: &H,
        terms: &Terms,
    ) -> Vec<JoinHandle<()>>
    where
        H: Fn(Request<Incoming>, Arc<Link>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let one = |listener: Listener| {
            tracing::info!(listener = kind, address = %listener.address(), tls = terms.tls.is_some(), "listening");
            let open = self.metrics.connections(kind);
            tokio::spawn(listener.serve(handler.clone(), terms.clone(), open, self.begun.clone()))
        };
        listeners.into_iter().map(one).collect()
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Closes idle connections to upstreams when they become too old.
async fn reap(reloader: Arc<Reloader>) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        reloader.live().upstreams().for_each(|upstream| upstream.reap());
    }
}

/// Nobody but root may look into the process, and it leaves no core behind: both would show the
/// secrets it holds.
fn harden() {
    let limited = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    for error in [limited.err(), undumpable.err()].into_iter().flatten() {
        tracing::warn!(%error, "the process could not be closed to debuggers and core dumps");
    }
}

fn start_log(config: &Config) -> Log {
    let json = match config.log.format {
        LogFormat::Auto => None,
        LogFormat::Text => Some(false),
        LogFormat::Json => Some(true),
    };
    Log::start(config.log.level, json)
}

/// How many refused requests may wait for a look at where secrets come from.
const LOOKS: usize = 1024;

/// Why it does not serve.
#[derive(Debug)]
pub enum AppError {
    /// Configuration or secrets.
    Load(LoadError),
    /// A listener.
    Bind(BindError),
    /// Signals cannot be received.
    Signals(std::io::Error),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => fmt::Display::fmt(error, f),
            Self::Bind(error) => fmt::Display::fmt(error, f),
            Self::Signals(error) => write!(f, "signals cannot be received: {error}"),
        }
    }
}

impl std::error::Error for AppError {}
