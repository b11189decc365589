//! Newer, unusable secrets of a source: the new secrets are kept back, and the secrets before stay
//! in use.

use std::time::SystemTime;

use super::fault::CredentialFault;
use super::slot::Slot;
use super::verification::SecretRefusal;
use crate::config::Reference;
use crate::named::ByName;
use crate::secret::Fingerprint;

/// The newer secrets of a credential that are not in use, with the reason.
#[derive(Clone, Debug)]
pub struct KeptBack {
    /// The reason.
    pub reason: KeptBackReason,
    /// The time since which the secrets are kept back.
    pub since: SystemTime,
    /// The values that were found and are not in use.
    values: Vec<(Reference, Fingerprint)>,
}

/// The reason for which newer secrets are kept back.
#[derive(Clone, Debug)]
pub enum KeptBackReason {
    /// Secrets cannot be read, or do not have the form of their kind.
    Unusable(Vec<CredentialFault>),
    /// The provider refuses the secrets.
    Refused {
        /// The reason of the provider.
        refusal: SecretRefusal,
        /// The fingerprint of the secret at fault, or else of the first required secret.
        fingerprint: Option<Fingerprint>,
    },
}

impl KeptBack {
    /// Describes why newer secrets are kept back; `slots` has those that were found. An equal
    /// description in `before` keeps its time.
    #[must_use]
    pub fn new(reason: KeptBackReason, slots: &ByName<Slot>, before: Option<&Self>) -> Self {
        let versions = slots.values().flat_map(Slot::versions);
        let mut kept_back = Self {
            reason,
            since: SystemTime::now(),
            values: versions
                .map(|version| (version.reference.clone(), version.fingerprint()))
                .collect(),
        };
        if let Some(before) = before.filter(|before| before.is_same(&kept_back)) {
            kept_back.since = before.since;
        }
        kept_back
    }

    /// Returns a line for each reason, to follow the name of the credential.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        match &self.reason {
            KeptBackReason::Unusable(faults) => faults
                .iter()
                .map(|fault| {
                    format!(
                        ".{}: `{}`: {}",
                        fault.secret, fault.reference, fault.problem
                    )
                })
                .collect(),
            KeptBackReason::Refused { refusal, .. } => vec![match &refusal.secret {
                Some(secret) => format!(".{secret}: {refusal}"),
                None => format!(": {refusal}"),
            }],
        }
    }

    /// True if values and reasons are equal.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.values == other.values && self.reasons() == other.reasons()
    }

    /// Returns the values kept back, each with its reference.
    pub fn values(&self) -> impl Iterator<Item = (&Reference, Fingerprint)> {
        self.values
            .iter()
            .map(|(reference, fingerprint)| (reference, *fingerprint))
    }
}
