//! Reports about secrets that a load keeps back.

use std::sync::Arc;

use super::cause::Causes;
use super::{Change, KeptInput, Live, ReloadError, Reloader};
use crate::credential::{Credential, CredentialFault, KeptBackReason};
use crate::log::without_numbers;

impl Live {
    /// Returns a line for each secret or file that is kept back, could not be read again, or was
    /// never there, with the reason.
    #[must_use]
    pub fn kept_back(&self) -> Vec<String> {
        let credentials = self.credentials.values();
        let secrets = credentials.flat_map(|credential| {
            let mut lines = match credential.kept_back() {
                Some(_) => kept_back_lines(credential),
                None => missing_lines(credential),
            };
            for unread in self.unread_secrets(credential) {
                let line = unread.to_string();
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
            lines
        });
        let files = self.kept_inputs.iter().map(KeptInput::line);
        secrets.chain(files).collect()
    }

    /// Returns the refusal of a reload for a person that made none of `changes` while secrets could
    /// not be read: new values may be there. A load for another cause is repeated without a person.
    pub(super) fn unread_for(&self, causes: &Causes, changes: &[Change]) -> Option<ReloadError> {
        if !causes.wait_for(changes) {
            return None;
        }
        let lines = self.failed_reads();
        (!lines.is_empty()).then(|| ReloadError::KeptBack(lines.into()))
    }

    /// Returns a line for each secret of a program or a secret manager whose last read failed.
    pub(super) fn failed_reads(&self) -> Vec<String> {
        let credentials = self.credentials.values();
        let unread = credentials.flat_map(|credential| self.unread_secrets(credential));
        let has_failed = |fault: &CredentialFault| {
            let read = self.managers.last_read(&fault.reference);
            read.is_some_and(|read| read.problem.is_some())
        };
        let failed = unread.filter(has_failed);
        failed.map(|fault| fault.to_string()).collect()
    }
}

impl Reloader {
    /// Reports the secrets that `live` keeps back and `before` did not, in log, audit file and
    /// metrics. Returns true if there are any.
    pub(super) fn report_kept_back(&self, before: &Live, live: &Live) -> bool {
        let mut has_reported = false;
        for (name, credential) in &live.credentials {
            let earlier = before.credentials.get(name);
            if earlier.is_some_and(|earlier| Arc::ptr_eq(earlier, credential)) {
                continue;
            }
            let held = earlier.map(Arc::as_ref);
            let Some(now) = credential.kept_back() else {
                log_missing(held, credential);
                log_mended(held, credential);
                continue;
            };
            let reported = held.and_then(Credential::kept_back);
            if reported.is_some_and(|reported| reported.is_same(now)) {
                continue;
            }
            has_reported = true;
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
                refusal.record(&self.audit, name, *fingerprint);
            }
        }
        has_reported
    }
}

/// Logs the newly missing secrets of a credential.
fn log_missing(before: Option<&Credential>, credential: &Credential) {
    let logged = before.map(missing_lines).unwrap_or_default();
    for reason in missing_lines(credential) {
        if !logged.contains(&reason) {
            let reason = without_numbers(&reason);
            tracing::error!(
                credential = credential.name,
                reason,
                "the source has no secret that can be used: put one there; requests of the credential cannot be sent until then"
            );
        }
    }
}

/// Logs the end of what was kept back or missing: nobody is to wait for a further alarm.
fn log_mended(before: Option<&Credential>, credential: &Credential) {
    let is_whole = |credential: &Credential| {
        credential.kept_back().is_none() && credential.faults().is_empty()
    };
    if before.is_some_and(|before| !is_whole(before)) && is_whole(credential) {
        tracing::info!(
            credential = credential.name,
            "the source has good secrets again"
        );
    }
}

/// Returns a line for each reference without a secret, for a credential that has none from before
/// either.
fn missing_lines(credential: &Credential) -> Vec<String> {
    let faults = credential.faults().iter();
    faults.map(ToString::to_string).collect()
}

fn kept_back_lines(credential: &Credential) -> Vec<String> {
    credential
        .kept_back()
        .into_iter()
        .flat_map(|kept_back| kept_back.reasons())
        .map(|reason| format!("credential.{}{reason}", credential.name))
        .collect()
}
