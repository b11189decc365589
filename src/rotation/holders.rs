//! Other credentials with the secret of a rotation: a revocation would end the requests of these
//! credentials.

use std::fmt;

use super::steps::{Rotation, shown};
use super::target::RotationTarget;
use crate::credential::Slot;
use crate::reload::Live;
use crate::secret::{Fingerprint, Secret};

/// A credential besides the rotated credential, and a secret of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHolder {
    /// The name of the credential.
    pub credential: String,
    /// The admin listener of the sidecar with the credential; `None` for a credential of the
    /// configuration.
    pub sidecar: Option<String>,
    /// The fingerprint of the secret, as in `/status`.
    pub fingerprint: String,
}

impl fmt::Display for SecretHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.credential)?;
        match &self.sidecar {
            Some(sidecar) => write!(f, " at {sidecar}"),
            None => Ok(()),
        }
    }
}

impl SecretHolder {
    /// Returns the other credentials of a running sidecar, with each secret of requests.
    #[must_use]
    pub fn in_use(live: &Live, target: &RotationTarget) -> Vec<Self> {
        let others = live.credentials.values();
        others
            .filter(|credential| credential.name != target.credential)
            .flat_map(|credential| {
                let names = credential.slots().keys();
                let sent = names.filter_map(|name| credential.fingerprint_in_use(name));
                sent.map(|secret| Self::of_configuration(&credential.name, secret))
            })
            .collect()
    }

    /// Returns the other credentials of a configuration from before the rotation. A credential with
    /// the same source gets the new secret from there.
    fn configured(live: &Live, target: &RotationTarget) -> Vec<Self> {
        let others = live.credentials.values();
        others
            .filter(|credential| credential.name != target.credential)
            .flat_map(|credential| {
                let currents = credential.slots().values().map(|slot: &Slot| &slot.current);
                currents
                    .filter(|current| current.reference != target.source)
                    .map(|current| Self::of_configuration(&credential.name, current.fingerprint()))
            })
            .collect()
    }

    fn of_configuration(credential: &str, secret: Fingerprint) -> Self {
        Self {
            credential: credential.to_owned(),
            sidecar: None,
            fingerprint: secret.to_string(),
        }
    }
}

impl Rotation<'_> {
    /// Returns the holders of a secret: credentials of the configuration, and further ones among
    /// `others`.
    pub(super) fn holders_of(&self, secret: &Secret, others: &[SecretHolder]) -> Vec<SecretHolder> {
        let configured = SecretHolder::configured(self.live, &self.target);
        holders_among(&configured, others, &shown(secret).to_string())
    }

    /// Returns the holders of the secret in use, if the rotation would revoke the secret.
    #[must_use]
    pub fn holders_of_current(&self, others: &[SecretHolder]) -> Vec<SecretHolder> {
        let current = self.target.current.as_deref();
        current
            .filter(|_| self.revokes_old())
            .map(|current| self.holders_of(current, others))
            .unwrap_or_default()
    }
}

/// Returns each credential with the fingerprint once.
fn holders_among(
    configured: &[SecretHolder],
    others: &[SecretHolder],
    fingerprint: &str,
) -> Vec<SecretHolder> {
    let mut holders: Vec<SecretHolder> = Vec::new();
    for holder in configured.iter().chain(others) {
        let is_known = |known: &SecretHolder| {
            known.credential == holder.credential
                && (known.sidecar.is_none() || known.sidecar == holder.sidecar)
        };
        if holder.fingerprint == fingerprint && !holders.iter().any(is_known) {
            holders.push(holder.clone());
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(credential: &str, sidecar: Option<&str>, fingerprint: &str) -> SecretHolder {
        SecretHolder {
            credential: credential.to_owned(),
            sidecar: sidecar.map(str::to_owned),
            fingerprint: fingerprint.to_owned(),
        }
    }

    #[test]
    fn each_holder_of_the_secret_is_named_once() {
        let configured = [holder("a", None, "old"), holder("b", None, "other")];
        let others = [
            holder("a", Some("s1"), "old"),
            holder("b", Some("s1"), "old"),
            holder("b", Some("s2"), "old"),
            holder("b", Some("s2"), "old"),
            holder("c", Some("s2"), "new"),
        ];
        let found = holders_among(&configured, &others, "old");
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["`a`", "`b` at s1", "`b` at s2"]);
        assert!(holders_among(&[], &others, "older").is_empty());
    }
}
