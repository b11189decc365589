//! What is allowed: which route a request is on, which operation it is, and which sender it uses.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::error::OutboundError;
use super::guard::host_of;

use crate::credential::{Credential, Issuer};
use crate::limit::Limiter;
use crate::metrics::RouteMetrics;
use crate::provider::{Operation, PathMap, Provider, RequestPattern};
use crate::query;
use crate::upstream::Upstream;

/// All routes of a generation.
#[derive(Debug)]
pub struct Policy {
    /// The longest path first, then in the order written.
    routes: Vec<Route>,
}

/// A route, with all that a request on it needs.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The prefix that applications put before the provider's paths; empty or `/a/b`.
    pub path: String,
    /// The senders it may use; empty means any.
    pub senders: HashSet<String>,
    /// For each operation of the provider whether it may be used.
    pub operations: Vec<bool>,
    /// The credential that its requests carry.
    pub credential: Arc<Credential>,
    /// Where its requests go.
    pub upstream: Arc<Upstream>,
    /// The authority of the upstream.
    pub host: String,
    /// Where its media comes from.
    pub media_upstream: Option<Arc<Upstream>>,
    /// The authority of the media upstream.
    pub media_host: Option<String>,
    /// Who gives access tokens, where the provider takes them; else the upstream.
    pub issuer: Arc<Upstream>,
    /// The authority of the issuer.
    pub issuer_host: String,
    /// How fast its requests may go.
    pub limiter: Limiter,
    /// Its counters.
    pub metrics: Arc<RouteMetrics>,
}

/// Leave to pass a request on. Made by [`Policy::check`] alone, and nothing is injected without it.
#[derive(Debug)]
#[expect(clippy::manual_non_exhaustive, reason = "non_exhaustive would let the rest of this crate make one")]
pub struct Permit<'a> {
    /// The route.
    pub route: &'a Route,
    /// The place of the operation among those of the provider.
    pub operation_index: usize,
    /// What the request is.
    pub request: &'a RequestPattern,
    /// The path as the application wrote it, without the route's own prefix.
    pub path: &'a str,
    /// The sender, where the path names one, or else the body.
    pub sender: Option<&'a str>,
    _private: (),
}

impl<'a> Permit<'a> {
    /// The provider of the route.
    #[must_use]
    pub fn provider(&self) -> &'a Provider {
        &self.route.credential.provider
    }

    /// The operation.
    #[must_use]
    pub fn operation(&self) -> Option<&'a Operation> {
        self.provider().operations.get(self.operation_index)
    }

    /// Where the request goes.
    #[must_use]
    pub fn upstream(&self) -> &'a Arc<Upstream> {
        match &self.route.media_upstream {
            Some(media) if self.request.media => media,
            _ => &self.route.upstream,
        }
    }

    /// The `Host` that it is sent with.
    #[must_use]
    pub fn host(&self) -> &'a str {
        match &self.route.media_host {
            Some(media) if self.request.media => media,
            _ => &self.route.host,
        }
    }

    /// Decides again, on the senders that the body names, in the form of [`party`](crate::provider::party).
    ///
    /// # Errors
    /// 403 for one that the route does not have, and for a message of nobody where the route has senders.
    pub fn with_senders(self, named: &'a [String]) -> Result<Self, OutboundError> {
        let senders = &self.route.senders;
        if let Some(foreign) = named.iter().find(|sender| !senders.is_empty() && !senders.contains(*sender)) {
            return Err(OutboundError::SenderNotAllowed { sender: Some(cut(foreign)) });
        }
        let sender = self.sender.or(named.first().map(String::as_str));
        if sender.is_none() && self.request.limited && !senders.is_empty() {
            return Err(OutboundError::SenderNotAllowed { sender: None });
        }
        Ok(Self { sender, ..self })
    }

    /// How the path is changed on the way, if it is.
    #[must_use]
    pub fn path_map(&self) -> Option<&'a PathMap> {
        self.provider().paths.iter().find(|map| map.from.matches(self.path).is_some())
    }
}

impl Policy {
    /// Puts the routes in the order in which they are tried.
    #[must_use]
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        Self { routes }
    }

    /// The credential of this name, where a route has it.
    #[must_use]
    pub fn credential(&self, name: &str) -> Option<&Arc<Credential>> {
        self.routes.iter().map(|route| &route.credential).find(|credential| credential.name == name)
    }

    /// The routes.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Decides on a request that [`super::guard::admit`] let in.
    ///
    /// # Errors
    /// 404 without a route, 421 for another route's host, 403 for what the route does not have; with
    /// the route where there is one.
    pub fn check<'a>(&'a self, request: &'a Parts) -> Result<Permit<'a>, (Option<&'a Route>, OutboundError)> {
        let path = request.uri.path();
        let mut refused = (None, OutboundError::NoRoute);
        for (route, path) in self.routes.iter().filter_map(|route| Some((route, route.inner_path(path)?))) {
            // The longest path wins; routes that share it differ by their senders.
            if refused.0.is_some_and(|first: &'a Route| first.path.len() != route.path.len()) {
                break;
            }
            match route.check(request, path) {
                Ok(permit) => return Ok(permit),
                Err(error) if refused.0.is_none() => refused = (Some(route), error),
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

impl Route {
    /// Who gives access tokens.
    #[must_use]
    pub fn issuer(&self) -> Issuer<'_> {
        Issuer { upstream: &self.issuer, host: &self.issuer_host }
    }

    /// The path at the provider, if this route has the path.
    fn inner_path<'p>(&self, path: &'p str) -> Option<&'p str> {
        match path.strip_prefix(self.path.as_str())? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    fn check<'a>(&'a self, request: &'a Parts, path: &'a str) -> Result<Permit<'a>, OutboundError> {
        if let Some(authority) = request.uri.authority()
            && !host_of(authority.as_str()).is_some_and(|host| self.has_host(host))
        {
            return Err(OutboundError::WrongHost);
        }
        let query = request.uri.query().unwrap_or_default();
        let mut refused = None;
        for (index, operation, pattern) in self.requests(&request.method) {
            let Some(matched) = pattern.path.matches(path) else { continue };
            if !query_fits(pattern, query, &self.credential.provider) {
                continue;
            }
            if !self.operations.get(index).copied().unwrap_or_default() {
                refused.get_or_insert(&operation.name);
                continue;
            }
            if let Some(sender) = self.foreign_sender(matched.sender, query) {
                return Err(OutboundError::SenderNotAllowed { sender: Some(sender) });
            }
            return Ok(Permit {
                route: self,
                operation_index: index,
                request: pattern,
                path,
                sender: matched.sender,
                _private: (),
            });
        }
        Err(OutboundError::OperationNotAllowed { operation: refused.cloned() })
    }

    /// A sender that the request names and the route does not have. The provider may read the first
    /// of several or the last, so each must be one of the route's.
    fn foreign_sender(&self, in_path: Option<&str>, query: &str) -> Option<String> {
        if self.senders.is_empty() {
            return None;
        }
        let mut named = in_path.map(Cow::Borrowed).into_iter().chain(senders_in(query));
        let foreign = named.find(|sender| !self.senders.contains(&**sender))?;
        Some(cut(&foreign))
    }

    fn requests(&self, method: &Method) -> impl Iterator<Item = (usize, &Operation, &RequestPattern)> {
        let operations = self.credential.provider.operations.iter().enumerate();
        let all = operations
            .flat_map(|(index, operation)| operation.requests.iter().map(move |request| (index, operation, request)));
        all.filter(move |(_, _, request)| request.methods.contains(method))
    }

    fn has_host(&self, host: &str) -> bool {
        self.credential.provider.origins().any(|origin| origin.host.eq_ignore_ascii_case(host))
    }
}

/// As much of a sender as is shown.
fn cut(sender: &str) -> String {
    sender.chars().take(LONGEST_SHOWN).collect()
}

/// Media is read for a sender that only the query names.
fn senders_in(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query::pairs(query).filter(|pair| pair.is_named(&["phone_number_id"])).map(|pair| pair.value())
}

/// Whether the query has nothing but what the pattern and the stripping of credentials allow.
fn query_fits(pattern: &RequestPattern, query: &str, provider: &Provider) -> bool {
    match &pattern.query {
        None => true,
        Some(allowed) => query::pairs(query)
            .all(|pair| allowed.iter().any(|name| *name == pair.name()) || pair.is_named(&provider.strip.query)),
    }
}

/// Of a sender in an error: the ids of phone numbers have some 15 digits.
const LONGEST_SHOWN: usize = 32;
