//! The outbound half of a draft: routes, upstreams and limits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use http::HeaderName;

use super::authorities::have_equal_contents;
use super::draft::Draft;
use super::limits::LimiterBuilder;
use super::live::ChangedLimits;
use super::upstreams::{UpstreamMap, Upstreams};
use super::{Live, LoadError};
use crate::config::RouteConfig;
use crate::outbound::generation::{Generation, MediaBounds};
use crate::outbound::hosts::Hosts;
use crate::outbound::links::LinkRules;
use crate::outbound::metrics::RouteMetrics;
use crate::outbound::policy::{Policy, Route};
use crate::provider::presets;
use crate::upstream::OwnAddresses;

/// The outbound half of a draft.
pub(super) struct OutboundDraft {
    pub(super) generation: Generation,
    pub(super) upstreams: UpstreamMap,
    pub(super) changed_limits: ChangedLimits,
}

impl Draft {
    /// Builds the outbound half: routes, upstreams and limits. Connections and used limits are
    /// carried over.
    ///
    /// # Errors
    /// If an upstream or its authorities cannot be used.
    pub(super) fn routes(&self) -> Result<OutboundDraft, LoadError> {
        if let Some(before) = self.alike_before() {
            return self.routes_like(before);
        }
        let mut limits = self.limits();
        let mut upstreams = self.upstreams();
        let before = self.routes_before();
        let mut routes = Vec::new();
        for config in &self.config.routes {
            let before = before.get(config.name.as_str()).copied();
            let route = self.route(config, &mut limits, &mut upstreams, before)?;
            routes.extend(route.map(Arc::new));
        }
        let allowed = self.config.outbound.allowed_hosts.iter();
        Ok(OutboundDraft {
            generation: Generation {
                number: self.number(),
                policy: Policy::new(routes).answering_for(allowed.map(String::as_str)),
                hosts: Arc::new(self.hosts()),
                links: Arc::new(LinkRules {
                    public_origin: self.config.outbound.public_origin.clone(),
                    trusted_proxies: self.config.outbound.trusted_proxies.clone(),
                }),
                media: MediaBounds {
                    max_upload: self.config.outbound.max_media,
                    timeout: self.config.outbound.media_timeout,
                },
                injected: self.injected_headers().into(),
            },
            upstreams: upstreams.into_map(),
            changed_limits: limits.changes(),
        })
    }

    /// Returns the load before, if nothing but secrets can differ between its routes and those of
    /// the draft.
    fn alike_before(&self) -> Option<&Live> {
        let before = self.before()?;
        let is_same_server = match (&self.shared, &before.shared) {
            (Some((one, _)), Some((other, _))) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let is_alike = is_same_server
            && Arc::ptr_eq(&self.config, &before.config)
            && have_equal_contents(&self.authorities, &before.authorities)
            && before.upstreams.keys().all(|(origin, _, _, way)| self.egress.way_to(origin) == *way)
            // A credential with another provider, such as one with another account in its paths,
            // needs new routes.
            && self.credentials.iter().all(|(name, credential)| {
                let before = before.credentials.get(name);
                before.is_some_and(|before| Arc::ptr_eq(&before.provider, &credential.provider))
            });
        is_alike.then_some(before)
    }

    /// Builds the outbound half out of the one of the load before: a new route for each credential
    /// that has changed, and all other routes as they are.
    fn routes_like(&self, before: &Live) -> Result<OutboundDraft, LoadError> {
        let mut limits = self.limits();
        let mut upstreams = self.upstreams().carrying_over(before);
        let configs: HashMap<_, _> = self
            .config
            .routes
            .iter()
            .map(|it| (&*it.name, it))
            .collect();
        let generation = &before.generation;
        let policy = generation.policy.with_routes(|route| {
            let credential = self.credentials.get(&route.credential.name);
            let is_same = credential.is_some_and(|now| Arc::ptr_eq(now, &route.credential));
            let config = configs.get(&*route.name).filter(|_| !is_same);
            let built = match config {
                Some(config) => self.route(config, &mut limits, &mut upstreams, Some(&**route))?,
                None => None,
            };
            Ok::<_, LoadError>(built.map_or_else(|| Arc::clone(route), Arc::new))
        })?;
        Ok(OutboundDraft {
            generation: Generation {
                number: self.number(),
                policy,
                hosts: Arc::clone(&generation.hosts),
                links: Arc::clone(&generation.links),
                media: generation.media,
                injected: Arc::clone(&generation.injected),
            },
            upstreams: upstreams.into_map(),
            changed_limits: limits.changes(),
        })
    }

    fn number(&self) -> u64 {
        self.before()
            .map_or(1, |before| before.generation.number + 1)
    }

    fn limits(&self) -> LimiterBuilder<'_> {
        LimiterBuilder::carried_over(
            self.before(),
            &self.config.routes,
            self.config.limits.as_ref().zip(self.shared.as_ref()),
        )
    }

    fn upstreams(&self) -> Upstreams<'_> {
        let own = OwnAddresses::new(self.config.outbound.tcp_addresses());
        Upstreams::new(
            &self.authorities,
            &self.stand_ins,
            self.before(),
            own,
            &self.egress,
        )
    }

    /// Builds one route; `None` if its credential or the provider's upstream does not exist.
    fn route<'a>(
        &self,
        config: &'a RouteConfig,
        limits: &mut LimiterBuilder<'a>,
        upstreams: &mut Upstreams<'_>,
        before: Option<&Route>,
    ) -> Result<Option<Route>, LoadError> {
        let Some(credential) = self.credentials.get(&config.credential) else {
            return Ok(None);
        };
        let provider = &credential.provider;
        let Some(common) = upstreams.of_provider(provider)? else {
            return Ok(None);
        };
        Ok(Some(Route {
            name: config.name.as_str().into(),
            path: config.path.clone(),
            senders: config.senders.iter().cloned().collect(),
            operations: config.operations.clone(),
            channels: config.channels.as_slice().into(),
            allow_uids: config.allow_uids.as_slice().into(),
            credential: Arc::clone(credential),
            upstream: common.upstream,
            host: common.host,
            media_upstream: common.media_upstream,
            media_host: common.media_host,
            further: common.further,
            issuer: common.issuer,
            issuer_host: common.issuer_host,
            limiter: limits.of(config, provider),
            metrics: self.route_metrics(
                config,
                &common.operations,
                before.map(|route| &route.metrics),
            ),
            traffic: before
                .map(|route| Arc::clone(&route.traffic))
                .unwrap_or_default(),
        }))
    }

    /// Returns the routes before, by name, for the parts that outlive a reload: the counters, which
    /// would take a third of a reload's time to make, and the health shown by traffic.
    fn routes_before(&self) -> HashMap<&str, &Route> {
        self.before()
            .into_iter()
            .flat_map(|before| before.generation.policy.routes())
            .map(|route| (&*route.name, &**route))
            .collect()
    }

    /// Returns the counters of a route: the counters `before` if their operations are those of the
    /// provider.
    fn route_metrics(
        &self,
        config: &RouteConfig,
        operations: &Arc<[String]>,
        before: Option<&Arc<RouteMetrics>>,
    ) -> Arc<RouteMetrics> {
        match before.filter(|before| before.has_operations(operations)) {
            Some(before) => Arc::clone(before),
            None => {
                let name = config.name.as_str().into();
                Arc::new(self.metrics.outbound.route(&name, operations))
            }
        }
    }

    /// Returns the host names of all upstreams in use, and those that the configuration allows
    /// besides.
    fn hosts(&self) -> Hosts {
        let upstreams = self
            .credentials
            .values()
            .flat_map(|credential| credential.provider.aliased_origins())
            .map(|origin| origin.host.clone());
        Hosts {
            upstreams: upstreams.collect(),
            allowed: self.config.outbound.allowed_hosts.iter().cloned().collect(),
        }
    }

    /// Returns every header that a provider in use or a preset injects, each once.
    fn injected_headers(&self) -> Vec<HeaderName> {
        let injected: HashSet<_> = self
            .credentials
            .values()
            .flat_map(|credential| credential.provider.injected_headers().cloned())
            .chain(PRESET_HEADERS.iter().cloned())
            .collect();
        injected.into_iter().collect()
    }
}

/// The headers that presets inject, read once: presets do not change while the process lives.
static PRESET_HEADERS: LazyLock<Vec<HeaderName>> = LazyLock::new(presets::credential_headers);
