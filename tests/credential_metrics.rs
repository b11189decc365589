//! The state of a credential in metrics, `/readyz` and `/status`, before any request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const NEW: &str = "EAASECOND";

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The value of a metric of credential `acme` with more labels; `None` without a series.
fn series(keyside: &Keyside, name: &str, labels: &[&str]) -> Option<f64> {
    let metrics = keyside.metrics();
    let line = metrics.lines().find(|line| {
        line.starts_with(&format!("{name}{{"))
            && line.contains("credential=\"acme\"")
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn fingerprint(keyside: &Keyside, place: &str) -> String {
    let status = keyside.status();
    let fingerprint = status["credentials"][0].pointer(place);
    fingerprint.unwrap().as_str().unwrap().to_owned()
}

#[test]
fn a_token_past_its_known_end_is_told_before_a_request_is_refused() {
    let end = unix_now() + 4;
    let upstream = Upstream::answering(move |_| {
        json(&format!(
            r#"{{"data":{{"app_id":"1","type":"SYSTEM_USER","expires_at":{end},"is_valid":true,"scopes":["whatsapp_business_messaging"]}}}}"#
        ))
    });
    let keyside = Setup::new(&upstream).check().start();
    let is_proved = || keyside.status()["credentials"][0]["check"]["result"] == "proved";
    assert!(eventually(Duration::from_secs(3), is_proved));
    assert_eq!(
        series(&keyside, "keyside_credential_usable", &[]),
        Some(1.0)
    );
    let has_ended = || series(&keyside, "keyside_credential_usable", &[]) == Some(0.0);
    assert!(eventually(Duration::from_secs(10), has_ended));
    assert_eq!(keyside.status()["credentials"][0]["usable"], false);
    for path in ["/readyz", "/readyz?route=acme"] {
        let ready = keyside.ask_admin(&get(path));
        assert_eq!(ready.status, 503, "{path}");
        let text = "the token of credential acme has expired";
        assert!(ready.text().contains(text), "{path}: {}", ready.text());
    }
}

#[test]
fn the_fingerprint_of_the_value_in_use_is_in_the_metrics() {
    let upstream = Upstream::answering(|request| {
        let sent = request.header("authorization").unwrap_or_default();
        match sent.ends_with(TOKEN) {
            true => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
            false => answer("401 No", &[], br#"{"error":{"code":190}}"#),
        }
    });
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nproof = \"off\"\n",
        )
        .start();
    let shows = |secret: &str, fingerprint: &str| {
        let labels = [
            format!("secret=\"{secret}\""),
            format!("fingerprint=\"{fingerprint}\""),
        ];
        let labels = labels.each_ref().map(String::as_str);
        series(&keyside, "keyside_credential_info", &labels) == Some(1.0)
    };
    let [app_secret, old] = ["/secrets/0/fingerprint", "/secrets/1/fingerprint"]
        .map(|place| fingerprint(&keyside, place));
    assert!(shows("token", &old) && shows("app_secret", &app_secret));
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    let new = fingerprint(&keyside, "/secrets/1/fingerprint");
    assert!(shows("token", &new) && !shows("token", &old), "the new one");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(shows("token", &old) && !shows("token", &new), "fell back");
    assert!(!keyside.metrics().contains(TOKEN));
}

#[test]
fn the_time_of_the_last_answer_is_told_of_secrets_that_are_asked_for() {
    let upstream = Upstream::ok();
    let name = "keyside_credential_confirmed_timestamp_seconds";
    let before = unix_now();
    let asked = Setup::new(&upstream)
        .credential("token = \"exec:/bin/cat @DIR@/token\"\n")
        .start();
    let confirmed = series(&asked, name, &[]).unwrap();
    assert!(confirmed >= before as f64 && confirmed <= unix_now() as f64);
    let file = Setup::new(&upstream).start();
    assert_eq!(
        series(&file, name, &[]),
        None,
        "a file is compared each time"
    );
}

#[test]
fn the_metrics_of_the_contract_are_there_from_the_start() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    let metrics = keyside.metrics();
    for name in [
        "keyside_credential_age_seconds",
        "keyside_credential_usable",
        "keyside_credential_info",
        "keyside_reloads_total",
        "keyside_reload_last_success_timestamp_seconds",
        "keyside_audit_lost_total",
    ] {
        let has_series = metrics.lines().any(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        assert!(has_series, "{name}: {metrics}");
    }
}
