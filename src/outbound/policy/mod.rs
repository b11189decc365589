//! The decision on a request: the route, the operation, the sender.
//!
//! [`Policy`] chooses among the routes with the path of the request; `judge` decides for one route.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;

use super::error::OutboundError;
use super::hosts::NamedUpstream;
use super::route_index::RouteIndex;
use super::same_path::SamePath;
use crate::credential::Credential;
use crate::provider::{Operation, TokenAnswer};
use crate::refusal_form::RefusalForms;

mod fits;
mod judge;
mod link_mark;
mod permit;
mod route;
mod sender_place;
mod shown;
#[cfg(test)]
mod tests;
mod unknown;

pub use fits::segment_of;
use fits::senders_in;
use link_mark::marked_route;
pub use permit::{LimitSubject, NamedSenders, OwnSender, Permit};
pub use route::{FurtherUpstream, Route};
use sender_place::not_chosen;
use shown::cut;

/// The routes of a generation.
#[derive(Debug)]
pub struct Policy {
    /// Sorted: the longest path first, then in the order of the configuration. A reload shares the
    /// routes that it leaves as they were.
    routes: Vec<Arc<Route>>,
    index: Arc<RouteIndex>,
    /// True if a provider of a route has placeholders for the tokens that SDKs ask for.
    answers_for_tokens: bool,
    /// The forms of refusals without a route. The listener has them as well.
    refusals: Arc<RefusalForms>,
}

/// The reason why a request gets no permit.
#[derive(Debug)]
pub struct Denied<'a> {
    /// The route that decided, if one has the path.
    pub route: Option<&'a Route>,
    /// The operation of the request, as far as the provider knows any.
    pub operation: Option<&'a Operation>,
    /// The reason.
    pub error: OutboundError,
}

impl<'a> Denied<'a> {
    /// The denial of the first route that decided, which is this route if none has decided yet. A
    /// route of another host says nothing about a request that a later route judges.
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
            operation: None,
            error,
        }
    }
}

impl From<OutboundError> for Denied<'_> {
    fn from(error: OutboundError) -> Self {
        Self {
            route: None,
            operation: None,
            error,
        }
    }
}

impl Policy {
    /// Sorts and indexes the routes. Routes that share a path are tried in their order here.
    #[must_use]
    pub fn new(routes: Vec<impl Into<Arc<Route>>>) -> Self {
        let mut routes: Vec<Arc<Route>> = routes.into_iter().map(Into::into).collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        let mut refusals = RefusalForms::default();
        for route in &routes {
            let provider = &route.credential.provider;
            let aliased = provider.aliased_origins().map(|origin| &*origin.host);
            refusals.add(&route.path, aliased, provider.refusal.as_ref());
        }
        let index = Arc::new(RouteIndex::new(routes.iter().map(|route| route.keys())));
        let answers_for_tokens = routes
            .iter()
            .any(|route| route.credential.provider.token_answer.is_some());
        Self {
            answers_for_tokens,
            routes,
            index,
            refusals: Arc::new(refusals),
        }
    }

    /// Returns the policy with other routes in the places of routes that differ in their
    /// credentials alone.
    ///
    /// # Errors
    /// The first thing in the way of a route.
    pub fn with_routes<E>(
        &self,
        mut replace: impl FnMut(&Arc<Route>) -> Result<Arc<Route>, E>,
    ) -> Result<Self, E> {
        let routes: Result<Vec<_>, E> = self.routes.iter().map(&mut replace).collect();
        Ok(Self {
            answers_for_tokens: self.answers_for_tokens,
            routes: routes?,
            index: Arc::clone(&self.index),
            refusals: Arc::clone(&self.refusals),
        })
    }

    /// Adds names that the listener answers for, besides those of providers and loopback.
    #[must_use]
    pub fn answering_for<'h>(mut self, hosts: impl Iterator<Item = &'h str>) -> Self {
        Arc::make_mut(&mut self.refusals).allow(hosts);
        self
    }

    /// The forms of refusals without a route.
    #[must_use]
    pub fn refusals(&self) -> &Arc<RefusalForms> {
        &self.refusals
    }

    /// The credential of this name, if a route uses it.
    #[must_use]
    pub fn credential(&self, name: &str) -> Option<&Arc<Credential>> {
        self.routes_of(name).next().map(|route| &route.credential)
    }

    /// The routes, in the order in which they are tried.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The routes of a credential.
    pub fn routes_of(&self, credential: &str) -> impl Iterator<Item = &Route> + Clone + use<'_> {
        let positions = self.index.of_credential(credential).iter();
        positions.filter_map(|position| self.routes.get(*position).map(Arc::as_ref))
    }

    /// Decides on a request that [`super::guard::admit`] let in, perhaps for a named upstream. Of
    /// routes with the same path, the first that permits the request decides, or the first of them
    /// refuses. Where their credentials differ, only a sender, or a link with the name of its
    /// route, chooses between them.
    ///
    /// # Errors
    /// 404 without a route, 421 for a target with a foreign host, 403 for an operation or a sender
    /// that the route does not allow, and for a request that could go out with several credentials.
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
        let host = upstream.map(|named| &*named.host);
        let candidates = match named_route {
            Some(name) => Cow::Owned(self.index.named(name, same_path)),
            None => self.candidates(same_path, host, request, path),
        };
        let is_alone = same_path.is_alone(host);
        let shares_path = same_path.has_credentials(host);
        for route in candidates.iter().filter_map(|at| self.routes.get(*at)) {
            match route.check(request, path, upstream) {
                Ok(permit) if permit.added_sender.is_some() && !is_alone => {
                    denied = denied.or(route, not_chosen(permit.provider(), permit.request));
                }
                Ok(permit) => {
                    let is_chosen = !shares_path || permit.names_route || named_route.is_some();
                    let rivals = same_path.rivals(host);
                    if is_chosen || !self.has_rival(route, rivals, (request, path), upstream) {
                        let media = route.credential.provider.media_upstream.as_ref();
                        let of_media = host.and(media).map(|media| &*media.host);
                        return Ok(Permit {
                            // Routes may share the host of media as well.
                            shares_path: shares_path
                                || (of_media.is_some() && same_path.has_credentials(of_media)),
                            ..permit
                        });
                    }
                    // The account or the object in the path may be that of a route to come.
                    if let Some(error) = self.not_chosen(&permit, &candidates) {
                        denied = Denied {
                            route: Some(route),
                            operation: None,
                            error,
                        };
                    }
                }
                Err(error) => denied = denied.or(route, error),
            }
        }
        denied.operation = denied
            .route
            .and_then(|route| route.operation_of(request, path));
        Err(denied)
    }

    /// The placeholder for an SDK that asks for an access token itself, with the route that gives
    /// it. A placeholder opens nothing, so the first route with the path answers.
    #[must_use]
    pub fn token_answer(&self, request: &Parts) -> Option<(&Route, &TokenAnswer)> {
        if !self.answers_for_tokens {
            return None;
        }
        let whole = request.uri.path();
        let (length, same_path) = self.index.at(whole)?;
        let path = whole.get(length..)?;
        let mut routes = same_path
            .first_of_class(None)
            .filter_map(|at| self.routes.get(at).map(Arc::as_ref));
        routes.find_map(|route| {
            let answer = route.credential.provider.token_answer.as_ref()?;
            let is_asked = answer.answers(&request.method, path);
            is_asked.then_some((route, answer))
        })
    }

    /// The routes with one path that may permit a request, in order.
    fn candidates<'p>(
        &self,
        same_path: &'p SamePath,
        host: Option<&str>,
        request: &Parts,
        path: &str,
    ) -> Cow<'p, [usize]> {
        if let Some(only) = same_path.single() {
            return Cow::Borrowed(only);
        }
        let query = request.uri.query().unwrap_or_default();
        let of_classes = same_path
            .first_of_class(host)
            .filter_map(|at| self.routes.get(at))
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
        Cow::Owned(same_path.candidates(host, named.iter().map(|sender| &**sender)))
    }

    /// The refusal of a request without the name of a route; `None` for an account of another
    /// route, whose decision counts.
    fn not_chosen(&self, permit: &Permit<'_>, candidates: &[usize]) -> Option<OutboundError> {
        let Some(account) = permit.route.account_in(permit.request, permit.path) else {
            return Some(not_chosen(permit.provider(), permit.request));
        };
        let mut others = candidates.iter().filter_map(|at| self.routes.get(*at));
        let is_known = others.any(|other| other.is_account(account));
        (!is_known).then(|| OutboundError::AccountNotKnown {
            account: cut(account),
        })
    }

    /// True if a route among `rivals` could send the request with another credential.
    fn has_rival(
        &self,
        route: &Route,
        rivals: impl Iterator<Item = usize>,
        (request, path): (&Parts, &str),
        upstream: Option<&NamedUpstream>,
    ) -> bool {
        let mut others = rivals
            .filter_map(|at| self.routes.get(at))
            .filter(|other| other.credential.name != route.credential.name);
        others.any(|other| {
            if upstream.is_some_and(|named| !other.is_at(named)) {
                return false;
            }
            let mut known = other.requests(&request.method);
            known.any(|(_, pattern)| pattern.path.matches(path).is_some())
        })
    }
}
