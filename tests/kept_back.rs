//! An unusable secret stops only the credential of the secret: all other changes are published, the
//! secret before it stays in use, the state is told, and the secret is tried again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Request, Upstream, json};
use crate::support::webhook::{self, HOOK, application, event, signature};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const NEW: &str = "EAASECONDTOKEN";
const NEW_APP_SECRET: &str = "the next app secret";
const SECOND_APP_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// A provider with a list of good tokens and a good app secret.
struct Provider {
    upstream: Upstream,
    good: Arc<Mutex<Vec<&'static str>>>,
}

impl Provider {
    fn new() -> Self {
        let good = Arc::new(Mutex::new(vec![TOKEN]));
        let tokens = Arc::clone(&good);
        let upstream = Upstream::answering(move |request| {
            let sent = request.header("authorization").unwrap_or_default();
            let is_good = tokens
                .lock()
                .unwrap()
                .iter()
                .any(|token| sent == format!("Bearer {token}"));
            match request.target() {
                _ if !is_good => error(190, "Error validating access token"),
                target if target.starts_with("/debug_token") => described(),
                _ => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
            }
        });
        Self { upstream, good }
    }

    fn takes(&self, tokens: &[&'static str]) {
        *self.good.lock().unwrap() = tokens.to_vec();
    }

    fn token_sent(&self, keyside: &Keyside, path: &str) -> String {
        assert_eq!(keyside.post(&format!("{path}{MESSAGES}"), "{}").status, 200);
        let sent = self.upstream.last_to(MESSAGES);
        sent.header("authorization").unwrap().replace("Bearer ", "")
    }
}

fn described() -> Vec<u8> {
    json(
        r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}"#,
    )
}

fn error(code: i64, message: &str) -> Vec<u8> {
    let body =
        format!(r#"{{"error":{{"message":"{message}","type":"OAuthException","code":{code}}}}}"#);
    format!(
        "HTTP/1.1 401 No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Credential `acme` at `/`, and credential `other` at `/other`.
fn two_credentials(provider: &Provider) -> Keyside {
    Setup::new(&provider.upstream)
        .check()
        .file("other", TOKEN)
        .more(
            "[credential.other]\nprovider = \"test\"\ntoken = \"file:@DIR@/other\"\n\
             [[route]]\ncredential = \"other\"\npath = \"/other\"\n",
        )
        .start()
}

fn credential(keyside: &Keyside, name: &str) -> serde_json::Value {
    let status = keyside.status();
    let credentials = status["credentials"].as_array().unwrap();
    let mut named = credentials
        .iter()
        .filter(|credential| credential["name"] == name);
    named.next().unwrap().clone()
}

/// The gauge that tells whether secrets of a credential are kept back.
fn is_kept_back(keyside: &Keyside, credential: &str) -> bool {
    keyside.metric(
        "keyside_credential_kept_back",
        &[&format!("credential=\"{credential}\"")],
    ) > 0.5
}

#[test]
fn a_bad_secret_keeps_its_credential_as_it_was_and_the_other_one_rotates() {
    type Break = fn(&Keyside);
    let breaks: [(&str, Break, &str); 4] = [
        (
            "missing",
            |keyside| std::fs::remove_file(keyside.dir().join("other")).unwrap(),
            "No such file",
        ),
        (
            "malformed",
            |keyside| drop(keyside.dir().write("other", "\"EAAQUOTED\"")),
            "quotation mark",
        ),
        (
            "refused",
            |keyside| drop(keyside.dir().write("other", "EAAREFUSED")),
            "code 190",
        ),
        (
            "empty",
            |keyside| drop(keyside.dir().write("other", "")),
            "no value",
        ),
    ];
    for (what, break_it, reason) in breaks {
        let provider = Provider::new();
        let keyside = two_credentials(&provider);
        provider.takes(&[TOKEN, NEW]);
        break_it(&keyside);
        keyside.dir().write("token", NEW);
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{what}: {}", reloaded.text());
        let kept_back = reloaded.json()["kept_back"][0].as_str().unwrap().to_owned();
        assert!(
            kept_back.starts_with("credential.other.token: ") && kept_back.contains(reason),
            "{what}: {kept_back}"
        );
        assert_eq!(provider.token_sent(&keyside, ""), NEW, "{what}");
        assert_eq!(provider.token_sent(&keyside, "/other"), TOKEN, "{what}");
        let state = credential(&keyside, "other");
        assert_eq!(
            (&state["usable"], &state["sends"]),
            (&true.into(), &"current".into()),
            "{what}"
        );
        let told = state["kept_back"]["reasons"][0]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(told.contains(reason), "{what}: {told}");
        assert!(
            is_kept_back(&keyside, "other") && !is_kept_back(&keyside, "acme"),
            "{what}"
        );
        let ready = keyside.ask_admin(&get("/readyz?route=other"));
        assert!(
            ready.status == 200 && ready.text().contains(reason),
            "{what}: {}",
            ready.text()
        );
        let lines = keyside
            .log()
            .lines()
            .filter(|line| line.contains("cannot be used"))
            .count();
        assert_eq!(lines, 1, "{what}: {}", keyside.log());
        keyside.dir().write("other", NEW);
        assert_eq!(keyside.reload().status, 200, "{what}");
        assert_eq!(provider.token_sent(&keyside, "/other"), NEW, "{what}");
        assert!(!is_kept_back(&keyside, "other"), "{what}");
        assert!(
            credential(&keyside, "other")["kept_back"].is_null(),
            "{what}"
        );
        let log = keyside.log();
        let ends: Vec<_> = log
            .lines()
            .filter(|line| line.contains("the source has good secrets again"))
            .collect();
        assert!(
            ends.len() == 1 && ends.iter().all(|line| line.contains("other")),
            "{what}: {log}"
        );
    }
}

#[test]
fn a_secret_kept_back_holds_up_no_later_reload() {
    let provider = Provider::new();
    let keyside = two_credentials(&provider);
    keyside.dir().write("other", "EAAREFUSED");
    assert_eq!(
        keyside.reload().status,
        422,
        "it changed nothing and is news"
    );
    assert_eq!(keyside.reload().status, 200, "it is no news");
    provider.takes(&[TOKEN, NEW]);
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(provider.token_sent(&keyside, ""), NEW);
    let lines = keyside
        .log()
        .lines()
        .filter(|line| line.contains("cannot be used"))
        .count();
    assert_eq!(lines, 1, "{}", keyside.log());
}

#[test]
fn a_secret_kept_back_is_tried_again_when_the_one_in_use_is_refused() {
    let provider = Provider::new();
    let keyside = two_credentials(&provider);
    keyside.dir().write("other", NEW);
    assert_eq!(keyside.reload().status, 422);
    assert_eq!(provider.token_sent(&keyside, "/other"), TOKEN);
    provider.takes(&[NEW]);
    assert_eq!(
        provider.token_sent(&keyside, "/other"),
        NEW,
        "no send failed"
    );
    assert!(!is_kept_back(&keyside, "other"));
}

#[test]
fn a_credential_without_a_secret_at_the_start_stops_no_other_and_is_tried_again() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream)
        .credential("token = \"file:@DIR@/later\"\n")
        .watch("100ms")
        .start();
    let refused = keyside.post(MESSAGES, "{}");
    assert_eq!(
        (refused.status, refused.slug()),
        (503, "credential_unavailable")
    );
    assert_eq!(
        keyside.ask_admin(&get("/readyz")).status,
        503,
        "no route can send"
    );
    keyside.dir().write("later", TOKEN);
    assert!(eventually(Duration::from_secs(3), || {
        keyside.post(MESSAGES, "{}").status == 200
    }));
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
}

#[test]
fn readiness_is_asked_for_one_route_or_webhook_or_all() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/nowhere\"\nproof = \"off\"\n")
        .more(
            "[credential.other]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/nowhere\"\n\
             [[route]]\ncredential = \"other\"\npath = \"/other\"\n\
             [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [[webhook]]\npath = \"/hook\"\ncredential = \"acme\"\nname = \"hook\"\nforward = \"http://127.0.0.1:1/\"\n",
        )
        .start();
    for (path, status, text) in [
        (
            "/readyz",
            200,
            "ready\nroute other: credential other has no usable `token`",
        ),
        (
            "/readyz?all",
            503,
            "route other: credential other has no usable `token`",
        ),
        ("/readyz?route=acme", 200, "ready\n"),
        ("/readyz?route=other", 503, "route other: "),
        ("/readyz?route=nobody", 404, "no route of this name"),
        (
            "/readyz?webhook=hook",
            503,
            "webhook hook: credential acme has no secret to check signatures with",
        ),
        ("/readyz?webhook=nobody", 404, "no webhook of this name"),
    ] {
        let ready = keyside.ask_admin(&get(path));
        assert!(
            ready.status == status && ready.text().contains(text),
            "{path}: {} {}",
            ready.status,
            ready.text()
        );
    }
}

/// The provider checks proofs with the old app secret until the cut-over, and signs events with the
/// new secret.
#[test]
fn an_app_secret_that_only_the_proof_refuses_is_accepted_for_webhooks_at_once() {
    let has_changed = Arc::new(Mutex::new(false));
    let changed = Arc::clone(&has_changed);
    let upstream = Upstream::answering(move |request| {
        let secret = if *changed.lock().unwrap() {
            NEW_APP_SECRET
        } else {
            APP_SECRET
        };
        match request.target() {
            target if !is_proved(request, secret) => {
                assert!(target.contains("appsecret_proof="), "{target}");
                error(100, "Invalid appsecret_proof provided in the API argument")
            }
            target if target.starts_with("/debug_token") => described(),
            _ => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
        }
    });
    let application = application();
    let keyside = Setup::new(&upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/events\"\n",
            application.url()
        ))
        .start();
    let signed = |secret| {
        let body = b"{}".as_slice();
        keyside
            .event(&event(&[&signature(secret, body)], body))
            .status
    };
    assert_eq!((signed(APP_SECRET), signed(NEW_APP_SECRET)), (200, 401));
    keyside.dir().write("app_secret", NEW_APP_SECRET);
    assert_eq!(keyside.reload().status, 422);
    assert_eq!(
        (signed(APP_SECRET), signed(NEW_APP_SECRET)),
        (200, 200),
        "both are accepted"
    );
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "requests are proved with the old one"
    );
    let reason = credential(&keyside, "acme")["kept_back"]["reasons"][0].clone();
    assert!(
        reason.as_str().unwrap().starts_with(".app_secret: "),
        "{reason}"
    );
    *has_changed.lock().unwrap() = true;
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "the cut-over fails no send"
    );
    assert_eq!(
        (signed(APP_SECRET), signed(NEW_APP_SECRET)),
        (200, 200),
        "within the overlap"
    );
    assert!(credential(&keyside, "acme")["kept_back"].is_null());
}

fn is_proved(request: &Request, secret: &str) -> bool {
    let target = request.target();
    let value = |name: &str| {
        let (_, rest) = target.split_once(&format!("{name}=")).unwrap_or_default();
        rest.split('&').next().unwrap_or_default().to_owned()
    };
    let message = format!("{TOKEN}|{}", value("appsecret_time"));
    value("appsecret_proof") == crate::support::hmac_sha256(secret, message)
}

#[test]
fn a_webhook_secret_that_is_no_key_keeps_the_one_before() {
    let provider = Provider::new();
    let application = application();
    let keyside = Setup::new(&provider.upstream)
        .file("hook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [credential.hook]\nprovider = \"standard-webhooks\"\nsecret = \"file:@DIR@/hook\"\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"hook\"\nforward = \"{}/events\"\n",
            application.url()
        ))
        .start();
    provider.takes(&[TOKEN, NEW]);
    keyside.dir().write("hook", "whsec_not base64!");
    keyside.dir().write("token", NEW);
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let kept_back = reloaded.json()["kept_back"][0].as_str().unwrap().to_owned();
    assert!(
        kept_back.starts_with("credential.hook.secret: "),
        "{kept_back}"
    );
    assert_eq!(provider.token_sent(&keyside, ""), NEW);
    assert_eq!(keyside.ask_admin(&get("/readyz?webhook=hook")).status, 200);
}

#[test]
fn a_previous_secret_in_use_outlives_its_overlap() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream)
        .credential("token = \"file:@DIR@/token\"\noverlap = \"1s\"\n")
        .start();
    keyside.dir().write("token", "EAAREFUSED");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(provider.token_sent(&keyside, ""), TOKEN, "sends fall back");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        provider.token_sent(&keyside, ""),
        TOKEN,
        "the overlap is over"
    );
    assert_eq!(
        keyside.metric("keyside_credential_sends_previous", &[]),
        1.0
    );
    provider.takes(&[TOKEN, NEW]);
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(provider.token_sent(&keyside, ""), NEW);
    assert_eq!(
        keyside.metric("keyside_credential_sends_previous", &[]),
        0.0
    );
}

#[test]
fn a_malformed_value_in_the_place_of_a_good_further_secret_keeps_the_good_one() {
    let application = application();
    let keyside = webhook::setup(&application)
        .file("app_secret_old", SECOND_APP_SECRET)
        .start();
    let signed = |secret| {
        let body = b"{}".as_slice();
        keyside
            .event(&event(&[&signature(secret, body)], body))
            .status
    };
    assert_eq!((signed(APP_SECRET), signed(SECOND_APP_SECRET)), (200, 200));
    keyside.dir().write("app_secret_old", "EAATOKEN");
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 422, "{}", reloaded.text());
    let place = "app_secret_old`: ";
    assert!(reloaded.text().contains(place), "{}", reloaded.text());
    assert_eq!((signed(APP_SECRET), signed(SECOND_APP_SECRET)), (200, 200));
}

#[test]
fn a_further_value_that_is_left_out_is_told_once() {
    let application = application();
    let keyside = webhook::setup(&application)
        .file("app_secret_old", "EAATOKEN")
        .start();
    let told = || keyside.log().matches("left out: ").count();
    assert_eq!(told(), 1, "{}", keyside.log());
    assert_eq!(keyside.reload().status, 200);
    keyside.dir().write("verify_token", "another-one");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(told(), 1, "{}", keyside.log());
}
