//! What a credential lacks, and why.

use std::fmt;

use crate::config::Reference;

/// A reference that gives no secret.
#[derive(Clone, Debug)]
pub struct CredentialFault {
    /// The credential.
    pub credential: String,
    /// Which of its secrets.
    pub secret: String,
    /// Where it should come from.
    pub reference: Reference,
    /// Why it does not.
    pub problem: String,
}

impl CredentialFault {
    /// Whether it is of the same secret from the same place.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.credential, &self.secret, &self.reference) == (&other.credential, &other.secret, &other.reference)
    }
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credential, secret, reference, problem } = self;
        write!(f, "credential.{credential}.{secret}: `{reference}`: {problem}")
    }
}

impl std::error::Error for CredentialFault {}
