//! Secrets, times and nonces: what counts, what is refused, and how.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Request;

use super::{check, credential, hmac_sha256, meta, own, provider, then, verifier};
use crate::credential::SecretRole;
use crate::inbound::error::InboundError;
use crate::inbound::verify::{Freshness, Nonces, Verifier};
use crate::provider::webhook::{MessagePart, SchemeKind};
use crate::provider::{Provider, presets};

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
fn a_nonce_is_spent_when_its_event_is_accepted() {
    let scheme = "kind = 'hmac'\nheader = 'X-Signature'\nalgorithm = 'sha256'\ntimestamp = 'X-Time'\nnonce = 'X-Nonce'\n\
                  tolerance = '5m'\nreplay = true\nmessage = '{timestamp}.{nonce}.{body}'";
    let verifier = verifier(
        &Arc::new(own(scheme)),
        &[("secret", &["some secret of the test"])],
        None,
    );
    let signature = hmac_sha256("some secret of the test", b"1700000000.n1.body");
    let request = Request::post("/")
        .header("X-Signature", signature)
        .header("X-Time", "1700000000")
        .header("X-Nonce", "n1")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let nonces = Nonces::default();
    let once = || {
        let mut check = verifier.begin(&request, "/", None, None, then()).unwrap();
        check.update(b"body");
        check.finish(&b"body"[..].into()).unwrap()
    };
    let proof = once();
    assert_eq!(once().freshness(&nonces, then()), Freshness::New);
    proof.spend(&nonces, then());
    assert_eq!(once().freshness(&nonces, then()), Freshness::Repeated);
}

/// The message is `{body}.{nonce}.{timestamp}`: the end of the body is taken for the beginning of
/// the nonce.
#[test]
fn the_end_of_a_body_never_passes_as_the_beginning_of_the_nonce() {
    let scheme = "kind = 'hmac'\nheader = 'X-Signature'\nalgorithm = 'sha256'\ntimestamp = 'X-Time'\nnonce = 'X-Nonce'\n\
                  tolerance = '5m'\nreplay = true\nmessage = '{body}.{nonce}.{timestamp}'";
    let key = "some secret of the test";
    let verifier = verifier(&Arc::new(own(scheme)), &[("secret", &[key])], None);
    let signature = hmac_sha256(key, b"pay 5.00 now.n1.1700000000");
    for (body, nonce, is_genuine) in [
        ("pay 5.00 now", "n1", true),
        ("pay 5", "00 now.n1", false),
        ("pay 5.00 now.n1", "", false),
    ] {
        let request = Request::post("/")
            .header("X-Signature", &signature)
            .header("X-Time", "1700000000")
            .header("X-Nonce", nonce)
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let proof = check(&verifier, &request, body.as_bytes(), then());
        assert_eq!(proof.is_ok(), is_genuine, "{body} {nonce}");
    }
}
