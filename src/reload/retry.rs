//! The retry of incomplete credentials and of unusable files: whatever a source did not give, or the provider refused,
//! may be good by now.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::authorities::{Authorities, all_files, read_authorities};
use super::cause::{Causes, ReloadCause};
use super::changes::{Change, Comparison};
use super::draft::Draft;
use super::inputs::RELOAD_PATIENCE;
use super::load::{aside, finish};
use super::{Live, LoadError, Reloader};
use crate::config::Reference;
use crate::credential::Credential;
use crate::credential::source::{LateReads, ReadSecrets, SeenFiles, read_in_time};

impl Reloader {
    /// Reads the secrets of incomplete credentials again, and the files of certificates if one cannot be used, and publishes
    /// what is good by now. Every other credential stays untouched, and nothing is published or logged without a
    /// difference. Returns the reads that the retry did not wait for.
    pub(super) async fn retry_incomplete(&self) -> LateReads {
        let before = self.live();
        let names: BTreeSet<_> = before
            .credentials
            .iter()
            .filter(|(_, credential)| credential.is_incomplete())
            .map(|(name, _)| name.clone())
            .collect();
        let files = match before.kept_files.is_empty() {
            true => Files::AsBefore,
            false => Files::ReadAgain,
        };
        if names.is_empty() && files == Files::AsBefore {
            return LateReads::default();
        }
        let (read, late) = again(&before, names, files).await;
        self.reassemble(before, read, ReloadCause::Retry).await;
        late
    }

    /// Reads the secrets and files of the configuration in use again, after the refusal of a newer configuration: a faulty
    /// configuration keeps neither a leaked secret nor an ending certificate in use. Returns the changes, and the late reads.
    pub(super) async fn reload_secrets(&self, before: Arc<Live>) -> (Vec<Change>, LateReads) {
        let names: BTreeSet<_> = before.credentials.keys().cloned().collect();
        let (read, late) = again(&before, names, Files::ReadAgain).await;
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
                if let Err(error) = self.take_destinations(&live).await {
                    tracing::error!(%error, "secrets that were read again cannot be used");
                    return Vec::new();
                }
                let live = Arc::new(live);
                self.publish(&live);
                self.report_kept_back(&before, &live);
                self.report_kept_files(&before, &live);
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
            if let Some((authorities, seen)) = read.files {
                files.extend(seen);
                draft.take_files(authorities, findings)?;
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
    /// The files of certificates and authorities as they were seen; `None` if they stay as they are.
    pub(super) files: Option<(Authorities, SeenFiles)>,
}

/// The treatment of the files of certificates and authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// The contents of before stay.
    AsBefore,
    /// The files are read again.
    ReadAgain,
}

/// Reads the secrets of these credentials again, and the files if wanted. Returns the reads it did not wait for as well.
async fn again(live: &Live, names: BTreeSet<String>, files: Files) -> (ReadAgain, LateReads) {
    let mut references = references_of(live, &names);
    let files = match files {
        Files::AsBefore => None,
        Files::ReadAgain => {
            // The shared server is built of its URL and of the file with its authorities.
            let limits = live.config.limits.as_ref();
            references.extend(limits.map(|limits| limits.redis.clone()));
            read_authorities(all_files(&live.config)).await.ok()
        }
    };
    let (secrets, late) = read_in_time(references, &live.managers, RELOAD_PATIENCE).await;
    let read = ReadAgain {
        names,
        webhooks: BTreeSet::new(),
        secrets,
        files,
    };
    (read, late)
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
