//! The server of shared limits, as a load finds it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::authorities::Authorities;
use super::live::SharedServer;
use super::{Live, LoadError};
use crate::config::Config;
use crate::credential::source::Findings;
use crate::metrics::Metrics;
use crate::shared::{Server, Shared};

/// The server that `[limits]` names, if there is one: that from before where it is still the same. Where a secret manager
/// does not say where it is, it counts as lost.
///
/// # Errors
/// Where its URL or its authorities cannot be used.
pub(super) fn server(
    config: &Config,
    findings: &Findings,
    files: &Authorities,
    before: Option<&Live>,
    metrics: &Arc<Metrics>,
) -> Result<Option<SharedServer>, LoadError> {
    let Some(limits) = &config.limits else { return Ok(None) };
    let fault = |problem: String| LoadError::Limits(format!("`{}`: {problem}", limits.redis));
    let ca = match limits.ca.as_ref().and_then(|path| Some((path, files.get(path)?))) {
        None => None,
        Some((_, Ok(pem))) => Some(pem.as_slice()),
        Some((path, Err(error))) => return Err(LoadError::Authority(path.clone(), error.to_string())),
    };
    let held = before.and_then(|before| before.shared.clone());
    let found = match findings.get(&limits.redis) {
        Some(Ok(found)) => found,
        Some(Err(error)) if limits.redis.is_managed() => {
            let unknown = || (Shared::unknown(error.to_string(), Arc::clone(metrics)), [0; 32]);
            return Ok(Some(held.unwrap_or_else(unknown)));
        }
        Some(Err(error)) => return Err(fault(error.to_string())),
        None => return Err(LoadError::Interrupted),
    };
    let digest = Sha256::digest(ca.unwrap_or_default()).into();
    let is_same = |(shared, authorities): &SharedServer| {
        shared.fingerprint() == Some(found.secret.fingerprint()) && *authorities == digest
    };
    if let Some(held) = held.filter(is_same) {
        return Ok(Some(held));
    }
    let server = Server::parse(&found.secret, ca).map_err(|error| fault(error.to_string()))?;
    Ok(Some((Shared::new(server, Arc::clone(metrics)), digest)))
}
