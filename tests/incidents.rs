//! The incidents of an operator: in each, `keyside status`, the status page, the log and the
//! metrics name the cause, and the first two the remedy.
//!
//! A full disk of the audit file is in `audit.rs`, with the same checks, because it needs a limit
//! on files.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::authority::Authority;
use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup, finish, free_port};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::webhook::{self, genuine, message};
use crate::support::{APP_SECRET, MESSAGES, eventually};

/// The traces of an incident: words of the status and of the page, words of the log, a metric with
/// labels and a value, and what those hear who ask about one thing.
struct Told<'t> {
    status: &'t [&'t str],
    log: &'t [&'t str],
    metric: (&'t str, &'t [&'t str], fn(f64) -> bool),
    /// The query of `/readyz` for what the incident is about, and words of the answer.
    ready: (&'t str, &'t [&'t str]),
    /// Words of `keyside explain` for a message; none where no message is concerned.
    explain: &'t [&'t str],
}

impl Told<'_> {
    fn must_be_seen(&self, keyside: &Keyside) {
        let has_all = |text: &str, words: &[&str]| words.iter().all(|word| text.contains(word));
        let is_shown = || has_all(&keyside.problems(), self.status);
        assert!(
            eventually(Duration::from_secs(8), is_shown),
            "{:?} in {}",
            self.status,
            keyside.problems()
        );
        let is_on_page = || {
            let page = keyside.page();
            self.status.iter().all(|words| is_shown_on(&page, words))
        };
        assert!(
            eventually(Duration::from_secs(8), is_on_page),
            "{:?} on {}",
            self.status,
            keyside.page()
        );
        let is_logged = || has_all(&keyside.log(), self.log);
        assert!(
            eventually(Duration::from_secs(8), is_logged),
            "{:?} in {}",
            self.log,
            keyside.log()
        );
        let (name, labels, is_right) = self.metric;
        let value = || keyside.metric(name, labels);
        assert!(
            eventually(Duration::from_secs(8), || is_right(value())),
            "{name} {labels:?}: {}",
            value()
        );
        let (query, words) = self.ready;
        let readiness = || {
            let asked = format!("/readyz{query}");
            keyside.ask_admin(&get(&asked)).text()
        };
        assert!(
            eventually(Duration::from_secs(8), || has_all(&readiness(), words)),
            "{words:?} in /readyz{query}: {}",
            readiness()
        );
        let explained = explain(keyside);
        assert!(
            has_all(&explained, self.explain),
            "{:?} in {explained}",
            self.explain
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command.args(["status", "--check", "--admin", &keyside.admin().to_string()]);
        let done = finish(&mut command, Duration::from_secs(10));
        assert_eq!(done.code, Some(1), "a script sees it too: {}", done.output);
    }
}

/// The output of `keyside explain` about a message.
fn explain(keyside: &Keyside) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    let config = keyside.dir().join("proxy.toml");
    command
        .args(["explain", "POST", MESSAGES, "--config"])
        .arg(config)
        .env("KEYSIDE_TEST_REDIS", "redis://127.0.0.1:1");
    finish(&mut command, Duration::from_secs(20)).output
}

/// True for words of a status that a page shows. There, a subject in front of the words stands
/// apart, without a colon.
fn is_shown_on(page: &str, words: &str) -> bool {
    let words = words
        .trim_end_matches(": ")
        .replace('\'', "&#39;")
        .replace('"', "&quot;");
    page.contains(&words) || page.contains(&words.replacen(": ", " ", 1))
}

fn is_zero(value: f64) -> bool {
    value.abs() < 0.1
}

fn is_counted(value: f64) -> bool {
    value > 0.9
}

fn refusal(code: u32, subcode: u32, words: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"error":{{"message":"{words}","type":"OAuthException","code":{code},"error_subcode":{subcode},"fbtrace_id":"AbCdEfGhIjK"}}}}"#
    );
    answer(
        "400 Bad Request",
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    )
}

/// Meta's answer to debug_token for a good token:
/// <https://developers.facebook.com/docs/graph-api/reference/v23.0/debug_token>.
fn described() -> Vec<u8> {
    json(
        r#"{"data":{"app_id":"634974688087057","type":"SYSTEM_USER","data_access_expires_at":0,"expires_at":0,"is_valid":true,"scopes":["whatsapp_business_management","whatsapp_business_messaging"]}}"#,
    )
}

/// A provider without a refusal until the incident, and then with a fixed answer to sends and a
/// fixed answer to questions.
fn provider(incident: &Arc<AtomicBool>, sends: Vec<u8>, questions: Vec<u8>) -> Upstream {
    let incident = Arc::clone(incident);
    Upstream::answering(move |request| {
        let is_question = request.target().starts_with("/debug_token");
        match (incident.load(Ordering::SeqCst), is_question) {
            (false, true) => described(),
            (false, false) => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
            (true, true) => questions.clone(),
            (true, false) => sends.clone(),
        }
    })
}

/// A sidecar that has sent, and then one message in the incident.
fn after_incident(upstream: &Upstream, incident: &AtomicBool) -> Keyside {
    let keyside = Setup::new(upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    let is_proved = || keyside.status()["credentials"][0]["check"]["result"] == "proved";
    assert!(eventually(Duration::from_secs(5), is_proved));
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    incident.store(true, Ordering::SeqCst);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 400);
    keyside
}

fn invalid(subcode: u32) -> Vec<u8> {
    json(&format!(
        r#"{{"data":{{"app_id":"1","error":{{"code":190,"message":"m","subcode":{subcode}}},"is_valid":false,"scopes":[]}}}}"#
    ))
}

#[test]
fn a_revoked_token_an_ended_token_and_a_reset_app_secret_are_told_apart() {
    let proof = refusal(
        100,
        0,
        "Invalid appsecret_proof provided in the API argument",
    );
    for (sends, questions, reason) in [
        (
            refusal(190, 460, "Session has been invalidated"),
            invalid(460),
            "password of its user was changed",
        ),
        (
            refusal(190, 463, "Session has expired"),
            invalid(463),
            "it has expired",
        ),
        (
            refusal(190, 467, "Invalid access token"),
            invalid(467),
            "it is invalid, because it was revoked or has ended",
        ),
        (
            proof.clone(),
            proof,
            "the app secret is not that of the token's app",
        ),
    ] {
        let incident = Arc::new(AtomicBool::new(false));
        let upstream = provider(&incident, sends, questions);
        let keyside = after_incident(&upstream, &incident);
        Told {
            status: &["acme: ", reason, "put a new"],
            log: &["\"level\":\"ERROR\"", reason],
            metric: (
                "keyside_credential_usable",
                &["credential=\"acme\""],
                is_zero,
            ),
            ready: (
                "?route=acme",
                &["route acme: the provider refuses credential acme", reason],
            ),
            explain: &[reason],
        }
        .must_be_seen(&keyside);
    }
}

#[test]
fn a_restricted_account_is_told_with_the_providers_code_and_the_place_to_go() {
    for (code, words) in [
        (368, "temporarily blocked"),
        (131_031, "Business Account locked"),
    ] {
        let incident = Arc::new(AtomicBool::new(false));
        let upstream = provider(&incident, refusal(code, 2_494_055, words), described());
        let keyside = after_incident(&upstream, &incident);
        let code = code.to_string();
        let label = format!("code=\"{code}\"");
        Told {
            status: &[
                "route acme: the provider restricts sending",
                words,
                &code,
                "Business Support Home",
            ],
            log: &["requests fail", words, "AbCdEfGhIjK", "what_to_do"],
            metric: (
                "keyside_upstream_errors_total",
                &["class=\"policy\"", &label],
                is_counted,
            ),
            ready: ("?route=acme", &["route acme: ", words, &code]),
            explain: &[words, &code],
        }
        .must_be_seen(&keyside);
    }
}

#[test]
fn throttled_sending_is_told_with_the_pause() {
    let incident = Arc::new(AtomicBool::new(true));
    let upstream = provider(
        &incident,
        refusal(130_429, 0, "Rate limit hit"),
        described(),
    );
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"100000/s\"\nmax_wait = \"30s\"")
        .start();
    for _ in 0..5 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 400);
    }
    Told {
        status: &[
            "route acme: 5 sends failed",
            "Rate limit hit",
            "130429",
            "Keyside pauses by itself",
        ],
        log: &["requests fail", "throttled", "130429"],
        metric: (
            "keyside_throttled_total",
            &["route=\"acme\"", "limit=\"sender\""],
            is_counted,
        ),
        ready: ("?route=acme", &["route acme: ", "Rate limit hit", "130429"]),
        explain: &["Rate limit hit", "130429"],
    }
    .must_be_seen(&keyside);
}

#[test]
fn a_shared_server_that_is_down_is_told_with_the_rule_that_holds() {
    let upstream = Upstream::ok();
    let url = format!("redis://127.0.0.1:{}", free_port());
    let keyside = Setup::new(&upstream)
        .more("[limits]\nredis = \"env:KEYSIDE_TEST_REDIS\"")
        .env("KEYSIDE_TEST_REDIS", &url)
        .start();
    Told {
        status: &[
            "Limits are NOT shared",
            "Connection refused",
            "on_failure = \"local\"",
        ],
        log: &["ERROR", "shared", "on_failure"],
        metric: ("keyside_redis_up", &[], is_zero),
        ready: (
            "?route=acme",
            &["ready", "route acme: ", "Connection refused"],
        ),
        explain: &[
            "the shared server does not answer",
            "this sidecar counts alone",
        ],
    }
    .must_be_seen(&keyside);
    assert!(keyside.metrics().contains("keyside_redis_up 0"));
}

#[test]
fn a_success_drops_what_the_provider_said_about_a_refused_secret() {
    let incident = Arc::new(AtomicBool::new(false));
    let refused = refusal(190, 460, "Session has been invalidated");
    let upstream = provider(&incident, refused, invalid(460));
    let keyside = after_incident(&upstream, &incident);
    let is_told = || {
        keyside
            .problems()
            .contains("password of its user was changed")
    };
    assert!(eventually(Duration::from_secs(10), is_told));
    incident.store(false, Ordering::SeqCst);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(!is_told(), "{}", keyside.problems());
}

#[test]
fn a_secret_manager_that_is_down_is_told_with_its_address() {
    let upstream = Upstream::ok();
    let address = format!("http://127.0.0.1:{}", free_port());
    let keyside = Setup::new(&upstream)
        .credential("token = \"vault:secret/acme#token\"")
        .env("VAULT_ADDR", &address)
        .env("VAULT_TOKEN", "hvs.a-token-of-the-test")
        .start();
    Told {
        status: &[
            "acme: token gets no value from vault:secret/acme#token",
            "Connection refused",
            "provide it and reload",
        ],
        log: &["vault:secret/acme#token", "Connection refused"],
        metric: (
            "keyside_credential_usable",
            &["credential=\"acme\""],
            is_zero,
        ),
        ready: (
            "?route=acme",
            &["vault:secret/acme#token", "Connection refused"],
        ),
        explain: &[
            "refused with 503",
            "vault:secret/acme#token",
            "Connection refused",
        ],
    }
    .must_be_seen(&keyside);
}

#[test]
fn an_application_that_is_down_is_told_with_its_address() {
    let place = format!("127.0.0.1:{}", free_port());
    let keyside = webhook::forwarding(&format!("http://{place}/events")).start();
    assert_eq!(
        keyside.event(&genuine(message("a", "1").as_bytes())).status,
        503
    );
    Told {
        status: &[
            "webhook acme: 1 event failed",
            &place,
            "Connection refused",
            "start the application",
        ],
        log: &["event not delivered", &place, "start the application"],
        metric: (
            "keyside_webhook_delivery_failures_total",
            &["class=\"unreachable\""],
            is_counted,
        ),
        ready: (
            "?webhook=acme",
            &["webhook acme: ", &place, "Connection refused"],
        ),
        explain: &[],
    }
    .must_be_seen(&keyside);
}

#[test]
fn a_name_that_cannot_be_resolved_is_told() {
    let keyside = Setup::at("https://nowhere.invalid:443").start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    Told {
        status: &[
            "route acme: 1 send failed",
            "nowhere.invalid",
            "cannot be resolved",
            "check that this machine reaches the host",
        ],
        log: &["requests fail", "nowhere.invalid", "cannot be resolved"],
        metric: (
            "keyside_upstream_errors_total",
            &["class=\"upstream_unreachable\""],
            is_counted,
        ),
        ready: (
            "?route=acme",
            &["route acme: ", "nowhere.invalid", "cannot be resolved"],
        ),
        explain: &["nowhere.invalid", "cannot be resolved"],
    }
    .must_be_seen(&keyside);
}

#[test]
fn a_certificate_of_a_listener_that_ends_while_it_is_used_is_told() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let (certificate, key) = authority.server_pem_for(Duration::from_secs(3));
    let keyside = Setup::new(&upstream)
        .file("server.pem", certificate)
        .file("server.key", key)
        .outbound(&format!(
            "[outbound.tls]\nlisten = [\"127.0.0.1:{}\"]\ncert = \"@DIR@/server.pem\"\nkey = \"@DIR@/server.key\"",
            free_port()
        ))
        .start();
    Told {
        status: &[
            "outbound.tls: ",
            "server.pem: the certificate has expired",
            "renew it now",
        ],
        log: &["server.pem: the certificate"],
        metric: (
            "keyside_certificate_ends_soon",
            &["listener=\"outbound\""],
            |ends_soon| ends_soon > 0.5,
        ),
        ready: (
            "",
            &["ready", "outbound.tls: ", "the certificate has expired"],
        ),
        explain: &[],
    }
    .must_be_seen(&keyside);
}

/// The question may be refused for something that messages do not need.
#[test]
fn a_refused_question_beside_accepted_requests_is_logged_once_and_refuses_no_reload() {
    let refused = Arc::new(AtomicBool::new(true));
    let upstream = provider(&refused, json("{}"), invalid(460));
    let keyside = Setup::new(&upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    let told = || keyside.log().matches("password of its user").count();
    let result = || keyside.status()["credentials"][0]["check"]["result"].clone();
    assert!(
        eventually(Duration::from_secs(5), || result() == "refused"),
        "{}",
        result()
    );
    let before = told();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(result().is_null());
    for _ in 0..2 {
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    }
    assert_eq!(told(), before, "{}", keyside.log());
}
