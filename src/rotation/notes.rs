//! The notes of a rotation: in the journal, for the next process, and in the audit file, for people.

use std::sync::Arc;
use std::time::SystemTime;

use super::error::{Doubt, Obstacle};
use super::record::{Record, RotationOrigin, RotationStep};
use super::steps::{Rotation, shown};
use crate::log::without_numbers;
use crate::secret::Secret;

impl Rotation<'_> {
    pub(super) fn first_record(
        &self,
        origin: RotationOrigin,
        step: RotationStep,
        revoke_at: Option<SystemTime>,
    ) -> Record {
        Record {
            author: self.worker.author,
            origin,
            step,
            credential: self.target.credential.clone(),
            secret: self.target.secret.clone(),
            place: self.target.place_text.clone(),
            began: SystemTime::now(),
            revoke_at,
            old: self.target.current.clone(),
            new: None,
        }
    }

    /// Writes a record to the journal, on a thread that may wait for a disk.
    pub(super) async fn write_journal(&self, record: Record) -> Result<(), Obstacle> {
        let journal = Arc::clone(&self.journal);
        aside(move || journal.lock().write(record)).await
    }

    pub(super) async fn change_record(
        &self,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), Obstacle> {
        let Some(mut record) = self.record() else {
            return Ok(());
        };
        change(&mut record);
        self.write_journal(record).await
    }

    /// Removes the journal. One that cannot be removed does no harm: its secrets are dead, or in place.
    pub(super) async fn drop_journal(&self) {
        let journal = Arc::clone(&self.journal);
        let removed = aside(move || journal.lock().remove()).await;
        if let Err(error) = removed {
            tracing::error!(%error, "the journal of a rotation that has ended cannot be removed");
        }
    }

    pub(super) fn record_event(&self, event: &str, new: &Secret) {
        let old = self.record().and_then(|record| record.old);
        let old = old.map(|old| shown(&old).to_string());
        let fields = [
            ("credential", self.target.credential.as_str().into()),
            ("secret", self.target.secret.as_str().into()),
            ("old", old.into()),
            ("new", shown(new).to_string().into()),
            ("place", self.target.place.to_string().into()),
            ("by", self.worker.name.as_str().into()),
        ];
        self.worker.audit.record(event, fields);
    }

    pub(super) fn record_revocation(&self, secret: &Secret, doubt: Option<&Doubt>) {
        let reason = doubt.map(|doubt| without_numbers(&doubt.to_string()));
        let event = match reason {
            None => "revoked",
            Some(_) => "revocation failed",
        };
        let fields = [
            ("credential", self.target.credential.as_str().into()),
            ("fingerprint", shown(secret).to_string().into()),
            ("reason", reason.into()),
            ("by", self.worker.name.as_str().into()),
        ];
        self.worker.audit.record(event, fields);
    }
}

/// Works with files on a thread that may wait for a disk.
pub(super) async fn aside<T: Send + 'static, E: Into<Obstacle> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Obstacle> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Obstacle::Interrupted),
    }
}
