//! Signing an event as its provider would, to try out a webhook by hand.
//!
//! Signer and verifier share the definition of a scheme and no code, so each checks the other.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::provider::webhook::{
    Algorithm, Encoding, Jwt, KeyForm, List, MessagePart, Scheme, SchemeKind, Signature, Timestamp,
    UrlForm, UrlParams, WebhookSpec,
};
use crate::query;
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// An event to sign, with everything a signature can cover besides the body.
#[derive(Debug)]
pub struct UnsignedEvent<'a> {
    /// The body.
    pub body: &'a [u8],
    /// True if the body is a form; some providers sign the parameters of forms.
    pub is_form: bool,
    /// The whole URL of the webhook.
    pub url: Option<&'a str>,
    /// The time of sending.
    pub time: SystemTime,
    /// The nonce.
    pub nonce: &'a str,
    /// The id of the event.
    pub id: &'a str,
}

/// A header line.
#[derive(Debug, PartialEq, Eq)]
pub struct HeaderLine {
    /// The name, in lower case.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Returns the header lines of the provider for an event.
///
/// # Errors
/// A missing URL or form, a secret unfit as a key, or a provider without signatures.
pub fn sign(
    webhook: &WebhookSpec,
    secret: &Secret,
    event: &UnsignedEvent<'_>,
) -> Result<Vec<HeaderLine>, SignError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where a secret signs an event"
    )]
    let text = secret.expose();
    let scheme = chosen_scheme(webhook, text).ok_or(SignError::NothingSigned)?;
    let mut lines = match &scheme.kind {
        SchemeKind::Signature(signature) => sign_message(signature, text, event),
        SchemeKind::UrlParams(params) => sign_url(params, text, event),
        SchemeKind::Jwt(jwt) => sign_token(jwt, text, event),
        SchemeKind::Static(_) => Err(SignError::NothingSigned),
    }?;
    let with = scheme.with.iter();
    lines.extend(with.map(|(name, value)| line(name.as_str(), value.clone())));
    Ok(lines)
}

/// Returns the scheme with a key prefix found on the secret, or else the first scheme with
/// signatures.
fn chosen_scheme<'w>(webhook: &'w WebhookSpec, secret: &str) -> Option<&'w Scheme> {
    let has_prefix = |scheme: &&Scheme| match &scheme.kind {
        SchemeKind::Signature(signature) => {
            !signature.key_prefix.is_empty() && secret.starts_with(&signature.key_prefix)
        }
        _ => false,
    };
    let signs = |scheme: &&Scheme| !matches!(scheme.kind, SchemeKind::Static(_));
    webhook
        .schemes
        .iter()
        .find(has_prefix)
        .or_else(|| webhook.schemes.iter().find(signs))
}

fn sign_message(
    scheme: &Signature,
    secret: &str,
    event: &UnsignedEvent<'_>,
) -> Result<Vec<HeaderLine>, SignError> {
    let time = seconds(event.time).to_string();
    let message = message_of(scheme, event, &time)?;
    let bytes = signature_bytes(scheme, secret, &message)?;
    let encoded = match scheme.encoding {
        Encoding::Hex => HEXLOWER.encode(&bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    };
    let signature = format!("{}{encoded}", scheme.prefix);
    let value = match (&scheme.timestamp, scheme.list) {
        (Some(Timestamp::Part(prefix)), List::Commas) => format!("{prefix}{time},{signature}"),
        _ => signature,
    };
    let mut lines = vec![line(scheme.header.as_str(), value)];
    if let Some(Timestamp::Header(name)) = &scheme.timestamp {
        lines.push(line(name.as_str(), time));
    }
    if let Some(name) = &scheme.nonce {
        lines.push(line(name.as_str(), event.nonce.to_owned()));
    }
    if let Some(name) = &scheme.id {
        lines.push(line(name.as_str(), event.id.to_owned()));
    }
    Ok(lines)
}

/// Returns the message covered by the signature.
fn message_of(
    scheme: &Signature,
    event: &UnsignedEvent<'_>,
    time: &str,
) -> Result<Vec<u8>, SignError> {
    let mut message = Vec::new();
    for part in &scheme.message {
        match part {
            MessagePart::Text(text) => message.extend_from_slice(text.as_bytes()),
            MessagePart::Body => message.extend_from_slice(event.body),
            MessagePart::BodyHash => message.extend_from_slice(&Sha256::digest(event.body)),
            MessagePart::Timestamp => message.extend_from_slice(time.as_bytes()),
            MessagePart::Nonce => message.extend_from_slice(event.nonce.as_bytes()),
            MessagePart::Id => message.extend_from_slice(event.id.as_bytes()),
            MessagePart::Url => {
                message.extend_from_slice(event.url.ok_or(SignError::NoUrl)?.as_bytes());
            }
        }
    }
    Ok(message)
}

fn signature_bytes(scheme: &Signature, secret: &str, message: &[u8]) -> Result<Vec<u8>, SignError> {
    if scheme.algorithm == Algorithm::Ed25519 {
        let pair = ed25519_pair(secret).ok_or(SignError::Key(ED25519_PRIVATE))?;
        return Ok(pair.sign(message).as_ref().to_vec());
    }
    let secret = secret
        .strip_prefix(scheme.key_prefix.as_str())
        .unwrap_or(secret);
    let key = Zeroizing::new(match scheme.key {
        KeyForm::Text => secret.as_bytes().to_vec(),
        KeyForm::Base64 => STANDARD
            .decode(secret)
            .map_err(|_| SignError::Key("base64"))?,
    });
    Ok(hmac(scheme.algorithm, &key, message))
}

/// Reads a private key of Ed25519: PKCS#8 in PEM, or the seed and the public key in base64. A seed
/// alone has the form of a public key, which signs nothing, and is refused.
fn ed25519_pair(secret: &str) -> Option<Ed25519KeyPair> {
    if secret.starts_with("-----BEGIN") {
        let der = PrivatePkcs8KeyDer::from_pem_slice(secret.as_bytes()).ok()?;
        return Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok();
    }
    let bytes = Zeroizing::new(STANDARD.decode(secret).ok()?);
    let (seed, public) = bytes.split_at_checked(ED25519_SEED)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()
}

/// The length of a seed and of a public key: RFC 8032, section 5.1.5.
const ED25519_SEED: usize = 32;
const ED25519_PRIVATE: &str = "an Ed25519 private key, which the provider alone has for its events: for a test with a key pair of your own, the \
     private key in PEM (openssl genpkey -algorithm ed25519), or seed and public key, 64 bytes, in base64";

fn sign_url(
    scheme: &UrlParams,
    secret: &str,
    event: &UnsignedEvent<'_>,
) -> Result<Vec<HeaderLine>, SignError> {
    let url = event.url.ok_or(SignError::NoUrl)?;
    let (algorithm, message) = match scheme.form {
        UrlForm::Twilio => (scheme.algorithm, twilio_message(url, event)?),
        UrlForm::PlivoV2 => {
            let base = url.split('?').next().unwrap_or(url);
            (Algorithm::Sha256, format!("{base}{}", event.nonce))
        }
        UrlForm::PlivoV3 => (Algorithm::Sha256, plivo_v3_message(url, event)?),
    };
    let value = STANDARD.encode(hmac(algorithm, secret.as_bytes(), message.as_bytes()));
    let mut lines = vec![line(scheme.header.as_str(), value)];
    if let Some(name) = &scheme.nonce {
        lines.push(line(name.as_str(), event.nonce.to_owned()));
    }
    Ok(lines)
}

fn twilio_message(url: &str, event: &UnsignedEvent<'_>) -> Result<String, SignError> {
    let mut params = form_params(event)?;
    // Twilio's own libraries use each value of a name once.
    params.dedup();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    if !event.is_form && !event.body.is_empty() && !query.contains("bodySHA256=") {
        let hash = HEXLOWER.encode(&Sha256::digest(event.body));
        return Err(SignError::HashBelongsInUrl(format!("bodySHA256={hash}")));
    }
    Ok(format!("{url}{}", concatenated(&params)))
}

fn plivo_v3_message(url: &str, event: &UnsignedEvent<'_>) -> Result<String, SignError> {
    if !event.is_form && !event.body.is_empty() {
        return Err(SignError::NotAForm);
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let in_url = sorted_params(query);
    let in_form = form_params(event)?;
    let query = in_url
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&");
    let form = concatenated(&in_form);
    // The separators depend on the number of parameters: a parameter can be empty, as in the form
    // `=`.
    let params = match (in_url.is_empty(), in_form.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("?{form}"),
        (false, true) => format!("?{query}"),
        (false, false) => format!("?{query}.{form}"),
    };
    Ok(format!("{base}{params}.{}", event.nonce))
}

/// Names with values, sorted by name and then by value. Sorted as text, `a=` would follow `a0=`.
type Params = Vec<(String, String)>;

fn sorted_params(text: &str) -> Params {
    let mut params: Params = query::fields(text)
        .map(|pair| (pair.name().into_owned(), pair.value().into_owned()))
        .collect();
    params.sort();
    params
}

/// Returns the parameters of the event's form; none for a body of another type.
fn form_params(event: &UnsignedEvent<'_>) -> Result<Params, SignError> {
    if !event.is_form {
        return Ok(Params::new());
    }
    let text = std::str::from_utf8(event.body).map_err(|_| SignError::NotAForm)?;
    Ok(sorted_params(text))
}

fn concatenated(params: &Params) -> String {
    params
        .iter()
        .map(|(name, value)| format!("{name}{value}"))
        .collect()
}

fn sign_token(
    scheme: &Jwt,
    secret: &str,
    event: &UnsignedEvent<'_>,
) -> Result<Vec<HeaderLine>, SignError> {
    let (name, algorithm) = match scheme.algorithms.first() {
        Some(Algorithm::Sha384) => ("HS384", Algorithm::Sha384),
        Some(Algorithm::Sha512) => ("HS512", Algorithm::Sha512),
        _ => ("HS256", Algorithm::Sha256),
    };
    let hex = |bytes: &[u8]| HEXLOWER.encode(&Sha256::digest(bytes));
    let now = seconds(event.time);
    let mut claims = json!({ "iat": now, "nbf": now, "exp": now + 60, "jti": event.nonce });
    let mut claim = |name: &str, value: String| {
        if let Some(claims) = claims.as_object_mut() {
            claims.insert(name.to_owned(), value.into());
        }
    };
    if let Some(issuer) = &scheme.issuer {
        claim("iss", issuer.clone());
    }
    if !event.body.is_empty() {
        claim("payload_hash", hex(event.body));
    }
    if scheme.url_hash {
        claim(
            "url_hash",
            hex(event.url.ok_or(SignError::NoUrl)?.as_bytes()),
        );
    }
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        encode(json!({ "alg": name, "typ": "JWT" })),
        encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(hmac(algorithm, secret.as_bytes(), signed.as_bytes()));
    let scheme_word = if scheme.header == http::header::AUTHORIZATION {
        "Bearer "
    } else {
        ""
    };
    Ok(vec![line(
        scheme.header.as_str(),
        format!("{scheme_word}{signed}.{signature}"),
    )])
}

fn hmac(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    fn of<M: KeyInit + Mac>(key: &[u8], message: &[u8]) -> Vec<u8> {
        // HMAC takes a key of any length: the error cannot happen.
        M::new_from_slice(key)
            .map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec())
            .unwrap_or_default()
    }
    match algorithm {
        Algorithm::Sha1 => of::<Hmac<Sha1>>(key, message),
        Algorithm::Sha384 => of::<Hmac<Sha384>>(key, message),
        Algorithm::Sha512 => of::<Hmac<Sha512>>(key, message),
        Algorithm::Sha256 | Algorithm::Ed25519 => of::<Hmac<Sha256>>(key, message),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

fn line(name: &str, value: String) -> HeaderLine {
    HeaderLine {
        name: name.to_owned(),
        value,
    }
}

/// The reason for refusing to sign an event.
#[derive(Debug, PartialEq, Eq)]
pub enum SignError {
    /// The provider sends the secret itself as a token, and no signature.
    NothingSigned,
    /// The signature covers the URL, and no URL was given.
    NoUrl,
    /// The signature covers the parameters of a form, and the body is not a form.
    NotAForm,
    /// The secret does not have the form of the scheme's keys.
    Key(&'static str),
    /// The URL must contain the body's hash, as this parameter.
    HashBelongsInUrl(String),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSigned => {
                f.write_str("this provider signs nothing: it sends the token itself, as `keyside providers` shows")
            }
            Self::NoUrl => f.write_str("the signature covers the URL: give the URL with --url"),
            Self::NotAForm => f.write_str("this provider signs the parameters of a form: the body must be a form"),
            Self::Key(expected) => write!(f, "the secret is not a key to sign with, expected {expected}"),
            Self::HashBelongsInUrl(parameter) => {
                write!(
                    f,
                    "the URL must contain the hash of a body other than a form: add `{parameter}` to the query of --url"
                )
            }
        }
    }
}

impl std::error::Error for SignError {}
