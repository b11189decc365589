//! The error for a request that needs a secret missing from the secret set.

/// The name of a secret needed by a request and absent from the secret set.
#[derive(Debug)]
pub struct MissingSecret(pub String);
