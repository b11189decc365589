//! `keyside rotate`: a rotation from end to end, against the sandbox.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::client::{Client, get, post};
use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish};
use crate::support::load::under_load_of;
use crate::support::manager::{Bao, ROOT};
use crate::support::redis::Redis;
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{Upstream, json as json_answer};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const SENDER: &str = "106540352242922";
const TEXT: &str = r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"}}"#;

/// A sandbox that knows the token, and a sidecar before it.
fn stand(more: &str) -> (Directory, Sandbox, Keyside) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let keyside = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET)
        // As in the example: one to come or to go is not there at other times.
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
    command.args(["rotate", "acme", "--config"]).arg(keyside.dir().join("proxy.toml"));
    command.args(["--admin", &keyside.admin().to_string()]).args(more);
    finish(&mut command, Duration::from_secs(20))
}

fn token(keyside: &Keyside) -> String {
    std::fs::read_to_string(keyside.dir().join("token")).unwrap().trim().to_owned()
}

fn send(keyside: &Keyside) -> u16 {
    keyside.post(&MESSAGES.replace("1234567890", SENDER), TEXT).status
}

#[test]
fn a_rotation_exchanges_places_proves_and_revokes() {
    let (_secrets, sandbox, keyside) = stand("");
    let path = keyside.dir().join("token");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
    assert_eq!(send(&keyside), 200);
    let done = rotate(&keyside, &[]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    for step in ["1. ", "2. exchanged", "3. written", "4. the sidecar", "5. the old token is revoked, and dead"] {
        assert!(done.output.contains(step), "{step}: {}", done.output);
    }
    let new = token(&keyside);
    assert!(new.starts_with("EAA") && new != TOKEN);
    assert!(!done.output.contains(&new) && !done.output.contains(TOKEN), "no secret is shown");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o440, "with the mode that it had");
    assert_eq!(send(&keyside), 200);
    let sends = sandbox.ask("GET", "sends", &json!({}));
    assert_eq!(sends.as_array().unwrap().len(), 2);
    let left: Vec<_> =
        std::fs::read_dir(keyside.dir().path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".keyside")), "nothing is left behind: {left:?}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let (_secrets, _sandbox, keyside) = stand("");
    let said = rotate(&keyside, &["--dry-run"]);
    assert_eq!(said.code, Some(0), "{}", said.output);
    assert!(said.output.contains("would be exchanged"), "{}", said.output);
    assert_eq!((token(&keyside).as_str(), send(&keyside)), (TOKEN, 200));
}

#[test]
fn without_a_sidecar_to_take_it_up_the_old_token_is_back_and_good() {
    let (_secrets, _sandbox, keyside) = stand("");
    let nowhere = format!("127.0.0.1:{}", crate::support::keyside::free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["rotate", "acme", "--admin", &nowhere, "--config"]).arg(keyside.dir().join("proxy.toml"));
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
    assert_eq!(sandbox.ask("DELETE", "tokens", &json!({"token": TOKEN})), json!({"success": true}));
    let failed = rotate(&keyside, &[]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.output.contains("nothing was changed"), "{}", failed.output);
    assert_eq!(token(&keyside), TOKEN);
}

/// Meta may: nothing says that each exchange gives another.
#[test]
fn the_same_token_given_back_is_not_revoked() {
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
    command.args(["rotate", "acme", "--config"]).arg(setup.write_config());
    let failed = finish(&mut command, Duration::from_secs(20));
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(failed.output.contains("the same token back; nothing was changed"), "{}", failed.output);
    assert!(!upstream.requests().iter().any(|request| request.target().starts_with("/oauth/revoke")));
}

#[test]
fn what_cannot_be_rotated_is_said() {
    let (_secrets, _sandbox, keyside) = stand("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["rotate", "nobody", "--config"]).arg(keyside.dir().join("proxy.toml"));
    let failed = finish(&mut command, Duration::from_secs(20));
    assert!(failed.output.contains("no credential `nobody`"), "{}", failed.output);
    assert!(eventually(Duration::from_secs(2), || send(&keyside) == 200));
}

/// A sandbox whose token ends in ten days, and a sidecar before it that renews it.
fn stand_before_the_end(app_secret: &str) -> (Directory, Sandbox, Keyside) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let in_ten_days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 10 * 86_400;
    sandbox.ask("POST", "tokens", &json!({ "token": TOKEN, "expires_at": in_ten_days }));
    let setup = Setup::at(&sandbox.url()).check().file("app_secret", APP_SECRET);
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
        .start();
    (secrets, sandbox, keyside)
}

/// Whether the provider knows a token as good.
fn is_good(sandbox: &Sandbox, token: &str) -> bool {
    let question = get(&format!("/v23.0/{SENDER}?fields=id&access_token={token}"));
    Client::connect(sandbox.address()).unwrap().ask(&question).unwrap().status == 200
}

#[test]
fn a_token_is_renewed_before_its_end_and_the_old_one_revoked_after_its_overlap() {
    let (_secrets, sandbox, keyside) = stand_before_the_end("file:@DIR@/app_secret");
    let (sent, failed) = under_load_of(&keyside, &post(&MESSAGES.replace("1234567890", SENDER), TEXT), || {
        assert!(eventually(Duration::from_secs(10), || token(&keyside) != TOKEN), "{}", keyside.log());
        let renewed = || keyside.log().contains("the token was renewed before its end");
        assert!(eventually(Duration::from_secs(5), renewed), "{}", keyside.log());
        assert!(is_good(&sandbox, TOKEN), "for other sidecars");
        assert!(eventually(Duration::from_secs(10), || !is_good(&sandbox, TOKEN)), "{}", keyside.log());
    });
    assert!(failed.is_empty() && sent > 500, "{sent} sent, {failed:?}");
    assert!(is_good(&sandbox, &token(&keyside)));
    let left = keyside.metric("keyside_credential_expires_seconds", &[]) / 86_400.0;
    assert!(left > 59.0, "{left} days");
    let log = keyside.log();
    assert!(log.contains("the old token is revoked, and dead"), "{log}");
}

#[test]
fn a_renewal_that_does_not_come_into_use_is_undone() {
    let (_secrets, sandbox, keyside) = stand_before_the_end("exec:@DIR@/twice");
    let failed = || keyside.log().contains("could not be renewed");
    assert!(eventually(Duration::from_secs(10), failed), "{}", keyside.log());
    let log = keyside.log();
    assert!(log.contains("is back in file:") && log.contains("the new one was revoked"), "{log}");
    assert_eq!((token(&keyside).as_str(), send(&keyside)), (TOKEN, 200));
    assert!(is_good(&sandbox, TOKEN));
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn of_sidecars_that_share_limits_one_renews_the_token() {
    let (secrets, shared, redis) = (Directory::new(), Directory::new(), Redis::start());
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    shared.write("token", TOKEN);
    let sandbox = Sandbox::start(&secrets, &[]);
    let in_ten_days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 10 * 86_400;
    sandbox.ask("POST", "tokens", &json!({ "token": TOKEN, "expires_at": in_ten_days }));
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
        sidecars.iter().map(|keyside| keyside.log().matches("the token was renewed before its end").count()).sum()
    };
    assert!(eventually(Duration::from_secs(15), || renewals() == 1), "{}", sidecars[0].log());
    let renewed = std::fs::read_to_string(shared.join("token")).unwrap();
    let fingerprints = || sidecars.iter().map(token_fingerprint).collect::<std::collections::HashSet<_>>();
    assert!(eventually(Duration::from_secs(5), || fingerprints().len() == 1), "all send with the new one");
    assert!(eventually(Duration::from_secs(10), || !is_good(&sandbox, TOKEN)), "the old one is revoked");
    assert!(is_good(&sandbox, renewed.trim()));
    assert_eq!(renewals(), 1);
    assert!(sidecars.iter().all(|keyside| send(keyside) == 200));
}

fn token_fingerprint(keyside: &Keyside) -> String {
    let status = keyside.status();
    let secrets = status["credentials"][0]["secrets"].as_array().unwrap().clone();
    secrets.iter().find(|secret| secret["name"] == "token").unwrap()["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_token_in_vault_is_rotated_there_and_what_stands_beside_it_stays() {
    let bao = Bao::start();
    bao.put("acme", &json!({ "token": TOKEN, "app_secret": APP_SECRET, "note": { "of": ["another", "kind"] } }));
    bao.must("POST", "old/acme", &json!({ "token": TOKEN, "app_secret": APP_SECRET }));
    for (place, path, data) in [("secret/acme", "secret/data/acme", "/data/data"), ("old/acme", "old/acme", "/data")] {
        let secrets = Directory::new();
        secrets.write("token", TOKEN);
        secrets.write("app_secret", APP_SECRET);
        let sandbox = Sandbox::start(&secrets, &[]);
        let keyside = Setup::at(&sandbox.url())
            .check()
            .envs(&bao.environment(ROOT))
            .credential(&format!("token = \"vault:{place}#token\"\napp_secret = \"vault:{place}#app_secret\"\n"))
            .route(&format!("senders = [\"{SENDER}\"]\n"))
            .start();
        let before = bao.must("GET", path, &json!({}));
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command.envs(bao.environment(ROOT)).args(["rotate", "acme", "--config"]).arg(keyside.dir().join("proxy.toml"));
        let done = finish(command.args(["--admin", &keyside.admin().to_string()]), Duration::from_secs(20));
        assert_eq!(done.code, Some(0), "{}", done.output);
        assert!(done.output.contains(&format!("3. written to vault:{place}#token")), "{}", done.output);
        let after = bao.must("GET", path, &json!({}));
        let (before, after) = (before.pointer(data).unwrap(), after.pointer(data).unwrap());
        assert_ne!(before["token"], after["token"]);
        assert_eq!((&before["app_secret"], &before["note"]), (&after["app_secret"], &after["note"]));
        assert_eq!(send(&keyside), 200);
    }
}
