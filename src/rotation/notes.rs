//! The notes of a rotation: in the journal, for the next process, and in the audit file, for
//! people.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::obstacle::{Doubt, Obstacle};
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
            program: None,
        }
    }

    /// Writes a record to the journal, on a thread that may wait for a disk.
    pub(super) async fn write_journal(&self, record: Record) -> Result<(), Obstacle> {
        let journal = Arc::clone(&self.journal);
        on_file_thread(move || journal.lock().write(record)).await
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

    /// Removes the journal. One that cannot be removed does no harm: its secrets are dead, or in
    /// place.
    pub(super) async fn drop_journal(&self) {
        let journal = Arc::clone(&self.journal);
        let removed = on_file_thread(move || journal.lock().remove()).await;
        if let Err(error) = removed {
            tracing::error!(%error, "the journal of a rotation that has ended cannot be removed");
        }
    }

    /// Records an exchange without an answer: a token may be alive that no file and no message can
    /// name.
    pub(super) fn record_lost_exchange(&self) {
        let old = self.record().and_then(|record| record.old);
        let fields = [
            ("credential", self.target.credential.as_str().into()),
            ("secret", self.target.secret.as_str().into()),
            ("old", old.map(|old| shown(&old).to_string()).into()),
            ("by", self.worker.name.as_str().into()),
        ];
        self.worker.audit.record("exchange lost", fields);
    }

    pub(super) fn record_event(&self, event: &str, new: &Secret) {
        let old = self
            .record()
            .and_then(|record| record.old)
            .map(|old| shown(&old).to_string());
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
            None => REVOKED,
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

impl Rotation<'_> {
    /// Returns the fingerprints of the secrets recorded as revoked in the audit file; none without
    /// an audit file.
    #[must_use]
    pub fn revoked_before(&self) -> BTreeSet<String> {
        let settings = self.live.config.audit.as_ref();
        let file = settings.and_then(|settings| File::open(&settings.file).ok());
        let lines = file
            .map(|file| BufReader::new(file).split(b'\n'))
            .into_iter()
            .flatten()
            .map_while(Result::ok);
        lines.filter_map(|line| revoked_in(&line)).collect()
    }
}

/// Returns the fingerprint of the secret recorded as revoked in a line of the audit file.
fn revoked_in(line: &[u8]) -> Option<String> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let fingerprint = line.get("fingerprint")?.as_str()?;
    (line.get("event")? == REVOKED).then(|| fingerprint.to_owned())
}

/// The event of a revocation in the audit file.
const REVOKED: &str = "revoked";

/// Works with files on a thread that may wait for a disk.
pub(super) async fn on_file_thread<T: Send + 'static, E: Into<Obstacle> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Obstacle> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Obstacle::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_of_a_revocation_by_its_event_alone() {
        for (line, expected) in [
            (
                r#"{"event":"revoked","fingerprint":"29a1608777fb"}"#,
                Some("29a1608777fb"),
            ),
            (
                r#"{"event":"revocation failed","fingerprint":"29a1608777fb"}"#,
                None,
            ),
            (r#"{"event":"revoked","credential":"acme"}"#, None),
            (r#"{"event":"revoked","fingerprint":"29a16"#, None),
            ("", None),
        ] {
            let found = revoked_in(line.as_bytes());
            assert_eq!(found.as_deref(), expected, "{line}");
        }
    }
}
