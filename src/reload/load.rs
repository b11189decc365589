//! From a configuration file to all of a load, or to all that is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::authorities::{ca_files, read_authorities};
use super::build::build;
use super::limits::Limits;
use super::{Live, LoadError, questions, shared, webhooks};
use crate::config::{Config, CredentialConfig, ListenAddress, Reference};
use crate::credential::source::{Digests, Findings, Reading, digests, read_all};
use crate::credential::{Credential, CredentialFault, is_unread, references};
use crate::metrics::Metrics;

/// Reads everything and builds a whole generation aside. If anything fails, what was live stays live.
///
/// # Errors
/// Everything that is wrong, by name.
pub async fn load(path: &Path, before: Option<&Live>, metrics: &Arc<Metrics>) -> Result<Live, LoadError> {
    let (config, mut digests) = read_config(path.to_owned()).await?;
    if let Some(before) = before {
        refuse_restart_needed(&before.config, &config)?;
    }
    let (authorities, of_authorities) =
        read_authorities(ca_files(&config).into_iter().chain(webhooks::files(&config)).collect()).await?;
    let managers = before.map(|before| Arc::clone(&before.managers)).unwrap_or_default();
    let references = all_references(&config);
    let Reading { findings, digests: of_secrets } = read_all(references.clone(), &managers).await;
    digests.extend(of_authorities);
    digests.extend(of_secrets);
    let credentials = assemble(&config, &findings, before)?;
    let shared = shared::server(&config, &findings, &authorities, before, metrics)?;
    let mut limits = Limits::after(before, &config.routes, config.limits.as_ref().zip(shared.as_ref()));
    let mut upstreams = HashMap::new();
    let generation = build(&config, &credentials, &authorities, &mut limits, &mut upstreams, before, metrics)?;
    let server = shared.as_ref().map(|(server, _)| server);
    let routes = generation.policy.routes();
    let (inbound, applications) = webhooks::build(&config, &credentials, routes, server, before, metrics)?;
    // At the start there is nothing else to send with, so nothing waits for the answer.
    if before.is_some() {
        questions::prove(&config, &generation, metrics).await?;
    }
    let (server_tls, warnings_of_tls) = webhooks::server_tls(&config, &authorities)?;
    let changed_budgets = limits.changes();
    managers.keep_only(&references);
    let warnings = warnings(&config, &findings).chain(warnings_of_tls).collect();
    Ok(Live {
        config: Arc::new(config),
        credentials,
        generation: Arc::new(generation),
        inbound: Arc::new(inbound),
        server_tls,
        warnings,
        managers,
        shared,
        changed_budgets,
        upstreams,
        applications,
        authorities: Arc::new(authorities),
        digests,
    })
}

/// What is live without the secrets whose overlap is over. Nothing is read: whatever state the files are
/// in, a secret ends when it should.
///
/// # Errors
/// None that what is live has not had.
pub(super) fn retire(before: &Live, metrics: &Arc<Metrics>) -> Result<Live, LoadError> {
    let renewed =
        |credential: &Arc<Credential>| credential.without_expired().map_or_else(|| Arc::clone(credential), Arc::new);
    let credentials = before.credentials.iter().map(|(name, credential)| (name.clone(), renewed(credential))).collect();
    let config = &before.config;
    let mut limits = Limits::after(Some(before), &config.routes, config.limits.as_ref().zip(before.shared.as_ref()));
    let mut upstreams = HashMap::new();
    let generation =
        build(config, &credentials, &before.authorities, &mut limits, &mut upstreams, Some(before), metrics)?;
    let (routes, server) = (generation.policy.routes(), before.shared());
    let (inbound, applications) = webhooks::build(config, &credentials, routes, server, Some(before), metrics)?;
    Ok(Live {
        config: Arc::clone(config),
        credentials,
        generation: Arc::new(generation),
        inbound: Arc::new(inbound),
        server_tls: before.server_tls.clone(),
        warnings: before.warnings.clone(),
        managers: Arc::clone(&before.managers),
        shared: before.shared.clone(),
        changed_budgets: limits.changes(),
        upstreams,
        applications,
        authorities: Arc::clone(&before.authorities),
        digests: before.digests.clone(),
    })
}

/// What a credential cannot have is its own fault, and others go on: where a secret manager does not give it, and at the
/// start, unless there is no other. A reload that loses what there was, or adds what cannot be used, is refused whole.
fn assemble(
    config: &Config,
    findings: &Findings,
    before: Option<&Live>,
) -> Result<BTreeMap<String, Arc<Credential>>, LoadError> {
    let held = |name: &str| before.and_then(|before| before.credentials.get(name)).map(Arc::as_ref);
    let credential = |(name, config): (&String, &CredentialConfig)| {
        (name.clone(), Arc::new(Credential::assemble(name, config, findings, held(name))))
    };
    let credentials: BTreeMap<_, _> = config.credentials.iter().map(credential).collect();
    let any_whole = credentials.values().any(|credential| credential.faults().is_empty());
    let is_tolerable = |fault: &CredentialFault| {
        let is_known =
            held(&fault.credential).is_some_and(|held| held.faults().iter().any(|known| known.is_same(fault)));
        is_unread(&fault.reference, findings) || is_known || (before.is_none() && any_whole)
    };
    let faults = credentials.values().flat_map(|credential| credential.faults());
    let faults: Vec<_> = faults.filter(|fault| !is_tolerable(fault)).cloned().collect();
    if faults.is_empty() { Ok(credentials) } else { Err(LoadError::Secrets(faults)) }
}

/// Sockets stay open over a reload; what would need others is named and refused.
fn refuse_restart_needed(before: &Config, config: &Config) -> Result<(), LoadError> {
    let differ = |a: &[ListenAddress], b: &[ListenAddress]| a != b;
    let mut changed = Vec::new();
    let table = [
        ("outbound.listen", differ(&before.outbound.listen, &config.outbound.listen)),
        ("outbound.allow_uids", before.outbound.allow_uids != config.outbound.allow_uids),
        ("inbound.listen", differ(&before.inbound.listen, &config.inbound.listen)),
        ("inbound.tls", before.inbound.tls.is_some() != config.inbound.tls.is_some()),
        ("admin.listen", differ(&before.admin.listen, &config.admin.listen)),
        ("log", before.log != config.log),
        ("audit", before.audit != config.audit),
    ];
    changed.extend(table.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key));
    if changed.is_empty() { Ok(()) } else { Err(LoadError::Restart(changed)) }
}

/// All that is read for a configuration.
pub(super) fn all_references(config: &Config) -> BTreeSet<Reference> {
    let mut all = references(&config.credentials);
    all.extend(config.limits.iter().map(|limits| limits.redis.clone()));
    all
}

fn warnings<'a>(config: &'a Config, findings: &'a Findings) -> impl Iterator<Item = String> + 'a {
    let of_secrets = findings.iter().flat_map(|(reference, found)| {
        let warnings = found.iter().flat_map(|found| &found.warnings);
        warnings.map(move |warning| format!("`{reference}`: {warning}"))
    });
    config.warnings.iter().map(ToString::to_string).chain(of_secrets)
}

/// The configuration, with the digest of its file. It is parsed on a thread of its own: a large one
/// takes longer than a request may be held up. The digest comes first: what changes before the file is
/// read is then seen as a change by the watch.
async fn read_config(path: PathBuf) -> Result<(Config, Digests), LoadError> {
    let read = move || (digests([path.clone()]), Config::load(&path));
    let (digests, config) = tokio::task::spawn_blocking(read).await.map_err(|_| LoadError::Interrupted)?;
    Ok((config.map_err(LoadError::Config)?, digests))
}
