//! The protocol of a provider, as data: the key and its places, the paths, the answers, and the
//! signature of events.

use super::answer::Answer;
use super::kept::{KeptFiles, KeptMessages, KeptObjects};
use super::sign::{EventToSign, HeaderLines};

/// The protocol of one provider.
pub struct Dialect {
    /// The name, as `keyside providers` lists it.
    pub name: &'static str,
    /// The host of the API.
    pub host: &'static str,
    /// The values of an account that are not secret, by their names in a credential.
    pub parameters: &'static [(&'static str, &'static str)],
    /// The values that a credential stores like secrets although they are public, such as a user
    /// name.
    pub names: &'static [(&'static str, &'static str)],
    /// The secret that authorizes requests.
    pub key: Key,
    /// The signature of events; absent for providers whose events have none that is known.
    pub events: Option<EventSigning>,
    /// The places of the key in a request; the first place with a key counts.
    pub(crate) places: &'static [Place],
    /// The headers that must have the value of a parameter.
    pub(crate) required_headers: &'static [(&'static str, &'static str)],
    /// The endpoint that exchanges the key for a token.
    pub(crate) exchange: Option<Exchange>,
    /// The answers to requests with the right key other than messages, by method and path: media,
    /// "mark as read", the state of a message, and the questions of health checks. Nothing is kept:
    /// each answer is a sample.
    pub(crate) others: &'static [(&'static str, &'static str, Answer)],
    /// Further requests with the right key, as `METHODS /path`, which have one plain sample as the
    /// answer.
    pub(crate) samples: &'static [&'static str],
    /// The objects that are kept, such as templates.
    pub(crate) kept_objects: &'static [KeptObjects],
    /// The files that are kept.
    pub(crate) kept_files: Option<KeptFiles>,
    /// The state of messages.
    pub(crate) kept_messages: Option<KeptMessages>,
    /// The provider's further hosts, each with the name in the preset. The sandbox serves them on
    /// the provider's host.
    pub further: &'static [(&'static str, &'static str)],
    /// The paths that take a message with POST. `{name}` is the parameter `name`, or else any
    /// segment.
    pub(crate) sends: &'static [&'static str],
    /// A JSON pointer that only "mark as read" and the sign of typing have, where they go to the
    /// path of messages, and the answer to them. They are no messages.
    pub(crate) receipt: Option<(&'static str, Answer)>,
    /// JSON pointers to the sender; the field `X` of a form is `/X`.
    pub(crate) sender: &'static [&'static str],
    /// JSON pointers to the recipient.
    pub(crate) recipient: &'static [&'static str],
    /// The form of message ids: `{hex}` is replaced by 32 hex digits and `{uuid}` by a UUID.
    pub(crate) id: &'static str,
    /// The answer to an accepted message. `{id}`, `{from}`, `{to}` and parameters in the body are
    /// replaced.
    pub(crate) accepted: Answer,
    /// The answer to a missing or wrong key.
    pub(crate) refused: Answer,
    /// The answer to too many messages.
    pub(crate) throttled: Answer,
    /// The answer to too many messages to a recipient, at a provider with a code for the pair.
    pub(crate) pair_throttled: Option<Answer>,
}

impl Dialect {
    /// Returns a path that takes a message, with the account's parameters filled in.
    pub fn path(&self) -> String {
        let template = self.sends.first();
        template
            .map(|template| self.fill(template))
            .unwrap_or_default()
    }

    /// Returns the provider's hosts.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &'static str> {
        let further = self.further.iter().map(|(_, host)| *host);
        std::iter::once(self.host).chain(further)
    }

    /// Returns true if the real provider exchanges keys for tokens on a separate host.
    pub fn exchanges_elsewhere(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_some_and(|exchange| exchange.has_own_host)
    }

    /// Fills the account's parameters into a path.
    pub(crate) fn fill(&self, template: &str) -> String {
        self.parameters
            .iter()
            .fold(template.to_owned(), |path, (name, value)| {
                path.replace(&format!("{{{name}}}"), value)
            })
    }

    /// Returns the value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'static str> {
        self.parameters
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

/// A secret of an account, or a public key in its place.
pub struct Key {
    /// The name in a credential.
    pub name: &'static str,
    /// The form of the secret.
    pub kind: KeyKind,
}

/// The form of a secret, and the side that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Letters and digits that both sides have.
    Text,
    /// `USER:PASSWORD`, which both sides have.
    Login,
    /// An RSA private key in PEM. The provider has the public key.
    Rsa,
    /// An Ed25519 public key in base64. The provider has the private key.
    Ed25519,
}

/// The way in which a provider signs events.
pub struct EventSigning {
    /// The secret or public key that verifies events.
    pub key: Key,
    /// The encoding of bodies.
    pub(super) format: BodyFormat,
    /// Makes the headers that prove an event genuine.
    pub(super) sign: fn(&EventToSign<'_>) -> HeaderLines,
}

/// The encoding of an event's body.
#[derive(Clone, Copy)]
pub(super) enum BodyFormat {
    Json,
    Form,
}

impl EventSigning {
    /// Makes the body of an event.
    ///
    /// The vendors' forms of events are not emulated. A test that needs the real form orders it as
    /// `body`.
    pub(crate) fn body(&self, from: &str, to: &str, text: &str) -> Vec<u8> {
        let encode = |value| {
            percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
        };
        let body = match self.format {
            BodyFormat::Json => {
                serde_json::json!({"from": from, "to": to, "text": text}).to_string()
            }
            BodyFormat::Form => format!(
                "From={}&To={}&Body={}",
                encode(from),
                encode(to),
                encode(text)
            ),
        };
        body.into_bytes()
    }

    /// Makes the headers of an event.
    pub(crate) fn headers(&self, event: &EventToSign<'_>) -> HeaderLines {
        let content_type = match self.format {
            BodyFormat::Json => "application/json",
            BodyFormat::Form => "application/x-www-form-urlencoded",
        };
        let mut headers = (self.sign)(event);
        headers.push(("Content-Type", content_type.to_owned()));
        headers
    }
}

/// A place of the key in a request.
pub(crate) enum Place {
    /// A header, after a prefix.
    Header(&'static str, &'static str),
    /// The password of Basic authentication. The user is the value of this parameter.
    Basic(&'static str),
    /// A query parameter.
    Query(&'static str),
    /// A JSON pointer into the body, which may be a form.
    Field(&'static str),
    /// A user name and a key as parameters of body or query: name of the user's parameter, user,
    /// name of the key's.
    Login(&'static str, &'static str, &'static str),
    /// A JWT after `Bearer`, signed by the application with RS256. Its `application_id` is this
    /// parameter.
    Minted(&'static str),
    /// The token of an exchange, in `Authorization` after a prefix.
    Exchanged(&'static str),
}

/// An endpoint that exchanges the key for a token.
pub(crate) struct Exchange {
    /// True if the real endpoint has a host of its own. The sandbox serves it on the provider's
    /// host.
    pub(crate) has_own_host: bool,
    /// The path.
    pub(crate) path: &'static str,
    /// The places of the key in a request for a token.
    pub(crate) places: &'static [Place],
    /// Further parameters that the body or the query must have.
    pub(crate) required: &'static [(&'static str, &'static str)],
    /// The answer. `{token}` and `{life}` in the body are replaced.
    pub(crate) granted: Answer,
    /// The answer to a message with an expired token.
    pub(crate) expired: Answer,
}

/// The lifetime of a token from an exchange, in seconds, as Sinch and Route Mobile document it.
pub(crate) const EXCHANGED_LIFETIME: u64 = 3600;
