//! The parts of a draft read again without a new configuration: the surroundings of the
//! credentials, and the values of webhooks.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::authorities::Authorities;
use super::draft::Draft;
use super::egress::LoadedEgress;
use super::kept_inputs::{KeptInput, differ, keep_authorities, of_listeners};
use super::refresh::NewValue;
use super::remarks::Remarks;
use super::server_tls::ServerCertificates;
use super::shared::shared_server;
use super::signatures::Signings;
use super::state::state_of;
use super::streams::Publishers;
use super::trust::stand_ins;
use super::{Live, LoadError};
use crate::config::{Config, Reference, WebhookConfig};
use crate::credential::source::{Findings, SourceError};

impl Draft {
    /// Takes the surroundings of the credentials as read now: files of certificates and
    /// authorities, the way out, the shared server, the key of the state, and the values of
    /// webhooks.
    ///
    /// # Errors
    /// If a file cannot be used, and nothing was there before.
    pub(super) fn take_surroundings(
        &mut self,
        mut authorities: Authorities,
        egress: LoadedEgress,
        findings: &Findings,
    ) -> Result<(), LoadError> {
        let earlier = self.before.clone();
        let before = earlier.as_deref();
        let config = Arc::clone(&self.config);
        let mut remarks = egress.remarks;
        self.egress = egress.egress;
        self.server_tls = files_of(&config, &mut authorities, before, &mut remarks)?;
        self.stand_ins = Arc::new(stand_ins(&config, &authorities, before, &mut remarks));
        let files = &authorities;
        self.shared = shared_server(
            &config,
            findings,
            files,
            before,
            &self.metrics,
            &mut remarks,
        )?;
        self.signings = Signings::read(&config, findings, before, &mut remarks);
        self.publishers = Publishers::read(&config, findings, files, before, &mut remarks)?;
        self.state = state_of(&config, findings, before, &mut remarks);
        self.webhook_values = webhook_values(&config, findings, before);
        self.authorities = Arc::new(authorities);
        self.kept_inputs = remarks.kept;
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
        let earlier = self.before.clone();
        let before = earlier.as_deref();
        let config = Arc::clone(&self.config);
        let mut remarks = Remarks::default();
        let webhooks = config.webhooks.iter();
        for webhook in webhooks.filter(|webhook| names.contains(&webhook.name)) {
            self.signings
                .load_webhook(webhook, findings, before, &mut remarks);
            let files = &self.authorities;
            self.publishers
                .load_webhook(webhook, findings, files, before, &mut remarks)?;
        }
        let is_taken =
            |kept: &KeptInput| names.iter().any(|webhook| kept.serves.is_value_of(webhook));
        self.kept_inputs.retain(|kept| !is_taken(kept));
        self.kept_inputs.extend(remarks.kept);
        self.warnings.extend(remarks.warnings);
        self.webhook_values = webhook_values(&config, findings, before);
        Ok(())
    }

    /// True if the surroundings of the credentials differ from the live load, or the unusable
    /// inputs do.
    pub(super) fn has_other_values(&self) -> bool {
        self.before().is_some_and(|before| {
            differ(before, &self.authorities, &self.kept_inputs)
                || before.webhook_values != self.webhook_values
                || !before.egress.leads_as(&self.egress)
                || !are_same(
                    before.shared.as_ref().map(|(shared, _)| shared),
                    self.shared.as_ref().map(|(shared, _)| shared),
                )
                || !are_same(before.state.as_ref(), self.state.as_ref())
        })
    }
}

/// True for equal pointers, or for none, on both sides.
fn are_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

/// Returns the certificates of the listeners. The contents of unusable authorities become those
/// `before`.
///
/// # Errors
/// If the file of a listener cannot be used, and nothing was there before.
pub(super) fn files_of(
    config: &Config,
    authorities: &mut Authorities,
    before: Option<&Live>,
    remarks: &mut Remarks,
) -> Result<ServerCertificates, LoadError> {
    let kept = keep_authorities(config, authorities, before);
    remarks.kept.extend(kept);
    let certificates_before = before.map(|before| &before.server_tls);
    let certificates = ServerCertificates::read(config, authorities, certificates_before)?;
    remarks.kept.extend(of_listeners(&certificates, before));
    Ok(certificates)
}

/// Returns the values that were found for the webhooks' own references, whether each can be used or
/// not. A reference that was not read, or not in time, has the value `before`.
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
