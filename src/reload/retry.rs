//! The retry of incomplete credentials: whatever a source did not give, or the provider refused, may be good by
//! now.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::cause::{Causes, ReloadCause};
use super::changes::{Change, Comparison};
use super::draft::Draft;
use super::inputs::RELOAD_PATIENCE;
use super::load::{aside, finish};
use super::{Live, LoadError, Reloader};
use crate::config::Reference;
use crate::credential::Credential;
use crate::credential::source::{LateReads, ReadSecrets, read_in_time};

impl Reloader {
    /// Reads the secrets of incomplete credentials again, and publishes what is good by now. Every other
    /// credential stays untouched, and nothing is published or logged without a difference. Returns the reads that the
    /// retry did not wait for.
    pub(super) async fn retry_incomplete(&self) -> LateReads {
        let before = self.live();
        let names: BTreeSet<_> = before
            .credentials
            .iter()
            .filter(|(_, credential)| credential.is_incomplete())
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return LateReads::default();
        }
        let references = references_of(&before, &names);
        let reading = read_in_time(references, &before.managers, RELOAD_PATIENCE);
        let (secrets, late) = reading.await;
        self.reassemble(before, names, secrets, ReloadCause::Retry)
            .await;
        late
    }

    /// Reads the secrets of the configuration in use again, after the refusal of a newer configuration: a faulty configuration
    /// keeps no leaked secret in use. Returns the changes, and the late reads.
    pub(super) async fn reload_secrets(&self, before: Arc<Live>) -> (Vec<Change>, LateReads) {
        let names: BTreeSet<_> = before.credentials.keys().cloned().collect();
        let references = references_of(&before, &names);
        let reading = read_in_time(references, &before.managers, RELOAD_PATIENCE);
        let (secrets, late) = reading.await;
        let cause = ReloadCause::RefusedConfiguration;
        (self.reassemble(before, names, secrets, cause).await, late)
    }

    /// Assembles credentials anew from `secrets`, and publishes them if any differs. Returns the changes.
    pub(super) async fn reassemble(
        &self,
        before: Arc<Live>,
        names: BTreeSet<String>,
        secrets: ReadSecrets,
        cause: ReloadCause,
    ) -> Vec<Change> {
        let began = Instant::now();
        match self.reassembled(Arc::clone(&before), names, secrets).await {
            Ok(Some(live)) => {
                let live = Arc::new(live);
                self.publish(&live);
                self.report_kept_back(&before, &live);
                let comparison = Comparison::aside(before, Arc::clone(&live)).await;
                if let Some(causes) = Causes::new(std::iter::once(cause)) {
                    self.record_success(&live, &comparison, &causes, began);
                }
                comparison.changes
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::error!(%error, "secrets cannot be tried again");
                Vec::new()
            }
        }
    }

    /// Builds the live state with other secrets of these credentials; `None` without a difference.
    async fn reassembled(
        &self,
        before: Arc<Live>,
        names: BTreeSet<String>,
        secrets: ReadSecrets,
    ) -> Result<Option<Live>, LoadError> {
        let live = Arc::clone(&before);
        let metrics = self.metrics.clone();
        let (mut draft, outbound) = aside(move || {
            let mut draft = Draft::reassembled(&live, &names, &secrets.findings, metrics);
            draft.digests.extend(secrets.digests);
            let outbound = draft.routes()?;
            Ok((draft, outbound))
        })
        .await?;
        let has_kept = draft.keep_back_refused(&outbound).await;
        let any_differs = draft.credentials.iter().any(|(name, now)| {
            let before = before.credentials.get(name);
            before.is_none_or(|before| !Arc::ptr_eq(before, now) && differs(before, now))
        });
        if !any_differs {
            return Ok(None);
        }
        let finished = aside(move || finish(draft, outbound, has_kept)).await?;
        Ok(Some(finished))
    }
}

/// Returns the references to the secrets of these credentials.
pub(super) fn references_of(live: &Live, names: &BTreeSet<String>) -> BTreeSet<Reference> {
    live.config
        .credentials
        .iter()
        .filter(|(name, _)| names.contains(*name))
        .flat_map(|(_, config)| config.secrets.values().flatten().cloned())
        .collect()
}

/// True if a credential differs in its secrets, or in what is wrong with them.
fn differs(before: &Credential, now: &Credential) -> bool {
    let faults = |credential: &Credential| -> Vec<String> {
        credential
            .faults()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let is_same_reason = match (before.kept_back(), now.kept_back()) {
        (Some(before), Some(now)) => before.is_same(now),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let has_new_value = now.changed_since(before).next().is_some();
    has_new_value || !is_same_reason || faults(before) != faults(now)
}
