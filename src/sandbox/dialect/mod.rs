//! How providers other than Meta speak: where the key is, which requests send, and what an answer looks like.
//!
//! [`table`] has what is known of each, from the vendors' own documents and SDKs unless it says otherwise. What is not
//! known is answered in one plain way that is no vendor's: `{"id":"..."}` to a message, 401 and 429 with
//! `{"error":{"code":"...","message":"..."}}` to a wrong key and to too many. Only sending is there: no media, no
//! templates, and the content of a message is not checked.

mod answer;
mod asked;
mod key;
mod keys;
mod sign;
mod table;

pub(super) use answer::answer;
pub(super) use sign::{Event, Lines};

pub use keys::{new_private_key, new_seed, public_key, public_key_of_seed};

/// How one provider speaks.
pub struct Dialect {
    /// Its name, as `keyside providers` has it.
    pub name: &'static str,
    /// The host that it has.
    pub host: &'static str,
    /// What an account has besides secrets, by the names that a credential has for it.
    pub parameters: &'static [(&'static str, &'static str)],
    /// What it has in the place of secrets, though it is none: the name of a user.
    pub names: &'static [(&'static str, &'static str)],
    /// The secret that requests are made with.
    pub key: Key,
    /// How its events are signed.
    pub webhook: Option<Webhook>,
    /// Where the key may be; the first place that has one counts.
    places: &'static [Place],
    /// Headers that must have the value of a parameter.
    demanded: &'static [(&'static str, &'static str)],
    /// Where the key is exchanged for a token.
    exchange: Option<Exchange>,
    /// What a GET with the right key is answered with: cheap questions.
    questions: &'static [(&'static str, Answer)],
    /// The paths to which a message is sent with POST. `{name}` stands for that parameter, or else for any segment.
    sends: &'static [&'static str],
    /// JSON pointers to the sender and the recipient; the field `X` of a form is `/X`.
    sender: &'static [&'static str],
    recipient: &'static [&'static str],
    /// The id of a message; `{hex}` stands for 32 hexadecimal digits and `{uuid}` for a UUID.
    id: &'static str,
    /// A message that was taken. `{id}`, `{from}`, `{to}` and the parameters may stand in the body.
    accepted: Answer,
    /// No key, or not the right one.
    refused: Answer,
    /// Too many.
    throttled: Answer,
}

/// A secret of an account's, or what stands for one.
pub struct Key {
    /// Its name in a credential.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters and digits that both sides have.
    Text,
    /// `USER:PASSWORD`, which both sides have.
    Login,
    /// An RSA private key in PEM. The provider has the public one.
    Rsa,
    /// An Ed25519 public key in base64. The provider has the private one.
    Ed25519,
}

/// How events are signed.
pub struct Webhook {
    /// The secret, or the public key, that they are checked with: its name in a credential, and what it is.
    pub key: Key,
    /// Whether an event is a form; otherwise it is JSON.
    form: bool,
    /// The headers that prove an event genuine.
    sign: fn(&Event<'_>) -> Lines,
}

/// A place for the key in a request.
enum Place {
    /// In a header, after a prefix.
    Header(&'static str, &'static str),
    /// The password of Basic authentication, whose user is this parameter.
    Basic(&'static str),
    /// A parameter of the query.
    Query(&'static str),
    /// A JSON pointer into the body, which may be a form.
    Field(&'static str),
    /// Beside a name, both in the body or in the query: what it stands under, the name, what the key stands under.
    Login(&'static str, &'static str, &'static str),
    /// A JWT that the caller signed with RS256, after `Bearer`. Its `application_id` is this parameter.
    Minted(&'static str),
    /// A token that the exchange gave, in `Authorization` after a prefix.
    Exchanged(&'static str),
}

/// An endpoint that gives a token for the key.
struct Exchange {
    /// Whether it has a host of its own. Here it does not.
    is_elsewhere: bool,
    path: &'static str,
    /// Where the key is in a request for a token.
    places: &'static [Place],
    /// What else must be in the body or in the query.
    demanded: &'static [(&'static str, &'static str)],
    /// The answer. `{token}` and `{life}` may stand in the body.
    granted: Answer,
    /// The answer to a token past its end.
    expired: Answer,
}

/// How long a token from an exchange lives, in seconds: what Sinch and Route Mobile say.
const LIFE: u64 = 3600;

/// An answer of the provider.
struct Answer {
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
}

impl Dialect {
    /// All of them.
    pub fn all() -> impl Iterator<Item = &'static Dialect> {
        table::TABLE.iter()
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<&'static Dialect> {
        Dialect::all().find(|dialect| dialect.name == name)
    }

    /// A path to which a message can be sent, with the account's parameters in it.
    pub fn path(&self) -> String {
        self.sends.first().map(|template| self.filled(template)).unwrap_or_default()
    }

    /// Whether the token for a key comes from another host.
    pub fn exchanges_elsewhere(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.is_elsewhere)
    }

    /// A path with the account's parameters in it.
    fn filled(&self, template: &str) -> String {
        let fill = |path: String, (name, value): &(&str, &str)| path.replace(&format!("{{{name}}}"), value);
        self.parameters.iter().fold(template.to_owned(), fill)
    }

    /// The value of a parameter.
    fn parameter(&self, name: &str) -> Option<&'static str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

impl Webhook {
    /// The body of an event. What a vendor's events look like is not in the facts: this is nobody's form, and a test that
    /// needs the real one orders it as `body`.
    pub(super) fn body(&self, from: &str, to: &str, text: &str) -> Vec<u8> {
        if !self.form {
            return serde_json::json!({"from": from, "to": to, "text": text}).to_string().into_bytes();
        }
        let encode = |value| percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        format!("From={}&To={}&Body={}", encode(from), encode(to), encode(text)).into_bytes()
    }

    /// The headers of an event.
    pub(super) fn lines(&self, event: &Event<'_>) -> Lines {
        let kind = if self.form { "application/x-www-form-urlencoded" } else { "application/json" };
        let mut lines = (self.sign)(event);
        lines.push(("Content-Type", kind.to_owned()));
        lines
    }
}
