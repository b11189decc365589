//! `keyside rotate` ends an old secret only after the proof of the new secret.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish};
use crate::support::upstream::{Request, Upstream, answer, json};
use crate::support::{APP_SECRET, MESSAGES, TOKEN};

const NEW: &str = "EAANEWGIVENxyz0123456789";
const THIRD: &str = "EAATHIRDGIVENxyz0123456789";
const SENDER: &str = "1234567890";

/// Meta, as rotations see Meta: blind tokens, and revoked tokens.
struct Meta {
    upstream: Upstream,
    /// The tokens to which the sender is invisible.
    blind: Arc<Mutex<Vec<&'static str>>>,
    revoked: Arc<Mutex<Vec<String>>>,
}

impl Meta {
    fn new() -> Self {
        let blind: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let revoked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (unseen, dead) = (Arc::clone(&blind), Arc::clone(&revoked));
        let upstream = Upstream::answering(move |request| {
            let target = request.target();
            if let Some(token) = parameter(&target, "revoke_token") {
                dead.lock().unwrap().push(token);
                return json(r#"{"success":true}"#);
            }
            if let Some(token) = parameter(&target, "input_token") {
                return described(!dead.lock().unwrap().contains(&token));
            }
            let sent = sent_token(request);
            if dead.lock().unwrap().contains(&sent) {
                return refused("401 No", 190, 467);
            }
            if unseen.lock().unwrap().iter().any(|token| *token == sent) {
                return refused("400 No", 100, 33);
            }
            json(r#"{"id":"1234567890","messages":[{"id":"wamid.1"}]}"#)
        });
        Self {
            upstream,
            blind,
            revoked,
        }
    }

    fn start(&self, route: &str) -> Keyside {
        Setup::new(&self.upstream)
            .check()
            .file("app_secret", APP_SECRET)
            .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
            .route(route)
            .start()
    }

    fn revoked(&self) -> Vec<String> {
        self.revoked.lock().unwrap().clone()
    }
}

/// The description of a token with the recommended scope and without a user.
fn described(is_valid: bool) -> Vec<u8> {
    json(&format!(
        r#"{{"data":{{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":{is_valid},"scopes":["whatsapp_business_messaging"]}}}}"#
    ))
}

fn refused(status: &str, code: i64, subcode: i64) -> Vec<u8> {
    let body = format!(r#"{{"error":{{"message":"no","code":{code},"error_subcode":{subcode}}}}}"#);
    answer(status, &[], body.as_bytes())
}

fn parameter(target: &str, name: &str) -> Option<String> {
    let start = target.find(&format!("{name}="))? + name.len() + 1;
    let value = target[start..].split('&').next()?;
    Some(value.to_owned())
}

fn sent_token(request: &Request) -> String {
    let header = request.header("authorization").unwrap_or_default();
    header.trim_start_matches("Bearer ").to_owned()
}

/// Runs a command of rotation.
fn run(keyside: &Keyside, arguments: &[&str]) -> Finished {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(arguments)
        .args(["--admin", &keyside.admin().to_string(), "--config"])
        .arg(keyside.dir().join("proxy.toml"));
    finish(&mut command, Duration::from_secs(60))
}

fn rotate_to(keyside: &Keyside, token: &str) -> Finished {
    let file = keyside.dir().write("new", token);
    let reference = format!("file:{}", file.display());
    run(keyside, &["rotate", "acme", "--new", &reference])
}

fn held(dir: &Directory) -> String {
    std::fs::read_to_string(dir.join("token")).unwrap()
}

/// Does work while messages are sent.
fn under_traffic<T>(keyside: &Keyside, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                keyside.post(MESSAGES, "{}");
                thread::sleep(Duration::from_millis(50));
            }
        });
        let result = work();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_token_that_cannot_see_a_sender_is_not_placed_whatever_else_it_may_read() {
    let meta = Meta::new();
    let keyside = meta.start(&format!("senders = [\"{SENDER}\"]"));
    meta.blind.lock().unwrap().push(NEW);
    let failed = rotate_to(&keyside, NEW);
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(
        failed
            .output
            .contains(&format!("it cannot see sender {SENDER}")),
        "{}",
        failed.output
    );
    assert_eq!(held(keyside.dir()), TOKEN);
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 422);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(meta.revoked(), [""; 0]);
}

#[test]
fn a_token_that_sees_no_more_than_the_one_in_use_is_put_in_use() {
    let meta = Meta::new();
    let keyside = meta.start(&format!("senders = [\"{SENDER}\"]"));
    // A token may send and read nothing.
    meta.blind.lock().unwrap().extend([TOKEN, NEW]);
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(
        keyside.status()["credentials"][0]["check"]["result"],
        "proved"
    );
}

#[test]
fn a_token_that_sees_every_sender_ends_the_old_one_without_traffic() {
    let meta = Meta::new();
    let keyside = meta.start(&format!("senders = [\"{SENDER}\"]"));
    let done = rotate_to(&keyside, NEW);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(meta.revoked(), [TOKEN]);
}

#[test]
fn the_old_token_lives_until_a_request_with_the_new_one_has_succeeded() {
    let meta = Meta::new();
    let keyside = meta.start("");
    meta.blind.lock().unwrap().push(NEW);
    let failed = rotate_to(&keyside, NEW);
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    for text in [
        "no request with it has succeeded",
        "was not revoked",
        "keyside revoke acme",
    ] {
        assert!(failed.output.contains(text), "{text}: {}", failed.output);
    }
    assert_eq!(meta.revoked(), [""; 0]);
    // The new token has too few rights: messages go out with the old token, and the old token stays
    // alive.
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let refused = run(&keyside, &["revoke", "acme"]);
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert_eq!(meta.revoked(), [""; 0]);
    meta.blind.lock().unwrap().clear();
    // A load tries the new token again only if its value has changed meanwhile.
    keyside.dir().write("token", THIRD);
    keyside.reload();
    keyside.dir().write("token", NEW);
    keyside.reload();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let done = run(&keyside, &["revoke", "acme"]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(meta.revoked(), [TOKEN]);
}

#[test]
fn traffic_proves_a_token_that_no_question_proves() {
    let meta = Meta::new();
    let keyside = meta.start("");
    let done = under_traffic(&keyside, || rotate_to(&keyside, NEW));
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(done.output.contains("has succeeded at"), "{}", done.output);
    assert_eq!(meta.revoked(), [TOKEN]);
}

#[test]
fn a_token_that_was_in_use_and_is_in_no_source_is_told_at_the_end() {
    let meta = Meta::new();
    let keyside = meta.start(&format!("senders = [\"{SENDER}\"]"));
    let sent = keyside.status()["credentials"][0]["secrets"]
        .as_array()
        .and_then(|secrets| secrets.iter().find(|secret| secret["name"] == "token"))
        .map(|token| token["fingerprint"].as_str().unwrap().to_owned())
        .unwrap();
    keyside.dir().write("token", THIRD);
    let done = rotate_to(&keyside, NEW);
    assert_eq!(done.code, Some(1), "{}", done.output);
    for text in [
        format!("sends with {sent}, which is not in the source"),
        format!("{sent} was in use until now and may be alive"),
    ] {
        assert!(done.output.contains(&text), "{text}: {}", done.output);
    }
    assert_eq!(
        (held(keyside.dir()).as_str(), meta.revoked()),
        (NEW, vec![THIRD.to_owned()])
    );
    let again = rotate_to(&keyside, TOKEN);
    assert_eq!(again.code, Some(0), "{}", again.output);
}
