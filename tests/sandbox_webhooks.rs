//! Webhooks as Meta sends them, from the sandbox through Keyside to an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Client, get, post};
use crate::support::eventually;
use crate::support::keyside::Keyside;
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{After, Upstream};
use crate::support::webhook::{HOOK, application, configured};

fn give_order(sandbox: &Sandbox, order: &Value) {
    assert_eq!(
        sandbox.ask("POST", "events", order),
        json!({"success": true}),
        "{order}"
    );
}

/// Returns the event, the number and the status of each attempt; status 0 for no answer.
fn attempts(sandbox: &Sandbox) -> Vec<(u64, u64, u64)> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let list = sandbox.ask("GET", "deliveries", &json!({}));
    list.as_array()
        .unwrap()
        .iter()
        .map(|a| {
            (
                number(&a["event"]),
                number(&a["attempt"]),
                number(&a["status"]),
            )
        })
        .collect()
}

/// Starts Keyside in front of the application, and a sandbox that sends webhooks to Keyside.
fn stand(application: &Upstream) -> (Sandbox, Keyside) {
    let setup = configured(&format!("forward = \"{}/\"", application.url()), "");
    let keyside = setup
        .file("app_secret", "a secret of the sandbox's own app")
        .file("verify_token", "handshake")
        .start();
    let callback = format!("http://{}{HOOK}", keyside.inbound());
    let sandbox = Sandbox::start(keyside.dir(), &["--callback", &callback]);
    let subscribed = || sandbox.ask("GET", "apps", &json!({})) != json!([]);
    assert!(
        eventually(Duration::from_secs(10), subscribed),
        "the handshake was answered"
    );
    (sandbox, keyside)
}

fn bodies(application: &Upstream) -> Vec<Value> {
    let whole = application
        .requests()
        .into_iter()
        .filter(|request| request.complete);
    whole
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect()
}

/// Returns the changes in all events, in the order of arrival.
fn values(application: &Upstream) -> Vec<Value> {
    let changes = |body: Value| {
        body["entry"][0]["changes"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    bodies(application)
        .into_iter()
        .flat_map(changes)
        .map(|change| change["value"].clone())
        .collect()
}

#[test]
fn messages_of_every_type_reach_the_application_as_meta_writes_them() {
    let application = application();
    let (sandbox, keyside) = stand(&application);
    for order in [
        json!({"type": "text", "text": "Is the café open? 50% <now> a@b.co 😀"}),
        json!({"type": "image"}),
        json!({"type": "button", "text": "Yes"}),
        json!({"type": "list", "text": "Row"}),
    ] {
        give_order(&sandbox, &order);
    }
    assert!(application.wait_for(4, Duration::from_secs(5)));
    assert!(eventually(Duration::from_secs(5), || values(&application)
        .len()
        == 4));
    let raw = String::from_utf8(
        application
            .requests()
            .into_iter()
            .flat_map(|request| request.body)
            .collect(),
    )
    .unwrap();
    assert!(
        raw.contains(r"caf\u00e9 open? 50\u0025 \u003Cnow> a\u0040b.co \ud83d\ude00"),
        "as Meta writes it: {raw}"
    );
    let values = values(&application);
    let message = |kind: &str| {
        let found = values
            .iter()
            .find(|value| value["messages"][0]["type"] == kind);
        found
            .map(|value| value["messages"][0].clone())
            .unwrap_or_default()
    };
    assert_eq!(
        message("text")["text"]["body"],
        "Is the café open? 50% <now> a@b.co 😀"
    );
    let kinds: Vec<_> = values
        .iter()
        .filter_map(|value| value["messages"][0]["interactive"]["type"].as_str())
        .collect();
    assert!(
        kinds.contains(&"button_reply") && kinds.contains(&"list_reply"),
        "{kinds:?}"
    );
    let link = message("image")["image"]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let (host, path) = link
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let token = std::fs::read_to_string(keyside.dir().join("token")).unwrap();
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: test\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    let picture = Client::connect(host.parse().unwrap())
        .unwrap()
        .ask(request.as_bytes())
        .unwrap();
    assert!(
        picture.status == 200 && picture.body.starts_with(b"\x89PNG"),
        "{}",
        picture.text()
    );
}

#[test]
fn an_event_is_repeated_until_the_application_accepts_it() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let application = Upstream::plain(move |_, wire| {
        let status = if up.load(Ordering::Relaxed) {
            "200 OK"
        } else {
            "500 X"
        };
        wire.write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        After::Keep
    });
    let (sandbox, _keyside) = stand(&application);
    give_order(&sandbox, &json!({"count": 5}));
    assert!(eventually(Duration::from_secs(5), || attempts(&sandbox)
        .len()
        >= 10));
    assert!(
        attempts(&sandbox)
            .iter()
            .all(|(_, _, status)| *status == 503)
    );
    is_up.store(true, Ordering::Relaxed);
    let delivered = || {
        attempts(&sandbox)
            .iter()
            .filter(|(_, _, status)| *status == 200)
            .count()
    };
    assert!(
        eventually(Duration::from_secs(10), || delivered() == 5),
        "{:?}",
        attempts(&sandbox)
    );
}

#[test]
fn batches_duplicates_and_disorder_are_passed_on_unchanged() {
    let application = application();
    let (sandbox, _keyside) = stand(&application);
    give_order(
        &sandbox,
        &json!({"text": "number {n}", "count": 10, "batch": 5, "duplicate": true, "shuffle": true}),
    );
    assert!(eventually(Duration::from_secs(5), || bodies(&application)
        .len()
        == 4));
    let mut texts: Vec<_> = values(&application)
        .iter()
        .map(|value| {
            value["messages"][0]["text"]["body"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(texts.len(), 20);
    assert_ne!(texts[0], "number 0");
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 10);
    let ids: std::collections::HashSet<_> = application
        .requests()
        .iter()
        .filter_map(|request| request.header("keyside-event-id"))
        .collect();
    assert_eq!(ids.len(), 2, "a duplicate has the id of the original");
}

#[test]
fn an_event_with_a_forged_signature_does_not_reach_the_application() {
    let application = application();
    let (sandbox, _keyside) = stand(&application);
    give_order(&sandbox, &json!({"forged": true, "count": 3}));
    assert!(eventually(Duration::from_secs(5), || attempts(&sandbox)
        .len()
        == 3));
    assert!(
        attempts(&sandbox)
            .iter()
            .all(|(_, attempt, status)| (*attempt, *status) == (1, 401))
    );
    assert_eq!(application.heads(), 0);
}

#[test]
fn a_sent_message_is_followed_by_its_statuses_or_by_its_failure() {
    let application = application();
    let (sandbox, keyside) = stand(&application);
    let token = std::fs::read_to_string(keyside.dir().join("token")).unwrap();
    let send = |to: &str| {
        let body =
            json!({"messaging_product": "whatsapp", "to": to, "text": {"body": "x"}}).to_string();
        let request = String::from_utf8(post("/v23.0/107878721936019/messages", &body)).unwrap();
        let request = request.replacen(
            "\r\n",
            &format!("\r\nAuthorization: Bearer {}\r\n", token.trim()),
            1,
        );
        let answer = Client::connect(sandbox.address())
            .unwrap()
            .ask(request.as_bytes())
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["messages"][0]["id"].clone()
    };
    let wamid = send("15550001234");
    let statuses = || -> Vec<Value> {
        values(&application)
            .iter()
            .map(|value| value["statuses"][0].clone())
            .collect()
    };
    assert!(eventually(Duration::from_secs(5), || statuses().len() == 3));
    assert!(
        statuses()
            .iter()
            .all(|status| status["id"] == wamid && status["recipient_id"] == "15550001234")
    );
    let mut words: Vec<_> = statuses()
        .iter()
        .map(|status| status["status"].as_str().unwrap().to_owned())
        .collect();
    words.sort();
    assert_eq!(words, ["delivered", "read", "sent"]);
    send("15550131047");
    assert!(eventually(Duration::from_secs(5), || statuses().len() == 4));
    let failed = statuses().pop().unwrap();
    assert_eq!(
        (
            failed["status"].as_str(),
            failed["errors"][0]["code"].as_i64()
        ),
        (Some("failed"), Some(131_047))
    );
}

#[test]
fn every_app_gets_every_event_signed_with_its_own_secret() {
    let (application, other) = (application(), application());
    let (sandbox, _keyside) = stand(&application);
    let app = json!({"name": "other", "callback": format!("{}/x", other.url()), "verify_token": "v", "secret": "s"});
    let refused = sandbox.ask("POST", "apps", &app);
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("could not be validated"),
        "an app that does not answer with the challenge is not subscribed: {refused}"
    );
    let echo = Upstream::plain(|request, wire| {
        let target = request.target();
        let challenge = target
            .split("hub.challenge=")
            .nth(1)
            .and_then(|rest| rest.split('&').next())
            .unwrap_or_default();
        wire.write(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{challenge}",
                challenge.len()
            )
            .as_bytes(),
        );
        After::Keep
    });
    let app = json!({"name": "other", "callback": format!("{}/x", echo.url()), "verify_token": "v", "secret": "s"});
    assert_eq!(sandbox.ask("POST", "apps", &app), json!({"success": true}));
    give_order(&sandbox, &json!({"text": "both"}));
    assert!(eventually(Duration::from_secs(5), || application
        .arrivals()
        == 1
        && echo.arrivals() == 2));
    let seen = echo.last();
    let signed = format!("sha256={}", crate::support::hmac_sha256("s", &seen.body));
    assert_eq!(seen.header("x-hub-signature-256"), Some(signed));
    assert_eq!(
        seen.header("user-agent").as_deref(),
        Some("facebookexternalua")
    );
    assert_eq!(
        Client::connect(sandbox.address())
            .unwrap()
            .ask(&get("/_sandbox/apps"))
            .unwrap()
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}
