//! The search for rotations that were cut off, and for renewals that cannot succeed, before the
//! token ends.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::journal::{JournalError, JournalPlace, NO_RECORD};
use super::obstacle::{Obstacle, WriteFault};
use super::orphans::{OrphanJournal, OrphanJournals};
use super::record::{Author, Record};
use super::routes::TokenRoutes;
use super::target::{RotationTarget, must_be_exchangeable, renewed_credentials};
use crate::credential::source::PlaceError;
use crate::credential::{Credential, RenewalStep, UnfinishedRotation};
use crate::log::without_numbers;
use crate::provider::SecretOrigin;
use crate::reload::{Live, Reloader};
use crate::state::StrayEntry;

/// Notes at each credential the rotations that were cut off, and the renewal that could not succeed
/// if it were due.
pub async fn check_ahead(live: &Arc<Live>) {
    note_unfinished(live).await;
    for name in renewed_credentials(live) {
        if let Some(credential) = live.credentials.get(name)
            && let Some(obstacle) = obstacle_to_renewal(live, name).await
        {
            let reason = without_numbers(&obstacle.to_string());
            let now = SystemTime::now();
            credential
                .renewal()
                .fail(RenewalStep::Preparation, reason, now);
        }
    }
}

/// Returns what stands in the way of a renewal that is not due yet; `None` if nothing does, as far
/// as can be found out without a change.
pub(super) async fn obstacle_to_renewal(live: &Live, credential: &str) -> Option<Obstacle> {
    // An unreadable secret has an alarm of its own.
    let target = RotationTarget::find(live, credential, None).ok()?;
    target.current.as_ref()?;
    if let Err(obstacle) = must_be_exchangeable(&target, live) {
        return Some(obstacle);
    }
    if let Err(obstacle) = TokenRoutes::of(live, &target) {
        return Some(obstacle);
    }
    match target.place.can_write(&live.managers).await {
        Ok(()) | Err(PlaceError::Unknown(_)) => None,
        Err(error) => Some(Obstacle::NotWritable(Box::new(WriteFault {
            place: target.place,
            error,
        }))),
    }
}

/// The checks of a sidecar for journals without a process at work.
#[derive(Default)]
pub(super) struct JournalChecks {
    last: Option<Instant>,
    /// True if the last check found a rotation that was cut off.
    found_any: bool,
}

impl JournalChecks {
    /// Checks if the time has come, and logs changes. While a rotation is unfinished, its end is
    /// noticed at once.
    pub(super) async fn check_if_due(&mut self, reloader: &Reloader) {
        let live = reloader.live();
        let is_due = self
            .last
            .is_none_or(|last| last.elapsed() + EARLY >= JOURNAL_INTERVAL);
        if is_due || self.found_any {
            self.found_any = note_unfinished(&live).await;
            self.last = Some(Instant::now());
        }
    }

    /// True if the last check found a rotation that was cut off.
    pub(super) fn found_any(&self) -> bool {
        self.found_any
    }
}

/// Notes at each credential the rotations that were cut off, and logs the changes. Returns true if
/// there are any.
async fn note_unfinished(live: &Arc<Live>) -> bool {
    let held = Arc::clone(live);
    let search = move || {
        let now = SystemTime::now();
        let mut found_any = false;
        let orphans = OrphanJournals::find(&held);
        let mut adopted = HashSet::new();
        for credential in held.credentials.values() {
            let found = unfinished_of(&held, credential, &orphans, &mut adopted, now);
            found_any |= !found.is_empty();
            let before = credential.unfinished_rotations().replace(found.clone());
            log_changes(&credential.name, &before, &found);
        }
        let has_strays = note_strays(&held, &orphans, &adopted, now);
        found_any || has_strays
    };
    // Journals are files, and files may live on a network.
    tokio::task::spawn_blocking(search)
        .await
        .unwrap_or_default()
}

/// Returns the rotations of a credential that were cut off, and adds the names of journals that an
/// earlier name of the credential left to `adopted`. Waits for the disk.
fn unfinished_of(
    live: &Live,
    credential: &Credential,
    orphans: &OrphanJournals,
    adopted: &mut HashSet<String>,
    now: SystemTime,
) -> Vec<UnfinishedRotation> {
    let kinds = credential.provider.secrets.iter();
    let mut rotations = Vec::new();
    for kind in kinds.filter(|kind| kind.origin == SecretOrigin::Random) {
        let name = format!("{}.{}", credential.name, kind.name);
        let Ok(target) = RotationTarget::find(live, &name, None) else {
            continue;
        };
        let Ok(place) = JournalPlace::of_name(live, &target) else {
            continue;
        };
        let beside = place.of_other_users(&target);
        let earlier = place.of_earlier_names(live, &target, orphans);
        adopted.extend(orphans.of(&target).map(|orphan| orphan.name.clone()));
        let target = target.name;
        for place in std::iter::once(place).chain(beside).chain(earlier) {
            rotations.extend(unfinished_at(&place, &target, credential, now));
        }
    }
    rotations
}

/// Returns the rotation whose journal is at a place, if the rotation was cut off. Waits for the
/// disk.
fn unfinished_at(
    place: &JournalPlace,
    target: &str,
    credential: &Credential,
    now: SystemTime,
) -> Option<UnfinishedRotation> {
    let journal = place.to_string();
    match place.peek() {
        Ok(record) => {
            record
                .filter(|record| is_left(record, now))
                .map(|record| UnfinishedRotation {
                    target: target.to_owned(),
                    author: record.author.shown(),
                    began: record.began,
                    journal,
                    unread: None,
                })
        }
        Err(JournalError::File { error, .. }) => {
            let modified = place.modified()?;
            let is_old = now.duration_since(modified).is_ok_and(|age| age > STALE);
            is_old.then(|| unread(target, journal, modified, error.to_string()))
        }
        // The check had the lock: no rotation is under way.
        Err(JournalError::NoRecord { .. }) => Some(unread(
            target,
            journal,
            place.modified()?,
            NO_RECORD.to_owned(),
        )),
        // A journal that a command works on ends nothing: what is known holds.
        Err(JournalError::Busy | JournalError::State(_) | JournalError::NoKey(_)) => {
            let known = credential.unfinished_rotations().all();
            let is_same = |known: &UnfinishedRotation| {
                known.target == target && known.journal == journal && known.unread.is_none()
            };
            known.into_iter().find(is_same)
        }
    }
}

/// Returns a rotation whose journal this process cannot read.
fn unread(
    target: &str,
    journal: String,
    modified: SystemTime,
    problem: String,
) -> UnfinishedRotation {
    UnfinishedRotation {
        target: target.to_owned(),
        author: Author::Command.shown(),
        began: modified,
        journal,
        unread: Some(problem),
    }
}

/// Notes the rotations that were cut off and belong to no configured credential, and logs the
/// changes. Returns true if there are any. Waits for the disk.
fn note_strays(
    live: &Live,
    orphans: &OrphanJournals,
    adopted: &HashSet<String>,
    now: SystemTime,
) -> bool {
    let Some(state) = &live.state else {
        return false;
    };
    let is_stray = |orphan: &&OrphanJournal| {
        let peek = || JournalPlace::from(*orphan).peek();
        !adopted.contains(&orphan.name)
            && matches!(peek(), Ok(Some(record)) if is_left(&record, now))
    };
    let found: Vec<_> = orphans.all().filter(is_stray).map(stray).collect();
    let before = state.replace_strays(found.clone());
    for stray in found.iter().filter(|stray| !before.contains(stray)) {
        tracing::error!(credential = stray.credential, "{}", stray.concern);
    }
    for stray in before.iter().filter(|stray| !found.contains(stray)) {
        let credential = &stray.credential;
        tracing::info!(
            credential,
            "the rotation of `{credential}` that was cut off is at its end, or of a configured credential"
        );
    }
    !found.is_empty()
}

/// Returns a rotation of no configured credential, for status.
fn stray(orphan: &OrphanJournal) -> StrayEntry {
    let credential = &orphan.record.credential;
    let target = &orphan.name;
    StrayEntry {
        credential: credential.clone(),
        concern: format!(
            "{} of {target} was cut off, and two secrets may be alive, but no credential of the configuration is called \
             {credential} or reads the place that was written: configure `{credential}` again, and run \
             `keyside revoke {target}`; the journal is {}",
            orphan.record.author.shown(),
            JournalPlace::from(orphan)
        ),
    }
}

/// True if nobody is about to bring a rotation to its end by itself.
fn is_left(record: &Record, now: SystemTime) -> bool {
    match record.author {
        Author::Command => true,
        // A sidecar revokes the old token at the end of the overlap, and tries again each minute.
        Author::Renewal => record.revoke_at.is_none_or(|at| now > at + RENEWAL_GRACE),
    }
}

fn log_changes(credential: &str, before: &[UnfinishedRotation], now: &[UnfinishedRotation]) {
    for rotation in now.iter().filter(|rotation| !before.contains(rotation)) {
        let journal = &rotation.journal;
        tracing::error!(credential, journal, "{}", rotation.concern());
    }
    let targets: HashSet<_> = now.iter().map(|rotation| &rotation.target).collect();
    for rotation in before
        .iter()
        .filter(|rotation| !targets.contains(&rotation.target))
    {
        let target = &rotation.target;
        tracing::info!(
            credential,
            "the rotation of {target} that was cut off is at its end"
        );
    }
}

/// The time between two checks for journals. A journal that was left behind waits for a person.
pub(super) const JOURNAL_INTERVAL: Duration = Duration::from_secs(60);
/// The time by which a check may come early: the last check ended somewhat after its beat, so the
/// next beat comes within less than the interval.
const EARLY: Duration = Duration::from_secs(1);
/// The time without a new record after which a journal that cannot be read is of no rotation under
/// way: each step of a rotation is shorter.
const STALE: Duration = Duration::from_secs(60);
/// The time after the end of an overlap in which a sidecar may still be about to revoke the old
/// token: ten tries, one each minute.
const RENEWAL_GRACE: Duration = Duration::from_secs(600);
