//! The retry of incomplete credentials: whatever a source did not give, or the provider refused, may be good by
//! now.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::cause::{Causes, ReloadCause};
use super::changes::Comparison;
use super::draft::Draft;
use super::load::{aside, finish};
use super::{Live, LoadError, Reloader};
use crate::config::Reference;
use crate::credential::Credential;
use crate::credential::source::read_all;

impl Reloader {
    /// Reads the secrets of incomplete credentials again, and publishes what is good by now. Every other
    /// credential stays untouched, and nothing is published or logged without a difference.
    pub(super) async fn retry_incomplete(&self) {
        let before = self.live();
        if !before
            .credentials
            .values()
            .any(|credential| credential.is_incomplete())
        {
            return;
        }
        let began = Instant::now();
        match self.retried(Arc::clone(&before)).await {
            Ok(Some(live)) => {
                let live = Arc::new(live);
                self.publish(&live);
                self.report_kept_back(&before, &live);
                let comparison = Comparison::aside(before, Arc::clone(&live)).await;
                if let Some(causes) = Causes::new(std::iter::once(ReloadCause::Retry)) {
                    self.record_success(&live, &comparison, &causes, began);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "secrets cannot be tried again"),
        }
    }

    /// Builds the live state with the secrets that incomplete credentials have by now; `None` without a difference.
    async fn retried(&self, before: Arc<Live>) -> Result<Option<Live>, LoadError> {
        let secrets = read_all(incomplete_references(&before), &before.managers).await;
        let live = Arc::clone(&before);
        let metrics = self.metrics.clone();
        let (mut draft, outbound) = aside(move || {
            let mut draft = Draft::retried(&live, &secrets.findings, metrics);
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

/// Returns the references to the secrets of incomplete credentials.
fn incomplete_references(live: &Live) -> BTreeSet<Reference> {
    live.config
        .credentials
        .iter()
        .filter(|(name, _)| {
            let credential = live.credentials.get(*name);
            credential.is_some_and(|credential| credential.is_incomplete())
        })
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
