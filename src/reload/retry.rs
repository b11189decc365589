//! The retry of incomplete credentials and of unusable inputs: whatever a source did not give, or
//! the provider refused, may be good by now.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::aside::aside;
use super::authorities::{Authorities, all_files, read_authorities};
use super::cause::{Causes, ReloadCause};
use super::changes::{Change, Comparison};
use super::draft::Draft;
use super::egress::LoadedEgress;
use super::inputs::{RELOAD_PATIENCE, references_besides_credentials};
use super::load::finish;
use super::{Live, LoadError, Reloader};
use crate::config::Reference;
use crate::credential::Credential;
use crate::credential::source::{LateReads, ReadSecrets, SeenFiles, read_in_time};

impl Reloader {
    /// Reads the secrets of incomplete credentials again, and the surroundings if an input is
    /// unusable, and publishes what is good by now. Every other credential stays untouched, and
    /// nothing is published or logged without a difference. Returns the reads that the retry did
    /// not wait for.
    pub(super) async fn retry_incomplete(&self) -> LateReads {
        let before = self.live();
        let names: BTreeSet<_> = before
            .credentials
            .iter()
            .filter(|(_, credential)| credential.is_incomplete())
            .map(|(name, _)| name.clone())
            .collect();
        let others = if before.kept_inputs.is_empty() {
            Others::AsBefore
        } else {
            Others::ReadAgain
        };
        if names.is_empty() && others == Others::AsBefore {
            return LateReads::default();
        }
        let (read, late) = again(&before, names, others).await;
        self.reassemble(before, read, ReloadCause::Retry).await;
        late
    }

    /// Reads the secrets and files of the configuration in use again, after the refusal of a newer
    /// configuration: a faulty configuration keeps neither a leaked secret nor an ending
    /// certificate in use. Returns the changes, and the late reads.
    pub(super) async fn reload_secrets(&self, before: Arc<Live>) -> (Vec<Change>, LateReads) {
        let names: BTreeSet<_> = before.credentials.keys().cloned().collect();
        let (read, late) = again(&before, names, Others::ReadAgain).await;
        let cause = ReloadCause::RefusedConfiguration;
        (self.reassemble(before, read, cause).await, late)
    }

    /// Assembles what was read anew, and publishes it if anything differs. Returns the changes.
    pub(super) async fn reassemble(
        &self,
        before: Arc<Live>,
        read: ReadAgain,
        cause: ReloadCause,
    ) -> Vec<Change> {
        let began = Instant::now();
        match self.reassembled(Arc::clone(&before), read).await {
            Ok(Some(live)) => {
                live.connect_shared().await;
                live.prepare_state().await;
                if let Err(error) = self.take_destinations(&live).await {
                    tracing::error!(%error, "secrets that were read again cannot be used");
                    return Vec::new();
                }
                let live = Arc::new(live);
                self.publish(&live);
                self.report_kept_back(&before, &live);
                self.report_kept_inputs(Some(&before), &live);
                let comparison = Comparison::aside(before, Arc::clone(&live)).await;
                // A failure that came late is no success: whoever asked for the reload hears of a
                // refusal.
                let is_failure = cause == ReloadCause::Manager
                    && comparison.changes.is_empty()
                    && !live.failed_reads().is_empty();
                if let Some(causes) = Causes::new(std::iter::once(cause)).filter(|_| !is_failure) {
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

    /// Builds the live state with what was read again; `None` without a difference.
    async fn reassembled(
        &self,
        before: Arc<Live>,
        read: ReadAgain,
    ) -> Result<Option<Live>, LoadError> {
        let live = Arc::clone(&before);
        let metrics = self.metrics.clone();
        let (mut draft, outbound) = aside(move || {
            let findings = &read.secrets.findings;
            let mut draft = Draft::reassembled(&live, &read.names, findings, metrics);
            let files = Arc::make_mut(&mut draft.files);
            files.extend(read.secrets.files);
            if let Some(others) = read.others {
                files.extend(others.seen);
                draft.take_surroundings(others.authorities, others.egress, findings)?;
            }
            draft.take_webhooks(&read.webhooks, findings)?;
            let outbound = draft.routes()?;
            Ok((draft, outbound))
        })
        .await?;
        let has_kept = draft.keep_back_refused(&outbound).await;
        let any_differs = draft.credentials.iter().any(|(name, now)| {
            let before = before.credentials.get(name);
            before.is_none_or(|before| !Arc::ptr_eq(before, now) && differs(before, now))
        });
        if !any_differs && !draft.has_other_values() {
            return Ok(None);
        }
        let finished = aside(move || finish(draft, outbound, has_kept)).await?;
        Ok(Some(finished))
    }
}

/// The inputs that were read again, of the configuration in use.
pub(super) struct ReadAgain {
    /// The names of the credentials to assemble.
    pub(super) names: BTreeSet<String>,
    /// The names of the webhooks whose own secrets were read.
    pub(super) webhooks: BTreeSet<String>,
    /// The secrets of these credentials and webhooks.
    pub(super) secrets: ReadSecrets,
    /// The surroundings of the credentials; `None` for the surroundings of before.
    pub(super) others: Option<ReadOthers>,
}

/// The surroundings of the credentials, without the values of references.
pub(super) struct ReadOthers {
    authorities: Authorities,
    egress: LoadedEgress,
    /// The files as seen.
    seen: SeenFiles,
}

/// The treatment of the surroundings of the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// The contents of before stay.
    AsBefore,
    /// Files and values are read again.
    ReadAgain,
}

/// Reads the secrets of these credentials again, and the surroundings if wanted. Returns the reads
/// still under way as well.
async fn again(live: &Live, names: BTreeSet<String>, others: Others) -> (ReadAgain, LateReads) {
    let mut references = references_of(live, &names);
    let others = match others {
        Others::AsBefore => None,
        Others::ReadAgain => read_others(live).await.ok(),
    };
    if others.is_some() {
        references.extend(references_besides_credentials(&live.config));
    }
    let (secrets, late) = read_in_time(references, &live.managers, RELOAD_PATIENCE).await;
    let read = ReadAgain {
        names,
        webhooks: BTreeSet::new(),
        secrets,
        others,
    };
    (read, late)
}

async fn read_others(live: &Live) -> Result<ReadOthers, LoadError> {
    let (authorities, mut seen) = read_authorities(all_files(&live.config)).await?;
    let mut egress = LoadedEgress::read(&live.config.egress, Some(live), &live.managers).await?;
    seen.extend(std::mem::take(&mut egress.files));
    Ok(ReadOthers {
        authorities,
        egress,
        seen,
    })
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

/// True if a credential differs in its secrets, or in their faults.
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
