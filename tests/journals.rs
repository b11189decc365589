//! A journal of a rotation that the sidecar cannot read is told.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::client::get;
use crate::support::eventually;
use crate::support::keyside::{Setup, finish};
use crate::support::upstream::Upstream;

const NOBODY: &str = "65534";

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
