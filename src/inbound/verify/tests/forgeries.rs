//! Events that the signer signs, and changes to them: each is noticed.

use std::time::SystemTime;

use http::Request;
use http::request::Parts;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{check, meta, provider, then, verifier};
use crate::inbound::sign::{UnsignedEvent, sign};
use crate::provider::presets;
use crate::provider::webhook::{SchemeKind, WebhookSpec};
use crate::secret::Secret;

/// A secret that is a key of every form.
const KEY: &str = "c2VjcmV0c2VjcmV0";

/// The head of a request to a target of `example.com`, signed with [`KEY`].
fn signed(webhook: &WebhookSpec, target: &str, body: &str, is_form: bool) -> Parts {
    let secret = Secret::parse(Zeroizing::new(KEY.as_bytes().to_vec())).unwrap();
    let event = UnsignedEvent {
        body: body.as_bytes(),
        is_form,
        url: Some(&format!("https://example.com{target}")),
        time: then(),
        nonce: "a nonce",
        id: "an id",
    };
    let mut request = Request::post(target);
    if is_form {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    for line in sign(webhook, &secret, &event).unwrap() {
        request = request.header(line.name, line.value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn an_event_that_the_signer_signs_is_genuine_and_every_change_to_it_a_forgery() {
    let target = "/hook?b=2&a=1";
    let url = format!("https://example.com{target}");
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
        let (body, is_form) = match scheme.kind {
            SchemeKind::UrlParams(_) => ("To=%2B1555&Body=a+b", true),
            _ => (r#"{"a":"é"}"#, false),
        };
        let request = signed(webhook, target, body, is_form);
        let is_genuine = |secret: &str, url: &str, body: &str| {
            let verifier = verifier(&provider, &[(&scheme.secret, &[secret])], Some(url));
            check(&verifier, &request, body.as_bytes(), then()).is_ok()
        };
        assert!(is_genuine(KEY, &url, body), "{name}");
        for forged in [
            body.replace('a', "b"),
            format!("{body} "),
            body.chars().skip(1).collect(),
            String::new(),
        ] {
            assert!(!is_genuine(KEY, &url, &forged), "{name}: {forged}");
        }
        assert!(!is_genuine("b3RoZXJvdGhlcg==", &url, body), "{name}");
        if webhook.needs_url() {
            let elsewhere = "https://example.org/hook";
            assert!(!is_genuine(KEY, elsewhere, body), "{name}");
        }
        tried += 1;
    }
    assert!(tried >= 13, "{tried}");
}

#[test]
fn a_signed_form_with_empty_names_and_values_is_genuine() {
    for name in ["twilio", "plivo"] {
        let provider = provider(name);
        let webhook = provider.webhook.as_ref().unwrap();
        for target in ["/hook", "/hook?", "/hook?=", "/hook?a", "/hook?=&=b"] {
            let url = format!("https://example.com{target}");
            let verifier = verifier(&provider, &[("auth_token", &[KEY])], Some(&url));
            for form in ["", "=", "&", "a", "a=", "=b", "=&=", "a=&=b&"] {
                let request = signed(webhook, target, form, true);
                let proof = check(&verifier, &request, form.as_bytes(), then());
                assert!(proof.is_ok(), "{name} {target} {form:?}");
            }
        }
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
            let verifier = verifier(&provider, &[(secret, &[KEY])], Some("https://example.com/x?y=z"));
            let mut request = Request::post("/");
            for (place, name) in provider.webhook.as_ref().unwrap().headers_for_application().into_iter().enumerate() {
                request = request.header(name, if place == 0 { &value } else { &other });
            }
            let request = request.header("content-type", "application/x-www-form-urlencoded").body(()).unwrap().into_parts().0;
            prop_assert!(check(&verifier, &request, body.as_bytes(), SystemTime::now()).is_err());
        }
    }
}
