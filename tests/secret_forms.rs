//! Values and sources that plainly are not what was meant: told by `keyside check`, without the
//! value.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::support::keyside::{Directory, Setup, finish};
use crate::support::upstream::Upstream;
use crate::support::{APP_SECRET, TOKEN, base64};

const CANARY: &str = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1v";

#[test]
fn a_value_that_plainly_is_no_token_is_refused_with_a_hint_and_never_repeated() {
    let upstream = Upstream::ok();
    let table = [
        (format!("TOKEN={CANARY}"), "NAME=value"),
        (format!("{{\"token\":\"{CANARY}\"}}"), "#FIELD"),
        (base64(CANARY.as_bytes()), "base64 of an access token"),
        ("${CANARY_Gm0PX4}".to_owned(), "placeholder"),
        ("{{ CANARY_Gm0PX4 }}".to_owned(), "placeholder"),
        ("<your Gm0PX4 token>".to_owned(), "placeholder"),
        (format!("{CANARY} {CANARY}"), "space inside"),
        (format!("-----BEGIN {CANARY}-----"), "PEM"),
        (format!("{}...", &CANARY[..12]), "placeholder"),
        ("changeme".to_owned(), "placeholder"),
        ("EAA123".to_owned(), "placeholder"),
        (format!("Bearer {CANARY}"), "authorization scheme"),
        (format!("\"{CANARY}\""), "without quotes"),
        ("0123456789abcdef0123456789abcdef".to_owned(), "app secret"),
        (format!("token:{CANARY}"), "around the access token"),
        (format!("{CANARY},"), "comma"),
        (format!("{CANARY}\\n"), "backslash"),
        (format!("({CANARY})"), "bracket"),
        (format!("Bearer%20{CANARY}"), "percent-encoded"),
        (
            format!("https://graph.facebook.com/me?access_token={CANARY}"),
            "URL",
        ),
        ("vault:secret/Gm0PX4#token".to_owned(), "reference"),
        ("/run/secrets/Gm0PX4/token".to_owned(), "path of a file"),
        ("106540352242922".to_owned(), "number"),
        ("634974688087057|a1Gm0PX4b2".to_owned(), "of an app"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJHbTBQWDQiOjF9.sGm0PX4ig".to_owned(),
            "JSON Web Token",
        ),
    ];
    for (value, hint) in table {
        let done = Setup::new(&upstream)
            .file("token", format!("{value}\n"))
            .finish("check");
        assert_eq!(done.code, Some(78), "{value}: {}", done.output);
        assert!(done.output.contains(hint), "{value}: {}", done.output);
        for part in ["Gm0PX4", value.as_str()] {
            assert!(!done.output.contains(part), "{value}: {}", done.output);
        }
    }
}

#[test]
fn several_secrets_of_one_file_are_told_apart_by_their_fields() {
    let upstream = Upstream::ok();
    let config = |file: &str, token: &str| {
        format!(
            "[credential.acme]\nprovider = \"meta\"\ncheck = \"off\"\ntoken = \"file:@DIR@/{file}#{token}\"\n\
             app_secret = \"file:@DIR@/{file}#APP_SECRET\"\n[[route]]\ncredential = \"acme\"\n"
        )
    };
    let json = format!("{{\"token\": \"{CANARY}\", \"APP_SECRET\": \"{APP_SECRET}\"}}");
    let lines = format!("# of acme\ntoken=\"{CANARY}\"\nexport APP_SECRET={APP_SECRET}\n");
    for (field, code) in [("token", 0), ("tokne", 78)] {
        for (name, text) in [("acme.json", &json), ("acme.env", &lines)] {
            let done = Setup::new(&upstream)
                .file(name, text)
                .config(&config(name, field))
                .finish("check");
            assert_eq!(done.code, Some(code), "{name}: {}", done.output);
            let is_told = done.output.contains("has no field `tokne`");
            assert_eq!(is_told, code == 78, "{name}: {}", done.output);
            for secret in ["Gm0PX4", APP_SECRET] {
                assert!(!done.output.contains(secret), "{}", done.output);
            }
        }
    }
}

#[test]
fn a_token_of_meta_and_a_key_of_webhooks_are_no_key_of_another_provider() {
    let config = "[credential.d]\nprovider = \"360dialog\"\napi_key = \"file:@DIR@/key\"\n\
                  webhook_token = \"file:@DIR@/chosen\"\n[[route]]\ncredential = \"d\"\n";
    for (key, code, told) in [
        (CANARY, 78, "this provider's own key"),
        (
            "whsec_Gm0PX48GKYqrTwjUPD8ILPZIo2LaLaSw",
            78,
            "key of webhooks",
        ),
        ("d0ZkTQr5Zc1PVd2hT8mQw7XkAK", 0, "well formed"),
    ] {
        let done = Setup::at("http://127.0.0.1:1")
            .file("key", key)
            .file("chosen", "my-verify-token=1")
            .config(config)
            .finish("check");
        assert_eq!(done.code, Some(code), "{}", done.output);
        assert!(done.output.contains(told), "{}", done.output);
        assert!(!done.output.contains("Gm0PX4"), "{}", done.output);
    }
}

fn program(dir: &Directory, text: &str) {
    let path = dir.write("helper", format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_program_gets_a_short_environment_and_its_complaint_is_told_without_secrets() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream)
        .credential("token = \"exec:@DIR@/helper\"")
        .env("HOME", "/home/nobody")
        .env("AWS_PROFILE", "whatsapp")
        .env("VAULT_TOKEN", CANARY)
        .env("AWS_SECRET_ACCESS_KEY", CANARY);
    let seen = setup.dir().join("seen").display().to_string();
    program(setup.dir(), &format!("env > {seen}; echo {TOKEN}"));
    let done = setup.finish("check");
    assert_eq!(done.code, Some(0), "{}", done.output);
    let seen = std::fs::read_to_string(seen).unwrap();
    for line in ["HOME=/home/nobody", "AWS_PROFILE=whatsapp"] {
        assert!(seen.lines().any(|own| own == line), "{seen}");
    }
    assert!(!seen.contains(CANARY), "{seen}");

    program(
        setup.dir(),
        &format!("echo {CANARY}; printf '\\033[1mno login for {CANARY}\\nmore\\n' >&2; exit 3"),
    );
    let done = setup.finish("check");
    assert_eq!(done.code, Some(78), "{}", done.output);
    assert!(
        done.output
            .contains("ended with exit status: 3: [1mno login for [redacted]"),
        "{}",
        done.output
    );
    for part in ["Gm0PX4", "\u{1b}", "more"] {
        assert!(!done.output.contains(part), "{part}: {}", done.output);
    }

    // A program with much standard error and a second program in the background gives the secret as
    // well.
    program(
        setup.dir(),
        &format!("head -c 200000 /dev/zero >&2; sleep 5 >/dev/null & echo {TOKEN}"),
    );
    let done = setup.finish("check");
    assert_eq!(done.code, Some(0), "{}", done.output);
}

#[test]
fn a_file_that_is_mounted_by_itself_is_warned_about() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    let config = setup.write_config();
    let token = setup.dir().join("token");
    let mounted = |file: &str, target: &str| {
        let script = "mount --bind \"$1\" \"$2\" && exec \"$3\" check -c \"$4\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", file, target]);
        command.arg(env!("CARGO_BIN_EXE_keyside")).arg(&config);
        finish(&mut command, Duration::from_secs(10))
    };
    let [token, folder] = [token.as_path(), setup.dir().path()].map(|path| path.to_str().unwrap());
    let file = mounted(token, token);
    if file.code != Some(0) {
        eprintln!("skipped: no mount here: {}", file.output);
        return;
    }
    assert!(
        file.output.contains("it is mounted by itself"),
        "{}",
        file.output
    );
    let whole = mounted(folder, folder);
    assert_eq!(whole.code, Some(0), "{}", whole.output);
    assert!(
        !whole.output.contains("it is mounted by itself"),
        "{}",
        whole.output
    );
}
