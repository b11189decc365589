//! `keyside rotate` with a place that a program writes, after the program or the command was cut
//! off.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use crate::rotate_source::{PLAIN, Stand};
use crate::support::{TOKEN, eventually};

/// Writes a program beside the secrets. `@` in the script is the folder.
fn program(stand: &Stand, script: &str) -> String {
    let dir = stand.keyside.dir();
    let folder = dir.path().display().to_string();
    let path = dir.write(
        "put",
        format!("#!/bin/sh\n{}", script.replace('@', &folder)),
    );
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    format!("exec:{}", path.display())
}

const LATE: &str =
    "read -r secret; : > @/begun; sleep 4; printf %s \"$secret\" > @/next; mv @/next @/token\n";

#[test]
fn a_program_that_outlives_its_rotation_is_ended_before_its_secret_is_revoked() {
    let stand = Stand::start(PLAIN, "other", "");
    let place = program(&stand, LATE);
    let mut rotation = stand.command(&["rotate", "acme", "--place", &place], "");
    rotation.stdout(Stdio::null()).stderr(Stdio::null());
    let mut rotation = rotation.spawn().unwrap();
    let dir = stand.keyside.dir();
    let has_begun = || dir.join("begun").exists();
    assert!(eventually(Duration::from_secs(10), has_begun));
    rotation.kill().unwrap();
    rotation.wait().unwrap();
    // The time of every program is over.
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let journal = File::options()
        .write(true)
        .open(dir.join(".token.keyside-journal"));
    journal.unwrap().set_modified(an_hour_ago).unwrap();
    let revoked = stand.run(&["revoke", "acme"], "");
    assert_eq!(revoked.code, Some(0), "{}", revoked.output);
    sleep(Duration::from_secs(5));
    assert_eq!(stand.held("token"), TOKEN, "{}", revoked.output);
    assert!(stand.is_good(TOKEN) && stand.sends());
}

#[test]
fn a_program_that_cannot_be_started_again_leaves_the_secret_that_it_may_have_placed() {
    let stand = Stand::start(PLAIN, "other", "");
    let place = program(&stand, "cat > @/next; mv @/next @/token; exit 1\n");
    let rotate = ["rotate", "acme", "--place", &place];
    let failed = stand.run(&rotate, "");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    let new = stand.held("token");
    assert_ne!(new, TOKEN);
    std::fs::remove_file(stand.keyside.dir().join("put")).unwrap();
    let again = stand.run(&rotate, "");
    assert_eq!(again.code, Some(1), "{}", again.output);
    assert!(
        again.output.contains("cannot be started"),
        "{}",
        again.output
    );
    assert!(
        stand.is_good(&new) && stand.is_good(TOKEN),
        "{}",
        again.output
    );
    program(&stand, "cat > @/next; mv @/next @/token\n");
    let done = stand.run(&rotate, "");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(stand.held("token"), new);
    assert!(stand.is_good(&new) && !stand.is_good(TOKEN));
}

#[test]
fn a_program_gets_the_whole_secret_of_a_rotation_that_is_killed_at_its_start() {
    let stand = Stand::start(PLAIN, "other", "");
    let killing = "kill -9 $PPID; cat > @/next; mv @/next @/token\n";
    let place = program(&stand, killing);
    let rotate = ["rotate", "acme", "--place", &place];
    let killed = stand.run(&rotate, "");
    assert_eq!(killed.code, None, "{}", killed.output);
    let is_written = || stand.held("token") != TOKEN;
    assert!(eventually(Duration::from_secs(10), is_written));
    let new = stand.held("token");
    assert!(stand.is_good(&new), "{} bytes were given", new.len());
    program(&stand, "cat > @/next; mv @/next @/token\n");
    let done = stand.run(&rotate, "");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(stand.held("token"), new);
    assert!(stand.is_good(&new) && !stand.is_good(TOKEN));
}
