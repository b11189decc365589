//! The shared server of a load.

use sha2::{Digest, Sha256};

use super::authorities::{Authorities, pem_of};
use super::kept_inputs::InputUse;
use super::live::LoadedServer;
use super::metrics::ReloadMetrics;
use super::remarks::Remarks;
use super::{Live, LoadError};
use crate::config::{Config, SharedLimits};
use crate::credential::source::{Findings, SourceError};
use crate::secret::Secret;
use crate::shared::{ServerAddress, ServerUrlError, SharedServer, exposes_password};

/// Returns the server of `[limits] redis`; `None` without the table.
///
/// The server of the load before is carried over while URL and authorities are equal. A source
/// without a usable URL is an ordinary outage: the server of the load before stays, or counts as
/// lost, and `on_failure` decides.
///
/// # Errors
/// If the process ends.
pub(super) fn shared_server(
    config: &Config,
    findings: &Findings,
    files: &Authorities,
    before: Option<&Live>,
    metrics: &ReloadMetrics,
    remarks: &mut Remarks,
) -> Result<Option<LoadedServer>, LoadError> {
    let Some(limits) = &config.limits else {
        return Ok(None);
    };
    let ca = limits.ca.as_ref().map(|path| pem_of(files, path));
    let ca = match ca.transpose() {
        Ok(ca) => ca,
        Err(unusable) => {
            let problem = format!("{}: {}", InputUse::Limits.key(), unusable.problem);
            let in_use = in_use(before).map(|(_, server)| server.clone());
            let server =
                remarks.substitute_files(InputUse::Limits, unusable, in_use, NO_SERVER, before);
            return Ok(Some(
                server.unwrap_or_else(|| lost_server(problem, before, metrics)),
            ));
        }
    };
    let problem = match findings.get(&limits.redis) {
        Some(Ok(found)) => {
            remarks.warnings.extend(exposure(limits, &found.secret));
            match server_at(&found.secret, ca, before, metrics) {
                Ok(server) => return Ok(Some(server)),
                Err(error) => error.to_string(),
            }
        }
        Some(Err(error)) => error.to_string(),
        None => return Err(LoadError::Interrupted),
    };
    if let Some((live, server)) = in_use(before) {
        let is_late = matches!(findings.get(&limits.redis), Some(Err(SourceError::Late)));
        if is_late {
            remarks.keep_noted(&InputUse::LimitsUrl, live);
        } else {
            remarks.keep(InputUse::LimitsUrl, &limits.redis, &problem, live);
        }
        return Ok(Some(server.clone()));
    }
    remarks.miss(
        InputUse::LimitsUrl,
        &limits.redis,
        &problem,
        NO_SERVER,
        before,
    );
    Ok(Some(lost_server(problem, before, metrics)))
}

/// Returns a server that counts as lost: the one of the load before for the same problem.
fn lost_server(problem: String, before: Option<&Live>, metrics: &ReloadMetrics) -> LoadedServer {
    let lost_before = before.and_then(|live| live.shared.as_ref());
    let is_same = |(server, _): &&LoadedServer| server.status().problem.as_ref() == Some(&problem);
    let unchanged = lost_before.filter(is_same).cloned();
    unchanged.unwrap_or_else(|| {
        let lost = SharedServer::without_address(problem, metrics.shared.clone());
        (lost, NO_AUTHORITIES)
    })
}

/// Returns the server of a URL: the server of the load before while URL and authorities are equal.
fn server_at(
    url: &Secret,
    ca: Option<&[u8]>,
    before: Option<&Live>,
    metrics: &ReloadMetrics,
) -> Result<LoadedServer, ServerUrlError> {
    let digest = Sha256::digest(ca.unwrap_or_default()).into();
    let is_unchanged = |(shared, authorities): &&LoadedServer| {
        shared.fingerprint() == Some(url.fingerprint()) && *authorities == digest
    };
    let before = before.and_then(|live| live.shared.as_ref());
    if let Some(unchanged) = before.filter(is_unchanged) {
        return Ok(unchanged.clone());
    }
    let server = ServerAddress::parse(url, ca)?;
    Ok((SharedServer::new(server, metrics.shared.clone()), digest))
}

/// Returns the load before with its server, if the server has a URL.
fn in_use(before: Option<&Live>) -> Option<(&Live, &LoadedServer)> {
    let live = before?;
    let server = live.shared.as_ref()?;
    server.0.fingerprint().map(|_| (live, server))
}

/// Returns a warning about a password in clear text on a network.
fn exposure(limits: &SharedLimits, url: &Secret) -> Option<String> {
    exposes_password(url).then(|| {
        format!(
            "limits.redis: `{}`: the password crosses the network in clear text, expected rediss:// for a server on \
             another machine",
            limits.redis
        )
    })
}

/// The effect of a server without a URL or without readable authorities.
const NO_SERVER: &str = "on_failure decides without a server";
/// The digest beside a server with an unknown URL. The server has no fingerprint either, and is
/// replaced by the first load with a URL.
const NO_AUTHORITIES: [u8; 32] = [0; 32];
