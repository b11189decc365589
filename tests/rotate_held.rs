//! A token in several credentials: a rotation of a credential revokes no token in use by a
//! different credential.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::client::{Client, get};
use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish};
use crate::support::sandbox::Sandbox;
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const SENDER: &str = "106540352242922";
const TEXT: &str =
    r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"}}"#;

/// Starts a sandbox whose token ends in ten days, within the time of `renew`, and a sidecar with
/// the token in three files, each for a credential.
fn stand(more_of_acme: &str) -> (Directory, Sandbox, Keyside) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs() + 10 * 86_400;
    let ending = json!({ "token": TOKEN, "expires_at": end });
    sandbox.ask("POST", "tokens", &ending);
    let other = |name: &str| {
        format!(
            "[credential.{name}]\nprovider = \"test\"\ntoken = \"file:@DIR@/{name}\"\napp_secret = \"file:@DIR@/app_secret\"\n\
             [[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\n"
        )
    };
    let keyside = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET)
        .file("second", TOKEN)
        .file("third", TOKEN)
        .credential(&format!(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n{more_of_acme}"
        ))
        .route(&format!("senders = [\"{SENDER}\"]\n"))
        .more(&format!("{}{}", other("second"), other("third")))
        .start();
    (secrets, sandbox, keyside)
}

fn is_good(sandbox: &Sandbox, token: &str) -> bool {
    let question = get(&format!("/v23.0/{SENDER}?fields=id&access_token={token}"));
    let mut client = Client::connect(sandbox.address()).unwrap();
    client.ask(&question).unwrap().status == 200
}

fn token(keyside: &Keyside) -> String {
    let text = std::fs::read_to_string(keyside.dir().join("token")).unwrap();
    text.trim().to_owned()
}

fn command_of(keyside: &Keyside, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(arguments)
        .args(["--admin", &keyside.admin().to_string(), "--config"])
        .arg(keyside.dir().join("proxy.toml"));
    finish(&mut command, Duration::from_secs(20))
}

#[test]
fn a_token_that_other_credentials_send_with_is_not_revoked_before_they_have_the_new_one() {
    let (_secrets, sandbox, keyside) = stand("");
    let said = command_of(&keyside, &["rotate", "acme", "--dry-run"]);
    assert_eq!(said.code, Some(1), "{}", said.output);
    assert!(said.output.contains("`second`"), "{}", said.output);

    let rotated = command_of(&keyside, &["rotate", "acme"]);
    assert_eq!(rotated.code, Some(1), "{}", rotated.output);
    for part in ["nothing was revoked", "`second`, `third`", "revoke acme"] {
        assert!(rotated.output.contains(part), "{part}: {}", rotated.output);
    }
    assert!(is_good(&sandbox, TOKEN), "the others send with it");
    let new = token(&keyside);
    assert!(new != TOKEN && is_good(&sandbox, &new));

    let early = command_of(&keyside, &["revoke", "acme"]);
    assert_eq!(early.code, Some(1), "{}", early.output);
    assert!(is_good(&sandbox, TOKEN));

    let source = format!("file:{}", keyside.dir().join("token").display());
    for (name, code) in [("second", 1), ("third", 0)] {
        let done = command_of(&keyside, &["rotate", name, "--new", &source]);
        assert_eq!(done.code, Some(code), "{name}: {}", done.output);
        assert_eq!(is_good(&sandbox, TOKEN), name == "second", "{name}");
    }
    for name in ["acme", "second"] {
        let done = command_of(&keyside, &["revoke", name]);
        assert_eq!(done.code, Some(0), "{name}: {}", done.output);
    }
    assert!(is_good(&sandbox, &new));
    let path = MESSAGES.replace("1234567890", SENDER);
    assert_eq!(keyside.post(&path, TEXT).status, 200);
}

#[test]
fn a_renewal_revokes_no_token_that_other_credentials_send_with() {
    let (_secrets, sandbox, keyside) = stand("renew = \"14d\"\noverlap = \"3s\"\n");
    let failed = || {
        let labels = ["credential=\"acme\"", "result=\"revocation_failed\""];
        keyside.metric("keyside_rotations_total", &labels)
    };
    assert!(eventually(Duration::from_secs(30), || failed() == 1.0));
    assert!(is_good(&sandbox, TOKEN), "the others send with it");
    assert!(token(&keyside) != TOKEN);
    let status = keyside.status();
    let credentials = status["credentials"].as_array().unwrap();
    let acme = credentials
        .iter()
        .find(|one| one["name"] == "acme")
        .unwrap();
    let told = acme["renewal_problem"].to_string();
    assert!(told.contains("`second`, `third`"), "{told}");
}
