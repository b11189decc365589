//! `keyside rotate` with sources and places in every state: missing, malformed, several secrets in
//! one file.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, get};
use crate::support::keyside::{Directory, Finished, Keyside, Setup};
use crate::support::sandbox::Sandbox;
use crate::support::{APP_SECRET, TOKEN, eventually};

const NEW: &str = "EAANEWGIVENxyz0123456789";
/// The secrets of a credential in two files.
pub(crate) const PLAIN: &str =
    "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n";

/// The sandbox of Meta, and a sidecar that sends to it.
pub(crate) struct Stand {
    pub(crate) sandbox: Sandbox,
    pub(crate) keyside: Keyside,
    _secrets: Directory,
}

impl Stand {
    /// Starts a sidecar whose file `name` has the content.
    pub(crate) fn start(credential: &str, name: &str, content: &str) -> Self {
        let secrets = Directory::new();
        secrets.write("token", TOKEN);
        secrets.write("app_secret", APP_SECRET);
        let sandbox = Sandbox::start(&secrets, &[]);
        sandbox.ask("POST", "tokens", &json!({ "token": NEW }));
        let setup = Setup::at(&sandbox.url())
            .check()
            .file("app_secret", APP_SECRET)
            .file(name, content)
            .credential(credential);
        Self {
            sandbox,
            keyside: setup.start(),
            _secrets: secrets,
        }
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Finished {
        let done = self.command(arguments, input).output().unwrap();
        Finished {
            code: done.status.code(),
            output: [done.stdout, done.stderr]
                .map(|text| String::from_utf8(text).unwrap())
                .concat(),
        }
    }

    pub(crate) fn command(&self, arguments: &[&str], input: &str) -> Command {
        let dir = self.keyside.dir();
        dir.write("input", input);
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .args(arguments)
            .args(["--admin", &self.keyside.admin().to_string(), "--config"])
            .arg(dir.join("proxy.toml"))
            .env("HOME", dir.path())
            .env_remove("XDG_STATE_HOME")
            .stdin(std::fs::File::open(dir.join("input")).unwrap());
        command
    }

    pub(crate) fn held(&self, name: &str) -> String {
        std::fs::read_to_string(self.keyside.dir().join(name)).unwrap()
    }

    pub(crate) fn is_good(&self, token: &str) -> bool {
        let question = get(&format!(
            "/v23.0/106540352242922?fields=id&access_token={token}"
        ));
        let mut client = Client::connect(self.sandbox.address()).unwrap();
        client.ask(&question).unwrap().status == 200
    }

    pub(crate) fn sends(&self) -> bool {
        let credential = &self.keyside.status()["credentials"][0];
        credential["usable"] == true && credential["sends"] == "current"
    }
}

#[test]
fn a_new_token_takes_the_place_of_one_that_is_missing() {
    let mut stand = Stand::start(PLAIN, "other", "");
    std::fs::remove_file(stand.keyside.dir().join("token")).unwrap();
    stand.keyside.end(Signal::TERM);
    stand.keyside.begin();
    let tried = stand.run(&["rotate", "acme", "--new", "-", "--dry-run"], NEW);
    assert_eq!(tried.code, Some(0), "{}", tried.output);
    let done = stand.run(&["rotate", "acme", "--new", "-"], NEW);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(
        done.output.contains("none that can be used"),
        "{}",
        done.output
    );
    assert_eq!(stand.held("token"), NEW);
    assert!(stand.sends());
}

#[test]
fn a_new_token_takes_the_place_of_what_is_no_token() {
    for content in ["TOKEN=EAAxyz0123456789", "two\nlines", ""] {
        let stand = Stand::start(PLAIN, "other", "");
        stand.keyside.dir().write("token", content);
        let exchange = stand.run(&["rotate", "acme"], "");
        assert_eq!(exchange.code, Some(78), "{content}: {}", exchange.output);
        let done = stand.run(&["rotate", "acme", "--new", "-"], NEW);
        // The sidecar sent with the token of before. The command does not know its value.
        assert_eq!(done.code, Some(1), "{content}: {}", done.output);
        assert!(
            done.output
                .contains("was in use until now and may be alive"),
            "{content}: {}",
            done.output
        );
        assert_eq!(stand.held("token"), NEW, "{content}");
        assert!(stand.sends(), "{content}");
    }
}

#[test]
fn a_malformed_value_from_standard_input_is_blamed_on_itself() {
    let stand = Stand::start(PLAIN, "other", "");
    for input in ["0123456789abcdef0123456789abcdef", "TOKEN=EAAxyz"] {
        let failed = stand.run(&["rotate", "acme", "--new", "-"], input);
        assert_eq!(failed.code, Some(78), "{}", failed.output);
        assert!(
            failed.output.contains("the new secret: ") && !failed.output.contains("file:"),
            "{}",
            failed.output
        );
    }
}

#[test]
fn a_place_that_is_not_there_yet_is_made() {
    let stand = Stand::start(PLAIN, "other", "");
    let dir = stand.keyside.dir();
    let place = format!("file:{}", dir.join("home").display());
    let done = thread::scope(|scope| {
        // The carrier from the home of the secret to the sidecar, such as a kubelet.
        scope.spawn(|| {
            let is_there = || dir.join("home").exists();
            assert!(eventually(Duration::from_secs(60), is_there));
            dir.write("token", std::fs::read(dir.join("home")).unwrap());
        });
        stand.run(&["rotate", "acme", "--place", &place], "")
    });
    assert_eq!(done.code, Some(0), "{}", done.output);
    let new = stand.held("home");
    assert!(stand.is_good(&new) && !stand.is_good(TOKEN));
}

#[test]
fn a_program_that_fails_stands_in_no_ones_way() {
    let stand = Stand::start(PLAIN, "other", "");
    let failing = ["rotate", "acme", "--place", "exec:/bin/false"];
    let failed = stand.run(&failing, "");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    // Sidecars read the old token: the new one is not needed.
    let revoked = stand.run(&["revoke", "acme"], "");
    assert_eq!(revoked.code, Some(0), "{}", revoked.output);
    assert!(
        revoked.output.contains("the unused token is revoked"),
        "{}",
        revoked.output
    );
    assert!(stand.is_good(TOKEN) && stand.sends());
    let failed = stand.run(&failing, "");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    let place = format!("file:{}", stand.keyside.dir().join("token").display());
    let done = stand.run(&["rotate", "acme", "--place", &place], "");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(stand.is_good(&stand.held("token")) && !stand.is_good(TOKEN));
}

#[test]
fn an_app_secret_from_before_the_change_at_the_provider_is_placed_by_hand() {
    let stand = Stand::start(PLAIN, "other", "");
    let early = stand.run(
        &["rotate", "acme.app_secret", "--new", "-"],
        "d41d8cd98f00b204e9800998ecf8427e",
    );
    assert_eq!(early.code, Some(1), "{}", early.output);
    for text in ["give the secret a second reference", "by hand: (umask 077"] {
        assert!(early.output.contains(text), "{text}: {}", early.output);
    }
    assert_eq!(stand.held("app_secret"), APP_SECRET);
}

#[test]
fn an_app_secret_from_before_the_change_at_the_provider_is_placed_beside_the_one_in_use() {
    const NEXT: &str = "d41d8cd98f00b204e9800998ecf8427e";
    let list = "token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret.next\"]\n";
    let stand = Stand::start(list, "other", "");
    let rotate = ["rotate", "acme.app_secret", "--new", "-"];
    let early = stand.run(&rotate, NEXT);
    assert_eq!(early.code, Some(0), "{}", early.output);
    assert!(
        early.output.contains("accepts events signed with"),
        "{}",
        early.output
    );
    assert_eq!(stand.held("app_secret"), APP_SECRET);
    assert_eq!(stand.held("app_secret.next").trim(), NEXT);
    assert!(stand.sends(), "with the secret in use");
    let again = stand.run(&rotate, NEXT);
    assert_eq!(again.code, Some(0), "{}", again.output);
    let other = stand.run(&rotate, "00000000000000000000000000000abc");
    assert_eq!(other.code, Some(1), "{}", other.output);
    assert!(
        other.output.contains("holds nothing yet"),
        "{}",
        other.output
    );
    assert_eq!(stand.held("app_secret.next").trim(), NEXT);
}

#[test]
fn a_field_of_an_object_in_a_file_is_written() {
    let credential =
        "token = \"file:@DIR@/all.json#token\"\napp_secret = \"file:@DIR@/app_secret\"\n";
    let content = format!(r#"{{"b": {{"a":1.50}}, "token": "{TOKEN}"}}"#);
    let stand = Stand::start(credential, "all.json", &content);
    let done = stand.run(&["rotate", "acme"], "");
    assert_eq!(done.code, Some(0), "{}", done.output);
    let after: serde_json::Value = serde_json::from_str(&stand.held("all.json")).unwrap();
    assert_eq!(after["b"], json!({ "a": 1.5 }));
    assert!(stand.is_good(after["token"].as_str().unwrap()) && !stand.is_good(TOKEN));
}

#[test]
fn lines_in_a_file_are_written_with_the_printed_command() {
    let credential =
        "token = \"file:@DIR@/all.env#TOKEN\"\napp_secret = \"file:@DIR@/app_secret\"\n";
    let content = format!("# both\nexport TOKEN=\"{TOKEN}\"\nTOKEN_2=two\n");
    let stand = Stand::start(credential, "all.env", &content);
    let refused = stand.run(&["rotate", "acme"], "");
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    let command = refused.output.split("; by hand: ").nth(1).unwrap();
    let command = command.split("; nothing").next().unwrap().to_owned();
    stand.keyside.dir().write("NEW", format!("{NEW}\n"));
    let mut shell = Command::new("sh")
        .current_dir(stand.keyside.dir().path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(command.as_bytes())
        .unwrap();
    assert!(shell.wait().unwrap().success(), "{command}");
    let expected = format!("# both\nTOKEN_2=two\nTOKEN={NEW}\n");
    assert_eq!(stand.held("all.env"), expected);
    assert_eq!(stand.keyside.reload().status, 200);
}

/// A list may hold a leftover of any kind behind the secret in use.
#[test]
fn a_malformed_second_reference_takes_nothing_down() {
    let stand = Stand::start(
        "token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret.old\"]\n",
        "app_secret.old",
        "APP_SECRET=0123456789abcdef0123456789abcdef",
    );
    assert!(stand.sends());
    let log = stand.keyside.log();
    assert!(log.contains("app_secret.old`: left out: "), "{log}");
    let done = stand.run(&["rotate", "acme"], "");
    assert_eq!(done.code, Some(0), "{}", done.output);
}
