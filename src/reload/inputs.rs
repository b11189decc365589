//! The inputs of a load: the configuration, secrets, and files with certificates.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::authorities::{Authorities, ca_files, read_authorities, server_tls_files};
use super::{Live, LoadError};
use crate::config::{Config, ConfigFile, ListenAddress, Reference, WebhookConfig};
use crate::credential::references;
use crate::credential::source::{Digests, Findings, Managers, digests, read_all};

/// The inputs of a load, before anything is built.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) findings: Findings,
    pub(super) authorities: Authorities,
    /// The digests of the files that were read, for the watch.
    pub(super) digests: Vec<Digests>,
    pub(super) managers: Arc<Managers>,
}

impl Inputs {
    /// Reads the configuration, and then every file and secret that the configuration names.
    ///
    /// # Errors
    /// If the configuration has faults, or differs from `before` in a key that needs a restart.
    pub(super) async fn read(file: &ConfigFile, before: Option<&Live>) -> Result<Self, LoadError> {
        let (config, references, digests) = read_config(file.clone()).await?;
        if let Some(before) = before {
            refuse_restart_needed(&before.config, &config)?;
        }
        let managers = before
            .map(|before| Arc::clone(&before.managers))
            .unwrap_or_default();
        Self::named_in(config, references, digests, managers).await
    }

    /// Reads every file and secret that a configuration names.
    ///
    /// # Errors
    /// If a file with authorities cannot be read.
    pub(super) async fn of_config(config: Config) -> Result<Self, LoadError> {
        let references = all_references(&config);
        Self::named_in(config, references, Digests::new(), Arc::default()).await
    }

    async fn named_in(
        config: Config,
        references: BTreeSet<Reference>,
        digests: Digests,
        managers: Arc<Managers>,
    ) -> Result<Self, LoadError> {
        let mut files = ca_files(&config);
        files.extend(server_tls_files(&config));
        let (authorities, authority_digests) = read_authorities(files).await?;
        let secrets = read_all(references, &managers).await;
        Ok(Self {
            config,
            findings: secrets.findings,
            authorities,
            digests: vec![digests, authority_digests, secrets.digests],
            managers,
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
        for (reference, found) in &self.findings {
            let warnings = found.iter().flat_map(|found| &found.warnings);
            all.extend(warnings.map(|warning| format!("`{reference}`: {warning}")));
        }
        all
    }
}

/// Returns every reference to a secret in a configuration.
pub(super) fn all_references(config: &Config) -> BTreeSet<Reference> {
    let mut all = references(&config.credentials);
    all.extend(config.limits.iter().map(|limits| limits.redis.clone()));
    all.extend(config.state.iter().flat_map(|state| state.key.clone()));
    let of_webhooks = config.webhooks.iter().flat_map(WebhookConfig::references);
    all.extend(of_webhooks.cloned());
    all
}

/// Refuses a change that sockets or the log would need a restart for.
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
        ("log", before.log != config.log),
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
        let digests = digests([file.path().to_owned()]);
        let config = Config::load(&file).map_err(LoadError::Config)?;
        let references = all_references(&config);
        Ok((config, references, digests))
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| LoadError::Interrupted)?
}
