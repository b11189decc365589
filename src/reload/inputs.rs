//! The inputs of a load: the configuration, secrets, and files with certificates.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::authorities::{Authorities, all_files, read_authorities};
use super::egress::{LoadedEgress, sdk_warning};
use super::{Live, LoadError};
use crate::config::{Config, ConfigFile, ListenAddress, Reference, WebhookConfig};
use crate::credential::references;
use crate::credential::source::{
    Digests, Findings, LateReads, Managers, ReadSecrets, digests, read_all, read_in_time,
};
use crate::egress::Egress;

/// The inputs of a load, before anything is built.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) findings: Findings,
    pub(super) authorities: Authorities,
    /// The digests of the files that were read, for the watch.
    pub(super) digests: Vec<Digests>,
    pub(super) managers: Arc<Managers>,
    pub(super) egress: Egress,
    pub(super) egress_warning: Option<String>,
    /// The reads still under way.
    pub(super) late: LateReads,
}

/// The wait of a load for programs and secret managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// A command: the load waits for every answer.
    ForAll,
    /// The start: answers for the shared server and the state, and of all others those that come within
    /// [`START_PATIENCE`].
    AtStart,
    /// A reload: answers that come within [`RELOAD_PATIENCE`].
    AtReload,
}

impl Inputs {
    /// Reads the configuration, and then every file and secret that the configuration names.
    ///
    /// # Errors
    /// If the configuration has faults, or differs from `before` in a key that needs a restart.
    pub(super) async fn read(
        file: &ConfigFile,
        before: Option<&Live>,
        waits: Waits,
    ) -> Result<Self, LoadError> {
        let (config, references, digests) = read_config(file.clone()).await?;
        if let Some(before) = before {
            refuse_restart_needed(&before.config, &config)?;
        }
        Self::named_in(config, references, digests, before, waits).await
    }

    /// Reads every file and secret that a configuration names.
    ///
    /// # Errors
    /// If a file with authorities cannot be read.
    pub(super) async fn of_config(config: Config) -> Result<Self, LoadError> {
        let references = all_references(&config);
        Self::named_in(config, references, Digests::new(), None, Waits::ForAll).await
    }

    async fn named_in(
        config: Config,
        references: BTreeSet<Reference>,
        digests: Digests,
        before: Option<&Live>,
        waits: Waits,
    ) -> Result<Self, LoadError> {
        let managers = before
            .map(|before| Arc::clone(&before.managers))
            .unwrap_or_default();
        let (authorities, authority_digests) = read_authorities(all_files(&config)).await?;
        let egress = LoadedEgress::read(&config.egress, before, &managers).await?;
        let (secrets, late) = read_secrets(&config, references, &managers, waits).await;
        Ok(Self {
            config,
            findings: secrets.findings,
            authorities,
            digests: vec![digests, authority_digests, egress.digests, secrets.digests],
            egress: egress.egress,
            egress_warning: egress.warning,
            managers,
            late,
        })
    }

    /// Returns the warnings about the configuration and about secrets, as texts.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .config
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        all.extend(self.egress_warning.clone());
        all.extend(sdk_warning(&self.config));
        for (reference, found) in &self.findings {
            let warnings = found.iter().flat_map(|found| &found.warnings);
            all.extend(warnings.map(|warning| format!("`{reference}`: {warning}")));
        }
        all
    }
}

/// Reads the secrets of a configuration.
async fn read_secrets(
    config: &Config,
    references: BTreeSet<Reference>,
    managers: &Arc<Managers>,
    waits: Waits,
) -> (ReadSecrets, LateReads) {
    let (awaited, patience) = match waits {
        Waits::ForAll => return (read_all(references, managers).await, LateReads::default()),
        // Without the key of the state or the shared server of limits, a start would lose what outlives a restart.
        Waits::AtStart => (references_of_sidecar(config), START_PATIENCE),
        // A late key or shared server stays unchanged.
        Waits::AtReload => return read_in_time(references, managers, RELOAD_PATIENCE).await,
    };
    let in_time = &references - &awaited;
    let (awaited, (mut secrets, late)) = tokio::join!(
        read_all(awaited, managers),
        read_in_time(in_time, managers, patience)
    );
    secrets.findings.extend(awaited.findings);
    secrets.digests.extend(awaited.digests);
    (secrets, late)
}

/// Returns every reference to a secret in a configuration.
pub(super) fn all_references(config: &Config) -> BTreeSet<Reference> {
    let mut all = references(&config.credentials);
    all.extend(references_of_sidecar(config));
    let of_webhooks = config.webhooks.iter().flat_map(WebhookConfig::references);
    all.extend(of_webhooks.cloned());
    all
}

/// Returns the references to the secrets of the sidecar as a whole: the shared server of limits, and the keys of the state.
fn references_of_sidecar(config: &Config) -> BTreeSet<Reference> {
    let redis = config.limits.iter().map(|limits| limits.redis.clone());
    let keys = config.state.iter().flat_map(|state| state.key.clone());
    redis.chain(keys).collect()
}

/// Refuses a change that sockets, the log or the store of events would need a restart for.
fn refuse_restart_needed(before: &Config, config: &Config) -> Result<(), LoadError> {
    let keys = [
        (
            "outbound.listen",
            before.outbound.listen != config.outbound.listen,
        ),
        (
            "outbound.allow_uids",
            before.outbound.allow_uids != config.outbound.allow_uids,
        ),
        (
            "outbound.max_connections",
            before.outbound.max_connections != config.outbound.max_connections,
        ),
        (
            "outbound.tls.listen",
            tls_addresses(before) != tls_addresses(config),
        ),
        (
            "inbound.listen",
            before.inbound.listen != config.inbound.listen,
        ),
        (
            "inbound.tls",
            before.inbound.tls.is_some() != config.inbound.tls.is_some(),
        ),
        ("admin.listen", before.admin.listen != config.admin.listen),
        ("spool.dir", spool_dir(before) != spool_dir(config)),
        ("metrics", before.metrics != config.metrics),
        ("telemetry", before.telemetry != config.telemetry),
        ("log.format", before.log.format != config.log.format),
    ];
    let changed: Vec<_> = keys
        .into_iter()
        .filter_map(|(key, is_changed)| is_changed.then_some(key))
        .collect();
    if changed.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Restart(changed))
    }
}

/// Returns the folder of the spool; `None` without `[spool]`.
fn spool_dir(config: &Config) -> Option<&Path> {
    config.spool.as_ref().map(|spool| &*spool.dir)
}

/// Returns the addresses of `[outbound.tls]`; `None` without the table.
fn tls_addresses(config: &Config) -> Option<&[ListenAddress]> {
    config.outbound.tls.as_ref().map(|tls| &*tls.listen)
}

/// Reads and parses the configuration on a thread of its own: parsing a large file takes longer than a request
/// may be held up.
///
/// The digest is taken first. A change between digest and parsing then looks like a change to the watch, and the
/// configuration is loaded once more; the other order could miss the change.
async fn read_config(
    file: ConfigFile,
) -> Result<(Config, BTreeSet<Reference>, Digests), LoadError> {
    let read = move || {
        let digests = digests(file.watched());
        let config = Config::load(&file).map_err(LoadError::Config)?;
        let references = all_references(&config);
        Ok((config, references, digests))
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| LoadError::Interrupted)?
}

/// The wait of a start for the secrets of credentials and webhooks. A hanging manager keeps its own credentials from
/// sending, and the events of its own webhooks waiting, and no others.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// The time that a reload, and each retry, waits for programs and secret managers: managers in reach answer within some ten
/// milliseconds.
pub(super) const RELOAD_PATIENCE: Duration = Duration::from_millis(500);
