//! A journal of a rotation that the sidecar cannot read is told.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::client::get;
use crate::support::keyside::{Directory, Setup, finish};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::Upstream;
use crate::support::{APP_SECRET, TOKEN, eventually};

const NOBODY: &str = "65534";

/// A rotation by root writes to the state folder of a sidecar that is another user's.
#[test]
fn a_rotation_by_root_leaves_the_state_folder_to_the_user_of_the_sidecar() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &[]);
    let setup = Setup::at(&sandbox.url())
        .check()
        .under(&["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .file("app_secret", APP_SECRET)
        .file("state_key", "qm3Jc0yqz4l7Vt8xWn2Rb6Ks9Pd1Hf5Ug==\n")
        .credential(
            "token = \"file:@DIR@/own/token\"\napp_secret = \"file:@DIR@/app_secret\"\nrenew = \"14d\"\noverlap = \"6s\"\n",
        )
        .more("[state]\ndir = \"@DIR@/own/state\"\nkey = \"file:@DIR@/state_key\"\n");
    let own = setup.dir().join("own");
    setup.dir().write("own/token", TOKEN);
    let nobody = Some(65534);
    for path in [own.clone(), own.join("token")] {
        std::os::unix::fs::chown(&path, nobody, nobody).unwrap();
    }
    let mut keyside = setup.start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(["rotate", "acme", "--config"])
        .arg(keyside.dir().join("proxy.toml"))
        .args(["--admin", &keyside.admin().to_string()]);
    let done = finish(&mut command, Duration::from_secs(20));
    assert_eq!(done.code, Some(0), "{}", done.output);
    let entries = std::fs::read_dir(own.join("state")).unwrap();
    let entries: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    assert!(entries.len() > 1, "{entries:?}");
    for entry in entries {
        let metadata = entry.metadata().unwrap();
        assert_eq!(
            (metadata.uid(), metadata.mode() & 0o077),
            (65534, 0),
            "{entry:?}"
        );
    }
    let token = || std::fs::read_to_string(own.join("token")).unwrap();
    let before = token();
    let soon = SystemTime::now() + Duration::from_secs(864_000);
    let soon = soon
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let change = serde_json::json!({ "token": before.trim(), "expires_at": soon });
    sandbox.ask("POST", "tokens", &change);
    // A start asks about the token at once.
    keyside.end(rustix::process::Signal::TERM);
    keyside.begin();
    let is_renewed = || token() != before;
    assert!(
        eventually(Duration::from_secs(10), is_renewed),
        "{}\n{}",
        keyside.problems(),
        keyside.log()
    );
}

/// A rotation that root began, and nobody goes on with.
#[test]
fn a_journal_of_another_user_is_told_once_no_rotation_is_under_way() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).under(&[
        "setpriv",
        "--reuid",
        NOBODY,
        "--regid",
        NOBODY,
        "--clear-groups",
    ]);
    let journal = setup.dir().write(".token.keyside-journal", "a record\n");
    std::fs::set_permissions(&journal, Permissions::from_mode(0o600)).unwrap();
    let written = |age: u64| {
        let file = File::options().write(true).open(&journal).unwrap();
        let at = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(at).unwrap();
    };
    written(0);
    let mut keyside = setup.start();
    let found =
        |status: serde_json::Value| status["credentials"][0]["unfinished_rotations"].clone();
    let metric = "keyside_credential_rotation_unfinished";
    assert_eq!(
        found(keyside.status()),
        serde_json::json!([]),
        "it may be under way"
    );

    keyside.end(rustix::process::Signal::TERM);
    written(120);
    keyside.begin();
    let is_told = || keyside.metric(metric, &[]) == 1.0;
    assert!(
        eventually(Duration::from_secs(5), is_told),
        "{}",
        keyside.log()
    );
    let ready = keyside.ask_admin(&get("/readyz?route=acme"));
    assert_eq!(ready.status, 200);
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["status", "--check", "--admin", &keyside.admin().to_string()]);
    let said = finish(&mut command, Duration::from_secs(10));
    assert_eq!(said.code, Some(1));
    for text in [ready.text(), said.output, keyside.log()] {
        assert!(
            text.contains("cannot be read by this process: Permission denied"),
            "{text}"
        );
        assert!(
            text.contains("`keyside rotate acme` again as the user"),
            "{text}"
        );
    }
    std::fs::remove_file(&journal).unwrap();
    let is_over = || keyside.metric(metric, &[]) == 0.0;
    assert!(eventually(Duration::from_secs(35), is_over));
}
