//! A finished load, published as a whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::task::JoinSet;

use super::authorities::Authorities;
use super::inputs::Oddities;
use super::kept_inputs::{InputUse, KeptInput};
use super::refresh::NewValue;
use super::server_tls::ServerCertificates;
use super::signatures::Signings;
use super::streams::Publishers;
use super::trust::StandIns;
use super::upstreams::UpstreamMap;
use crate::config::{ApplicationAddress, Config};
use crate::credential::source::{Managers, SeenFiles};
use crate::credential::{Credential, CredentialFault, KeptBackReason};
use crate::delivery::DeliveryTarget;
use crate::egress::Egress;
use crate::inbound;
use crate::limit::{KeyedLimits, LimitTerms, Pairs};
use crate::outbound::generation::Generation;
use crate::shared::SharedServer;
use crate::state::State;
use crate::upstream::Upstream;

/// A finished load: the state for requests, events and background work.
#[derive(Debug)]
pub struct Live {
    /// The configuration.
    pub config: Arc<Config>,
    /// The credentials by name.
    pub credentials: BTreeMap<String, Arc<Credential>>,
    /// The generation for requests.
    pub generation: Arc<Generation>,
    /// The generation for events.
    pub inbound: Arc<inbound::Generation>,
    /// The certificates of the listeners that speak TLS.
    pub server_tls: ServerCertificates,
    /// The unusable inputs, in whose place the load before stays in use.
    pub kept_inputs: Vec<KeptInput>,
    /// Oddities of the configuration and of secrets, too small for a refusal.
    pub warnings: Vec<String>,
    /// The secret managers, with the last result for each secret.
    pub managers: Arc<Managers>,
    /// The way out of this machine.
    pub egress: Egress,
    /// The store of what outlives a restart, if the configuration has `[state]`.
    pub state: Option<Arc<State>>,
    /// The destinations of events that wait on disk, each with the way to it.
    pub targets: Vec<DeliveryTarget>,
    pub(super) signings: Signings,
    pub(super) publishers: Publishers,
    /// The values of the webhooks' own references, for the questions to secret managers.
    pub(super) webhook_values: Arc<[NewValue]>,
    pub(super) shared: Option<LoadedServer>,
    pub(super) changed_limits: ChangedLimits,
    pub(super) upstreams: UpstreamMap,
    pub(super) applications: Applications,
    pub(super) authorities: Arc<Authorities>,
    /// The substitutes for unusable authorities of providers.
    pub(super) stand_ins: Arc<StandIns>,
    /// The files of the configuration and all other files in use, as this load has seen them.
    pub(super) files: ArcSwap<SeenFiles>,
    /// The files and folders of the configuration.
    pub(super) config_files: Arc<[PathBuf]>,
    /// The oddities of secrets, by reference.
    pub(super) oddities: Oddities,
}

/// The shared server, and the digest of its authorities.
pub(super) type LoadedServer = (Arc<SharedServer>, [u8; 32]);

/// The connections to applications. Reloads keep the connections.
pub(super) type Applications = HashMap<ApplicationAddress, Arc<Upstream>>;

/// Limits carried over, with terms that apply as soon as the load is published.
#[derive(Debug, Default)]
pub(super) struct ChangedLimits {
    pub(super) keyed: Vec<(Arc<KeyedLimits>, LimitTerms)>,
    pub(super) pairs: Vec<Arc<Pairs>>,
}

impl ChangedLimits {
    /// Applies the terms. Requests of the generation before follow them as well.
    pub(super) fn take_effect(&self) {
        for (limits, terms) in &self.keyed {
            limits.change(terms);
        }
        for pairs in &self.pairs {
            pairs.take_effect();
        }
    }
}

impl Live {
    /// Logs the oddities and the missing secrets that were not there `before`: with hundreds of
    /// tenants, a reload would otherwise repeat hundreds of lines.
    pub(super) fn log_warnings(&self, before: Option<&Self>) {
        let warned: HashSet<_> = before
            .into_iter()
            .flat_map(|before| &before.warnings)
            .collect();
        for warning in self.warnings.iter().filter(|now| !warned.contains(now)) {
            tracing::warn!("{warning}");
        }
        let logged: HashSet<_> = before.into_iter().flat_map(Self::faults).collect();
        for fault in self.faults().filter(|now| !logged.contains(now)) {
            tracing::error!("{fault}");
        }
    }

    fn faults(&self) -> impl Iterator<Item = String> {
        let faults = self
            .credentials
            .values()
            .flat_map(|credential| credential.faults());
        faults.map(ToString::to_string)
    }

    /// Returns the shared server of the configuration.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<SharedServer>> {
        self.shared.as_ref().map(|(shared, _)| shared)
    }

    /// Connects to the shared server.
    pub async fn connect_shared(&self) {
        if let Some(shared) = self.shared() {
            shared.connect().await;
        }
    }

    /// Returns the secrets of a credential whose source gave no usable value the last time.
    ///
    /// The last good value stays in use; without one, the credential cannot be used.
    #[must_use]
    pub fn unread_secrets(&self, credential: &Credential) -> Vec<CredentialFault> {
        let mut unread = match credential.kept_back().map(|kept_back| &kept_back.reason) {
            Some(KeptBackReason::Unusable(faults)) => faults.clone(),
            Some(KeptBackReason::Refused { .. }) | None => credential.faults().to_vec(),
        };
        for (secret, slot) in credential.slots() {
            let reference = &slot.current.reference;
            let problem = self
                .managers
                .last_read(reference)
                .and_then(|read| read.problem);
            if let Some(problem) = problem
                && !unread.iter().any(|fault| fault.secret == *secret)
            {
                unread.push(CredentialFault {
                    credential: credential.name.clone(),
                    secret: secret.clone(),
                    reference: reference.clone(),
                    problem,
                });
            }
        }
        unread
    }

    /// Returns the fault of an unusable URL of `[limits]`. An outage of a manager is no fault.
    #[must_use]
    pub fn limits_fault(&self) -> Option<String> {
        let limits = self.config.limits.as_ref()?;
        let last_read = self.managers.last_read(&limits.redis);
        let is_unread = last_read.is_some_and(|read| read.problem.is_some());
        let is_out = limits.redis.is_managed() && is_unread;
        let mut inputs = self.kept_inputs.iter();
        let unusable = inputs.find(|kept| kept.serves == InputUse::LimitsUrl);
        unusable.filter(|_| !is_out).map(KeptInput::line)
    }

    /// Returns the time at which the secret managers and programs last gave all secrets of a
    /// credential: the earliest of the last usable answers; `None` for a credential with files and
    /// variables alone.
    #[must_use]
    pub fn confirmed(&self, credential: &Credential) -> Option<SystemTime> {
        let slots = credential.slots().values();
        slots
            .filter_map(|slot| self.managers.last_read(&slot.current.reference)?.confirmed)
            .min()
    }

    /// Returns the fault of each provider whose name leads back to Keyside, as in alias mode with
    /// hosts entries for the whole machine. Looks the names up.
    pub async fn loops(&self) -> Vec<String> {
        if self.config.outbound.tls.is_none() {
            return Vec::new();
        }
        let mut lookups = JoinSet::new();
        for upstream in self.upstreams.values() {
            let upstream = Arc::clone(upstream);
            lookups.spawn(async move { upstream.leads_back().await });
        }
        let mut faults: Vec<_> = lookups.join_all().await.into_iter().flatten().collect();
        faults.sort();
        faults
    }

    /// Keeps connections to the providers ready, as many as `[egress] warm` says, each for as long
    /// as `max_age` says.
    pub(super) fn keep_warm(&self) {
        let egress = &self.config.egress;
        for upstream in self.upstreams.values() {
            upstream.end_connections_at(egress.max_age);
            upstream.keep_warm(egress.warm);
        }
    }

    /// Closes the idle connections to providers, and opens none ahead of use any more: the process
    /// stops.
    pub fn cool_down(&self) {
        self.upstreams
            .values()
            .for_each(|upstream| upstream.cool_down());
    }

    /// Returns the upstreams of providers and applications, for upkeep of connections.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values().chain(self.applications.values())
    }
}
