//! The upstreams of a load: an upstream per origin and authorities, carried over from the load before.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::authorities::{Authorities, pem_of};
use super::{Live, LoadError};
use crate::egress::{Egress, WayOut};
use crate::provider::{Ca, Origin, Provider};
use crate::tls;
use crate::upstream::{OwnAddresses, Upstream, UpstreamKind};

/// The identity of an upstream: origin, authorities, the digest of the file with the authorities, and the way to it.
pub(super) type UpstreamKey = (Origin, Ca, [u8; 32], WayOut);

/// The upstreams of one load.
pub(super) type UpstreamMap = HashMap<UpstreamKey, Arc<Upstream>>;

/// Collects the upstreams of a draft. An upstream with an unchanged key keeps the connections over a reload.
pub(super) struct Upstreams<'a> {
    authorities: &'a Authorities,
    before: Option<&'a Live>,
    own: OwnAddresses,
    egress: &'a Egress,
    /// A TLS configuration for all upstreams with equal authorities.
    tls: HashMap<Ca, Arc<rustls::ClientConfig>>,
    all: UpstreamMap,
}

impl<'a> Upstreams<'a> {
    /// Creates an empty collection of upstreams apart from Keyside's own addresses.
    pub(super) fn new(
        authorities: &'a Authorities,
        before: Option<&'a Live>,
        own: OwnAddresses,
        egress: &'a Egress,
    ) -> Self {
        Self {
            authorities,
            before,
            own,
            egress,
            tls: HashMap::new(),
            all: UpstreamMap::new(),
        }
    }

    /// Returns the upstream of a provider at an origin.
    ///
    /// # Errors
    /// If the authorities cannot be read or used, or the origin cannot be.
    pub(super) fn get(
        &mut self,
        origin: &Origin,
        provider: &Provider,
    ) -> Result<Arc<Upstream>, LoadError> {
        let pem = match &provider.ca {
            Ca::File(path) => Some(pem_of(self.authorities, path)?),
            Ca::Bundled | Ca::System => None,
        };
        let digest = Sha256::digest(pem.unwrap_or_default()).into();
        let way = self.egress.way_to(origin);
        let key = (origin.clone(), provider.ca.clone(), digest, way);
        let before = self
            .all
            .get(&key)
            .or_else(|| self.before.and_then(|before| before.upstreams.get(&key)));
        let upstream = match before {
            Some(before) => Arc::clone(before),
            None => self.create(origin, provider, pem)?,
        };
        self.all.insert(key, Arc::clone(&upstream));
        Ok(upstream)
    }

    /// Returns the collection.
    pub(super) fn into_map(self) -> UpstreamMap {
        self.all
    }

    fn create(
        &mut self,
        origin: &Origin,
        provider: &Provider,
        pem: Option<&[u8]>,
    ) -> Result<Arc<Upstream>, LoadError> {
        let tls = match self.tls.get(&provider.ca) {
            Some(tls) => Arc::clone(tls),
            None => {
                let tls =
                    tls::client_config(&provider.ca, pem).map_err(|error| LoadError::Tls {
                        provider: provider.name.clone(),
                        error,
                    })?;
                self.tls.insert(provider.ca.clone(), Arc::clone(&tls));
                tls
            }
        };
        let upstream =
            Upstream::new(UpstreamKind::Provider, origin.clone(), tls).map_err(|error| {
                LoadError::Upstream {
                    provider: provider.name.clone(),
                    problem: error.to_string(),
                }
            })?;
        let upstream = upstream.apart_from(self.own.clone());
        Ok(Arc::new(upstream.through(self.egress)))
    }
}
