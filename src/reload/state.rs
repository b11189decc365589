//! The state of a load: what outlives a restart.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::kept_inputs::InputUse;
use super::remarks::Remarks;
use super::{Live, Reloader};
use crate::config::Config;
use crate::credential::source::{Findings, SourceError};
use crate::credential::{Credential, SecretVersion};
use crate::provider::SecretOrigin;
use crate::secret::Fingerprint;
use crate::state::{SightKind, State};

impl Reloader {
    /// Keeps the first sights of the secrets in use, in the shared server and in the folder of the
    /// state.
    pub(super) async fn keep_sights(&self, sent: &mut HashSet<Fingerprint>) {
        let live = self.live();
        live.share_sights(sent).await;
        live.record_sights().await;
        self.keep_nonces().await;
    }

    /// Takes the nonces of events that a process before has kept.
    pub(super) async fn restore_nonces(&self) {
        if let Some(state) = self.live().state.clone() {
            let kept = on_disk(state, State::nonces).await;
            self.nonces.restore(&kept, SystemTime::now());
        }
    }

    /// Keeps the nonces of accepted events in the folder of the state, if there are new ones.
    pub async fn keep_nonces(&self) {
        let Some(state) = self.live().state.clone() else {
            return;
        };
        if self.nonces.is_changed() {
            let nonces = Arc::clone(&self.nonces);
            let merged = move |before: &[u8]| nonces.kept_with(before, SystemTime::now());
            on_disk(state, move |state| state.keep_nonces(merged)).await;
        }
    }
}

impl Live {
    /// Keeps the first sights of the secrets in use.
    async fn record_sights(self: &Arc<Self>) {
        let Some(state) = self.state.clone() else {
            return;
        };
        let live = Arc::clone(self);
        on_disk(state, move |state| {
            let versions = versions(live.credentials.values());
            let used =
                versions.map(|(version, value)| (version.secret(), value, version.first_sight()));
            state.record_sights(used, SystemTime::now());
        })
        .await;
    }

    /// Tells the shared server the first sights of secrets that providers made, and learns of
    /// earlier ones. Secrets among `sent` are not sent again.
    async fn share_sights(&self, sent: &mut HashSet<Fingerprint>) {
        let Some(shared) = self.shared() else {
            return;
        };
        let versions: Vec<_> = versions(self.credentials.values())
            .filter(|(_, value)| *value == SightKind::Random)
            .map(|(version, _)| version)
            .collect();
        let in_use: HashSet<_> = versions.iter().map(|it| it.fingerprint()).collect();
        sent.retain(|known| in_use.contains(known));
        for version in versions {
            if sent.contains(&version.fingerprint()) {
                continue;
            }
            let since = version.first_sight();
            let Ok(first) = shared.first_sight(version.secret(), since).await else {
                return;
            };
            // The server keeps whole seconds.
            if first + Duration::from_secs(1) < since {
                version.note_first_sight(first);
            }
            sent.insert(version.fingerprint());
        }
    }

    /// Gets the folder of the state ready. A fault is logged, and stops no load.
    pub(super) async fn prepare_state(&self) {
        if let Some(state) = self.state.clone() {
            on_disk(state, State::prepare).await;
        }
    }

    /// Logs problems with the key of the state that are new since `before`. Problems with the
    /// folder are logged on discovery.
    pub(super) fn log_state_key(&self, before: Option<&Self>) {
        let problem = |live: &Self| live.state.as_ref().and_then(|state| state.key_problem());
        if let Some(now) = problem(self)
            && before.and_then(problem).as_ref() != Some(&now)
        {
            tracing::error!("{now}");
        }
    }
}

/// Does work with the folder of the state on a thread of its own. A disk that hangs holds up no
/// reload and no stop: after [`DISK_TIMEOUT`] nobody waits any more, and there is no result.
pub(super) async fn on_disk<T: Default + Send + 'static>(
    state: Arc<State>,
    work: impl FnOnce(&State) -> T + Send + 'static,
) -> T {
    let folder = Arc::clone(&state);
    let done = tokio::task::spawn_blocking(move || folder.exclusively(work));
    match timeout(DISK_TIMEOUT, done).await {
        Ok(result) => result.ok().flatten().unwrap_or_default(),
        Err(_) => {
            state.note_silence();
            T::default()
        }
    }
}

/// The time that a load, a reload or the stop waits for the disk of the state: a busy disk answers
/// within a second, and a dead one never.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives the secrets of credentials the times of their first sights, as far as these were kept.
pub(super) fn apply_sights<'c>(
    state: &State,
    credentials: impl Iterator<Item = &'c Arc<Credential>>,
) {
    let sights = state.sights();
    let now = SystemTime::now();
    for (version, value) in versions(credentials) {
        if let Some(since) = sights.first(version.secret(), value, now) {
            version.note_first_sight(since);
        }
    }
}

/// Returns the versions of the secrets in use, each with the kind of its value.
fn versions<'c>(
    credentials: impl Iterator<Item = &'c Arc<Credential>>,
) -> impl Iterator<Item = (&'c SecretVersion, SightKind)> {
    credentials.flat_map(|credential| {
        credential.slots().iter().flat_map(|(name, slot)| {
            let secret = credential.provider.secret(name);
            let value = match secret.map(|secret| secret.origin) {
                Some(SecretOrigin::Random) => SightKind::Random,
                Some(SecretOrigin::Chosen) | None => SightKind::Chosen,
            };
            slot.versions().map(move |version| (version, value))
        })
    })
}

/// Returns the state of a configuration; `None` without `[state]`.
///
/// The state of the load before is carried over while folder and keys are equal, and while no
/// usable key is there.
pub(super) fn state_of(
    config: &Config,
    findings: &Findings,
    before: Option<&Live>,
    remarks: &mut Remarks,
) -> Option<Arc<State>> {
    let settings = config.state.as_ref()?;
    let live = before;
    let before = before
        .and_then(|live| live.state.as_ref())
        .filter(|state| state.dir() == settings.dir);
    let keyed = live
        .zip(before)
        .filter(|(_, before)| before.sealed().is_some());
    let mut secrets = Vec::new();
    for (place, reference) in settings.key.iter().enumerate() {
        let serves = InputUse::StateKey;
        let first = place == 0;
        match (findings.get(reference), keyed) {
            (Some(Ok(found)), keyed) => {
                if let (Some(weak), Some((live, before))) = (State::weakness(&found.secret), keyed)
                {
                    remarks.keep(serves, reference, &weak.to_string(), live);
                    return Some(Arc::clone(before));
                }
                secrets.push(&*found.secret);
            }
            // The first key must be present, because the first key seals. The other keys are on the
            // way out.
            (Some(Err(SourceError::Late)), Some((live, before))) if first => {
                remarks.keep_noted(&serves, live);
                return Some(Arc::clone(before));
            }
            (Some(Err(error)), Some((live, before))) if first => {
                remarks.keep(serves, reference, &error.to_string(), live);
                return Some(Arc::clone(before));
            }
            (Some(Err(error)), None) if first => {
                let problem = format!("state.key: `{reference}`: {error}");
                let is_same = |state: &&Arc<State>| state.key_problem().as_ref() == Some(&problem);
                let unchanged = before.filter(is_same).cloned();
                return Some(unchanged.unwrap_or_else(|| {
                    Arc::new(State::new(&settings.dir, &[]).without_key(problem))
                }));
            }
            (Some(Err(_)) | None, _) => {}
        }
    }
    let unchanged = before.filter(|before| before.is_of(&settings.dir, &secrets));
    let state = unchanged.cloned();
    Some(state.unwrap_or_else(|| Arc::new(State::new(&settings.dir, &secrets))))
}
