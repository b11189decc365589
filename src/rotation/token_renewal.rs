//! The renewal of a single token: the exchange, the use of the new token, and the end of the old
//! token.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::decision::RotationIntent;
use super::ending::Finished;
use super::error::{NewSecretFate, RotationError, UNKNOWN_TOKEN};
use super::holders::SecretHolder;
use super::journal::{JournalError, JournalPlace};
use super::notes::on_file_thread;
use super::obstacle::Obstacle;
use super::record::Author;
use super::resume::Resumed;
use super::steps::{Rotation, RotationWorker};
use super::target::RotationTarget;
use crate::credential::source::PlaceError;
use crate::reload::{Live, ReloadCause, ReloadError, Reloader};
use crate::secret::Fingerprint;

/// The outcome of a renewal without a failure.
pub(super) enum Renewed {
    /// The new token is in use, and the old one is to be revoked then.
    Until(Instant),
    /// The token is renewed, or about to be, by a different sidecar.
    Elsewhere,
}

/// True if the token of a credential ends within its `renew`.
pub(super) fn is_due(live: &Live, name: &str) -> bool {
    let Some(renew) = live
        .config
        .credentials
        .get(name)
        .and_then(|config| config.renew)
    else {
        return false;
    };
    live.credentials
        .get(name)
        .filter(|credential| !credential.acceptance().fell_back())
        .and_then(|credential| credential.verification()?.expires_in())
        .is_some_and(|left| left <= renew)
}

/// Returns the time for which the old token stays good beside the new one.
pub(super) fn overlap_of(live: &Live, name: &str) -> Duration {
    let config = live.config.credentials.get(name);
    config.map(|config| config.overlap).unwrap_or_default()
}

fn worker(reloader: &Reloader) -> RotationWorker {
    RotationWorker {
        author: Author::Renewal,
        name: "renew".to_owned(),
        audit: reloader.audit(),
    }
}

/// Opens the journal of a credential's token.
async fn open<'l>(
    reloader: &Reloader,
    live: &'l Arc<Live>,
    name: &str,
) -> Result<Rotation<'l>, RotationError> {
    let target = RotationTarget::find(live, name, None).map_err(RotationError::Unchanged)?;
    let held = Arc::clone(live);
    let sought = target.clone();
    let place = on_file_thread(move || JournalPlace::of(&held, &sought))
        .await
        .map_err(RotationError::Unchanged)?;
    Rotation::open(live, target, place, worker(reloader)).await
}

/// Exchanges the token of a credential.
pub(super) async fn exchange(reloader: &Reloader, name: &str) -> Result<Renewed, RotationError> {
    // A configuration that is refused now would be refused with the new token as well.
    match reloader.request_and_wait(ReloadCause::BeforeRenewal).await {
        Ok(_) | Err(ReloadError::KeptBack(_)) => {}
        Err(error) => return Err(RotationError::Unchanged(Obstacle::Reload(error))),
    }
    let live = reloader.live();
    if !is_due(&live, name) {
        return Ok(Renewed::Elsewhere);
    }
    let mut rotation = match open(reloader, &live, name).await {
        Err(RotationError::Unchanged(Obstacle::Journal(JournalError::Busy))) => {
            return Ok(Renewed::Elsewhere);
        }
        rotation => rotation?,
    };
    let renewed = exchange_in(reloader, &mut rotation).await;
    rotation.close().await;
    renewed
}

async fn exchange_in(
    reloader: &Reloader,
    rotation: &mut Rotation<'_>,
) -> Result<Renewed, RotationError> {
    if rotation.record().is_some() {
        return Ok(Renewed::Until(Instant::now()));
    }
    let name = &rotation.target.credential.clone();
    let overlap = overlap_of(rotation.live, name).saturating_sub(2 * CHECK_INTERVAL);
    match replace(rotation, SystemTime::now() + overlap).await {
        Err(error) if is_lost_race(&error) => {
            let (_, error) = with_text(error).await;
            tracing::info!(
                credential = name,
                error,
                "another sidecar has renewed the token"
            );
            reloader.request(ReloadCause::Renewal);
            return Ok(Renewed::Elsewhere);
        }
        result => result?,
    }
    let new = rotation
        .kept()
        .ok_or_else(|| rotation.unfinished(Obstacle::NotInUse))?;
    bring_into_use(reloader, rotation, new).await?;
    tracing::info!(credential = name, old = rotation.target.current().map(tracing::field::display), %new, home = %rotation.target.place, "the token was renewed before its end");
    if !rotation.is_kept() {
        tracing::warn!(
            credential = name,
            "no folder for a journal can be written: a sidecar that ends within the overlap leaves the old token alive"
        );
    }
    Ok(Renewed::Until(Instant::now() + overlap))
}

/// Puts a new token in the place of the old one.
async fn replace(rotation: &mut Rotation<'_>, revoke_at: SystemTime) -> Result<(), RotationError> {
    rotation.check_exchange().await?;
    rotation.exchange(Some(revoke_at)).await?;
    rotation.store().await
}

/// True if another hand has written a token to the place first, and no second token is left alive.
fn is_lost_race(error: &RotationError) -> bool {
    match error {
        RotationError::Unchanged(Obstacle::HoldsOther(_)) => true,
        RotationError::TakenBack {
            obstacle: Obstacle::Write(fault),
            fate: NewSecretFate::Revoked,
            ..
        } => matches!(fault.error, PlaceError::Changed),
        _ => false,
    }
}

/// Reloads, and takes the new token back if it does not come into use.
async fn bring_into_use(
    reloader: &Reloader,
    rotation: &mut Rotation<'_>,
    new: Fingerprint,
) -> Result<(), RotationError> {
    let name = rotation.target.credential.clone();
    let reloaded = reloader.request_and_wait(ReloadCause::Renewal).await;
    // The reload may complain of other credentials, so only the token in use decides.
    if sends_with(&reloader.live(), &rotation.target, new) {
        return Ok(());
    }
    let not_in_use = match reloaded {
        Err(error) => Obstacle::NewRefused(error),
        Ok(_) => Obstacle::NotInUse,
    };
    if rotation.is_emptied().await {
        return Err(rotation.unfinished(rotation.wait_for_a_secret().await));
    }
    let obstacle = rotation.write_old(not_in_use).await?;
    let restored = Some(rotation.target.place.to_string());
    tracing::warn!(credential = name, "the old token is written back");
    Err(rotation.take_back(obstacle, restored).await)
}

/// True if the token is in use.
fn sends_with(live: &Live, target: &RotationTarget, token: Fingerprint) -> bool {
    live.credentials
        .get(&target.credential)
        .is_some_and(|credential| {
            let slot = credential.slots().get(&target.secret);
            slot.is_some_and(|slot| slot.current.fingerprint() == token)
                && !credential.acceptance().fell_back()
        })
}

/// Brings a renewal to its end: the token in place stays, and the other one is revoked.
pub(super) async fn finish(reloader: &Reloader, name: &str) -> Result<(), RotationError> {
    let live = reloader.live();
    let mut rotation = open(reloader, &live, name).await?;
    let finished = finish_in(reloader, &mut rotation).await;
    rotation.close().await;
    finished
}

async fn finish_in(reloader: &Reloader, rotation: &mut Rotation<'_>) -> Result<(), RotationError> {
    let name = &rotation.target.credential.clone();
    let Some(record) = rotation.record() else {
        return Ok(());
    };
    if record.may_leave_unknown_token() {
        tracing::warn!(
            credential = name,
            "the exchange of a renewal was cut off: {UNKNOWN_TOKEN}"
        );
    }
    let kept = match rotation.resume(RotationIntent::Finish).await? {
        Resumed::Placed(kept) => kept,
        Resumed::NothingLeft => return Ok(()),
    };
    if !sends_with(rotation.live, &rotation.target, kept) {
        reloader.request_and_wait(ReloadCause::Renewal).await.ok();
    }
    if !sends_with(&reloader.live(), &rotation.target, kept) {
        return Err(rotation.unfinished(Obstacle::NotInUse));
    }
    let others = SecretHolder::in_use(&reloader.live(), &rotation.target);
    if let Finished::Revoked { old: Some(old), .. } = rotation.finish(&others).await? {
        tracing::info!(credential = name, %old, "the old token is revoked, and dead");
    }
    Ok(())
}

/// Returns an error with its text, made on a thread that serves no requests: the advice for a place
/// reads the mounts of the system. While the process ends, no thread answers, and
/// the error is lost.
pub(super) async fn with_text<E: fmt::Display + Send + 'static>(error: E) -> (Option<E>, String) {
    let written = tokio::task::spawn_blocking(move || {
        let text = error.to_string();
        (Some(error), text)
    });
    written.await.unwrap_or_default()
}

/// The time between two checks for due tokens: a check without a due token costs nothing.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
