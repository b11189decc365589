//! The error for a request that needs a secret which its secret set does not have.

/// The name of a secret needed by a request and absent from the secret set.
#[derive(Debug)]
pub struct MissingSecret(pub String);
