//! The permit of a request: route, operation, pattern and sender.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use super::link_mark::marked_path;
use super::route::{FurtherUpstream, Route};
use super::sender_place::not_named;
use super::shown::cut;
use crate::outbound::error::OutboundError;
use crate::provider::{Operation, OperationKind, PathMap, Provider, RequestPattern};
use crate::upstream::Upstream;

/// The permission to pass a request on. Only [`Policy::check`](super::Policy::check) makes a
/// permit, and no secret is injected without a permit.
#[derive(Debug)]
pub struct Permit<'a> {
    /// The route.
    pub route: &'a Route,
    /// The operation of the request.
    pub operation: &'a Operation,
    /// The pattern of the operation that the request matches.
    pub request: &'a RequestPattern,
    /// Further patterns for some bodies that the request may match, each with its operation: the
    /// body decides, by [`Permit::decided_by`].
    pub alternatives: Vec<(&'a Operation, &'a RequestPattern)>,
    /// The path as the application wrote it, without the prefix of the route.
    pub path: &'a str,
    /// The sender that the path names, or else the body.
    pub sender: Option<&'a str>,
    /// True if the provider never learns the sender in the path, because the path changes on the
    /// way.
    pub(super) drops_sender: bool,
    /// The parameter and the sender that Keyside adds to the query of a request that must name one,
    /// and reads or deletes: the only sender of the route. The provider then refuses media of
    /// another sender.
    pub added_sender: Option<(&'a str, &'a str)>,
    /// True if path or query name the route: by one of its senders, or by its account.
    pub(super) names_route: bool,
    /// True if a route with another credential has the same path.
    pub(super) shares_path: bool,
}

/// The senders that a message names besides its path, in the form of
/// [`party`](crate::provider::party).
#[derive(Debug, Default)]
pub struct NamedSenders {
    /// The senders in the body.
    pub in_body: Vec<String>,
    /// True if one of several messages in the body names no sender.
    pub is_missing: bool,
    /// The findings at the places of the body that the request has of its own.
    pub own: OwnSender,
    /// The senders in the query.
    pub in_query: Vec<String>,
}

/// The findings at the places of senders that a request has of its own
/// ([`RequestPattern::senders`]). The provider reads the senders of the request there alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnSender {
    /// No value stands at these places.
    #[default]
    Absent,
    /// Each value at these places names a sender.
    Named,
    /// A value at these places names no sender, such as `null` or an empty list.
    Emptied,
}

/// The subject of the limits and pauses that a request meets. A throttle pauses this and nothing
/// else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSubject<'a> {
    /// A message: the pair, the sender and the account's messages.
    Message,
    /// Administration of one object: an account, a template, a number. Empty if the path names
    /// none.
    Administration(&'a str),
    /// A request other than a message that sends, such as a call, about one object; by
    /// [`Permit::request_key`].
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

    /// The path before the provider's paths in links of answers. Where routes share a path, the
    /// link names its route: a link to media names no sender, and must lead back to the same
    /// credential.
    #[must_use]
    pub fn link_path(&self) -> Cow<'a, str> {
        if self.shares_path {
            Cow::Owned(marked_path(self.route))
        } else {
            Cow::Borrowed(&self.route.path)
        }
    }

    /// The patterns that the request may match, each with its operation; more than one only until
    /// the body decides.
    pub fn patterns(&self) -> impl Iterator<Item = (&'a Operation, &'a RequestPattern)> {
        let first = (self.operation, self.request);
        std::iter::once(first).chain(self.alternatives.iter().copied())
    }

    /// The permit after the body has decided for the pattern at this position of
    /// [`Permit::patterns`].
    #[must_use]
    pub fn decided_by(&self, pattern: usize) -> Self {
        let decided = self.patterns().nth(pattern);
        let (operation, request) = decided.unwrap_or((self.operation, self.request));
        Self {
            operation,
            request,
            alternatives: Vec::new(),
            ..*self
        }
    }

    /// Decides on the senders that body and query name.
    ///
    /// The sender of a message is named in the body. A request with places of its own for senders
    /// names a sender there, whatever other places say. A query only adds to what must be allowed:
    /// the provider may read any sender, or none of a query.
    ///
    /// # Errors
    /// 403 for a foreign sender, and for a request that needs a sender and names none or that
    /// empties the place of a sender, on a route with `senders`.
    pub fn with_senders(&self, named: &'a NamedSenders) -> Result<Self, OutboundError> {
        let senders = &self.route.senders;
        let mut all = named.in_body.iter().chain(&named.in_query);
        if let Some(foreign) = all.find(|sender| !senders.is_empty() && !senders.contains(*sender))
        {
            return Err(OutboundError::SenderNotAllowed {
                sender: cut(foreign),
            });
        }
        let in_query = named.in_query.first().map(String::as_str);
        // The provider reads the sender of some messages in the query alone.
        let by_query = in_query.filter(|_| self.request.sender.is_some());
        let in_body = named.in_body.first().map(String::as_str);
        let in_head = self.sender.or(by_query);
        let in_message = in_head.or(in_body);
        let is_missing = in_message.is_none() || (in_head.is_none() && named.is_missing);
        let lacks_own = match named.own {
            OwnSender::Absent => self.request.needs_own_sender(),
            OwnSender::Named => false,
            OwnSender::Emptied => true,
        };
        let lacks_sender = (is_missing && self.request.limited) || lacks_own;
        if lacks_sender && !senders.is_empty() {
            return Err(not_named(self.provider(), self.request));
        }
        let sender = in_message.or(in_query);
        Ok(Self {
            sender,
            alternatives: self.alternatives.clone(),
            ..*self
        })
    }

    /// The sender whose limits the request meets. Where the provider never learns the sender, a
    /// credential is one number, and any text in the path would have limits of its own: the limits
    /// are those of the empty name.
    #[must_use]
    pub fn counted_sender(&self) -> &'a str {
        self.sender
            .filter(|_| !self.drops_sender)
            .unwrap_or_default()
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

    /// The rule that changes the path on the way to the provider, if there is a rule for the
    /// request.
    #[must_use]
    pub fn path_map(&self, method: &Method) -> Option<&'a PathMap> {
        self.provider().path_map(method, self.path)
    }
}
