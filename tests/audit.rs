//! What happens to secrets is written down, and nobody can change it afterwards unnoticed.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::keyside::{Finished, Keyside, Setup, finish};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::{MESSAGES, TOKEN, eventually};

fn setup(upstream: &Upstream, more: &str) -> Setup {
    Setup::new(upstream).more(&format!("[audit]\nfile = \"@DIR@/audit.jsonl\"\n{more}"))
}

fn lines(keyside: &Keyside) -> Vec<Value> {
    let text = std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(keyside: &Keyside) -> Vec<String> {
    lines(keyside).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
}

fn verify(keyside: &Keyside) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    finish(command.args(["audit", "verify"]).arg(keyside.dir().join("audit.jsonl")), Duration::from_secs(10))
}

#[test]
fn rotations_and_reloads_are_recorded_by_fingerprint() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "").start();
    keyside.dir().write("token", "EAASECONDTOKEN");
    assert_eq!(keyside.reload().status, 200);
    keyside.dir().write("token", "");
    assert_eq!(keyside.reload().status, 422);
    assert_eq!(keyside.post(MESSAGES, r#"{"to":"16505551234","text":{"body":"hello"}}"#).status, 200);
    let expected = ["start", "rotation", "reload", "reload refused"];
    assert!(eventually(Duration::from_secs(2), || events(&keyside) == expected), "{:?}", events(&keyside));
    let text = std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
    assert!(text.contains("db518ff0a98f ->"), "{text}");
    for absent in [TOKEN, "EAASECONDTOKEN", "16505551234", "hello"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
}

#[test]
fn a_refused_secret_is_recorded_without_a_number() {
    let upstream = Upstream::answering(|request| match request.target() {
        target if target.starts_with("/debug_token") => json(
            r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_management"]}}"#,
        ),
        target if target.contains("fields=id") => json(r#"{"error":{"message":"no","code":100}}"#),
        _ => json("{}"),
    });
    let keyside = setup(&upstream, "").check().route("senders = [\"106540352242922\"]").start();
    assert!(eventually(Duration::from_secs(5), || events(&keyside) == ["start", "secret refused"]));
    keyside.dir().write("token", "EAASECONDTOKEN");
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("cannot see sender 106540352242922"), "who asks is told: {}", refused.text());
    let expected = ["start", "secret refused", "secret refused", "reload refused"];
    assert!(eventually(Duration::from_secs(2), || events(&keyside) == expected), "{:?}", events(&keyside));
    let prints: Vec<_> = lines(&keyside).iter().map(|line| line["fingerprint"].clone()).collect();
    assert!(prints[1] == "db518ff0a98f" && prints[2] != prints[1], "{prints:?}");
    let kept = format!("{}{}", std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap(), keyside.log());
    assert!(kept.contains("cannot see sender ...2922") && !kept.contains("106540352242922"), "{kept}");
}

#[test]
fn a_fallback_is_recorded_with_what_was_refused() {
    let upstream = Upstream::answering(|request| match request.header("authorization").as_deref() {
        Some("Bearer EAASECONDTOKEN") => {
            answer("401 No", &[("Content-Type", "application/json")], br#"{"error":{"message":"no","code":190}}"#)
        }
        _ => json("{}"),
    });
    let keyside = setup(&upstream, "").start();
    keyside.dir().write("token", "EAASECONDTOKEN");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(eventually(Duration::from_secs(2), || events(&keyside).contains(&"fallback".to_owned())));
    let line = lines(&keyside).pop().unwrap();
    assert_eq!(line["fingerprint"], "db518ff0a98f", "{line}");
    assert_eq!(line["refused"].as_str().map(str::len), Some(12), "{line}");
}

#[test]
fn requests_are_recorded_where_they_are_to_be() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "requests = true\n").start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(keyside.get("/v23.0/99/message_templates").status, 403);
    assert!(eventually(Duration::from_secs(2), || events(&keyside) == ["start", "request", "request"]));
    let lines = lines(&keyside);
    assert_eq!((&lines[1]["route"], &lines[1]["operation"]), (&"acme".into(), &"messages".into()));
    assert_eq!((&lines[1]["status"], &lines[1]["fingerprint"]), (&200.into(), &"db518ff0a98f".into()));
    assert_eq!(lines[2]["status"], 403);
}

#[test]
fn a_changed_file_is_found_and_a_whole_one_passes() {
    let upstream = Upstream::ok();
    let mut keyside = setup(&upstream, "").start();
    for token in ["EAASECONDTOKEN", "EAATHIRDTOKEN"] {
        keyside.dir().write("token", token);
        assert_eq!(keyside.reload().status, 200);
    }
    keyside.signal(rustix::process::Signal::TERM);
    assert!(keyside.wait_exit(Duration::from_secs(5)).is_some());
    assert_eq!(events(&keyside), ["start", "rotation", "reload", "rotation", "reload", "stop"], "to the last line");
    let whole = verify(&keyside);
    assert_eq!(whole.code, Some(0), "{}", whole.output);
    let path = keyside.dir().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("rotation", "reload", 1)).unwrap();
    let changed = verify(&keyside);
    assert_eq!(changed.code, Some(1));
    assert!(changed.output.contains("line 3 does not follow"), "{}", changed.output);
}
