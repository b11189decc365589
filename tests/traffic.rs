//! Health by traffic: the status, `/readyz?route=`, `explain`, the log and the metrics name the
//! failure, the reason, and the remedy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::{get, post};
use crate::support::keyside::{Keyside, Setup, finish, free_port};
use crate::support::upstream::{Upstream, answer};
use crate::support::{MEDIA, MESSAGES, TOKEN, eventually};

/// A refusal in the form of Meta:
/// <https://developers.facebook.com/docs/graph-api/guides/error-handling>.
fn refusal(code: u32, words: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"error":{{"message":"{words}","type":"OAuthException","code":{code},"error_subcode":2494055,"fbtrace_id":"AbCdEfGhIjK"}}}}"#
    );
    answer(
        "400 Bad Request",
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    )
}

/// A provider with a refusal code for messages, if there is a code, and an acceptance of all else.
fn provider(code: &Arc<AtomicUsize>, words: &'static str) -> Upstream {
    let code = Arc::clone(code);
    Upstream::answering(move |request| match code.load(Ordering::SeqCst) {
        code @ 1.. if request.target().contains("/messages") => {
            refusal(u32::try_from(code).unwrap(), words)
        }
        _ => crate::support::upstream::json("{}"),
    })
}

/// `keyside SUBCOMMAND --admin ADDR` with further options, and the exit code.
fn run(keyside: &Keyside, words: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(words)
        .args(["--admin", &keyside.admin().to_string()]);
    command.current_dir(keyside.dir().path());
    let done = finish(&mut command, Duration::from_secs(10));
    (done.code, done.output)
}

/// The lines of the log with these words.
fn lines(keyside: &Keyside, words: &str) -> Vec<serde_json::Value> {
    let log = keyside.log();
    let with_words = log.lines().filter(|line| line.contains(words));
    with_words
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_provider_that_cannot_be_reached_is_told_everywhere() {
    let port = free_port();
    let keyside = Setup::at(&format!("https://localhost:{port}"))
        .level("info")
        .start();
    for _ in 0..5 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    }
    let (code, status) = run(&keyside, &["status"]);
    assert_eq!(code, Some(0), "{status}");
    let problems = status
        .split("What is wrong, and what to do:")
        .nth(1)
        .expect(&status);
    let line = problems
        .lines()
        .find(|line| line.contains("route acme: 5 sends failed since "))
        .expect(&status);
    for part in [
        "none succeeded",
        &format!("localhost:{port}"),
        "refused",
        "check that this machine reaches",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(status.contains("5 of 5"), "{status}");
    let (code, only) = run(&keyside, &["status", "--check"]);
    assert_eq!(code, Some(1), "{only}");
    assert!(only.starts_with("route acme: 5 sends failed"), "{only}");
    let (_, explained) = run(&keyside, &["explain", "POST", MESSAGES]);
    assert!(explained.contains("5 sends failed since"), "{explained}");
    assert_eq!(
        keyside.ask_admin(&get("/readyz")).status,
        200,
        "no pod is taken away"
    );
    let of_route = keyside.ask_admin(&get("/readyz?route=acme"));
    assert_eq!(of_route.status, 503);
    assert!(
        of_route.text().contains("5 sends failed since"),
        "{}",
        of_route.text()
    );
    let warnings = lines(&keyside, "requests fail");
    assert_eq!(warnings.len(), 1, "the others are summed up: {warnings:?}");
    assert_eq!(warnings[0]["level"], "WARN");
    assert_eq!(warnings[0]["class"], "upstream_unreachable");
    let class = ["route=\"acme\"", "class=\"upstream_unreachable\""];
    assert!((keyside.metric("keyside_upstream_errors_total", &class) - 5.0).abs() < 0.1);
    let timed = keyside.metric(
        "keyside_request_duration_seconds_count",
        &["route=\"acme\""],
    );
    assert!((timed - 5.0).abs() < 0.1, "failures have a duration");
    assert!(
        !keyside
            .metrics()
            .contains("keyside_route_last_success_timestamp_seconds{")
    );
}

#[test]
fn a_restriction_is_told_with_the_providers_code_until_a_message_passes() {
    let code = Arc::new(AtomicUsize::new(0));
    let upstream = provider(&code, "(#131031) Business Account locked");
    let keyside = Setup::new(&upstream).level("debug").start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let success = "keyside_route_last_success_timestamp_seconds";
    let before = keyside.metric(success, &["route=\"acme\""]);
    assert!(before > 1e9, "{before}");
    for restriction in [368, 131_031] {
        code.store(restriction, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(keyside.post(MESSAGES, "{}").status, 400);
        }
        let series = ["class=\"policy\"", &format!("code=\"{restriction}\"")];
        let counted = keyside.metric("keyside_upstream_errors_total", &series);
        assert!((counted - 3.0).abs() < 0.1, "{restriction}: {counted}");
    }
    // Reading goes on, and ends no restriction.
    assert_eq!(keyside.get(MEDIA).status, 200);
    let restricted = "keyside_route_restricted_senders{";
    let held = format!("{restricted}route=\"acme\",code=\"131031\"}} 1");
    let metrics = keyside.metrics();
    assert!(metrics.contains(&held), "{metrics}");
    assert_eq!(metrics.matches(restricted).count(), 1, "{metrics}");
    let (_, status) = run(&keyside, &["status", "--problems"]);
    for part in [
        "route acme: the provider restricts sending for sender ...7890 since ",
        "(6 refusals)",
        "(#131031) Business Account locked (code 131031, subcode 2494055, trace AbCdEfGhIjK)",
        "Business Support Home",
    ] {
        assert!(status.contains(part), "{part} in {status}");
    }
    let first = &lines(&keyside, "requests fail")[0];
    assert_eq!(first["provider_code"], "368");
    assert_eq!(first["fbtrace_id"], "AbCdEfGhIjK");
    assert_eq!(
        lines(&keyside, "requests fail").len(),
        2,
        "one for each code"
    );
    let answered = lines(&keyside, "request answered");
    let with_code = answered
        .iter()
        .filter(|line| line["provider_code"] == "131031");
    assert_eq!(with_code.count(), 3, "at debug each request has the code");
    code.store(0, Ordering::SeqCst);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let ended = lines(&keyside, "no longer restricts");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["refusals"], 6);
    assert!(!keyside.metrics().contains(restricted));
    let (code, after) = run(&keyside, &["status", "--check"]);
    assert_eq!((code, after.as_str()), (Some(0), ""));
}

#[test]
fn the_words_of_a_provider_are_told_without_secrets_and_numbers() {
    let code = Arc::new(AtomicUsize::new(131_031));
    let upstream = provider(&code, "token EAATESTTOKEN of +4915550001234 is locked");
    let keyside = Setup::new(&upstream).start();
    keyside.post(MESSAGES, "{}");
    let told = format!("{}{}", keyside.status(), keyside.log());
    assert!(
        told.contains("token [redacted] of +...1234 is locked"),
        "{told}"
    );
    for secret in [TOKEN, "15550001234"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[test]
fn an_outage_is_one_warning_and_its_end_another_line_and_a_reload_forgets_nothing() {
    let code = Arc::new(AtomicUsize::new(2));
    let upstream = provider(&code, "Service temporarily unavailable");
    let keyside = Setup::new(&upstream).level("info").start();
    for _ in 0..50 {
        keyside.post(MESSAGES, "{}");
    }
    assert_eq!(keyside.reload().status, 200);
    let (_, problems) = run(&keyside, &["status", "--problems"]);
    assert!(problems.contains("50 sends failed since"), "{problems}");
    code.store(0, Ordering::SeqCst);
    keyside.post(MESSAGES, "{}");
    assert_eq!(lines(&keyside, "requests fail").len(), 1);
    let ended = lines(&keyside, "requests succeed again");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["failed"], 50);
}

#[test]
fn a_line_about_a_request_names_credential_fingerprint_and_trace() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = String::from_utf8(post(MESSAGES, "{}")).unwrap();
    let traced = |parent: &str| {
        let head = format!("\r\ntraceparent: {parent}\r\n");
        keyside.send(request.replacen("\r\n", &head, 1).as_bytes())
    };
    assert_eq!(traced(&format!("00-{id}-00f067aa0ba902b7-01")).status, 200);
    assert_eq!(traced("00-a\"b-c-d").status, 200);
    assert!(upstream.last_to(MESSAGES).header("traceparent").is_none());
    let answered = lines(&keyside, "request answered");
    assert_eq!(answered[0]["credential"], "acme");
    assert_eq!(answered[0]["fingerprint"].as_str().unwrap().len(), 12);
    assert_eq!(answered[0]["trace_id"], id);
    assert!(answered[1]["trace_id"].is_null());
}

#[test]
fn several_sidecars_are_one_table_and_one_that_is_gone_is_told() {
    let upstream = Upstream::ok();
    let (one, other) = (Keyside::start(&upstream), Keyside::start(&upstream));
    one.post(MESSAGES, "{}");
    let both = ["status", "--admin", &other.admin().to_string()];
    let (code, table) = run(&one, &both);
    assert_eq!(code, Some(0), "{table}");
    assert_eq!(table.matches("ROUTE ").count(), 1, "{table}");
    assert!(table.contains("SIDECAR"), "{table}");
    for keyside in [&one, &other] {
        let rows = table
            .lines()
            .filter(|line| line.starts_with(&keyside.admin().to_string()));
        assert!(rows.count() >= 3, "{table}");
    }
    let (_, alone) = run(&one, &["status"]);
    assert!(!alone.contains("SIDECAR"), "{alone}");
    let gone = format!("127.0.0.1:{}", free_port());
    let (code, rest) = run(&one, &["status", "--admin", &gone]);
    assert_eq!(code, Some(1));
    assert!(
        rest.contains("no sidecar answers at") && rest.contains("acme"),
        "{rest}"
    );
    let seen = eventually(Duration::from_secs(2), || {
        one.status()["routes"][0]["traffic"]["last_success"].is_u64()
    });
    assert!(seen);
}
