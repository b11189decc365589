//! Replaced secrets over a restart: sealed while their overlap lasts, restored at the next start,
//! wiped at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::aside::aside;
use super::draft::{Draft, HasKept};
use super::load::finish;
use super::metrics::ReloadMetrics;
use super::state::on_disk;
use super::{Live, Reloader};
use crate::config::CredentialConfig;
use crate::credential::{Credential, KeptSet, Previous};
use crate::state::{EntryName, Left, Moment, SealedStore, State, StateError};

/// The sets to restore.
#[derive(Default)]
pub(super) struct Restored {
    /// The sets by credential.
    sets: BTreeMap<String, Vec<Previous>>,
    /// The owners of the entries that the sets are from, each with the credential.
    owners: Vec<(String, String)>,
}

/// The entries with replaced secrets, as the process last wrote or read them.
#[derive(Debug, Default)]
pub(super) struct KeptOverlaps(Mutex<BTreeMap<String, Known>>);

/// An entry that the process knows.
#[derive(Debug)]
enum Known {
    /// An entry that the process found, and whose time is unsure.
    Waiting { found: Instant },
    /// An entry under an earlier name, whose sets the process has restored.
    Moved {
        /// The credential that the sets belong to.
        to: String,
    },
    /// An entry that the process has written or restored.
    Own {
        /// The ends of the overlaps in it; empty before the process has written the entry.
        ends: Vec<Instant>,
        written: Option<Instant>,
    },
}

/// The text of an entry.
#[derive(Serialize, Deserialize)]
struct Entry {
    at: Moment,
    provider: String,
    sets: Vec<KeptSet>,
}

impl Reloader {
    /// Seals the replaced secrets of now, wipes those whose overlap is over, and restores those
    /// from before a restart.
    pub(super) async fn sync_overlaps(&self) {
        let live = self.live();
        let Some(state) = live.state.clone().filter(|state| state.sealed().is_some()) else {
            return;
        };
        let overlaps = Arc::clone(&self.overlaps);
        let current = Arc::clone(&live);
        let restored = on_disk(state, move |state| overlaps.sync(state, &current)).await;
        if restored.sets.is_empty() {
            return;
        }
        if let Some(restored_live) = restore(&live, restored, &self.overlaps, &self.metrics).await {
            self.publish(&restored_live);
            log_restored(&restored_live);
        }
    }

    /// Seals the replaced secrets for the last time, and logs the secrets that the restart forgets.
    pub async fn end_overlaps(&self) {
        self.sync_overlaps().await;
        for lost in self.live().lost_at_restart() {
            if !self.overlaps.has(&lost.credential) {
                tracing::warn!("{}", lost.text());
            }
        }
    }
}

/// A replaced secret that only the memory of the process has.
pub(super) struct Lost {
    credential: String,
    secret: String,
    left: Duration,
}

impl Lost {
    fn text(&self) -> String {
        let credential = &self.credential;
        let secret = &self.secret;
        let minutes = self.left.as_secs() / 60;
        let left = match minutes / 60 {
            0 => format!("{minutes} min"),
            hours => format!("{hours} h"),
        };
        format!(
            "the overlap of {credential}.{secret} had {left} to go, and the stop ends it: list the old one second, as in \
             {secret} = [\"NEW\", \"OLD\"], or keep replaced secrets over a restart with [state] key"
        )
    }
}

impl Live {
    /// Returns the replaced secrets within their overlap that only this process has.
    fn lost_at_restart(&self) -> Vec<Lost> {
        let mut lost = Vec::new();
        let now = Instant::now();
        for credential in self.credentials.values() {
            for previous in credential.previous().iter().filter(|set| set.is_in_time()) {
                let gone = previous.secrets().iter().filter(|(name, version)| {
                    let slot = credential.slots().get(name);
                    !slot.is_some_and(|slot| {
                        slot.versions()
                            .any(|listed| listed.secret().same_as(version.secret()))
                    })
                });
                lost.extend(gone.map(|(name, _)| Lost {
                    credential: credential.name.clone(),
                    secret: name.clone(),
                    left: previous.until().saturating_duration_since(now),
                }));
            }
        }
        lost
    }
}

impl KeptOverlaps {
    /// True if the replaced secrets of a credential are sealed. A sync that still waits for the
    /// disk has sealed nothing.
    fn has(&self, credential: &str) -> bool {
        let known = self.0.try_lock();
        matches!(
            known.as_ref().and_then(|known| known.get(credential)),
            Some(Known::Own {
                written: Some(_),
                ..
            })
        )
    }

    /// Notes the entries whose sets were restored, by owner and credential: from now on the process
    /// keeps them, and removes them at the end.
    fn note_restored(&self, owners: Vec<(String, String)>) {
        let mut known = self.0.lock();
        for (owner, credential) in owners {
            let own = Known::Own {
                ends: Vec::new(),
                written: None,
            };
            if owner != credential {
                let to = credential.clone();
                known.insert(owner, Known::Moved { to });
            }
            known.insert(credential, own);
        }
    }

    /// Brings the entries up to the live state, and returns the sets to restore. Waits for the
    /// disk.
    pub(super) fn sync(&self, state: &State, live: &Live) -> Restored {
        let Some(sealed) = state.sealed() else {
            return Restored::default();
        };
        let mut known = self.0.lock();
        let now = Instant::now();
        seal_due(&mut known, state, sealed, live, now);
        wipe_ended(&mut known, state, sealed, live);
        find_others(&mut known, state, sealed, live, now)
    }
}

/// Seals the replaced secrets whose entries are missing or old.
fn seal_due(
    known: &mut BTreeMap<String, Known>,
    state: &State,
    sealed: &SealedStore,
    live: &Live,
    now: Instant,
) {
    for (name, credential) in &live.credentials {
        let ends = ends(credential);
        if is_due(known.get(name), &ends, now) {
            let written = state
                .note(&subject(name), write(sealed, credential, now))
                .map(|()| now);
            known.insert(name.clone(), Known::Own { ends, written });
        }
    }
}

/// Removes the entries of this process whose overlaps are over.
fn wipe_ended(
    known: &mut BTreeMap<String, Known>,
    state: &State,
    sealed: &SealedStore,
    live: &Live,
) {
    known.retain(|name, entry| {
        let credential = live.credentials.get(name);
        let is_over = matches!(entry, Known::Own { .. })
            && credential.is_none_or(|credential| ends(credential).is_empty());
        if is_over {
            state.note(&subject(name), sealed.remove(&entry_name(name)));
        }
        !is_over
    });
}

/// Returns the sets in entries of an earlier process, and removes such entries of whose overlaps
/// nothing is left.
fn find_others(
    known: &mut BTreeMap<String, Known>,
    state: &State,
    sealed: &SealedStore,
    live: &Live,
    now: Instant,
) -> Restored {
    let names = state.note("previous", sealed.names(KIND));
    let mut restored = Restored::default();
    for name in names.unwrap_or_default() {
        let owner = name.owner();
        let found = match known.get(owner) {
            Some(Known::Own { .. }) => continue,
            Some(Known::Moved { to }) => {
                if is_taken_over(to, known, live)
                    && state.note(&subject(owner), sealed.remove(&name)).is_some()
                {
                    known.remove(owner);
                }
                continue;
            }
            Some(Known::Waiting { found }) => *found,
            None => now,
        };
        let result = found_entry(sealed, &name, live, known, now.duration_since(found));
        match state.note(&subject(owner), result) {
            Some(Found::Sets(credential, sets)) => {
                restored.owners.push((owner.to_owned(), credential.clone()));
                restored.sets.entry(credential).or_default().extend(sets);
            }
            Some(Found::Unsure) => {
                known.insert(owner.to_owned(), Known::Waiting { found });
            }
            Some(Found::Over) => {
                state.note(&subject(owner), sealed.remove(&name));
                known.remove(owner);
            }
            None => {}
        }
    }
    restored
}

/// True if nothing of an entry that moved to the credential `to` is left to seal: the sets are
/// sealed under the new name, or their time is over.
fn is_taken_over(to: &str, known: &BTreeMap<String, Known>, live: &Live) -> bool {
    let is_sealed = matches!(
        known.get(to),
        Some(Known::Own {
            written: Some(_),
            ..
        })
    );
    let credential = live.credentials.get(to);
    is_sealed || credential.is_none_or(|credential| ends(credential).is_empty())
}

/// The sets of an entry that the process did not write.
enum Found {
    /// The name of a credential, and the sets with time left.
    Sets(String, Vec<Previous>),
    /// The clock may be wrong, or the credential is not there.
    Unsure,
    /// No time is left of any set, or the sets are sealed under the new name of their credential.
    Over,
}

/// Reads an entry known to the process for the time `age`.
fn found_entry(
    sealed: &SealedStore,
    name: &EntryName,
    live: &Live,
    known: &BTreeMap<String, Known>,
    age: Duration,
) -> Result<Found, StateError> {
    let Some(text) = sealed.get(name)? else {
        return Ok(Found::Over);
    };
    let entry: Entry = serde_json::from_slice(&text).map_err(|_| StateError::Damaged {
        entry: name.to_string(),
    })?;
    let owner = owner_of(&entry, name.owner(), live);
    if let Some((new, _)) = owner
        && new != name.owner()
        && let Some(Known::Own { written, .. }) = known.get(new)
    {
        // The entry of before goes once the sets are sealed under the new name.
        return Ok(if written.is_some() {
            Found::Over
        } else {
            Found::Unsure
        });
    }
    Ok(sets_of(entry, owner, age))
}

/// Returns the credential of an entry: the one with its name, or the only one that has the same
/// references. Under a different provider a name stands for a different account.
fn owner_of<'l>(
    entry: &Entry,
    name: &str,
    live: &'l Live,
) -> Option<(&'l String, &'l CredentialConfig)> {
    let configs = &live.config.credentials;
    let is_of_provider = |config: &CredentialConfig| config.provider.name == entry.provider;
    if let Some(named) = configs.get_key_value(name) {
        return Some(named).filter(|(_, config)| is_of_provider(config));
    }
    let has_read =
        |config: &CredentialConfig| entry.sets.iter().all(|set| set.is_of(&config.secrets));
    let mut same = configs
        .iter()
        .filter(|(_, config)| is_of_provider(config) && has_read(config));
    // Between two names, the earlier credential cannot be told.
    same.next().filter(|_| same.next().is_none())
}

/// Returns the sets of an entry with time left.
fn sets_of(entry: Entry, owner: Option<(&String, &CredentialConfig)>, age: Duration) -> Found {
    let now = Moment::now();
    let mut sets = Vec::new();
    let mut is_unsure = false;
    for set in entry.sets {
        match entry.at.left(set.left(), &now, age) {
            Left::Nothing => {}
            Left::Unsure => is_unsure = true,
            Left::Time(left) => match owner {
                // A shorter overlap counts at once.
                Some((_, settings)) => {
                    let left = left.min(settings.overlap);
                    sets.push(set.restore(&settings.provider, left, Instant::now()));
                }
                None => is_unsure = true,
            },
        }
    }
    match owner.filter(|_| !sets.is_empty()) {
        Some((name, _)) => Found::Sets(name.clone(), sets),
        None if is_unsure => Found::Unsure,
        None => Found::Over,
    }
}

/// Writes the replaced secrets of a credential.
fn write(sealed: &SealedStore, credential: &Credential, now: Instant) -> Result<(), StateError> {
    let sets: Vec<_> = kept_sets(credential)
        .map(|previous| KeptSet::of(previous, kept_until(credential, previous, now), now))
        .collect();
    let length = sets.iter().map(KeptSet::length).sum::<usize>() + MAX_HEAD;
    let entry = Entry {
        at: Moment::now(),
        provider: credential.provider.name.clone(),
        sets,
    };
    // Sized once: a growing buffer leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    serde_json::to_writer(&mut *text, &entry).map_err(|_| StateError::Cipher)?;
    sealed.put(&entry_name(&credential.name), &text)
}

/// Returns the sets to keep: within their overlap, or in use, whatever the time.
fn kept_sets(credential: &Credential) -> impl Iterator<Item = &Previous> {
    let sets = credential.previous().iter();
    sets.filter(|set| set.is_in_time() || credential.is_sent(set))
}

/// Returns the end of the time to keep a set. The first requests after a restart find a set in use.
fn kept_until(credential: &Credential, set: &Previous, now: Instant) -> Instant {
    if credential.is_sent(set) {
        set.until().max(now + IN_USE_TIME)
    } else {
        set.until()
    }
}

/// Returns the ends of the overlaps of a credential.
fn ends(credential: &Credential) -> Vec<Instant> {
    kept_sets(credential).map(Previous::until).collect()
}

/// True if an entry with these ends of overlaps must be written: the entry differs, or the noted
/// time is old.
fn is_due(known: Option<&Known>, ends: &[Instant], now: Instant) -> bool {
    match known {
        _ if ends.is_empty() => false,
        Some(Known::Own {
            ends: written_ends,
            written: Some(written),
        }) => written_ends != ends || now.duration_since(*written) >= REWRITE_INTERVAL,
        Some(_) | None => true,
    }
}

/// Builds the live state again, with the restored sets; `None` if that fails.
async fn restore(
    before: &Arc<Live>,
    restored: Restored,
    kept: &KeptOverlaps,
    metrics: &ReloadMetrics,
) -> Option<Arc<Live>> {
    let Restored { sets, owners } = restored;
    let before = Arc::clone(before);
    let metrics = metrics.clone();
    let build = move || {
        let draft = Draft::with_previous(before, sets, metrics);
        let outbound = draft.routes()?;
        finish(draft, outbound, HasKept::Nothing).map(Arc::new)
    };
    let built = aside(build).await;
    match built {
        Ok(live) => {
            kept.note_restored(owners);
            Some(live)
        }
        Err(error) => {
            tracing::error!(%error, "replaced secrets from before the restart cannot be restored");
            None
        }
    }
}

/// Restores the replaced secrets from before a start, so that the first request and the first event
/// find them.
pub(super) async fn restored(
    live: Live,
    kept: &Arc<KeptOverlaps>,
    metrics: &ReloadMetrics,
) -> Arc<Live> {
    let live = Arc::new(live);
    let Some(state) = live.state.clone() else {
        return live;
    };
    let overlaps = Arc::clone(kept);
    let current = Arc::clone(&live);
    match on_disk(state, move |state| overlaps.sync(state, &current)).await {
        restored if restored.sets.is_empty() => live,
        restored => restore(&live, restored, kept, metrics)
            .await
            .unwrap_or(live),
    }
}

/// Logs the overlaps that go on after a restart.
pub(super) fn log_restored(live: &Live) {
    for credential in live.credentials.values() {
        if let Some(previous) = kept_sets(credential).next() {
            let left = previous.until().saturating_duration_since(Instant::now());
            tracing::info!(
                credential = credential.name,
                left_seconds = left.as_secs(),
                "the overlap from before the restart goes on: the replaced secrets count"
            );
        }
    }
}

fn entry_name(credential: &str) -> EntryName {
    EntryName::new(KIND, credential)
}

fn subject(credential: &str) -> String {
    entry_name(credential).to_string()
}

/// The kind of the entries with replaced secrets.
const KIND: &str = "previous";
/// The time after which an entry is written anew with the rest of an overlap: after a crash an
/// overlap is prolonged by no more than this time, even if no clock is right.
const REWRITE_INTERVAL: Duration = Duration::from_secs(60);
/// The time to keep a set in use over a restart after the end of the overlap: after a day without
/// the process, no traffic misses the set.
const IN_USE_TIME: Duration = Duration::from_secs(24 * 3600);
/// The bound on the length of what stands before the sets of an entry: a few short keys and
/// numbers.
const MAX_HEAD: usize = 512;
