//! What Keyside knows of an API: a preset in its checked form.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, Method};

pub mod access;
mod errors;
mod limits;
mod matching;
mod outline;
mod parse;
pub mod schema;
pub mod webhook;

pub use access::AccessToken;
pub use errors::{CodePlace, Errors, Meaning};
pub use limits::{Limits, Rates, Scope, Throttle, party};
pub use matching::Matched;
pub use outline::{Outline, Parameter, ParameterForm};
pub use parse::Malformed;
pub use webhook::Webhook;

use crate::document::{Document, Report};

/// A provider: an API, where its credential goes, and what its requests are called. Made for the account of one
/// credential by [`Outline::fill`], so that nothing in it waits for a value.
#[derive(Clone, Debug)]
pub struct Provider {
    /// `meta`, `360dialog`, or the NAME of `[provider.NAME]`.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Where requests go; `None` where the provider only sends events, or the account has too little for more.
    pub upstream: Option<Origin>,
    /// Where media bytes come from, if that is another host.
    pub media_upstream: Option<Origin>,
    /// Which authorities may vouch for the upstreams.
    pub ca: Ca,
    /// The secrets that a credential of this provider has.
    pub secrets: Vec<SecretKind>,
    /// What is made of the secrets and sent in their place, where something is.
    pub access_token: Option<AccessToken>,
    /// Where the secrets go in a request.
    pub inject: Vec<Inject>,
    /// What a caller may have put there instead, and what is taken out.
    pub strip: Strip,
    /// What can be asked of the provider, in order of precedence.
    pub operations: Vec<Operation>,
    /// Paths that are changed on the way, first match wins.
    pub paths: Vec<PathMap>,
    /// The provider's own limits, the defaults of a route.
    pub limits: Limits,
    /// How its answers say what is wrong.
    pub errors: Errors,
    /// How it is asked about a credential, where it can be.
    pub health: Option<Health>,
    /// How many secrets of one account may be alive at once, where that is known.
    pub live_secrets: Option<NonZeroU32>,
    /// Whether answers are Graph JSON, with media and paging links to rewrite.
    pub graph_answers: bool,
    /// How its events prove that they are genuine, where it sends any.
    pub webhook: Option<Webhook>,
}

/// How a provider is asked whether a credential is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Meta's `debug_token`, and a read of each sender.
    Graph,
    /// A GET of this path with the credential: any success means that it is good.
    Get(Template),
}

/// Scheme, host and port of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// False only for an upstream on loopback, in development and tests.
    pub tls: bool,
    /// The host name in lower case; an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Origin {
    /// The authority as a `Host` header has it: without the port that the scheme implies.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.implied_port() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether an authority names this origin.
    #[must_use]
    pub fn is_at(&self, authority: &str) -> bool {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, Some(self.implied_port())),
        };
        self.host.eq_ignore_ascii_case(host) && port == Some(self.port)
    }

    fn implied_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }
}

/// Which authorities may vouch for an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ca {
    /// Mozilla's list, compiled in.
    Bundled,
    /// The system's list.
    System,
    /// The certificates of a PEM file, and no others.
    File(PathBuf),
}

/// One secret that a credential has.
#[derive(Clone, Debug)]
pub struct SecretKind {
    /// Its key in `[credential.NAME]`.
    pub name: String,
    /// Whether a route cannot do without it.
    pub required: bool,
    /// What it must look like.
    pub form: SecretForm,
}

/// What a secret must look like, to catch values pasted into the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// Any visible text.
    Text,
    /// A Meta access token: not 32 hex digits.
    MetaToken,
    /// A Meta app secret: not a token (`EAA...`).
    AppSecret,
    /// An RSA key in PEM, which signs and is never sent.
    PrivateKey,
}

/// One place where a secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inject {
    /// A header.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: Template,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// Its value, percent-encoded when it is put in.
        value: Template,
    },
    /// A field of a JSON body.
    JsonField {
        /// The keys that lead to it, from a JSON pointer.
        pointer: Vec<String>,
        /// Its value.
        value: Template,
    },
    /// A field of a form-encoded body.
    FormField {
        /// Its name.
        name: String,
        /// Its value.
        value: Template,
    },
    /// Meta's `appsecret_proof` and `appsecret_time`, in the query.
    AppSecretProof {
        /// The secret that is signed.
        token: String,
        /// The secret that signs.
        key: String,
    },
}

/// Text with secrets in it, as in `Bearer {token}`. Parameters in it are text by the time there is a [`Provider`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// What it is made of, in order.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Text(String),
    /// A secret of the credential, its access token, or in a path a variable of the pattern that matched.
    Name(String),
    /// Base64 of these, as HTTP Basic wants user and password: RFC 7617.
    Basic(Vec<Self>),
}

/// What is taken out of a caller's request before injection.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// Headers.
    pub headers: Vec<HeaderName>,
    /// Query parameters.
    pub query: Vec<String>,
    /// Fields of a form-encoded body.
    pub form: Vec<String>,
}

/// A named group of requests.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `messages`, `media`, ...
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Whether a route may use it without naming it.
    pub default: bool,
    /// Whether requests keep the credential that the caller sent.
    pub caller_credential: bool,
    /// Its requests.
    pub requests: Vec<RequestPattern>,
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sending.
    Send,
    /// Receiving.
    Receive,
    /// Administration of the account.
    Administration,
}

/// Requests of one shape.
#[derive(Clone, Debug)]
pub struct RequestPattern {
    /// The methods.
    pub methods: Vec<Method>,
    /// The path.
    pub path: PathPattern,
    /// The query parameters that may be there; `None` means any.
    pub query: Option<Vec<String>>,
    /// Whether it goes to the media upstream.
    pub media: bool,
    /// Whether it counts against the sender's limit.
    pub limited: bool,
    /// Whether its body is the bytes of a file whatever its `Content-Type` says, as in a resumable
    /// upload: curl calls such bytes a form.
    pub raw: bool,
    /// What is injected instead of the provider's `inject`.
    pub inject: Option<Vec<Inject>>,
}

/// A path with places for what varies, as in `/{v}/{sender}/messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// Its segments.
    pub segments: Vec<Segment>,
}

/// One segment of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// `{v}`: a version such as `v23.0`, or nothing at all.
    Version,
    /// `{id}`: digits.
    Id,
    /// `{sender}`: digits or a UUID that name the sender.
    Sender,
    /// `{name}`: any one segment that is not empty.
    Any(String),
    /// `text{...}` as the last segment: one segment that begins with this text.
    Prefix(String),
    /// `{...}` as the last segment: everything that follows.
    Rest,
}

/// A path that is changed on the way.
#[derive(Clone, Debug)]
pub struct PathMap {
    /// What the application asks for.
    pub from: PathPattern,
    /// What the provider is asked for: text, variables of `from`, secrets.
    pub to: Template,
}

impl Provider {
    /// The preset of this name, for an account of which nothing is known: without an upstream where that takes parameters.
    pub fn preset(name: &str) -> Option<Self> {
        let (provider, _missing) = Outline::preset(name)?.fill(&BTreeMap::new());
        Some(Arc::unwrap_or_clone(provider))
    }

    /// The place of an operation in `operations`.
    pub fn operation(&self, name: &str) -> Option<usize> {
        self.operations.iter().position(|operation| operation.name == name)
    }

    /// Whether its messages name their senders: in the path, or in the body.
    #[must_use]
    pub fn names_senders(&self) -> bool {
        let requests = self.operations.iter().flat_map(|operation| &operation.requests);
        let in_path = requests.flat_map(|request| &request.path.segments).any(|segment| *segment == Segment::Sender);
        in_path || !self.limits.sender.is_empty()
    }

    /// Whether it is asked in Meta's own way, which tells more than whether a credential is good.
    #[must_use]
    pub fn is_asked_as_graph(&self) -> bool {
        self.health == Some(Health::Graph)
    }

    /// Whether it can be asked about a secret: by a question of its own, or by the exchange of the secret.
    #[must_use]
    pub fn can_be_asked(&self) -> bool {
        self.health.is_some() || self.exchange().is_some()
    }

    /// How secrets are exchanged for an access token, where they are.
    #[must_use]
    pub fn exchange(&self) -> Option<&access::Exchange> {
        match &self.access_token {
            Some(AccessToken::Exchanged(exchange)) => Some(exchange),
            _ => None,
        }
    }

    /// The origins that applications may call it by.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.upstream.iter().chain(&self.media_upstream)
    }

    /// Every header that it injects.
    pub fn injected_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let requests = self.operations.iter().flat_map(|operation| &operation.requests);
        let own = requests.filter_map(|request| request.inject.as_ref()).flatten();
        self.inject
            .iter()
            .chain(own)
            .filter_map(|inject| if let Inject::Header { name, .. } = inject { Some(name) } else { None })
    }

    /// One of the secrets that a credential of this provider has.
    pub fn secret(&self, name: &str) -> Option<&SecretKind> {
        self.secrets.iter().find(|secret| secret.name == name)
    }
}

/// The document of a preset, for a provider that extends it.
pub fn preset_document(name: &str, report: &Report) -> Option<Document> {
    let (name, text) = PRESETS.iter().find(|(preset, _)| *preset == name)?;
    Document::parse(text, &format!("presets/{name}.toml"), report)
}

/// Every header in which a preset carries a credential: none of them may pass from a caller to any provider.
///
/// Those of a provider of the configuration are in its own `strip`.
pub fn credential_headers() -> Vec<HeaderName> {
    let mut headers: Vec<HeaderName> = PRESETS
        .iter()
        .filter_map(|(name, _)| Provider::preset(name))
        .flat_map(|provider| provider.strip.headers)
        .collect();
    headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    headers.dedup();
    headers
}

/// The presets that ship with Keyside: name and TOML text.
pub const PRESETS: &[(&str, &str)] = &[
    ("meta", include_str!("presets/meta.toml")),
    ("360dialog", include_str!("presets/360dialog.toml")),
    ("infobip", include_str!("presets/infobip.toml")),
    ("twilio", include_str!("presets/twilio.toml")),
    ("vonage", include_str!("presets/vonage.toml")),
    ("bird", include_str!("presets/bird.toml")),
    ("messagebird", include_str!("presets/messagebird.toml")),
    ("sinch", include_str!("presets/sinch.toml")),
    ("ycloud", include_str!("presets/ycloud.toml")),
    ("telnyx", include_str!("presets/telnyx.toml")),
    ("wati", include_str!("presets/wati.toml")),
    ("zenvia", include_str!("presets/zenvia.toml")),
    ("cm", include_str!("presets/cm.toml")),
    ("plivo", include_str!("presets/plivo.toml")),
    ("gupshup", include_str!("presets/gupshup.toml")),
    ("wassenger", include_str!("presets/wassenger.toml")),
    ("clickatell", include_str!("presets/clickatell.toml")),
    ("haptik", include_str!("presets/haptik.toml")),
    ("interakt", include_str!("presets/interakt.toml")),
    ("aisensy", include_str!("presets/aisensy.toml")),
    ("kaleyra", include_str!("presets/kaleyra.toml")),
    ("respond-io", include_str!("presets/respond-io.toml")),
    ("route-mobile", include_str!("presets/route-mobile.toml")),
    ("chat-api", include_str!("presets/chat-api.toml")),
    ("standard-webhooks", include_str!("presets/standard-webhooks.toml")),
    ("generic", include_str!("presets/generic.toml")),
];
