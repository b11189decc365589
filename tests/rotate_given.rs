//! `keyside rotate --new` for providers that are asked nothing: wrong keys, keys put back, and
//! secrets of webhooks alone.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::support::keyside::{Directory, Finished, Keyside, Setup, free_port, route_setup};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::webhook::{application, event, setup, signature};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const OLD: &str = "keyOLD0123456789abcdef";
const BAD: &str = "keyBAD0123456789abcdef";
const GOOD: &str = "keyGOOD123456789abcdef";
const THIRD: &str = "keyTHIRD23456789abcdef";

/// Starts a sidecar for 360dialog, which knows three keys.
fn stand() -> (Upstream, Keyside) {
    let upstream = Upstream::answering(|request| {
        let key = request.header("d360-api-key").unwrap_or_default();
        match [OLD, GOOD, THIRD].contains(&&*key) {
            true => json("{}"),
            false => answer("401 No", &[], b"{}"),
        }
    });
    let setup = route_setup(&upstream, "360dialog", "api_key = \"file:@DIR@/d360\"", "");
    let keyside = setup.file("d360", OLD).start();
    (upstream, keyside)
}

fn run(keyside: &Keyside, arguments: &[&str], input: &str) -> Finished {
    keyside.dir().write("input", input);
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(arguments)
        .args(["--admin", &keyside.admin().to_string(), "--config"])
        .arg(keyside.dir().join("proxy.toml"))
        .stdin(std::fs::File::open(keyside.dir().join("input")).unwrap());
    let done = command.output().unwrap();
    Finished {
        code: done.status.code(),
        output: [done.stdout, done.stderr]
            .map(|text| String::from_utf8(text).unwrap())
            .concat(),
    }
}

/// Gives a new key while requests are sent.
fn run_with_traffic(keyside: &Keyside, new: &str) -> Finished {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| run(keyside, &["rotate", "here", "--new", "-"], new));
        while !done.is_finished() {
            send(keyside);
            sleep(Duration::from_millis(50));
        }
        done.join().unwrap()
    })
}

fn held(dir: &Directory) -> String {
    std::fs::read_to_string(dir.join("d360")).unwrap()
}

fn send(keyside: &Keyside) -> u16 {
    keyside.post("/messages", "{}").status
}

/// Returns the fingerprint of the secret in the file.
fn fingerprint(keyside: &Keyside) -> String {
    let secret = &keyside.status()["credentials"][0]["secrets"][0];
    secret["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_key_that_was_put_back_is_not_named_for_deletion() {
    let (_upstream, keyside) = stand();
    let old = fingerprint(&keyside);
    let unproved = run(&keyside, &["rotate", "here", "--new", "-"], GOOD);
    assert_eq!(unproved.code, Some(1), "{}", unproved.output);
    let new = fingerprint(&keyside);
    keyside.dir().write("d360", OLD);
    assert_eq!(keyside.reload().status, 200);
    let done = run(&keyside, &["revoke", "here"], "");
    assert_eq!(done.code, Some(0), "{}", done.output);
    let named = format!("5. the new secret, {new}, is not used by these sidecars");
    assert!(done.output.contains(&named), "{}", done.output);
    let wrong = format!("the old secret, {old}");
    assert!(!done.output.contains(&wrong), "{}", done.output);
}

#[test]
fn a_good_key_takes_the_part_of_a_wrong_one() {
    let (_upstream, keyside) = stand();
    let old = fingerprint(&keyside);
    assert_eq!(send(&keyside), 200);
    let unproved = run(&keyside, &["rotate", "here", "--new", "-"], BAD);
    assert_eq!(unproved.code, Some(1), "{}", unproved.output);
    let bad = fingerprint(&keyside);
    assert_eq!(send(&keyside), 200, "with the old key");
    let told = format!("the provider refused a request with {bad}");
    for arguments in [&["rotate", "here"][..], &["revoke", "here"]] {
        let stuck = run(&keyside, arguments, "");
        assert_eq!(stuck.code, Some(1), "{}", stuck.output);
        assert!(stuck.output.contains(&told), "{}", stuck.output);
        assert!(stuck.output.contains(&old), "{}", stuck.output);
    }
    assert_eq!(held(keyside.dir()), BAD);
    let dry = run(
        &keyside,
        &["rotate", "here", "--new", "-", "--dry-run"],
        GOOD,
    );
    assert!(
        dry.output.contains("use the given secret"),
        "{}",
        dry.output
    );
    let done = run_with_traffic(&keyside, GOOD);
    assert_eq!(done.code, Some(0), "{}", done.output);
    let replaced = format!("takes the part of {bad}, which was not proved");
    let ended = format!("5. the old secret, {old}, is no longer used");
    let named = format!("5. the replaced secret, {bad}, ");
    for text in [&replaced, &ended, &named] {
        assert!(done.output.contains(text), "{text}: {}", done.output);
    }
    assert_eq!(held(keyside.dir()), GOOD);
    assert_eq!(send(&keyside), 200);
}

/// A sidecar that cannot be asked may have sent with the earlier key.
#[test]
fn a_key_is_not_given_up_for_the_silence_of_a_sidecar() {
    let (_upstream, keyside) = stand();
    let unproved = run(&keyside, &["rotate", "here", "--new", "-"], GOOD);
    assert_eq!(unproved.code, Some(1), "{}", unproved.output);
    let silent = format!("127.0.0.1:{}", free_port());
    let again = ["rotate", "here", "--new", "-", "--admin", &silent];
    for sent in [0, 1] {
        for _ in 0..sent {
            assert_eq!(send(&keyside), 200);
        }
        let stopped = run(&keyside, &again, THIRD);
        assert_eq!(stopped.code, Some(1), "{}", stopped.output);
        assert!(
            stopped.output.contains("no sidecar answers"),
            "{}",
            stopped.output
        );
        for wrong in ["takes the part", "is back"] {
            assert!(!stopped.output.contains(wrong), "{}", stopped.output);
        }
        assert_eq!(held(keyside.dir()), GOOD, "{}", stopped.output);
    }
}

/// The old key may be dead by the time of the second new key.
#[test]
fn a_replaced_rotation_does_not_put_the_old_key_back() {
    let (upstream, keyside) = stand();
    let second = route_setup(&upstream, "360dialog", "api_key = \"file:@DIR@/d360\"", "");
    let second = second.file("d360", OLD).start();
    let unproved = run(&keyside, &["rotate", "here", "--new", "-"], BAD);
    assert_eq!(unproved.code, Some(1), "{}", unproved.output);
    let bad = fingerprint(&keyside);
    let other = second.admin().to_string();
    let again = ["rotate", "here", "--new", "-", "--admin", &other];
    let stopped = run(&keyside, &again, GOOD);
    assert_eq!(stopped.code, Some(1), "{}", stopped.output);
    let replaced = format!("takes the part of {bad}, which was not proved");
    let named = format!("5. the replaced secret, {bad}, ");
    for text in [&*replaced, &named, "is not at its end"] {
        assert!(stopped.output.contains(text), "{text}: {}", stopped.output);
    }
    assert_eq!(held(keyside.dir()), GOOD, "{}", stopped.output);
}

#[test]
fn a_key_that_was_put_in_place_by_hand_is_named_before_it_is_replaced() {
    let (_upstream, keyside) = stand();
    let unproved = run(&keyside, &["rotate", "here", "--new", "-"], BAD);
    assert_eq!(unproved.code, Some(1), "{}", unproved.output);
    keyside.dir().write("d360", THIRD);
    assert_eq!(keyside.reload().status, 200);
    let by_hand = fingerprint(&keyside);
    let done = run_with_traffic(&keyside, GOOD);
    assert_eq!(done.code, Some(0), "{}", done.output);
    let named = format!("5. the old secret, {by_hand}, is no longer used");
    assert!(done.output.contains(&named), "{}", done.output);
    assert_eq!(held(keyside.dir()), GOOD);
}

#[test]
fn a_key_by_hand_that_the_provider_refuses_is_replaced() {
    let (_upstream, keyside) = stand();
    let old = fingerprint(&keyside);
    assert_eq!(send(&keyside), 200);
    let unproved = run(&keyside, &["rotate", "here", "--new", "-"], BAD);
    assert_eq!(unproved.code, Some(1), "{}", unproved.output);
    assert_eq!(send(&keyside), 200, "with the old key");
    keyside.dir().write("d360", "keyWORSE23456789abcdef");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(send(&keyside), 200, "with the old key");
    let done = run_with_traffic(&keyside, GOOD);
    assert_eq!(done.code, Some(0), "{}", done.output);
    let ended = format!("5. the old secret, {old}, is no longer used");
    assert!(done.output.contains(&ended), "{}", done.output);
    assert_eq!(held(keyside.dir()), GOOD);
}

#[test]
fn a_dry_run_names_both_keys_and_no_revocation() {
    let (_upstream, keyside) = stand();
    let old = fingerprint(&keyside);
    let dry = run(
        &keyside,
        &["rotate", "here", "--new", "-", "--dry-run"],
        GOOD,
    );
    assert_eq!(dry.code, Some(0), "{}", dry.output);
    let source = format!("1. the secret in the source: {old}");
    for text in [
        &*source,
        "2. would be replaced by ",
        "Keyside cannot revoke",
    ] {
        assert!(dry.output.contains(text), "{text}: {}", dry.output);
    }
    assert_eq!(held(keyside.dir()), OLD);
}

#[test]
fn the_app_secret_of_webhooks_alone_is_rotated() {
    const NEXT: &str = "9f112233445566778899aabbccddee9f";
    let application = application();
    let keyside = setup(&application).start();
    let done = run(&keyside, &["rotate", "acme.app_secret", "--new", "-"], NEXT);
    assert_eq!(done.code, Some(0), "{}", done.output);
    let accepted = "accepts events signed with";
    assert!(done.output.contains(accepted), "{}", done.output);
    assert!(
        done.output.contains("delete it in the dashboard"),
        "{}",
        done.output
    );
    let taken = |secret: &str| {
        let signed = event(&[&signature(secret, b"{}")], b"{}");
        keyside.event(&signed).status
    };
    assert_eq!((taken(NEXT), taken(APP_SECRET)), (200, 200));
    let token = run(&keyside, &["rotate", "acme"], "");
    assert_eq!(token.code, Some(1), "{}", token.output);
}

/// Meta, which accepts every token in questions, and sends with the first alone.
fn meta_that_sends_with_the_first() -> Upstream {
    Upstream::answering(|request| {
        let target = request.target();
        let is_first = request.header("authorization") == Some(format!("Bearer {TOKEN}"));
        if target.starts_with("/debug_token") {
            json(
                r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}"#,
            )
        } else if target.starts_with("/oauth") || is_first {
            json(r#"{"access_token":"EAAEXCHANGED0123456789","success":true}"#)
        } else {
            answer(
                "400 No",
                &[],
                br#"{"error":{"message":"no","code":100,"error_subcode":33}}"#,
            )
        }
    })
}

#[test]
fn a_token_from_which_the_sidecar_fell_back_is_not_exchanged() {
    let upstream = meta_that_sends_with_the_first();
    let keyside = Setup::new(&upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    keyside.dir().write("token", "EAABLINDxyz0123456789");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    upstream.forget();
    for arguments in [&["rotate", "acme"][..], &["rotate", "acme", "--dry-run"]] {
        let failed = run(&keyside, arguments, "");
        assert_eq!(failed.code, Some(1), "{}", failed.output);
        for text in [
            "the provider refused a request with",
            "--new",
            "nothing was changed",
        ] {
            assert!(failed.output.contains(text), "{text}: {}", failed.output);
        }
    }
    let exchanged = |target: String| target.starts_with("/oauth");
    let mut requests = upstream.requests().into_iter();
    assert!(!requests.any(|request| exchanged(request.target())));
}

#[test]
fn a_bad_source_is_not_taken_for_the_secret_in_use() {
    let upstream = Upstream::answering(|request| match request.target() {
        target if target.contains("input_token=EAABAD") => answer(
            "401 No",
            &[],
            br#"{"error":{"message":"no","code":190,"error_subcode":463}}"#,
        ),
        _ => json(
            r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}"#,
        ),
    });
    let keyside = Setup::new(&upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    keyside.dir().write("token", "EAABADxyz0123456789");
    let failed = run(&keyside, &["rotate", "acme"], "");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    let source = format!(
        "the secret in file:{} (",
        keyside.dir().join("token").display()
    );
    for text in [
        &*source,
        "it has expired",
        "`--new -`",
        "nothing was changed",
    ] {
        assert!(failed.output.contains(text), "{text}: {}", failed.output);
    }
}

/// A program goes on with the secret it was given after `rotate` was killed.
#[test]
fn a_program_that_outlives_its_rotation_ends_before_anything_is_revoked() {
    let upstream = meta_that_sends_with_the_first();
    let setup = Setup::new(&upstream).check().file("app_secret", APP_SECRET);
    let program =
        "read -r secret; : > @/begun; sleep 3; printf %s \"$secret\" > @/next; mv @/next @/token\n";
    let program = program.replace('@', &setup.dir().path().display().to_string());
    let path = setup.dir().write("put.sh", program);
    let keyside = setup
        .credential(&format!(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nplace = \"exec:/bin/sh {}\"\n",
            path.display()
        ))
        .start();
    let mut rotation = Command::new(env!("CARGO_BIN_EXE_keyside"));
    rotation
        .args(["rotate", "acme", "--admin", &keyside.admin().to_string()])
        .arg("--config")
        .arg(keyside.dir().join("proxy.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut rotation = rotation.spawn().unwrap();
    let has_begun = || keyside.dir().join("begun").exists();
    assert!(eventually(Duration::from_secs(10), has_begun));
    rotation.kill().unwrap();
    rotation.wait().unwrap();
    let revoked = run(&keyside, &["revoke", "acme"], "");
    let waits = "for the end of the program that writes the secret";
    assert!(revoked.output.contains(waits), "{}", revoked.output);
    assert_eq!(revoked.code, Some(1), "{}", revoked.output);
    let mut requests = upstream.requests().into_iter();
    let is_revocation = |target: String| target.starts_with("/oauth/revoke");
    assert!(
        !requests.any(|request| is_revocation(request.target())),
        "{}",
        revoked.output
    );
}
