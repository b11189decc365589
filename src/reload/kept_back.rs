//! Reports about secrets that a load keeps back.

use super::{Live, Reloader};
use crate::audit::Audit;
use crate::credential::{Credential, KeptBackReason, Refusal};
use crate::log::without_numbers;
use crate::secret::Fingerprint;

impl Live {
    /// Returns a line for each secret that is kept back, with the reason.
    #[must_use]
    pub fn kept_back(&self) -> Vec<String> {
        self.credentials
            .values()
            .flat_map(|credential| kept_back_lines(credential))
            .collect()
    }
}

impl Reloader {
    /// Reports the secrets that `live` keeps back and `before` did not, in log, audit file and metrics. Returns
    /// true if there are any.
    pub(super) fn report_kept_back(&self, before: &Live, live: &Live) -> bool {
        let mut is_news = false;
        for (name, credential) in &live.credentials {
            let Some(now) = credential.kept_back() else {
                continue;
            };
            let held = before
                .credentials
                .get(name)
                .and_then(|held| held.kept_back());
            if held.is_some_and(|held| held.is_same(now)) {
                continue;
            }
            is_news = true;
            self.metrics.rotations.count(name, "refused");
            let reasons: Vec<_> = kept_back_lines(credential)
                .iter()
                .map(|line| without_numbers(line))
                .collect();
            for reason in &reasons {
                tracing::error!(
                    credential = name,
                    reason,
                    "the source has a secret that cannot be used: the secret before it stays in use; put a \
                     good one there, as the credential would not work after a restart"
                );
            }
            if let KeptBackReason::Refused {
                refusal,
                fingerprint,
            } = &now.reason
            {
                record_refusal(&self.audit, name, *fingerprint, refusal);
            }
        }
        is_news
    }
}

/// Records in the audit file that the provider refuses secrets of a credential.
pub(super) fn record_refusal(
    audit: &Audit,
    credential: &str,
    fingerprint: Option<Fingerprint>,
    refusal: &Refusal,
) {
    let fingerprint = fingerprint.map(|fingerprint| fingerprint.to_string());
    let fields = [
        ("credential", credential.into()),
        ("fingerprint", fingerprint.into()),
        ("reason", without_numbers(&refusal.reason).into()),
    ];
    audit.record("secret refused", fields);
}

fn kept_back_lines(credential: &Credential) -> Vec<String> {
    credential
        .kept_back()
        .into_iter()
        .flat_map(|kept_back| kept_back.reasons())
        .map(|reason| format!("credential.{}{reason}", credential.name))
        .collect()
}
