//! The decision of one route on a request.

use std::borrow::Cow;

use http::Method;
use http::request::Parts;

use super::fits::{names_sender, query_fits, segment_of, senders_in};
use super::permit::Permit;
use super::route::Route;
use super::sender_place::not_named;
use super::shown::cut;
use super::unknown;
use crate::outbound::error::OutboundError;
use crate::outbound::guard::{TOKEN_ASKED, asks_for_token};
use crate::outbound::hosts::NamedUpstream;
use crate::provider::{Operation, RequestPattern};
use crate::query;

/// A pattern that fits the path and the query of a request.
struct Fitting<'a> {
    operation: &'a Operation,
    pattern: &'a RequestPattern,
    /// The sender in the path.
    sender: Option<&'a str>,
}

impl Fitting<'_> {
    /// True for a pattern that takes bodies of some fields alone.
    fn is_for_some_bodies(&self) -> bool {
        let fields = self.pattern.body.as_ref();
        fields.is_some_and(|fields| !fields.is_empty())
    }
}

impl Route {
    /// Permits a request, if the route allows an operation with the request.
    pub(super) fn check<'a>(
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
        if provider.graph_answers
            && query::pairs(query).any(|pair| asks_for_token(&pair.name(), &pair.value()))
        {
            return Err(TOKEN_ASKED);
        }
        // A pattern for some bodies comes after the patterns for any body, or for none.
        let any_body = self
            .allowed(request, path)
            .filter(|fitting| !fitting.is_for_some_bodies());
        let some_bodies = self
            .allowed(request, path)
            .filter(Fitting::is_for_some_bodies);
        let mut refusal = None;
        for fitting in any_body.chain(some_bodies) {
            match self.permit(&fitting, path, (&request.method, query)) {
                Ok(permit) => {
                    let alternatives = self.alternatives_to(fitting.pattern, request, path);
                    return Ok(Permit {
                        alternatives,
                        ..permit
                    });
                }
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| self.refusal_of(request, path)))
    }

    /// The patterns that fit a request, in the order of the provider.
    fn fitting<'a>(
        &'a self,
        request: &'a Parts,
        path: &'a str,
    ) -> impl Iterator<Item = Fitting<'a>> {
        let query = request.uri.query().unwrap_or_default();
        let provider = &self.credential.provider;
        let requests = self.requests(&request.method);
        requests.filter_map(move |(operation, pattern)| {
            let matched = pattern.path.matches(path)?;
            query_fits(pattern, query, provider).then_some(Fitting {
                operation,
                pattern,
                sender: matched.sender,
            })
        })
    }

    /// The fitting patterns whose operations the route allows.
    fn allowed<'a>(
        &'a self,
        request: &'a Parts,
        path: &'a str,
    ) -> impl Iterator<Item = Fitting<'a>> {
        self.fitting(request, path).filter(|fitting| {
            self.operations
                .allows_method(fitting.operation, &request.method)
        })
    }

    /// The further patterns for bodies that a request may match; none besides a pattern that takes
    /// any body.
    fn alternatives_to<'a>(
        &'a self,
        chosen: &RequestPattern,
        request: &'a Parts,
        path: &'a str,
    ) -> Vec<(&'a Operation, &'a RequestPattern)> {
        if chosen.body.is_none() {
            return Vec::new();
        }
        self.allowed(request, path)
            .map(|other| (other.operation, other.pattern))
            .filter(|(_, other)| other.body.is_some() && !std::ptr::eq(*other, chosen))
            .collect()
    }

    /// The refusal of a request without an allowed operation.
    fn refusal_of(&self, request: &Parts, path: &str) -> OutboundError {
        let mut names = self
            .fitting(request, path)
            .map(|fitting| fitting.operation.name.clone())
            .peekable();
        if names.peek().is_some() {
            return OutboundError::operation_not_allowed(names);
        }
        let provider = &self.credential.provider;
        OutboundError::UnknownOperation(unknown::advice(provider, &request.method, path))
    }

    /// Returns the operation that a refused request asks for: the first that the route allows, or
    /// else the first of the provider.
    pub(super) fn operation_of<'a>(
        &'a self,
        request: &'a Parts,
        path: &'a str,
    ) -> Option<&'a Operation> {
        self.allowed(request, path)
            .next()
            .or_else(|| self.fitting(request, path).next())
            .map(|fitting| fitting.operation)
    }

    /// Permits a request of an allowed operation, if path and query name no foreign sender.
    fn permit<'a>(
        &'a self,
        fitting: &Fitting<'a>,
        path: &'a str,
        (method, query): (&Method, &str),
    ) -> Result<Permit<'a>, OutboundError> {
        let &Fitting {
            operation,
            pattern,
            sender: in_path,
        } = fitting;
        if let Some(sender) = self.foreign_sender(in_path, query, pattern) {
            return Err(OutboundError::SenderNotAllowed { sender });
        }
        let mut channel = pattern.channel.iter().filter(|_| !self.channels.is_empty());
        if let Some(channel) = channel.find(|channel| !self.channels.contains(channel)) {
            let channel = channel.clone();
            return Err(OutboundError::ChannelNotAllowed { channel });
        }
        let names_sender = in_path.is_some()
            || (!self.senders.is_empty() && names_sender(query, pattern)?)
            || self.is_sender(pattern.path.object(path));
        let unnamed = pattern
            .sender
            .as_deref()
            .filter(|_| !names_sender && !self.senders.is_empty());
        let added_sender = match unnamed {
            None => None,
            Some(parameter) if RequestPattern::may_get_sender(method) => {
                let only = self.only_sender();
                Some((parameter, only.ok_or_else(|| self.not_named(pattern))?))
            }
            Some(_) => return Err(self.not_named(pattern)),
        };
        // Messenger takes the messages of a page at the same path.
        if let Some(sender) =
            in_path.filter(|sender| pattern.limited && self.credential.is_page(sender))
        {
            return Err(OutboundError::SenderIsPage {
                sender: cut(sender),
            });
        }
        let map = self.credential.provider.path_map(method, path);
        if let Some(parameter) = map.and_then(|map| map.query.as_deref()) {
            segment_of(query, parameter)?;
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
            drops_sender: in_path
                .zip(map)
                .is_some_and(|(sender, map)| !map.keeps_in_path(path, sender)),
            added_sender,
            names_route,
            shares_path: false,
        })
    }

    /// The sender that a request without a sender means.
    fn only_sender(&self) -> Option<&str> {
        let mut senders = self.senders.iter();
        let only = senders.next()?;
        senders.next().is_none().then_some(only)
    }

    /// The refusal of a request of a pattern without a sender.
    fn not_named(&self, pattern: &RequestPattern) -> OutboundError {
        not_named(&self.credential.provider, pattern)
    }

    /// True for the account of the credential.
    pub(super) fn is_account(&self, named: &str) -> bool {
        let account = self.credential.provider.account.as_ref();
        account.is_some_and(|account| account.value == named)
    }

    /// True for an object that is one of the senders, such as a phone number that is read by its
    /// id.
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
}
