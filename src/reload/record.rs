//! The records of reloads in metrics, audit file and log.

use std::time::SystemTime;

use tokio::time::Instant;

use super::cause::Causes;
use super::changes::Comparison;
use super::{Live, LoadError, ReloadError, Reloader};
use crate::audit::Audit;
use crate::config::Config;
use crate::credential::RenewalStep;
use crate::log::without_numbers;
use crate::units::millis;

impl Reloader {
    /// Returns a line for people about what is served, and about a reload that was refused.
    #[must_use]
    pub fn summary(&self) -> String {
        let live = self.live();
        let generation = live.generation.number;
        let serving = format!(
            "serving {} and {} with generation {generation}",
            counted(live.config.routes.len(), "route"),
            counted(live.config.webhooks.len(), "webhook")
        );
        match self.last().refused.first() {
            Some(reason) => format!(
                "{serving}; the last reload was refused: {}",
                without_numbers(reason)
            ),
            None => serving,
        }
    }

    /// Records a published reload in metrics, audit file and log.
    pub(super) fn record_success(
        &self,
        live: &Live,
        comparison: &Comparison,
        causes: &Causes,
        began: Instant,
    ) {
        let duration_ms = millis(began.elapsed());
        let mut last = self.last.lock();
        last.last_success = SystemTime::now();
        last.refused = Vec::new();
        drop(last);
        self.metrics.published();
        for replaced in &comparison.replaced {
            self.metrics
                .rotations
                .count(&replaced.credential, "replaced");
            let fields = [
                ("credential", replaced.credential.as_str().into()),
                ("secret", replaced.secret.as_str().into()),
                ("fingerprints", replaced.fingerprints().into()),
            ];
            self.audit.record("rotation", fields);
        }
        let changes = &comparison.changes;
        let texts: Vec<_> = changes.iter().map(ToString::to_string).collect();
        let shown = match texts.as_slice() {
            [] => "nothing changed".to_owned(),
            texts => texts.join("; "),
        };
        let generation = live.generation.number;
        let cause = causes.to_string();
        let kept_back: Vec<_> = comparison
            .kept_back
            .iter()
            .map(|line| without_numbers(line))
            .collect();
        tracing::info!(cause, generation, duration_ms, changes = shown, "reloaded");
        let fields = [
            ("cause", cause.into()),
            ("by", causes.peers().into()),
            ("generation", generation.into()),
            ("changes", texts.into()),
            ("kept_back", kept_back.into()),
        ];
        self.audit.record("reload", fields);
    }

    /// Records that a token cannot be renewed, or the renewed one not be revoked: in status,
    /// metrics, audit file and log.
    pub fn record_renewal_failure(&self, credential: &str, step: RenewalStep, reason: &str) {
        let reason = without_numbers(reason);
        match step {
            RenewalStep::Preparation => {
                tracing::error!(
                    credential,
                    error = reason,
                    "the token cannot be renewed when it is due"
                );
            }
            RenewalStep::Renewal => {
                tracing::error!(
                    credential,
                    error = reason,
                    "the token ends soon and could not be renewed"
                );
            }
            RenewalStep::Revocation => {
                tracing::error!(credential, error = reason, "the old token may be alive");
            }
        }
        if let Some(credential) = self.live().credentials.get(credential) {
            credential
                .renewal()
                .fail(step, reason.clone(), SystemTime::now());
        }
        self.metrics.rotations.count(credential, step.label());
        let fields = [("credential", credential.into()), ("reason", reason.into())];
        self.audit.record(step.failure(), fields);
    }

    /// Notes that the last step of a renewal succeeded.
    pub fn note_renewal(&self, credential: &str) {
        if let Some(credential) = self.live().credentials.get(credential) {
            credential.renewal().succeed();
        }
    }

    /// Records a refused reload in metrics, audit file and log.
    pub(super) fn record_refusal(&self, error: &ReloadError, causes: &Causes) {
        let cause = causes.to_string();
        let reasons = error.reasons();
        let shown: Vec<_> = reasons
            .iter()
            .map(|reason| without_numbers(reason))
            .collect();
        let mut last = self.last.lock();
        last.refused = reasons;
        last.refusals += 1;
        drop(last);
        self.metrics.refused();
        for reason in &shown {
            tracing::error!(
                cause,
                reason,
                "reload refused: the configuration stays as it was"
            );
        }
        let fields = [
            ("cause", cause.into()),
            ("by", causes.peers().into()),
            ("reasons", shown.into()),
        ];
        self.audit.record("reload refused", fields);
    }
}

/// Writes to the audit file of a configuration from now on. A file that was moved away is opened
/// anew.
///
/// # Errors
/// If the configuration names a new file that cannot be written.
pub(super) async fn follow_audit(audit: &Audit, config: &Config) -> Result<(), LoadError> {
    let audit = audit.clone();
    let settings = config.audit.clone();
    let follow = move || {
        audit
            .follow(settings.as_ref())
            .map_err(|error| LoadError::Audit {
                path: settings.map(|settings| settings.file).unwrap_or_default(),
                problem: error.to_string(),
            })
    };
    tokio::task::spawn_blocking(follow)
        .await
        .map_err(|_| LoadError::Interrupted)?
}

/// Returns a number with its noun.
fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
