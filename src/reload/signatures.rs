//! The signatures that applications get, of a load.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Live;
use super::kept_inputs::InputUse;
use super::remarks::{Remarks, UnusableValue, ValueProblem};
use crate::config::{Config, EventWay, Reference, WebhookConfig};
use crate::credential::source::Findings;
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
            signings.load_webhook(webhook, findings, before, remarks);
        }
        signings
    }

    /// Makes the signer of a webhook, or keeps the earlier one while a key is unusable.
    pub(super) fn load_webhook(
        &mut self,
        webhook: &WebhookConfig,
        findings: &Findings,
        before: Option<&Live>,
        remarks: &mut Remarks,
    ) {
        if webhook.sign.is_empty() {
            return;
        }
        let signing = match signer(webhook, findings) {
            Ok(signer) => Signing::On(Arc::new(signer)),
            Err(SignerProblem { reference, error }) => {
                let unusable = UnusableValue {
                    serves: InputUse::Signature(webhook.name.clone()),
                    reference,
                    problem: error,
                    waits: match webhook.way {
                        EventWay::Direct(_) => REFUSED,
                        EventWay::Spooled(_) => WAITS,
                    },
                };
                let kept = before
                    .map(|live| live.signings.of(&webhook.name))
                    .filter(|signing| matches!(signing, Signing::On(_)));
                let substitute = remarks.substitute(unusable, kept, before);
                substitute.unwrap_or(Signing::KeyMissing)
            }
        };
        self.by_webhook.insert(webhook.name.clone(), signing);
    }

    /// Returns the signing of a webhook's events.
    pub(super) fn of(&self, webhook: &str) -> Signing {
        let signing = self.by_webhook.get(webhook);
        signing.cloned().unwrap_or(Signing::Off)
    }
}

/// The effect of a missing key on events that are on disk.
const WAITS: &str = "its events wait for the key";
/// The effect of a missing key on events that go straight to the application: the provider sends
/// them again.
const REFUSED: &str = "its events are answered 503 until the key is there";

/// The key for which a webhook has no signer.
struct SignerProblem<'w> {
    reference: &'w Reference,
    error: ValueProblem,
}

/// Returns the signer of a webhook.
///
/// # Errors
/// If the first reference has no value, or any value is no key.
fn signer<'w>(
    webhook: &'w WebhookConfig,
    findings: &Findings,
) -> Result<Signer, SignerProblem<'w>> {
    let mut signer = Signer::default();
    for (place, reference) in webhook.sign.iter().enumerate() {
        let problem = |error| SignerProblem { reference, error };
        signer = match findings.get(reference) {
            Some(Ok(found)) => signer
                .with(&found.secret)
                .map_err(|error| problem(ValueProblem::Signer(error)))?,
            // The first must be there: applications may know no other.
            Some(Err(error)) if place == 0 => {
                return Err(problem(ValueProblem::Source(error.clone())));
            }
            Some(Err(_)) | None => signer,
        };
    }
    Ok(signer)
}
