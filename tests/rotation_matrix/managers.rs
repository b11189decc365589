//! New versions in secret managers, on real servers.

use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::{
    BREAKS, HIGH_LIMITS, NEW, OLD, ROW, Row, Stand, load, messages_with_each, run_with, wait,
    with_each,
};
use crate::support::client::post;
use crate::support::keyside::{Directory, Setup, finish};
use crate::support::load::Load;
use crate::support::manager::{Bao, Moto, ROOT};
use crate::support::sandbox::Sandbox;
use crate::support::{APP_SECRET, MESSAGES, TOKEN};

const VAULT: Row = Row {
    token: "vault:secret/acme#token",
    watch: "off",
    refresh: "1h",
    ..ROW
};

/// OpenBao with the token of the sidecar, for rows that are functions of a stand alone.
static BAO: Mutex<Option<Bao>> = Mutex::new(None);

fn put(token: &str) {
    let bao = BAO.lock().unwrap();
    bao.as_ref()
        .unwrap()
        .put("acme", &json!({ "token": token }));
}

fn signal_bao(signal: Signal) {
    BAO.lock().unwrap().as_ref().unwrap().signal(signal);
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn no_new_version_in_vault_fails_a_request() {
    let bao = Bao::start();
    let environment = bao.environment(ROOT);
    *BAO.lock().unwrap() = Some(bao);
    let rows = [
        Row {
            name: "a new version, and a signal",
            happens: |stand| {
                stand.book.issue(NEW, "one");
                put(NEW);
                stand.hang_up();
            },
            ..VAULT
        },
        Row {
            name: "a new version, found by the refresh",
            watch: "off",
            refresh: "300ms",
            happens: |stand| {
                stand.book.issue(NEW, "one");
                put(NEW);
                wait(700);
            },
            ..VAULT
        },
        Row {
            name: "a new version, the old token dead 0.1 s later",
            happens: |stand| {
                stand.book.issue(NEW, "one");
                put(NEW);
                wait(100);
                stand.book.revoke(OLD);
            },
            ..VAULT
        },
        Row {
            name: "a version without the field",
            ends_with: OLD,
            happens: |stand| {
                let bao = BAO.lock().unwrap();
                bao.as_ref().unwrap().put("acme", &json!({ "other": "x" }));
                drop(bao);
                stand.hang_up();
            },
            ..VAULT
        },
        Row {
            name: "Vault hangs at a signal, and answers 3 s later",
            happens: |stand| {
                signal_bao(Signal::STOP);
                stand.hang_up();
                wait(3000);
                signal_bao(Signal::CONT);
                stand.book.issue(NEW, "one");
                put(NEW);
                stand.hang_up();
            },
            ..VAULT
        },
        Row {
            name: "a leak, the new version 0.5 s after the end of the old token, and no signal",
            happens: |stand| leak_in_vault(stand, 500),
            ..VAULT
        },
        Row {
            name: "a leak, the new version 3 s after the end of the old token, and no signal",
            happens: |stand| leak_in_vault(stand, 3000),
            ..VAULT
        },
        Row {
            name: "a leak, and a signal",
            happens: |stand| {
                leak_in_vault(stand, 1000);
                stand.hang_up();
            },
            ..VAULT
        },
    ];
    for row in rows {
        put(OLD);
        run_with(&[row], &environment);
    }
    *BAO.lock().unwrap() = None;
}

fn leak_in_vault(stand: &Stand, gap: u64) {
    stand.book.revoke(OLD);
    wait(gap);
    stand.book.issue(NEW, "one");
    put(NEW);
    wait(1500);
}

/// The sidecars that the command does not know ask Vault when the provider refuses the old token.
#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_rotation_through_one_of_three_sidecars_with_one_path_in_vault_fails_no_request() {
    let bao = Bao::start();
    bao.put("acme", &json!({ "token": TOKEN, "app_secret": APP_SECRET }));
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &["--per-sender", "100000"]);
    for token in ["EAAOTHERTOKEN", "EAABROKENTOKEN"] {
        sandbox.ask("POST", "tokens", &json!({ "token": token }));
    }
    let beside = |name: &str| {
        format!(
            "[credential.{name}]\nprovider = \"test\"\ntoken = \"file:@DIR@/{name}\"\n\
             app_secret = \"vault:secret/acme#app_secret\"\n\
             [[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\n{HIGH_LIMITS}"
        )
    };
    let sidecars = [(); 3].map(|()| {
        Setup::at(&sandbox.url())
            .check()
            .watch("100ms")
            .file("other", "EAAOTHERTOKEN")
            .file("broken", "EAABROKENTOKEN")
            .more(&["other", "broken"].map(beside).concat())
            .hold("5s")
            .refresh("1h")
            .envs(&bao.environment(ROOT))
            .credential(
                "token = \"vault:secret/acme#token\"\napp_secret = \"vault:secret/acme#app_secret\"\n",
            )
            .start()
    });
    let text =
        r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"}}"#;
    let requests = with_each(|path| post(&format!("{path}{MESSAGES}"), text));
    let load = Load {
        requests: &requests,
        rate: 100,
        callers: 10,
        min_sends: 100,
    };
    let rotate = || {
        for (sidecar, content) in sidecars.iter().zip(["\"EAAQUOTED\"", "EAAUNKNOWN", ""]) {
            sidecar.dir().write("broken", content);
        }
        let first = &sidecars[0];
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .envs(bao.environment(ROOT))
            .args(["rotate", "acme", "--admin", &first.admin().to_string()])
            .arg("--config")
            .arg(first.dir().join("proxy.toml"));
        let done = finish(&mut command, Duration::from_secs(20));
        assert_eq!(done.code, Some(0), "{}", done.output);
        wait(1500);
    };
    let (_, of_first) = load.during(&sidecars[0], || {
        let (_, of_second) = load.during(&sidecars[1], || {
            let (_, of_third) = load.during(&sidecars[2], rotate);
            assert!(of_third.is_empty(), "{:?}", of_third.first());
        });
        assert!(of_second.is_empty(), "{:?}", of_second.first());
    });
    assert!(of_first.is_empty(), "{:?}", of_first.first());
    let in_use = sidecars.each_ref().map(|sidecar| {
        let status = sidecar.status();
        let secrets = status["credentials"][0]["secrets"]
            .as_array()
            .unwrap()
            .clone();
        let token = secrets.iter().find(|secret| secret["name"] == "token");
        token.unwrap()["fingerprint"].clone()
    });
    assert!(in_use.iter().all(|token| *token == in_use[0]), "{in_use:?}");
}

#[test]
#[ignore = "needs moto and the feature aws: tests/run servers"]
fn no_new_version_in_aws_fails_a_request() {
    let moto = Moto::start();
    moto.ask(
        "CreateSecret",
        &json!({ "Name": "acme", "SecretString": OLD }),
    );
    let row = Row {
        token: "aws-sm:acme",
        watch: "off",
        refresh: "1h",
        ..ROW
    };
    let put = |token: &str, stage: &str| {
        let version =
            json!({ "SecretId": "acme", "SecretString": token, "VersionStages": [stage] });
        moto.ask("PutSecretValue", &version);
    };
    for break_it in BREAKS {
        put(OLD, "AWSCURRENT");
        let stand = Stand::start(&row, &moto.environment());
        let (_, failures) = load(&messages_with_each()).during(&stand.keyside, || {
            break_it(&stand);
            stand.book.issue(NEW, "one");
            put("EAAPENDINGTOKEN", "AWSPENDING");
            stand.hang_up();
            wait(500);
            put(NEW, "AWSCURRENT");
            wait(100);
            stand.book.revoke(OLD);
            wait(1500);
        });
        assert!(failures.is_empty(), "{:?}", failures.first());
        assert_eq!(stand.token_sent(""), NEW);
        assert_eq!(stand.token_sent("/broken"), "EAABROKENTOKEN");
    }
}
