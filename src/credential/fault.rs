//! A configured secret without a value, with the reason.

use std::fmt;

use crate::config::Reference;

/// A reference without a secret.
#[derive(Clone, Debug)]
pub struct CredentialFault {
    /// The name of the credential.
    pub credential: String,
    /// The name of the secret.
    pub secret: String,
    /// The reference.
    pub reference: Reference,
    /// The reason, with what to do.
    pub problem: String,
}

impl CredentialFault {
    /// True if the other fault is about an equal secret and reference, whatever the reason.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.credential, &self.secret, &self.reference)
            == (&other.credential, &other.secret, &other.reference)
    }
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "credential.{}.{}: `{}`: {}",
            self.credential, self.secret, self.reference, self.problem
        )
    }
}

impl std::error::Error for CredentialFault {}
