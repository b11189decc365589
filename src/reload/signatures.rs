//! The signatures that applications get, of a load.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Live;
use crate::config::{Config, WebhookConfig};
use crate::credential::source::{Findings, SourceError};
use crate::delivery::signature::{Signer, Signing};

/// The signing of the events of each webhook that has `sign`.
#[derive(Clone, Debug, Default)]
pub(super) struct Signings {
    by_webhook: BTreeMap<String, Signing>,
}

impl Signings {
    /// Makes the signers of a configuration, with a warning for each that cannot be made.
    pub(super) fn read(
        config: &Config,
        findings: &Findings,
        before: Option<&Live>,
    ) -> (Self, Vec<String>) {
        let mut signings = Self::default();
        let webhooks = config.webhooks.iter();
        let warnings = webhooks
            .filter_map(|webhook| signings.take(webhook, findings, before))
            .collect();
        (signings, warnings)
    }

    /// Makes the signer of a webhook. A key that cannot be had, or is none, keeps the key before it in use, with a warning. A
    /// late answer beside a key before is no warning: it is used when it comes.
    pub(super) fn take(
        &mut self,
        webhook: &WebhookConfig,
        findings: &Findings,
        before: Option<&Live>,
    ) -> Option<String> {
        let first = webhook.sign.first()?;
        let name = &webhook.name;
        let is_late = matches!(findings.get(first), Some(Err(SourceError::Late)));
        let (signing, warning) = match signer(webhook, findings) {
            Ok(signer) => (Signing::On(Arc::new(signer)), None),
            Err(problem) => {
                let kept = before.map(|live| live.signings.of(name));
                let kept = kept.filter(|kept| matches!(kept, Signing::On(_)));
                let result = match kept {
                    Some(_) => "its events keep the signature of the key before",
                    None => "its events wait for the key",
                };
                let is_quiet = is_late && kept.is_some();
                let warning = format!("webhook `{name}`: sign: {problem}; {result}");
                let signing = kept.unwrap_or(Signing::KeyMissing);
                (signing, (!is_quiet).then_some(warning))
            }
        };
        self.by_webhook.insert(name.clone(), signing);
        warning
    }

    /// Returns the signing of a webhook's events.
    pub(super) fn of(&self, webhook: &str) -> Signing {
        let signing = self.by_webhook.get(webhook);
        signing.cloned().unwrap_or(Signing::Off)
    }
}

fn signer(webhook: &WebhookConfig, findings: &Findings) -> Result<Signer, String> {
    let mut secrets = Vec::new();
    for (place, reference) in webhook.sign.iter().enumerate() {
        match findings.get(reference) {
            Some(Ok(found)) => secrets.push(&*found.secret),
            // The first must be there: applications may know no other.
            Some(Err(error)) if place == 0 => return Err(format!("`{reference}`: {error}")),
            Some(Err(_)) | None => {}
        }
    }
    Signer::new(secrets).map_err(|error| error.to_string())
}
