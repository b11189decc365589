//! A route, with everything that its requests need.

use std::collections::HashSet;
use std::sync::Arc;

use http::Method;

use crate::credential::{Credential, TokenIssuer};
use crate::limit::Limiter;
use crate::outbound::hosts::NamedUpstream;
use crate::outbound::metrics::RouteMetrics;
use crate::outbound::same_path::RouteKeys;
use crate::provider::{Operation, OperationSet, RequestPattern};
use crate::refusal_form::RefusalForm;
use crate::traffic::RouteTraffic;
use crate::upstream::Upstream;

/// A route, with everything that the requests need.
#[derive(Debug)]
pub struct Route {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The prefix that applications put before the provider's paths; empty or `/a/b`.
    pub path: String,
    /// The senders that requests may use; empty for any sender.
    pub senders: HashSet<String>,
    /// The operations that requests may use.
    pub operations: OperationSet,
    /// The channels that messages may name, in lower case; empty for any channel.
    pub channels: Arc<[String]>,
    /// The users of the route over a Unix socket; empty for all users of the socket.
    pub allow_uids: Box<[u32]>,
    /// The credential that requests carry.
    pub credential: Arc<Credential>,
    /// The upstream of all requests but media.
    pub upstream: Arc<Upstream>,
    /// The authority of `upstream`, for `Host`.
    pub host: Arc<str>,
    /// The upstream of media, if the provider has another host for media.
    pub media_upstream: Option<Arc<Upstream>>,
    /// The authority of `media_upstream`.
    pub media_host: Option<Arc<str>>,
    /// The upstreams of the provider's further hosts.
    pub further: Arc<[FurtherUpstream]>,
    /// The upstream that issues access tokens; the same as `upstream` for providers without tokens.
    pub issuer: Arc<Upstream>,
    /// The authority of `issuer`.
    pub issuer_host: Arc<str>,
    /// The limits of requests.
    pub limiter: Limiter,
    /// The counters of requests.
    pub metrics: Arc<RouteMetrics>,
    /// The health of the route, as its traffic shows it.
    pub traffic: Arc<RouteTraffic>,
}

/// The upstream of a further host of the provider.
#[derive(Debug)]
pub struct FurtherUpstream {
    /// The name that requests choose.
    pub name: String,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The authority of `upstream`.
    pub host: String,
}

impl Route {
    /// The issuer of access tokens.
    #[must_use]
    pub fn issuer(&self) -> TokenIssuer<'_> {
        TokenIssuer {
            upstream: &self.issuer,
            host: &self.issuer_host,
        }
    }

    /// The form of refusals for the provider's SDKs; Graph's form if `None`.
    pub(in crate::outbound) fn refusal_form(&self) -> Option<&RefusalForm> {
        self.credential.provider.refusal.as_deref()
    }

    /// The properties by which the policy finds the route.
    pub(super) fn keys(&self) -> RouteKeys<'_> {
        let provider = &self.credential.provider;
        RouteKeys {
            name: &self.name,
            path: &self.path,
            senders: &self.senders,
            credential: &self.credential.name,
            account: provider.account.as_ref().map(|account| &*account.value),
            provider: &provider.name,
            origins: provider.origins().collect(),
            operations: &self.operations,
        }
    }

    /// The account that the path of a request names, for a provider with accounts in paths.
    pub(super) fn account_in<'p>(
        &self,
        pattern: &RequestPattern,
        path: &'p str,
    ) -> Option<&'p str> {
        let account = self.credential.provider.account.as_ref()?;
        pattern.path.variable(path, &account.variable)
    }

    pub(super) fn requests(
        &self,
        method: &Method,
    ) -> impl Iterator<Item = (&Operation, &RequestPattern)> {
        self.credential
            .provider
            .operations
            .iter()
            .flat_map(|operation| operation.requests.iter().map(move |it| (operation, it)))
            .filter(move |(_, pattern)| pattern.has_method(method))
    }

    /// True for an upstream of this route. Clients name a proxied upstream by plain `http://` as
    /// well.
    pub(super) fn is_at(&self, upstream: &NamedUpstream) -> bool {
        let has_port = |port| {
            let named = upstream.port;
            named.is_none_or(|named| port == named || (port == 443 && named == 80))
        };
        let mut origins = self.credential.provider.origins();
        origins.any(|origin| origin.host == upstream.host && has_port(origin.port))
    }
}
