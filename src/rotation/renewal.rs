//! `renew`: tokens that end are exchanged in time, without anybody asking.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Place, Rotation, RotationError, TOKEN, revoke};
use crate::audit::Audit;
use crate::reload::{Live, Reloader};
use crate::secret::{Fingerprint, Secret};
use crate::shared::Lost;

/// Exchanges each token that ends within the `renew` of its credential, for as long as the process lives.
///
/// The old token is revoked shortly before its overlap ends, by when other sidecars with the same token have read the
/// new one. A sidecar that ends before that leaves it to its own end, which is near.
pub async fn renew(reloader: Arc<Reloader>) {
    let (mut failed, mut replaced) = (HashMap::new(), Vec::new());
    loop {
        tokio::time::sleep(LOOK).await;
        failed.retain(|_, at: &mut Instant| at.elapsed() < TRY_AGAIN);
        let due = due(&reloader.live());
        for credential in due.into_iter().filter(|credential| !failed.contains_key(credential)).collect::<Vec<_>>() {
            match is_ours(&reloader.live(), &credential).await {
                // Whoever has it is done by then, or has failed.
                Ok(false) => drop(failed.insert(credential, Instant::now())),
                // Asked again when the server is back: there are days left.
                Err(Lost) => {}
                Ok(true) => match exchange(&reloader, &credential).await {
                    Ok(old) => replaced.extend(old),
                    Err(error) => {
                        tracing::error!(credential, %error, "the token ends soon and could not be renewed");
                        failed.insert(credential, Instant::now());
                    }
                },
            }
        }
        for old in replaced.extract_if(.., |old| old.until <= Instant::now()) {
            old.revoke(&reloader.live(), &reloader.audit()).await;
        }
    }
}

/// The credentials whose token ends within their `renew`.
fn due(live: &Live) -> Vec<String> {
    live.credentials.keys().filter(|name| is_due(live, name)).cloned().collect()
}

/// Whether it is this sidecar that renews a token, of those that share limits: the first that finds it due. Without a
/// shared server, `renew` is to stand in the configuration of one alone.
async fn is_ours(live: &Live, name: &str) -> Result<bool, Lost> {
    let Some(shared) = live.shared() else { return Ok(true) };
    let token = live.credentials.get(name).and_then(|credential| credential.fingerprint());
    let what = format!("renew {}", token.map(|token| token.to_string()).unwrap_or_default());
    shared.claim(name, &what, TRY_AGAIN).await
}

fn is_due(live: &Live, name: &str) -> bool {
    let renew = live.config.credentials.get(name).and_then(|config| config.renew);
    let credential = live.credentials.get(name).filter(|credential| !credential.standing().fell_back());
    let left = credential.and_then(|credential| credential.asked()?.expires_in());
    left.zip(renew).is_some_and(|(left, renew)| left <= renew)
}

/// What it was exchanged from, or nothing where another sidecar that shares the token's place has done it meanwhile.
async fn exchange(reloader: &Reloader, name: &str) -> Result<Option<Replaced>, RotationError> {
    // A reload that is refused for another reason would be refused with the new token as well.
    let refused = |reasons: Vec<String>| RotationError(format!("a reload is refused: {}", reasons.join("; ")));
    reloader.ask_and_wait("before a renewal").await.map_err(refused)?;
    let live = reloader.live();
    if !is_due(&live, name) {
        return Ok(None);
    }
    let rotation = Rotation::begin(&live, name).await?;
    let new = rotation.exchange().await?;
    rotation.put(&new).await?;
    if let Err(reasons) = reloader.ask_and_wait("renewal").await {
        return Err(rotation.undo(&new, &format!("the new token was refused: {}", reasons.join("; "))).await);
    }
    let (old, fingerprint) = (rotation.old(), new.fingerprint());
    if !sends_with(&reloader.live(), name, fingerprint) {
        return Err(rotation.undo(&new, "the new token did not come into use").await);
    }
    tracing::info!(credential = name, %old, new = %fingerprint, home = %rotation.home, "the token was renewed before its end");
    let overlap = live.config.credentials.get(name).map(|config| config.overlap).unwrap_or_default();
    Ok(Some(Replaced {
        credential: name.to_owned(),
        app: rotation.app().to_owned(),
        old: Arc::clone(&rotation.old),
        new: fingerprint,
        until: Instant::now() + overlap.saturating_sub(2 * LOOK),
    }))
}

fn sends_with(live: &Live, name: &str, token: Fingerprint) -> bool {
    live.credentials.get(name).is_some_and(|credential| {
        let slot = credential.slots().get(TOKEN);
        slot.is_some_and(|slot| slot.current.fingerprint() == token) && !credential.standing().fell_back()
    })
}

/// A token that was replaced and is still good.
struct Replaced {
    credential: String,
    app: String,
    old: Arc<Secret>,
    new: Fingerprint,
    until: Instant,
}

impl Replaced {
    async fn revoke(self, live: &Live, audit: &Audit) {
        let Self { credential, app, old, new, .. } = &self;
        let place = Place::of(live, credential).filter(|_| sends_with(live, credential, *new));
        let Some(place) = place else {
            tracing::warn!(credential, old = %old.fingerprint(), "something else is in use than what it was renewed to: it is not revoked");
            return;
        };
        match revoke(&place.question(place.route.credential.newest()), app, old).await {
            Ok(()) => {
                let fingerprint = old.fingerprint().to_string();
                audit.record(
                    "revoked",
                    [("credential", credential.as_str().into()), ("fingerprint", fingerprint.into())],
                );
                tracing::info!(credential, old = %old.fingerprint(), "the old token is revoked, and dead");
            }
            Err(error) => tracing::error!(credential, %error, "the old token may be alive"),
        }
    }
}

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// After a renewal that failed. Each may leave a token behind that nobody could revoke.
const TRY_AGAIN: Duration = Duration::from_secs(3600);
