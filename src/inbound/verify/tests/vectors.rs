//! Known answers of third parties, with one bit changed and with another time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Request;
use http::request::Parts;
use serde::Deserialize;

use super::{THEN, check, own, verifier};
use crate::inbound::verify::Verifier;
use crate::provider::webhook::SchemeKind;
use crate::provider::{Provider, presets};

/// The schemes of vectors that belong to no preset.
const OTHERS: [(&str, &str); 4] = [
    (
        "base64",
        "kind = 'hmac'\nheader = 'X-Signature'\nalgorithm = 'sha256'\nencoding = 'base64'",
    ),
    (
        "sinch-numbers",
        "kind = 'hmac'\nheader = 'x-sinch-signature'\nalgorithm = 'sha1'",
    ),
    (
        "stripe-like",
        "kind = 'hmac'\nheader = 'Stripe-Signature'\nalgorithm = 'sha256'\nlist = 'commas'\nprefix = 'v1='\n\
         timestamp_part = 't='\ntolerance = '5m'\nmessage = '{timestamp}.{body}'",
    ),
    (
        "plivo-v2",
        "kind = 'url-params'\nform = 'plivo-v2'\nheader = 'X-Plivo-Signature-V2'\nnonce = 'X-Plivo-Signature-V2-Nonce'",
    ),
];

/// A request with its secrets, and whether the request is genuine.
#[derive(Clone, Deserialize)]
struct Vector {
    source: String,
    provider: String,
    secrets: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: String,
    valid: bool,
    url: Option<String>,
    #[serde(default = "post")]
    method: String,
    #[serde(default = "then")]
    now: u64,
}

fn post() -> String {
    "POST".to_owned()
}

fn then() -> u64 {
    THEN
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn provider(name: &str) -> Arc<Provider> {
    presets::provider(name).unwrap_or_else(|| {
        Arc::new(own(OTHERS
            .iter()
            .find(|(other, _)| *other == name)
            .unwrap()
            .1))
    })
}

impl Vector {
    fn request(&self) -> Parts {
        let path = self
            .url
            .as_ref()
            .and_then(|url| url.split_once("://"))
            .and_then(|(_, rest)| rest.split_once('/'));
        let target = path.map_or_else(|| "/".to_owned(), |(_, path)| format!("/{path}"));
        let mut request = Request::builder().method(self.method.as_str()).uri(target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.now)
    }

    fn verifier(&self) -> Verifier {
        let values: Vec<[&str; 1]> = self
            .secrets
            .values()
            .map(|value| [value.as_str()])
            .collect();
        let pairs: Vec<(&str, &[&str])> = self
            .secrets
            .keys()
            .zip(&values)
            .map(|(name, values)| (name.as_str(), values.as_slice()))
            .collect();
        verifier(&provider(&self.provider), &pairs, self.url.as_deref())
    }

    fn is_genuine(&self) -> bool {
        check(
            &self.verifier(),
            &self.request(),
            self.body.as_bytes(),
            self.now(),
        )
        .is_ok()
    }
}

#[test]
fn every_preset_that_signs_has_a_vector() {
    let vectors = vectors();
    for name in presets::names().filter(|name| *name != "generic") {
        let schemes = presets::provider(name)
            .unwrap()
            .webhook
            .clone()
            .map(|webhook| webhook.schemes)
            .unwrap_or_default();
        let signs = schemes
            .iter()
            .any(|scheme| !matches!(scheme.kind, SchemeKind::Static(_)));
        let has_one = vectors
            .iter()
            .any(|vector| vector.valid && vector.provider == name);
        assert!(has_one || !signs, "{name}");
    }
}

/// Most vectors come from third parties. Without a published vector, `source` says that the vector
/// was made for this test.
#[test]
fn the_known_answers_of_third_parties_hold() {
    let vectors = vectors();
    assert!(vectors.len() > 100);
    for vector in vectors {
        // A configuration cannot have an empty secret, so there is no verifier to build.
        if vector.secrets.values().any(String::is_empty) {
            assert!(!vector.valid);
            continue;
        }
        assert_eq!(vector.is_genuine(), vector.valid, "{}", vector.source);
    }
}

#[test]
fn one_flipped_bit_of_body_signature_or_secret_is_noticed() {
    for vector in vectors().into_iter().filter(|vector| vector.valid) {
        let flipped = |text: &str, place: usize| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[place] ^= 1;
            String::from_utf8(bytes)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
        };
        let covers_body = !matches!(vector.provider.as_str(), "plivo-v2" | "vonage");
        if covers_body && !vector.body.is_empty() {
            for place in [0, vector.body.len() / 2, vector.body.len() - 1] {
                let mut changed = vector.clone();
                let mut bytes = vector.body.clone().into_bytes();
                bytes[place] ^= 1;
                let Ok(body) = String::from_utf8(bytes) else {
                    continue;
                };
                changed.body = body;
                assert!(!changed.is_genuine(), "body of {}", vector.source);
            }
        }
        for (name, secret) in &vector.secrets {
            let Some(other) = flipped(secret, secret.len() / 2) else {
                continue;
            };
            let mut changed = vector.clone();
            changed.secrets.insert(name.clone(), other);
            assert!(!changed.is_genuine(), "secret of {}", vector.source);
        }
        let signed = vector
            .headers
            .iter()
            .find(|(name, value)| name.to_lowercase().contains("signature") && value.len() > 27);
        let (name, value) = signed
            .or_else(|| vector.headers.iter().find(|(_, value)| value.len() > 27))
            .unwrap();
        // The end of a value may be padding, or a signature of a scheme that is not checked.
        let middle = value.find("v1=").map_or(value.len() / 2, |at| at + 9);
        let Some(other) = flipped(value, middle) else {
            continue;
        };
        let mut changed = vector.clone();
        changed.headers.insert(name.clone(), other);
        assert!(!changed.is_genuine(), "{name} of {}", vector.source);
    }
}

#[test]
fn a_signature_is_too_old_or_too_new_outside_its_tolerance() {
    let vector = vectors()
        .into_iter()
        .find(|vector| vector.provider == "standard-webhooks")
        .unwrap();
    for (shift, expected) in [
        (-301, false),
        (-300, true),
        (0, true),
        (300, true),
        (301, false),
    ] {
        let mut shifted = vector.clone();
        shifted.now = vector.now.checked_add_signed(shift).unwrap();
        assert_eq!(shifted.is_genuine(), expected, "{shift}");
    }
    for timestamp in ["", "abc", "-1", "99999999999999999999", "1614265330.0"] {
        let mut odd = vector.clone();
        odd.headers
            .insert("webhook-timestamp".to_owned(), timestamp.to_owned());
        assert!(!odd.is_genuine(), "{timestamp}");
    }
}

#[test]
fn a_list_may_hold_signatures_of_several_keys() {
    let vector = vectors()
        .into_iter()
        .find(|vector| vector.secrets.contains_key("public_key"))
        .unwrap();
    let right = vector.headers.get("webhook-signature").unwrap().clone();
    let wrong = format!("v1a,{}", "A".repeat(86) + "==");
    for (value, expected) in [
        (format!("{wrong} {right}"), true),
        (format!("v1,abc {right}"), true),
        (format!("{right} v2,abc"), true),
        (wrong.clone(), false),
        (right.replace("v1a,", "v1,"), false),
        (right.replace(' ', ""), true),
        (format!("{}{right}", format!("{wrong} ").repeat(8)), false),
    ] {
        let mut listed = vector.clone();
        listed
            .headers
            .insert("webhook-signature".to_owned(), value.clone());
        assert_eq!(listed.is_genuine(), expected, "{value}");
    }
}
