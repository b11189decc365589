//! The reports of refused secrets, and of the secrets that are sent instead.

use tokio::sync::oneshot;

use super::exchange::Exchange;
use crate::credential::{FallbackReason, SecretRefusal, SecretSet};

impl Exchange<'_> {
    /// Raises the alarm for a refused set of secrets, once until a set is accepted again.
    pub(super) fn report_refusal(&self, sent: SecretSet<'_>) {
        if sent.credential().acceptance().note_refusal() {
            let credential = &sent.credential().name;
            let fingerprint = sent.fingerprint();
            SecretRefusal::new(REFUSED_REQUEST).record(self.audit, credential, fingerprint);
            tracing::error!(
                credential,
                fingerprint = fingerprint.map(tracing::field::display),
                "the provider refuses the credential: put a new secret in its place"
            );
            // The reloader asks the provider for the reason.
            self.hold.lookups.try_send(oneshot::channel().0).ok();
        }
    }

    /// Sends with the accepted secrets from now on, and reports the change, with the reason.
    pub(super) fn adopt(
        &self,
        taken: SecretSet<'_>,
        refused: SecretSet<'_>,
        reason: FallbackReason,
    ) {
        if !taken.note_accepted() {
            return;
        }
        let credential = &taken.credential().name;
        let taken_instead = shown(taken);
        let refused = shown(refused);
        if taken.is_previous() {
            let fields = [
                ("credential", credential.as_str().into()),
                ("fingerprint", taken_instead.as_str().into()),
                ("refused", refused.as_str().into()),
                ("reason", reason.explained().into()),
            ];
            self.audit.record("fallback", fields);
            self.permit.route.metrics.rotated(credential, FELL_BACK);
            tracing::error!(
                credential,
                refused,
                taken_instead,
                "{}: sending with the one before {}",
                reason.explained(),
                match reason {
                    FallbackReason::Refused => "until the next reload",
                    FallbackReason::TooLittle =>
                        "until a secret with more permissions is in its place",
                }
            );
        } else {
            tracing::warn!(
                credential,
                refused,
                taken_instead,
                "the provider takes the new secret after all"
            );
        }
    }
}

/// The fingerprint of a set's first secret; empty without a first secret.
fn shown(sent: SecretSet<'_>) -> String {
    sent.fingerprint()
        .map(|fingerprint| fingerprint.to_string())
        .unwrap_or_default()
}

/// The result, in the metric of rotations, of a rotation that was taken back.
const FELL_BACK: &str = "fell_back";
/// The reason, in the audit file, of a refusal that is known from requests alone.
const REFUSED_REQUEST: &str =
    "the provider refused a request with it, and with every other secret at hand";
