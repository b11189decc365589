//! Odd orders of changes: sources without files for a while, changes that overtake a reload, and a
//! configuration that changes together with the secrets.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{NEW, OLD, ROW, Row, Stand, run, wait};

/// Puts something else into the place of the token's file for half a second, and then the new
/// token.
fn replaced_by(stand: &Stand, put: impl FnOnce(&std::path::Path)) {
    let path = stand.keyside.dir().join("token");
    fs::remove_file(&path).unwrap();
    put(&path);
    stand.hang_up();
    wait(500);
    match path.is_dir() {
        true => fs::remove_dir(&path).unwrap(),
        false => fs::remove_file(&path).unwrap(),
    }
    stand.rotate();
    wait(500);
}

#[test]
fn a_source_that_is_no_file_for_a_while_fails_no_request() {
    run(&[
        Row {
            name: "a folder",
            happens: |stand| replaced_by(stand, |path| fs::create_dir(path).unwrap()),
            ..ROW
        },
        Row {
            name: "a link to itself",
            happens: |stand| replaced_by(stand, |path| symlink(path, path).unwrap()),
            ..ROW
        },
        Row {
            name: "10 MB",
            happens: |stand| {
                replaced_by(stand, |path| fs::write(path, vec![b'E'; 10 << 20]).unwrap());
            },
            ..ROW
        },
        Row {
            name: "a named pipe that nobody writes to",
            happens: |stand| {
                replaced_by(stand, |path| {
                    let mode = Mode::from_raw_mode(0o600);
                    mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
                });
            },
            ..ROW
        },
        Row {
            name: "a link to a device without an end",
            happens: |stand| replaced_by(stand, |path| symlink("/dev/zero", path).unwrap()),
            ..ROW
        },
    ]);
}

#[test]
fn a_change_that_overtakes_a_reload_fails_no_request() {
    run(&[
        Row {
            name: "twice within one reload",
            watch: "off",
            happens: |stand| {
                stand.book.think(Duration::from_millis(300));
                stand.book.issue("EAABETWEEN", "one");
                stand.write("token", "EAABETWEEN");
                stand.hang_up();
                wait(100);
                stand.rotate();
                stand.hang_up();
                wait(1000);
            },
            ..ROW
        },
        Row {
            name: "to and fro, 20 times",
            happens: |stand| {
                stand.book.issue(NEW, "one");
                for turn in 0..20 {
                    stand.write("token", [NEW, OLD][turn % 2]);
                    stand.hang_up();
                    wait(20);
                }
                stand.write("token", NEW);
                stand.hang_up();
                wait(300);
            },
            ..ROW
        },
        Row {
            name: "back to the old one while the new one is asked about",
            ends_with: OLD,
            happens: |stand| {
                stand.book.think(Duration::from_millis(300));
                stand.rotate();
                stand.hang_up();
                wait(100);
                stand.write("token", OLD);
                stand.hang_up();
                wait(1000);
            },
            ..ROW
        },
        Row {
            name: "a value of the same length, with the time of before",
            happens: |stand| {
                let path = stand.keyside.dir().join("token");
                let before = fs::metadata(&path).unwrap().modified().unwrap();
                stand.book.issue(NEW, "one");
                assert_eq!(NEW.len(), OLD.len());
                stand.overwrite("token", NEW);
                set_time(&path, before);
                wait(700);
            },
            ..ROW
        },
        Row {
            name: "200 signals while two credentials change",
            watch: "off",
            happens: |stand| {
                for signal in 0..200 {
                    if signal % 20 == 0 {
                        let token = format!("EAANUMBER{signal}");
                        stand.book.issue(&token, "beside");
                        stand.write("other", &token);
                    }
                    if signal == 100 {
                        stand.rotate();
                    }
                    stand.hang_up();
                }
                wait(500);
            },
            ..ROW
        },
    ]);
}

fn set_time(path: &std::path::Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn a_secret_that_ends_in_an_odd_moment_fails_no_request() {
    run(&[
        Row {
            name: "no overlap, the old one revoked at once",
            more: "overlap = \"off\"",
            happens: |stand| {
                stand.rotate();
                stand.book.revoke(OLD);
            },
            ..ROW
        },
        Row {
            name: "the set in use revoked twice, a third one 1 s later",
            ends_with: "EAATHIRDTOKEN",
            happens: |stand| {
                stand.rotate();
                wait(500);
                stand.book.revoke(OLD);
                wait(200);
                stand.book.revoke(NEW);
                wait(1000);
                stand.book.issue("EAATHIRDTOKEN", "one");
                stand.write("token", "EAATHIRDTOKEN");
            },
            ..ROW
        },
        Row {
            name: "the old one comes back to life in the file after its end",
            ends_with: OLD,
            happens: |stand| {
                stand.rotate();
                wait(500);
                stand.book.revoke(NEW);
                stand.write("token", OLD);
                wait(500);
            },
            ..ROW
        },
    ]);
}

/// Writes another configuration, and reloads.
fn configure(stand: &Stand, change: impl FnOnce(String) -> String) {
    let path = stand.keyside.dir().join("proxy.toml");
    let before = fs::read_to_string(path).unwrap();
    let now = change(before.clone());
    assert_ne!(now, before);
    stand.write("proxy.toml", &now);
    stand.hang_up();
    wait(700);
}

fn renamed(config: String) -> String {
    config
        .replace("[credential.acme]", "[credential.shop]")
        .replace("credential = \"acme\"", "credential = \"shop\"")
}

#[test]
fn a_configuration_that_changes_with_its_secrets_fails_no_request() {
    run(&[
        Row {
            name: "a new name, and a new token",
            watch: "off",
            happens: |stand| {
                stand.rotate();
                configure(stand, renamed);
                stand.book.revoke(OLD);
            },
            ..ROW
        },
        Row {
            name: "a new name, and a token that the provider refuses",
            watch: "off",
            ends_with: OLD,
            happens: |stand| {
                stand.write("token", NEW);
                configure(stand, renamed);
            },
            ..ROW
        },
        Row {
            name: "a new name, and a token that cannot be read",
            watch: "off",
            ends_with: OLD,
            happens: |stand| {
                fs::remove_file(stand.keyside.dir().join("token")).unwrap();
                configure(stand, renamed);
            },
            ..ROW
        },
        Row {
            name: "a new name, and a token that may not send, not asked about",
            watch: "off",
            is_asked_about: false,
            ends_with: OLD,
            happens: |stand| {
                stand.book.issue(NEW, "one");
                stand.book.forbid(NEW, 10, 0);
                stand.write("token", NEW);
                configure(stand, renamed);
            },
            ..ROW
        },
        Row {
            name: "the token twice in its list, and new",
            watch: "off",
            happens: |stand| {
                stand.rotate();
                configure(stand, |config| {
                    let folder = stand.keyside.dir().path().display().to_string();
                    let one = format!("token = \"file:{folder}/token\"");
                    let two = format!("token = [\"file:{folder}/token\", \"file:{folder}/token\"]");
                    config.replacen(&one, &two, 1)
                });
                stand.book.revoke(OLD);
            },
            ..ROW
        },
        Row {
            name: "another reference, to a file that comes 1 s later",
            watch: "off",
            happens: |stand| {
                configure(stand, |config| config.replacen("/token\"", "/moved\"", 1));
                wait(300);
                stand.book.issue(NEW, "one");
                stand.write("moved", NEW);
                stand.hang_up();
                wait(500);
            },
            ..ROW
        },
    ]);
}
