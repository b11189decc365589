//! The target of a rotation: a secret of a credential, its source, and the place to write.

use std::sync::Arc;

use super::TOKEN;
use super::obstacle::Obstacle;
use crate::config::Reference;
use crate::credential::source::SecretPlace;
use crate::credential::{Credential, CredentialFault};
use crate::provider::{SecretKind, SecretOrigin};
use crate::reload::Live;
use crate::secret::{Fingerprint, Secret};

/// The secret to rotate.
#[derive(Clone)]
pub struct RotationTarget {
    /// The name of the credential.
    pub credential: String,
    /// The name of the secret within the credential.
    pub secret: String,
    /// The shortest name that `keyside rotate` and `keyside revoke` take for the secret: that of
    /// the credential, for the secret that requests carry.
    pub name: String,
    /// The source that sidecars read the secret from.
    pub source: Reference,
    /// The place that a new secret is written to.
    pub place: SecretPlace,
    /// The text of the place, for the journal: a program with its arguments, which a message leaves
    /// out.
    pub(super) place_text: String,
    /// True if the user names the place now.
    pub(super) is_place_named: bool,
    /// The usable secret in the source.
    pub(super) current: Option<Arc<Secret>>,
    /// The reasons for a source without a usable secret.
    pub faults: Vec<CredentialFault>,
}

impl RotationTarget {
    /// Finds the secret by `NAME` of a credential, or by `NAME.SECRET`. Without a secret's name the
    /// first secret that requests need is meant. `place` is the text of a place other than the
    /// configured one.
    ///
    /// # Errors
    /// If there is no such secret in the configuration.
    pub fn find(live: &Live, name: &str, place: Option<&str>) -> Result<Self, Obstacle> {
        let (credential, secret) = named(live, name)?;
        let slot = credential.slots().get(&secret);
        let faults: Vec<_> = credential
            .faults()
            .iter()
            .filter(|fault| fault.secret == secret)
            .cloned()
            .collect();
        let held = slot.map(|slot| slot.current.reference.clone());
        let unheld = || faults.first().map(|fault| fault.reference.clone());
        let Some(source) = held.or_else(unheld) else {
            return Err(Obstacle::NoSecret {
                credential: credential.name.clone(),
                secret,
            });
        };
        // The key `place` is for the secret that requests carry, and for no other secret of the
        // credential.
        let is_of_requests = requests_secret(credential).is_some_and(|kind| kind.name == secret);
        let configured = live
            .config
            .credentials
            .get(&credential.name)
            .filter(|_| is_of_requests)
            .and_then(|config| config.place.clone());
        let named = match place {
            Some(text) => Some(SecretPlace::parse(text).map_err(Obstacle::Place)?),
            None => configured.map(SecretPlace::Named),
        };
        let found = named.unwrap_or_else(|| SecretPlace::Source(source.clone()));
        let place_text = place.map_or_else(|| found.to_string(), str::to_owned);
        let name = if is_of_requests {
            credential.name.clone()
        } else {
            format!("{}.{secret}", credential.name)
        };
        Ok(Self {
            credential: credential.name.clone(),
            secret,
            name,
            source,
            place: found,
            place_text,
            is_place_named: place.is_some(),
            current: slot.map(|slot| slot.current.shared()),
            faults,
        })
    }

    /// Returns the fingerprint of the usable secret in the source.
    #[must_use]
    pub fn current(&self) -> Option<Fingerprint> {
        let current = self.current.as_ref();
        current.map(|current| current.fingerprint().of_random_key())
    }

    /// True for the secret in requests.
    pub(super) fn is_carried(&self, credential: &Credential) -> bool {
        requests_secret(credential).is_some_and(|kind| kind.name == self.secret)
    }

    /// True if sidecars read the secret from another place than the one that is written.
    #[must_use]
    pub fn is_written_elsewhere(&self) -> bool {
        self.place != SecretPlace::Source(self.source.clone())
            && self.place != SecretPlace::Named(self.source.clone())
    }
}

/// Returns the names of the credentials with `renew`.
pub(super) fn renewed_credentials(live: &Live) -> impl Iterator<Item = &String> {
    let configs = live.config.credentials.iter();
    configs
        .filter(|(_, config)| config.renew.is_some())
        .map(|(name, _)| name)
}

/// Checks that the provider exchanges the secret for a new one.
///
/// # Errors
/// If the provider does not, or the app secret is missing.
pub(super) fn must_be_exchangeable(target: &RotationTarget, live: &Live) -> Result<(), Obstacle> {
    let name = &target.credential;
    let credential = live
        .credentials
        .get(name)
        .ok_or_else(|| Obstacle::NoCredential(name.clone()))?;
    if !credential.provider.is_asked_as_graph() || target.secret != TOKEN {
        return Err(Obstacle::NoExchange {
            secret: format!("{name}.{}", target.secret),
            provider: credential.provider.title.clone(),
        });
    }
    if credential.current(APP_SECRET).is_none() {
        return Err(Obstacle::NoAppSecret(name.clone()));
    }
    Ok(())
}

/// True if the provider revokes the secret when asked with a newer one.
pub(super) fn is_revocable(target: &RotationTarget, credential: &Credential) -> bool {
    credential.provider.is_asked_as_graph()
        && target.secret == TOKEN
        && credential.current(APP_SECRET).is_some()
}

fn unknown_secret(credential: &Credential) -> Obstacle {
    let name = &credential.name;
    let faults = credential.faults();
    let is_configured = |kind: &&SecretKind| {
        credential.slots().get(&kind.name).is_some()
            || faults.iter().any(|fault| fault.secret == kind.name)
    };
    let secrets = credential.provider.secrets.iter();
    Obstacle::UnknownSecret {
        credential: name.clone(),
        known: secrets
            .filter(|kind| kind.origin == SecretOrigin::Random)
            .filter(is_configured)
            .map(|kind| format!("`{name}.{}`", kind.name))
            .collect(),
    }
}

/// Finds the credential and the name of the secret.
fn named<'l>(live: &'l Live, name: &str) -> Result<(&'l Credential, String), Obstacle> {
    let unknown = || Obstacle::NoCredential(name.to_owned());
    let (credential, secret) = match live.credentials.get(name) {
        Some(credential) => (credential, None),
        None => {
            let (credential, secret) = name.rsplit_once('.').ok_or_else(unknown)?;
            let credential = live.credentials.get(credential).ok_or_else(unknown)?;
            (credential, Some(secret))
        }
    };
    let secrets = &credential.provider.secrets;
    let kind = match secret {
        Some(secret) => secrets.iter().find(|kind| kind.name == secret),
        None => requests_secret(credential),
    }
    .ok_or_else(|| unknown_secret(credential))?;
    // A fingerprint of a chosen secret differs in each process, so nothing proves which of them a
    // sidecar uses.
    if kind.origin == SecretOrigin::Chosen {
        return Err(Obstacle::Chosen {
            credential: credential.name.clone(),
            secret: kind.name.clone(),
        });
    }
    Ok((credential, kind.name.clone()))
}

/// Returns the secret that requests carry: the first that a route requires.
fn requests_secret(credential: &Credential) -> Option<&SecretKind> {
    let secrets = &credential.provider.secrets;
    secrets.iter().find(|kind| kind.required)
}

/// The name of the secret that the provider wants with an exchange and a revocation.
const APP_SECRET: &str = "app_secret";
