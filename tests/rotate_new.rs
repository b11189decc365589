//! `keyside rotate --new`: a secret that a user gives, for every provider.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Client, get};
use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish, free_port};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{Upstream, json as json_answer};
use crate::support::{APP_SECRET, TOKEN};

const NEW: &str = "EAANEWGIVENxyz0123456789";

fn rotate(dir: &Directory, arguments: &[&str], input: &str) -> Finished {
    rotate_named(dir, "acme", arguments, input)
}

fn rotate_named(dir: &Directory, name: &str, arguments: &[&str], input: &str) -> Finished {
    let log = |name: &str| std::fs::File::create(dir.join(name)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyside"))
        .args(["rotate", name, "--config"])
        .arg(dir.join("proxy.toml"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(log("rotate.out"))
        .stderr(log("rotate.err"))
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let code = child.wait().unwrap().code();
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    Finished {
        code,
        output: format!("{}{}", read("rotate.out"), read("rotate.err")),
    }
}

fn stand() -> (Directory, Sandbox, Keyside) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    sandbox.ask("POST", "tokens", &json!({ "token": NEW }));
    let keyside = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    (secrets, sandbox, keyside)
}

fn is_good(sandbox: &Sandbox, token: &str) -> bool {
    let question = get(&format!(
        "/v23.0/106540352242922?fields=id&access_token={token}"
    ));
    let mut client = Client::connect(sandbox.address()).unwrap();
    client.ask(&question).unwrap().status == 200
}

#[test]
fn a_token_from_standard_input_is_proved_placed_and_used_and_the_old_one_revoked() {
    let (_secrets, sandbox, keyside) = stand();
    let admin = keyside.admin().to_string();
    let done = rotate(
        keyside.dir(),
        &["--new", "-", "--admin", &admin],
        &format!("{NEW}\n"),
    );
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(
        !done.output.contains(NEW) && !done.output.contains(TOKEN),
        "{}",
        done.output
    );
    let held = std::fs::read_to_string(keyside.dir().join("token")).unwrap();
    assert_eq!(held, NEW);
    assert!(is_good(&sandbox, NEW) && !is_good(&sandbox, TOKEN));
}

#[test]
fn a_token_that_the_provider_refuses_is_not_placed() {
    let (_secrets, sandbox, keyside) = stand();
    let admin = keyside.admin().to_string();
    let file = keyside.dir().write("new", "EAAUNKNOWNxyz0123456789");
    let reference = format!("file:{}", file.display());
    let failed = rotate(keyside.dir(), &["--new", &reference, "--admin", &admin], "");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(
        failed.output.contains("nothing was changed"),
        "{}",
        failed.output
    );
    let held = std::fs::read_to_string(keyside.dir().join("token")).unwrap();
    assert_eq!(held, TOKEN);
    assert!(is_good(&sandbox, TOKEN));
}

#[test]
fn what_cannot_be_a_secret_is_refused_as_a_bad_secret() {
    let (_secrets, _sandbox, keyside) = stand();
    for (input, reason) in [
        ("", "no value"),
        ("0123456789abcdef0123456789abcdef", "app secret"),
        ("Bearer EAAxyz", "authorization scheme"),
    ] {
        let failed = rotate(keyside.dir(), &["--new", "-"], input);
        assert_eq!(failed.code, Some(78), "{}", failed.output);
        assert!(failed.output.contains(reason), "{}", failed.output);
    }
    let failed = rotate(keyside.dir(), &["--new", "file:/nonexistent/new"], "");
    assert_eq!(failed.code, Some(78), "{}", failed.output);
}

#[test]
fn a_secret_in_the_place_of_a_reference_is_refused_and_not_repeated() {
    let (_secrets, _sandbox, keyside) = stand();
    for arguments in [["--new", NEW], ["--place", NEW]] {
        let failed = rotate(keyside.dir(), &arguments, "");
        assert_eq!(failed.code, Some(2), "{}", failed.output);
        assert!(!failed.output.contains(NEW), "{}", failed.output);
    }
}

#[test]
fn the_key_of_another_provider_is_replaced_and_its_end_left_to_the_user() {
    let upstream = Upstream::answering(|request| {
        let is_known = ["keyOLD0123456789abcdef", "keyNEW0123456789abcdef"]
            .iter()
            .any(|key| request.header("d360-api-key").as_deref() == Some(*key));
        if is_known {
            json_answer("{}")
        } else {
            b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_vec()
        }
    });
    let keyside = Setup::new(&upstream)
        .file("key", "keyOLD0123456789abcdef")
        .file("new", "keyNEW0123456789abcdef\n")
        .config(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [provider.test]\nextends = \"360dialog\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.acme]\nprovider = \"test\"\napi_key = \"file:@DIR@/key\"\n[[route]]\ncredential = \"acme\"\n",
        )
        .start();
    let admin = keyside.admin().to_string();
    let exchange = rotate(keyside.dir(), &["--admin", &admin], "");
    assert_eq!(exchange.code, Some(1), "{}", exchange.output);
    assert!(exchange.output.contains("--new"), "{}", exchange.output);
    let reference = format!("file:{}", keyside.dir().join("new").display());
    let unproved = rotate(keyside.dir(), &["--new", &reference, "--admin", &admin], "");
    assert_eq!(unproved.code, Some(1), "{}", unproved.output);
    assert!(
        unproved.output.contains("must not be deleted yet"),
        "{}",
        unproved.output
    );
    assert_eq!(keyside.post("/messages", "{}").status, 200);
    let done = rotate(keyside.dir(), &["--new", &reference, "--admin", &admin], "");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(
        done.output.contains("delete it in the dashboard"),
        "{}",
        done.output
    );
    let held = std::fs::read_to_string(keyside.dir().join("key")).unwrap();
    assert_eq!(held, "keyNEW0123456789abcdef");
}

#[test]
fn the_old_token_lives_until_each_of_the_sidecars_sends_with_the_new_one() {
    let (_secrets, sandbox, keyside) = stand();
    let second = Setup::at(&sandbox.url())
        .check()
        .credential(&format!(
            "token = \"file:{0}/token\"\napp_secret = \"file:{0}/app_secret\"\n",
            keyside.dir().path().display()
        ))
        .start();
    let (first, second_admin) = (keyside.admin().to_string(), second.admin().to_string());
    let nowhere = format!("127.0.0.1:{}", free_port());
    let failed = rotate(keyside.dir(), &["--admin", &first, "--admin", &nowhere], "");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(is_good(&sandbox, TOKEN));
    let held = std::fs::read_to_string(keyside.dir().join("token")).unwrap();
    assert_eq!(held, TOKEN, "{}", failed.output);
    let status = keyside.status();
    assert_eq!(status["credentials"][0]["sends"], "current");
    let done = rotate(
        keyside.dir(),
        &["--admin", &first, "--admin", &second_admin],
        "",
    );
    assert_eq!(done.code, Some(0), "{}", done.output);
    for admin in [first, second_admin] {
        assert!(
            done.output
                .contains(&format!("the sidecar at {admin} sends")),
            "{}",
            done.output
        );
    }
    assert!(!is_good(&sandbox, TOKEN));
}

#[test]
fn a_dry_run_tells_what_would_fail() {
    let (_secrets, _sandbox, keyside) = stand();
    let nowhere = format!("127.0.0.1:{}", free_port());
    let said = rotate(keyside.dir(), &["--dry-run", "--admin", &nowhere], "");
    assert_eq!(said.code, Some(1), "{}", said.output);
    for text in [
        "which can be written",
        "no sidecar answers",
        "The journal: ",
    ] {
        assert!(said.output.contains(text), "{text}: {}", said.output);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args([
            "rotate",
            "acme",
            "--dry-run",
            "--place",
            "systemd:acme-token",
            "--config",
        ])
        .arg(keyside.dir().join("proxy.toml"))
        .args(["--admin", &keyside.admin().to_string()]);
    let said = finish(&mut command, Duration::from_secs(20));
    assert_eq!(said.code, Some(1), "{}", said.output);
    assert!(!said.output.contains("would"), "{}", said.output);
    let by_hand = "by hand: write the file that LoadCredential=acme-token:";
    for text in ["cannot be written", by_hand] {
        assert!(said.output.contains(text), "{text}: {}", said.output);
    }
}

/// The provider takes a new app secret for the proof of requests only later.
#[test]
fn a_dry_run_judges_a_new_app_secret_as_the_run_does() {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let keyside = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET)
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret.new\"]\n",
        )
        .start();
    let admin = keyside.admin().to_string();
    let new = "9f112233445566778899aabbccddee9f";
    let run = |more: &[&str]| {
        let options = [&["--new", "-", "--admin", &admin], more].concat();
        rotate_named(keyside.dir(), "acme.app_secret", &options, new)
    };
    let place = keyside.dir().join("app_secret.new");
    let dry = run(&["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.output);
    let step = format!(
        "3. would be written to file:{}, beside the secret in use",
        place.display()
    );
    assert!(dry.output.contains(&step), "{}", dry.output);
    assert!(!dry.output.contains("revoke"), "{}", dry.output);
    assert!(!place.exists(), "a dry run changes nothing");
    let done = run(&[]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(std::fs::read_to_string(&place).unwrap(), new);
    assert!(!dry.output.contains(new) && !done.output.contains(new));
}

#[test]
fn a_wait_for_a_sidecar_that_reads_another_place_is_told() {
    let (_secrets, _sandbox, keyside) = stand();
    let program = "#!/bin/sh\nset -e\n/bin/cat > @/token.next\n(sleep 2; /bin/mv @/token.next @/token) >/dev/null 2>&1 &\n";
    let program = program.replace('@', &keyside.dir().path().display().to_string());
    let path = keyside.dir().write("put", program);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o500)).unwrap();
    let admin = keyside.admin().to_string();
    let place = format!("exec:{}", path.display());
    let done = rotate(keyside.dir(), &["--place", &place, "--admin", &admin], "");
    assert_eq!(done.code, Some(0), "{}", done.output);
    let waits = format!("waiting up to 2m for the sidecar at {admin} to read the new secret");
    assert_eq!(done.output.matches(&waits).count(), 1, "{}", done.output);
}

#[test]
fn a_program_takes_the_new_secret_where_keyside_cannot_write() {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let setup = Setup::at(&sandbox.url())
        .check()
        .file("app_secret", APP_SECRET);
    let program = "#!/bin/sh\nset -e\n/bin/cat > @/token.next\n/bin/mv @/token.next @/token\n";
    let program = program.replace('@', &setup.dir().path().display().to_string());
    let path = setup.dir().write("put", program);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o500)).unwrap();
    for place in ["place = \"exec:@DIR@/put\"\n", ""] {
        let keyside = Setup::at(&sandbox.url())
            .check()
            .credential(&format!(
                "token = \"file:{0}/token\"\napp_secret = \"file:{0}/app_secret\"\n{1}",
                setup.dir().path().display(),
                place.replace("@DIR@", &setup.dir().path().display().to_string())
            ))
            .start();
        let before = std::fs::read_to_string(setup.dir().join("token")).unwrap();
        let sent = before.trim().to_owned();
        if !is_good(&sandbox, &sent) {
            sandbox.ask("POST", "tokens", &json!({ "token": sent }));
        }
        let admin = keyside.admin().to_string();
        let option = format!("exec:{}", path.display());
        let mut arguments = vec!["--admin", &admin];
        if place.is_empty() {
            arguments.extend(["--place", &option]);
        }
        let done = rotate(keyside.dir(), &arguments, "");
        assert_eq!(done.code, Some(0), "{}", done.output);
        assert!(
            done.output.contains("3. written to exec:"),
            "{}",
            done.output
        );
        let after = std::fs::read_to_string(setup.dir().join("token")).unwrap();
        assert!(is_good(&sandbox, after.trim()) && !is_good(&sandbox, &sent));
    }
}
