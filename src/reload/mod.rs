//! From a configuration file to a whole generation, published at once or refused whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod limits;
mod questions;
mod refresh;
mod shared;
mod webhooks;

use limits::Limits;
pub use questions::{DUE, Refused, ask_about, concerns};
use shared::SharedServer;
use webhooks::Applications;

use crate::audit::Audit;
use crate::config::{Config, CredentialConfig, Faults, ListenAddress, Reference};
use crate::credential::source::{Digests, Findings, Managers, Reading, digests, read_all};
use crate::credential::{Credential, CredentialFault, Previous, is_unread, references};
use crate::inbound;
use crate::log::without_numbers;
use crate::metrics::Metrics;
use crate::outbound::Generation;
use crate::outbound::policy::{self, Policy};
use crate::provider::{Ca, Origin, Provider, credential_headers};
use crate::shared::Shared;
use crate::tls::{self, TlsError};
use crate::upstream::Upstream;

/// Everything of one load.
#[derive(Debug)]
pub struct Live {
    /// What was written.
    pub config: Arc<Config>,
    /// The credentials by name.
    pub credentials: BTreeMap<String, Arc<Credential>>,
    /// What requests run on.
    pub generation: Arc<Generation>,
    /// What events run on.
    pub inbound: Arc<inbound::Generation>,
    /// What the inbound listener shows, where it speaks TLS.
    pub server_tls: Option<Arc<rustls::ServerConfig>>,
    /// What is usable and yet odd.
    pub warnings: Vec<String>,
    /// The secret managers, with what is known of what they hold.
    pub managers: Arc<Managers>,
    shared: Option<SharedServer>,
    upstreams: HashMap<UpstreamKey, Arc<Upstream>>,
    applications: Applications,
    authorities: Arc<Authorities>,
    /// What the files said: the configuration, and all that it leads to.
    digests: Digests,
}

/// An upstream is the same one as long as its origin and the authorities that vouch for it are.
type UpstreamKey = (Origin, Ca, [u8; 32]);

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
        match retire(&before, &self.metrics) {
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

/// Reads everything and builds a whole generation aside. If anything fails, what was live stays live.
///
/// # Errors
/// Everything that is wrong, by name.
pub async fn load(path: &Path, before: Option<&Live>, metrics: &Arc<Metrics>) -> Result<Live, LoadError> {
    let (config, mut digests) = read_config(path.to_owned()).await?;
    if let Some(before) = before {
        refuse_restart_needed(&before.config, &config)?;
    }
    let (authorities, of_authorities) = read_authorities(&config).await?;
    let managers = before.map(|before| Arc::clone(&before.managers)).unwrap_or_default();
    let references = all_references(&config);
    managers.keep_only(&references);
    let Reading { findings, digests: of_secrets } = read_all(references, &managers).await;
    digests.extend(of_authorities);
    digests.extend(of_secrets);
    let credentials = assemble(&config, &findings, before)?;
    let shared = shared::server(&config, &findings, &authorities, before, metrics)?;
    let limits = Limits::after(before, config.limits.as_ref().zip(shared.as_ref()));
    let mut upstreams = HashMap::new();
    let generation = build(&config, &credentials, &authorities, limits, &mut upstreams, before, metrics)?;
    let server = shared.as_ref().map(|(server, _)| server);
    let routes = generation.policy.routes();
    let (inbound, applications) = webhooks::build(&config, &credentials, routes, server, before, metrics)?;
    // At the start there is nothing else to send with, so nothing waits for the answer.
    if before.is_some() {
        questions::prove(&config, &generation, metrics).await?;
    }
    let (server_tls, warnings_of_tls) = webhooks::server_tls(&config, &authorities)?;
    let warnings = warnings(&config, &findings).chain(warnings_of_tls).collect();
    Ok(Live {
        config: Arc::new(config),
        credentials,
        generation: Arc::new(generation),
        inbound: Arc::new(inbound),
        server_tls,
        warnings,
        managers,
        shared,
        upstreams,
        applications,
        authorities: Arc::new(authorities),
        digests,
    })
}

/// What is live without the secrets whose overlap is over. Nothing is read: whatever state the files are
/// in, a secret ends when it should.
///
/// # Errors
/// None that what is live has not had.
fn retire(before: &Live, metrics: &Arc<Metrics>) -> Result<Live, LoadError> {
    let renewed =
        |credential: &Arc<Credential>| credential.without_expired().map_or_else(|| Arc::clone(credential), Arc::new);
    let credentials = before.credentials.iter().map(|(name, credential)| (name.clone(), renewed(credential))).collect();
    let limits = Limits::after(Some(before), before.config.limits.as_ref().zip(before.shared.as_ref()));
    let mut upstreams = HashMap::new();
    let generation =
        build(&before.config, &credentials, &before.authorities, limits, &mut upstreams, Some(before), metrics)?;
    let (routes, server) = (generation.policy.routes(), before.shared());
    let (inbound, applications) = webhooks::build(&before.config, &credentials, routes, server, Some(before), metrics)?;
    Ok(Live {
        config: Arc::clone(&before.config),
        credentials,
        generation: Arc::new(generation),
        inbound: Arc::new(inbound),
        server_tls: before.server_tls.clone(),
        warnings: before.warnings.clone(),
        managers: Arc::clone(&before.managers),
        shared: before.shared.clone(),
        upstreams,
        applications,
        authorities: Arc::clone(&before.authorities),
        digests: before.digests.clone(),
    })
}

/// What a credential cannot have is its own fault, and others go on: where a secret manager does not give it, and at the
/// start, unless there is no other. A reload that loses what there was, or adds what cannot be used, is refused whole.
fn assemble(
    config: &Config,
    findings: &Findings,
    before: Option<&Live>,
) -> Result<BTreeMap<String, Arc<Credential>>, LoadError> {
    let held = |name: &str| before.and_then(|before| before.credentials.get(name)).map(Arc::as_ref);
    let credential = |(name, config): (&String, &CredentialConfig)| {
        (name.clone(), Arc::new(Credential::assemble(name, config, findings, held(name))))
    };
    let credentials: BTreeMap<_, _> = config.credentials.iter().map(credential).collect();
    let any_whole = credentials.values().any(|credential| credential.faults().is_empty());
    let is_tolerable = |fault: &CredentialFault| {
        let is_known =
            held(&fault.credential).is_some_and(|held| held.faults().iter().any(|known| known.is_same(fault)));
        is_unread(&fault.reference, findings) || is_known || (before.is_none() && any_whole)
    };
    let faults = credentials.values().flat_map(|credential| credential.faults());
    let faults: Vec<_> = faults.filter(|fault| !is_tolerable(fault)).cloned().collect();
    if faults.is_empty() { Ok(credentials) } else { Err(LoadError::Secrets(faults)) }
}

type Authorities = BTreeMap<PathBuf, std::io::Result<Vec<u8>>>;

fn build(
    config: &Config,
    credentials: &BTreeMap<String, Arc<Credential>>,
    authorities: &Authorities,
    mut limits: Limits<'_>,
    upstreams: &mut HashMap<UpstreamKey, Arc<Upstream>>,
    before: Option<&Live>,
    metrics: &Arc<Metrics>,
) -> Result<Generation, LoadError> {
    let routes_before = before.into_iter().flat_map(|before| before.generation.policy.routes());
    // Looking up each counter anew would be a third of a reload.
    let metrics_before: HashMap<_, _> = routes_before.map(|route| (&route.name, &route.metrics)).collect();
    let mut configs = HashMap::new();
    let mut routes = Vec::new();
    for route in &config.routes {
        let Some(credential) = credentials.get(&route.credential) else { continue };
        let provider = &credential.provider;
        let Some(origin) = &provider.upstream else { continue };
        let issuer = provider.exchange().and_then(|exchange| exchange.upstream.as_ref()).unwrap_or(origin);
        let mut upstream =
            |origin: &Origin| upstream_for(origin, provider, authorities, &mut configs, upstreams, before);
        let name: Arc<str> = route.name.as_str().into();
        let operations: Vec<_> = provider.operations.iter().map(|operation| operation.name.clone()).collect();
        let held = metrics_before.get(&name).filter(|held| held.has_operations(&operations));
        let metrics = held.map_or_else(|| Arc::new(metrics.route(&name, operations)), |held| Arc::clone(held));
        routes.push(policy::Route {
            metrics,
            name,
            path: route.path.clone(),
            senders: route.senders.iter().cloned().collect(),
            operations: route.operations.clone(),
            credential: Arc::clone(credential),
            upstream: upstream(origin)?,
            host: origin.authority(),
            media_upstream: provider.media_upstream.as_ref().map(&mut upstream).transpose()?,
            media_host: provider.media_upstream.as_ref().map(Origin::authority),
            issuer: upstream(issuer)?,
            issuer_host: issuer.authority(),
            limiter: limits.of(route),
        });
    }
    let providers = || credentials.values().map(|credential| &credential.provider);
    let hosts = providers().flat_map(|provider| provider.origins()).map(|origin| origin.host.clone());
    let injected =
        providers().flat_map(|provider| provider.injected_headers().cloned()).chain(PRESET_HEADERS.iter().cloned());
    Ok(Generation {
        number: before.map_or(1, |before| before.generation.number + 1),
        policy: Policy::new(routes),
        hosts: hosts.chain(config.outbound.allowed_hosts.iter().cloned()).collect(),
        injected: injected.collect::<HashSet<_>>().into_iter().collect(),
    })
}

fn upstream_for(
    origin: &Origin,
    provider: &Provider,
    authorities: &Authorities,
    configs: &mut HashMap<Ca, Arc<rustls::ClientConfig>>,
    upstreams: &mut HashMap<UpstreamKey, Arc<Upstream>>,
    before: Option<&Live>,
) -> Result<Arc<Upstream>, LoadError> {
    let pem = match &provider.ca {
        Ca::File(path) => match authorities.get(path) {
            Some(Ok(pem)) => Some(pem.as_slice()),
            Some(Err(error)) => return Err(LoadError::Authority(path.clone(), error.to_string())),
            None => return Err(LoadError::Authority(path.clone(), "it was not read".to_owned())),
        },
        Ca::Bundled | Ca::System => None,
    };
    let key = (origin.clone(), provider.ca.clone(), Sha256::digest(pem.unwrap_or_default()).into());
    if let Some(upstream) =
        upstreams.get(&key).or_else(|| before.and_then(|before| before.upstreams.get(&key))).map(Arc::clone)
    {
        upstreams.insert(key, Arc::clone(&upstream));
        return Ok(upstream);
    }
    let tls = match configs.get(&provider.ca) {
        Some(tls) => Arc::clone(tls),
        None => {
            let tls =
                tls::client_config(&provider.ca, pem).map_err(|error| LoadError::Tls(provider.name.clone(), error))?;
            configs.insert(provider.ca.clone(), Arc::clone(&tls));
            tls
        }
    };
    let upstream = Upstream::new(origin.clone(), tls)
        .map_err(|error| LoadError::Upstream(provider.name.clone(), error.to_string()))?;
    let upstream = Arc::new(upstream);
    upstreams.insert(key, Arc::clone(&upstream));
    Ok(upstream)
}

impl Live {
    /// Logs what is usable and yet odd, and what is missing.
    fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        for fault in self.credentials.values().flat_map(|credential| credential.faults()) {
            tracing::error!("{fault}");
        }
    }

    /// The server of shared limits, if there is one.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref().map(|(shared, _)| shared)
    }

    /// Connects to what is shared.
    pub async fn begin(&self) {
        if let Some(shared) = self.shared() {
            shared.begin().await;
        }
    }

    /// What could not be had the last time. Its last value goes on where there is one; else its credential cannot be used.
    pub fn unread(&self) -> impl Iterator<Item = CredentialFault> {
        let all = self.config.credentials.iter().flat_map(|(name, config)| {
            config.secrets.iter().map(move |(secret, references)| (name, secret, references.first()))
        });
        all.filter_map(|(credential, secret, reference)| {
            let (credential, secret, reference) = (credential.clone(), secret.clone(), reference?.clone());
            let of_load = || {
                let faults = self.credentials.get(&credential)?.faults();
                faults.iter().find(|fault| fault.secret == secret).map(|fault| fault.problem.clone())
            };
            let problem = self.managers.known(&reference).and_then(|known| known.problem).or_else(of_load)?;
            Some(CredentialFault { credential, secret, reference, problem })
        })
    }

    /// The upstreams, for what has to be done to each from time to time.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values().chain(self.applications.values())
    }
}

/// Sockets stay open over a reload; what would need others is named and refused.
fn refuse_restart_needed(before: &Config, config: &Config) -> Result<(), LoadError> {
    let differ = |a: &[ListenAddress], b: &[ListenAddress]| a != b;
    let mut changed = Vec::new();
    let table = [
        ("outbound.listen", differ(&before.outbound.listen, &config.outbound.listen)),
        ("outbound.allow_uids", before.outbound.allow_uids != config.outbound.allow_uids),
        ("inbound.listen", differ(&before.inbound.listen, &config.inbound.listen)),
        ("inbound.tls", before.inbound.tls.is_some() != config.inbound.tls.is_some()),
        ("admin.listen", differ(&before.admin.listen, &config.admin.listen)),
        ("log", before.log != config.log),
        ("audit", before.audit != config.audit),
    ];
    changed.extend(table.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key));
    if changed.is_empty() { Ok(()) } else { Err(LoadError::Restart(changed)) }
}

fn ca_files(config: &Config) -> Vec<PathBuf> {
    let cas = config.credentials.values().map(|credential| &credential.provider.ca);
    let of_providers = cas.filter_map(|ca| if let Ca::File(path) = ca { Some(path) } else { None });
    let of_limits = config.limits.iter().filter_map(|limits| limits.ca.as_ref());
    of_providers.chain(of_limits).cloned().collect()
}

/// All that is read for a configuration.
fn all_references(config: &Config) -> BTreeSet<Reference> {
    let mut all = references(&config.credentials);
    all.extend(config.limits.iter().map(|limits| limits.redis.clone()));
    all
}

/// The configuration, with the digest of its file. It is parsed on a thread of its own: a large one
/// takes longer than a request may be held up. The digest comes first: what changes before the file is
/// read is then seen as a change by the watch.
async fn read_config(path: PathBuf) -> Result<(Config, Digests), LoadError> {
    let read = move || (digests([path.clone()]), Config::load(&path));
    let (digests, config) = tokio::task::spawn_blocking(read).await.map_err(|_| LoadError::Interrupted)?;
    Ok((config.map_err(LoadError::Config)?, digests))
}

/// The files with certificates and their keys, with their digests, which again come first.
async fn read_authorities(config: &Config) -> Result<(Authorities, Digests), LoadError> {
    let paths: Vec<_> = ca_files(config).into_iter().chain(webhooks::files(config)).collect();
    let read = move || {
        let digests = digests(paths.clone());
        (paths.into_iter().map(|path| (path.clone(), read_authority(&path))).collect(), digests)
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| LoadError::Interrupted)
}

fn read_authority(path: &Path) -> std::io::Result<Vec<u8>> {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer, and no reload would follow.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut pem = Vec::new();
    file.take(MAX_AUTHORITIES).read_to_end(&mut pem)?;
    Ok(pem)
}

fn warnings<'a>(config: &'a Config, findings: &'a Findings) -> impl Iterator<Item = String> + 'a {
    let of_secrets = findings.iter().flat_map(|(reference, found)| {
        let warnings = found.iter().flat_map(|found| &found.warnings);
        warnings.map(move |warning| format!("`{reference}`: {warning}"))
    });
    config.warnings.iter().map(ToString::to_string).chain(of_secrets)
}

/// The secrets that differ: credential, secret, and what happened in words.
fn rotated(before: &Live, live: &Live) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (name, credential) in &live.credentials {
        let Some(old) = before.credentials.get(name) else { continue };
        for secret in credential.changed_since(old) {
            let fingerprint = |credential: &Credential| {
                credential
                    .slots()
                    .get(secret)
                    .map_or_else(|| "none".to_owned(), |slot| slot.current.fingerprint().to_string())
            };
            all.push((name.clone(), secret.to_owned(), format!("{} -> {}", fingerprint(old), fingerprint(credential))));
        }
    }
    all
}

/// What a reload changed, for people.
fn changes(before: &Live, live: &Live) -> Vec<String> {
    let mut all: Vec<_> = rotated(before, live)
        .into_iter()
        .map(|(credential, secret, how)| format!("credential {credential}: {secret} {how}"))
        .collect();
    let names = |live: &Live| -> (HashSet<String>, HashSet<String>) {
        (
            live.credentials.keys().cloned().collect(),
            live.config.routes.iter().map(|route| route.name.clone()).collect(),
        )
    };
    let ((old_credentials, old_routes), (credentials, routes)) = (names(before), names(live));
    for (what, old, new) in [("credential", old_credentials, credentials), ("route", old_routes, routes)] {
        all.extend(new.difference(&old).map(|name| format!("{what} {name}: added")));
        all.extend(old.difference(&new).map(|name| format!("{what} {name}: removed")));
    }
    for route in &live.config.routes {
        if let Some(old) = before.config.routes.iter().find(|old| old.name == route.name)
            && old != route
        {
            all.push(format!("route {}: changed", route.name));
        }
    }
    all.sort();
    all
}

/// Why a generation was refused.
#[derive(Debug)]
pub enum LoadError {
    /// The configuration file.
    Config(Faults),
    /// Secrets that cannot be used.
    Secrets(Vec<CredentialFault>),
    /// A file of authorities that cannot be read.
    Authority(PathBuf, String),
    /// Authorities of a provider that cannot be used.
    Tls(String, TlsError),
    /// An upstream of a provider that cannot be used.
    Upstream(String, String),
    /// The server of `[limits]`.
    Limits(String),
    /// The files of `[inbound.tls]`.
    ServerTls(TlsError),
    /// A webhook whose application cannot be connected to.
    Webhook(String, String),
    /// The audit file cannot be written.
    Audit(PathBuf, String),
    /// Credentials that their providers refuse.
    Refused(Vec<Refused>),
    /// The process ends meanwhile.
    Interrupted,
    /// Keys whose change takes effect only after a restart.
    Restart(Vec<&'static str>),
}

impl LoadError {
    /// Each reason on its own.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Config(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Secrets(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Authority(path, reason) => vec![format!("ca: {} cannot be read: {reason}", path.display())],
            Self::Tls(provider, error) => vec![format!("provider.{provider}.ca: {error}")],
            Self::Upstream(provider, reason) => vec![format!("provider.{provider}.upstream: {reason}")],
            Self::Limits(problem) => vec![format!("limits.redis: {problem}")],
            Self::ServerTls(error) => vec![format!("inbound.tls: {error}")],
            Self::Webhook(webhook, reason) => vec![format!("webhook {webhook}: {reason}")],
            Self::Audit(path, reason) => vec![format!("audit.file: {} cannot be written: {reason}", path.display())],
            Self::Refused(refused) => refused.iter().map(ToString::to_string).collect(),
            Self::Interrupted => vec!["the sidecar is stopping".to_owned()],
            Self::Restart(keys) => {
                vec![format!("{}: changed, which needs a restart; nothing was applied", keys.join(", "))]
            }
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons().join("\n"))
    }
}

impl std::error::Error for LoadError {}

/// Read once: the presets do not change while the process lives.
static PRESET_HEADERS: LazyLock<Vec<http::HeaderName>> = LazyLock::new(credential_headers);
/// The lists of systems have some 250 KiB.
const MAX_AUTHORITIES: u64 = 4 * 1024 * 1024;
const REQUESTS: usize = 16;
/// How often a watch that is off is looked at, to see whether it is on.
const LOOK_FOR_WATCH: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const ASK_AGAIN: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(20);
