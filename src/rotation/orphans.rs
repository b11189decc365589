//! Journals of credentials that the configuration does not have: a credential was renamed or taken
//! out since.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal_file::JournalFile;
use super::journal_sealed::SealedJournal;
use super::record::Record;
use super::target::RotationTarget;
use crate::credential::source::SecretPlace;
use crate::reload::Live;
use crate::state::State;

/// The sealed journals of no configured credential.
#[derive(Default)]
pub(super) struct OrphanJournals(Vec<OrphanJournal>);

/// A sealed journal of no configured credential.
pub(super) struct OrphanJournal {
    /// The state with the folder.
    pub(super) state: Arc<State>,
    /// The name of the journal, as the process before gave it.
    pub(super) name: String,
    pub(super) record: Record,
}

impl OrphanJournals {
    /// Finds the journals in the state folder. An entry that cannot be opened is a problem of the
    /// state. Waits for the disk.
    pub(super) fn find(live: &Live) -> Self {
        let Some(state) = &live.state else {
            return Self::default();
        };
        let names = SealedJournal::names(state).unwrap_or_default();
        let orphans = names.into_iter().filter(|name| !is_configured(live, name));
        let read = orphans.filter_map(|name| {
            Some(OrphanJournal {
                record: SealedJournal::read(state, &name).ok()??,
                state: Arc::clone(state),
                name,
            })
        });
        Self(read.collect())
    }

    /// Returns the journals of a target, matched by the source of the secret, under any name of the
    /// credential.
    pub(super) fn of<'o>(
        &'o self,
        target: &'o RotationTarget,
    ) -> impl Iterator<Item = &'o OrphanJournal> {
        let all = self.0.iter();
        all.filter(|orphan| is_of(&orphan.record, target))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &OrphanJournal> {
        self.0.iter()
    }
}

/// Returns the journals of a target in a folder of many whose names begin with an unknown
/// credential. `ending` is the rest of each name, and names secret and source.
pub(super) fn orphans_in(
    folder: &Path,
    ending: &str,
    is_known: impl Fn(&str) -> bool,
    target: &RotationTarget,
) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let paths = names.filter_map(|name| {
        let credential = name.strip_suffix(ending)?;
        let path = folder.join(&name);
        let record = (!is_known(credential)).then(|| JournalFile::peek(&path))?;
        is_of(&record.ok()??, target).then_some(path)
    });
    paths.collect()
}

/// True if the rotation wrote to the place of the target.
fn is_of(record: &Record, target: &RotationTarget) -> bool {
    let source = SecretPlace::Source(target.source.clone()).to_string();
    record.secret == target.secret && [&target.place_text, &source].contains(&&record.place)
}

/// True if the configuration has the credential of a journal.
fn is_configured(live: &Live, name: &str) -> bool {
    let named = name.rsplit_once('.');
    named.is_some_and(|(credential, _)| live.credentials.contains_key(credential))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::record::{Author, RotationOrigin, RotationStep};
    use super::*;
    use crate::config::Reference;

    const SOURCE: &str = "vault:secret/acme#token";
    const ENDING: &str = ".token.0a1b2c3d.journal";

    fn target() -> RotationTarget {
        let source: Reference = SOURCE.parse().unwrap();
        RotationTarget {
            credential: "renamed".to_owned(),
            secret: "token".to_owned(),
            name: "renamed".to_owned(),
            place: SecretPlace::Source(source.clone()),
            place_text: source.to_string(),
            source,
            is_place_named: false,
            current: None,
            faults: Vec::new(),
        }
    }

    fn record(secret: &str, place: &str) -> Record {
        Record {
            author: Author::Command,
            origin: RotationOrigin::Exchanged,
            step: RotationStep::Placing,
            credential: "acme".to_owned(),
            secret: secret.to_owned(),
            place: place.to_owned(),
            began: SystemTime::UNIX_EPOCH,
            revoke_at: None,
            old: None,
            new: None,
            program: None,
        }
    }

    #[test]
    fn a_journal_in_a_folder_of_many_is_found_by_secret_and_place() {
        let folder = std::env::temp_dir().join(format!("keyside-orphans-{}", std::process::id()));
        for (name, secret, place, is_found) in [
            ("acme.token.0a1b2c3d.journal", "token", SOURCE, true),
            // The journal of a credential that the configuration has.
            ("known.token.0a1b2c3d.journal", "token", SOURCE, false),
            ("acme.token.ffffffff.journal", "token", SOURCE, false),
            ("acme.token.0a1b2c3d.journal", "key", SOURCE, false),
            ("acme.token.0a1b2c3d.journal", "token", "exec:/put", false),
        ] {
            std::fs::remove_dir_all(&folder).ok();
            let path = folder.join(name);
            let mut journal = JournalFile::open(&path, None).unwrap();
            journal.write(&record(secret, place)).unwrap();
            drop(journal);
            let found = orphans_in(&folder, ENDING, |name| name == "known", &target());
            let expected = if is_found { vec![path] } else { Vec::new() };
            assert_eq!(found, expected, "{name} {secret} {place}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
