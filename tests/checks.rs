//! A new token is asked about before it is used, and what is known of it is told.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup, finish};
use crate::support::upstream::{Upstream, json};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const NEW: &str = "EAASECONDTOKEN";
const SENDER: &str = "106540352242922";

/// What an upstream says to questions; anything else is a send, which it takes.
struct Meta {
    upstream: Upstream,
    about_token: Arc<Mutex<Vec<u8>>>,
    about_sender: Arc<Mutex<Vec<u8>>>,
}

impl Meta {
    fn new() -> Self {
        let about_token = Arc::new(Mutex::new(described("")));
        let about_sender = Arc::new(Mutex::new(json(&format!(r#"{{"id":"{SENDER}"}}"#))));
        let (token, sender) = (Arc::clone(&about_token), Arc::clone(&about_sender));
        let upstream = Upstream::answering(move |request| match request.target() {
            target if target.starts_with("/debug_token") => token.lock().unwrap().clone(),
            target if target.contains("fields=id") => sender.lock().unwrap().clone(),
            _ => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
        });
        Self { upstream, about_token, about_sender }
    }

    fn says_of_token(&self, answer: Vec<u8>) {
        *self.about_token.lock().unwrap() = answer;
    }

    fn keyside(&self) -> Keyside {
        Setup::new(&self.upstream).check().route(&format!("senders = [\"{SENDER}\"]\n")).start()
    }

    /// The token of the last send through Keyside.
    fn token_sent(&self, keyside: &Keyside) -> String {
        let path = MESSAGES.replace("1234567890", SENDER);
        assert_eq!(keyside.post(&path, "{}").status, 200);
        self.upstream.last_to(&path).header("authorization").unwrap()
    }
}

/// What Meta says of a good token; `more` comes before it, so that it wins.
fn described(more: &str) -> Vec<u8> {
    json(&format!(
        r#"{{"data":{{{more}"app_id":"634974688087057","type":"SYSTEM_USER","data_access_expires_at":0,"expires_at":0,"is_valid":true,"scopes":["whatsapp_business_management","whatsapp_business_messaging"]}}}}"#
    ))
}

fn error(code: i64, message: &str) -> Vec<u8> {
    let body = format!(r#"{{"error":{{"message":"{message}","type":"OAuthException","code":{code}}}}}"#);
    format!("HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn check(keyside: &Keyside) -> serde_json::Value {
    keyside.status()["credentials"][0]["check"].clone()
}

fn in_days(days: u64) -> u64 {
    (SystemTime::now() + Duration::from_secs(days * 86_400 + 3600))
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn a_good_token_is_proved_before_it_is_used() {
    let meta = Meta::new();
    let keyside = meta.keyside();
    meta.says_of_token(
        json(r#"{"data":{"app_id":"1","type":"SYSTEM_USER","data_access_expires_at":0,"expires_at":4102444800,"is_valid":true,"scopes":["whatsapp_business_management"]}}"#),
    );
    assert!(
        eventually(Duration::from_secs(5), || check(&keyside)["result"] == "proved"),
        "the first one, at the start"
    );
    keyside.dir().write("token", NEW);
    meta.upstream.forget();
    assert_eq!(keyside.reload().status, 200);
    let asked = meta.upstream.requests();
    assert_eq!(asked[0].target(), format!("/debug_token?input_token={NEW}"));
    assert_eq!(asked[0].header("authorization").unwrap(), format!("Bearer {NEW}"), "it is asked about with itself");
    assert_eq!(asked[1].target(), format!("/{SENDER}?fields=id"));
    let check = check(&keyside);
    assert_eq!((&check["result"], &check["expires"]), (&"proved".into(), &4_102_444_800_u64.into()));
    assert_eq!(meta.token_sent(&keyside), format!("Bearer {NEW}"));
}

#[test]
fn a_token_that_would_not_do_is_refused_and_the_one_before_goes_on() {
    let past = r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":1700000000,"is_valid":true,"scopes":[]}}"#;
    let invalid = r#"{"data":{"app_id":"1","error":{"code":190,"message":"EAASECONDTOKEN","subcode":460},"is_valid":false,"scopes":[]}}"#;
    let table = [
        ("invalid", json(invalid), "not valid (code 190, subcode 460)"),
        ("expired", json(past), "has expired"),
        ("revoked", error(190, "Error validating access token"), "refuses it (code 190)"),
        ("another app's", error(100, "Invalid appsecret_proof provided in the API argument"), "the app secret is not"),
    ];
    for (what, answer, reason) in table {
        let meta = Meta::new();
        let keyside = meta.keyside();
        meta.says_of_token(answer);
        keyside.dir().write("token", NEW);
        let refused = keyside.reload();
        assert_eq!(refused.status, 422, "{what}");
        assert!(refused.text().contains(reason), "{what}: {}", refused.text());
        assert!(!refused.text().contains(NEW) && !keyside.log().contains(NEW), "{what}: no secret is told");
        assert_eq!(meta.token_sent(&keyside), format!("Bearer {TOKEN}"), "{what}");
        assert!(
            keyside.metrics().contains("keyside_rotations_total{credential=\"acme\",result=\"refused\"} 1"),
            "{what}"
        );
    }
}

#[test]
fn a_token_that_cannot_see_a_sender_is_refused() {
    let meta = Meta::new();
    let keyside = meta.keyside();
    *meta.about_sender.lock().unwrap() = error(100, "Unsupported get request. Object does not exist");
    keyside.dir().write("token", NEW);
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains(&format!("cannot see sender {SENDER}")), "{}", refused.text());
}

/// As the README advises: a token that can only send may not read the number that it sends from.
#[test]
fn a_token_that_can_only_send_is_not_refused_for_it() {
    let meta = Meta::new();
    let keyside = meta.keyside();
    *meta.about_sender.lock().unwrap() = error(200, "(#200) Requires whatsapp_business_management permission");
    meta.says_of_token(json(
        r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging","public_profile"]}}"#,
    ));
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(meta.token_sent(&keyside), format!("Bearer {NEW}"));
    let credential = keyside.status()["credentials"][0].clone();
    assert_eq!((&credential["check"]["result"], &credential["concerns"]), (&"proved".into(), &serde_json::json!([])));
}

#[test]
fn a_question_that_gets_no_answer_refuses_nothing() {
    for (what, answer) in [
        ("an error of the server's", b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno".to_vec()),
        ("another API's answer", json("{}")),
        ("a throttle", error(4, "Application request limit reached")),
        ("no answer", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec()),
    ] {
        let meta = Meta::new();
        let keyside = meta.keyside();
        meta.says_of_token(answer);
        keyside.dir().write("token", NEW);
        assert_eq!(keyside.reload().status, 200, "{what}");
        assert_eq!(check(&keyside)["result"], "unproved", "{what}");
        assert_eq!(meta.token_sent(&keyside), format!("Bearer {NEW}"), "{what}");
    }
}

#[test]
fn the_proof_goes_with_the_question() {
    let meta = Meta::new();
    let keyside = Setup::new(&meta.upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    let asked = || meta.upstream.requests().into_iter().find(|request| request.target().starts_with("/debug_token"));
    assert!(eventually(Duration::from_secs(5), || asked().is_some()));
    assert!(asked().unwrap().target().contains("&appsecret_proof="), "{}", asked().unwrap().target());
    drop(keyside);
}

#[test]
fn at_the_start_nothing_waits_for_the_answer_and_a_bad_token_is_an_alarm() {
    let meta = Meta::new();
    meta.says_of_token(error(190, "Error validating access token"));
    let keyside = meta.keyside();
    assert!(eventually(Duration::from_secs(5), || check(&keyside)["result"] == "refused"));
    assert!(keyside.log().contains("the provider refuses the token"), "{}", keyside.log());
    let ready = || keyside.ask_admin(&get("/readyz")).status;
    assert_eq!((ready(), keyside.metric("keyside_credential_usable", &[])), (503, 0.0));
    assert_eq!(meta.token_sent(&keyside), format!("Bearer {TOKEN}"));
    assert_eq!(
        (ready(), keyside.metric("keyside_credential_usable", &[])),
        (200, 1.0),
        "what a send shows counts more"
    );
}

#[test]
fn a_token_that_may_do_more_than_it_must_is_warned_about() {
    let meta = Meta::new();
    meta.says_of_token(json(
        r#"{"data":{"app_id":"1","type":"USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging","business_management"]}}"#,
    ));
    let keyside = meta.keyside();
    assert!(eventually(Duration::from_secs(5), || check(&keyside)["result"] == "proved"));
    let log = keyside.log();
    assert!(log.contains("business_management") && log.contains("without these scopes"), "{log}");
    assert!(log.contains("a person's own"), "{log}");
    let status = status(&keyside, &[]);
    assert!(status.contains("make one without these scopes: business_management\n"), "{status}");
    assert!(status.contains("use a System User's"), "{status}");
}

/// What `keyside status` prints.
fn status(keyside: &Keyside, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["status", "--admin", &keyside.admin().to_string()]).args(more);
    finish(&mut command, Duration::from_secs(10)).output
}

#[test]
fn nothing_is_asked_where_it_is_off() {
    let meta = Meta::new();
    let keyside = Setup::new(&meta.upstream).start();
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    assert_eq!(meta.upstream.arrivals(), 0);
    assert_eq!(check(&keyside), serde_json::Value::Null);
}

#[test]
fn a_secret_that_grows_old_is_told_once() {
    for (days, expected) in [(70, ""), (75, "grows old"), (100, "older than max_age")] {
        let upstream = Upstream::ok();
        let setup = Setup::new(&upstream);
        let file = std::fs::File::options().write(true).open(setup.dir().join("token")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
        let keyside = setup.start();
        let told = || keyside.log().lines().filter(|line| line.contains("rotate it")).count();
        if expected.is_empty() {
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(told(), 0, "{days} days");
        } else {
            assert!(eventually(Duration::from_secs(5), || keyside.log().contains(expected)), "{days} days");
            assert_eq!(told(), 1, "{days} days");
        }
    }
}

#[test]
fn a_token_near_its_end_is_an_alarm() {
    for (days, alarms) in [(30, 0), (13, 1), (1, 1)] {
        let meta = Meta::new();
        meta.says_of_token(json(&format!(
            r#"{{"data":{{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"data_access_expires_at":{},"is_valid":true,"scopes":[]}}}}"#,
            in_days(days)
        )));
        let keyside = meta.keyside();
        assert!(eventually(Duration::from_secs(5), || check(&keyside)["result"] == "proved"));
        std::thread::sleep(Duration::from_millis(100));
        let told = keyside.log().lines().filter(|line| line.contains("ends in so many days")).count();
        assert_eq!(told, alarms, "{days} days");
        let task = format!("acme: the token ends in {days} days: exchange it with `keyside rotate acme`");
        assert_eq!(status(&keyside, &[]).contains(&task), alarms == 1, "{days} days: {}", status(&keyside, &[]));
        let left = || keyside.metric("keyside_credential_expires_seconds", &["credential=\"acme\""]);
        assert!((left() - (days * 86_400) as f64).abs() < 7200.0, "{}", left());
        meta.says_of_token(described(""));
        keyside.dir().write("token", NEW);
        assert_eq!(keyside.reload().status, 200);
        assert!(!keyside.metrics().contains("keyside_credential_expires_seconds{"), "the new one has no end");
    }
}

#[test]
fn check_asks_only_when_it_is_told_to() {
    let meta = Meta::new();
    let setup = Setup::new(&meta.upstream).check().route(&format!("senders = [\"{SENDER}\"]\n"));
    assert_eq!(setup.finish("check").code, Some(0));
    assert_eq!(meta.upstream.arrivals(), 0);
    let config = setup.write_config();
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        finish(command.args(["check", "--online", "--config"]).arg(&config).args(more), Duration::from_secs(10))
    };
    let online = || check(&[]);
    let good = online();
    assert_eq!(good.code, Some(0), "{}", good.output);
    assert!(
        ["proved", "never", "whatsapp_business_messaging"].iter().all(|part| good.output.contains(part)),
        "{}",
        good.output
    );
    meta.says_of_token(error(190, "Error validating access token"));
    let bad = online();
    assert_eq!(bad.code, Some(78), "{}", bad.output);
    assert!(bad.output.contains("refused") && !bad.output.contains(TOKEN), "{}", bad.output);
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"]).output).unwrap();
    assert_eq!(json["credentials"][0]["check"]["result"], "refused", "{json}");
    assert!(json["faults"][0].as_str().unwrap().starts_with("credential.acme: the provider refuses it"), "{json}");
}

#[test]
fn the_status_says_what_is_wrong_and_what_to_do() {
    let meta = Meta::new();
    meta.says_of_token(error(190, "Error validating access token"));
    let keyside = meta.keyside();
    assert!(eventually(Duration::from_secs(5), || check(&keyside)["result"] == "refused"));
    let status = status(&keyside, &[]);
    assert!(status.contains("acme: the provider refuses it: put a new secret in its place"), "{status}");
}

#[test]
fn the_status_has_every_slot_with_its_age_and_where_it_comes_from() {
    let meta = Meta::new();
    let keyside = Setup::new(&meta.upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .file("app_secret.next", "the next app secret")
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret.next\"]\n",
        )
        .start();
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    let status = status(&keyside, &[]);
    let rows: Vec<Vec<&str>> = status.lines().map(|line| line.split_whitespace().collect()).collect();
    for (secret, slot, words) in [
        ("app_secret", "current", ["90d", "source", "ok", "/app_secret"]),
        ("app_secret", "accepted", ["90d", "source", "-", "/app_secret.next"]),
        ("token", "current", ["90d", "change", "ok", "/token"]),
        ("token", "previous", ["90d", "source", "until", "/token"]),
    ] {
        let row = rows.iter().find(|row| row.get(1..3) == Some(&[secret, slot]));
        let row = row.unwrap_or_else(|| panic!("no {slot} {secret}:\n{status}")).join(" ");
        assert!(words.iter().all(|word| row.contains(word)), "{row}");
    }
    assert!(
        !rows.iter().any(|row| row.get(1..3) == Some(&["app_secret", "previous"])),
        "it was not replaced:\n{status}"
    );
}
