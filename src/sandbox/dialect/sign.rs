//! How each provider proves that an event is its own. It shares no code with what checks the events: the two test each other.

use aws_lc_rs::hmac::{self, Algorithm, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256};
use aws_lc_rs::signature::Ed25519KeyPair;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::sandbox::target::Query;

/// An event that is to be signed.
pub(in crate::sandbox) struct Event<'a> {
    /// The bytes that are sent.
    pub(in crate::sandbox) body: &'a [u8],
    /// The URL that they are sent to.
    pub(in crate::sandbox) url: &'a str,
    /// The secret.
    pub(in crate::sandbox) secret: &'a str,
    /// When, in seconds since 1970.
    pub(in crate::sandbox) time: u64,
    /// Something that no other event has.
    pub(in crate::sandbox) nonce: &'a str,
}

/// Headers.
pub(in crate::sandbox) type Lines = Vec<(&'static str, String)>;

// Signed over the body alone.

/// The vendor's text does not say how the signature is written: as hexadecimal digits here.
pub(super) fn dialog360(event: &Event<'_>) -> Lines {
    vec![("X-360dialog-Signature", hex(HMAC_SHA256, event.secret, event.body))]
}

pub(super) fn wassenger(event: &Event<'_>) -> Lines {
    vec![("X-Wassenger-Signature", format!("sha256={}", hex(HMAC_SHA256, event.secret, event.body)))]
}

pub(super) fn interakt(event: &Event<'_>) -> Lines {
    vec![("Interakt-Signature", format!("sha256={}", hex(HMAC_SHA256, event.secret, event.body)))]
}

/// How the signature is written is not known: as hexadecimal digits here.
pub(super) fn aisensy(event: &Event<'_>) -> Lines {
    vec![("X-AiSensy-Signature", hex(HMAC_SHA256, event.secret, event.body))]
}

pub(super) fn haptik(event: &Event<'_>) -> Lines {
    vec![("X-Hub-Signature", format!("sha1={}", hex(HMAC_SHA1_FOR_LEGACY_USE_ONLY, event.secret, event.body)))]
}

// Signed over the body and more.

pub(super) fn ycloud(event: &Event<'_>) -> Lines {
    let message = [event.time.to_string().as_bytes(), b".", event.body].concat();
    vec![("YCloud-Signature", format!("t={},s={}", event.time, hex(HMAC_SHA256, event.secret, &message)))]
}

pub(super) fn sinch(event: &Event<'_>) -> Lines {
    let time = event.time.to_string();
    let message = [event.body, b".", event.nonce.as_bytes(), b".", time.as_bytes()].concat();
    vec![
        ("x-sinch-webhook-signature", base64(HMAC_SHA256, event.secret, &message)),
        ("x-sinch-webhook-signature-algorithm", "HmacSHA256".to_owned()),
        ("x-sinch-webhook-signature-nonce", event.nonce.to_owned()),
        ("x-sinch-webhook-signature-timestamp", time),
    ]
}

pub(super) fn bird(event: &Event<'_>) -> Lines {
    let time = event.time.to_string();
    let hash = Sha256::digest(event.body);
    let message = [time.as_bytes(), b"\n", event.url.as_bytes(), b"\n", hash.as_slice()].concat();
    vec![
        ("messagebird-signature", base64(HMAC_SHA256, event.secret, &message)),
        ("messagebird-request-timestamp", time),
    ]
}

pub(super) fn telnyx(event: &Event<'_>) -> Lines {
    let time = event.time.to_string();
    let message = [time.as_bytes(), b"|", event.body].concat();
    let seed = BASE64.decode(event.secret.as_bytes()).unwrap_or_default();
    // With no key there is no signature, and the receiver refuses the event.
    let signature = Ed25519KeyPair::from_seed_unchecked(&seed).map(|key| key.sign(&message));
    let signature = signature.map(|signature| BASE64.encode(signature.as_ref())).unwrap_or_default();
    vec![("telnyx-signature-ed25519", signature), ("telnyx-timestamp", time)]
}

// Signed over the URL and the fields of a form. Each is taken once by Twilio's libraries, and as often as it is there by Plivo's.

pub(super) fn twilio(event: &Event<'_>) -> Lines {
    let mut fields = fields(event.body);
    fields.dedup();
    let message = format!("{}{}", event.url, joined(&fields));
    vec![("X-Twilio-Signature", base64(HMAC_SHA1_FOR_LEGACY_USE_ONLY, event.secret, message.as_bytes()))]
}

/// V3, of a POST to a URL without a query.
pub(super) fn plivo(event: &Event<'_>) -> Lines {
    let message = format!("{}?{}.{}", event.url, joined(&fields(event.body)), event.nonce);
    vec![
        ("X-Plivo-Signature-V3", base64(HMAC_SHA256, event.secret, message.as_bytes())),
        ("X-Plivo-Signature-V3-Nonce", event.nonce.to_owned()),
    ]
}

/// The fields of a form, sorted.
fn fields(body: &[u8]) -> Vec<(String, String)> {
    let form = Query::new(&String::from_utf8_lossy(body));
    let mut fields: Vec<_> = form.without(&[]).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    fields.sort_unstable();
    fields
}

fn joined(fields: &[(String, String)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}{value}")).collect()
}

// A token that is signed.

/// How `payload_hash` is written is not known: as hexadecimal digits here.
pub(super) fn vonage(event: &Event<'_>) -> Lines {
    let claims = json!({ "iat": event.time, "jti": event.nonce, "payload_hash": sha256(event.body) });
    vec![("Authorization", format!("Bearer {}", token(event.secret, &claims)))]
}

pub(super) fn messagebird(event: &Event<'_>) -> Lines {
    let (begins, ends) = (event.time, event.time + 60);
    let hashes = (sha256(event.url.as_bytes()), sha256(event.body));
    let claims = json!({
        "iss": "MessageBird", "nbf": begins, "exp": ends, "jti": event.nonce, "url_hash": hashes.0, "payload_hash": hashes.1,
    });
    vec![("MessageBird-Signature-JWT", token(event.secret, &claims))]
}

fn token(secret: &str, claims: &serde_json::Value) -> String {
    let encode = |part: &serde_json::Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let signed = format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "JWT" })), encode(claims));
    let signature = BASE64URL_NOPAD.encode(&mac(HMAC_SHA256, secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

// Not signed: something that only the provider was told.

pub(super) fn basic(event: &Event<'_>) -> Lines {
    vec![("Authorization", format!("Basic {}", BASE64.encode(event.secret.as_bytes())))]
}

pub(super) fn authorization(event: &Event<'_>) -> Lines {
    vec![("Authorization", event.secret.to_owned())]
}

/// A header of one's own, as the presets have it.
pub(super) fn webhook_token(event: &Event<'_>) -> Lines {
    vec![("X-Webhook-Token", event.secret.to_owned())]
}

pub(super) fn nothing(_: &Event<'_>) -> Lines {
    Vec::new()
}

fn mac(algorithm: Algorithm, secret: &str, message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), message).as_ref().to_vec()
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

    #[test]
    fn signatures_are_those_of_third_parties() {
        let call = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
        let twice = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
        let sip = "Direction=outbound&From=19792014278&ALegUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36&CallStatus=in-progress\
            &BillRate=0.002&ParentAuthID=MANWVLYTK4ZWU1YTY4QA&To=sip%3APlivoSignature382029104058171078704104%40phone-qa.voice\
            .plivodev.com&ALegRequestUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36&CallUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36\
            &RequestUUID=3e82ae9d-2c78-4d85-b1a4-6eae7dbafb36&SIP-H-To=%3Csip%3APlivoSignature382029104058171078704104%4052.9\
            .11.55%3Btransport%3Dudp%3E%3Btag%3D1&SessionStart=2020-04-08+11%3A34%3A33.238707&Event=StartApp";
        let report = r#"{"at":"2025-01-13T09:22:40.914Z","batch_id":"01JHFFHQ0P99JPPNQPJDV7JTBP","client_reference":"a client reference","code":0,"operator_status_at":"2025-01-13T09:22:00Z","recipient":"33662162466","status":"Delivered","type":"recipient_delivery_report_sms"}"#;
        let at = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let plivo_at = "https://plivobin.non-prod.plivops.com/api/v1/validate_signature03.xml";
        type Row = (fn(&Event<'_>) -> Lines, &'static str, u64, &'static str, &'static str);
        let table: [(Row, &str, &str); 6] = [
            // twilio-python
            ((twilio, "12345", 0, "", "RSOYDt4T1cUTdK1PDd93/VVr8B8="), at, call),
            ((twilio, "12345", 0, "", "IK+Dwps556ElfBT0I3Rgjkr1wJU="), at, twice),
            // plivo-go
            (
                (
                    plivo,
                    "Y2Q2ZDgxZmY5YWRiOTI5YmQ1Njg0MTAxZWIyOTc4",
                    0,
                    "31627761595286130198",
                    "iAjE5QqI37mbkYe4w3jTMudqEzbDufdqi7sYwTu64e0=",
                ),
                plivo_at,
                sip,
            ),
            // sinch-sdk-node
            (
                (
                    sinch,
                    "SMSWebhooksSecret",
                    1_736_760_161,
                    "01JHFFHWYY7HSS4FWTMDTQEK8V",
                    "ZoHei66PPN/kZjw7hFVfGhJOnml3iGNCMWoyQVcE5o0=",
                ),
                "",
                report,
            ),
            // adnanh/webhook
            ((haptik, "secret", 0, "", "sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e"), "", r#"{"a": "z"}"#),
            // convoy
            (
                (wassenger, "Convoy", 0, "", "sha256=d7a154547e7c35e31c4c820e20237650939c3d34dae136e30a7757ca61abb4cf"),
                "",
                "Test Payload Body",
            ),
        ];
        for ((sign, secret, time, nonce, expected), url, body) in table {
            let lines = sign(&Event { body: body.as_bytes(), url, secret, time, nonce });
            assert_eq!(lines[0].1, expected, "{lines:?}");
        }
    }
}
