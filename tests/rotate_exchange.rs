//! `keyside rotate` with an exchange whose answer is lost: the provider may have made a token that
//! nobody knows.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use crate::support::keyside::{Keyside, Setup, finish};
use crate::support::upstream::{Upstream, json};
use crate::support::{APP_SECRET, MESSAGES, eventually};

const UNKNOWN: &str = "a token that nobody knows";

/// A sidecar before a Meta whose exchange takes a minute while `hangs` is true. A token is dead
/// once a revocation has named it.
fn stand(hangs: &Arc<AtomicBool>) -> (Upstream, Keyside) {
    let hangs = Arc::clone(hangs);
    let dead = Mutex::new(Vec::new());
    let upstream = Upstream::answering(move |request| {
        let target = request.target();
        let token = |name: &str| {
            let (_, rest) = target.split_once(name)?;
            Some(rest.split('&').next().unwrap_or(rest).to_owned())
        };
        if target.starts_with("/oauth/revoke") {
            dead.lock().unwrap().extend(token("revoke_token="));
        }
        if target.starts_with("/oauth/access_token") && hangs.load(Ordering::SeqCst) {
            sleep(Duration::from_secs(60));
        }
        if target.starts_with("/debug_token") {
            let asked = token("input_token=");
            let is_valid = !dead
                .lock()
                .unwrap()
                .iter()
                .any(|dead| Some(dead) == asked.as_ref());
            let answer = r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":@,"scopes":["whatsapp_business_messaging"]}}"#;
            return json(&answer.replace('@', &is_valid.to_string()));
        }
        json(r#"{"access_token":"EAAEXCHANGED0123456789","success":true}"#)
    });
    let keyside = Setup::new(&upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .more("[audit]\nfile = \"@DIR@/audit.jsonl\"\n")
        .start();
    (upstream, keyside)
}

fn command(keyside: &Keyside, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args([name, "acme", "--admin", &keyside.admin().to_string()])
        .arg("--config")
        .arg(keyside.dir().join("proxy.toml"));
    command
}

/// Starts a rotation, and kills it while it waits for the answer to its exchange.
fn kill_in_exchange(upstream: &Upstream, keyside: &Keyside) {
    let mut rotation = command(keyside, "rotate");
    rotation.stdout(Stdio::null()).stderr(Stdio::null());
    let mut rotation = rotation.spawn().unwrap();
    let is_asked = || {
        let mut requests = upstream.requests().into_iter();
        requests.any(|request| request.target().starts_with("/oauth/access_token"))
    };
    assert!(eventually(Duration::from_secs(10), is_asked));
    rotation.kill().unwrap();
    rotation.wait().unwrap();
}

#[test]
fn an_exchange_that_was_cut_off_is_told_as_a_token_that_nobody_knows() {
    for next in ["rotate", "revoke"] {
        let hangs = Arc::new(AtomicBool::new(true));
        let (upstream, keyside) = stand(&hangs);
        kill_in_exchange(&upstream, &keyside);
        hangs.store(false, Ordering::SeqCst);
        let done = finish(&mut command(&keyside, next), Duration::from_secs(20));
        assert!(done.output.contains(UNKNOWN), "{next}: {}", done.output);
        let audit = std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
        assert_eq!(audit.matches("\"exchange lost\"").count(), 1, "{audit}");
    }
}

#[test]
fn an_exchange_that_was_cut_off_is_told_though_a_token_was_placed_by_hand_since() {
    for next in ["rotate", "revoke"] {
        let hangs = Arc::new(AtomicBool::new(true));
        let (upstream, keyside) = stand(&hangs);
        kill_in_exchange(&upstream, &keyside);
        hangs.store(false, Ordering::SeqCst);
        keyside.dir().write("token", "EAAPLACEDBYHAND0123456789");
        // The command may fail: the rights of a token placed by hand are not proved. `revoke` below
        // ends the rotation.
        let ended = finish(&mut command(&keyside, next), Duration::from_secs(30));
        assert!(ended.output.contains(UNKNOWN), "{next}: {}", ended.output);
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        let ended = finish(&mut command(&keyside, "revoke"), Duration::from_secs(30));
        assert_eq!(ended.code, Some(0), "{next}: {}", ended.output);
        let audit = std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
        assert_eq!(audit.matches("\"exchange lost\"").count(), 1, "{audit}");
    }
}

#[test]
fn the_old_token_of_a_journal_is_written_back_to_a_place_that_is_empty() {
    for content in [Some(""), None] {
        let hangs = Arc::new(AtomicBool::new(true));
        let (upstream, keyside) = stand(&hangs);
        kill_in_exchange(&upstream, &keyside);
        hangs.store(false, Ordering::SeqCst);
        let path = keyside.dir().join("token");
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let done = finish(&mut command(&keyside, "rotate"), Duration::from_secs(30));
        assert_eq!(done.code, Some(0), "{content:?}: {}", done.output);
        let held = std::fs::read_to_string(&path).unwrap();
        assert_eq!(held, "EAAEXCHANGED0123456789", "{content:?}");
    }
}
