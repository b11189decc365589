//! What a request would meet is told without sending it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::keyside::{Finished, Keyside, Setup, finish};
use crate::support::upstream::{self, Upstream, answer};
use crate::support::{MESSAGES, TOKEN};

/// `keyside explain` about a keyside that runs.
fn explain(keyside: &Keyside, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.arg("explain").args(arguments).arg("--config").arg(keyside.dir().join("proxy.toml"));
    finish(command.args(["--admin", &keyside.admin().to_string()]), Duration::from_secs(10))
}

#[test]
fn explain_tells_what_is_in_the_way_of_a_request_now() {
    let upstream = Upstream::answering(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let code = if body.contains("15550001") { 131_056 } else { 130_429 };
        let error = format!(r#"{{"error":{{"message":"too fast","type":"OAuthException","code":{code}}}}}"#);
        if body.contains("15550003") {
            upstream::json("{}")
        } else {
            answer("400 Bad Request", &[("Retry-After", "100")], error.as_bytes())
        }
    });
    let limits = "per_sender = \"3/60s\"\nper_recipient = { rate = \"1/60s\", burst = 2 }";
    let keyside = Setup::new(&upstream).limits(limits).start();
    let now = |path: &str, to: &str| {
        let body = keyside.dir().write("body.json", format!(r#"{{"to":"{to}"}}"#));
        let told = explain(&keyside, &["POST", path, "--body", &body.display().to_string()]).output;
        told.lines()
            .find_map(|line| line.trim_start().strip_prefix("now").map(str::trim_start))
            .unwrap_or("")
            .to_owned()
    };
    let send = |path: &str, to: &str| keyside.post(path, &format!(r#"{{"to":"{to}"}}"#)).status;
    let [one, another, third] = ["1", "2", "3"].map(|sender| format!("/v23.0/{sender}/messages"));
    assert_eq!(now(&one, "15550003"), "it would go out at once: 3 of 3 are left");
    assert_eq!((send(&one, "15550003"), send(&one, "15550001")), (200, 400));
    assert_eq!(now(&one, "15550003"), "it would go out at once: 1 of 3 are left");
    let refused = "too fast; so it would be refused with 429";
    let told = now(&one, "15550001");
    assert!(told.starts_with("nothing to this recipient goes for ") && told.ends_with(refused), "{told}");
    assert_eq!(send(&one, "15550003"), 200);
    let used = "to this recipient is used: it could go in ";
    assert!(now(&one, "15550003").contains(used), "{}", now(&one, "15550003"));
    let told = now(&one, "15550004");
    let parts = ["what may go at once of this sender is used: it could go in ", " s; so it would be refused with 429"];
    let seconds = told.strip_prefix(parts[0]).and_then(|rest| rest.strip_suffix(parts[1]));
    assert!((15.0..=20.0).contains(&seconds.unwrap_or("0").parse::<f64>().unwrap()), "{told}");
    assert_eq!(send(&another, "15550002"), 400);
    let told = now(&another, "15550003");
    assert!(told.starts_with("nothing of this sender goes for ") && told.ends_with(refused), "{told}");
    assert_eq!(now(&third, "15550001"), "it would go out at once: 3 of 3 are left");
    let refused = keyside.post(&another, r#"{"to":"15550003"}"#);
    let reason = "nothing of this sender goes for now: the provider was asked too fast";
    assert_eq!((refused.status, refused.json()["error"]["message"].as_str()), (429, Some(reason)));
    for (metric, limit, expected) in [
        ("keyside_limit_per_second", "sender", 0.05),
        ("keyside_limit_in_use", "sender", 2.0),
        ("keyside_limit_paused", "sender", 1.0),
        ("keyside_limit_paused", "recipient", 1.0),
        ("keyside_limit_waiting", "sender", 0.0),
    ] {
        assert_eq!(keyside.metric(metric, &[&format!("limit=\"{limit}\"")]), expected, "{metric} {limit}");
    }
    let status = keyside.status();
    let senders = status["routes"][0]["limit"]["senders"].as_array().unwrap();
    let shown: Vec<_> = senders.iter().map(|one| (&one["sender"], &one["remaining"], &one["paused_because"])).collect();
    assert_eq!(shown, [(&json!("2"), &json!(2), &json!("throttled")), (&json!("1"), &json!(0), &Value::Null)]);
}

#[test]
fn explain_tells_what_a_request_would_meet_and_why_it_would_be_refused() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    let body = keyside.dir().write("body.json", r#"{"to":"15550001234"}"#);
    let told = explain(&keyside, &["POST", MESSAGES, "--body", &body.display().to_string()]);
    for part in ["route       acme", "messages (sending)", "whom the body names at /to", "it would go out at once"] {
        assert!(told.code == Some(0) && told.output.contains(part), "{part}: {}", told.output);
    }
    assert!(!told.output.contains(TOKEN) && !told.output.contains("15550001234"), "{}", told.output);
    for (method, path, part) in [
        ("GET", "/v23.0/1/message_templates", "403 operation_not_allowed"),
        ("TRACE", MESSAGES, "405 method_not_allowed"),
        ("GET", "//", "400 bad_request"),
    ] {
        let told = explain(&keyside, &[method, path]);
        assert!(told.code == Some(1) && told.output.contains(part), "{part}: {}", told.output);
    }
}
