//! `cargo bench --bench verify -- hash`: the cost of verifying 3 MiB beside hashing 3 MiB. `... --
//! refuse DIGITS`: refuses 2,000 events whose signature begins with DIGITS right digits, for
//! `benches/timing`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measurement of real time, which prints its result"
)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Request;
use http::request::Parts;
use keyside::config::{CredentialConfig, ProofForm, Reference};
use keyside::credential::Credential;
use keyside::credential::source::{Findings, FoundSecret};
use keyside::inbound::body::Body;
use keyside::inbound::sign::{UnsignedEvent, sign};
use keyside::inbound::verify::Verifier;
use keyside::named::ByName;
use keyside::provider::presets;
use keyside::secret::Secret;
use sha2::{Digest, Sha256};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["refuse", digits] => refuse(digits.parse().expect("a number of digits")),
        _ => hash(),
    }
}

fn refuse(digits: usize) {
    let (verifier, secret) = verifier();
    let body = vec![b'x'; 1024];
    let right = signature(&secret, &body);
    // A letter replaces a letter and a number a number: both kinds cost different times to decode,
    // and a forger knows the kind.
    let wrong = |digit: char| match digit {
        '9' => '8',
        'f' => 'e',
        other => char::from_u32(u32::from(other) + 1).expect("0 to 8 or a to e"),
    };
    let forged: String = right
        .char_indices()
        .map(|(place, digit)| {
            if place < "sha256=".len() + digits {
                digit
            } else {
                wrong(digit)
            }
        })
        .collect();
    let (request, body) = (request(&forged), Body::from(&body[..]));
    for _ in 0..2000 {
        assert!(!is_genuine(&verifier, &request, &body));
    }
}

fn hash() {
    let (verifier, secret) = verifier();
    let body = vec![b'x'; 3 << 20];
    let request = request(&signature(&secret, &body));
    let mut pieces = Body::default();
    // The piece size used by hyper.
    body.chunks(64 * 1024)
        .for_each(|piece| pieces.push(piece.to_vec().into()));
    let best = |run: &dyn Fn()| (0..50).map(|_| timed(run)).min().expect("some runs");
    let raw = best(&|| assert_ne!(Sha256::digest(&body)[..], [0; 32]));
    let whole = best(&|| assert!(is_genuine(&verifier, &request, &pieces)));
    println!(
        "SHA-256 of 3 MiB: {raw:?}; verified: {whole:?}; ratio {:.3}",
        whole.as_secs_f64() / raw.as_secs_f64()
    );
}

fn timed(run: &dyn Fn()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

fn is_genuine(verifier: &Verifier, request: &Parts, body: &Body) -> bool {
    let Ok(mut check) = verifier.begin(request, "/", None, None, SystemTime::UNIX_EPOCH) else {
        return false;
    };
    body.pieces().iter().for_each(|piece| check.update(piece));
    check.finish(body).is_ok()
}

fn request(signature: &str) -> Parts {
    Request::post("/")
        .header("X-Hub-Signature-256", signature)
        .body(())
        .expect("a request")
        .into_parts()
        .0
}

fn signature(secret: &Secret, body: &[u8]) -> String {
    let webhook = presets::provider("meta")
        .and_then(|meta| meta.webhook.clone())
        .expect("Meta sends webhooks");
    let event = UnsignedEvent {
        body,
        is_form: false,
        url: None,
        time: SystemTime::UNIX_EPOCH,
        nonce: "",
        id: "",
    };
    sign(&webhook, secret, &event)
        .expect("it signs")
        .remove(0)
        .value
}

fn verifier() -> (Verifier, Arc<Secret>) {
    let provider = presets::provider("meta").expect("a preset");
    let secret = Arc::new(
        Secret::parse(b"0123456789abcdef0123456789abcdef".to_vec().into()).expect("a secret"),
    );
    let reference = Reference::Env("APP_SECRET".to_owned());
    let found = FoundSecret {
        secret: Arc::clone(&secret),
        since: None,
        warnings: Vec::new(),
    };
    let findings = Findings::from([(reference.clone(), Ok(found))]);
    let config = CredentialConfig {
        provider: Arc::clone(&provider),
        secrets: ByName::from_iter([("app_secret".to_owned(), vec![reference])]),
        check: false,
        place: None,
        renew: None,
        has_route: false,
        overlap: Duration::ZERO,
        hold: Duration::ZERO,
        max_age: Duration::MAX,
        proof: ProofForm::Auto,
    };
    let credential = Credential::assemble("bench", &config, &findings, None);
    let webhook = provider.webhook.as_ref().expect("Meta sends webhooks");
    (
        Verifier::new(webhook, &credential, None).expect("it is a key"),
        secret,
    )
}
