//! Signs an event as its provider would, so that a webhook can be tried out by hand.
//!
//! It shares the definition of a scheme with the verifier and no code, so that the two check each other.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::provider::webhook::{
    Algorithm, Encoding, Jwt, KeyForm, List, MessagePart, Scheme, SchemeKind, Signature, Timestamp, UrlForm, UrlParams,
    Webhook,
};
use crate::query;
use crate::secret::Secret;

/// The event, and what its signature covers besides it.
#[derive(Debug)]
pub struct ToSign<'a> {
    /// The body.
    pub body: &'a [u8],
    /// Whether the body is a form, for providers that sign its parameters.
    pub is_form: bool,
    /// The whole URL that it will be sent to.
    pub url: Option<&'a str>,
    /// When it is sent.
    pub time: SystemTime,
    /// A nonce.
    pub nonce: &'a str,
    /// Its id.
    pub id: &'a str,
}

/// A header line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The header lines that the provider would send with the event.
///
/// # Errors
/// Where something is missing that the signature covers, or the secret is no key, or the provider
/// signs nothing.
pub fn sign(webhook: &Webhook, secret: &Secret, event: &ToSign<'_>) -> Result<Vec<Line>, SignError> {
    #[expect(clippy::disallowed_methods, reason = "the one place where a secret signs an event")]
    let text = secret.expose();
    let scheme = chosen(webhook, text).ok_or(SignError::NothingSigned)?;
    match &scheme.kind {
        SchemeKind::Signature(signature) => sign_message(signature, text, event),
        SchemeKind::UrlParams(params) => sign_url(params, text, event),
        SchemeKind::Jwt(jwt) => sign_token(jwt, text, event),
        SchemeKind::Static(_) => Err(SignError::NothingSigned),
    }
}

/// The scheme whose mark the secret bears, or else the first that signs.
fn chosen<'w>(webhook: &'w Webhook, secret: &str) -> Option<&'w Scheme> {
    let is_marked = |scheme: &&Scheme| match &scheme.kind {
        SchemeKind::Signature(signature) => {
            !signature.key_prefix.is_empty() && secret.starts_with(&signature.key_prefix)
        }
        _ => false,
    };
    let signs = |scheme: &&Scheme| !matches!(scheme.kind, SchemeKind::Static(_));
    webhook.schemes.iter().find(is_marked).or_else(|| webhook.schemes.iter().find(signs))
}

fn sign_message(scheme: &Signature, secret: &str, event: &ToSign<'_>) -> Result<Vec<Line>, SignError> {
    let time = seconds(event.time).to_string();
    let mut message = Vec::new();
    for part in &scheme.message {
        match part {
            MessagePart::Text(text) => message.extend_from_slice(text.as_bytes()),
            MessagePart::Body => message.extend_from_slice(event.body),
            MessagePart::BodyHash => message.extend_from_slice(&Sha256::digest(event.body)),
            MessagePart::Timestamp => message.extend_from_slice(time.as_bytes()),
            MessagePart::Nonce => message.extend_from_slice(event.nonce.as_bytes()),
            MessagePart::Id => message.extend_from_slice(event.id.as_bytes()),
            MessagePart::Url => message.extend_from_slice(event.url.ok_or(SignError::NoUrl)?.as_bytes()),
        }
    }
    let secret = secret.strip_prefix(scheme.key_prefix.as_str()).unwrap_or(secret);
    let key = match scheme.key {
        KeyForm::Text => Zeroizing::new(secret.as_bytes().to_vec()),
        KeyForm::Base64 => Zeroizing::new(STANDARD.decode(secret).map_err(|_| SignError::Key("base64"))?),
    };
    let bytes = match scheme.algorithm {
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(&key);
            pair.map_err(|_| SignError::Key("the 32 bytes of an Ed25519 private key in base64"))?
                .sign(&message)
                .as_ref()
                .to_vec()
        }
        algorithm => hmac(algorithm, &key, &message),
    };
    let written = match scheme.encoding {
        Encoding::Hex => HEXLOWER.encode(&bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    };
    let signature = format!("{}{written}", scheme.prefix);
    let value = match (&scheme.timestamp, scheme.list) {
        (Some(Timestamp::Part(prefix)), List::Commas) => format!("{prefix}{time},{signature}"),
        _ => signature,
    };
    let mut lines = vec![line(scheme.header.as_str(), value)];
    if let Some(Timestamp::Header(name)) = &scheme.timestamp {
        lines.push(line(name.as_str(), time));
    }
    lines.extend(scheme.nonce.iter().map(|name| line(name.as_str(), event.nonce.to_owned())));
    lines.extend(scheme.id.iter().map(|name| line(name.as_str(), event.id.to_owned())));
    Ok(lines)
}

fn sign_url(scheme: &UrlParams, secret: &str, event: &ToSign<'_>) -> Result<Vec<Line>, SignError> {
    let url = event.url.ok_or(SignError::NoUrl)?;
    let form = event.is_form.then(|| std::str::from_utf8(event.body).map_err(|_| SignError::NotAForm)).transpose()?;
    let mut params: Vec<_> = form.into_iter().flat_map(query::fields).map(|pair| (pair.name(), pair.value())).collect();
    params.sort();
    // Twilio's own libraries take each value of a name once, Plivo's as often as it is there.
    if scheme.form == UrlForm::Twilio {
        params.dedup();
    }
    let joined: String = params.iter().map(|(name, value)| format!("{name}{value}")).collect();
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (algorithm, message) = match scheme.form {
        UrlForm::Twilio if event.is_form || event.body.is_empty() || query.contains("bodySHA256=") => {
            (Algorithm::Sha1, format!("{url}{joined}"))
        }
        UrlForm::Twilio => {
            let hash = HEXLOWER.encode(&Sha256::digest(event.body));
            return Err(SignError::HashBelongsInUrl(format!("bodySHA256={hash}")));
        }
        UrlForm::PlivoV2 => (Algorithm::Sha256, format!("{base}{}", event.nonce)),
        UrlForm::PlivoV3 if !event.is_form && !event.body.is_empty() => return Err(SignError::NotAForm),
        UrlForm::PlivoV3 => {
            let mut pairs: Vec<_> = query::fields(query).map(|pair| (pair.name(), pair.value())).collect();
            // By name and then by value; sorted as text, `a=` would stand behind `a0=`.
            pairs.sort();
            let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            let message = match (pairs.is_empty(), params.is_empty()) {
                (true, true) => format!("{base}.{}", event.nonce),
                (true, false) => format!("{base}?{joined}.{}", event.nonce),
                (false, true) => format!("{base}?{}.{}", pairs.join("&"), event.nonce),
                (false, false) => format!("{base}?{}.{joined}.{}", pairs.join("&"), event.nonce),
            };
            (Algorithm::Sha256, message)
        }
    };
    let value = STANDARD.encode(hmac(algorithm, secret.as_bytes(), message.as_bytes()));
    let mut lines = vec![line(scheme.header.as_str(), value)];
    lines.extend(scheme.nonce.iter().map(|name| line(name.as_str(), event.nonce.to_owned())));
    Ok(lines)
}

fn sign_token(scheme: &Jwt, secret: &str, event: &ToSign<'_>) -> Result<Vec<Line>, SignError> {
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
        claim("url_hash", hex(event.url.ok_or(SignError::NoUrl)?.as_bytes()));
    }
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(json!({ "alg": name, "typ": "JWT" })), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac(algorithm, secret.as_bytes(), signed.as_bytes()));
    let scheme_word = if scheme.header == http::header::AUTHORIZATION { "Bearer " } else { "" };
    Ok(vec![line(scheme.header.as_str(), format!("{scheme_word}{signed}.{signature}"))])
}

fn hmac(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    fn of<M: KeyInit + Mac>(key: &[u8], message: &[u8]) -> Vec<u8> {
        // A key of any length is one.
        M::new_from_slice(key).map(|mac| mac.chain_update(message).finalize().into_bytes().to_vec()).unwrap_or_default()
    }
    match algorithm {
        Algorithm::Sha1 => of::<Hmac<Sha1>>(key, message),
        Algorithm::Sha384 => of::<Hmac<Sha384>>(key, message),
        Algorithm::Sha512 => of::<Hmac<Sha512>>(key, message),
        Algorithm::Sha256 | Algorithm::Ed25519 => of::<Hmac<Sha256>>(key, message),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn line(name: &str, value: String) -> Line {
    Line { name: name.to_owned(), value }
}

/// Why an event cannot be signed.
#[derive(Debug, PartialEq, Eq)]
pub enum SignError {
    /// The provider only sends a token, which is the secret itself.
    NothingSigned,
    /// The URL is part of what is signed.
    NoUrl,
    /// The provider signs the parameters of a form.
    NotAForm,
    /// The secret is not the key that the scheme wants.
    Key(&'static str),
    /// The body's hash is part of the URL: this parameter.
    HashBelongsInUrl(String),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSigned => {
                f.write_str("this provider signs nothing: it sends the token itself, as `keyside providers` shows")
            }
            Self::NoUrl => f.write_str("the URL is part of what is signed: give it with --url"),
            Self::NotAForm => f.write_str("this provider signs the parameters of a form: the body must be one"),
            Self::Key(expected) => write!(f, "the secret is not a key to sign with, expected {expected}"),
            Self::HashBelongsInUrl(parameter) => {
                write!(
                    f,
                    "for a body that is no form, its hash is part of the URL: add `{parameter}` to the query of --url"
                )
            }
        }
    }
}

impl std::error::Error for SignError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Provider;

    fn signed(preset: &str, secret: &str, event: &ToSign<'_>) -> Result<Vec<String>, SignError> {
        let webhook = Provider::preset(preset).unwrap().webhook.unwrap();
        let secret = Secret::parse(Zeroizing::new(secret.as_bytes().to_vec())).unwrap();
        let lines = sign(&webhook, &secret, event)?;
        Ok(lines.into_iter().map(|line| format!("{}: {}", line.name, line.value)).collect())
    }

    fn event<'a>(body: &'a str, url: Option<&'a str>, time: u64, nonce: &'a str, id: &'a str) -> ToSign<'a> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
        let is_form = body.contains('=') && !body.starts_with('{');
        ToSign { body: body.as_bytes(), is_form, url, time, nonce, id }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn the_lines_are_those_of_third_parties() {
        let form = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
        let json = r#"{"property": "value", "boolean": true}"#;
        let hashed = "https://mycompany.com/myapp.php?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
        let report = r#"{"at":"2025-01-13T09:22:40.914Z","batch_id":"01JHFFHQ0P99JPPNQPJDV7JTBP","client_reference":"a client reference","code":0,"operator_status_at":"2025-01-13T09:22:00Z","recipient":"33662162466","status":"Delivered","type":"recipient_delivery_report_sms"}"#;
        let table = [
            // hexdocs.pm/whatsapp_sdk
            (
                "meta",
                "secret",
                event("test", None, 0, "", ""),
                vec!["x-hub-signature-256: sha256=0329a06b62cd16b33eb6792be8c60b158d89a2ee3a876fce9a881ebb488c0914"],
            ),
            // adnanh/webhook
            (
                "haptik",
                "secret",
                event(r#"{"a": "z"}"#, None, 0, "", ""),
                vec!["x-hub-signature: sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e"],
            ),
            // standard-webhooks
            (
                "standard-webhooks",
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                event(r#"{"test": 2432232314}"#, None, 1_614_265_330, "", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                vec![
                    "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                    "webhook-timestamp: 1614265330",
                    "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
                ],
            ),
            // twilio-python
            (
                "twilio",
                "12345",
                event(form, Some("https://mycompany.com/myapp.php?foo=1&bar=2"), 0, "", ""),
                vec!["x-twilio-signature: RSOYDt4T1cUTdK1PDd93/VVr8B8="],
            ),
            // twilio-node
            (
                "twilio",
                "12345",
                event(json, Some(hashed), 0, "", ""),
                vec!["x-twilio-signature: y77kIzt2vzLz71DgmJGsen2scGs="],
            ),
            // sinch-sdk-node
            (
                "sinch",
                "SMSWebhooksSecret",
                event(report, None, 1_736_760_161, "01JHFFHWYY7HSS4FWTMDTQEK8V", ""),
                vec![
                    "x-sinch-webhook-signature: ZoHei66PPN/kZjw7hFVfGhJOnml3iGNCMWoyQVcE5o0=",
                    "x-sinch-webhook-signature-timestamp: 1736760161",
                    "x-sinch-webhook-signature-nonce: 01JHFFHWYY7HSS4FWTMDTQEK8V",
                ],
            ),
            // plivo-python
            (
                "plivo",
                "12345",
                event("c=y&b=x&b=x", Some("https://example.com/hook?a=2&a=1&a=1"), 0, "7", ""),
                vec![
                    "x-plivo-signature-v3: AoJfIu+gJYp0rox2d2/q7Tx4ipfQwHo71MV62pYqMYQ=",
                    "x-plivo-signature-v3-nonce: 7",
                ],
            ),
        ];
        for (preset, secret, event, expected) in table {
            assert_eq!(signed(preset, secret, &event).unwrap(), expected, "{preset}");
        }
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn an_ed25519_signature_is_that_of_the_rfc() {
        let mut webhook = Provider::preset("telnyx").unwrap().webhook.unwrap();
        if let SchemeKind::Signature(signature) = &mut webhook.schemes[0].kind {
            signature.message = vec![MessagePart::Body];
            signature.encoding = Encoding::Hex;
        }
        let seed = Zeroizing::new(b"TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=".to_vec());
        let lines = sign(&webhook, &Secret::parse(seed).unwrap(), &event("r", None, 0, "", "")).unwrap();
        assert_eq!(
            lines[0].value,
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let plain = event("{}", None, 0, "n", "i");
        assert_eq!(signed("wati", "x", &plain), Err(SignError::NothingSigned));
        assert_eq!(signed("twilio", "x", &plain), Err(SignError::NoUrl));
        assert_eq!(signed("plivo", "x", &event("{}", Some("https://a/b"), 0, "n", "")), Err(SignError::NotAForm));
        assert_eq!(signed("telnyx", "x", &plain), Err(SignError::Key("base64")));
        let hash = signed("twilio", "x", &event("{}", Some("https://a/b"), 0, "", ""));
        assert!(matches!(hash, Err(SignError::HashBelongsInUrl(hash)) if hash.starts_with("bodySHA256=44136fa355b3")));
    }
}
