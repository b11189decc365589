//! The parts of a draft that are read again without a new configuration: files of certificates, and the values of webhooks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::authorities::Authorities;
use super::draft::Draft;
use super::kept_files::{KeptFiles, differ, keep_authorities, of_listeners};
use super::refresh::NewValue;
use super::server_tls::ServerCertificates;
use super::shared::shared_server;
use super::streams::Publishers;
use super::{Live, LoadError};
use crate::config::{Config, Reference, WebhookConfig};
use crate::credential::source::{Findings, SourceError};

impl Draft {
    /// Takes the files of certificates and authorities as they are now, with the shared server and the servers of streams.
    ///
    /// # Errors
    /// If a file cannot be used, and nothing was there before.
    pub(super) fn take_files(
        &mut self,
        mut authorities: Authorities,
        findings: &Findings,
    ) -> Result<(), LoadError> {
        let before = self.before.clone();
        let before = before.as_deref();
        (self.server_tls, self.kept_files) = files_of(&self.config, &mut authorities, before)?;
        self.shared = shared_server(&self.config, findings, &authorities, before, &self.metrics)?;
        (self.publishers, _) = Publishers::read(&self.config, findings, &authorities, before)?;
        self.authorities = Arc::new(authorities);
        Ok(())
    }

    /// Takes the keys of signatures and the servers of these webhooks from `findings`.
    ///
    /// # Errors
    /// If the build cannot publish to a stream.
    pub(super) fn take_webhooks(
        &mut self,
        names: &BTreeSet<String>,
        findings: &Findings,
    ) -> Result<(), LoadError> {
        let before = self.before.clone();
        let before = before.as_deref();
        let config = Arc::clone(&self.config);
        let webhooks = config.webhooks.iter();
        for webhook in webhooks.filter(|webhook| names.contains(&webhook.name)) {
            let unsigned = self.signings.take(webhook, findings, before);
            self.warnings.extend(unsigned);
            let files = &self.authorities;
            let unpublished = self.publishers.take(webhook, findings, files, before)?;
            self.warnings.extend(unpublished);
        }
        self.webhook_values = webhook_values(&config, findings, before);
        Ok(())
    }

    /// True if certificates, authorities, what cannot be used of them, or the values of webhooks differ from the load that is
    /// live.
    pub(super) fn has_other_values(&self) -> bool {
        self.before().is_some_and(|before| {
            differ(before, &self.authorities, &self.kept_files)
                || before.webhook_values != self.webhook_values
        })
    }
}

/// Returns the certificates of the listeners, and the files in whose place the load `before` stays in use. The contents of
/// unusable authorities become those `before`.
///
/// # Errors
/// If the file of a listener cannot be used, and nothing was there before.
pub(super) fn files_of(
    config: &Config,
    authorities: &mut Authorities,
    before: Option<&Live>,
) -> Result<(ServerCertificates, Vec<KeptFiles>), LoadError> {
    let mut kept = keep_authorities(config, authorities, before);
    let certificates_before = before.map(|before| &before.server_tls);
    let certificates = ServerCertificates::read(config, authorities, certificates_before)?;
    kept.extend(of_listeners(&certificates, before));
    Ok((certificates, kept))
}

/// Returns the values that were found for the webhooks' own references, whether each can be used or not. A reference that
/// was not read, or not in time, has the value `before`.
pub(super) fn webhook_values(
    config: &Config,
    findings: &Findings,
    before: Option<&Live>,
) -> Arc<[NewValue]> {
    let references = config.webhooks.iter().flat_map(WebhookConfig::references);
    let value = |reference: &Reference| match findings.get(reference) {
        Some(Ok(found)) => Some((reference.clone(), found.secret.fingerprint())),
        Some(Err(SourceError::Late)) | None => {
            let mut values = before?.webhook_values.iter();
            values.find(|(known, _)| known == reference).cloned()
        }
        Some(Err(_)) => None,
    };
    references.filter_map(value).collect()
}
