//! A draft: everything that a load builds aside before it is published.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use http::HeaderName;

use super::again::{files_of, webhook_values};
use super::authorities::{Authorities, have_equal_contents};
use super::inputs::{Inputs, Oddities};
use super::kept_inputs::KeptInput;
use super::limits::LimiterBuilder;
use super::live::{Applications, ChangedLimits, LoadedServer};
use super::metrics::ReloadMetrics;
use super::refresh::NewValue;
use super::server_tls::ServerCertificates;
use super::shared::shared_server;
use super::signatures::Signings;
use super::state::{apply_sights, state_of};
use super::streams::Publishers;
use super::upstreams::{UpstreamMap, Upstreams};
use super::verify::{checks, guilty, log_verdict, run_checks};
use super::{Live, LoadError, webhooks};
use crate::config::{Config, CredentialConfig, RouteConfig};
use crate::credential::source::{Findings, Managers, SeenFiles};
use crate::credential::{Credential, KeptBackReason, Previous, Verdict};
use crate::delivery::DeliveryTarget;
use crate::egress::Egress;
use crate::inbound;
use crate::outbound::generation::{Generation, MediaBounds};
use crate::outbound::hosts::Hosts;
use crate::outbound::links::LinkRules;
use crate::outbound::metrics::RouteMetrics;
use crate::outbound::policy::{Policy, Route};
use crate::provider::presets;
use crate::state::State;
use crate::upstream::OwnAddresses;

/// The values that a generation is built from. Nothing in a draft is visible to requests, so a draft that turns
/// out to be faulty is simply dropped.
///
/// [`Self::routes`] and [`Self::webhooks`] build the two halves, [`Self::keep_back_refused`] asks the providers about
/// new secrets in between, and [`Self::into_live`] makes the draft ready to be published.
pub(super) struct Draft {
    pub(super) config: Arc<Config>,
    pub(super) credentials: BTreeMap<String, Arc<Credential>>,
    pub(super) shared: Option<LoadedServer>,
    pub(super) state: Option<Arc<State>>,
    pub(super) signings: Signings,
    pub(super) publishers: Publishers,
    /// The values of the webhooks' own references.
    pub(super) webhook_values: Arc<[NewValue]>,
    pub(super) metrics: ReloadMetrics,
    /// The load that is live, if there is one.
    pub(super) before: Option<Arc<Live>>,
    pub(super) authorities: Arc<Authorities>,
    pub(super) server_tls: ServerCertificates,
    pub(super) kept_inputs: Vec<KeptInput>,
    pub(super) warnings: Vec<String>,
    managers: Arc<Managers>,
    pub(super) egress: Egress,
    pub(super) files: Arc<SeenFiles>,
    config_files: Arc<[PathBuf]>,
    oddities: Oddities,
}

/// The outbound half of a draft.
pub(super) struct OutboundDraft {
    pub(super) generation: Generation,
    upstreams: UpstreamMap,
    changed_limits: ChangedLimits,
}

/// The result of asking the providers about new secrets.
#[derive(Clone, Copy, Debug)]
pub(super) enum HasKept {
    /// Secrets are kept back, and credentials have changed.
    Secrets,
    /// The providers refused no secret.
    Nothing,
}

/// The inbound half of a draft.
pub(super) struct InboundDraft {
    pub(super) generation: inbound::Generation,
    pub(super) applications: Applications,
    pub(super) targets: Vec<DeliveryTarget>,
}

impl Draft {
    /// Begins a draft with what a load has read.
    ///
    /// # Errors
    /// If the shared server or the certificates of the inbound listener cannot be used.
    pub(super) fn new(
        inputs: Inputs,
        before: Option<Arc<Live>>,
        metrics: ReloadMetrics,
    ) -> Result<Self, LoadError> {
        let mut warnings = inputs.warnings();
        let Inputs {
            config,
            config_files,
            findings,
            unchanged,
            oddities,
            mut authorities,
            files,
            managers,
            egress,
            late: _,
            mut remarks,
        } = inputs;
        let live = before.as_deref();
        let server_tls = files_of(&config, &mut authorities, live, &mut remarks)?;
        warnings.extend(server_tls.warnings());
        let credentials = assemble_all(&config, &findings, &unchanged, live);
        let shared = shared_server(
            &config,
            &findings,
            &authorities,
            live,
            &metrics,
            &mut remarks,
        )?;
        let signings = Signings::read(&config, &findings, live, &mut remarks);
        let publishers = Publishers::read(&config, &findings, &authorities, live, &mut remarks)?;
        let state = state_of(&config, &findings, live, &mut remarks);
        let doubts = credentials
            .values()
            .flat_map(|credential| credential.doubts());
        warnings.extend(doubts);
        warnings.extend(remarks.warnings);
        if let Some(state) = &state {
            apply_sights(state, credentials.values());
        }
        let webhook_values = webhook_values(&config, &findings, before.as_deref());
        Ok(Self {
            config,
            config_files,
            oddities,
            credentials,
            shared,
            state,
            signings,
            publishers,
            webhook_values,
            metrics,
            before,
            authorities: Arc::new(authorities),
            server_tls,
            kept_inputs: remarks.kept,
            warnings,
            managers,
            egress,
            files: Arc::new(files),
        })
    }

    /// Begins a draft that equals `before`, but for previous secrets whose overlap has ended. Nothing is read:
    /// whatever state the files are in, a secret ends when it should.
    pub(super) fn without_expired(before: Arc<Live>, metrics: ReloadMetrics) -> Self {
        let renewed = |credential: &Arc<Credential>| {
            credential
                .without_expired()
                .map_or_else(|| Arc::clone(credential), Arc::new)
        };
        Self {
            config: Arc::clone(&before.config),
            credentials: before
                .credentials
                .iter()
                .map(|(name, credential)| (name.clone(), renewed(credential)))
                .collect(),
            shared: before.shared.clone(),
            state: before.state.clone(),
            signings: before.signings.clone(),
            publishers: before.publishers.clone(),
            webhook_values: Arc::clone(&before.webhook_values),
            metrics,
            authorities: Arc::clone(&before.authorities),
            server_tls: before.server_tls.clone(),
            kept_inputs: before.kept_inputs.clone(),
            warnings: before.warnings.clone(),
            managers: Arc::clone(&before.managers),
            egress: before.egress.clone(),
            files: before.files.load_full(),
            config_files: Arc::clone(&before.config_files),
            oddities: before.oddities.clone(),
            before: Some(before),
        }
    }

    /// Begins a draft that equals `before`, with more previous secret sets.
    pub(super) fn with_previous(
        before: Arc<Live>,
        mut more: BTreeMap<String, Vec<Previous>>,
        metrics: ReloadMetrics,
    ) -> Self {
        let mut draft = Self::without_expired(before, metrics);
        for (name, credential) in &mut draft.credentials {
            let sets = more.remove(name).unwrap_or_default();
            if let Some(complete) = credential.with_previous(sets) {
                *credential = Arc::new(complete);
            }
        }
        draft
    }

    /// Begins a draft that equals `before`, but for the credentials with these names, which are assembled from `findings`.
    pub(super) fn reassembled(
        before: &Arc<Live>,
        names: &BTreeSet<String>,
        findings: &Findings,
        metrics: ReloadMetrics,
    ) -> Self {
        let mut draft = Self::without_expired(Arc::clone(before), metrics);
        for (name, credential) in &before.credentials {
            if let Some(config) = before.config.credentials.get(name)
                && names.contains(name)
            {
                let credential = assemble(name, config, findings, Some(credential));
                if let Some(state) = &draft.state {
                    apply_sights(state, std::iter::once(&credential));
                }
                draft.credentials.insert(name.clone(), credential);
            }
        }
        draft
    }

    /// Builds the outbound half: routes, upstreams and limits. Connections and used limits are carried over.
    ///
    /// # Errors
    /// If an upstream or its authorities cannot be used.
    pub(super) fn routes(&self) -> Result<OutboundDraft, LoadError> {
        if let Some(before) = self.alike_before() {
            return self.routes_like(before);
        }
        let mut limits = self.limits();
        let mut upstreams = self.upstreams();
        let before = self.routes_before();
        let mut routes = Vec::new();
        for config in &self.config.routes {
            let before = before.get(config.name.as_str()).copied();
            let route = self.route(config, &mut limits, &mut upstreams, before)?;
            routes.extend(route.map(Arc::new));
        }
        let allowed = self.config.outbound.allowed_hosts.iter();
        Ok(OutboundDraft {
            generation: Generation {
                number: self.number(),
                policy: Policy::new(routes).answering_for(allowed.map(String::as_str)),
                hosts: Arc::new(self.hosts()),
                links: Arc::new(LinkRules {
                    public_origin: self.config.outbound.public_origin.clone(),
                    trusted_proxies: self.config.outbound.trusted_proxies.clone(),
                }),
                media: MediaBounds {
                    max_upload: self.config.outbound.max_media,
                    timeout: self.config.outbound.media_timeout,
                },
                injected: self.injected_headers().into(),
            },
            upstreams: upstreams.into_map(),
            changed_limits: limits.changes(),
        })
    }

    /// Returns the load before, if nothing but secrets can differ between its routes and those of the draft.
    fn alike_before(&self) -> Option<&Live> {
        let before = self.before()?;
        let is_same_server = match (&self.shared, &before.shared) {
            (Some((one, _)), Some((other, _))) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let is_alike = is_same_server
            && Arc::ptr_eq(&self.config, &before.config)
            && have_equal_contents(&self.authorities, &before.authorities)
            && before.upstreams.keys().all(|(origin, _, _, way)| self.egress.way_to(origin) == *way)
            // A provider with another account is found by another path.
            && self.credentials.iter().all(|(name, credential)| {
                let before = before.credentials.get(name);
                before.is_some_and(|before| Arc::ptr_eq(&before.provider, &credential.provider))
            });
        is_alike.then_some(before)
    }

    /// Builds the outbound half out of the one of the load before: a new route for each credential that has changed, and
    /// all other routes as they are.
    fn routes_like(&self, before: &Live) -> Result<OutboundDraft, LoadError> {
        let mut limits = self.limits();
        let mut upstreams = self.upstreams().carrying_over(before);
        let configs: HashMap<_, _> = self
            .config
            .routes
            .iter()
            .map(|it| (&*it.name, it))
            .collect();
        let generation = &before.generation;
        let policy = generation.policy.with_routes(|route| {
            let credential = self.credentials.get(&route.credential.name);
            let is_same = credential.is_some_and(|now| Arc::ptr_eq(now, &route.credential));
            let config = configs.get(&*route.name).filter(|_| !is_same);
            let built = match config {
                Some(config) => self.route(config, &mut limits, &mut upstreams, Some(&**route))?,
                None => None,
            };
            Ok::<_, LoadError>(built.map_or_else(|| Arc::clone(route), Arc::new))
        })?;
        Ok(OutboundDraft {
            generation: Generation {
                number: self.number(),
                policy,
                hosts: Arc::clone(&generation.hosts),
                links: Arc::clone(&generation.links),
                media: generation.media,
                injected: Arc::clone(&generation.injected),
            },
            upstreams: upstreams.into_map(),
            changed_limits: limits.changes(),
        })
    }

    fn number(&self) -> u64 {
        self.before()
            .map_or(1, |before| before.generation.number + 1)
    }

    fn limits(&self) -> LimiterBuilder<'_> {
        LimiterBuilder::carried_over(
            self.before(),
            &self.config.routes,
            self.config.limits.as_ref().zip(self.shared.as_ref()),
        )
    }

    fn upstreams(&self) -> Upstreams<'_> {
        let own = OwnAddresses::new(self.config.outbound.tcp_addresses());
        Upstreams::new(&self.authorities, self.before(), own, &self.egress)
    }

    /// Builds one route; `None` if its credential or the provider's upstream does not exist.
    fn route(
        &self,
        config: &RouteConfig,
        limits: &mut LimiterBuilder<'_>,
        upstreams: &mut Upstreams<'_>,
        before: Option<&Route>,
    ) -> Result<Option<Route>, LoadError> {
        let Some(credential) = self.credentials.get(&config.credential) else {
            return Ok(None);
        };
        let provider = &credential.provider;
        let Some(ends) = upstreams.of_provider(provider)? else {
            return Ok(None);
        };
        Ok(Some(Route {
            name: config.name.as_str().into(),
            path: config.path.clone(),
            senders: config.senders.iter().cloned().collect(),
            operations: config.operations.clone(),
            channels: config.channels.as_slice().into(),
            allow_uids: config.allow_uids.as_slice().into(),
            credential: Arc::clone(credential),
            upstream: ends.upstream,
            host: ends.host,
            media_upstream: ends.media_upstream,
            media_host: ends.media_host,
            further: ends.further,
            issuer: ends.issuer,
            issuer_host: ends.issuer_host,
            limiter: limits.of(config, provider),
            metrics: self.route_metrics(
                config,
                &ends.operations,
                before.map(|route| &route.metrics),
            ),
            traffic: before
                .map(|route| Arc::clone(&route.traffic))
                .unwrap_or_default(),
        }))
    }

    /// Returns the routes before, by name, for what outlives a reload: counters, which would be a third of its time, and the
    /// health that traffic shows.
    fn routes_before(&self) -> HashMap<&str, &Route> {
        self.before()
            .into_iter()
            .flat_map(|before| before.generation.policy.routes())
            .map(|route| (&*route.name, &**route))
            .collect()
    }

    /// Returns the counters of a route: the counters `before` if their operations are those of the provider.
    fn route_metrics(
        &self,
        config: &RouteConfig,
        operations: &Arc<[String]>,
        before: Option<&Arc<RouteMetrics>>,
    ) -> Arc<RouteMetrics> {
        match before.filter(|before| before.has_operations(operations)) {
            Some(before) => Arc::clone(before),
            None => {
                let name = config.name.as_str().into();
                Arc::new(self.metrics.outbound.route(&name, operations))
            }
        }
    }

    /// Returns the host names of all upstreams in use, and those that the configuration allows besides.
    fn hosts(&self) -> Hosts {
        let upstreams = self
            .credentials
            .values()
            .flat_map(|credential| credential.provider.aliased_origins())
            .map(|origin| origin.host.clone());
        Hosts {
            upstreams: upstreams.collect(),
            allowed: self.config.outbound.allowed_hosts.iter().cloned().collect(),
        }
    }

    /// Returns every header that a provider in use or a preset injects, each once.
    fn injected_headers(&self) -> Vec<HeaderName> {
        let injected: HashSet<_> = self
            .credentials
            .values()
            .flat_map(|credential| credential.provider.injected_headers().cloned())
            .chain(PRESET_HEADERS.iter().cloned())
            .collect();
        injected.into_iter().collect()
    }

    /// Builds the inbound half: webhooks and the connections to applications.
    ///
    /// # Errors
    /// If a verifier or the connection to an application cannot be set up.
    pub(super) fn webhooks(&self, outbound: &OutboundDraft) -> Result<InboundDraft, LoadError> {
        webhooks::build(self, &outbound.generation.policy)
    }

    /// Asks the providers about every credential that nothing is known of yet, and keeps back the secrets that
    /// a provider refuses. A credential without earlier secrets has nothing else to send with.
    ///
    /// After secrets are kept back, [`Self::routes`] must be built again.
    pub(super) async fn keep_back_refused(&mut self, outbound: &OutboundDraft) -> HasKept {
        let generation = &outbound.generation;
        let unknown = checks(&self.config, generation)
            .filter(|check| check.credential.verification().is_none())
            .map(|check| {
                let before = self.usable_before(&check.credential.name);
                check.beside(before)
            })
            .collect::<Vec<_>>();
        let mut has_kept = HasKept::Nothing;
        for (candidate, verification) in run_checks(unknown.into_iter()).await {
            let before = self.usable_before(&candidate.name);
            match (&verification.verdict, before) {
                (Verdict::Refused(refusal), Some(before)) => {
                    let reason = KeptBackReason::Refused {
                        refusal: refusal.clone(),
                        fingerprint: guilty(&candidate, refusal),
                    };
                    let kept = Arc::new(before.keep(&candidate, reason));
                    self.credentials.insert(candidate.name.clone(), kept);
                    has_kept = HasKept::Secrets;
                }
                (verdict, _) => {
                    log_verdict(&candidate, generation, verdict);
                    if matches!(verdict, Verdict::Refused(refusal) if !refusal.is_of_sender) {
                        candidate.acceptance().note_refusal();
                    }
                    candidate.keep_verification(verification);
                }
            }
        }
        has_kept
    }

    /// Returns the credential of the load before, if it has secrets for the provider of the draft's credential.
    fn usable_before(&self, name: &str) -> Option<Arc<Credential>> {
        let now = self.credentials.get(name)?;
        let before = self.before()?.credentials.get(name)?;
        let is_usable =
            before.provider.name == now.provider.name && before.missing().next().is_none();
        is_usable.then(|| Arc::clone(before))
    }

    /// Returns the load that is live, if there is one.
    pub(super) fn before(&self) -> Option<&Live> {
        self.before.as_deref()
    }

    /// Puts the halves together.
    pub(super) fn into_live(self, outbound: OutboundDraft, inbound: InboundDraft) -> Live {
        Live {
            config: self.config,
            credentials: self.credentials,
            generation: Arc::new(outbound.generation),
            inbound: Arc::new(inbound.generation),
            server_tls: self.server_tls,
            kept_inputs: self.kept_inputs,
            warnings: self.warnings,
            managers: self.managers,
            egress: self.egress,
            shared: self.shared,
            state: self.state,
            signings: self.signings,
            publishers: self.publishers,
            webhook_values: self.webhook_values,
            targets: inbound.targets,
            changed_limits: outbound.changed_limits,
            upstreams: outbound.upstreams,
            applications: inbound.applications,
            authorities: self.authorities,
            files: ArcSwap::from(self.files),
            config_files: self.config_files,
            oddities: self.oddities,
        }
    }
}

/// Assembles every credential, but for the `unchanged` ones of the load before.
fn assemble_all(
    config: &Config,
    findings: &Findings,
    unchanged: &BTreeSet<String>,
    before: Option<&Live>,
) -> BTreeMap<String, Arc<Credential>> {
    let credentials = config.credentials.iter().map(|(name, config)| {
        let before = before.and_then(|live| live.credentials.get(name));
        let credential = match before.filter(|_| unchanged.contains(name)) {
            Some(unchanged) => Arc::clone(unchanged),
            None => assemble(name, config, findings, before.map(Arc::as_ref)),
        };
        (name.clone(), credential)
    });
    credentials.collect()
}

/// Assembles a credential. Secrets that cannot be used keep the secrets `before` in use, and stop no other
/// credential.
fn assemble(
    name: &str,
    config: &CredentialConfig,
    findings: &Findings,
    before: Option<&Credential>,
) -> Arc<Credential> {
    let candidate = Credential::assemble(name, config, findings, before);
    Arc::new(webhooks::without_unfit_keys(candidate).or_kept(before))
}

/// The headers that presets inject, read once: presets do not change while the process lives.
static PRESET_HEADERS: LazyLock<Vec<HeaderName>> = LazyLock::new(presets::credential_headers);
