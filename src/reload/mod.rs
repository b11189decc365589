//! Loads and reloads: from a configuration file to a generation. A faulty configuration is refused
//! as a whole; faulty secrets keep the secrets before them in use, and stop no other credential. So
//! do files of certificates and authorities.
//!
//! A load reads its `inputs`, begins a `draft`, builds both halves of the draft, asks the providers
//! about new secrets, and becomes [`Live`]. The [`Reloader`] publishes the result. A signal, a
//! request, a changed file or a new value in a secret manager starts the next load. Programs and
//! secret managers that do not answer soon hold up no load: `late` puts their answers in use when
//! they come.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod again;
mod alarms;
mod aside;
mod authorities;
mod cause;
mod changes;
mod draft;
mod egress;
mod error;
mod events;
mod inputs;
mod kept_back;
mod kept_inputs;
mod late;
mod limits;
mod live;
mod load;
pub mod metrics;
mod notices;
mod overlap;
mod record;
mod refresh;
mod remarks;
mod renamed;
mod requests;
mod retry;
mod routes;
mod server_tls;
mod shared;
mod signatures;
mod state;
mod streams;
mod trust;
mod unchanged;
mod upkeep;
mod upstreams;
mod verify;
mod watcher;
mod webhooks;

pub use alarms::{AGE_WARNING_SHARE, overlap_concerns};
use cause::Causes;
pub use cause::ReloadCause;
use changes::Comparison;
pub use changes::{Change, ReplacedSecret};
pub use error::{LoadError, ReloadError};
pub use inputs::FirstConfig;
pub use kept_inputs::{InPlace, InputUse, KeptInput};
pub use live::Live;
pub use load::{load, load_config};
use load::{load_first, load_in_time};
use metrics::ReloadMetrics;
use overlap::{KeptOverlaps, log_restored, restored};
use record::follow_audit;
use requests::MAX_REQUESTS;
pub use requests::ReloadRequest;
use server_tls::ServerTlsCells;
pub use server_tls::{INBOUND, OUTBOUND, ServerCertificates};
pub use verify::{concerns, needs_of, questions, verify_all, verify_one};

use crate::audit::Audit;
use crate::config::ConfigFile;
use crate::credential::Credential;
use crate::credential::source::LateReads;
use crate::delivery::Deliveries;
use crate::inbound;
use crate::inbound::verify::Nonces;
use crate::listener::TrustedProxies;
use crate::log;
use crate::memory::MemoryBudget;
use crate::outbound::generation::Generation;
use crate::refusal_form::RefusalForms;
use crate::sends::Sends;
use crate::trace::Tracer;

/// Holds the live state, and replaces the state after each successful load.
#[derive(Debug)]
pub struct Reloader {
    file: ConfigFile,
    metrics: ReloadMetrics,
    audit: Audit,
    live: ArcSwap<Live>,
    generation: Arc<ArcSwap<Generation>>,
    inbound: Arc<ArcSwap<inbound::Generation>>,
    server_tls: ServerTlsCells,
    proxies: Arc<ArcSwap<TrustedProxies>>,
    refusals: Arc<ArcSwap<RefusalForms>>,
    memory: Arc<MemoryBudget>,
    last: Mutex<LastReload>,
    /// The reasons for which the last load was refused; empty after a successful load.
    refused_load: Mutex<Vec<String>>,
    overlaps: Arc<KeptOverlaps>,
    deliveries: Option<Arc<Deliveries>>,
    sends: Arc<Sends>,
    nonces: Arc<Nonces>,
    tracer: Tracer,
    requests: mpsc::Sender<ReloadRequest>,
    /// Wakes the waiting tasks at the end of a piece of work.
    finished: watch::Sender<()>,
    /// The reads that the start did not wait for, until the background work takes them over.
    late_at_start: Mutex<LateReads>,
}

/// The outcome of the last reload.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// The time of the last successful load.
    pub last_success: SystemTime,
    /// The reasons of the last refusal; empty after a success.
    pub refused: Vec<String>,
    /// The number of refusals so far.
    pub refusals: u64,
}

/// A published reload.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// The changes.
    pub changes: Vec<Change>,
    /// A line for each secret that is kept back, with the reason.
    pub kept_back: Vec<String>,
}

/// The result of a published reload, or the reason for the refusal.
pub type ReloadResult = Result<Reloaded, ReloadError>;

impl Reloader {
    /// Loads for the first time.
    ///
    /// # Errors
    /// If the load is refused, or the audit file cannot be written.
    pub async fn start(
        config: FirstConfig,
        metrics: ReloadMetrics,
    ) -> Result<(Arc<Self>, mpsc::Receiver<ReloadRequest>), LoadError> {
        let file = config.file.clone();
        let (live, late) = load_first(config, &metrics).await?;
        live.connect_shared().await;
        live.prepare_state().await;
        let telemetry = live.config.telemetry.as_ref();
        let tracer = telemetry
            .map(|telemetry| Tracer::new(telemetry.sample))
            .unwrap_or_default();
        let deliveries = events::open(&live, &metrics.deliveries, tracer.clone()).await?;
        let overlaps = Arc::default();
        let live = restored(live, &overlaps, &metrics).await;
        let audit = Audit::start(metrics.audit.clone());
        follow_audit(&audit, &live.config).await?;
        audit.record("start", [("version", env!("CARGO_PKG_VERSION").into())]);
        live.keep_warm();
        metrics.begin_rotations(&live.config);
        metrics.published();
        let (requests, queue) = mpsc::channel(MAX_REQUESTS);
        let memory = Arc::new(MemoryBudget::new(live.config.inbound.max_in_flight));
        let reloader = Self {
            file,
            metrics,
            audit,
            generation: Arc::new(ArcSwap::from(Arc::clone(&live.generation))),
            inbound: Arc::new(ArcSwap::from(Arc::clone(&live.inbound))),
            server_tls: ServerTlsCells::new(&live.server_tls),
            proxies: Arc::new(ArcSwap::from_pointee(proxies(&live))),
            refusals: Arc::new(ArcSwap::from(refusals(&live))),
            live: ArcSwap::from(live),
            overlaps,
            deliveries,
            sends: Sends::new(&memory),
            memory,
            nonces: Arc::default(),
            tracer,
            refused_load: Mutex::default(),
            last: Mutex::new(LastReload {
                last_success: SystemTime::now(),
                refused: Vec::new(),
                refusals: 0,
            }),
            requests,
            finished: watch::Sender::default(),
            late_at_start: Mutex::new(late),
        };
        reloader.restore_nonces().await;
        Ok((Arc::new(reloader), queue))
    }

    /// Logs the oddities of the first load.
    pub fn log_startup(&self) {
        self.live().log_warnings(None);
        self.report_kept_inputs(None, &self.live());
        log_restored(&self.live());
        if let Some(status) = self.audit.status() {
            let hash = status.resumed_after;
            tracing::info!(hash, "the audit file goes on after the line with this hash");
        }
    }

    /// Returns the file with the configuration.
    #[must_use]
    pub fn file(&self) -> &ConfigFile {
        &self.file
    }

    /// Returns a handle to the audit file.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.audit.clone()
    }

    /// Returns the live state.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Returns the cell with the generation for new requests.
    #[must_use]
    pub fn generation(&self) -> Arc<ArcSwap<Generation>> {
        Arc::clone(&self.generation)
    }

    /// Returns the cell with the generation for new events.
    #[must_use]
    pub fn inbound(&self) -> Arc<ArcSwap<inbound::Generation>> {
        Arc::clone(&self.inbound)
    }

    /// Returns the cell with the certificate for new handshakes of the inbound listener; `None`
    /// without TLS.
    #[must_use]
    pub fn server_tls(&self) -> Option<Arc<ArcSwap<rustls::ServerConfig>>> {
        self.server_tls.inbound.clone()
    }

    /// Returns the cell with the certificate for new handshakes of the outbound listener; `None`
    /// without TLS.
    #[must_use]
    pub fn outbound_tls(&self) -> Option<Arc<ArcSwap<rustls::ServerConfig>>> {
        self.server_tls.outbound.clone()
    }

    /// Returns the cell with the reverse proxies that are trusted for new requests.
    #[must_use]
    pub fn proxies(&self) -> Arc<ArcSwap<TrustedProxies>> {
        Arc::clone(&self.proxies)
    }

    /// Returns the cell with the forms of refusals that the outbound listener writes itself.
    #[must_use]
    pub fn refusals(&self) -> Arc<ArcSwap<RefusalForms>> {
        Arc::clone(&self.refusals)
    }

    /// Returns the budget of the bodies that are held in memory.
    #[must_use]
    pub fn memory(&self) -> Arc<MemoryBudget> {
        Arc::clone(&self.memory)
    }

    /// Returns the messages sent under a key, whose statuses a webhook may bring.
    #[must_use]
    pub fn sends(&self) -> &Arc<Sends> {
        &self.sends
    }

    /// Returns the nonces of accepted events.
    #[must_use]
    pub fn nonces(&self) -> Arc<Nonces> {
        Arc::clone(&self.nonces)
    }

    /// Returns the tracer, which starts the spans of requests.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Returns a receiver that changes after each piece of work: a load, a retry, answers that came
    /// late.
    #[must_use]
    pub fn finished(&self) -> watch::Receiver<()> {
        self.finished.subscribe()
    }

    /// Returns the outcome of the last reload.
    #[must_use]
    pub fn last(&self) -> LastReload {
        self.last.lock().clone()
    }

    /// Spawns all background work, each kind as a separate task.
    pub fn spawn(
        self: &Arc<Self>,
        queue: mpsc::Receiver<ReloadRequest>,
        lookups: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> [JoinHandle<()>; 5] {
        let late = std::mem::take(&mut *self.late_at_start.lock());
        self.follow(late);
        [
            tokio::spawn(Arc::clone(self).serve(queue)),
            tokio::spawn(Arc::clone(self).watch_files()),
            tokio::spawn(Arc::clone(self).refresh_managers()),
            tokio::spawn(Arc::clone(self).look_after_credentials()),
            tokio::spawn(Arc::clone(self).look_up_secrets(lookups)),
        ]
    }

    async fn drop_expired(&self) {
        let before = self.live();
        let expired = |credential: &Arc<Credential>| credential.without_expired().is_some();
        if !before.credentials.values().any(expired) {
            return;
        }
        match load::drop_expired(before, &self.metrics).await {
            Ok(live) => {
                self.publish(&Arc::new(live));
                tracing::info!("the overlap of replaced secrets has ended: they are dropped");
            }
            Err(error) => {
                tracing::error!(%error, "the overlap of replaced secrets has ended, but they cannot be dropped");
            }
        }
    }

    /// Publishes all parts in a row, without an await in between: no request sees half a reload.
    fn publish(&self, live: &Arc<Live>) {
        self.live.store(Arc::clone(live));
        live.keep_warm();
        self.metrics.begin_rotations(&live.config);
        log::set_level(live.config.log.level);
        self.generation.store(Arc::clone(&live.generation));
        self.inbound.store(Arc::clone(&live.inbound));
        self.proxies.store(Arc::new(proxies(live)));
        self.refusals.store(refusals(live));
        self.server_tls.store(&live.server_tls);
        self.memory
            .set_max_events(live.config.inbound.max_in_flight);
        if live.shared.is_none() {
            self.metrics.shared.removed();
        }
        live.changed_limits.take_effect();
    }

    /// Loads, and takes the last steps that can fail: follows the audit file of the configuration,
    /// and tells the spool the destinations.
    async fn load(&self, before: &Arc<Live>) -> Result<(Live, LateReads), LoadError> {
        let loading = load_in_time(&self.file, Arc::clone(before), &self.metrics);
        let (live, late) = loading.await?;
        follow_audit(&self.audit, &live.config).await?;
        self.take_destinations(&live).await?;
        Ok((live, late))
    }

    /// Reloads. Returns the result with the reads that the reload did not wait for.
    async fn reload(&self, causes: &Causes) -> (ReloadResult, LateReads) {
        let before = self.live();
        let began = Instant::now();
        match self.load(&before).await {
            Ok((live, late)) => {
                self.refused_load.lock().clear();
                let reported = self.publish_and_report(before, live, causes, &late, began);
                (reported.await, late)
            }
            Err(error) => {
                // Managers may have been asked for secrets of the refused configuration alone, and
                // on its way out.
                before.managers.take_way_out(&before.egress);
                before
                    .managers
                    .keep_only(&inputs::asked_references(&before.config));
                let error = Arc::new(error);
                let known = std::mem::replace(&mut *self.refused_load.lock(), error.reasons());
                if causes.are_another_try() && known == error.reasons() {
                    let taken = Arc::default();
                    return (
                        Err(ReloadError::Refused { error, taken }),
                        LateReads::default(),
                    );
                }
                let last_success = self.last().last_success;
                let (changes, late) = self.reload_secrets(before).await;
                let refusal = ReloadError::Refused {
                    error,
                    taken: changes.iter().map(ToString::to_string).collect(),
                };
                self.record_refusal(&refusal, causes);
                self.last.lock().last_success = last_success;
                (Err(refusal), late)
            }
        }
    }

    /// Publishes a load, and reports the changes.
    async fn publish_and_report(
        &self,
        before: Arc<Live>,
        live: Live,
        causes: &Causes,
        late: &LateReads,
        began: Instant,
    ) -> ReloadResult {
        live.connect_shared().await;
        live.prepare_state().await;
        let live = Arc::new(live);
        self.publish(&live);
        let compared = (Arc::clone(&before), Arc::clone(&live));
        let log_new = move || compared.1.log_warnings(Some(&compared.0));
        tokio::task::spawn_blocking(log_new).await.ok();
        let has_kept_secret = self.report_kept_back(&before, &live);
        let has_kept_input = self.report_kept_inputs(Some(&before), &live);
        let comparison = Comparison::aside(before, Arc::clone(&live)).await;
        if (has_kept_secret || has_kept_input) && comparison.changes.is_empty() {
            let error = ReloadError::KeptBack(comparison.kept_back.into());
            self.record_refusal(&error, causes);
            return Err(error);
        }
        // Answers that come late decide at their end, where the reload is recorded.
        if late.is_empty() {
            if let Some(error) = live.unread_for(causes, &comparison.changes) {
                self.record_refusal(&error, causes);
                return Err(error);
            }
            self.record_success(&live, &comparison, causes, began);
        } else if !causes.wait_for(&comparison.changes) {
            self.record_success(&live, &comparison, causes, began);
        }
        Ok(Reloaded {
            changes: comparison.changes,
            kept_back: comparison.kept_back,
        })
    }
}

fn proxies(live: &Live) -> TrustedProxies {
    TrustedProxies::new(&live.config.inbound.trusted_proxies)
}

fn refusals(live: &Live) -> Arc<RefusalForms> {
    Arc::clone(live.generation.policy.refusals())
}
