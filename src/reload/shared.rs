//! The shared server of a load.

use sha2::{Digest, Sha256};

use super::authorities::{Authorities, pem_of};
use super::live::LoadedServer;
use super::metrics::ReloadMetrics;
use super::{Live, LoadError};
use crate::config::Config;
use crate::credential::source::Findings;
use crate::shared::{ServerAddress, SharedServer, exposes_password};

/// Returns the server of `[limits] redis`; `None` without the table.
///
/// The server of the load before is carried over while URL and authorities are equal. A source without a URL is an ordinary
/// outage: the server of the load before stays, or counts as lost, and `on_failure` decides.
///
/// # Errors
/// If the URL or the authorities cannot be used.
pub(super) fn shared_server(
    config: &Config,
    findings: &Findings,
    files: &Authorities,
    before: Option<&Live>,
    metrics: &ReloadMetrics,
) -> Result<Option<LoadedServer>, LoadError> {
    let Some(limits) = &config.limits else {
        return Ok(None);
    };
    let fault = |problem: String| LoadError::Limits {
        reference: limits.redis.clone(),
        problem,
    };
    let ca = limits
        .ca
        .as_ref()
        .map(|path| pem_of(files, path))
        .transpose()?;
    let before = before.and_then(|live| live.shared.clone());
    let found = match findings.get(&limits.redis) {
        Some(Ok(found)) => found,
        Some(Err(error)) => {
            return Ok(Some(before.unwrap_or_else(|| {
                let lost = SharedServer::without_address(error.to_string(), metrics.shared.clone());
                (lost, NO_AUTHORITIES)
            })));
        }
        None => return Err(LoadError::Interrupted),
    };
    let digest = Sha256::digest(ca.unwrap_or_default()).into();
    let is_unchanged = |(shared, authorities): &LoadedServer| {
        shared.fingerprint() == Some(found.secret.fingerprint()) && *authorities == digest
    };
    if let Some(unchanged) = before.filter(is_unchanged) {
        return Ok(Some(unchanged));
    }
    let server =
        ServerAddress::parse(&found.secret, ca).map_err(|error| fault(error.to_string()))?;
    Ok(Some((
        SharedServer::new(server, metrics.shared.clone()),
        digest,
    )))
}

/// Returns a warning about an unreadable URL, or about a password in clear text on a network.
pub(super) fn warning(config: &Config, findings: &Findings) -> Option<String> {
    let reference = &config.limits.as_ref()?.redis;
    let found = match findings.get(reference)? {
        Ok(found) => found,
        Err(error) => {
            return Some(format!(
                "limits.redis: `{reference}`: {error}; the server of before stays in use, or on_failure decides without one"
            ));
        }
    };
    exposes_password(&found.secret).then(|| {
        format!(
            "limits.redis: `{reference}`: the password crosses the network in clear text, expected rediss:// for a \
             server on another machine"
        )
    })
}

/// The digest beside a server with an unknown URL. The server has no fingerprint either, and is replaced by the first
/// load with a URL.
const NO_AUTHORITIES: [u8; 32] = [0; 32];
