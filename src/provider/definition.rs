//! A provider in checked form, complete for an account.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::access::{AccessToken, TokenExchange};
use super::channels::Channels;
use super::errors::ErrorRules;
use super::inject::{Inject, Strip};
use super::limits::ProviderLimits;
use super::operation::{Operation, PathMap};
use super::origin::{Ca, Origin};
use super::path::Segment;
use super::received::{Receipt, ReceivedMedia};
use super::secret::SecretKind;
use super::template::Template;
use super::token_answer::TokenAnswer;
use super::webhook::WebhookSpec;
use crate::refusal_form::RefusalForm;

/// A provider: an API, the places where its credential goes, and the names of its requests.
///
/// [`Outline::fill`](super::Outline::fill) makes a provider for the account of a credential. Unless
/// the account lacks a value, no template contains a parameter.
#[derive(Clone, Debug)]
pub struct Provider {
    /// `meta`, `360dialog`, or the NAME of `[provider.NAME]`.
    pub name: String,
    /// The display name.
    pub title: String,
    /// The origin of requests; `None` for a provider that only sends events, or for an account
    /// without a needed parameter.
    pub upstream: Option<Origin>,
    /// The origin of media bytes, for a provider with a separate host.
    pub media_upstream: Option<Origin>,
    /// The origins of further hosts, which requests choose by name.
    pub upstreams: Vec<NamedOrigin>,
    /// The authorities for the certificates of the upstreams.
    pub ca: Ca,
    /// The secrets of a credential.
    pub secrets: Vec<SecretKind>,
    /// The access token sent instead of the secrets, if the provider takes access tokens.
    pub access_token: Option<AccessToken>,
    /// The places of secrets in a request.
    pub inject: Vec<Inject>,
    /// The parts of an application's request to remove before injection.
    pub strip: Strip,
    /// The operations, in order of precedence.
    pub operations: Vec<Operation>,
    /// Paths that change on the way; the first match wins.
    pub paths: Vec<PathMap>,
    /// The provider's own limits, which are the defaults of a route.
    pub limits: ProviderLimits,
    /// The channels of messages, for a provider that sends messages of several with one request.
    pub channels: Option<Channels>,
    /// The rules for the meaning of an error.
    pub errors: ErrorRules,
    /// The form of Keyside's own refusals; Graph's form if absent.
    pub refusal: Option<Arc<RefusalForm>>,
    /// The signs that a user gets of a message that the application has received.
    pub receipts: Vec<Receipt>,
    /// The way to the media of received messages, if the vendor documents one.
    pub received_media: Option<ReceivedMedia>,
    /// The answer to an SDK that asks for an access token itself.
    pub token_answer: Option<TokenAnswer>,
    /// The question about a credential, if the provider has one.
    pub health: Option<HealthCheck>,
    /// The number of secrets of an account alive at once, if known.
    pub live_secrets: Option<NonZeroU32>,
    /// True if answers are Graph JSON, with links to media and pages that must lead back to
    /// Keyside.
    pub graph_answers: bool,
    /// The account of a credential, if the paths of requests name it.
    pub account: Option<NamedAccount>,
    /// The signatures of the provider's events, if it sends any.
    pub webhook: Option<WebhookSpec>,
}

/// An origin with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedOrigin {
    /// The name, which requests write as their `upstream`.
    pub name: String,
    /// The origin.
    pub origin: Origin,
}

/// An account that the paths of requests name, such as Twilio's `/Accounts/{account_sid}/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedAccount {
    /// The name of the variable in paths, which is a parameter of the provider.
    pub variable: String,
    /// The value for a credential.
    pub value: String,
}

/// The question for the state of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// Meta's `debug_token`, and a read of each sender.
    Graph,
    /// A GET with the credential on this path. Any success proves the credential.
    Get(Template),
}

/// The variable of a path for the recipient.
pub const RECIPIENT: &str = "recipient";

impl Provider {
    /// Returns the index of an operation in [`Self::operations`].
    pub fn operation(&self, name: &str) -> Option<usize> {
        self.operations
            .iter()
            .position(|operation| operation.name == name)
    }

    /// True if requests carry the secrets in equal forms and with an equal account.
    #[must_use]
    pub fn authorizes_as(&self, other: &Self) -> bool {
        self.inject == other.inject
            && self.access_token == other.access_token
            && self.account == other.account
    }

    /// Returns the rule that changes the path of a request on the way to the provider.
    #[must_use]
    pub fn path_map(&self, method: &Method, path: &str) -> Option<&PathMap> {
        self.paths.iter().find(|map| map.is_for(method, path))
    }

    /// Returns the secret of this name.
    pub fn secret(&self, name: &str) -> Option<&SecretKind> {
        self.secrets.iter().find(|secret| secret.name == name)
    }

    /// Returns true if requests name their channels, in the path or in the body.
    #[must_use]
    pub fn names_channels(&self) -> bool {
        let mut requests = self
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        self.channels.is_some() || requests.any(|request| request.channel.is_some())
    }

    /// Returns true if messages name their senders, in the path or in the body.
    #[must_use]
    pub fn names_senders(&self) -> bool {
        let mut requests = self
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        let in_path = requests.any(|request| request.path.segments.iter().any(Segment::is_sender));
        in_path || self.names_senders_in_bodies()
    }

    /// Returns true if some request names its senders in the body.
    #[must_use]
    pub fn names_senders_in_bodies(&self) -> bool {
        let mut requests = self
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        !self.limits.sender.is_empty() || requests.any(|request| !request.senders.is_empty())
    }

    /// Returns true if messages name their recipients, in the path or in the body.
    #[must_use]
    pub fn names_recipients(&self) -> bool {
        let requests = self
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        let mut messages = requests.filter(|request| request.limited);
        let in_path =
            messages.any(|request| request.path.variables().any(|name| name == RECIPIENT));
        in_path || !self.limits.recipient.is_empty()
    }

    /// Returns true for Meta's health check, which also tells scopes, senders and the end of a
    /// token.
    #[must_use]
    pub fn is_asked_as_graph(&self) -> bool {
        self.health == Some(HealthCheck::Graph)
    }

    /// Returns true if a secret can be checked with the provider: by the health check, or by
    /// exchanging the secret.
    #[must_use]
    pub fn can_be_asked(&self) -> bool {
        self.health.is_some() || self.exchange().is_some()
    }

    /// Returns the exchange of secrets for an access token, if the provider has one.
    #[must_use]
    pub fn exchange(&self) -> Option<&TokenExchange> {
        match &self.access_token {
            Some(AccessToken::Exchanged(exchange)) => Some(exchange),
            Some(AccessToken::Minted(_)) | None => None,
        }
    }

    /// Returns the origins by which applications may address the provider.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        let further = self.upstreams.iter().map(|named| &named.origin);
        self.upstream
            .iter()
            .chain(&self.media_upstream)
            .chain(further)
    }

    /// Returns the origins without the host of links to media: a link in an answer of Keyside names
    /// the route.
    pub fn origins_without_links(&self) -> impl Iterator<Item = &Origin> {
        let further = self.upstreams.iter().map(|named| &named.origin);
        let media = self.media_upstream.iter().filter(|_| !self.graph_answers);
        self.upstream.iter().chain(media).chain(further)
    }

    /// Returns the origins for which applications may take Keyside: those of the provider, and the
    /// issuer of access tokens that SDKs ask themselves.
    pub fn aliased_origins(&self) -> impl Iterator<Item = &Origin> {
        let answers = self.token_answer.is_some();
        let exchange = self.exchange().filter(|_| answers);
        let issuer = exchange.and_then(|exchange| exchange.upstream.as_ref());
        self.origins().chain(issuer)
    }

    /// Sets the account to the first of `values` that the paths of requests name.
    pub(super) fn set_account(&mut self, values: &BTreeMap<String, String>) {
        let requests = self
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        let mut variables = requests.flat_map(|request| request.path.variables());
        self.account = variables.find_map(|variable| {
            let value = values.get(variable)?.clone();
            let variable = variable.to_owned();
            Some(NamedAccount { variable, value })
        });
    }

    /// Returns every header that carries an injected value.
    pub fn injected_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.injects().filter_map(|inject| match inject {
            Inject::Header { name, .. } => Some(name),
            _ => None,
        })
    }

    /// Returns every place of injection: the provider's own, then the ones of single requests.
    fn injects(&self) -> impl Iterator<Item = &Inject> {
        let requests = self
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        let of_requests = requests
            .filter_map(|request| request.inject.as_ref())
            .flatten();
        self.inject.iter().chain(of_requests)
    }

    /// Replaces parameters by their values in every template.
    pub(super) fn fill(&mut self, values: &BTreeMap<String, String>) {
        for template in self.templates_mut() {
            template.fill(values);
        }
    }

    fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        let of_requests = self
            .operations
            .iter_mut()
            .flat_map(|operation| &mut operation.requests)
            .filter_map(|request| request.inject.as_mut())
            .flatten();
        let (claims, exchanged) = match &mut self.access_token {
            Some(AccessToken::Minted(minted)) => (Some(&mut minted.claims), None),
            Some(AccessToken::Exchanged(exchange)) => (None, Some(&mut exchange.inject)),
            None => (None, None),
        };
        let health = match &mut self.health {
            Some(HealthCheck::Get(path)) => Some(path),
            Some(HealthCheck::Graph) | None => None,
        };
        self.inject
            .iter_mut()
            .chain(of_requests)
            .chain(exchanged.into_iter().flatten())
            .filter_map(Inject::template_mut)
            .chain(self.paths.iter_mut().map(|map| &mut map.to))
            .chain(claims.into_iter().flatten().map(|(_, value)| value))
            .chain(health)
    }
}
