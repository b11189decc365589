//! The signatures of events, as each provider makes them.
//!
//! The code is apart from the verification of events in Keyside, so that each of the two tests the
//! other.

use aws_lc_rs::hmac::{self, Algorithm, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use aws_lc_rs::signature::Ed25519KeyPair;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::query::Query;

/// An event before it is signed.
pub(crate) struct EventToSign<'a> {
    /// The bytes of the body.
    pub(crate) body: &'a [u8],
    /// The callback URL.
    pub(crate) url: &'a str,
    /// The secret or private key.
    pub(crate) secret: &'a str,
    /// The time of the signature, in seconds since 1970.
    pub(crate) time: u64,
    /// A text that no other attempt has.
    pub(crate) nonce: &'a str,
}

/// Names and values of headers.
pub(crate) type HeaderLines = Vec<(&'static str, String)>;

// Signatures over the body alone.

/// The vendor does not document the encoding of the signature; hex digits are assumed.
pub(super) fn dialog360(event: &EventToSign<'_>) -> HeaderLines {
    let signature = hex(HMAC_SHA256, event.secret, event.body);
    vec![("X-360dialog-Signature", signature)]
}

pub(super) fn wassenger(event: &EventToSign<'_>) -> HeaderLines {
    let signature = hex(HMAC_SHA256, event.secret, event.body);
    vec![("X-Wassenger-Signature", format!("sha256={signature}"))]
}

pub(super) fn interakt(event: &EventToSign<'_>) -> HeaderLines {
    let signature = hex(HMAC_SHA256, event.secret, event.body);
    vec![("Interakt-Signature", format!("sha256={signature}"))]
}

/// The vendor does not document the encoding of the signature; hex digits are assumed.
pub(super) fn aisensy(event: &EventToSign<'_>) -> HeaderLines {
    let signature = hex(HMAC_SHA256, event.secret, event.body);
    vec![("X-AiSensy-Signature", signature)]
}

pub(super) fn haptik(event: &EventToSign<'_>) -> HeaderLines {
    let signature = hex(HMAC_SHA1_FOR_LEGACY_USE_ONLY, event.secret, event.body);
    vec![("X-Hub-Signature", format!("sha1={signature}"))]
}

// Signatures over the body with a time, a nonce or the URL.

pub(super) fn ycloud(event: &EventToSign<'_>) -> HeaderLines {
    let time = event.time.to_string();
    let message = [time.as_bytes(), b".", event.body].concat();
    let signature = hex(HMAC_SHA256, event.secret, &message);
    vec![("YCloud-Signature", format!("t={time},s={signature}"))]
}

pub(super) fn sinch(event: &EventToSign<'_>) -> HeaderLines {
    let time = event.time.to_string();
    let nonce = event.nonce.as_bytes();
    let message = [event.body, b".", nonce, b".", time.as_bytes()].concat();
    let signature = base64(HMAC_SHA256, event.secret, &message);
    vec![
        ("x-sinch-webhook-signature", signature),
        (
            "x-sinch-webhook-signature-algorithm",
            "HmacSHA256".to_owned(),
        ),
        ("x-sinch-webhook-signature-nonce", event.nonce.to_owned()),
        ("x-sinch-webhook-signature-timestamp", time),
    ]
}

/// The form of Standard Webhooks, with a key in base64.
pub(super) fn standard_webhooks(event: &EventToSign<'_>) -> HeaderLines {
    let time = event.time.to_string();
    let id = event.nonce;
    let message = [id.as_bytes(), b".", time.as_bytes(), b".", event.body].concat();
    // Without a valid key the signature is that of an empty key, and the receiver refuses the
    // event.
    let key = BASE64.decode(event.secret.as_bytes()).unwrap_or_default();
    let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, &key), &message);
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", time),
        (
            "webhook-signature",
            format!("v1,{}", BASE64.encode(tag.as_ref())),
        ),
    ]
}

pub(super) fn bird(event: &EventToSign<'_>) -> HeaderLines {
    let time = event.time.to_string();
    let hash = Sha256::digest(event.body);
    let url = event.url.as_bytes();
    let message = [time.as_bytes(), b"\n", url, b"\n", hash.as_slice()].concat();
    let signature = base64(HMAC_SHA256, event.secret, &message);
    vec![
        ("messagebird-signature", signature),
        ("messagebird-request-timestamp", time),
    ]
}

pub(super) fn telnyx(event: &EventToSign<'_>) -> HeaderLines {
    let time = event.time.to_string();
    let message = [time.as_bytes(), b"|", event.body].concat();
    let seed = BASE64.decode(event.secret.as_bytes()).unwrap_or_default();
    // Without a valid key the signature stays empty, and the receiver refuses the event.
    let signature = Ed25519KeyPair::from_seed_unchecked(&seed)
        .map(|key| BASE64.encode(key.sign(&message).as_ref()))
        .unwrap_or_default();
    vec![
        ("telnyx-signature-ed25519", signature),
        ("telnyx-timestamp", time),
    ]
}

// Signatures over the URL and the sorted fields of a form. Twilio's libraries count a repeated
// field once, Plivo's libraries count each repetition.

pub(super) fn twilio(event: &EventToSign<'_>) -> HeaderLines {
    let mut fields = sorted_fields(event.body);
    fields.dedup();
    let message = format!("{}{}", event.url, joined(&fields));
    let signature = base64(
        HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        event.secret,
        message.as_bytes(),
    );
    vec![("X-Twilio-Signature", signature)]
}

/// Version 3 of Plivo's signature, for a POST to a URL without a query.
pub(super) fn plivo(event: &EventToSign<'_>) -> HeaderLines {
    let fields = joined(&sorted_fields(event.body));
    let message = format!("{}?{fields}.{}", event.url, event.nonce);
    let signature = base64(HMAC_SHA256, event.secret, message.as_bytes());
    vec![
        ("X-Plivo-Signature-V3", signature),
        ("X-Plivo-Signature-V3-Nonce", event.nonce.to_owned()),
    ]
}

fn sorted_fields(form: &[u8]) -> Vec<(String, String)> {
    let form = Query::new(&String::from_utf8_lossy(form));
    let mut fields: Vec<_> = form
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    fields.sort_unstable();
    fields
}

fn joined(fields: &[(String, String)]) -> String {
    let fields = fields.iter();
    fields
        .map(|(name, value)| format!("{name}{value}"))
        .collect()
}

// Signed tokens.

/// The vendor does not document the encoding of `payload_hash`; hex digits are assumed.
pub(super) fn vonage(event: &EventToSign<'_>) -> HeaderLines {
    let claims = json!({
        "iat": event.time,
        "jti": event.nonce,
        "payload_hash": sha256(event.body),
    });
    let token = jwt(event.secret, &claims);
    vec![("Authorization", format!("Bearer {token}"))]
}

pub(super) fn messagebird(event: &EventToSign<'_>) -> HeaderLines {
    let claims = json!({
        "iss": "MessageBird",
        "nbf": event.time,
        "exp": event.time + 60,
        "jti": event.nonce,
        "url_hash": sha256(event.url.as_bytes()),
        "payload_hash": sha256(event.body),
    });
    vec![("MessageBird-Signature-JWT", jwt(event.secret, &claims))]
}

fn jwt(secret: &str, claims: &serde_json::Value) -> String {
    let encode = |part: &serde_json::Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let header = encode(&json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{header}.{}", encode(claims));
    let signature = BASE64URL_NOPAD.encode(&mac(HMAC_SHA256, secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

// Shared secrets in the place of a signature.

pub(super) fn basic(event: &EventToSign<'_>) -> HeaderLines {
    let login = BASE64.encode(event.secret.as_bytes());
    vec![("Authorization", format!("Basic {login}"))]
}

pub(super) fn authorization(event: &EventToSign<'_>) -> HeaderLines {
    vec![("Authorization", event.secret.to_owned())]
}

/// The header that Keyside's presets suggest where a provider lets its users choose a header.
pub(super) fn webhook_token(event: &EventToSign<'_>) -> HeaderLines {
    vec![("X-Webhook-Token", event.secret.to_owned())]
}

pub(super) fn unsigned(_: &EventToSign<'_>) -> HeaderLines {
    Vec::new()
}

fn mac(algorithm: Algorithm, secret: &str, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    hmac::sign(&key, message).as_ref().to_vec()
}

fn hex(algorithm: Algorithm, secret: &str, message: &[u8]) -> String {
    HEXLOWER.encode(&mac(algorithm, secret, message))
}

fn base64(algorithm: Algorithm, secret: &str, message: &[u8]) -> String {
    BASE64.encode(&mac(algorithm, secret, message))
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses a different value than `expected` in the first header of the event.
    fn check(sign: fn(&EventToSign<'_>) -> HeaderLines, event: &EventToSign<'_>, expected: &str) {
        let lines = sign(event);
        assert_eq!(lines[0].1, expected, "{lines:?}");
    }

    /// An event without a time, a nonce and a URL.
    fn event<'a>(secret: &'a str, body: &'a str) -> EventToSign<'a> {
        EventToSign {
            body: body.as_bytes(),
            url: "",
            secret,
            time: 0,
            nonce: "",
        }
    }

    #[test]
    fn twilios_signature_equals_those_in_the_tests_of_twilio_python() {
        let call = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
        let repeated = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
        for (body, expected) in [
            (call, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            (repeated, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
        ] {
            let event = EventToSign {
                url: "https://mycompany.com/myapp.php?foo=1&bar=2",
                ..event("12345", body)
            };
            check(twilio, &event, expected);
        }
    }

    #[test]
    fn plivos_signature_equals_that_in_the_tests_of_plivo_go() {
        let sip = "Direction=outbound&From=19792014278&ALegUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36&CallStatus=in-progress\
            &BillRate=0.002&ParentAuthID=MANWVLYTK4ZWU1YTY4QA&To=sip%3APlivoSignature382029104058171078704104%40phone-qa.voice\
            .plivodev.com&ALegRequestUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36&CallUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36\
            &RequestUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36&SIP-H-To=%3Csip%3APlivoSignature382029104058171078704104%4052.9\
            .11.55%3Btransport%3Dudp%3E%3Btag%3D1&SessionStart=2020-04-08+11%3A34%3A33.238707&Event=StartApp";
        let event = EventToSign {
            url: "https://plivobin.non-prod.plivops.com/api/v1/validate_signature03.xml",
            nonce: "31627761595286130198",
            ..event("Y2Q2ZDgxZmY5YWRiOTI5YmQ1Njg0MTAxZWIyOTc4", sip)
        };
        check(
            plivo,
            &event,
            "iAjE5QqI37mbkYe4w3jTMudqEzbDufdqi7sYwTu64e0=",
        );
    }

    #[test]
    fn sinchs_signature_equals_that_in_the_tests_of_sinch_sdk_node() {
        let report = r#"{"at":"2025-01-13T09:22:40.914Z","batch_id":"01JHFFHQ0P99JPPNQPJDV7JTBP","client_reference":"a client reference","code":0,"operator_status_at":"2025-01-13T09:22:00Z","recipient":"33662162466","status":"Delivered","type":"recipient_delivery_report_sms"}"#;
        let event = EventToSign {
            time: 1_736_760_161,
            nonce: "01JHFFHWYY7HSS4FWTMDTQEK8V",
            ..event("SMSWebhooksSecret", report)
        };
        check(
            sinch,
            &event,
            "ZoHei66PPN/kZjw7hFVfGhJOnml3iGNCMWoyQVcE5o0=",
        );
    }

    #[test]
    fn signatures_over_bodies_equal_those_in_the_tests_of_webhook_servers() {
        // adnanh/webhook
        check(
            haptik,
            &event("secret", r#"{"a": "z"}"#),
            "sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e",
        );
        // convoy
        check(
            wassenger,
            &event("Convoy", "Test Payload Body"),
            "sha256=d7a154547e7c35e31c4c820e20237650939c3d34dae136e30a7757ca61abb4cf",
        );
    }
}
