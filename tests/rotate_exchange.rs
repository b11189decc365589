//! `keyside rotate` with an exchange whose answer is lost: the provider may have made a token that
//! nobody knows.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::support::keyside::{Keyside, Setup, finish};
use crate::support::upstream::{Upstream, json};
use crate::support::{APP_SECRET, eventually};

const UNKNOWN: &str = "a token that nobody knows";

/// A sidecar before a Meta whose exchange takes a minute while `hangs` is true.
fn stand(hangs: &Arc<AtomicBool>) -> (Upstream, Keyside) {
    let hangs = Arc::clone(hangs);
    let upstream = Upstream::answering(move |request| {
        let target = request.target();
        if target.starts_with("/oauth/access_token") && hangs.load(Ordering::SeqCst) {
            sleep(Duration::from_secs(60));
        }
        if target.starts_with("/debug_token") {
            return json(
                r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}"#,
            );
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

#[test]
fn an_exchange_that_was_cut_off_is_told_as_a_token_that_nobody_knows() {
    for next in ["rotate", "revoke"] {
        let hangs = Arc::new(AtomicBool::new(true));
        let (upstream, keyside) = stand(&hangs);
        let mut rotation = command(&keyside, "rotate");
        rotation.stdout(Stdio::null()).stderr(Stdio::null());
        let mut rotation = rotation.spawn().unwrap();
        let is_asked = || {
            let mut requests = upstream.requests().into_iter();
            requests.any(|request| request.target().starts_with("/oauth/access_token"))
        };
        assert!(eventually(Duration::from_secs(10), is_asked));
        rotation.kill().unwrap();
        rotation.wait().unwrap();
        hangs.store(false, Ordering::SeqCst);
        let done = finish(&mut command(&keyside, next), Duration::from_secs(20));
        assert!(done.output.contains(UNKNOWN), "{next}: {}", done.output);
        let audit = std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
        assert_eq!(audit.matches("\"exchange lost\"").count(), 1, "{audit}");
    }
}
