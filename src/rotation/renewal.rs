//! Renewal: ending tokens are exchanged in time, without a user.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::emptied::emptied_place;
use super::error::RotationError;
use super::journal::{JournalError, JournalPlace};
use super::obstacle::Obstacle;
use super::record::Author;
use super::target::{RotationTarget, renewed_credentials};
use super::token_renewal::{
    CHECK_INTERVAL, Renewed, exchange, finish, is_due, overlap_of, with_text,
};
use super::unfinished::{JOURNAL_INTERVAL, JournalChecks, obstacle_to_renewal};
use crate::beat::next_beat;
use crate::credential::RenewalStep;
use crate::log::without_numbers;
use crate::reload::{Live, Reloader};
use crate::shared::ServerLost;

/// Exchanges each token within the `renew` of the credential before the end, for as long as the
/// process lives.
///
/// The old token is revoked shortly before the end of the overlap. By then, all sidecars have read
/// the new token. The journal has the old token until then: a sidecar that starts within the
/// overlap goes on from the journal.
pub async fn renew(reloader: Arc<Reloader>) {
    let mut renewals = Renewals::default();
    let mut journals = JournalChecks::default();
    let mut finished = reloader.finished();
    tokio::time::sleep(CHECK_INTERVAL).await;
    loop {
        journals.check_if_due(&reloader).await;
        renewals.check_ahead(&reloader).await;
        renewals.take_up(&reloader).await;
        renewals.drop_unwanted(&reloader);
        renewals.renew_due(&reloader).await;
        renewals.finish_due(&reloader).await;
        if renewals.are_pending(&reloader.live()) || journals.found_any() {
            tokio::time::sleep(CHECK_INTERVAL).await;
        } else {
            tokio::select! {
                () = next_beat(JOURNAL_INTERVAL) => {}
                _ = finished.changed() => {}
            }
        }
    }
}

/// The recent failures, and the renewals to finish.
#[derive(Default)]
struct Renewals {
    /// The time of the next try or look by credential, after a failure.
    retry: HashMap<String, Instant>,
    /// The credentials whose renewal waits, because somebody has emptied the place.
    waiting: HashSet<String>,
    /// The time at which the old token is to be revoked, by credential.
    open: HashMap<String, Instant>,
    /// The credentials whose journal was checked since the start.
    checked: HashSet<String>,
    /// The credentials and places of which it was found out if a renewal can succeed, with the time
    /// of the next check of the failing renewals.
    foreseen: HashMap<(String, String), Option<Instant>>,
}

impl Renewals {
    /// True if a token is to be renewed, now or some time, or a renewal is to be finished.
    fn are_pending(&self, live: &Live) -> bool {
        !self.open.is_empty() || renewed_credentials(live).next().is_some()
    }

    /// Takes up the renewals that an earlier process left in a journal.
    async fn take_up(&mut self, reloader: &Reloader) {
        let live = reloader.live();
        let unseen: Vec<_> = renewed_credentials(&live)
            .filter(|name| !self.checked.contains(*name))
            .map(ToOwned::to_owned)
            .collect();
        for credential in unseen {
            let Ok(target) = RotationTarget::find(&live, &credential, None) else {
                continue;
            };
            let held = Arc::clone(&live);
            let peek = move || JournalPlace::of(&held, &target)?.peek();
            let found = tokio::task::spawn_blocking(peek).await;
            // A process that works on the rotation now may leave a journal behind.
            if matches!(found, Ok(Err(JournalError::Busy))) {
                continue;
            }
            self.checked.insert(credential.clone());
            match found {
                Ok(Ok(Some(record))) if record.author == Author::Renewal => {
                    let overlap = overlap_of(&live, &credential);
                    let left = record
                        .revoke_at
                        .and_then(|at| at.duration_since(SystemTime::now()).ok())
                        .unwrap_or_default();
                    tracing::info!(
                        credential,
                        "a renewal was cut off by the end of a process: going on with it"
                    );
                    // A clock that was set back prolongs no overlap.
                    let end = Instant::now() + left.min(overlap);
                    self.open.insert(credential, end);
                }
                Ok(Err(error)) => {
                    reloader.record_renewal_failure(
                        &credential,
                        RenewalStep::Revocation,
                        &error.to_string(),
                    );
                }
                // A rotation of the command is logged by the check for journals.
                Ok(Ok(_)) | Err(_) => {}
            }
        }
    }

    /// Tells of renewals that could not succeed, while there is time to mend what is in their way.
    async fn check_ahead(&mut self, reloader: &Reloader) {
        let live = reloader.live();
        for name in renewed_credentials(&live) {
            let Ok(target) = RotationTarget::find(&live, name, None) else {
                continue;
            };
            let key = (name.clone(), target.place_text);
            let is_known = self
                .foreseen
                .get(&key)
                .is_some_and(|next| next.is_none_or(|next| next > Instant::now()));
            if !is_known {
                let next = foresee(reloader, &live, name).await;
                self.foreseen.insert(key, next);
            }
        }
    }

    /// Ends the waits and problems of credentials that have no `renew` any more. A renewal with a
    /// journal goes on to its end.
    fn drop_unwanted(&mut self, reloader: &Reloader) {
        let live = reloader.live();
        let renewed: HashSet<_> = renewed_credentials(&live).collect();
        self.waiting.retain(|name| renewed.contains(name));
        self.retry.retain(|name, _| renewed.contains(name));
        self.foreseen.retain(|(name, _), _| renewed.contains(name));
        for (name, credential) in &live.credentials {
            let is_unwanted = !renewed.contains(name) && !self.open.contains_key(name);
            if is_unwanted && credential.renewal().problem().is_some() {
                reloader.note_renewal(name);
            }
        }
    }

    async fn renew_due(&mut self, reloader: &Reloader) {
        self.retry.retain(|_, next| *next > Instant::now());
        self.end_waits(reloader).await;
        for credential in due_credentials(&reloader.live()) {
            if self.retry.contains_key(&credential) {
                continue;
            }
            // A renewal within the overlap of the renewal before: the older token ends first. After
            // a failure, `retry` keeps the time of the next try.
            if let Some(end) = self.open.get_mut(&credential) {
                *end = (*end).min(Instant::now());
                continue;
            }
            if let Some(obstacle) = emptied_place(&reloader.live(), &credential).await {
                self.wait(reloader, credential, obstacle).await;
                continue;
            }
            match claim(&reloader.live(), &credential).await {
                // The sidecar with the claim will have renewed the token, or failed, by the next
                // try.
                Ok(false) => self.retry_later(credential),
                // Tried again until the shared server is back: days are left.
                Err(ServerLost) => self.look_later(credential),
                Ok(true) => self.renew(reloader, credential).await,
            }
        }
    }

    /// Tells once for each reason that a renewal waits until a person has decided about the place.
    async fn wait(&mut self, reloader: &Reloader, credential: String, obstacle: Obstacle) {
        let (_, text) = with_text(RotationError::Unchanged(obstacle)).await;
        if !is_told(reloader, &credential, &text) {
            reloader.record_renewal_failure(&credential, RenewalStep::Renewal, &text);
        }
        self.waiting.insert(credential.clone());
        self.look_later(credential);
    }

    /// Ends the waits for places that hold a secret again.
    async fn end_waits(&mut self, reloader: &Reloader) {
        let live = reloader.live();
        for credential in self.waiting.clone() {
            if self.retry.contains_key(&credential) {
                continue;
            }
            if let Some(obstacle) = emptied_place(&live, &credential).await {
                self.wait(reloader, credential, obstacle).await;
            } else {
                self.waiting.remove(&credential);
                reloader.note_renewal(&credential);
            }
        }
    }

    fn retry_later(&mut self, credential: String) {
        self.retry
            .insert(credential, Instant::now() + RETRY_INTERVAL);
    }

    /// Puts off a try that leaves no token behind.
    fn look_later(&mut self, credential: String) {
        self.retry
            .insert(credential, Instant::now() + FINISH_RETRY_INTERVAL);
    }

    /// Puts off the next try to bring a renewal to its end.
    fn finish_later(&mut self, credential: String) {
        let next = Instant::now() + FINISH_RETRY_INTERVAL;
        let retry = self.retry.entry(credential.clone()).or_insert(next);
        *retry = next.max(*retry);
        self.open.insert(credential, next);
    }

    async fn renew(&mut self, reloader: &Reloader, credential: String) {
        match exchange(reloader, &credential).await {
            Ok(Renewed::Until(end)) => {
                reloader.note_renewal(&credential);
                self.open.insert(credential, end);
            }
            Ok(Renewed::Elsewhere) => self.retry_later(credential),
            Err(error) => {
                let (error, text) = with_text(error).await;
                reloader.record_renewal_failure(&credential, RenewalStep::Renewal, &text);
                // The journal has what is needed to go on.
                if matches!(error, Some(RotationError::Unfinished { .. })) {
                    let retry = Instant::now() + FINISH_RETRY_INTERVAL;
                    self.open.insert(credential.clone(), retry);
                }
                self.retry_later(credential);
            }
        }
    }

    async fn finish_due(&mut self, reloader: &Reloader) {
        let due: Vec<_> = self
            .open
            .extract_if(|_, end| *end <= Instant::now())
            .map(|(credential, _)| credential)
            .collect();
        for credential in due {
            match finish(reloader, &credential).await {
                Ok(()) => reloader.note_renewal(&credential),
                Err(error) => {
                    let (error, text) = with_text(error).await;
                    // A wait lasts until a person ends it, and is told once.
                    if !(error.as_ref().is_some_and(is_wait)
                        && is_told(reloader, &credential, &text))
                    {
                        let step = RenewalStep::Revocation;
                        reloader.record_renewal_failure(&credential, step, &text);
                    }
                    self.finish_later(credential);
                }
            }
        }
    }
}

/// Finds out if a renewal could succeed, and records what is in its way. Returns the time of the
/// next check; `None` if the way is free.
async fn foresee(reloader: &Reloader, live: &Live, name: &str) -> Option<Instant> {
    let credential = live.credentials.get(name)?;
    let noted = credential
        .renewal()
        .problem()
        .filter(|problem| problem.step == RenewalStep::Preparation);
    let Some(obstacle) = obstacle_to_renewal(live, name).await else {
        if noted.is_some() {
            reloader.note_renewal(name);
        }
        return None;
    };
    let (_, reason) = with_text(obstacle).await;
    if noted.is_none_or(|noted| noted.reason != without_numbers(&reason)) {
        reloader.record_renewal_failure(name, RenewalStep::Preparation, &reason);
    }
    Some(Instant::now() + FINISH_RETRY_INTERVAL)
}

/// True for a renewal that waits because somebody has emptied the place.
fn is_wait(error: &RotationError) -> bool {
    matches!(
        error,
        RotationError::Unfinished {
            obstacle: Obstacle::Emptied(_),
            ..
        }
    )
}

/// True if the last failure of a credential's renewals has this text.
fn is_told(reloader: &Reloader, credential: &str, text: &str) -> bool {
    let live = reloader.live();
    let noted = live
        .credentials
        .get(credential)
        .and_then(|credential| credential.renewal().problem());
    noted.is_some_and(|noted| noted.reason == without_numbers(text))
}

/// Returns the credentials with a token due for renewal.
fn due_credentials(live: &Live) -> Vec<String> {
    renewed_credentials(live)
        .filter(|name| is_due(live, name))
        .cloned()
        .collect()
}

/// True if the sidecar is to renew a token. Among sidecars with a shared server, the first to find
/// the token due claims the renewal. Without a shared server, the first to write the new token has
/// renewed it, and the others revoke theirs.
async fn claim(live: &Live, name: &str) -> Result<bool, ServerLost> {
    let Some(shared) = live.shared() else {
        return Ok(true);
    };
    let token = live
        .credentials
        .get(name)
        .and_then(|credential| credential.fingerprint())
        .map(|token| token.to_string())
        .unwrap_or_default();
    shared
        .claim(name, &format!("renew {token}"), RETRY_INTERVAL)
        .await
}

/// The time between two renewals of a token after a failure. Each failure may leave a good token
/// behind.
const RETRY_INTERVAL: Duration = Duration::from_secs(3600);
/// The time between two tries to bring a renewal to its end: what stands in the way is mended by
/// people.
const FINISH_RETRY_INTERVAL: Duration = Duration::from_secs(60);
