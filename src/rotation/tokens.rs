//! Questions to the provider about the secrets of a rotation, and revocation, each tried several
//! times.

use std::sync::Arc;
use std::time::Duration;

use super::decision::Life;
use super::obstacle::{Doubt, Obstacle};
use super::routes::TokenRoutes;
use super::target::{RotationTarget, is_revocable};
use crate::credential::source::{Findings, FoundSecret};
use crate::credential::{Credential, Slot, Verdict};
use crate::health::{self, ProviderQuery};
use crate::reload::Live;
use crate::secret::Secret;

/// Returns a copy of the credential with a different secret.
///
/// # Errors
/// If the secret has the wrong form.
pub(super) fn credential_with(
    live: &Live,
    routes: &TokenRoutes<'_>,
    target: &RotationTarget,
    secret: &Arc<Secret>,
) -> Result<Credential, Obstacle> {
    let name = &routes.credential.name;
    let config = live
        .config
        .credentials
        .get(name)
        .ok_or_else(|| Obstacle::NoCredential(name.clone()))?;
    let mut findings = Findings::new();
    for version in routes.credential.slots().values().flat_map(Slot::versions) {
        findings.insert(version.reference.clone(), Ok(found(version.shared())));
    }
    findings.insert(target.source.clone(), Ok(found(Arc::clone(secret))));
    let credential = Credential::assemble(name, config, &findings, None);
    if credential.faults().is_empty() {
        Ok(credential)
    } else {
        Err(Obstacle::Faults(credential.faults().to_vec()))
    }
}

/// Returns the reason why a value does not have the form of the secret.
pub(super) fn form_fault(
    live: &Live,
    routes: &TokenRoutes<'_>,
    target: &RotationTarget,
    value: &Arc<Secret>,
) -> Option<String> {
    let Err(Obstacle::Faults(faults)) = credential_with(live, routes, target, value) else {
        return None;
    };
    let mut faults = faults.into_iter();
    let fault = faults.find(|fault| fault.secret == target.secret)?;
    Some(fault.problem)
}

fn found(secret: Arc<Secret>) -> FoundSecret {
    FoundSecret {
        secret,
        since: None,
        warnings: Vec::new(),
    }
}

/// Asks about a credential, again while the provider gives no answer.
pub(super) async fn verify(routes: &TokenRoutes<'_>, credential: &Credential) -> Verdict {
    let mut delays = QUESTION_DELAYS.iter();
    loop {
        let verdict = routes.verify(credential.newest()).await;
        let is_final = !matches!(verdict, Verdict::Unproved(_)) || !routes.can_ask();
        match delays.next().filter(|_| !is_final) {
            Some(delay) => tokio::time::sleep(*delay).await,
            None => return verdict,
        }
    }
}

/// Asks if a secret is alive, again while the provider gives no answer.
pub(super) async fn life(
    routes: &TokenRoutes<'_>,
    target: &RotationTarget,
    credential: &Credential,
    secret: &Secret,
) -> Life {
    if !is_revocable(target, credential) {
        return match verify(routes, credential).await {
            Verdict::Proved(_) => Life::Alive,
            Verdict::Refused(_) => Life::Dead,
            // A provider that cannot be asked refuses nothing.
            Verdict::Unproved(_) if !routes.can_ask() => Life::Alive,
            Verdict::Unproved(_) => Life::Unknown,
        };
    }
    let Some(query) = routes.query(credential.newest()) else {
        return Life::Unknown;
    };
    let mut delays = QUESTION_DELAYS.iter();
    loop {
        match health::is_own_token_valid(&query, secret).await {
            Ok(true) => return Life::Alive,
            Ok(false) => return Life::Dead,
            Err(_) => match delays.next() {
                Some(delay) => tokio::time::sleep(*delay).await,
                None => return Life::Unknown,
            },
        }
    }
}

/// Revokes a token with the token of the query, of the same app, until the provider says that the
/// token is dead.
///
/// # Errors
/// If the token may be good after the last try.
pub(super) async fn revoke(
    query: &ProviderQuery<'_>,
    app: &str,
    token: &Secret,
) -> Result<(), Doubt> {
    let mut delays = REVOCATION_DELAYS.iter();
    loop {
        let revocation = health::revoke_token(query, app, token).await;
        // The answer to the revocation proves nothing: it may be lost, and the token dead.
        let doubt = match (health::is_token_valid(query, token).await, revocation) {
            (Ok(false), _) => return Ok(()),
            (Ok(true), Ok(())) => Doubt::StillGood,
            (_, Err(error)) => Doubt::Revocation(error),
            (Err(error), Ok(())) => Doubt::Unproved(error),
        };
        match delays.next() {
            Some(delay) => tokio::time::sleep(*delay).await,
            None => return Err(doubt),
        }
    }
}

/// The waits between tries of a question: a connection that was cut is answered at the second try.
const QUESTION_DELAYS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The waits between tries of a revocation: longer than a fault of one server of the provider. For
/// a longer outage there is `keyside revoke`.
const REVOCATION_DELAYS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
