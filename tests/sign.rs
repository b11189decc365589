//! `keyside sign`: what it prints is taken for genuine.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::APP_SECRET;
use crate::support::keyside::Directory;
use crate::support::webhook::{EVENT, application, event, setup};

fn sign(arguments: &[&str], body: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyside"))
        .arg("sign")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(body);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_event_signed_by_hand_is_taken_for_genuine() {
    let application = application();
    let keyside = setup(&application).start();
    let reference = format!("file:{}", keyside.dir().join("app_secret").display());
    let (code, lines, complaint) = sign(&["--secret", &reference], EVENT.as_bytes());
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    assert!(lines.starts_with("X-Hub-Signature-256: sha256="), "{lines}");
    assert_eq!(keyside.event(&event(&[lines.trim_end()], EVENT.as_bytes())).status, 200);
    assert_eq!(keyside.event(&event(&[lines.trim_end()], b"another event")).status, 401);
}

#[test]
fn what_is_wrong_is_said_and_the_secret_is_not() {
    let dir = Directory::new();
    dir.write("secret", APP_SECRET);
    let reference = format!("file:{}", dir.join("secret").display());
    let table: [(&[&str], i32, &str); 5] = [
        (&["--secret", APP_SECRET], 2, "not a reference"),
        (&["--secret", "file:/nowhere"], 78, "cannot be read"),
        (&["--secret", &reference, "--scheme", "mtea"], 2, "did you mean `meta`?"),
        (&["--secret", &reference, "--scheme", "twilio"], 1, "give it with --url"),
        (&["--secret", &reference, "--scheme", "wati"], 1, "signs nothing"),
    ];
    for (arguments, code, told) in table {
        let (exit, lines, complaint) = sign(arguments, b"{}");
        assert_eq!((exit, lines.as_str()), (Some(code), ""), "{arguments:?}: {complaint}");
        assert!(complaint.contains(told) && !complaint.contains(APP_SECRET), "{arguments:?}: {complaint}");
    }
}
