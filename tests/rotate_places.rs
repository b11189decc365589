//! `keyside rotate` onto files that are hard to write: of another owner, in a sticky folder, on a
//! read-only mount.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::rotate_source::Stand;
use crate::support::keyside::{Finished, finish};
use crate::support::{APP_SECRET, TOKEN};

const CREDENTIAL: &str =
    "token = \"file:@DIR@/own/token\"\napp_secret = \"file:@DIR@/app_secret\"\n";
const NOBODY: u32 = 65_534;
/// A user who owns nothing.
const OTHER: &str = "65533";

/// Starts a sidecar with a token in a folder of its own; `None` without root, who alone can play
/// several users.
fn stand() -> Option<Stand> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return None;
    }
    Some(Stand::start(CREDENTIAL, "own/token", TOKEN))
}

/// Runs `rotate` behind a wrapper.
fn rotate(stand: &Stand, wrapper: &[&str]) -> Finished {
    let rotation = stand.command(&["rotate", "acme"], "");
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(rotation.get_program())
        .args(rotation.get_args())
        .env("HOME", stand.keyside.dir().path())
        .env_remove("XDG_STATE_HOME");
    finish(&mut command, Duration::from_secs(20))
}

/// Runs `rotate` where the folder of the token is mounted read-only.
fn rotate_read_only(stand: &Stand, folder: &Path) -> Finished {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let folder = folder.to_str().unwrap();
    rotate(stand, &["unshare", "--mount", "sh", "-c", script, folder])
}

fn must_have_changed_nothing(stand: &Stand, failed: &Finished) {
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(
        failed.output.contains("nothing was changed"),
        "{}",
        failed.output
    );
    assert_eq!(stand.held("own/token"), TOKEN);
    assert!(stand.is_good(TOKEN) && stand.sends());
}

#[test]
fn a_file_of_another_owner_keeps_owner_and_mode() {
    let Some(stand) = stand() else { return };
    let token = stand.keyside.dir().join("own/token");
    chown(&token, Some(NOBODY), Some(NOBODY)).unwrap();
    set_permissions(&token, Permissions::from_mode(0o440)).unwrap();
    let done = rotate(&stand, &["env"]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    let new = std::fs::metadata(&token).unwrap();
    let kept = (new.uid(), new.gid(), new.mode() & 0o7777);
    assert_eq!(kept, (NOBODY, NOBODY, 0o440));
    assert!(stand.is_good(&stand.held("own/token")) && !stand.is_good(TOKEN));
}

/// In a folder that everybody may write, another user can make files, but not give them to the
/// owner of the token.
#[test]
fn a_user_without_the_right_to_a_file_changes_nothing() {
    for mode in [0o777, 0o1777, 0o755] {
        let Some(stand) = stand() else { return };
        let dir = stand.keyside.dir();
        let token = dir.join("own/token");
        chown(&token, Some(NOBODY), Some(NOBODY)).unwrap();
        for readable in [&token, &dir.join("app_secret"), &dir.join("proxy.toml")] {
            set_permissions(readable, Permissions::from_mode(0o444)).unwrap();
        }
        set_permissions(dir.join("own"), Permissions::from_mode(mode)).unwrap();
        let user = [
            "setpriv",
            "--reuid",
            OTHER,
            "--regid",
            OTHER,
            "--clear-groups",
        ];
        let failed = rotate(&stand, &user);
        must_have_changed_nothing(&stand, &failed);
        let advice = "the owner of the file must be this user";
        assert!(
            failed.output.contains(advice),
            "{mode:o}: {}",
            failed.output
        );
        let names = std::fs::read_dir(dir.join("own")).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["token"], "{mode:o}");
    }
}

#[test]
fn a_read_only_mount_is_told_with_the_command_that_writes_its_source() {
    let Some(stand) = stand() else { return };
    let folder = stand.keyside.dir().join("own");
    let failed = rotate_read_only(&stand, &folder);
    must_have_changed_nothing(&stand, &failed);
    let (_, advice) = failed.output.split_once("; by hand: ").unwrap();
    assert!(
        advice.starts_with("outside of this mount, in the file system of "),
        "{advice}"
    );
    let (_, command) = advice.split_once(" is a part: ").unwrap();
    let (command, _) = command.split_once("; nothing was changed").unwrap();
    let given = format!("printf %s EAAGIVENBYHAND0123456789 | {command}");
    let ran = Command::new("sh").args(["-c", &given]).status().unwrap();
    assert!(ran.success(), "{given}");
    assert_eq!(stand.held("own/token"), "EAAGIVENBYHAND0123456789");
}

#[test]
fn a_volume_of_a_secret_of_the_cluster_is_told_with_the_kubectl_command() {
    let Some(stand) = stand() else { return };
    let folder = stand.keyside.dir().join("own");
    std::fs::create_dir(folder.join("..2026_12_01")).unwrap();
    std::fs::rename(folder.join("token"), folder.join("..2026_12_01/token")).unwrap();
    symlink("..2026_12_01", folder.join("..data")).unwrap();
    symlink("..data/token", folder.join("token")).unwrap();
    let failed = rotate_read_only(&stand, &folder);
    must_have_changed_nothing(&stand, &failed);
    for words in [
        "{\"data\":{\"token\":\"%s\"}}",
        "kubectl patch secret SECRET ",
        "`place`",
    ] {
        assert!(failed.output.contains(words), "{words}: {}", failed.output);
    }
    assert!(!failed.output.contains("token.new"), "{}", failed.output);
    assert_eq!(
        std::fs::read(stand.keyside.dir().join("app_secret")).unwrap(),
        APP_SECRET.as_bytes()
    );
}
