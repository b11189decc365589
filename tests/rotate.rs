//! `keyside rotate`: a rotation from end to end, against the sandbox.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, get, post};
use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish};
use crate::support::load::under_load_of;
use crate::support::manager::{Bao, ROOT};
use crate::support::redis::Redis;
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{After, Upstream, json as json_answer};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const SENDER: &str = "106540352242922";
const TEXT: &str =
    r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"}}"#;

/// Starts a sandbox with the token, and a sidecar in front.
fn stand(more: &str) -> (Directory, Sandbox, Keyside) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let keyside = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET)
        // As in the example configuration: a second app secret exists only during a rotation.
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret.old\"]\n",
        )
        .route(&format!("senders = [\"{SENDER}\"]\n"))
        .more(more)
        .start();
    (secrets, sandbox, keyside)
}

fn rotate(keyside: &Keyside, more: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(["rotate", "acme", "--config"])
        .arg(keyside.dir().join("proxy.toml"));
    command
        .args(["--admin", &keyside.admin().to_string()])
        .args(more);
    finish(&mut command, Duration::from_secs(20))
}

fn token(keyside: &Keyside) -> String {
    std::fs::read_to_string(keyside.dir().join("token"))
        .unwrap()
        .trim()
        .to_owned()
}

fn send(keyside: &Keyside) -> u16 {
    keyside
        .post(&MESSAGES.replace("1234567890", SENDER), TEXT)
        .status
}

/// Lets the sandbox's token end in ten days, within the time of `renew`.
fn end_in_ten_days(sandbox: &Sandbox) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs() + 10 * 86_400;
    let token = json!({ "token": TOKEN, "expires_at": end });
    sandbox.ask("POST", "tokens", &token);
}

#[test]
fn a_rotation_exchanges_proves_writes_and_revokes() {
    let (_secrets, sandbox, keyside) = stand("");
    let path = keyside.dir().join("token");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
    assert_eq!(send(&keyside), 200);
    let done = rotate(&keyside, &[]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    for step in [
        "1. ",
        "2. exchanged",
        "3. written",
        "4. the sidecar",
        "5. the old token is revoked",
    ] {
        assert!(done.output.contains(step), "{step}: {}", done.output);
    }
    let new = token(&keyside);
    assert!(new.starts_with("EAA") && new != TOKEN);
    assert!(
        !done.output.contains(&new) && !done.output.contains(TOKEN),
        "no secret is shown"
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o440,
        "with the mode that it had"
    );
    assert_eq!(send(&keyside), 200);
    let sends = sandbox.ask("GET", "sends", &json!({}));
    assert_eq!(sends.as_array().unwrap().len(), 2);
    let left: Vec<_> = std::fs::read_dir(keyside.dir().path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains(".keyside")),
        "nothing is left behind: {left:?}"
    );
}

/// Returns the fingerprint that requests carry.
fn fingerprint_sent(keyside: &Keyside) -> String {
    let status = keyside.status();
    let secrets = status["credentials"][0]["secrets"].as_array().unwrap();
    let token = secrets.iter().find(|secret| secret["name"] == "token");
    token.unwrap()["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_second_rotation_tells_to_revoke_only_what_no_earlier_one_has_revoked() {
    for (audit, is_known) in [
        ("[audit]\nfile = \"@DIR@/audit.jsonl\"\n", true),
        ("", false),
    ] {
        let (_secrets, sandbox, keyside) = stand(audit);
        let first = fingerprint_sent(&keyside);
        let done = rotate(&keyside, &[]);
        assert_eq!(done.code, Some(0), "{}", done.output);
        let second = fingerprint_sent(&keyside);
        let done = rotate(&keyside, &[]);
        assert_eq!(done.code, Some(0), "{}", done.output);
        let ended = format!("the old token is revoked: the provider refuses {second}");
        assert!(done.output.contains(&ended), "{}", done.output);
        // Without an audit file nobody knows, and the command says so.
        assert_eq!(!done.output.contains(&first), is_known, "{}", done.output);
        // A secret that somebody else has replaced is told with an audit file as well.
        let third = fingerprint_sent(&keyside);
        let by_hand = "EAABYHAND0123456789abcdef";
        sandbox.ask("POST", "tokens", &json!({ "token": by_hand }));
        keyside.dir().write("token", by_hand);
        assert_eq!(keyside.reload().status, 200);
        let done = rotate(&keyside, &[]);
        let told = format!("an earlier secret, {third}, is within its overlap");
        assert!(done.output.contains(&told), "{}", done.output);
        assert!(
            done.output.contains("has not revoked it"),
            "{}",
            done.output
        );
    }
}

#[test]
fn a_credential_whose_secret_is_refused_or_missing_holds_up_no_rotation_of_another() {
    let (_secrets, sandbox, keyside) = stand(
        "[credential.other]\nprovider = \"test\"\ntoken = \"file:@DIR@/other\"\n[[route]]\ncredential = \"other\"\npath = \"/other\"\n\
         [credential.absent]\nprovider = \"test\"\ntoken = \"file:@DIR@/absent\"\n[[route]]\ncredential = \"absent\"\npath = \"/absent\"\n",
    );
    keyside.dir().write("other", "EAANEVERISSUED");
    let before = token(&keyside);
    let done = rotate(&keyside, &[]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(!is_good(&sandbox, &before), "the old token is dead");
    assert!(is_good(&sandbox, &token(&keyside)));
    assert_eq!(send(&keyside), 200);
}

#[test]
fn a_dry_run_changes_nothing() {
    let (_secrets, _sandbox, keyside) = stand("");
    let said = rotate(&keyside, &["--dry-run"]);
    assert_eq!(said.code, Some(0), "{}", said.output);
    assert!(
        said.output.contains("would be exchanged"),
        "{}",
        said.output
    );
    assert_eq!((token(&keyside).as_str(), send(&keyside)), (TOKEN, 200));
}

#[test]
fn without_a_sidecar_to_reload_the_old_token_is_written_back_and_good() {
    let (_secrets, _sandbox, keyside) = stand("");
    let nowhere = format!("127.0.0.1:{}", crate::support::keyside::free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(["rotate", "acme", "--admin", &nowhere, "--config"])
        .arg(keyside.dir().join("proxy.toml"));
    let failed = finish(&mut command, Duration::from_secs(20));
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(
        failed.output.contains("no sidecar answers") && failed.output.contains("is back in file:"),
        "{}",
        failed.output
    );
    assert_eq!((token(&keyside).as_str(), send(&keyside)), (TOKEN, 200));
}

#[test]
fn a_token_that_is_dead_already_is_not_rotated() {
    let (_secrets, sandbox, keyside) = stand("");
    assert_eq!(
        sandbox.ask("DELETE", "tokens", &json!({"token": TOKEN})),
        json!({"success": true})
    );
    let failed = rotate(&keyside, &[]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.output.contains("nothing was changed"),
        "{}",
        failed.output
    );
    assert_eq!(token(&keyside), TOKEN);
}

/// Meta may give the old token back: the documentation promises no new one.
#[test]
fn a_token_that_the_exchange_gives_back_is_not_revoked() {
    let upstream = Upstream::answering(|request| match request.target() {
        target if target.starts_with("/oauth/access_token") => {
            json_answer(&json!({ "access_token": TOKEN }).to_string())
        }
        target if target.starts_with("/debug_token") => json_answer(
            r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}"#,
        ),
        _ => json_answer("{}"),
    });
    let setup = Setup::new(&upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(["rotate", "acme", "--config"])
        .arg(setup.write_config());
    let failed = finish(&mut command, Duration::from_secs(20));
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(
        failed
            .output
            .contains("the same token back; nothing was changed"),
        "{}",
        failed.output
    );
    assert!(
        !upstream
            .requests()
            .iter()
            .any(|request| request.target().starts_with("/oauth/revoke"))
    );
}

#[test]
fn a_token_that_cannot_be_rotated_is_refused_with_the_reason() {
    let (_secrets, _sandbox, keyside) = stand("");
    for (name, reason) in [
        ("nobody", "no credential `nobody`"),
        ("nobody.token", "no credential `nobody.token`"),
        (
            "acme.nothing",
            "`acme` has no secret of this name, expected `acme.token`, `acme.app_secret`; nothing was changed",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .args(["rotate", name, "--config"])
            .arg(keyside.dir().join("proxy.toml"));
        let failed = finish(&mut command, Duration::from_secs(20));
        assert_eq!(failed.code, Some(1), "{}", failed.output);
        assert!(failed.output.contains(reason), "{}", failed.output);
    }
    assert!(eventually(Duration::from_secs(2), || send(&keyside) == 200));
}

/// Starts a sandbox with a token that ends in ten days, and a sidecar with `renew`.
fn stand_before_the_end(app_secret: &str) -> (Directory, Sandbox, Keyside) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    end_in_ten_days(&sandbox);
    let setup = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET);
    // At the start, and when the renewal begins; then no more.
    let twice = "#!/bin/sh\n(mkdir @/1 || mkdir @/2) 2>/dev/null && cat @/app_secret\n";
    let twice = twice.replace('@', &setup.dir().path().display().to_string());
    let program = setup.dir().write("twice", twice);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o500)).unwrap();
    let keyside = setup
        .credential(&format!(
            "token = \"file:@DIR@/token\"\napp_secret = \"{app_secret}\"\nrenew = \"14d\"\noverlap = \"6s\"\n"
        ))
        .route(&format!("senders = [\"{SENDER}\"]\n"))
        .more("[audit]\nfile = \"@DIR@/audit.jsonl\"\n")
        .start();
    (secrets, sandbox, keyside)
}

/// Waits until the audit file has all of these events, in any order.
fn must_be_audited(keyside: &Keyside, events: &[&str]) {
    let read = || std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
    let has_all = || {
        let text = read();
        let has = |event: &&str| text.contains(&format!("\"event\":\"{event}\""));
        events.iter().all(has)
    };
    assert!(eventually(Duration::from_secs(5), has_all), "{}", read());
}

/// True if the provider accepts a token.
fn is_good(sandbox: &Sandbox, token: &str) -> bool {
    let question = get(&format!("/v23.0/{SENDER}?fields=id&access_token={token}"));
    Client::connect(sandbox.address())
        .unwrap()
        .ask(&question)
        .unwrap()
        .status
        == 200
}

#[test]
fn a_token_is_renewed_before_its_end_and_the_old_one_revoked_after_its_overlap() {
    let (_secrets, sandbox, keyside) = stand_before_the_end("file:@DIR@/app_secret");
    let (sent, failed) = under_load_of(
        &keyside,
        &post(&MESSAGES.replace("1234567890", SENDER), TEXT),
        || {
            assert!(
                eventually(Duration::from_secs(10), || token(&keyside) != TOKEN),
                "{}",
                keyside.log()
            );
            let renewed = || {
                keyside
                    .log()
                    .contains("the token was renewed before its end")
            };
            assert!(
                eventually(Duration::from_secs(5), renewed),
                "{}",
                keyside.log()
            );
            assert!(is_good(&sandbox, TOKEN), "for other sidecars");
            assert!(
                eventually(Duration::from_secs(10), || !is_good(&sandbox, TOKEN)),
                "{}",
                keyside.log()
            );
        },
    );
    assert!(failed.is_empty() && sent > 500, "{sent} sent, {failed:?}");
    assert!(is_good(&sandbox, &token(&keyside)));
    let left = keyside.metric("keyside_credential_expires_seconds", &[]) / 86_400.0;
    assert!(left > 59.0, "{left} days");
    let log = keyside.log();
    assert!(log.contains("the old token is revoked, and dead"), "{log}");
    must_be_audited(
        &keyside,
        &["token near its end", "exchanged", "rotation", "revoked"],
    );
}

#[test]
fn a_renewal_that_does_not_come_into_use_is_undone() {
    let (_secrets, sandbox, keyside) = stand_before_the_end("exec:@DIR@/twice");
    let failed = || keyside.log().contains("could not be renewed");
    assert!(
        eventually(Duration::from_secs(10), failed),
        "{}",
        keyside.log()
    );
    let log = keyside.log();
    assert!(
        log.contains("is back in file:") && log.contains("the new one was revoked"),
        "{log}"
    );
    assert_eq!((token(&keyside).as_str(), send(&keyside)), (TOKEN, 200));
    assert!(is_good(&sandbox, TOKEN));
    must_be_audited(
        &keyside,
        &["exchanged", "placed", "revoked", "renewal failed"],
    );
    assert!(keyside.metric("keyside_rotations_total", &["renewal_failed"]) > 0.5);
    let status = keyside.status();
    let problem = &status["credentials"][0]["renewal_problem"];
    assert_eq!(problem["step"], "renewal failed", "{problem}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["status", "--check", "--admin", &keyside.admin().to_string()]);
    let checked = finish(&mut command, Duration::from_secs(10));
    assert_eq!(checked.code, Some(1));
    assert!(
        checked.output.contains("renewal failed since"),
        "{}",
        checked.output
    );
}

#[test]
fn a_sidecar_that_starts_within_the_overlap_revokes_the_renewed_token() {
    let (_secrets, sandbox, mut keyside) = stand_before_the_end("file:@DIR@/app_secret");
    let renewed = || {
        let log = keyside.log();
        log.contains("the token was renewed before its end")
    };
    assert!(
        eventually(Duration::from_secs(10), renewed),
        "{}",
        keyside.log()
    );
    keyside.signal(Signal::KILL);
    assert!(keyside.wait_exit(Duration::from_secs(5)).is_some());
    let journal = keyside.dir().join(".token.keyside-journal");
    let mode = std::fs::metadata(&journal).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(is_good(&sandbox, TOKEN), "for other sidecars");
    let log = std::fs::File::create(keyside.dir().join("again")).unwrap();
    let mut again = Command::new(env!("CARGO_BIN_EXE_keyside"))
        .args(["run", "--config"])
        .arg(keyside.dir().join("proxy.toml"))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let revoked = eventually(Duration::from_secs(15), || !is_good(&sandbox, TOKEN));
    let wiped = eventually(Duration::from_secs(5), || !journal.exists());
    again.kill().unwrap();
    again.wait().unwrap();
    let log = std::fs::read_to_string(keyside.dir().join("again")).unwrap();
    assert!(revoked && wiped, "{log}");
    assert!(is_good(&sandbox, &token(&keyside)), "{log}");
    assert!(!log.contains(TOKEN) && !log.contains(&token(&keyside)));
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn sidecars_that_renew_one_token_at_a_time_leave_one_token_alive() {
    let bao = Bao::start();
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    end_in_ten_days(&sandbox);
    bao.put("acme", &json!({ "token": TOKEN }));
    let minted = Arc::new(Mutex::new(vec![TOKEN.to_owned()]));
    let (known, far) = (Arc::clone(&minted), sandbox.address());
    // All sidecars have a new token of their own before the first of them writes.
    let slow = Upstream::plain(move |request, wire| {
        let found = Client::connect(far).unwrap().ask(&request.raw).unwrap();
        if request.target().starts_with("/oauth/access_token") {
            let token = found.json()["access_token"].as_str().unwrap().to_owned();
            known.lock().unwrap().push(token);
            std::thread::sleep(Duration::from_millis(1500));
        }
        wire.write(&json_answer(&found.text()));
        After::Keep
    });
    let start = || {
        let home = Directory::new();
        let keyside = Setup::at(&slow.url())
            .check()
            .envs(&bao.environment(ROOT))
            .env("HOME", &home.path().display().to_string())
            .file("app_secret", APP_SECRET)
            .credential(
                "token = \"vault:secret/acme#token\"\napp_secret = \"file:@DIR@/app_secret\"\nrenew = \"14d\"\noverlap = \"8s\"\n",
            )
            .route(&format!("senders = [\"{SENDER}\"]\n"))
            .start();
        (home, keyside)
    };
    let sidecars = [start(), start(), start()];
    let alive = || {
        let mut all = minted.lock().unwrap().clone();
        all.retain(|token| is_good(&sandbox, token));
        all
    };
    let is_one = || minted.lock().unwrap().len() > 1 && alive().len() == 1;
    assert!(
        eventually(Duration::from_secs(30), is_one),
        "{:?}",
        alive().len()
    );
    let held = bao.must("GET", "secret/data/acme", &json!({}));
    assert_eq!(held["data"]["data"]["token"], alive()[0].as_str());
    assert!(minted.lock().unwrap().len() > 2, "no race happened");
    for (_, keyside) in &sidecars {
        assert_eq!(send(keyside), 200);
        let log = keyside.log();
        assert!(!log.contains("could not be renewed"), "{log}");
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn one_of_the_sidecars_with_a_shared_server_renews_the_token() {
    let (secrets, shared, redis) = (Directory::new(), Directory::new(), Redis::start());
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    shared.write("token", TOKEN);
    let sandbox = Sandbox::start(&secrets, &[]);
    end_in_ten_days(&sandbox);
    let start = || {
        Setup::at(&sandbox.url())
            .check()
            .watch("200ms")
            .file("app_secret", APP_SECRET)
            .env("KEYSIDE_REDIS_URL", &redis.url())
            .credential(&format!(
                "token = \"file:{}/token\"\napp_secret = \"file:@DIR@/app_secret\"\nrenew = \"14d\"\noverlap = \"6s\"\n",
                shared.path().display()
            ))
            .route(&format!("senders = [\"{SENDER}\"]\n"))
            .more("[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"")
            .start()
    };
    let sidecars = [start(), start(), start()];
    let renewals = || -> usize {
        sidecars
            .iter()
            .map(|keyside| {
                keyside
                    .log()
                    .matches("the token was renewed before its end")
                    .count()
            })
            .sum()
    };
    assert!(
        eventually(Duration::from_secs(15), || renewals() == 1),
        "{}",
        sidecars[0].log()
    );
    let renewed = std::fs::read_to_string(shared.join("token")).unwrap();
    let fingerprints = || {
        sidecars
            .iter()
            .map(token_fingerprint)
            .collect::<std::collections::HashSet<_>>()
    };
    assert!(
        eventually(Duration::from_secs(5), || fingerprints().len() == 1),
        "all send with the new one"
    );
    assert!(
        eventually(Duration::from_secs(10), || !is_good(&sandbox, TOKEN)),
        "the old one is revoked"
    );
    assert!(is_good(&sandbox, renewed.trim()));
    assert_eq!(renewals(), 1);
    assert!(sidecars.iter().all(|keyside| send(keyside) == 200));
}

fn token_fingerprint(keyside: &Keyside) -> String {
    let status = keyside.status();
    let secrets = status["credentials"][0]["secrets"]
        .as_array()
        .unwrap()
        .clone();
    secrets
        .iter()
        .find(|secret| secret["name"] == "token")
        .unwrap()["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_token_in_vault_is_rotated_there_and_other_fields_stay() {
    let bao = Bao::start();
    bao.put(
        "acme",
        &json!({ "token": TOKEN, "app_secret": APP_SECRET, "note": { "of": ["another", "kind"] } }),
    );
    bao.must(
        "POST",
        "old/acme",
        &json!({ "token": TOKEN, "app_secret": APP_SECRET }),
    );
    for (place, path, data) in [
        ("secret/acme", "secret/data/acme", "/data/data"),
        ("old/acme", "old/acme", "/data"),
    ] {
        let secrets = Directory::new();
        secrets.write("token", TOKEN);
        secrets.write("app_secret", APP_SECRET);
        let sandbox = Sandbox::start(&secrets, &[]);
        let keyside = Setup::at(&sandbox.url())
            .check()
            .envs(&bao.environment(ROOT))
            .credential(&format!(
                "token = \"vault:{place}#token\"\napp_secret = \"vault:{place}#app_secret\"\n"
            ))
            .route(&format!("senders = [\"{SENDER}\"]\n"))
            .start();
        let before = bao.must("GET", path, &json!({}));
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .envs(bao.environment(ROOT))
            .args(["rotate", "acme", "--config"])
            .arg(keyside.dir().join("proxy.toml"));
        let done = finish(
            command.args(["--admin", &keyside.admin().to_string()]),
            Duration::from_secs(20),
        );
        assert_eq!(done.code, Some(0), "{}", done.output);
        assert!(
            done.output
                .contains(&format!("3. written to vault:{place}#token")),
            "{}",
            done.output
        );
        let after = bao.must("GET", path, &json!({}));
        let (before, after) = (before.pointer(data).unwrap(), after.pointer(data).unwrap());
        assert_ne!(before["token"], after["token"]);
        assert_eq!(
            (&before["app_secret"], &before["note"]),
            (&after["app_secret"], &after["note"])
        );
        assert_eq!(send(&keyside), 200);
    }
}

#[test]
fn a_dry_run_of_what_cannot_begin_shows_no_later_step() {
    let (_secrets, _sandbox, keyside) = stand("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(["rotate", "acme.app_secret", "--dry-run", "--config"])
        .arg(keyside.dir().join("proxy.toml"))
        .args(["--admin", &keyside.admin().to_string()]);
    let said = finish(&mut command, Duration::from_secs(20));
    assert_eq!(said.code, Some(1), "{}", said.output);
    assert!(!said.output.contains("would"), "{}", said.output);
}
