//! From a configuration file to a whole generation, published at once or refused whole.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod authorities;
mod build;
mod changes;
mod error;
mod limits;
mod live;
mod load;
mod questions;
mod refresh;
mod shared;
mod webhooks;

use changes::{changes, rotated};
pub use error::{LoadError, Refused};
pub use live::Live;
pub use load::load;
pub use questions::{DUE, ask_about, concerns};

use crate::audit::Audit;
use crate::credential::Previous;
use crate::credential::source::{Digests, digests};
use crate::inbound;
use crate::log::without_numbers;
use crate::metrics::Metrics;
use crate::outbound::Generation;

/// Holds what is live, and replaces it.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    metrics: Arc<Metrics>,
    audit: Audit,
    live: ArcSwap<Live>,
    generation: Arc<ArcSwap<Generation>>,
    inbound: Arc<ArcSwap<inbound::Generation>>,
    server_tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    last: Mutex<LastReload>,
    requests: mpsc::Sender<Request>,
}

/// How the last reload went.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When a load last succeeded.
    pub last_success: SystemTime,
    /// What the last one was refused for; empty after a success.
    pub refused: Vec<String>,
}

/// One wish for a reload, with the place for its result.
#[derive(Debug)]
pub struct Request {
    cause: &'static str,
    reply: Option<oneshot::Sender<Result<Vec<String>, Vec<String>>>>,
}

impl Reloader {
    /// Loads for the first time.
    ///
    /// # Errors
    /// Everything that is wrong, by name.
    pub async fn start(
        path: PathBuf,
        metrics: Arc<Metrics>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Request>), LoadError> {
        let live = load(&path, None, &metrics).await?;
        live.begin().await;
        let audit = match &live.config.audit {
            Some(audit) => Audit::open(&audit.file, audit.requests)
                .map_err(|error| LoadError::Audit(audit.file.clone(), error.to_string()))?,
            None => Audit::default(),
        };
        audit.record("start", [("version", env!("CARGO_PKG_VERSION").into())]);
        metrics.reloaded(true);
        let (requests, queue) = mpsc::channel(REQUESTS);
        let generation = Arc::new(ArcSwap::from(Arc::clone(&live.generation)));
        let inbound = Arc::new(ArcSwap::from(Arc::clone(&live.inbound)));
        let server_tls = live.server_tls.as_ref().map(|tls| Arc::new(ArcSwap::from(Arc::clone(tls))));
        let last = Mutex::new(LastReload { last_success: SystemTime::now(), refused: Vec::new() });
        let live = ArcSwap::from_pointee(live);
        Ok((Arc::new(Self { path, metrics, audit, live, generation, inbound, server_tls, last, requests }), queue))
    }

    /// Logs what is odd or missing since the start, which came before there was a log.
    pub fn tell_of_the_start(&self) {
        self.live().warn();
        if let Some(hash) = self.audit.goes_on_after() {
            tracing::info!(hash, "the audit file goes on after the line with this hash");
        }
    }

    /// Where events are recorded.
    #[must_use]
    pub fn audit(&self) -> Audit {
        self.audit.clone()
    }

    /// What is live.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The slot from which each request takes its generation.
    #[must_use]
    pub fn generation(&self) -> Arc<ArcSwap<Generation>> {
        Arc::clone(&self.generation)
    }

    /// The slot from which each event takes its generation.
    #[must_use]
    pub fn inbound(&self) -> Arc<ArcSwap<inbound::Generation>> {
        Arc::clone(&self.inbound)
    }

    /// The slot from which each handshake of the inbound listener takes its certificate, where it
    /// speaks TLS.
    #[must_use]
    pub fn server_tls(&self) -> Option<Arc<ArcSwap<rustls::ServerConfig>>> {
        self.server_tls.clone()
    }

    /// How the last reload went.
    #[must_use]
    pub fn last(&self) -> LastReload {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a reload without waiting for it. One that is asked for while another waits already is
    /// the same one.
    pub fn ask(&self, cause: &'static str) {
        self.requests.try_send(Request { cause, reply: None }).unwrap_or_default();
    }

    /// Asks for a reload and waits for what it changed.
    ///
    /// # Errors
    /// What it was refused for.
    pub async fn ask_and_wait(&self, cause: &'static str) -> Result<Vec<String>, Vec<String>> {
        let (reply, result) = oneshot::channel();
        let stopped = || vec!["the sidecar is stopping".to_owned()];
        self.requests.send(Request { cause, reply: Some(reply) }).await.map_err(|_| stopped())?;
        result.await.map_err(|_| stopped())?
    }

    /// Starts all that it does by itself, each in a task of its own.
    pub fn spawn(
        self: &Arc<Self>,
        queue: mpsc::Receiver<Request>,
        wishes: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> [JoinHandle<()>; 5] {
        let this = || Arc::clone(self);
        [
            tokio::spawn(this().serve(queue)),
            tokio::spawn(this().watch()),
            tokio::spawn(this().refresh()),
            tokio::spawn(this().look_after()),
            tokio::spawn(this().look_when_asked(wishes)),
        ]
    }

    /// Reloads whenever it is asked to, one at a time, for as long as the process lives.
    async fn serve(self: Arc<Self>, mut queue: mpsc::Receiver<Request>) {
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                count = queue.recv_many(&mut waiting, REQUESTS) => if count == 0 { return },
                () = self.overlap_ends() => self.retire(),
            }
            if let Some(cause) = waiting.first().map(|request| request.cause) {
                let result = self.reload(cause).await;
                for reply in waiting.drain(..).filter_map(|request| request.reply) {
                    reply.send(result.clone()).unwrap_or_default();
                }
            }
            // A storm of signals costs a bounded share of the processor, and its last one counts.
            tokio::time::sleep(REST).await;
        }
    }

    /// Looks at the content of all files for as long as the process lives, and asks for a reload when
    /// it is another. Content, because Kubernetes replaces a link above the files, and a mount may not
    /// tell of any change.
    async fn watch(self: Arc<Self>) {
        let mut refused = None;
        loop {
            // Nothing that is live may be held while waiting: it would keep replaced secrets in memory.
            let interval = self.live.load().config.reload.watch;
            tokio::time::sleep(interval.unwrap_or(LOOK_FOR_WATCH)).await;
            if interval.is_none() {
                continue;
            }
            self.look(&mut refused).await;
        }
    }

    /// Looks at all files whenever a request is refused for its secret, a few times a second at most, and asks secret
    /// managers, who may count each question, a few times a minute. What a provider refused may be good by then: it is
    /// tried again.
    async fn look_when_asked(self: Arc<Self>, mut wishes: mpsc::Receiver<oneshot::Sender<()>>) {
        let (mut waiting, mut refused, mut refused_news) = (Vec::new(), None, None);
        let mut asked: Option<Instant> = None;
        while wishes.recv_many(&mut waiting, usize::MAX).await > 0 {
            let is_time = asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN);
            if is_time {
                asked = Some(Instant::now());
                (refused, refused_news) = (None, None);
            }
            self.look(&mut refused).await;
            if is_time {
                self.ask_again(&mut refused_news).await;
            }
            for done in waiting.drain(..) {
                done.send(()).unwrap_or_default();
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Reloads if the content of a file is another; what was `refused` once is not tried again until it is
    /// another still.
    async fn look(&self, refused: &mut Option<Digests>) {
        let live = self.live();
        let paths: Vec<_> = live.digests.keys().cloned().collect();
        let Ok(now) = tokio::task::spawn_blocking(move || digests(paths)).await else { return };
        if now != live.digests && refused.as_ref() != Some(&now) {
            *refused = self.ask_and_wait("a file has changed").await.is_err().then_some(now);
        }
    }

    /// Waits until the next secret has been previous for long enough.
    async fn overlap_ends(&self) {
        let previous_until = |live: &Live| {
            live.credentials.values().flat_map(|credential| credential.previous()).map(Previous::until).min()
        };
        let until = previous_until(&self.live.load());
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    fn retire(&self) {
        let before = self.live.load_full();
        match load::retire(&before, &self.metrics) {
            Ok(live) => {
                self.publish(&Arc::new(live));
                tracing::info!("an overlap is over: the secrets replaced before it are gone");
            }
            Err(error) => tracing::error!(%error, "an overlap is over, and its secrets could not be let go"),
        }
    }

    /// All of it in a row, with nothing awaited in between.
    fn publish(&self, live: &Arc<Live>) {
        self.live.store(Arc::clone(live));
        self.generation.store(Arc::clone(&live.generation));
        self.inbound.store(Arc::clone(&live.inbound));
        if let (Some(slot), Some(tls)) = (&self.server_tls, &live.server_tls) {
            slot.store(Arc::clone(tls));
        }
        if live.shared.is_none() {
            self.metrics.shared.up.set(0);
        }
        for (budget, terms) in &live.changed_budgets {
            budget.change(terms);
        }
    }

    async fn reload(&self, cause: &str) -> Result<Vec<String>, Vec<String>> {
        let before = self.live.load_full();
        let began = Instant::now();
        match load(&self.path, Some(&before), &self.metrics).await {
            Ok(live) => {
                live.begin().await;
                let live = Arc::new(live);
                self.publish(&live);
                live.warn();
                let duration_ms = began.elapsed().as_secs_f64() * 1000.0;
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                    LastReload { last_success: SystemTime::now(), refused: Vec::new() };
                self.metrics.reloaded(true);
                for (credential, secret, how) in rotated(&before, &live) {
                    self.metrics.rotated(&credential, "replaced");
                    let fields =
                        [("credential", credential.into()), ("secret", secret.into()), ("fingerprints", how.into())];
                    self.audit.record("rotation", fields);
                }
                let changes = changes(&before, &live);
                let number = live.generation.number;
                let fields =
                    [("cause", cause.into()), ("generation", number.into()), ("changes", changes.clone().into())];
                self.audit.record("reload", fields);
                tracing::info!(cause, generation = number, duration_ms, changes = changes.join("; "), "reloaded");
                Ok(changes)
            }
            Err(error) => {
                // What a secret manager has said for the refused configuration alone is of no use.
                before.managers.keep_only(&load::all_references(&before.config));
                let reasons = error.reasons();
                self.last.lock().unwrap_or_else(PoisonError::into_inner).refused.clone_from(&reasons);
                self.metrics.reloaded(false);
                if let LoadError::Refused(refused) = &error {
                    refused.iter().for_each(|refused| refused.record(&self.audit));
                }
                let kept: Vec<_> = reasons.iter().map(|reason| without_numbers(reason)).collect();
                self.audit.record("reload refused", [("cause", cause.into()), ("reasons", kept.clone().into())]);
                for reason in &kept {
                    tracing::error!(cause, reason, "reload refused, everything stays as it was");
                }
                Err(reasons)
            }
        }
    }
}

const REQUESTS: usize = 16;
/// How often a watch that is off is looked at, to see whether it is on.
const LOOK_FOR_WATCH: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const ASK_AGAIN: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(20);
