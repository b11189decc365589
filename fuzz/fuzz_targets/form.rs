//! The signer and the verifier of signed forms agree about every form and query, without shared
//! code.
#![no_main]

use std::time::SystemTime;

use keyside::inbound::sign::{UnsignedEvent, sign};
use keyside::provider::presets;
use keyside::query;
use keyside::secret::Secret;
use keyside_fuzz::{is_genuine, signature_headers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (query, form) = text.split_once('\n').unwrap_or(("", text));
    let target = format!("/hook?{query}");
    let Ok(uri) = target.parse::<http::Uri>() else {
        return;
    };
    let url = match uri.query() {
        Some(query) => format!("https://example.com/hook?{query}"),
        None => "https://example.com/hook".to_owned(),
    };
    let secret = Secret::parse(b"c2VjcmV0c2VjcmV0".to_vec().into()).expect("a secret");
    for preset in ["twilio", "plivo"] {
        let webhook = presets::provider(preset)
            .and_then(|provider| provider.webhook.clone())
            .expect("a preset with webhooks");
        let event = UnsignedEvent {
            body: form.as_bytes(),
            is_form: true,
            url: Some(&url),
            time: SystemTime::UNIX_EPOCH,
            nonce: "12345",
            id: "",
        };
        let lines = sign(&webhook, &secret, &event).expect("a form with a URL can be signed");
        let values: Vec<&str> = signature_headers(&webhook)
            .iter()
            .map(|name| {
                lines
                    .iter()
                    .find(|line| line.name == name.as_str())
                    .map_or("", |line| line.value.as_str())
            })
            .collect();
        // A hash in the URL has to be that of the body.
        let has_hash = query::fields(uri.query().unwrap_or_default())
            .any(|pair| preset == "twilio" && pair.name() == "bodySHA256");
        assert!(
            has_hash || is_genuine(preset, &values, &target, form.as_bytes()),
            "{preset}: {text:?}"
        );
        assert!(!is_genuine(
            preset,
            &["AAAA", "12345"],
            &target,
            form.as_bytes()
        ));
    }
});
