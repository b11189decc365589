//! Providers, credentials and verifiers of a few lines, for the tests of all schemes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use http::Request;
use http::request::Parts;
use zeroize::Zeroizing;

mod fixed_token;
mod forgeries;
mod hmacs;
mod rules;
mod vectors;

use super::mac::Mac;
use super::{Proof, Verifier};
use crate::config::{CredentialConfig, ProofForm, Reference};
use crate::credential::Credential;
use crate::credential::source::Findings;
use crate::credential::source::FoundSecret;
use crate::document::{Document, FaultReport, Reader};
use crate::inbound::error::InboundError;
use crate::provider::webhook::Algorithm;
use crate::provider::{Provider, SecretOrigin, presets, schema};
use crate::secret::Secret;

fn provider(name: &str) -> Arc<Provider> {
    presets::provider(name).unwrap()
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

/// The provider, with secrets of any value: those of published vectors are placeholders, such as
/// `12345`.
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
        has_route: false,
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

/// The time at which most events of the tests are signed, in seconds since 1970.
const THEN: u64 = 1_700_000_000;

fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(THEN)
}

fn hmac_sha256(secret: &str, message: &[u8]) -> String {
    let mut mac = Mac::new(Algorithm::Sha256, secret.as_bytes());
    mac.update(message);
    HEXLOWER.encode(mac.finish().as_bytes())
}

/// The head of a request with Meta's signature of a body.
fn meta(body: &[u8], secret: &str) -> Parts {
    let signature = format!("sha256={}", hmac_sha256(secret, body));
    let request = Request::post("/").header("X-Hub-Signature-256", signature);
    request.body(()).unwrap().into_parts().0
}
