//! The decision on a request: the route, the operation, the sender.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::error::OutboundError;
use super::hosts::NamedUpstream;
use super::metrics::RouteMetrics;
use super::route_index::{RequestClass, RouteIndex, RouteKeys, SamePath};
use super::sharing::Sharing;
use crate::credential::{Credential, TokenIssuer};
use crate::limit::Limiter;
use crate::provider::{
    Operation, OperationKind, OperationSet, PathMap, Provider, RequestPattern, TokenAnswer,
};
use crate::refusal_form::RefusalForm;
use crate::upstream::Upstream;

mod fits;
#[cfg(test)]
mod tests;
mod unknown;

use fits::{query_fits, senders_in};

/// The routes of a generation.
#[derive(Debug)]
pub struct Policy {
    /// Sorted: the longest path first, then in the order of the configuration.
    routes: Vec<Route>,
    index: RouteIndex,
    sharing: Sharing,
    /// True if the providers of all routes write refusals in one form.
    has_one_refusal_form: bool,
}

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
    /// The credential that requests carry.
    pub credential: Arc<Credential>,
    /// The upstream of all requests but media.
    pub upstream: Arc<Upstream>,
    /// The authority of `upstream`, for `Host`.
    pub host: String,
    /// The upstream of media, if the provider has another host for media.
    pub media_upstream: Option<Arc<Upstream>>,
    /// The authority of `media_upstream`.
    pub media_host: Option<String>,
    /// The upstreams of the provider's further hosts.
    pub further: Vec<FurtherUpstream>,
    /// The upstream that issues access tokens; the same as `upstream` for providers without tokens.
    pub issuer: Arc<Upstream>,
    /// The authority of `issuer`.
    pub issuer_host: String,
    /// The limits of requests.
    pub limiter: Limiter,
    /// The counters of requests.
    pub metrics: Arc<RouteMetrics>,
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

/// The permission to pass a request on. Only [`Policy::check`] makes a permit, and no secret is
/// injected without a permit.
#[derive(Debug)]
pub struct Permit<'a> {
    /// The route.
    pub route: &'a Route,
    /// The operation of the request.
    pub operation: &'a Operation,
    /// The pattern of the operation that the request matches.
    pub request: &'a RequestPattern,
    /// Further patterns for some bodies that the request may match: the body decides.
    pub alternatives: Vec<&'a RequestPattern>,
    /// The path as the application wrote it, without the prefix of the route.
    pub path: &'a str,
    /// The sender that the path names, or else the body.
    pub sender: Option<&'a str>,
    /// The parameter and the sender that Keyside adds to the query of a reading request that must name one: the only
    /// sender of the route. The provider then refuses media of another sender.
    pub added_sender: Option<(&'a str, &'a str)>,
    /// True if path or query name the route: by one of its senders, or by its account.
    names_route: bool,
    /// True if a route with another credential has the same path.
    shares_path: bool,
}

/// The senders that a message names besides its path, in the form of [`party`](crate::provider::party).
#[derive(Debug, Default)]
pub struct NamedSenders {
    /// The senders in the body.
    pub in_body: Vec<String>,
    /// The senders in the query.
    pub in_query: Vec<String>,
}

/// The subject of the limits and pauses that a request meets. A throttle pauses this and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSubject<'a> {
    /// A message: the pair, the sender and the account's messages.
    Message,
    /// Administration of one object: an account, a template, a number. Empty if the path names none.
    Administration(&'a str),
    /// A request other than a message that sends, such as a call, about one object; by [`Permit::request_key`].
    Operation(String),
    /// A request that waits for nothing, such as the reading of media.
    Unlimited,
}

impl<'a> Permit<'a> {
    /// The provider of the route.
    #[must_use]
    pub fn provider(&self) -> &'a Provider {
        &self.route.credential.provider
    }

    /// True for an operation whose requests carry the application's own credential; nothing is
    /// injected into them.
    #[must_use]
    pub fn passes_callers_credential(&self) -> bool {
        self.operation.caller_credential
    }

    /// The upstream of this request.
    #[must_use]
    pub fn upstream(&self) -> &'a Arc<Upstream> {
        match (self.further(), &self.route.media_upstream) {
            (Some(further), _) => &further.upstream,
            (None, Some(media)) if self.request.media => media,
            _ => &self.route.upstream,
        }
    }

    /// The `Host` header of this request.
    #[must_use]
    pub fn host(&self) -> &'a str {
        match (self.further(), &self.route.media_host) {
            (Some(further), _) => &further.host,
            (None, Some(media)) if self.request.media => media,
            _ => &self.route.host,
        }
    }

    /// The further host that the request names.
    fn further(&self) -> Option<&'a FurtherUpstream> {
        let name = self.request.upstream.as_ref()?;
        self.route
            .further
            .iter()
            .find(|further| further.name == *name)
    }

    /// The path before the provider's paths in links of answers. Where routes share a path, the link names its route: a
    /// link to media names no sender, and must lead back to the same credential.
    #[must_use]
    pub fn link_path(&self) -> Cow<'a, str> {
        if self.shares_path {
            Cow::Owned(format!(
                "{}{ROUTE_MARK}{}",
                self.route.path, self.route.name
            ))
        } else {
            Cow::Borrowed(&self.route.path)
        }
    }

    /// Decides on the senders that body and query name.
    ///
    /// The sender of a message is named in the body. A query only adds to what must be allowed: the provider may read
    /// any sender, or none of a query.
    ///
    /// # Errors
    /// 403 for a foreign sender, and for a message without a sender on a route with `senders`.
    pub fn with_senders(&self, named: &'a NamedSenders) -> Result<Self, OutboundError> {
        let senders = &self.route.senders;
        let mut all = named.in_body.iter().chain(&named.in_query);
        if let Some(foreign) = all.find(|sender| !senders.is_empty() && !senders.contains(*sender))
        {
            return Err(OutboundError::SenderNotAllowed {
                sender: cut(foreign),
            });
        }
        let in_message = self.sender.or(named.in_body.first().map(String::as_str));
        if in_message.is_none() && self.request.limited && !senders.is_empty() {
            return Err(OutboundError::SenderNotNamed);
        }
        let sender = in_message.or(named.in_query.first().map(String::as_str));
        Ok(Self {
            sender,
            alternatives: self.alternatives.clone(),
            ..*self
        })
    }

    /// The subject of the limits and pauses that the request meets.
    #[must_use]
    pub fn limit_subject(&self) -> LimitSubject<'a> {
        if self.request.limited {
            return LimitSubject::Message;
        }
        let object = self.request.path.object(self.path).unwrap_or_default();
        match self.operation.kind {
            OperationKind::Administration => LimitSubject::Administration(object),
            OperationKind::Send => LimitSubject::Operation(self.request_key()),
            OperationKind::Receive => LimitSubject::Unlimited,
        }
    }

    /// The key of the pauses of this request alone: the pattern of the path, and the object.
    #[must_use]
    pub fn request_key(&self) -> String {
        let object = self.request.path.object(self.path).unwrap_or_default();
        format!("{} {object}", self.request.path)
    }

    /// True for a request of administration that counts against the provider's rate.
    #[must_use]
    pub fn is_counted(&self, method: &Method) -> bool {
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.provider()
            .limits
            .counts_as_management(method, self.path)
    }

    /// The rule that changes the path on the way to the provider, if there is a rule for the path.
    #[must_use]
    pub fn path_map(&self) -> Option<&'a PathMap> {
        self.provider()
            .paths
            .iter()
            .find(|map| map.from.matches(self.path).is_some())
    }
}

/// The reason why a request gets no permit.
#[derive(Debug)]
pub struct Denied<'a> {
    /// The route that decided, if one has the path.
    pub route: Option<&'a Route>,
    /// The reason.
    pub error: OutboundError,
}

impl<'a> Denied<'a> {
    /// The denial of the first route that decided, which is this route if none has decided yet. A route of another host
    /// says nothing about a request that a later route judges.
    fn or(self, route: &'a Route, error: OutboundError) -> Self {
        let has_decided = match self.error {
            OutboundError::WrongHost => matches!(error, OutboundError::WrongHost),
            _ => self.route.is_some(),
        };
        if has_decided {
            return self;
        }
        Self {
            route: Some(route),
            error,
        }
    }
}

impl From<OutboundError> for Denied<'_> {
    fn from(error: OutboundError) -> Self {
        Self { route: None, error }
    }
}

impl Policy {
    /// Sorts and indexes the routes. Routes that share a path are tried in their order here.
    #[must_use]
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        let mut sharing = Sharing::default();
        for route in &routes {
            let origins = route.credential.provider.origins();
            let hosts = origins.map(|origin| &*origin.host);
            sharing.add(&route.path, hosts, &route.credential.name);
        }
        let index = RouteIndex::new(routes.iter().map(Route::keys));
        let mut forms = routes.iter().map(Route::refusal_form);
        let first = forms.next().flatten();
        let has_one_refusal_form = forms.all(|form| form == first);
        Self {
            routes,
            index,
            sharing,
            has_one_refusal_form,
        }
    }

    /// The form of a refusal without a route: the form of all providers, if they have one in common.
    #[must_use]
    pub(super) fn common_refusal_form(&self) -> Option<&RefusalForm> {
        let first = self.routes.first().filter(|_| self.has_one_refusal_form);
        first.and_then(Route::refusal_form)
    }

    /// The credential of this name, if a route uses it.
    #[must_use]
    pub fn credential(&self, name: &str) -> Option<&Arc<Credential>> {
        self.routes_of(name).next().map(|route| &route.credential)
    }

    /// The routes, in the order in which they are tried.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The routes of a credential.
    pub fn routes_of(&self, credential: &str) -> impl Iterator<Item = &Route> + Clone + use<'_> {
        let positions = self.index.of_credential(credential).iter();
        positions.filter_map(|position| self.routes.get(*position))
    }

    /// Decides on a request that [`super::guard::admit`] let in, perhaps for a named upstream. Of routes with the same
    /// path, the first that permits the request decides, or the first of them refuses. Where their credentials differ,
    /// only a sender, or a link with the name of its route, chooses between them.
    ///
    /// # Errors
    /// 404 without a route, 421 for a target with a foreign host, 403 for an operation or a sender that
    /// the route does not allow, and for a request that could go out with several credentials.
    pub fn check<'a>(
        &'a self,
        request: &'a Parts,
        upstream: Option<&NamedUpstream>,
    ) -> Result<Permit<'a>, Denied<'a>> {
        let whole = request.uri.path();
        let mut denied = Denied::from(OutboundError::NoRoute);
        let Some((length, same_path)) = self.index.at(whole) else {
            return Err(denied);
        };
        let (named_route, path) = match whole.get(length..).unwrap_or_default() {
            "" => (None, "/"),
            path => marked_route(path),
        };
        // The longest path wins; routes that share it differ by their senders.
        let candidates = match named_route {
            Some(name) => self.index.named(name, same_path),
            None => self.candidates(same_path, request, path),
        };
        let host = upstream.map(|named| &*named.host);
        for route in candidates.iter().filter_map(|at| self.routes.get(*at)) {
            let is_alone = self.sharing.is_alone(&route.path, host);
            match route.check(request, path, upstream) {
                Ok(permit) if permit.added_sender.is_some() && !is_alone => {
                    denied = denied.or(route, OutboundError::SenderNotNamed);
                }
                Ok(permit) => {
                    let shares_path = self.sharing.has_credentials(&route.path, host);
                    let is_chosen = !shares_path || permit.names_route || named_route.is_some();
                    if is_chosen || !self.has_rival(route, request, path, upstream) {
                        return Ok(Permit {
                            shares_path,
                            ..permit
                        });
                    }
                    denied = Denied {
                        route: Some(route),
                        error: OutboundError::SenderNotNamed,
                    };
                    // The account in the path may be that of another route.
                    if route.account_in(permit.request, path).is_none() {
                        return Err(denied);
                    }
                }
                Err(error) => denied = denied.or(route, error),
            }
        }
        Err(denied)
    }

    /// The placeholder for an SDK that asks for an access token itself, with the route that gives it. A placeholder
    /// opens nothing, so the first route with the path answers.
    #[must_use]
    pub fn token_answer(&self, request: &Parts) -> Option<(&Route, &TokenAnswer)> {
        let whole = request.uri.path();
        let (length, same_path) = self.index.at(whole)?;
        let path = whole.get(length..)?;
        let mut routes = same_path
            .first_of_class()
            .iter()
            .filter_map(|at| self.routes.get(*at));
        routes.find_map(|route| {
            let answer = route.credential.provider.token_answer.as_ref()?;
            let is_asked = answer.answers(&request.method, path);
            is_asked.then_some((route, answer))
        })
    }

    /// The routes with one path that may permit a request, in order.
    fn candidates(&self, same_path: &SamePath, request: &Parts, path: &str) -> Vec<usize> {
        let query = request.uri.query().unwrap_or_default();
        let of_classes = same_path
            .first_of_class()
            .iter()
            .filter(|_| !same_path.is_single())
            .filter_map(|at| self.routes.get(*at))
            .flat_map(|route| {
                let requests = route.requests(&request.method);
                requests.map(move |(_, pattern)| (route, pattern))
            });
        let mut named = Vec::new();
        for (route, pattern) in of_classes {
            if let Some(matched) = pattern.path.matches(path) {
                named.extend(matched.sender.map(Cow::Borrowed));
                named.extend(pattern.path.object(path).map(Cow::Borrowed));
                named.extend(route.account_in(pattern, path).map(Cow::Borrowed));
                named.extend(senders_in(query, pattern));
            }
        }
        same_path.candidates(named.iter().map(|sender| &**sender))
    }

    /// True if another route with the same path could send the request with another credential.
    fn has_rival(
        &self,
        route: &Route,
        request: &Parts,
        path: &str,
        upstream: Option<&NamedUpstream>,
    ) -> bool {
        let mut others = self.routes.iter().filter(|other| {
            other.path == route.path && other.credential.name != route.credential.name
        });
        others.any(|other| {
            if upstream.is_some_and(|named| !other.is_at(named)) {
                return false;
            }
            let mut known = other.requests(&request.method);
            known.any(|(_, pattern)| pattern.path.matches(path).is_some())
        })
    }
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
    pub(super) fn refusal_form(&self) -> Option<&RefusalForm> {
        self.credential.provider.refusal.as_ref()
    }

    /// The properties by which the policy finds the route.
    fn keys(&self) -> RouteKeys<'_> {
        let provider = &self.credential.provider;
        RouteKeys {
            name: &self.name,
            path: &self.path,
            senders: &self.senders,
            credential: &self.credential.name,
            account: provider.account.as_ref().map(|account| &*account.value),
            takes: RequestClass {
                provider: &provider.name,
                origins: provider.origins().collect(),
                operations: &self.operations,
            },
        }
    }

    fn check<'a>(
        &'a self,
        request: &'a Parts,
        path: &'a str,
        upstream: Option<&NamedUpstream>,
    ) -> Result<Permit<'a>, OutboundError> {
        if upstream.is_some_and(|named| !self.is_at(named)) {
            return Err(OutboundError::WrongHost);
        }
        let query = request.uri.query().unwrap_or_default();
        let provider = &self.credential.provider;
        let fitting = || {
            self.requests(&request.method).filter(|(_, pattern)| {
                pattern.path.matches(path).is_some() && query_fits(pattern, query, provider)
            })
        };
        let allowed = || {
            fitting()
                .filter(|(operation, _)| self.operations.allows_method(operation, &request.method))
        };
        // A pattern for some bodies comes after the patterns for any body.
        let any_body = allowed().filter(|(_, pattern)| pattern.body.is_none());
        let some_body = allowed().filter(|(_, pattern)| pattern.body.is_some());
        let mut refusal = None;
        for (operation, pattern) in any_body.chain(some_body) {
            match self.permit(operation, pattern, path, (&request.method, query)) {
                Ok(mut permit) => {
                    if pattern.body.is_some() {
                        let others = allowed().map(|(_, other)| other);
                        permit.alternatives = others
                            .filter(|other| other.body.is_some() && !std::ptr::eq(*other, pattern))
                            .collect();
                    }
                    return Ok(permit);
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        let names = || fitting().map(|(operation, _)| operation.name.clone());
        Err(refusal.unwrap_or_else(|| match names().next() {
            Some(_) => OutboundError::operation_not_allowed(names()),
            None => {
                OutboundError::UnknownOperation(unknown::advice(provider, &request.method, path))
            }
        }))
    }

    /// Permits a request of an allowed operation, if path and query name no foreign sender.
    fn permit<'a>(
        &'a self,
        operation: &'a Operation,
        pattern: &'a RequestPattern,
        path: &'a str,
        (method, query): (&Method, &str),
    ) -> Result<Permit<'a>, OutboundError> {
        let in_path = pattern
            .path
            .matches(path)
            .and_then(|matched| matched.sender);
        if let Some(sender) = self.foreign_sender(in_path, query, pattern) {
            return Err(OutboundError::SenderNotAllowed { sender });
        }
        let names_sender = in_path.is_some()
            || senders_in(query, pattern).next().is_some()
            || self.is_sender(pattern.path.object(path));
        let unnamed = pattern
            .sender
            .as_deref()
            .filter(|_| !names_sender && !self.senders.is_empty());
        let added_sender = match unnamed {
            None => None,
            Some(parameter) if method.is_safe() => Some((parameter, self.only_sender()?)),
            Some(_) => return Err(OutboundError::SenderNotNamed),
        };
        // Messenger takes the messages of a page at the same path.
        if let Some(sender) =
            in_path.filter(|sender| pattern.limited && self.credential.is_page(sender))
        {
            return Err(OutboundError::SenderIsPage {
                sender: cut(sender),
            });
        }
        let account = self.account_in(pattern, path);
        let names_route = account.is_some_and(|account| self.is_account(account))
            || (names_sender && !self.senders.is_empty());
        Ok(Permit {
            route: self,
            operation,
            request: pattern,
            alternatives: Vec::new(),
            path,
            sender: in_path,
            added_sender,
            names_route,
            shares_path: false,
        })
    }

    /// The sender that a request without a sender means.
    fn only_sender(&self) -> Result<&str, OutboundError> {
        let mut senders = self.senders.iter();
        match (senders.next(), senders.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(OutboundError::SenderNotNamed),
        }
    }

    /// The account that the path of a request names, for a provider with accounts in paths.
    fn account_in<'p>(&self, pattern: &RequestPattern, path: &'p str) -> Option<&'p str> {
        let account = self.credential.provider.account.as_ref()?;
        pattern.path.variable(path, &account.variable)
    }

    /// True for the account of the credential.
    fn is_account(&self, named: &str) -> bool {
        let account = self.credential.provider.account.as_ref();
        account.is_some_and(|account| account.value == named)
    }

    /// True for an object that is one of the senders, such as a phone number that is read by its id.
    fn is_sender(&self, object: Option<&str>) -> bool {
        object.is_some_and(|object| self.senders.contains(object))
    }

    /// A sender in path or query that the route does not allow. A provider may read the first of
    /// several senders or the last, so each must be allowed.
    fn foreign_sender(
        &self,
        in_path: Option<&str>,
        query: &str,
        pattern: &RequestPattern,
    ) -> Option<String> {
        if self.senders.is_empty() {
            return None;
        }
        let mut named = in_path
            .map(Cow::Borrowed)
            .into_iter()
            .chain(senders_in(query, pattern));
        let foreign = named.find(|sender| !self.senders.contains(&**sender))?;
        Some(cut(&foreign))
    }

    fn requests(&self, method: &Method) -> impl Iterator<Item = (&Operation, &RequestPattern)> {
        self.credential
            .provider
            .operations
            .iter()
            .flat_map(|operation| operation.requests.iter().map(move |it| (operation, it)))
            .filter(move |(_, pattern)| pattern.has_method(method))
    }

    /// True for an upstream of this route. Clients name a proxied upstream by plain `http://` as well.
    fn is_at(&self, upstream: &NamedUpstream) -> bool {
        let has_port = |port| {
            let named = upstream.port;
            named.is_none_or(|named| port == named || (port == 443 && named == 80))
        };
        let mut origins = self.credential.provider.origins();
        origins.any(|origin| origin.host == upstream.host && has_port(origin.port))
    }
}

/// The route that a link of an answer names, and the rest of the path.
fn marked_route(path: &str) -> (Option<&str>, &str) {
    let Some(marked) = path.strip_prefix(ROUTE_MARK) else {
        return (None, path);
    };
    let end = marked.find('/').unwrap_or(marked.len());
    match marked.split_at_checked(end) {
        Some((name, "")) => (Some(name), "/"),
        Some((name, rest)) => (Some(name), rest),
        None => (None, path),
    }
}

/// The beginning of a sender, for an error text.
fn cut(sender: &str) -> String {
    sender.chars().take(MAX_SHOWN).collect()
}

/// The beginning of a link that names its route. The name follows, then the path of the provider.
const ROUTE_MARK: &str = "/keyside-route/";
/// Longest sender in an error text, in characters: the ids of phone numbers have some 15 digits.
const MAX_SHOWN: usize = 32;
