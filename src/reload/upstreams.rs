//! The upstreams of a load: an upstream per origin and authorities, carried over from the load
//! before.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::authorities::Authorities;
use super::trust::{StandIn, StandIns};
use super::{Live, LoadError};
use crate::egress::{Egress, WayOut};
use crate::outbound::policy::FurtherUpstream;
use crate::provider::{Ca, Origin, Provider};
use crate::tls;
use crate::upstream::{OwnAddresses, Upstream, UpstreamKind};

/// The identity of an upstream: origin, authorities, the digest of the file with the authorities,
/// and the way to it.
pub(super) type UpstreamKey = (Origin, Ca, [u8; 32], WayOut);

/// The upstreams of one load.
pub(super) type UpstreamMap = HashMap<UpstreamKey, Arc<Upstream>>;

/// Collects the upstreams of a draft. An upstream with an unchanged key keeps the connections over
/// a reload.
pub(super) struct Upstreams<'a> {
    authorities: &'a Authorities,
    stand_ins: &'a StandIns,
    before: Option<&'a Live>,
    own: OwnAddresses,
    egress: &'a Egress,
    /// A TLS configuration for all upstreams with equal authorities.
    tls: HashMap<(Ca, [u8; 32]), Arc<rustls::ClientConfig>>,
    all: UpstreamMap,
    /// `ProviderUpstreams` per provider, keyed by the pointer of its `Arc`. The `Arc` is stored
    /// too, so that the pointer is not reused.
    of_providers: HashMap<usize, (Arc<Provider>, Option<ProviderUpstreams>)>,
}

/// The shared parts of a provider's routes: the upstreams with their hosts, and the names of the
/// operations.
#[derive(Clone)]
pub(super) struct ProviderUpstreams {
    pub(super) upstream: Arc<Upstream>,
    pub(super) host: Arc<str>,
    pub(super) media_upstream: Option<Arc<Upstream>>,
    pub(super) media_host: Option<Arc<str>>,
    pub(super) further: Arc<[FurtherUpstream]>,
    pub(super) issuer: Arc<Upstream>,
    pub(super) issuer_host: Arc<str>,
    pub(super) operations: Arc<[String]>,
}

impl<'a> Upstreams<'a> {
    /// Creates an empty collection of upstreams apart from Keyside's own addresses.
    pub(super) fn new(
        authorities: &'a Authorities,
        stand_ins: &'a StandIns,
        before: Option<&'a Live>,
        own: OwnAddresses,
        egress: &'a Egress,
    ) -> Self {
        Self {
            authorities,
            stand_ins,
            before,
            own,
            egress,
            tls: HashMap::new(),
            all: UpstreamMap::new(),
            of_providers: HashMap::new(),
        }
    }

    /// Returns the collection with every upstream of the load before.
    pub(super) fn carrying_over(mut self, before: &Live) -> Self {
        let upstreams = before.upstreams.iter();
        self.all
            .extend(upstreams.map(|(key, upstream)| (key.clone(), Arc::clone(upstream))));
        self
    }

    /// Returns the upstreams of a provider, for all of its routes; `None` if the provider takes no
    /// requests.
    ///
    /// # Errors
    /// If an upstream or its authorities cannot be used.
    pub(super) fn of_provider(
        &mut self,
        provider: &Arc<Provider>,
    ) -> Result<Option<ProviderUpstreams>, LoadError> {
        let pointer = Arc::as_ptr(provider).addr();
        if let Some((_, known)) = self.of_providers.get(&pointer) {
            return Ok(known.clone());
        }
        let opened = self.open(provider)?;
        let entry = (Arc::clone(provider), opened.clone());
        self.of_providers.insert(pointer, entry);
        Ok(opened)
    }

    fn open(&mut self, provider: &Provider) -> Result<Option<ProviderUpstreams>, LoadError> {
        let Some(origin) = &provider.upstream else {
            return Ok(None);
        };
        let media = provider.media_upstream.as_ref();
        let issuer = provider
            .exchange()
            .and_then(|exchange| exchange.upstream.as_ref())
            .unwrap_or(origin);
        let further: Result<_, LoadError> = provider
            .upstreams
            .iter()
            .map(|named| {
                Ok(FurtherUpstream {
                    name: named.name.clone(),
                    upstream: self.get(&named.origin, provider)?,
                    host: named.origin.authority(),
                })
            })
            .collect();
        let operations = provider.operations.iter();
        Ok(Some(ProviderUpstreams {
            further: further?,
            upstream: self.get(origin, provider)?,
            host: origin.authority().into(),
            media_upstream: media.map(|media| self.get(media, provider)).transpose()?,
            media_host: media.map(|media| media.authority().into()),
            issuer: self.get(issuer, provider)?,
            issuer_host: issuer.authority().into(),
            operations: operations.map(|known| known.name.clone()).collect(),
        }))
    }

    /// Returns the upstream of a provider at an origin.
    ///
    /// # Errors
    /// If the origin or the authorities of this machine cannot be used.
    fn get(&mut self, origin: &Origin, provider: &Provider) -> Result<Arc<Upstream>, LoadError> {
        let trust = self.trust_in(provider);
        let digest = Sha256::digest(trust.pem.unwrap_or_default()).into();
        let way = trust.egress.way_to(origin);
        let key = (origin.clone(), trust.ca.clone(), digest, way);
        let before = self
            .all
            .get(&key)
            .or_else(|| self.before.and_then(|before| before.upstreams.get(&key)));
        let upstream = match before {
            Some(before) => Arc::clone(before),
            None => self.create(origin, provider, &trust, digest)?,
        };
        self.all.insert(key, Arc::clone(&upstream));
        Ok(upstream)
    }

    /// Returns the authorities of a provider, or their substitute.
    fn trust_in(&self, provider: &Provider) -> Trust<'a> {
        let path = match &provider.ca {
            Ca::File(path) => path,
            ca => {
                return Trust {
                    ca: ca.clone(),
                    pem: None,
                    egress: Cow::Borrowed(self.egress),
                };
            }
        };
        match self.stand_ins.get(&provider.name) {
            Some(StandIn::Before { ca, pem }) => Trust {
                ca: ca.clone(),
                pem: pem.as_deref(),
                egress: Cow::Borrowed(self.egress),
            },
            Some(StandIn::Nothing(reason)) => Trust {
                ca: Ca::Bundled,
                pem: None,
                egress: Cow::Owned(Egress::shut(reason)),
            },
            None => Trust {
                ca: provider.ca.clone(),
                pem: self
                    .authorities
                    .get(path)
                    .and_then(|pem| pem.as_deref().ok()),
                egress: Cow::Borrowed(self.egress),
            },
        }
    }

    /// Returns the collection.
    pub(super) fn into_map(self) -> UpstreamMap {
        self.all
    }

    fn create(
        &mut self,
        origin: &Origin,
        provider: &Provider,
        trust: &Trust<'_>,
        digest: [u8; 32],
    ) -> Result<Arc<Upstream>, LoadError> {
        let key = (trust.ca.clone(), digest);
        let tls = match self.tls.get(&key) {
            Some(tls) => Arc::clone(tls),
            None => {
                let tls =
                    tls::client_config(&trust.ca, trust.pem).map_err(|error| LoadError::Tls {
                        provider: provider.name.clone(),
                        error: Box::new(error),
                    })?;
                self.tls.insert(key, Arc::clone(&tls));
                tls
            }
        };
        let upstream = Upstream::new(UpstreamKind::Provider, origin.clone(), tls)
            .map_err(|error| LoadError::Upstream {
                provider: provider.name.clone(),
                problem: error.to_string(),
            })?
            .apart_from(self.own.clone())
            .through(&trust.egress);
        Ok(Arc::new(upstream))
    }
}

/// The authorities that a provider is trusted by, and the way to the provider.
struct Trust<'a> {
    ca: Ca,
    /// The content of the file, if the authorities are those of a file.
    pem: Option<&'a [u8]>,
    egress: Cow<'a, Egress>,
}
