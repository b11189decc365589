//! The listeners of the sidecar, each kind with a handler, places and a drain.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use crate::admin::{Admin, watch_spool};
use crate::beat::next_beat;
use crate::config::{Config, ListenAddress};
use crate::inbound::Inbound;
use crate::listener::metrics::ListenerMetrics;
use crate::listener::{
    BindError, ConnectionBounds, Connections, DrainEnd, Drainer, Families, Link, Listener,
    PassedSockets, drain,
};
use crate::memory::{Holder, MemoryBudget};
use crate::outbound::Outbound;
use crate::outbound::generation::SecretLookups;
use crate::refusal_form::RefusalForms;
use crate::reload::Reloader;
use crate::reload::metrics::ReloadMetrics;
use crate::upstream::AnswerBody;

/// The bound sockets of each kind, before any of them is served.
pub(super) struct Listeners {
    pub(super) outbound: Vec<Listener>,
    pub(super) outbound_tls: Vec<Listener>,
    pub(super) inbound: Vec<Listener>,
    pub(super) admin: Vec<Listener>,
    pub(super) metrics: Vec<Listener>,
}

/// The addresses of the listeners, with the ports that the system chose.
#[derive(Debug)]
pub(super) struct BoundAddresses {
    pub(super) outbound: Vec<ListenAddress>,
    pub(super) inbound: Vec<ListenAddress>,
    pub(super) admin: Vec<ListenAddress>,
}

impl Listeners {
    /// Takes the passed sockets of each address, and binds the other addresses.
    pub(super) fn bind(config: &Config, mut passed: PassedSockets) -> Result<Self, ListenError> {
        let outbound = &config.outbound;
        let all = listen_addresses(config);
        let mut bound = |table, addresses: &[ListenAddress], allow_uids: &[u32]| {
            take_or_bind(&mut passed, &all, table, addresses, allow_uids)
                .map_err(|error| ListenError { table, error })
        };
        let listeners = Self {
            outbound: bound("outbound", &outbound.listen, &outbound.allow_uids)?,
            outbound_tls: match &outbound.tls {
                Some(tls) => bound("outbound.tls", &tls.listen, &[])?,
                None => Vec::new(),
            },
            inbound: bound("inbound", &config.inbound.listen, &[])?,
            admin: bound("admin", &config.admin.listen, &[])?,
            metrics: match &config.metrics {
                Some(metrics) => bound("metrics", &metrics.listen, &[])?,
                None => Vec::new(),
            },
        };
        for socket in passed.left() {
            tracing::error!(
                %socket,
                "nobody answers at this socket of the service manager: name its address in `listen`, or the table in \
                 FileDescriptorName= (outbound, outbound.tls, inbound, admin, metrics); only a socket on loopback stands for one"
            );
        }
        Ok(listeners)
    }

    /// Returns the addresses of the listeners that people ask for.
    pub(super) fn addresses(&self) -> BoundAddresses {
        BoundAddresses {
            outbound: addresses(&self.outbound),
            inbound: addresses(&self.inbound),
            admin: addresses(&self.admin),
        }
    }

    /// Takes the listeners for applications: those without TLS, and those with the certificate of
    /// `tls`.
    pub(super) fn for_applications(
        &mut self,
        tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
        refusals: Arc<ArcSwap<RefusalForms>>,
    ) -> Vec<BoundedListener> {
        let plain = std::mem::take(&mut self.outbound);
        let bounds = ConnectionBounds {
            refusals,
            ..ConnectionBounds::local()
        };
        let mut all = bounded(plain, &bounds);
        if tls.is_some() {
            let with_tls = std::mem::take(&mut self.outbound_tls);
            all.extend(bounded(with_tls, &ConnectionBounds { tls, ..bounds }));
        }
        all
    }
}

/// Returns the addresses of every listener.
fn listen_addresses(config: &Config) -> Vec<ListenAddress> {
    let outbound_tls = config.outbound.tls.iter().flat_map(|tls| &tls.listen);
    let metrics = config.metrics.iter().flat_map(|metrics| &metrics.listen);
    let outbound = config.outbound.listen.iter().chain(outbound_tls);
    let operators = config.admin.listen.iter().chain(metrics);
    outbound
        .chain(&config.inbound.listen)
        .chain(operators)
        .cloned()
        .collect()
}

/// Takes the passed sockets at `addresses`, then those with the name of `table`, and binds what is
/// left.
fn take_or_bind(
    passed: &mut PassedSockets,
    all: &[ListenAddress],
    table: &'static str,
    addresses: &[ListenAddress],
    allow_uids: &[u32],
) -> Result<Vec<Listener>, BindError> {
    let at: Vec<_> = addresses.iter().map(|address| passed.at(address)).collect();
    addresses
        .iter()
        .zip(at)
        .map(
            |(address, at)| match at.or_else(|| passed.named(table, address)) {
                Some(socket) => Listener::from_service_manager(socket, allow_uids),
                None => {
                    let families = Families::of(address, all.iter());
                    Listener::bind(address, families, allow_uids)
                }
            },
        )
        .collect()
}

/// The failure to listen at an address of a table.
#[derive(Debug)]
pub struct ListenError {
    /// The table.
    table: &'static str,
    error: BindError,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.listen: {}", self.table, self.error)
    }
}

impl std::error::Error for ListenError {}

fn addresses(listeners: &[Listener]) -> Vec<ListenAddress> {
    listeners.iter().map(Listener::address).collect()
}

/// A listener with the bounds of its connections.
pub(super) type BoundedListener = (Listener, ConnectionBounds);

/// Returns listeners with equal bounds.
fn bounded(listeners: Vec<Listener>, bounds: &ConnectionBounds) -> Vec<BoundedListener> {
    let with_bounds = |listener| (listener, bounds.clone());
    listeners.into_iter().map(with_bounds).collect()
}

/// Makes the handler for applications and the handler for providers, with a common `Sends`: a
/// webhook may report the fate of a message sent under an idempotency key. The end of a drain is
/// that of both.
pub(super) fn handlers(
    reloader: &Reloader,
    metrics: &ReloadMetrics,
    lookups: SecretLookups,
) -> (Arc<Outbound>, Arc<Inbound>, Arc<DrainEnd>) {
    let sends = Arc::clone(reloader.sends());
    let outbound = Outbound::new(
        reloader.generation(),
        metrics.outbound.clone(),
        reloader.audit(),
        lookups,
        Arc::clone(&sends),
        reloader.memory(),
        reloader.tracer(),
    );
    let inbound = Inbound::new(
        reloader.inbound(),
        metrics.inbound.clone(),
        sends,
        reloader.memory(),
        reloader.nonces(),
        reloader.spool().cloned(),
        reloader.tracer(),
    );
    let drain_end = Arc::default();
    let outbound = outbound.until(Arc::clone(&drain_end));
    let inbound = inbound.until(Arc::clone(&drain_end));
    (Arc::new(outbound), Arc::new(inbound), drain_end)
}

/// The tasks that serve the listeners until a drain begins.
///
/// A drain ends when every clone of the `Drain` is dropped. After start-up only the listeners hold
/// clones.
pub(super) struct Services<'a> {
    pub(super) metrics: &'a ListenerMetrics,
    pub(super) memory: Arc<MemoryBudget>,
    pub(super) tasks: Vec<JoinHandle<()>>,
    /// The addresses that are served, each with the kind of its listener.
    pub(super) addresses: Vec<String>,
}

/// The handler of providers, with the probes of load balancers.
pub(super) struct WithProbes {
    inbound: Arc<Inbound>,
    admin: Arc<Admin>,
}

impl WithProbes {
    /// Puts the probes of `admin` in front of `inbound`.
    pub(super) fn new(inbound: Arc<Inbound>, admin: &Arc<Admin>) -> Self {
        Self {
            inbound,
            admin: Arc::clone(admin),
        }
    }

    /// Answers a probe, unless a webhook has its path; else an event or a handshake.
    async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<AnswerBody> {
        let probe = self
            .admin
            .probe(request.method(), request.uri().path())
            .await;
        match probe {
            Some(answer) if !self.inbound.has_webhook(request.uri().path()) => {
                if !request.body().is_end_stream() {
                    link.body_unread();
                }
                answer.map(AnswerBody::Whole)
            }
            _ => self.inbound.handle(request, link).await,
        }
    }
}

impl Services<'_> {
    /// Serves applications, with and without TLS.
    pub(super) fn outbound(
        &mut self,
        listeners: Vec<BoundedListener>,
        outbound: Arc<Outbound>,
        places: usize,
    ) -> Drainer {
        let handler = move |request, link: Arc<Link>| {
            let outbound = Arc::clone(&outbound);
            async move { outbound.handle(request, &link).await }
        };
        let connections = Connections::new(places, None, self.metrics.of("outbound"))
            .within(Arc::clone(&self.memory), Holder::Send);
        self.serve(listeners, &handler, connections)
    }

    /// Serves providers.
    pub(super) fn inbound(
        &mut self,
        listeners: Vec<Listener>,
        inbound: WithProbes,
        bounds: &ConnectionBounds,
        places: usize,
    ) -> Drainer {
        let inbound = Arc::new(inbound);
        let handler = move |request, link: Arc<Link>| {
            let inbound = Arc::clone(&inbound);
            async move { inbound.handle(request, &link).await }
        };
        let per_address = (places / PLACES_PER_ADDRESS).max(1);
        let connections = Connections::new(places, Some(per_address), self.metrics.of("inbound"))
            .within(Arc::clone(&self.memory), Holder::Event);
        self.serve(bounded(listeners, bounds), &handler, connections)
    }

    /// Serves operators.
    pub(super) fn admin(
        &mut self,
        listeners: Vec<Listener>,
        admin: &Arc<Admin>,
        places: usize,
    ) -> Drainer {
        let watch = admin.spool().map(|spool| {
            let backlogs = Arc::clone(admin.backlogs());
            tokio::spawn(watch_spool(spool, backlogs))
        });
        let admin = Arc::clone(admin);
        let handler = move |request, link: Arc<Link>| {
            let admin = Arc::clone(&admin);
            async move { admin.handle(request, &link).await }
        };
        self.tasks.extend(watch);
        let connections = Connections::new(places, None, self.metrics.of("admin"));
        let listeners = bounded(listeners, &ConnectionBounds::local());
        self.serve(listeners, &handler, connections)
    }

    /// Serves those who only watch.
    pub(super) fn metrics(
        &mut self,
        listeners: Vec<Listener>,
        admin: &Arc<Admin>,
        places: usize,
    ) -> Drainer {
        let admin = Arc::clone(admin);
        let handler = move |request, link: Arc<Link>| {
            let admin = Arc::clone(&admin);
            async move {
                link.request_is_read();
                admin.watch(request).await
            }
        };
        let connections = Connections::new(places, None, self.metrics.of("metrics"));
        let listeners = bounded(listeners, &ConnectionBounds::watchers());
        self.serve(listeners, &handler, connections)
    }

    /// Serves the listeners of one kind, each in a task of its own.
    fn serve<H, F, B>(
        &mut self,
        listeners: Vec<BoundedListener>,
        handler: &H,
        connections: Connections,
    ) -> Drainer
    where
        H: Fn(Request<Incoming>, Arc<Link>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (drainer, begins) = drain();
        let connections = Arc::new(connections);
        for (listener, bounds) in listeners {
            let tls = bounds.tls.as_ref().map_or("", |_| " (TLS)");
            let kind = connections.kind();
            let address = listener.address();
            self.addresses.push(format!("{kind} {address}{tls}"));
            self.tasks.push(tokio::spawn(listener.serve(
                handler.clone(),
                bounds,
                Arc::clone(&connections),
                begins.clone(),
            )));
        }
        self.tasks.push(tokio::spawn(sum_up(connections)));
        drainer
    }
}

/// Logs once a minute what happened at the doors of one kind of listener.
async fn sum_up(connections: Arc<Connections>) {
    loop {
        next_beat(SUMMARY_INTERVAL).await;
        connections.log_summaries();
    }
}

/// The part of the inbound listener's places that a single client on the Internet may hold: a half.
/// A client is known by its address, or by the address from a trusted proxy.
const PLACES_PER_ADDRESS: usize = 2;
/// The interval between two log lines about incidents of one kind: a minute, as for each summary in
/// the log.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
