//! The audit file: events around secrets are recorded, and later changes are noticed.

use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::keyside::{Finished, Keyside, Setup, finish};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::{MESSAGES, TOKEN, eventually};

fn setup(upstream: &Upstream, more: &str) -> Setup {
    Setup::new(upstream).more(&format!("[audit]\nfile = \"@DIR@/audit.jsonl\"\n{more}"))
}

fn lines(keyside: &Keyside) -> Vec<Value> {
    let text = std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn events(keyside: &Keyside) -> Vec<String> {
    lines(keyside)
        .iter()
        .map(|line| line["event"].as_str().unwrap().to_owned())
        .collect()
}

fn verify(keyside: &Keyside) -> Finished {
    verify_files(keyside, &["audit.jsonl"])
}

fn verify_files(keyside: &Keyside, names: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["audit", "verify"]);
    command.args(names.iter().map(|name| keyside.dir().join(name)));
    finish(&mut command, Duration::from_secs(10))
}

/// Waits until the audit file has these events.
fn must_have(keyside: &Keyside, expected: &[&str]) {
    assert!(
        eventually(Duration::from_secs(10), || events(keyside) == expected),
        "{:?}, not {expected:?}",
        events(keyside)
    );
}

/// Verifies files as good, and returns the text of the command.
fn must_verify(keyside: &Keyside, names: &[&str]) -> String {
    let done = verify_files(keyside, names);
    assert_eq!(done.code, Some(0), "{}", done.output);
    done.output
}

#[test]
fn rotations_and_reloads_are_recorded_by_fingerprint() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "").start();
    keyside.dir().write("token", "EAASECONDTOKEN");
    assert_eq!(keyside.reload().status, 200);
    keyside.dir().write("token", "");
    assert_eq!(keyside.reload().status, 422);
    assert_eq!(
        keyside
            .post(MESSAGES, r#"{"to":"16505551234","text":{"body":"hello"}}"#)
            .status,
        200
    );
    let expected = ["start", "rotation", "reload", "reload refused"];
    assert!(
        eventually(Duration::from_secs(2), || events(&keyside) == expected),
        "{:?}",
        events(&keyside)
    );
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
            r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_management","whatsapp_business_messaging"]}}"#,
        ),
        target if target.contains("fields=id") => json(r#"{"error":{"message":"no","code":100}}"#),
        _ => json("{}"),
    });
    let keyside = setup(&upstream, "")
        .check()
        .route("senders = [\"106540352242922\"]")
        .start();
    assert!(eventually(Duration::from_secs(5), || events(&keyside)
        == ["start", "secret refused"]));
    keyside.dir().write("token", "EAASECONDTOKEN");
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("cannot see sender 106540352242922"),
        "who asks is told: {}",
        refused.text()
    );
    let expected = [
        "start",
        "secret refused",
        "secret refused",
        "reload refused",
    ];
    assert!(
        eventually(Duration::from_secs(2), || events(&keyside) == expected),
        "{:?}",
        events(&keyside)
    );
    let prints: Vec<_> = lines(&keyside)
        .iter()
        .map(|line| line["fingerprint"].clone())
        .collect();
    assert!(
        prints[1] == "db518ff0a98f" && prints[2] != prints[1],
        "{prints:?}"
    );
    let kept = format!(
        "{}{}",
        std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap(),
        keyside.log()
    );
    assert!(
        kept.contains("cannot see sender ...2922") && !kept.contains("106540352242922"),
        "{kept}"
    );
}

#[test]
fn a_secret_refused_in_a_request_is_recorded_with_the_same_fields_as_in_a_question() {
    let upstream = Upstream::answering(|_| {
        answer(
            "401 No",
            &[("Content-Type", "application/json")],
            br#"{"error":{"message":"no","code":190}}"#,
        )
    });
    for by_question in [false, true] {
        let checked = setup(&upstream, "");
        let keyside = if by_question {
            checked.check()
        } else {
            checked
        }
        .start();
        if !by_question {
            assert_eq!(keyside.post(MESSAGES, "{}").status, 401);
        }
        must_have(&keyside, &["start", "secret refused"]);
        let line = &lines(&keyside)[1];
        assert_eq!(line["credential"], "acme", "{line}");
        assert_eq!(line["fingerprint"], "db518ff0a98f", "{line}");
        assert!(
            line["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty()),
            "{line}"
        );
    }
}

#[test]
fn a_fallback_is_recorded_with_what_was_refused() {
    let upstream =
        Upstream::answering(|request| match request.header("authorization").as_deref() {
            Some("Bearer EAASECONDTOKEN") => answer(
                "401 No",
                &[("Content-Type", "application/json")],
                br#"{"error":{"message":"no","code":190}}"#,
            ),
            _ => json("{}"),
        });
    let keyside = setup(&upstream, "").start();
    keyside.dir().write("token", "EAASECONDTOKEN");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(eventually(Duration::from_secs(2), || events(&keyside)
        .contains(&"fallback".to_owned())));
    let line = lines(&keyside).pop().unwrap();
    assert_eq!(line["fingerprint"], "db518ff0a98f", "{line}");
    assert_eq!(line["refused"].as_str().map(str::len), Some(12), "{line}");
}

#[test]
fn requests_are_recorded_if_configured() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "requests = true\n").start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(keyside.get("/v23.0/99/message_templates").status, 403);
    assert!(eventually(Duration::from_secs(2), || events(&keyside)
        == ["start", "request", "request"]));
    let lines = lines(&keyside);
    assert_eq!(
        (&lines[1]["route"], &lines[1]["operation"]),
        (&"acme".into(), &"messages".into())
    );
    assert_eq!(
        (&lines[1]["status"], &lines[1]["fingerprint"]),
        (&200.into(), &"db518ff0a98f".into())
    );
    assert_eq!(lines[2]["status"], 403);
}

#[test]
fn a_changed_audit_file_fails_verification_and_an_unchanged_file_passes() {
    let upstream = Upstream::ok();
    let mut keyside = setup(&upstream, "").start();
    for token in ["EAASECONDTOKEN", "EAATHIRDTOKEN"] {
        keyside.dir().write("token", token);
        assert_eq!(keyside.reload().status, 200);
    }
    keyside.signal(rustix::process::Signal::TERM);
    assert!(keyside.wait_exit(Duration::from_secs(5)).is_some());
    assert_eq!(
        events(&keyside),
        ["start", "rotation", "reload", "rotation", "reload", "stop"],
        "the stop must be recorded too"
    );
    let whole = verify(&keyside);
    assert_eq!(whole.code, Some(0), "{}", whole.output);
    let path = keyside.dir().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("rotation", "reload", 1)).unwrap();
    let changed = verify(&keyside);
    assert_eq!(changed.code, Some(1));
    assert!(
        changed
            .output
            .contains("line 3 does not have the hash of the line before"),
        "{}",
        changed.output
    );
}

#[test]
fn a_file_that_is_no_audit_file_is_told_apart_from_one_that_was_cut() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "").start();
    for (text, expected) in [
        (
            "not an audit file\n",
            "line 1 is not a line of an audit file",
        ),
        (
            "{\"level\":\"INFO\"}\n",
            "line 1 is not a line of an audit file",
        ),
        ("{\"event\":\"st", "the last line is cut off"),
    ] {
        keyside.dir().write("other", text);
        let done = verify_files(&keyside, &["other"]);
        assert_eq!(done.code, Some(1), "{}", done.output);
        assert!(done.output.contains(expected), "{text}: {}", done.output);
    }
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_and_the_chain_goes_on() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "").start();
    assert_eq!(keyside.reload().status, 200);
    let path = keyside.dir().join("audit.jsonl");
    must_have(&keyside, &["start", "reload"]);
    std::fs::rename(&path, keyside.dir().join("audit.jsonl.1")).unwrap();
    keyside.sighup_and_wait();
    must_have(&keyside, &["goes on", "reload"]);
    assert_eq!(lines(&keyside)[1]["cause"], "SIGHUP");
    std::fs::remove_file(&path).unwrap();
    keyside.sighup_and_wait();
    must_have(&keyside, &["goes on", "reload"]);
    let alone = must_verify(&keyside, &["audit.jsonl"]);
    assert!(
        alone.contains("goes on after the line with the hash"),
        "{alone}"
    );
    let gap = verify_files(&keyside, &["audit.jsonl.1", "audit.jsonl"]);
    assert_eq!(
        gap.code,
        Some(1),
        "the deleted file is missed: {}",
        gap.output
    );
    assert!(
        gap.output
            .contains("lines or a file in between are missing"),
        "{}",
        gap.output
    );
}

#[test]
fn a_restart_goes_on_after_the_file_that_was_moved_away() {
    let upstream = Upstream::ok();
    let mut keyside = setup(&upstream, "").start();
    keyside.signal(rustix::process::Signal::TERM);
    assert!(keyside.wait_exit(Duration::from_secs(5)).is_some());
    let dir = keyside.dir();
    std::fs::rename(dir.join("audit.jsonl"), dir.join("audit.jsonl.1")).unwrap();
    let moved = std::fs::read(dir.join("audit.jsonl.1")).unwrap();
    let again = setup(&upstream, "").file("audit.jsonl.1", moved).start();
    must_have(&again, &["goes on", "start"]);
    must_verify(&again, &["audit.jsonl.1", "audit.jsonl"]);
}

#[test]
fn the_audit_file_changes_with_a_reload_and_a_bad_path_is_refused() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    let configure = |name: &str| {
        let file = keyside.dir().join(name).display().to_string();
        let table = format!("[audit]\nfile = \"{file}\"\nrequests = true\n");
        keyside
            .dir()
            .write("proxy.toml", format!("{config}\n{table}"));
        keyside.reload()
    };
    assert_eq!(configure("first.jsonl").status, 200);
    let refused = configure("missing/audit.jsonl");
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("cannot be written"),
        "{}",
        refused.text()
    );
    assert_eq!(configure("audit.jsonl").status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    must_have(&keyside, &["goes on", "reload", "request"]);
    must_verify(&keyside, &["first.jsonl", "audit.jsonl"]);
}

#[test]
fn a_full_disk_is_told_and_counted_and_is_no_tampering() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "")
        .level("warn")
        // A file that would become too large then fails a write, as a full disk does, instead of
        // ending the process.
        .under(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .start();
    let path = keyside.dir().join("audit.jsonl");
    for _ in 0..8 {
        assert_eq!(keyside.reload().status, 200);
    }
    must_have(&keyside, &[&["start"][..], &["reload"; 8]].concat());
    let length = std::fs::metadata(&path).unwrap().len();
    let lost = || keyside.metric("keyside_audit_lost_total", &[]);
    assert_eq!(lost(), 0.0, "the counter is there from the start");
    set_largest_file(&keyside, Some(length + 40));
    for _ in 0..3 {
        assert_eq!(keyside.reload().status, 200);
    }
    assert!(eventually(Duration::from_secs(5), || lost() >= 3.0));
    let audit = keyside.status()["audit"].clone();
    assert_eq!(audit["writable"], false, "{audit}");
    let shown = finish(
        Command::new(env!("CARGO_BIN_EXE_keyside")).args([
            "status",
            "--admin",
            &keyside.admin().to_string(),
        ]),
        Duration::from_secs(10),
    );
    let told = format!("audit: {} cannot be written since 20", path.display());
    let remedy = "free space on the disk, and see that the user of the sidecar may write there";
    assert!(shown.output.contains(&told), "{}", shown.output);
    assert!(shown.output.contains(remedy), "{}", shown.output);
    let page = keyside.page();
    for words in [told.replacen(": ", " ", 1).as_str(), remedy] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(verify(&keyside).code, Some(1), "the last line is cut now");
    set_largest_file(&keyside, None);
    let is_mended = || keyside.status()["audit"]["writable"] == true;
    assert!(
        eventually(Duration::from_secs(10), is_mended),
        "without an event"
    );
    let all = must_verify(&keyside, &["audit.jsonl"]);
    let lost = lost();
    for expected in ["cut off: 1 line", &format!("lost: {lost} events")] {
        assert!(all.contains(expected), "{expected}: {all}");
    }
    let log = keyside.log();
    for expected in [
        "the audit file cannot be written",
        "can be written again",
        "audit.jsonl",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert_eq!(log.matches("cannot be written").count(), 1, "{log}");
}

/// Sets the size at which a write of the process fails.
fn set_largest_file(keyside: &Keyside, size: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = Pid::from_raw(keyside.pid().try_into().unwrap());
    let limit = Rlimit {
        current: size,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[test]
fn a_path_that_cannot_be_written_is_a_fault_of_the_check() {
    let upstream = Upstream::ok();
    for (file, code) in [
        ("@DIR@/audit.jsonl", 0),
        ("@DIR@/missing/audit.jsonl", 78),
        ("@DIR@", 78),
        ("/dev/null/audit.jsonl", 78),
    ] {
        let setup = Setup::new(&upstream).more(&format!("[audit]\nfile = \"{file}\"\n"));
        let done = setup.finish("check");
        assert_eq!(done.code, Some(code), "{file}: {}", done.output);
        assert_eq!(
            done.output.contains("audit.file: "),
            code != 0,
            "{file}: {}",
            done.output
        );
        assert!(!setup.dir().join("audit.jsonl").exists(), "created");
    }
}

#[test]
fn who_asked_for_a_reload_is_recorded() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "").watch("100ms").start();
    assert_eq!(keyside.reload().status, 200);
    keyside.sighup_and_wait();
    keyside.dir().write("token", "EAASECONDTOKEN");
    let causes = || -> Vec<(String, bool)> {
        lines(&keyside)
            .iter()
            .filter(|line| line["event"] == "reload")
            .map(|line| {
                let by = line["by"][0].as_str().unwrap_or_default();
                (
                    line["cause"].as_str().unwrap().to_owned(),
                    by.starts_with("127.0.0.1:"),
                )
            })
            .collect()
    };
    let expected = [
        ("POST /reload", true),
        ("SIGHUP", false),
        ("a file has changed", false),
    ]
    .map(|(cause, by)| (cause.to_owned(), by));
    assert!(
        eventually(Duration::from_secs(5), || causes() == expected),
        "{:?}",
        causes()
    );
}

#[test]
fn an_old_secret_is_recorded() {
    let upstream = Upstream::ok();
    let setup = setup(&upstream, "");
    let token = std::fs::File::options()
        .write(true)
        .open(setup.dir().join("token"))
        .unwrap();
    token
        .set_modified(SystemTime::now() - Duration::from_secs(100 * 86_400))
        .unwrap();
    let keyside = setup.start();
    must_have(&keyside, &["start", "old secret"]);
    assert_eq!(lines(&keyside)[1]["days"], 100);
}

#[test]
#[ignore = "needs logrotate: tests/run servers"]
fn logrotate_moves_or_copies_the_file_and_the_chain_goes_on() {
    let example = std::fs::read_to_string("deploy/keyside.logrotate").unwrap();
    for (how, expected) in [
        ("create", ["goes on", "reload"].as_slice()),
        ("copytruncate", &["goes on", "rotation", "reload"]),
    ] {
        let upstream = Upstream::ok();
        let keyside = setup(&upstream, "").start();
        must_have(&keyside, &["start"]);
        let path = keyside.dir().join("audit.jsonl").display().to_string();
        let reload = format!("kill -HUP {}", keyside.pid());
        let mut rules = example
            .replace("/var/log/keyside/audit.jsonl", &path)
            .replace("systemctl reload keyside.service", &reload);
        if how == "copytruncate" {
            let (head, tail) = rules.split_once("    postrotate").unwrap();
            let (_, end) = tail.split_once("endscript\n").unwrap();
            rules = format!(
                "{}{end}",
                head.replace("    create\n", "    copytruncate\n")
            );
        }
        let rules = keyside.dir().write("logrotate.conf", rules);
        let state = keyside.dir().join("logrotate.state");
        let mut logrotate = Command::new("logrotate");
        logrotate
            .arg("--force")
            .arg("--state")
            .arg(state)
            .arg(rules);
        for turn in ["EAASECONDTOKEN", "EAATHIRDTOKEN"] {
            let done = finish(&mut logrotate, Duration::from_secs(10));
            assert_eq!(done.code, Some(0), "{how}: {}", done.output);
            if how == "copytruncate" {
                keyside.dir().write("token", turn);
                assert_eq!(keyside.reload().status, 200);
            }
            must_have(&keyside, expected);
        }
        let older = keyside.dir().join("audit.jsonl.2.gz");
        let unpacked = Command::new("gzip").arg("-dc").arg(older).output().unwrap();
        keyside.dir().write("audit.jsonl.2", unpacked.stdout);
        let all = must_verify(&keyside, &["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"]);
        assert!(
            !all.contains("goes on after"),
            "{how}: from the beginning: {all}"
        );
    }
}
