//! From a configuration and its credentials to the generation that requests run on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};

use super::authorities::Authorities;
use super::limits::Limits;
use super::live::UpstreamKey;
use super::{Live, LoadError};
use crate::config::Config;
use crate::credential::Credential;
use crate::metrics::Metrics;
use crate::outbound::Generation;
use crate::outbound::policy::{self, Policy};
use crate::provider::{Ca, Origin, Provider, credential_headers};
use crate::tls;
use crate::upstream::Upstream;

pub(super) fn build(
    config: &Config,
    credentials: &BTreeMap<String, Arc<Credential>>,
    authorities: &Authorities,
    limits: &mut Limits<'_>,
    upstreams: &mut HashMap<UpstreamKey, Arc<Upstream>>,
    before: Option<&Live>,
    metrics: &Arc<Metrics>,
) -> Result<Generation, LoadError> {
    let routes_before = before.into_iter().flat_map(|before| before.generation.policy.routes());
    // Looking up each counter anew would be a third of a reload.
    let metrics_before: HashMap<_, _> = routes_before.map(|route| (&route.name, &route.metrics)).collect();
    let mut configs = HashMap::new();
    let mut routes = Vec::new();
    for route in &config.routes {
        let Some(credential) = credentials.get(&route.credential) else { continue };
        let provider = &credential.provider;
        let Some(origin) = &provider.upstream else { continue };
        let issuer = provider.exchange().and_then(|exchange| exchange.upstream.as_ref()).unwrap_or(origin);
        let mut upstream =
            |origin: &Origin| upstream_for(origin, provider, authorities, &mut configs, upstreams, before);
        let name: Arc<str> = route.name.as_str().into();
        let operations: Vec<_> = provider.operations.iter().map(|operation| operation.name.clone()).collect();
        let held = metrics_before.get(&name).filter(|held| held.has_operations(&operations));
        let metrics = held.map_or_else(|| Arc::new(metrics.route(&name, operations)), |held| Arc::clone(held));
        routes.push(policy::Route {
            metrics,
            name,
            path: route.path.clone(),
            senders: route.senders.iter().cloned().collect(),
            operations: route.operations.clone(),
            credential: Arc::clone(credential),
            upstream: upstream(origin)?,
            host: origin.authority(),
            media_upstream: provider.media_upstream.as_ref().map(&mut upstream).transpose()?,
            media_host: provider.media_upstream.as_ref().map(Origin::authority),
            issuer: upstream(issuer)?,
            issuer_host: issuer.authority(),
            limiter: limits.of(route),
        });
    }
    let providers = || credentials.values().map(|credential| &credential.provider);
    let hosts = providers().flat_map(|provider| provider.origins()).map(|origin| origin.host.clone());
    let injected =
        providers().flat_map(|provider| provider.injected_headers().cloned()).chain(PRESET_HEADERS.iter().cloned());
    Ok(Generation {
        number: before.map_or(1, |before| before.generation.number + 1),
        policy: Policy::new(routes),
        hosts: hosts.chain(config.outbound.allowed_hosts.iter().cloned()).collect(),
        injected: injected.collect::<HashSet<_>>().into_iter().collect(),
    })
}

fn upstream_for(
    origin: &Origin,
    provider: &Provider,
    authorities: &Authorities,
    configs: &mut HashMap<Ca, Arc<rustls::ClientConfig>>,
    upstreams: &mut HashMap<UpstreamKey, Arc<Upstream>>,
    before: Option<&Live>,
) -> Result<Arc<Upstream>, LoadError> {
    let pem = match &provider.ca {
        Ca::File(path) => match authorities.get(path) {
            Some(Ok(pem)) => Some(pem.as_slice()),
            Some(Err(error)) => return Err(LoadError::Authority(path.clone(), error.to_string())),
            None => return Err(LoadError::Authority(path.clone(), "it was not read".to_owned())),
        },
        Ca::Bundled | Ca::System => None,
    };
    let key = (origin.clone(), provider.ca.clone(), Sha256::digest(pem.unwrap_or_default()).into());
    if let Some(upstream) =
        upstreams.get(&key).or_else(|| before.and_then(|before| before.upstreams.get(&key))).map(Arc::clone)
    {
        upstreams.insert(key, Arc::clone(&upstream));
        return Ok(upstream);
    }
    let tls = match configs.get(&provider.ca) {
        Some(tls) => Arc::clone(tls),
        None => {
            let tls =
                tls::client_config(&provider.ca, pem).map_err(|error| LoadError::Tls(provider.name.clone(), error))?;
            configs.insert(provider.ca.clone(), Arc::clone(&tls));
            tls
        }
    };
    let upstream = Upstream::new(origin.clone(), tls)
        .map_err(|error| LoadError::Upstream(provider.name.clone(), error.to_string()))?;
    let upstream = Arc::new(upstream);
    upstreams.insert(key, Arc::clone(&upstream));
    Ok(upstream)
}

/// Read once: the presets do not change while the process lives.
static PRESET_HEADERS: LazyLock<Vec<http::HeaderName>> = LazyLock::new(credential_headers);
