//! What one load has brought.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::authorities::Authorities;
use crate::config::{Application, Config};
use crate::credential::source::{Digests, Managers};
use crate::credential::{Credential, CredentialFault};
use crate::inbound;
use crate::limit::{Budget, Terms};
use crate::outbound::Generation;
use crate::provider::{Ca, Origin};
use crate::shared::Shared;
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
    pub(super) shared: Option<SharedServer>,
    pub(super) changed_budgets: ChangedBudgets,
    pub(super) upstreams: HashMap<UpstreamKey, Arc<Upstream>>,
    pub(super) applications: Applications,
    pub(super) authorities: Arc<Authorities>,
    /// What the files said: the configuration, and all that it leads to.
    pub(super) digests: Digests,
}

/// An upstream is the same one as long as its origin and the authorities that vouch for it are.
pub(super) type UpstreamKey = (Origin, Ca, [u8; 32]);

/// The server, and the digest of the authorities that vouch for it.
pub(super) type SharedServer = (Arc<Shared>, [u8; 32]);

/// The connections to applications, which outlive a reload.
pub(super) type Applications = HashMap<Application, Arc<Upstream>>;

/// What goes on at other terms as soon as the generation is live.
pub(super) type ChangedBudgets = Vec<(Arc<Budget>, Terms)>;

impl Live {
    /// Logs what is usable and yet odd, and what is missing.
    pub(super) fn warn(&self) {
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
