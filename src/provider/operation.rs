//! The operations of a provider, their requests, and paths that change on the way.

use http::Method;

use super::content_type::ContentType;
use super::inject::Inject;
use super::path::{PathPattern, Segment};
use super::template::Template;

/// A named group of requests.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The name in configuration, logs and metrics, such as `messages`.
    pub name: String,
    /// The purpose.
    pub kind: OperationKind,
    /// True if a route may use the operation without naming it.
    pub default: bool,
    /// The rights that the credential needs at the provider, by the provider's own names.
    pub scopes: Vec<String>,
    /// True if requests keep the application's own credential, and nothing is injected.
    pub caller_credential: bool,
    /// The requests of the group.
    pub requests: Vec<RequestPattern>,
}

/// The purpose of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
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
    /// The allowed query parameters; `None` allows any.
    pub query: Option<Vec<String>>,
    /// The only words that certain query parameters may have.
    pub only: Vec<QueryWords>,
    /// The words that certain query parameters may not have.
    pub without: Vec<QueryWords>,
    /// The only fields that the JSON object in the body may have; `None` allows any.
    pub body: Option<Vec<String>>,
    /// True if the request goes to the media upstream.
    pub media: bool,
    /// The name of the upstream of the request, for one of the provider's further hosts.
    pub upstream: Option<String>,
    /// True for a message, which counts against the limits of sender and recipient.
    pub limited: bool,
    /// The rates that a message counts against.
    pub metering: Metering,
    /// The channel of whatever the request sends, where the path decides it. No field of the body
    /// names a channel then.
    pub channel: Option<String>,
    /// True if the body is the bytes of a file whatever its `Content-Type` says, as in a resumable
    /// upload.
    ///
    /// The header cannot be trusted, because curl labels the bytes as a form.
    pub raw: bool,
    /// The media types that a body may have, unless it is `raw`. A body of any other type is
    /// refused.
    pub content_types: Vec<ContentType>,
    /// The query parameter that names the sender of a request without a sender in the path, such as
    /// the reading of media. A route with `senders` needs the parameter.
    pub sender: Option<String>,
    /// JSON pointers to the senders in the body of a request that names senders at places of its
    /// own, besides those of all requests. A route with `senders` needs one of them: without, the
    /// provider chooses, or means every sender of the account. A PATCH may leave them out, because
    /// it changes only what it names.
    pub senders: Vec<Vec<String>>,
    /// The places of injection instead of the provider's own.
    pub inject: Option<Vec<Inject>>,
}

/// The rates that a message counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metering {
    /// The rates of the sender and of the account.
    #[default]
    Common,
    /// A rate of its own for each sender, or none: the provider counts the message apart from the
    /// others.
    Apart,
}

impl RequestPattern {
    /// Returns true for the methods that change nothing.
    #[must_use]
    pub fn is_reading(method: &Method) -> bool {
        method == Method::GET || method == Method::HEAD
    }

    /// Returns true for the methods of requests without a body, to whose query Keyside may add the
    /// sender.
    #[must_use]
    pub fn may_get_sender(method: &Method) -> bool {
        method.is_safe() || method == Method::DELETE
    }

    /// Returns true for a request bound by `senders` of a route: path, query or body names the
    /// sender. The bytes of media have a link, given by a request with a sender.
    #[must_use]
    pub fn is_bound_by_senders(&self) -> bool {
        let in_path = self.path.segments.iter().any(Segment::is_sender);
        in_path || self.needs_sender() || self.sender.is_some() || self.media
    }

    /// Returns true for a request whose body names a sender: a message, or a request that names
    /// senders at places of its own.
    #[must_use]
    pub fn needs_sender(&self) -> bool {
        self.limited || self.needs_own_sender()
    }

    /// Returns true for a request that names a sender at a place of its own.
    #[must_use]
    pub fn needs_own_sender(&self) -> bool {
        let is_change = self.methods.iter().all(|method| method == Method::PATCH);
        !self.senders.is_empty() && !is_change
    }

    /// Returns true for a request with this method. An application that may GET may also ask with
    /// HEAD.
    #[must_use]
    pub fn has_method(&self, method: &Method) -> bool {
        self.methods.contains(method)
            || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}

/// Words in the value of a query parameter, such as the fields of an object to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryWords {
    /// The name of the parameter.
    pub name: String,
    /// The words.
    pub words: Vec<String>,
}

impl QueryWords {
    /// Returns true for a value of these words alone, separated by commas.
    #[must_use]
    pub fn are_all_of(&self, value: &str) -> bool {
        let mut parts = value.split(',');
        parts.all(|part| self.words.iter().any(|word| word == part.trim()))
    }

    /// Returns true for a value with one of the words in any place, such as inside of
    /// `a{b,c.limit(1)}`.
    #[must_use]
    pub fn are_in(&self, value: &str) -> bool {
        let mut parts = value.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_one = |part: &str| {
            self.words
                .iter()
                .any(|word| word.eq_ignore_ascii_case(part))
        };
        parts.any(is_one)
    }
}

/// A path that changes on the way to the provider.
#[derive(Clone, Debug)]
pub struct PathMap {
    /// The only method for which the path changes; `None` for any method.
    pub method: Option<Method>,
    /// The path in the application's request.
    pub from: PathPattern,
    /// The query parameter whose value moves into the path, under the name of the parameter.
    pub query: Option<String>,
    /// The path in the request to the provider: text, variables of `from`, the value of `query`,
    /// secrets.
    pub to: Template,
}

impl PathMap {
    /// Returns true for a request whose path changes by this rule. HEAD goes where GET goes.
    #[must_use]
    pub fn is_for(&self, method: &Method, path: &str) -> bool {
        let is_own = |own: &Method| own == method || (own == Method::GET && method == Method::HEAD);
        self.method.as_ref().is_none_or(is_own) && self.from.matches(path).is_some()
    }

    /// Returns true if the sender in the path of the application is in the path to the provider as
    /// well.
    #[must_use]
    pub fn keeps_in_path(&self, path: &str, sender: &str) -> bool {
        let is_sender = |text: &str| text.strip_prefix('+').unwrap_or(text) == sender;
        let mut names = self.to.names();
        names.any(|name| self.from.variable(path, name).is_some_and(is_sender))
    }
}

/// The methods that a request may have: RFC 9110, section 9, without CONNECT and TRACE; RFC 5789.
pub const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_graph_reads_fields() {
        let words = |words: &[&str]| QueryWords {
            name: "fields".to_owned(),
            words: words.iter().map(ToString::to_string).collect(),
        };
        let media = words(&["url", "mime_type"]);
        for (value, expected) in [
            ("url", true),
            ("url,mime_type", true),
            ("mime_type, url", true),
            ("", false),
            ("url,", false),
            ("url,pin", false),
            ("url{id}", false),
            ("URL", false),
        ] {
            assert_eq!(media.are_all_of(value), expected, "{value}");
        }
        let tokens = words(&["access_token"]);
        for (value, expected) in [
            ("access_token", true),
            ("id,Access_Token", true),
            ("accounts.limit(1){id,access_token}", true),
            ("my_access_token,access_tokens", false),
            ("id,name", false),
        ] {
            assert_eq!(tokens.are_in(value), expected, "{value}");
        }
    }
}
