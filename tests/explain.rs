//! `keyside explain` shows the rules and the fate of a request, without sending the request.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::keyside::{Finished, Keyside, Setup, finish};
use crate::support::upstream::{self, Upstream, answer};
use crate::support::{MESSAGES, TOKEN, eventually};

/// A token of the length that Meta gives.
const LONG_TOKEN: &str = "EAAGm0PX4ZCpsBAKzCanary9dLqT7VwXyZ0123456789";

/// Runs `keyside explain` with the configuration of a running sidecar, which asks the admin
/// listener of the sidecar.
fn explain(keyside: &Keyside, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .arg("explain")
        .args(arguments)
        .arg("--config")
        .arg(keyside.dir().join("proxy.toml"));
    finish(&mut command, Duration::from_secs(10))
}

#[test]
fn explain_shows_what_would_delay_or_refuse_a_request_now() {
    let upstream = Upstream::answering(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let code = if body.contains("15550001") {
            131_056
        } else {
            130_429
        };
        let error = format!(
            r#"{{"error":{{"message":"too fast","type":"OAuthException","code":{code}}}}}"#
        );
        if body.contains("15550003") {
            upstream::json("{}")
        } else {
            answer(
                "400 Bad Request",
                &[("Retry-After", "100")],
                error.as_bytes(),
            )
        }
    });
    let limits = "per_sender = \"3/60s\"\nper_recipient = { rate = \"1/60s\", burst = 2 }";
    let keyside = Setup::new(&upstream).limits(limits).start();
    let now = |path: &str, to: &str| {
        let body = keyside
            .dir()
            .write("body.json", format!(r#"{{"to":"{to}"}}"#));
        let told = explain(
            &keyside,
            &["POST", path, "--body", &body.display().to_string()],
        )
        .output;
        told.lines()
            .find_map(|line| line.trim_start().strip_prefix("now").map(str::trim_start))
            .unwrap_or("")
            .to_owned()
    };
    let send = |path: &str, to: &str| keyside.post(path, &format!(r#"{{"to":"{to}"}}"#)).status;
    let [one, another, third] = ["1", "2", "3"].map(|sender| format!("/v23.0/{sender}/messages"));
    assert_eq!(
        now(&one, "15550003"),
        "sent at once: 3 of a burst of 3 are left"
    );
    assert_eq!((send(&one, "15550003"), send(&one, "15550001")), (200, 400));
    assert_eq!(
        now(&one, "15550003"),
        "sent at once: 1 of a burst of 3 are left"
    );
    let refused = "; refused with 429, because max_wait is ";
    let told = now(&one, "15550001");
    assert!(
        told.starts_with("this recipient is paused for ") && told.contains(refused),
        "{told}"
    );
    assert_eq!(send(&one, "15550003"), 200);
    let used = "the burst of this recipient is used up; this request could go in ";
    assert!(
        now(&one, "15550003").contains(used),
        "{}",
        now(&one, "15550003")
    );
    let told = now(&one, "15550004");
    let seconds = told
        .strip_prefix("the burst of this sender is used up; this request could go in ")
        .and_then(|rest| rest.split_once(" s; refused with 429"))
        .map(|(seconds, _)| seconds);
    assert!(
        (15.0..=20.0).contains(&seconds.unwrap_or("0").parse::<f64>().unwrap()),
        "{told}"
    );
    assert_eq!(send(&another, "15550002"), 400);
    let told = now(&another, "15550003");
    assert!(
        told.starts_with("this sender is paused for ") && told.contains(refused),
        "{told}"
    );
    assert_eq!(
        now(&third, "15550001"),
        "sent at once: 3 of a burst of 3 are left"
    );
    let refused = keyside.post(&another, r#"{"to":"15550003"}"#);
    assert_eq!(refused.status, 429);
    let message = refused.json()["error"]["message"].to_string();
    let reason = " s: the provider refused a request as too fast";
    assert!(
        message.contains("this sender is paused for another ") && message.contains(reason),
        "{message}"
    );
    for (metric, limit, expected) in [
        // The throttle has doubled the interval.
        ("keyside_limit_per_second", "sender", 0.025),
        ("keyside_limit_in_use", "sender", 2.0),
        ("keyside_limit_paused", "sender", 1.0),
        ("keyside_limit_paused", "recipient", 1.0),
        ("keyside_limit_waiting", "sender", 0.0),
    ] {
        assert_eq!(
            keyside.metric(metric, &[&format!("limit=\"{limit}\"")]),
            expected,
            "{metric} {limit}"
        );
    }
    let status = keyside.status();
    let senders = status["routes"][0]["limit"]["senders"].as_array().unwrap();
    let shown: Vec<_> = senders
        .iter()
        .map(|one| (&one["sender"], &one["remaining"], &one["paused_because"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&json!("2"), &json!(2), &json!("throttled")),
            (&json!("1"), &json!(0), &Value::Null)
        ]
    );
}

/// A larger burst leaves the debt: the bucket is full again no sooner than before.
#[test]
fn explain_knows_what_was_sent_before_a_reload_with_another_burst() {
    let upstream = Upstream::ok();
    let limits = |burst| {
        format!("per_recipient = {{ rate = \"1/60s\", burst = {burst} }}\nmax_wait = \"1ms\"")
    };
    let keyside = Setup::new(&upstream).limits(&limits(3)).start();
    let body = r#"{"to":"15550003"}"#;
    let file = keyside.dir().write("body.json", body);
    let told = || {
        let arguments = ["POST", MESSAGES, "--body", &file.display().to_string()];
        explain(&keyside, &arguments).output
    };
    let path = keyside.dir().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    for (burst, left) in [(3, 3), (4, 1), (5, 1)] {
        let text = text.replace(&limits(3), &limits(burst));
        keyside.dir().write("proxy.toml", text);
        assert_eq!(keyside.reload().status, 200);
        for _ in 0..left {
            assert!(told().contains("sent at once"), "{burst}: {}", told());
            assert_eq!(keyside.post(MESSAGES, body).status, 200, "{burst}");
        }
        let used_up = "the burst of this recipient is used up";
        assert!(told().contains(used_up), "{burst}: {}", told());
        assert_eq!(keyside.post(MESSAGES, body).status, 429, "{burst}");
    }
}

#[test]
fn explain_shows_the_rules_of_a_request_and_why_a_request_is_refused() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    let body = keyside.dir().write("body.json", r#"{"to":"15550001234"}"#);
    let told = explain(
        &keyside,
        &["POST", MESSAGES, "--body", &body.display().to_string()],
    );
    for part in [
        "route       acme",
        "messages (sending)",
        "named in the body at /to",
        "sent at once",
    ] {
        assert!(
            told.code == Some(0) && told.output.contains(part),
            "{part}: {}",
            told.output
        );
    }
    assert!(
        !told.output.contains(TOKEN) && !told.output.contains("15550001234"),
        "{}",
        told.output
    );
    for (method, path, part) in [
        (
            "GET",
            "/v23.0/1/message_templates",
            "403 operation_not_allowed",
        ),
        ("TRACE", MESSAGES, "405 method_not_allowed"),
        ("GET", "//", "400 bad_request"),
    ] {
        let told = explain(&keyside, &[method, path]);
        assert!(
            told.code == Some(1) && told.output.contains(part),
            "{part}: {}",
            told.output
        );
    }
}

#[test]
fn explain_takes_a_body_from_standard_input() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    keyside.dir().write("body.json", r#"{"to":"15550001234"}"#);
    let mut command = Command::new("/bin/sh");
    command
        .current_dir(keyside.dir().path())
        .env("KEYSIDE", env!("CARGO_BIN_EXE_keyside"))
        .env("TARGET", MESSAGES)
        .args([
            "-c",
            "\"$KEYSIDE\" explain POST \"$TARGET\" --body - -c proxy.toml < body.json",
        ]);
    let told = finish(&mut command, Duration::from_secs(10));
    let is_told = told.output.contains("named in the body at /to");
    assert!(told.code == Some(0) && is_told, "{}", told.output);
}

#[test]
fn explain_repeats_no_secret_of_its_arguments() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    let url = format!("http://localhost:8080{MESSAGES}?access_token={LONG_TOKEN}&fields=url");
    let in_path = format!("/v23.0/{LONG_TOKEN}/messages");
    let verify = "/hook?hub.mode=subscribe&hub.verify_token=verify-me-0123";
    for (method, target, shown) in [
        ("POST", url.as_str(), "access_token=(not shown)&fields=url"),
        ("GET", LONG_TOKEN, "(not shown)"),
        (LONG_TOKEN, "/x", "(not shown) /x"),
        ("POST", &in_path, "POST /v23.0/(not shown)/messages"),
        ("GET", verify, "hub.verify_token=(not shown)"),
        (
            "GET",
            &format!("/v23.0/1?{LONG_TOKEN}"),
            "(name not shown)=(not shown)",
        ),
    ] {
        let told = explain(&keyside, &[method, target]).output;
        assert!(told.contains(shown), "{shown}: {told}");
        assert!(!told.contains(LONG_TOKEN), "{shown}: {told}");
        assert!(!told.contains("verify-me"), "{shown}: {told}");
    }
}

#[test]
fn a_pause_of_an_object_is_explained_and_shown() {
    let throttle = r#"{"error":{"message":"too fast","type":"OAuthException","code":80007}}"#;
    let upstream = Upstream::answering(move |_| {
        answer(
            "400 Bad Request",
            &[("Content-Type", "application/json"), ("Retry-After", "100")],
            throttle.as_bytes(),
        )
    });
    let keyside = Setup::new(&upstream)
        .route("operations = [\"messages\", \"templates\", \"phone_numbers\"]")
        .start();
    let [paused, other] = ["77", "88"].map(|object| format!("/v23.0/{object}/message_templates"));
    let now = |words: &[&str]| {
        let told = explain(&keyside, words).output;
        let line = told
            .lines()
            .find(|line| line.trim_start().starts_with("now"));
        line.unwrap_or(&told).to_owned()
    };
    assert!(now(&["GET", &paused]).contains("sent at once"));
    assert_eq!(keyside.get(&paused).status, 400);
    let told = now(&["GET", &paused]);
    assert!(
        told.contains("this object is paused for ") && told.contains("refused with 429"),
        "{told}"
    );
    assert!(now(&["GET", &other]).contains("sent at once"));
    assert!(now(&["POST", MESSAGES]).contains("sent at once"));
    let limit = keyside.status()["routes"][0]["limit"].clone();
    assert_eq!(limit["objects_paused"], 1, "{limit}");
    assert_eq!(
        limit["objects"][0]["paused_because"], "throttled",
        "{limit}"
    );
    let labels = ["limit=\"object\""];
    assert_eq!(keyside.metric("keyside_limit_paused", &labels), 1.0);
}

#[test]
fn what_the_sidecar_has_not_loaded_is_told() {
    let keyside = Setup::new(&Upstream::ok())
        .credential("token = \"file:@DIR@/token\"\nverify_token = \"file:@DIR@/verify_token\"\n")
        .file("verify_token", "chosen-by-a-person")
        .start();
    let told = || explain(&keyside, &["POST", "/v23.0/1/messages"]).output;
    assert!(!told().contains("not loaded"), "{}", told());
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let changed = config.replace("[[route]]", "[[route]]\noperations = [\"messages\"]");
    keyside.dir().write("proxy.toml", changed);
    keyside.dir().write("token", "EAASECOND");
    let line = "not loaded  the sidecar at ";
    let different = " has other values of `operations`, `token` (";
    assert!(
        told().contains(line) && told().contains(different),
        "{}",
        told()
    );
    assert_eq!(keyside.reload().status, 200);
    assert!(!told().contains("not loaded"), "{}", told());
}

#[test]
fn a_slowed_sender_is_told_by_explain_status_and_page() {
    let throttled = answer(
        "400 Bad Request",
        &[("Retry-After", "1")],
        br#"{"error":{"message":"too fast","type":"OAuthException","code":130429}}"#,
    );
    let is_over = AtomicBool::new(false);
    let upstream = Upstream::answering(move |_| match is_over.swap(true, Ordering::Relaxed) {
        true => upstream::json("{}"),
        false => throttled.clone(),
    });
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"80/s\"")
        .start();
    let path = "/v23.0/1/messages";
    let body = r#"{"to":"15550001"}"#;
    let file = keyside.dir().write("body.json", body);
    assert_eq!(keyside.post(path, body).status, 400);
    let mut told = String::new();
    let explained = "this sender is slowed to ";
    assert!(
        eventually(Duration::from_secs(8), || {
            let file = file.display().to_string();
            told = explain(&keyside, &["POST", path, "--body", &file]).output;
            told.contains(explained)
        }),
        "{told}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["status", "--admin", &keyside.admin().to_string()]);
    let status = finish(&mut command, Duration::from_secs(10)).output;
    assert!(status.contains("80/s, 1 sender slowed to "), "{status}");
    let page = keyside.page();
    assert!(page.contains(", 1 sender slowed to "), "{page}");
}
