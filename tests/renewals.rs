//! Obstacles of a renewal are told at the start, and not when the token is due.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::client::get;
use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish};
use crate::support::kubernetes::KubernetesSecretApi;
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{Upstream, json as answer};
use crate::support::{APP_SECRET, TOKEN, eventually, preload};

/// A provider whose tokens never end.
fn provider() -> Upstream {
    Upstream::answering(|_| {
        answer(
            r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}"#,
        )
    })
}

/// Starts a sidecar that renews a token and cannot write it.
fn without_a_writable_place(upstream: &Upstream, cluster: &KubernetesSecretApi) -> Keyside {
    Setup::new(upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .envs(&cluster.environment())
        .credential(
            "token = \"k8s:acme#token\"\napp_secret = \"file:@DIR@/app_secret\"\nrenew = \"14d\"",
        )
        .start()
}

/// A cluster whose service account may only read.
fn read_only_cluster() -> KubernetesSecretApi {
    let cluster = KubernetesSecretApi::start(&[("token", TOKEN)]);
    cluster.allow(&["get"]);
    cluster
}

fn strict_check(keyside: &Keyside, cluster: &KubernetesSecretApi) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(["check", "--strict", "--config"])
        .arg(keyside.dir().join("proxy.toml"))
        .envs(cluster.environment());
    finish(&mut command, Duration::from_secs(10))
}

#[test]
fn a_renewal_that_could_not_succeed_is_told_at_the_start() {
    let upstream = provider();
    let cluster = read_only_cluster();
    let cases = [
        ("k8s:acme#token", "k8s:acme#token: "),
        ("file:@DIR@/token", ""),
    ];
    for (token, problem) in cases {
        let keyside = Setup::new(&upstream)
            .check()
            .file("app_secret", APP_SECRET)
            .envs(&cluster.environment())
            .credential(&format!(
                "token = \"{token}\"\napp_secret = \"file:@DIR@/app_secret\"\nrenew = \"14d\""
            ))
            .start();
        let told = || keyside.status()["credentials"][0]["renewal_problem"].clone();
        let checked = strict_check(&keyside, &cluster);
        if problem.is_empty() {
            std::thread::sleep(Duration::from_secs(2));
            assert!(told().is_null(), "{}", told());
            let is_told = checked.output.contains("renewal impossible");
            assert!(!is_told, "{}", checked.output);
            let series = "keyside_rotations_total{credential=\"acme\",result=\"renewal_failed\"} 0";
            assert!(keyside.metrics().contains(series), "an alarm needs it");
            continue;
        }
        let is_told = || told()["step"] == "renewal impossible";
        assert!(eventually(Duration::from_secs(5), is_told), "{}", told());
        let log = keyside.log();
        assert!(log.contains("cannot be renewed when it is due"), "{log}");
        assert_eq!(checked.code, Some(1), "{}", checked.output);
        for text in [told().to_string(), checked.output] {
            assert!(text.contains(problem), "{problem}: {text}");
        }
        let result = ["result=\"renewal_impossible\""];
        assert_eq!(keyside.metric("keyside_rotations_total", &result), 1.0);
    }
}

#[test]
fn a_renewal_is_possible_again_once_its_place_can_be_written() {
    let upstream = provider();
    let cluster = read_only_cluster();
    let mut keyside = without_a_writable_place(&upstream, &cluster);
    let told = |keyside: &Keyside| keyside.status()["credentials"][0]["renewal_problem"].clone();
    let is_told = || !told(&keyside).is_null();
    assert!(eventually(Duration::from_secs(5), is_told));
    let config = std::fs::read_to_string(keyside.setup().write_config()).unwrap();
    let token = "token = \"k8s:acme#token\"\n";
    let file = keyside.dir().join("token").display().to_string();
    let with_place = config.replace(token, &format!("{token}place = \"file:{file}\"\n"));
    assert_ne!(with_place, config);
    keyside.dir().write("proxy.toml", with_place);
    assert_eq!(keyside.reload().status, 200);
    let is_over = || told(&keyside).is_null();
    assert!(
        eventually(Duration::from_secs(5), is_over),
        "{}",
        told(&keyside)
    );
}

/// A token of the right form that no provider made.
const OTHER_TOKEN: &str = "EAAKeysideOtherTokenOfATest0123456789abcdef";
const RENEWED: &str = "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n\
                       renew = \"14d\"\noverlap = \"6s\"\n";

/// Starts a sandbox with a token that ends in ten days.
fn sandbox_with_an_ending_token() -> (Directory, Sandbox) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs() + 10 * 86_400;
    sandbox.ask(
        "POST",
        "tokens",
        &json!({ "token": TOKEN, "expires_at": end }),
    );
    (secrets, sandbox)
}

/// Starts a sandbox with a token that ends in ten days, and a sidecar with this credential.
fn stand_with_an_ending_token(credential: &str) -> (Directory, Sandbox, Keyside) {
    let (secrets, sandbox) = sandbox_with_an_ending_token();
    let keyside = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET)
        .credential(credential)
        .start();
    (secrets, sandbox, keyside)
}

fn renewal_problem(keyside: &Keyside) -> serde_json::Value {
    keyside.status()["credentials"][0]["renewal_problem"].clone()
}

/// Writes the configuration with a text replaced, and reloads.
fn reconfigure(keyside: &mut Keyside, old: &str, new: &str) {
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(path).unwrap();
    let changed = config.replace(old, new);
    assert_ne!(changed, config);
    keyside.dir().write("proxy.toml", changed);
    keyside.reload();
}

/// Checks that a renewal waits for a person, tells so once, and leaves the place empty.
fn must_wait(keyside: &Keyside, step: &str, result: &str) {
    let told = || renewal_problem(keyside);
    let is_told = || {
        let reason = told()["reason"].to_string();
        reason.contains("holds no secret any more") && reason.contains("keyside rotate acme")
    };
    let is_told = eventually(Duration::from_secs(15), is_told);
    assert!(is_told, "{}\n{}", told(), keyside.log());
    assert_eq!(told()["step"], step, "{}", told());
    std::thread::sleep(Duration::from_secs(3));
    let token = std::fs::read_to_string(keyside.dir().join("token")).unwrap();
    assert_eq!(token, "", "{}", keyside.log());
    let ready = keyside.ask_admin(&get("/readyz?route=acme")).text();
    assert!(ready.contains("holds no secret any more"), "{ready}");
    let labels = ["credential=\"acme\"", result];
    assert_eq!(keyside.metric("keyside_rotations_total", &labels), 1.0);
    let log = keyside.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("so the renewal waits"));
    assert_eq!(lines.count(), 1, "{log}");
}

/// Starts a sidecar with an emptied place of a token that is due.
fn stand_with_an_emptied_place() -> (Directory, Sandbox, Keyside) {
    let later = RENEWED.replace("renew = \"14d\"", "renew = \"1d\"");
    let (secrets, sandbox, mut keyside) = stand_with_an_ending_token(&later);
    keyside.dir().write("token", "");
    keyside.reload();
    reconfigure(&mut keyside, "renew = \"1d\"", "renew = \"14d\"");
    (secrets, sandbox, keyside)
}

#[test]
fn a_renewal_writes_nothing_to_a_place_that_somebody_has_emptied_before() {
    let (_secrets, sandbox, keyside) = stand_with_an_emptied_place();
    must_wait(&keyside, "renewal failed", "result=\"renewal_failed\"");
    let asked = sandbox.ask("GET", "requests", &json!({})).to_string();
    assert!(!asked.contains("/oauth/access_token"), "{asked}");
}

/// Starts a sidecar whose renewal is done, and whose journal waits for the end of the overlap.
fn stand_renewed(overlap: &str) -> (Directory, Sandbox, Keyside) {
    let renewed = RENEWED.replace("overlap = \"6s\"", &format!("overlap = \"{overlap}\""));
    let (secrets, sandbox, keyside) = stand_with_an_ending_token(&renewed);
    let is_renewed = || {
        keyside
            .log()
            .contains("the token was renewed before its end")
    };
    let is_renewed = eventually(Duration::from_secs(10), is_renewed);
    assert!(is_renewed, "{}", keyside.log());
    (secrets, sandbox, keyside)
}

#[test]
fn a_renewal_writes_nothing_to_a_place_that_somebody_has_emptied_since() {
    let (_secrets, _sandbox, keyside) = stand_renewed("6s");
    keyside.dir().write("token", "");
    must_wait(
        &keyside,
        "revocation failed",
        "result=\"revocation_failed\"",
    );
    let reason = renewal_problem(&keyside)["reason"].to_string();
    assert!(!reason.contains("take `renew` out"), "{reason}");
}

#[test]
fn the_problem_of_a_renewal_ends_when_renew_is_taken_out() {
    let (_secrets, _sandbox, emptied) = stand_with_an_emptied_place();
    let upstream = provider();
    let cluster = read_only_cluster();
    let impossible = without_a_writable_place(&upstream, &cluster);
    for mut keyside in [emptied, impossible] {
        let is_told = || !renewal_problem(&keyside).is_null();
        assert!(eventually(Duration::from_secs(10), is_told));
        reconfigure(&mut keyside, "renew = \"14d\"", "");
        let is_over = || renewal_problem(&keyside).is_null();
        let is_over = eventually(Duration::from_secs(5), is_over);
        assert!(is_over, "{}", renewal_problem(&keyside));
        let ready = keyside.ask_admin(&get("/readyz?route=acme")).text();
        assert!(!ready.contains("renewal"), "{ready}");
    }
}

#[test]
fn a_renewal_says_why_a_place_holds_no_usable_token() {
    let quoted = format!("\"{TOKEN}\"");
    for value in [quoted.as_str(), "changeme", "two words", "EAA\u{e9}"] {
        let (_secrets, _sandbox, keyside) = stand_renewed("4s");
        keyside.dir().write("token", value);
        let reason = || renewal_problem(&keyside)["reason"].to_string();
        let is_told = || reason().contains("holds no usable token: ");
        let is_told = eventually(Duration::from_secs(15), is_told);
        assert!(is_told, "{value}: {}\n{}", reason(), keyside.log());
        assert!(!reason().contains("taken"), "{}", reason());
        assert!(!reason().contains(value), "{}", reason());
    }
}

/// The time over which tries are counted: far more than one a minute would be one a second.
const COUNTED: Duration = Duration::from_secs(5);

#[test]
fn the_end_of_a_renewal_is_tried_once_a_minute_while_a_token_is_due() {
    for (file, content) in [("token", ""), (".token.keyside-journal", "{")] {
        let (_secrets, sandbox, mut keyside) = stand_renewed("1h");
        keyside.dir().write(file, content);
        // The new token is due, so the end of the renewal is not put off until the overlap is over.
        reconfigure(&mut keyside, "renew = \"14d\"", "renew = \"80d\"");
        let is_told = || !renewal_problem(&keyside).is_null();
        assert!(eventually(Duration::from_secs(15), is_told), "{file}");
        let labels = ["credential=\"acme\"", "result=\"revocation_failed\""];
        let tries = || {
            let asked = sandbox.ask("GET", "requests", &json!({})).to_string();
            let told = keyside.metric("keyside_rotations_total", &labels);
            (asked.matches("/debug_token").count(), told)
        };
        let before = tries();
        std::thread::sleep(COUNTED);
        assert_eq!(tries(), before, "{file}\n{}", keyside.log());
    }
}

#[test]
fn a_renewal_reads_its_place_once_a_minute_while_redis_is_away() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs() + 10 * 86_400;
    let upstream = Upstream::answering(move |_| {
        answer(&format!(
            r#"{{"data":{{"app_id":"1","type":"SYSTEM_USER","expires_at":{end},"is_valid":true,"scopes":["whatsapp_business_messaging"]}}}}"#
        ))
    });
    let cluster = KubernetesSecretApi::start(&[("token", TOKEN)]);
    let keyside = Setup::new(&upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .envs(&cluster.environment())
        .env("KEYSIDE_REDIS_URL", "redis://127.0.0.1:1")
        .credential(
            "token = \"k8s:acme#token\"\napp_secret = \"file:@DIR@/app_secret\"\nrenew = \"14d\"",
        )
        .more("[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"")
        .start();
    std::thread::sleep(Duration::from_secs(3));
    let reads = || {
        let requests = cluster.requests();
        let reads = requests.iter().filter(|request| request.method() == "GET");
        reads.count()
    };
    let before = reads();
    std::thread::sleep(COUNTED);
    assert!(
        reads() <= before + 1,
        "{} {before}\n{}",
        reads(),
        keyside.log()
    );
}

/// Starts a sidecar that counts the journals removed on the thread of requests, in a file.
fn start_counting(setup: Setup) -> (Keyside, PathBuf) {
    let library = preload::compile("unlinks.c", setup.dir());
    let count = setup.dir().write("unlinks", [0; 8]);
    let setup = setup
        .env("LD_PRELOAD", &library.display().to_string())
        .env("KEYSIDE_UNLINKS", &count.display().to_string());
    (setup.start(), count)
}

#[test]
fn a_renewal_removes_its_journal_on_no_thread_of_requests() {
    let (_secrets, sandbox) = sandbox_with_an_ending_token();
    let setup = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET)
        .file("other", OTHER_TOKEN)
        .credential(&format!("{RENEWED}place = \"file:@DIR@/other\"\n"))
        .level("debug");
    let (keyside, count) = start_counting(setup);
    let is_over = || {
        keyside
            .log()
            .contains("another sidecar has renewed the token")
    };
    assert!(
        eventually(Duration::from_secs(10), is_over),
        "{}",
        keyside.log()
    );
    let journal = keyside.dir().join(".token.keyside-journal");
    assert!(eventually(Duration::from_secs(5), || !journal.exists()));
    assert_eq!(std::fs::read(count).unwrap(), [0; 8]);
}
