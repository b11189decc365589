//! Replaced secrets within their overlap, sealed, and the ages of secrets outlive a restart.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup};
use crate::support::redis::Redis;
use crate::support::upstream::{Upstream, answer, json};
use crate::support::webhook::{HOOK, VERIFY_TOKEN, application, event, signature};
use crate::support::{MESSAGES, base64, contains, eventually, hex, stretched};

const OLD_TOKEN: &str = "EAAOLDCANARYtoken0123456789";
const NEW_TOKEN: &str = "EAANEWCANARYtoken0123456789";
const OLD_SECRET: &str = "0123456789abcdef0123456789abcdef";
const NEW_SECRET: &str = "fedcba9876543210fedcba9876543210";
const KEY: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";
const OTHER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaG97tvu8=";
const SEALED: &str = "[state]\ndir = \"@DIR@/state\"\nkey = \"file:@DIR@/key\"\n";
const UNSEALED: &str = "[state]\ndir = \"@DIR@/state\"\n";
const DAY: Duration = Duration::from_secs(86_400);

/// A provider that refuses a single token.
fn refusing(token: &'static str) -> Upstream {
    Upstream::answering(move |request| {
        if request.header("authorization") == Some(format!("Bearer {token}")) {
            let body = r#"{"error":{"message":"x","type":"OAuthException","code":190}}"#;
            answer(
                "401 Unauthorized",
                &[("Content-Type", "application/json")],
                body.as_bytes(),
            )
        } else {
            json("{}")
        }
    })
}

/// A sidecar with a route, a webhook and the given `[state]`.
fn setup(upstream: &Upstream, application: &Upstream, credential: &str, state: &str) -> Setup {
    Setup::new(upstream)
        .file("token", OLD_TOKEN)
        .file("app_secret", OLD_SECRET)
        .file("verify_token", VERIFY_TOKEN)
        .file("key", KEY)
        .credential(&format!(
            "token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret_old\"]\n\
             verify_token = \"file:@DIR@/verify_token\"\nproof = \"off\"\n{credential}"
        ))
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\n\
             forward = \"{}/events\"\n{state}",
            application.url()
        ))
}

fn signed_with(keyside: &Keyside, secret: &str) -> u16 {
    keyside
        .event(&event(&[&signature(secret, b"{}")], b"{}"))
        .status
}

fn replace_secrets(keyside: &Keyside) {
    keyside.dir().write("token", NEW_TOKEN);
    keyside.dir().write("app_secret", NEW_SECRET);
    let answer = keyside.reload();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn state_file(keyside: &Keyside, name: &str) -> Option<Vec<u8>> {
    fs::read(keyside.dir().join("state").join(name)).ok()
}

fn previous(keyside: &Keyside) -> Vec<Value> {
    let status = keyside.status();
    status["credentials"][0]["previous"]
        .as_array()
        .unwrap()
        .clone()
}

/// Panics if any form of a secret stands in the folder of the state or in a log.
fn must_hide_secrets(keyside: &Keyside, log: &str) {
    let mut texts = vec![log.as_bytes().to_vec()];
    let folder = fs::read_dir(keyside.dir().join("state")).unwrap();
    texts.extend(folder.map(|file| fs::read(file.unwrap().path()).unwrap()));
    assert!(texts.len() > 2, "there are files");
    for secret in [
        OLD_TOKEN,
        NEW_TOKEN,
        OLD_SECRET,
        NEW_SECRET,
        KEY,
        VERIFY_TOKEN,
    ] {
        let forms = [
            secret.to_owned(),
            base64(secret.as_bytes()),
            hex(secret.as_bytes()),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        ];
        for form in forms {
            let found = texts.iter().any(|text| contains(text, form.as_bytes()));
            assert!(!found, "{form}");
        }
    }
}

#[test]
fn a_replaced_secret_counts_after_a_restart_for_the_rest_of_its_overlap() {
    for signal in [Signal::TERM, Signal::KILL] {
        let (upstream, application) = (refusing(NEW_TOKEN), application());
        let mut keyside = setup(&upstream, &application, "", SEALED).start();
        replace_secrets(&keyside);
        let is_sealed = || state_file(&keyside, "previous+acme.sealed").is_some();
        assert!(
            eventually(Duration::from_secs(5), is_sealed),
            "{}",
            keyside.log()
        );
        let log = keyside.end(signal);
        assert!(!log.contains("had 23 h to go"), "{log}");
        must_hide_secrets(&keyside, &log);

        keyside.begin();
        let statuses =
            [OLD_SECRET, NEW_SECRET, "another"].map(|secret| signed_with(&keyside, secret));
        assert_eq!(statuses, [200, 200, 401], "{}", keyside.log());
        assert_eq!(
            keyside.post(MESSAGES, "{}").status,
            200,
            "{}",
            keyside.log()
        );
        let sent = upstream.last().header("authorization");
        assert_eq!(sent, Some(format!("Bearer {OLD_TOKEN}")));
        let left = previous(&keyside)[0]["ends_in_seconds"].as_u64().unwrap();
        assert!((86_000..=86_400).contains(&left), "{left}");
        assert!(
            keyside
                .log()
                .contains("the overlap from before the restart goes on")
        );
        must_hide_secrets(&keyside, &keyside.log());

        keyside.dir().write("app_secret_old", OLD_SECRET);
        assert_eq!(keyside.reload().status, 200);
        assert_eq!(signed_with(&keyside, OLD_SECRET), 200);
        let used = |which: &str| keyside.metric("keyside_webhook_secret_used_total", &[which]);
        assert_eq!(used("which=\"accepted\""), 1.0, "listed once");
    }
}

#[test]
fn the_overlap_of_a_renamed_credential_goes_on() {
    for is_stopped in [true, false] {
        let (upstream, application) = (refusing(NEW_TOKEN), application());
        let mut keyside = setup(&upstream, &application, "", SEALED).start();
        replace_secrets(&keyside);
        if is_stopped {
            keyside.end(Signal::TERM);
        }
        let path = keyside.dir().join("proxy.toml");
        let text = fs::read_to_string(&path).unwrap();
        let renamed = text
            .replace("[credential.acme]", "[credential.renamed]")
            .replace("credential = \"acme\"", "credential = \"renamed\"");
        keyside.configure(&renamed);
        if is_stopped {
            keyside.begin();
        } else {
            assert_eq!(keyside.reload().status, 200);
        }
        let signed = || signed_with(&keyside, OLD_SECRET);
        assert_eq!(signed(), 200, "{is_stopped}: {}", keyside.log());
        assert_eq!(keyside.reload().status, 200);
        let is_moved = || {
            state_file(&keyside, "previous+acme.sealed").is_none()
                && state_file(&keyside, "previous+renamed.sealed").is_some()
        };
        assert!(is_moved(), "{is_stopped}: {}", keyside.log());
        keyside.end(Signal::KILL);
        keyside.begin();
        assert_eq!(signed_with(&keyside, OLD_SECRET), 200, "{}", keyside.log());
    }
}

#[test]
fn a_sealed_set_that_brings_a_renamed_credential_nothing_is_restored_once() {
    let (upstream, application) = (Upstream::ok(), application());
    let mut keyside = setup(&upstream, &application, "", SEALED).start();
    replace_secrets(&keyside);
    keyside.end(Signal::TERM);
    assert!(state_file(&keyside, "previous+acme.sealed").is_some());
    let path = keyside.dir().join("proxy.toml");
    let text = fs::read_to_string(&path).unwrap();
    let renamed = text
        .replace("[credential.acme]", "[credential.renamed]")
        .replace("credential = \"acme\"", "credential = \"renamed\"");
    fs::write(&path, renamed).unwrap();
    keyside.dir().write("token", OLD_TOKEN);
    keyside.dir().write("app_secret", OLD_SECRET);
    keyside.begin();
    assert_eq!(keyside.reload().status, 200);
    let generation = || keyside.status()["generation"].as_u64().unwrap();
    let before = generation();
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(generation(), before + 1, "{}", keyside.log());
    assert_eq!(state_file(&keyside, "previous+acme.sealed"), None);
}

#[test]
fn a_replaced_secret_is_sealed_before_the_reload_is_answered() {
    let (upstream, application) = (refusing(NEW_TOKEN), application());
    let mut keyside = setup(&upstream, &application, "", SEALED).start();
    let mut before = OLD_SECRET.to_owned();
    for number in 0..4 {
        let next = format!("{number}{}", &NEW_SECRET[1..]);
        keyside.dir().write("app_secret", &next);
        assert_eq!(keyside.reload().status, 200);
        keyside.end(Signal::KILL);
        keyside.begin();
        assert_eq!(signed_with(&keyside, &before), 200, "{number}");
        before = next;
    }
}

#[test]
fn restarts_prolong_no_overlap_and_nothing_of_it_stays() {
    let (upstream, application) = (Upstream::ok(), application());
    let mut keyside = setup(&upstream, &application, "overlap = \"8s\"", SEALED).start();
    replace_secrets(&keyside);
    let replaced = Instant::now();
    keyside.end(Signal::TERM);
    keyside.begin();
    assert_eq!(signed_with(&keyside, OLD_SECRET), 200);
    keyside.end(Signal::TERM);
    keyside.begin();
    while signed_with(&keyside, OLD_SECRET) == 200 {
        let bound = Duration::from_secs(8) + stretched(Duration::from_secs(1));
        assert!(replaced.elapsed() < bound, "{}", keyside.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let is_gone = || state_file(&keyside, "previous+acme.sealed").is_none();
    assert!(
        eventually(Duration::from_secs(5), is_gone),
        "{}",
        keyside.log()
    );
    keyside.end(Signal::TERM);
    keyside.begin();
    assert_eq!(signed_with(&keyside, OLD_SECRET), 401);
}

#[test]
fn an_overlap_that_ended_while_no_sidecar_ran_is_over_and_wiped() {
    let (upstream, application) = (Upstream::ok(), application());
    let mut keyside = setup(&upstream, &application, "overlap = \"3s\"", SEALED).start();
    replace_secrets(&keyside);
    keyside.end(Signal::TERM);
    assert!(state_file(&keyside, "previous+acme.sealed").is_some());
    std::thread::sleep(Duration::from_secs(3));
    keyside.begin();
    assert_eq!(signed_with(&keyside, OLD_SECRET), 401);
    assert!(state_file(&keyside, "previous+acme.sealed").is_none());
}

#[test]
fn without_a_key_the_stop_tells_what_it_ends() {
    let (upstream, application) = (Upstream::ok(), application());
    for (state, listed) in [("", false), (UNSEALED, false), ("", true)] {
        let mut keyside = setup(&upstream, &application, "", state).start();
        if listed {
            keyside.dir().write("app_secret_old", OLD_SECRET);
        }
        replace_secrets(&keyside);
        assert!(state_file(&keyside, "previous+acme.sealed").is_none());
        let log = keyside.end(Signal::TERM);
        let line = "the overlap of acme.app_secret had 23 h to go, and the stop ends it: list the old one second, as in \
                    app_secret = [";
        assert_eq!(log.contains(line), !listed, "{log}");
        assert!(
            log.contains("the overlap of acme.token had 23 h to go"),
            "{log}"
        );
        keyside.begin();
        let expected = if listed { 200 } else { 401 };
        assert_eq!(signed_with(&keyside, OLD_SECRET), expected);
    }
    let check = setup(&upstream, &application, "", "").finish("check");
    assert!(
        check.output.contains("note: a restart within `overlap`"),
        "{}",
        check.output
    );
    assert_eq!(check.code, Some(0));
    let check = setup(&upstream, &application, "", SEALED).finish("check");
    assert!(!check.output.contains("note: "), "{}", check.output);
}

#[test]
fn another_key_is_told_and_costs_nothing_that_is_kept() {
    let (upstream, application) = (Upstream::ok(), application());
    let mut keyside = setup(&upstream, &application, "", SEALED).start();
    replace_secrets(&keyside);
    keyside.end(Signal::TERM);
    let kept = state_file(&keyside, "previous+acme.sealed").unwrap();

    keyside.dir().write("key", OTHER_KEY);
    keyside.begin();
    assert_eq!(signed_with(&keyside, OLD_SECRET), 401);
    assert_eq!(signed_with(&keyside, NEW_SECRET), 200);
    let line =
        "the entry `previous/acme` is sealed with another key: list the key of before second";
    assert!(keyside.log().contains(line), "{}", keyside.log());
    let problems = keyside.status()["state"]["problems"].to_string();
    assert!(problems.contains(line), "{problems}");
    let check = keyside.setup().finish("check");
    assert!(
        check.output.contains(line) && check.code == Some(0),
        "{}",
        check.output
    );
    assert_eq!(state_file(&keyside, "previous+acme.sealed"), Some(kept));
    keyside.end(Signal::TERM);

    keyside.dir().write("key", KEY);
    keyside.begin();
    assert_eq!(signed_with(&keyside, OLD_SECRET), 200);
    assert_eq!(keyside.status()["state"]["problems"], serde_json::json!([]));
}

#[test]
fn a_folder_or_key_that_cannot_be_used_is_told_and_stops_nothing() {
    let (upstream, application) = (Upstream::ok(), application());
    for (file, text, key, expected) in [
        ("state", "in the way", KEY, "state.dir: "),
        (
            "unused",
            "",
            "short",
            "state.key: 5 bytes, expected 32 random ones or more",
        ),
        ("unused", "", "", "state.key: `file:"),
    ] {
        let setup = setup(&upstream, &application, "", SEALED)
            .file(file, text)
            .file("key", key);
        let check = setup.finish("check");
        assert!(check.output.contains(expected), "{}", check.output);
        let keyside = setup.start();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        // Each thing once, whatever follows from it.
        let log = keyside.log();
        assert_eq!(log.matches(expected).count(), 1, "{log}");
        let problems = &keyside.status()["state"]["problems"];
        assert_eq!(problems.as_array().unwrap().len(), 1, "{problems}");
        assert!(problems.to_string().contains(expected), "{problems}");
        for query in ["", "?all", "?route=acme", "?webhook=acme"] {
            let ready = keyside.ask_admin(&get(&format!("/readyz{query}")));
            assert_eq!(ready.status, 200, "{query}: {}", ready.text());
            assert!(ready.text().contains(expected), "{query}: {}", ready.text());
        }
        replace_secrets(&keyside);
        assert_eq!(signed_with(&keyside, OLD_SECRET), 200, "in memory");
    }
}

fn token_of(keyside: &Keyside) -> Value {
    let status = keyside.status();
    let secrets = status["credentials"][0]["secrets"].as_array().unwrap();
    let token = secrets.iter().find(|secret| secret["name"] == "token");
    token.unwrap().clone()
}

#[test]
fn a_file_that_is_written_anew_at_each_start_grows_old_all_the_same() {
    let (upstream, application) = (Upstream::ok(), application());
    for state in [SEALED, UNSEALED] {
        let setup = setup(&upstream, &application, "max_age = \"30d\"", state);
        let file = fs::File::options()
            .write(true)
            .open(setup.dir().join("token"));
        file.unwrap()
            .set_modified(SystemTime::now() - 40 * DAY)
            .unwrap();
        let mut keyside = setup.start();
        assert_eq!(token_of(&keyside)["since_from"], "source");
        let is_kept = || state_file(&keyside, "first-sights.json").is_some();
        assert!(eventually(Duration::from_secs(5), is_kept));
        let log = keyside.end(Signal::KILL);
        must_hide_secrets(&keyside, &log);

        keyside.dir().write("token", OLD_TOKEN);
        keyside.begin();
        let token = token_of(&keyside);
        assert_eq!(token["since_from"], "kept first sight", "{token}");
        assert_eq!(token["state"], "overdue");
        let days = token["age_seconds"].as_u64().unwrap() / DAY.as_secs();
        assert_eq!(days, 40);
        let check = keyside.setup().finish("check");
        assert!(
            check.output.contains("token is 40d old"),
            "{}",
            check.output
        );
        keyside.dir().write("token", NEW_TOKEN);
        assert_eq!(keyside.reload().status, 200);
        assert_eq!(token_of(&keyside)["since_from"], "change");
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_pod_that_starts_learns_from_the_shared_server_how_old_a_secret_is() {
    let (upstream, application) = (Upstream::ok(), application());
    let redis = Redis::start();
    let limits = "[limits]\nredis = \"env:REDIS\"\n";
    let pod = || setup(&upstream, &application, "", limits).env("REDIS", &redis.url());
    let first = pod();
    let file = fs::File::options()
        .write(true)
        .open(first.dir().join("token"));
    file.unwrap()
        .set_modified(SystemTime::now() - 40 * DAY)
        .unwrap();
    let first = first.start();
    let keys = || redis.ask(&["KEYS", "*"]);
    let is_told = || keys().contains(":sight:");
    assert!(eventually(Duration::from_secs(5), is_told), "{}", keys());
    drop(first);
    let second = pod().start();
    let has_learned = || token_of(&second)["since_from"] == "kept first sight";
    assert!(
        eventually(Duration::from_secs(5), has_learned),
        "{}",
        token_of(&second)
    );
    let days = token_of(&second)["age_seconds"].as_u64().unwrap() / DAY.as_secs();
    assert_eq!(days, 40);
    assert!(!keys().contains("CANARY"));
}
