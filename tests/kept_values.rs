//! Unusable values of the sidecar (the URLs of Redis, of a proxy and of a stream, the keys of the
//! state and of a signature): the value read before stays, and no other change waits.

use std::time::Duration;

use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::webhook::{VERIFY_TOKEN, application};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, base64, eventually};

/// A file, the key of the configuration, two good values, a bad value, and the reason.
struct Value {
    file: &'static str,
    key: &'static str,
    good: String,
    other: String,
    bad: &'static str,
    reason: &'static str,
}

fn values() -> [Value; 5] {
    let text = str::to_owned;
    [
        Value {
            file: "redis",
            key: "limits.redis",
            good: text("redis://127.0.0.1:1"),
            other: text("redis://127.0.0.1:2"),
            bad: "redis//CANARY@limits",
            reason: "not the URL of a server",
        },
        Value {
            file: "proxy",
            key: "egress.proxy",
            good: text("http://127.0.0.1:1"),
            other: text("http://127.0.0.1:2"),
            bad: "socks5://CANARY@limits:1",
            reason: "not a proxy",
        },
        Value {
            file: "key",
            key: "state.key",
            good: base64(&(0..32).collect::<Vec<u8>>()),
            other: base64(&(32..64).collect::<Vec<u8>>()),
            bad: "CANARY",
            reason: "openssl rand",
        },
        Value {
            file: "sign",
            key: "webhook acme: sign",
            good: base64(&[7; 32]),
            other: base64(&[8; 32]),
            bad: "CANARY!",
            reason: "expected whsec_ and Base64",
        },
        Value {
            file: "stream",
            key: "webhook acme: to crm: server",
            good: text("redis://127.0.0.1:1"),
            other: text("redis://127.0.0.1:2"),
            bad: "CANARY",
            reason: "not the URL of a server",
        },
    ]
}

/// A sidecar with all values, and a destination that is a stream.
fn setup(upstream: &Upstream) -> Setup {
    let setup = Setup::new(upstream)
        .file("app_secret", APP_SECRET)
        .file("verify_token", VERIFY_TOKEN)
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nverify_token = \"file:@DIR@/verify_token\"\n",
        )
        .more(&format!(
            "[limits]\nredis = \"file:@DIR@/redis\"\n[egress]\nproxy = \"file:@DIR@/proxy\"\n\
             [state]\ndir = \"@DIR@/state\"\nkey = \"file:@DIR@/key\"\n[spool]\ndir = \"@DIR@/spool\"\n\
             [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [[webhook]]\npath = \"/hook\"\ncredential = \"acme\"\nsign = \"file:@DIR@/sign\"\n\
             [[webhook.to]]\nname = \"app\"\nforward = \"{}/events\"\n\
             [[webhook.to]]\nname = \"crm\"\npublish = \"redis-stream:events\"\nserver = \"file:@DIR@/stream\"\n",
            application().url()
        ));
    for value in values() {
        setup.dir().write(value.file, value.good);
    }
    setup
}

fn token_sent(keyside: &Keyside, upstream: &Upstream) -> String {
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let header = upstream.last_to(MESSAGES).header("authorization");
    header.unwrap().replace("Bearer ", "")
}

fn kept_back(keyside: &Keyside, key: &str) -> f64 {
    keyside.metric("keyside_file_kept_back", &[&format!("key=\"{key}\"")])
}

fn unusable(keyside: &Keyside) -> Vec<serde_json::Value> {
    let status = keyside.status();
    status["unusable_files"].as_array().unwrap().clone()
}

#[test]
fn a_value_that_cannot_be_used_stays_as_it_was_and_a_token_is_published() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream).start();
    assert_eq!(unusable(&keyside), [serde_json::Value::Null; 0]);
    for (number, value) in values().iter().enumerate() {
        let (key, reason) = (value.key, value.reason);
        let token = format!("{TOKEN}{number}");
        keyside.dir().write(value.file, value.bad);
        keyside.dir().write("token", &token);
        let reloaded = keyside.reload();
        let text = reloaded.text();
        assert_eq!(reloaded.status, 200, "{key}: {text}");
        let line = reloaded.json()["kept_back"][0].as_str().unwrap().to_owned();
        assert!(line.starts_with(key) && line.contains(reason), "{line}");
        assert_eq!(token_sent(&keyside, &upstream), token, "{key}");
        assert!(kept_back(&keyside, key) > 0.5, "{key}");
        let told = unusable(&keyside);
        assert_eq!(told[0]["key"], key);
        assert_eq!(told.len(), 1, "{told:?}");
        let ready = keyside.ask_admin(&get("/readyz?all")).text();
        assert!(ready.contains(&line), "{line}: {ready}");
        // The page is made anew once a second at most.
        let is_on_page = || keyside.page().contains(reason);
        let patience = Duration::from_secs(5);
        assert!(
            eventually(patience, is_on_page),
            "{key}: {}",
            keyside.page()
        );
        let page = keyside.page();
        for shown in [&text, &ready, &page, &keyside.log()] {
            assert!(shown.contains(reason), "{key}: {shown}");
            assert!(!shown.contains("CANARY"), "{key}: {shown}");
        }
        assert_eq!(keyside.reload().status, 200, "{key}: no news");
        assert_eq!(unusable(&keyside), told, "{key}");
        keyside.dir().write(value.file, &value.other);
        assert_eq!(keyside.reload().status, 200, "{key}");
        assert_eq!(unusable(&keyside), [serde_json::Value::Null; 0], "{key}");
        assert!(kept_back(&keyside, key) < 0.5, "{key}");
    }
    assert_eq!(keyside.status()["egress"]["proxy"], "http://127.0.0.1:2");
}

#[test]
fn a_value_that_cannot_be_read_is_told_as_well() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream).start();
    for value in values() {
        std::fs::remove_file(keyside.dir().join(value.file)).unwrap();
        assert_eq!(keyside.reload().status, 422, "{}: it is news", value.key);
        assert!(kept_back(&keyside, value.key) > 0.5, "{}", value.key);
        assert_eq!(token_sent(&keyside, &upstream), TOKEN);
        keyside.dir().write(value.file, value.good);
        assert_eq!(keyside.reload().status, 200, "{}", value.key);
        assert_eq!(unusable(&keyside), [serde_json::Value::Null; 0]);
    }
}

#[test]
fn a_value_that_was_never_there_is_told_at_the_start_and_after_a_reload_alike() {
    let upstream = Upstream::ok();
    let missing = [
        (
            "proxy",
            "egress.proxy",
            "nothing but the hosts of no_proxy is reached",
        ),
        ("sign", "webhook acme: sign", "its events wait for the key"),
        (
            "stream",
            "webhook acme: to crm: server",
            "its events wait for the URL",
        ),
    ];
    for (file, key, waits) in missing {
        let setup = setup(&upstream);
        std::fs::remove_file(setup.dir().join(file)).unwrap();
        let checked = setup.finish("check");
        assert!(checked.output.contains(waits), "{key}: {}", checked.output);
        let keyside = setup.start();
        is_told_as_missing(&keyside, key, waits);
        // The value is tried again with each reload, and what has been told is no news.
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{key}: {}", reloaded.text());
        is_told_as_missing(&keyside, key, waits);
        let good = values().into_iter().find(|value| value.file == file);
        keyside.dir().write(file, good.unwrap().good);
        assert_eq!(keyside.reload().status, 200);
        assert_eq!(unusable(&keyside), [serde_json::Value::Null; 0], "{key}");
    }
}

#[test]
fn a_destination_that_a_reload_adds_without_a_url_is_told_and_the_others_are_taken() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream).start();
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let more = "[[webhook.to]]\nname = \"lake\"\npublish = \"redis-stream:lake\"\nserver = \"file:@DIR@/lake\"\n";
    let more = more.replace("@DIR@", &keyside.dir().path().display().to_string());
    keyside.dir().write("proxy.toml", config + &more);
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let (key, waits) = (
        "webhook acme: to lake: server",
        "its events wait for the URL",
    );
    assert!(reloaded.text().contains(waits), "{}", reloaded.text());
    is_told_as_missing(&keyside, key, waits);
}

fn is_told_as_missing(keyside: &Keyside, key: &str, waits: &str) {
    let told = unusable(keyside);
    assert_eq!(told[0]["key"], key, "{told:?}");
    assert_eq!(told[0]["waits"], waits);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(kept_back(keyside, key) > 0.5, "{key}");
    let ready = keyside.ask_admin(&get("/readyz?all")).text();
    let is_on_page = || keyside.page().contains(waits);
    assert!(eventually(Duration::from_secs(5), is_on_page), "{key}");
    for shown in [ready, keyside.log()] {
        assert!(shown.contains(key) && shown.contains(waits), "{shown}");
    }
}

#[test]
fn a_bad_value_behind_a_newly_named_reference_keeps_what_was_before_and_takes_the_rest() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream).start();
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let named = [("redis", "limits.redis"), ("proxy", "egress.proxy")];
    for (number, (file, key)) in named.into_iter().enumerate() {
        for (bad, reason) in [("CANARY//", "expected"), ("", "no value")] {
            keyside.dir().write("new", bad);
            let token = format!("{TOKEN}{number}{}", bad.len());
            keyside.dir().write("token", &token);
            let changed = config.replace(&format!("/{file}\"\n["), "/new\"\n[");
            assert_ne!(changed, config);
            keyside.dir().write("proxy.toml", changed);
            let reloaded = keyside.reload();
            let text = reloaded.text();
            assert_eq!(reloaded.status, 200, "{key}: {text}");
            assert_eq!(token_sent(&keyside, &upstream), token, "{key}");
            let told = unusable(&keyside);
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0]["key"], key);
            assert!(told[0]["waits"].is_null(), "{told:?}");
            assert!(kept_back(&keyside, key) > 0.5, "{key}");
            let ready = keyside.ask_admin(&get("/readyz?all")).text();
            for shown in [&text, &ready, &keyside.log()] {
                assert!(shown.contains(key) && shown.contains(reason), "{shown}");
                assert!(!shown.contains("CANARY"), "{key}: {shown}");
            }
            let way = &keyside.status()["egress"]["proxy"];
            assert_eq!(way, "http://127.0.0.1:1", "{key}");
            keyside.dir().write("proxy.toml", &config);
            assert_eq!(keyside.reload().status, 200, "{key}");
            assert_eq!(unusable(&keyside), [serde_json::Value::Null; 0], "{key}");
        }
    }
}

#[test]
fn a_bad_value_of_a_new_table_leaves_the_way_out_and_the_limits_as_they_were() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    keyside.dir().write("new", "CANARY//");
    let folder = keyside.dir().path().display().to_string();
    for (table, key, waits) in [
        (
            "[limits]\nredis",
            "limits.redis",
            "on_failure decides without a server",
        ),
        ("[egress]\nproxy", "egress.proxy", "stays in use"),
        (
            "[state]\ndir = \"@DIR@/state\"\nkey",
            "state.key",
            "expected 32 random ones",
        ),
    ] {
        let table = table.replace("@DIR@", &folder);
        let more = format!("{config}{table} = \"file:{folder}/new\"\n");
        keyside.dir().write("proxy.toml", more);
        let token = format!("{TOKEN}{key}").replace('.', "");
        keyside.dir().write("token", &token);
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{key}: {}", reloaded.text());
        assert_eq!(token_sent(&keyside, &upstream), token, "{key}");
        let log = keyside.log();
        assert!(log.contains(key) && log.contains(waits), "{key}: {log}");
        assert!(!log.contains("CANARY"), "{key}: {log}");
        let problems = keyside.problems();
        assert!(problems.contains(key), "{key}: {problems}");
        assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    }
}

#[test]
fn a_bad_value_behind_a_newly_named_reference_of_a_credential_keeps_only_that_credential() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .file("other", format!("{TOKEN}1"))
        .more(
            "[credential.other]\nprovider = \"test\"\ntoken = \"file:@DIR@/other\"\n\
             [[route]]\ncredential = \"other\"\npath = \"/other\"\n",
        )
        .start();
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    for bad in ["", "\"CANARY\"", "CANARY=x\ny"] {
        keyside.dir().write("new", bad);
        let token = format!("{TOKEN}{}", bad.len() + 2);
        keyside.dir().write("other", &token);
        let changed = config.replace("/token\"", "/new\"");
        assert_ne!(changed, config);
        keyside.dir().write("proxy.toml", changed);
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{bad}: {}", reloaded.text());
        assert!(reloaded.text().contains("credential.acme"), "{bad}");
        assert!(!reloaded.text().contains("CANARY"), "{bad}");
        assert_eq!(token_sent(&keyside, &upstream), TOKEN, "{bad}");
        assert_eq!(keyside.post(&format!("/other{MESSAGES}"), "{}").status, 200);
        let sent = upstream.last_to(MESSAGES).header("authorization").unwrap();
        assert_eq!(sent, format!("Bearer {token}"), "{bad}");
        keyside.dir().write("proxy.toml", &config);
        assert_eq!(keyside.reload().status, 200, "{bad}");
    }
}

#[test]
fn a_check_refuses_a_key_without_which_no_event_gets_on() {
    for (file, content, key) in [
        ("key", Some("short"), "state.key"),
        ("key", Some(""), "state.key"),
        ("key", None, "state.key"),
        ("sign", Some("whsec_notbase64!!!"), "webhook acme: sign"),
        ("sign", None, "webhook acme: sign"),
    ] {
        let upstream = Upstream::ok();
        let setup = setup(&upstream);
        match content {
            Some(content) => drop(setup.dir().write(file, content)),
            None => std::fs::remove_file(setup.dir().join(file)).unwrap(),
        }
        let done = setup.finish("check");
        assert_eq!(done.code, Some(78), "{file} {content:?}: {}", done.output);
        let told = done.output.lines().filter(|line| line.contains(key));
        assert_eq!(told.count(), 1, "{file} {content:?}: {}", done.output);
    }
}
