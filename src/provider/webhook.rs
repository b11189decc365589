//! The handshake and the signatures of a provider's events.
//!
//! A scheme is data. The verifier and the signer share the definition and no code.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::event_form::EventForm;
use super::network::Network;

/// The handshake and the signatures of a provider's webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSpec {
    /// The secret of the handshake (Meta's `hub.verify_token`), if there is a handshake.
    pub challenge: Option<String>,
    /// The answer to an event without any signature.
    ///
    /// 401, or a 5xx for a provider (Vonage) that may send unsigned events by mistake and repeats
    /// events after a 5xx.
    pub unsigned: StatusCode,
    /// True if the provider may send events as GET requests, with all parameters in the query.
    pub get: bool,
    /// Further headers of an event that the application gets, besides the signature's.
    pub forward: Vec<HeaderName>,
    /// The signature schemes. A scheme counts if the credential has its secret; an event is genuine
    /// if one scheme proves it.
    pub schemes: Vec<Scheme>,
    /// The forms of events, in the order of trial; an event of no form stands in a lane with all
    /// such events.
    pub forms: Vec<EventForm>,
}

/// A signature of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The name of the secret, or of the public key, for checking the signature.
    pub secret: String,
    /// The mechanism.
    pub kind: SchemeKind,
    /// Further headers of the provider beside the signature, read by no check, and written by
    /// `keyside sign`.
    pub with: Vec<(HeaderName, String)>,
}

/// The mechanism of a [`Scheme`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemeKind {
    /// A signature over a message that contains the body: `kind = "hmac"` and `kind = "ed25519"`.
    Signature(Signature),
    /// A signature over the URL and the parameters of a form: `kind = "url-params"`.
    UrlParams(UrlParams),
    /// A signed token that contains hashes: `kind = "jwt"`.
    Jwt(Jwt),
    /// No signature, but a value known to the provider alone: `kind = "static"`.
    Static(StaticToken),
}

/// A signature over a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The algorithm; never taken from the request.
    pub algorithm: Algorithm,
    /// The header with the signature.
    pub header: HeaderName,
    /// The encoding of the signature's bytes.
    pub encoding: Encoding,
    /// The division of the header's value.
    pub list: List,
    /// The text before the signature in the value, or in its part of the list.
    pub prefix: String,
    /// The signed message.
    pub message: Vec<MessagePart>,
    /// The place of the time.
    pub timestamp: Option<Timestamp>,
    /// The header with the nonce.
    pub nonce: Option<HeaderName>,
    /// The header with the event's id.
    pub id: Option<HeaderName>,
    /// The largest accepted distance from Keyside's clock; `None` without a signed time, or if the
    /// provider sends an event again with the old time.
    pub tolerance: Option<Duration>,
    /// True if a nonce, or without one an id, counts only once within the tolerance.
    pub replay: bool,
    /// The way from the secret to the key.
    pub key: KeyForm,
    /// The text to remove from the beginning of the secret, such as `whsec_`.
    pub key_prefix: String,
}

/// The algorithm of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1. No attack on SHA-1 is known to break it as an HMAC.
    Sha1,
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-384.
    Sha384,
    /// HMAC with SHA-512.
    Sha512,
    /// Ed25519, with a public key.
    Ed25519,
}

/// The encoding of bytes as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// The division of a signature header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// A single signature, undivided.
    Whole,
    /// Parts separated by commas, such as `t=1,s=ab`; at least a part is a signature.
    Commas,
    /// Parts separated by spaces, such as `v1,ab v1,cd`; at least a part is a signature.
    Spaces,
}

/// A piece of a signed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessagePart {
    /// Literal text.
    Text(String),
    /// `{body}`: the bytes as received.
    Body,
    /// `{sha256:body}`: the 32 bytes of the body's SHA-256.
    BodyHash,
    /// `{timestamp}`: the time as received.
    Timestamp,
    /// `{nonce}`.
    Nonce,
    /// `{id}`.
    Id,
    /// `{url}`: the `public_url` of the webhook, with the query of the request.
    Url,
}

/// The place of a signature's time, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// A header.
    Header(HeaderName),
    /// The part of the list with this text at the beginning, such as `t=`.
    Part(String),
}

/// The way from a secret to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The characters of the secret are the key.
    Text,
    /// The secret is Base64 of the key.
    Base64,
}

/// A signature over a URL and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlParams {
    /// The vendor's form.
    pub form: UrlForm,
    /// The algorithm of the HMAC.
    pub algorithm: Algorithm,
    /// The header with the signature.
    pub header: HeaderName,
    /// The header with the nonce.
    pub nonce: Option<HeaderName>,
}

/// The vendor's form of a [`UrlParams`] signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlForm {
    /// An HMAC in Base64 over the URL and the sorted parameters; a JSON body counts by `bodySHA256`
    /// in the URL.
    Twilio,
    /// HMAC-SHA256 in Base64 over scheme, host and path, and the nonce. The body is not signed.
    PlivoV2,
    /// HMAC-SHA256 in Base64 over URL, sorted parameters and nonce; several signatures with commas
    /// between them.
    PlivoV3,
}

/// A signed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The header with the token, perhaps with `Bearer` before it.
    pub header: HeaderName,
    /// The accepted algorithms, out of HS256, HS384 and HS512.
    pub algorithms: Vec<Algorithm>,
    /// The required `iss`.
    pub issuer: Option<String>,
    /// True if `payload_hash` must stand in every event with a body, and in no other.
    ///
    /// False if `payload_hash` may be missing, and counts only if present.
    pub payload_hash_required: bool,
    /// True if `url_hash` must be the hash of the URL.
    pub url_hash: bool,
    /// The largest accepted age of `iat`. A token without `iat` is then refused.
    pub max_age: Option<Duration>,
    /// The largest accepted difference between the clocks.
    pub skew: Duration,
}

/// A value known to the provider alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticToken {
    /// The place of the value.
    pub place: TokenPlace,
    /// The networks of accepted events; empty for any.
    pub addresses: Vec<Network>,
}

/// The place of a [`StaticToken`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// A header, as its whole value.
    Header(HeaderName),
    /// `Authorization: Basic`; the secret is `USER:PASSWORD`.
    Basic,
    /// A query parameter.
    Query(String),
    /// The last segment of the path, which the webhook writes as `{token}`.
    Path,
}

impl WebhookSpec {
    /// Returns true if a webhook needs the URL given to the provider.
    #[must_use]
    pub fn needs_url(&self) -> bool {
        self.schemes.iter().any(|scheme| match &scheme.kind {
            SchemeKind::Signature(signature) => signature.message.contains(&MessagePart::Url),
            SchemeKind::UrlParams(_) => true,
            SchemeKind::Jwt(jwt) => jwt.url_hash,
            SchemeKind::Static(_) => false,
        })
    }

    /// Returns true if the path of a webhook may end in a token.
    #[must_use]
    pub fn has_path_token(&self) -> bool {
        self.schemes.iter().any(|scheme| match &scheme.kind {
            SchemeKind::Static(token) => token.place == TokenPlace::Path,
            _ => false,
        })
    }

    /// Returns the headers of an event for the application: the headers for a second check, without
    /// headers that carry a secret, and the headers in `forward`.
    #[must_use]
    pub fn headers_for_application(&self) -> Vec<HeaderName> {
        let mut headers = self.forward.clone();
        for scheme in &self.schemes {
            match &scheme.kind {
                SchemeKind::Signature(signature) => {
                    headers.push(signature.header.clone());
                    headers.extend(signature.nonce.clone());
                    headers.extend(signature.id.clone());
                    if let Some(Timestamp::Header(name)) = &signature.timestamp {
                        headers.push(name.clone());
                    }
                }
                SchemeKind::UrlParams(params) => {
                    headers.push(params.header.clone());
                    headers.extend(params.nonce.clone());
                }
                SchemeKind::Jwt(jwt) => headers.push(jwt.header.clone()),
                SchemeKind::Static(_) => {}
            }
        }
        headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        headers.dedup();
        headers
    }
}
