//! The signatures that applications get, of a load.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Live;
use super::kept_inputs::{InputUse, Remarks};
use crate::config::{Config, EventWay, Reference, WebhookConfig};
use crate::credential::source::{Findings, SourceError};
use crate::delivery::signature::{Signer, Signing};

/// The signing of the events of each webhook that has `sign`.
#[derive(Clone, Debug, Default)]
pub(super) struct Signings {
    by_webhook: BTreeMap<String, Signing>,
}

impl Signings {
    /// Makes the signers of a configuration.
    pub(super) fn read(
        config: &Config,
        findings: &Findings,
        before: Option<&Live>,
        remarks: &mut Remarks,
    ) -> Self {
        let mut signings = Self::default();
        for webhook in &config.webhooks {
            signings.take(webhook, findings, before, remarks);
        }
        signings
    }

    /// Makes the signer of a webhook. An unusable key keeps the earlier key in use, and is told. A late answer beside an
    /// earlier key is not told: the answer is used later.
    pub(super) fn take(
        &mut self,
        webhook: &WebhookConfig,
        findings: &Findings,
        before: Option<&Live>,
        remarks: &mut Remarks,
    ) {
        let Some(first) = webhook.sign.first() else {
            return;
        };
        let name = &webhook.name;
        let serves = InputUse::Signature(name.clone());
        let kept = before.map(|live| (live, live.signings.of(name)));
        let kept = kept.filter(|(_, signing)| matches!(signing, Signing::On(_)));
        let is_late = matches!(findings.get(first), Some(Err(SourceError::Late)));
        let signing = match (signer(webhook, findings), kept) {
            (Ok(signer), _) => Signing::On(Arc::new(signer)),
            (Err(_), Some((live, signing))) if is_late => {
                remarks.keep_noted(&serves, live);
                signing
            }
            (Err((reference, problem)), Some((live, signing))) => {
                remarks.keep(serves, reference, &problem, live);
                signing
            }
            (Err((reference, problem)), None) => {
                let effect = match webhook.way {
                    EventWay::Direct(_) => REFUSED,
                    EventWay::Spooled(_) => WAITS,
                };
                remarks.miss(serves, reference, &problem, effect, before);
                Signing::KeyMissing
            }
        };
        self.by_webhook.insert(name.clone(), signing);
    }

    /// Returns the signing of a webhook's events.
    pub(super) fn of(&self, webhook: &str) -> Signing {
        let signing = self.by_webhook.get(webhook);
        signing.cloned().unwrap_or(Signing::Off)
    }
}

/// The effect of a missing key on events that are on disk.
const WAITS: &str = "its events wait for the key";
/// The effect of a missing key on events that go straight to the application: the provider sends them again.
const REFUSED: &str = "its events are answered 503 until the key is there";

/// Returns the signer, or the reference without a usable key and the reason.
fn signer<'w>(
    webhook: &'w WebhookConfig,
    findings: &Findings,
) -> Result<Signer, (&'w Reference, String)> {
    let mut signer = Signer::default();
    for (place, reference) in webhook.sign.iter().enumerate() {
        signer = match findings.get(reference) {
            Some(Ok(found)) => signer
                .with(&found.secret)
                .map_err(|error| (reference, error.to_string()))?,
            // The first must be there: applications may know no other.
            Some(Err(error)) if place == 0 => return Err((reference, error.to_string())),
            Some(Err(_)) | None => signer,
        };
    }
    Ok(signer)
}
