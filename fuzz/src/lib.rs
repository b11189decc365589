//! Credentials and webhook verifiers of the presets, for the fuzz targets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, Request};
use keyside::config::{CredentialConfig, ProofForm, Reference};
use keyside::credential::Credential;
use keyside::credential::source::{Findings, FoundSecret};
use keyside::inbound::verify::Verifier;
use keyside::named::ByName;
use keyside::provider::{WebhookSpec, presets};
use keyside::secret::Secret;

/// A verifier for the webhooks of a preset, with one secret known to the target in every slot.
pub fn verifier(preset: &str) -> (WebhookSpec, Verifier) {
    let secret = Secret::parse(b"c2VjcmV0c2VjcmV0".to_vec().into()).expect("a secret");
    let credential = credential(preset, secret);
    let webhook = credential
        .provider
        .webhook
        .clone()
        .expect("a preset with webhooks");
    let verifier = Verifier::new(&webhook, &credential, Some("https://example.com/hook"));
    (webhook, verifier.expect("the secret is a valid key"))
}

/// A credential of a preset with `secret` in every slot.
pub fn credential(preset: &str, secret: Secret) -> Credential {
    let provider = presets::provider(preset).expect("a preset");
    let reference = Reference::Env("SECRET".to_owned());
    let found = FoundSecret {
        secret: Arc::new(secret),
        since: None,
        warnings: Vec::new(),
    };
    let findings = Findings::from([(reference.clone(), Ok(found))]);
    // Public keys have another form, and no target needs one.
    let schemes = provider.webhook.iter().flat_map(|webhook| &webhook.schemes);
    let challenge = provider
        .webhook
        .iter()
        .filter_map(|webhook| webhook.challenge.as_ref());
    let names = schemes
        .map(|scheme| &scheme.secret)
        .filter(|name| *name != "public_key")
        .chain(challenge);
    let secrets: ByName<_> = names
        .map(|name| (name.clone(), vec![reference.clone()]))
        .collect();
    let config = CredentialConfig {
        provider: Arc::clone(&provider),
        secrets,
        max_age: Duration::MAX,
        overlap: Duration::ZERO,
        hold: Duration::ZERO,
        proof: ProofForm::Auto,
        check: false,
        place: None,
        renew: None,
        has_route: false,
    };
    Credential::assemble("fuzz", &config, &findings, None)
}

/// Returns the headers that carry signatures, without the further headers that an application gets.
pub fn signature_headers(webhook: &WebhookSpec) -> Vec<HeaderName> {
    let mut headers = webhook.headers_for_application();
    headers.retain(|name| !webhook.forward.contains(name));
    headers
}

/// Returns true when a webhook request is accepted: `values` are its signature headers, in the
/// preset's order.
pub fn is_genuine(preset: &str, values: &[&str], target: &str, body: &[u8]) -> bool {
    let (webhook, verifier) = verifier(preset);
    let mut request =
        Request::post(target).header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in signature_headers(&webhook).iter().zip(values) {
        request = request.header(name, *value);
    }
    let Ok(request) = request.body(()) else {
        return false;
    };
    let (parts, ()) = request.into_parts();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let Ok(mut check) = verifier.begin(&parts, "/", None, None, now) else {
        return false;
    };
    check.update(body);
    check.finish(&body.into()).is_ok()
}
