//! What the targets for webhooks share: verifiers of the presets, with one known secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Request;
use keyside::config::{CredentialConfig, Proof, Reference};
use keyside::credential::source::{Findings, Found};
use keyside::credential::Credential;
use keyside::inbound::verify::{Nonces, Verifier};
use keyside::provider::{Provider, Webhook};
use keyside::secret::Secret;

/// The verifier of a preset; every secret is the same.
pub fn verifier(preset: &str) -> (Webhook, Verifier) {
    let provider = Arc::new(Provider::preset(preset).expect("a preset"));
    let webhook = provider.webhook.clone().expect("it sends events");
    let reference = Reference::Env("SECRET".to_owned());
    let secret = Arc::new(Secret::parse(b"c2VjcmV0c2VjcmV0".to_vec().into()).expect("a secret"));
    let found = Found { secret, since: None, warnings: Vec::new() };
    let findings = Findings::from([(reference.clone(), Ok(found))]);
    // Public keys are of another form, and there is no need for one here.
    let names = webhook.schemes.iter().map(|scheme| &scheme.secret).filter(|name| *name != "public_key");
    let secrets: BTreeMap<_, _> = names.map(|name| (name.clone(), vec![reference.clone()])).collect();
    let config = CredentialConfig {
        provider,
        secrets,
        max_age: Duration::MAX,
        overlap: Duration::ZERO,
        proof: Proof::Auto,
        check: false,
        renew: None,
    };
    let credential = Credential::assemble("fuzz", &config, &findings, None);
    let verifier = Verifier::new(&webhook, &credential, Some("https://example.com/hook")).expect("they are keys");
    (webhook, verifier)
}

/// Whether a request with these header values, in the order of the preset's headers, and this body is genuine.
pub fn is_genuine(preset: &str, values: &[&str], target: &str, body: &[u8]) -> bool {
    let (webhook, verifier) = verifier(preset);
    let mut request = Request::post(target).header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in webhook.signature_headers().into_iter().zip(values) {
        request = request.header(name, *value);
    }
    let Ok(request) = request.body(()) else { return false };
    let (parts, ()) = request.into_parts();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let Ok(mut check) = verifier.begin(&parts, None, None, now) else { return false };
    check.update(body);
    check.finish(&body.into(), &Nonces::default(), now).is_ok()
}
