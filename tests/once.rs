//! `Idempotency-Key`: a message goes out once, however often its request comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::client::{Answer, Client, post};
use crate::support::keyside::{Keyside, Setup};
use crate::support::redis::Redis;
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::webhook::{HOOK, application, genuine};
use crate::support::{APP_SECRET, MESSAGES, eventually};

fn with(lines: &str, path: &str, body: &str) -> Vec<u8> {
    let plain = String::from_utf8(post(path, body)).unwrap();
    plain
        .replacen("\r\n", &format!("\r\n{lines}"), 1)
        .into_bytes()
}

fn send(keyside: &Keyside, key: &str, body: &str) -> Answer {
    keyside.send(&with(
        &format!("Idempotency-Key: {key}\r\n"),
        MESSAGES,
        body,
    ))
}

#[test]
fn one_key_on_two_routes_is_two_keys() {
    let upstream = counting();
    let keyside = Setup::new(&upstream)
        .more(
            "[[route]]\ncredential = \"acme\"\nname = \"second\"\npath = \"/second\"\n[route.limits]\nper_sender = \"1000/s\"\n",
        )
        .start();
    let send = |path: &str| {
        let request = with("Idempotency-Key: k\r\n", path, r#"{"to":"1"}"#);
        keyside.send(&request)
    };
    let second = format!("/second{MESSAGES}");
    let first = send(MESSAGES);
    let other = send(&second);
    assert_eq!((first.status, other.status), (200, 200));
    assert_ne!(first.body, other.body, "another route is another message");
    for (path, answer) in [(MESSAGES, &first), (&second, &other)] {
        let again = send(path);
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path}");
        assert_eq!(again.body, answer.body, "{path}");
    }
    assert_eq!(upstream.arrivals(), 2);
}

/// An upstream with a new id in each answer.
fn counting() -> Upstream {
    let sent = AtomicUsize::new(0);
    Upstream::answering(move |_| {
        json(&format!(
            r#"{{"messages":[{{"id":"wamid.{}"}}]}}"#,
            sent.fetch_add(1, Ordering::Relaxed)
        ))
    })
}

#[test]
fn a_repeated_request_gets_the_first_answer() {
    let upstream = counting();
    let keyside = Keyside::start(&upstream);
    let first = send(
        &keyside,
        "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"",
        r#"{"to":"1"}"#,
    );
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (200, None)
    );
    for key in [
        "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"",
        "8e03978e-40d5-43dd-bc93-6894a57f9324",
    ] {
        let again = send(&keyside, key, r#"{"to":"1"}"#);
        assert_eq!((again.status, &again.body), (200, &first.body), "{key}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.header("content-type"), first.header("content-type"));
    }
    assert_eq!(upstream.arrivals(), 1);
    assert_ne!(
        send(&keyside, "another", r#"{"to":"1"}"#).body,
        first.body,
        "another key is another message"
    );
    let other_sender = with(
        "Idempotency-Key: another\r\n",
        "/v23.0/9876543210/messages",
        r#"{"to":"1"}"#,
    );
    assert_eq!(
        keyside.send(&other_sender).header("idempotent-replayed"),
        None,
        "keys are separate for each sender"
    );
    assert_ne!(
        keyside.post(MESSAGES, "{}").body,
        keyside.post(MESSAGES, "{}").body,
        "without a key nothing is kept"
    );
    // A reload forgets nothing.
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(
        send(&keyside, "another", r#"{"to":"1"}"#).header("idempotent-replayed"),
        Some("true")
    );
}

#[test]
fn a_different_message_under_a_used_key_is_refused() {
    let upstream = counting();
    let keyside = Keyside::start(&upstream);
    assert_eq!(send(&keyside, "k", r#"{"to":"1"}"#).status, 200);
    let refused = send(&keyside, "k", r#"{"to":"2"}"#);
    assert_eq!((refused.status, refused.slug()), (422, "key_reused"));
    for line in [
        "Idempotency-Key:\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
        "Idempotency-Key: \"\"\r\n",
    ] {
        assert_eq!(
            keyside.send(&with(line, MESSAGES, "{}")).status,
            400,
            "{line}"
        );
    }
    let long = format!("Idempotency-Key: {}\r\n", "x".repeat(256));
    assert_eq!(keyside.send(&with(&long, MESSAGES, "{}")).status, 400);
    assert_eq!(upstream.arrivals(), 1);
}

#[test]
fn a_repetition_while_the_first_request_is_under_way_gets_409() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(Duration::from_millis(500));
        json("{}")
    });
    let keyside = Keyside::start(&upstream);
    thread::scope(|scope| {
        let first = scope.spawn(|| send(&keyside, "k", "{}"));
        assert!(eventually(Duration::from_secs(2), || upstream.arrivals() == 1));
        let second = send(&keyside, "k", "{}");
        assert_eq!((second.status, second.slug()), (409, "send_under_way"));
        assert!(
            second.json()["error"]["keyside"].get("outcome").is_none(),
            "{}",
            second.text()
        );
        assert_eq!(first.join().unwrap().status, 200);
    });
    assert_eq!(send(&keyside, "k", "{}").status, 200);
    assert_eq!(upstream.arrivals(), 1);
}

#[test]
fn a_message_of_unknown_outcome_is_sent_again_only_if_the_application_settles_it() {
    let arrivals = AtomicUsize::new(0);
    let upstream =
        Upstream::scripted(
            move |_, wire| match arrivals.fetch_add(1, Ordering::Relaxed) {
                0 => After::Close,
                _ => {
                    wire.write(&json("{}"));
                    After::Keep
                }
            },
        );
    let keyside = Keyside::start(&upstream);
    assert_eq!(send(&keyside, "k", "{}").status, 502);
    for _ in 0..2 {
        let again = send(&keyside, "k", "{}");
        assert_eq!((again.status, again.slug()), (409, "send_under_way"));
        assert_eq!(again.json()["error"]["keyside"]["outcome"], "unknown");
    }
    assert_eq!(upstream.arrivals(), 1);
    let settled = keyside.send(&with(
        "Idempotency-Key: k\r\nKeyside-Settle: not-sent\r\n",
        MESSAGES,
        "{}",
    ));
    assert_eq!((settled.status, upstream.arrivals()), (200, 2));
    let sent = keyside.send(&with(
        "Idempotency-Key: k\r\nKeyside-Settle: not-sent\r\n",
        MESSAGES,
        "{}",
    ));
    assert_eq!(
        (sent.header("idempotent-replayed"), upstream.arrivals()),
        (Some("true"), 2),
        "a known answer must stay known"
    );
}

#[test]
fn the_outcome_is_kept_for_an_application_that_hangs_up() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(Duration::from_millis(300));
        json("{}")
    });
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"1/2s\"\nmax_wait = \"10s\"")
        .start();
    let mut gone = Client::connect(keyside.outbound()).unwrap();
    assert!(gone.send(&with("Idempotency-Key: first\r\n", MESSAGES, "{}")));
    assert!(eventually(Duration::from_secs(2), || upstream.arrivals() == 1));
    // The second message waits in the queue: no byte of it has gone out.
    let mut waiting = Client::connect(keyside.outbound()).unwrap();
    assert!(waiting.send(&with("Idempotency-Key: second\r\n", MESSAGES, "{}")));
    let in_line = || keyside.status()["routes"][0]["limit"]["waiting"] == 1;
    assert!(eventually(Duration::from_secs(2), in_line));
    drop((gone, waiting));
    assert!(eventually(Duration::from_secs(2), || !in_line()));
    assert_eq!(
        send(&keyside, "second", "{}").status,
        200,
        "the waiting message must not have been sent"
    );
    assert_eq!(
        send(&keyside, "first", "{}").header("idempotent-replayed"),
        Some("true"),
        "the answer of the first message must have been kept"
    );
    assert_eq!(upstream.arrivals(), 2);
}

#[test]
fn settling_a_request_settles_no_different_request_under_its_key() {
    let upstream = forgetful();
    let keyside = Keyside::start(&upstream);
    assert_eq!(send(&keyside, "k", r#"{"to":"1"}"#).status, 502);
    let other = with(
        "Idempotency-Key: k\r\nKeyside-Settle: not-sent\r\n",
        MESSAGES,
        r#"{"to":"2"}"#,
    );
    assert_eq!(keyside.send(&other).slug(), "key_reused");
    assert_eq!(
        (
            send(&keyside, "k", r#"{"to":"1"}"#).slug(),
            upstream.arrivals()
        ),
        ("send_under_way", 1)
    );
}

#[test]
fn a_message_refused_by_the_provider_may_be_sent_again() {
    let throttled = answer(
        "429 No",
        &[("Content-Type", "application/json")],
        br#"{"error":{"code":130429}}"#,
    );
    let invalid = answer(
        "400 No",
        &[("Content-Type", "application/json")],
        br#"{"error":{"code":131009}}"#,
    );
    let gateway = answer("502 No", &[("Content-Type", "text/html")], b"<h1>no</h1>");
    let failure = answer(
        "500 No",
        &[("Content-Type", "application/json")],
        br#"{"error":{"code":131000}}"#,
    );
    let timeout = answer(
        "504 No",
        &[("Content-Type", "application/json")],
        br#"{"message":"timed out"}"#,
    );
    for (first, then, arrivals) in [
        (throttled, 200, 2),
        (invalid, 400, 1),
        (gateway, 409, 1),
        (failure, 409, 1),
        (timeout, 409, 1),
    ] {
        let count = AtomicUsize::new(0);
        let upstream = Upstream::answering(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 => first.clone(),
            _ => json("{}"),
        });
        let keyside = Setup::new(&upstream)
            .limits("per_sender = \"1000/s\"\nmax_wait = \"3s\"")
            .start();
        send(&keyside, "k", "{}");
        assert_eq!(
            (send(&keyside, "k", "{}").status, upstream.arrivals()),
            (then, arrivals)
        );
    }
}

/// An upstream with no answer to the first message and an answer to each later message.
fn forgetful() -> Upstream {
    let arrivals = AtomicUsize::new(0);
    Upstream::scripted(
        move |_, wire| match arrivals.fetch_add(1, Ordering::Relaxed) {
            0 => After::Close,
            _ => {
                wire.write(&json("{}"));
                After::Keep
            }
        },
    )
}

/// A sidecar with an outbound and an inbound side.
fn receiving(upstream: &Upstream, application: &Upstream, more: &str) -> Setup {
    Setup::new(upstream)
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\n\
             forward = \"{}/events\"\n{more}",
            application.url()
        ))
}

fn status_event(sender: &str, recipient: &str, status: &str, at: u64, text: &str) -> Vec<u8> {
    let event = serde_json::json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [{
        "field": "messages",
        "value": {
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "1", "phone_number_id": sender },
            "statuses": [{ "id": "wamid.TOLD", "status": status, "timestamp": at.to_string(), "recipient_id": recipient,
                           "biz_opaque_callback_data": text }],
        },
    }] }] });
    genuine(event.to_string().as_bytes())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

const TAGGED: &str = r#"{"messaging_product":"whatsapp","to":"+1 555 000-1234","type":"text","text":{"body":"x"},"biz_opaque_callback_data":"order-7"}"#;

#[test]
fn a_status_event_settles_a_message_of_unknown_outcome() {
    let (upstream, application) = (forgetful(), application());
    let keyside = receiving(&upstream, &application, "").start();
    assert_eq!(send(&keyside, "k", TAGGED).status, 502);
    for (sender, recipient, status, at, text) in [
        ("1234567890", "15550001234", "delivered", now(), "order-7"),
        ("1234567890", "15550001234", "sent", now(), "order-8"),
        ("1234567890", "15550009999", "sent", now(), "order-7"),
        ("9999999999", "15550001234", "sent", now(), "order-7"),
        ("1234567890", "15550001234", "sent", now() - 60, "order-7"),
    ] {
        assert_eq!(
            keyside
                .event(&status_event(sender, recipient, status, at, text))
                .status,
            200
        );
        let again = send(&keyside, "k", TAGGED);
        assert_eq!(
            (again.status, again.slug()),
            (409, "send_under_way"),
            "{sender} {recipient} {status} {at} {text}"
        );
    }
    assert_eq!(
        keyside
            .event(&status_event(
                "1234567890",
                "15550001234",
                "sent",
                now(),
                "order-7"
            ))
            .status,
        200
    );
    assert!(eventually(Duration::from_secs(2), || send(
        &keyside, "k", TAGGED
    )
    .status
        == 200));
    let again = send(&keyside, "k", TAGGED);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json()["messages"][0]["id"], "wamid.TOLD");
    assert_eq!(
        (upstream.arrivals(), application.arrivals()),
        (1, 6),
        "and events reach the application all the same"
    );
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn two_sidecars_send_a_message_once() {
    let (upstream, redis) = (counting(), Redis::start());
    let start = || {
        let shared = "[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"";
        Setup::new(&upstream)
            .env("KEYSIDE_REDIS_URL", &redis.url())
            .more(shared)
            .start()
    };
    let (one, other) = (start(), start());
    let first = send(&one, "k", r#"{"to":"1"}"#);
    assert_eq!(first.status, 200);
    let again = send(&other, "k", r#"{"to":"1"}"#);
    assert_eq!(
        (
            again.status,
            &again.body,
            again.header("idempotent-replayed")
        ),
        (200, &first.body, Some("true"))
    );
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(send(&other, "k", r#"{"to":"2"}"#).slug(), "key_reused");
    assert_eq!(upstream.arrivals(), 1);
    drop(one);
    assert_eq!(
        send(&start(), "k", r#"{"to":"1"}"#).header("idempotent-replayed"),
        Some("true"),
        "a restart forgets nothing"
    );
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn an_answer_in_the_server_opens_under_its_own_key_alone() {
    // Puts the answer of one message in the place of the other's answer, as whoever may write to
    // the server could.
    const MOVE: &str = "local from, to = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) \
        local head, answer = string.match(to, '^([^:]*:)'), string.match(from, '^[^:]*:(.*)$') \
        redis.call('SET', KEYS[2], head .. answer, 'KEEPTTL') return #answer";
    let (upstream, redis) = (counting(), Redis::start());
    let start = || {
        Setup::new(&upstream)
            .env("KEYSIDE_REDIS_URL", &redis.url())
            .more("[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"")
            .start()
    };
    let sent_keys = || -> Vec<String> {
        let keys = redis.ask(&["--raw", "KEYS", "*:send:*"]);
        keys.lines().map(str::to_owned).collect()
    };
    let keyside = start();
    let first = send(&keyside, "first", r#"{"to":"1"}"#);
    let keys = sent_keys();
    assert_eq!((first.status, keys.len()), (200, 1), "{keys:?}");
    assert_eq!(send(&keyside, "second", r#"{"to":"2"}"#).status, 200);
    let second = sent_keys().into_iter().find(|key| *key != keys[0]).unwrap();
    // A second sidecar knows both messages from the server alone.
    drop(keyside);
    let other = start();
    let moved = redis.ask(&["EVAL", MOVE, "2", &keys[0], &second]);
    assert!(moved.trim().parse::<usize>().is_ok(), "{moved}");
    let repeated = send(&other, "second", r#"{"to":"2"}"#);
    assert_eq!(
        (repeated.status, repeated.slug()),
        (409, "send_under_way"),
        "{}",
        repeated.text()
    );
    let repeated = send(&other, "first", r#"{"to":"1"}"#);
    assert_eq!(repeated.header("idempotent-replayed"), Some("true"));
    assert_eq!(repeated.body, first.body);
    assert_eq!(upstream.arrivals(), 2);
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_message_under_way_or_of_unknown_outcome_is_so_in_every_sidecar() {
    let (redis, application) = (Redis::start(), application());
    let arrivals = AtomicUsize::new(0);
    let upstream =
        Upstream::scripted(
            move |_, wire| match arrivals.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    thread::sleep(Duration::from_millis(500));
                    After::Close
                }
                _ => {
                    wire.write(&json("{}"));
                    After::Keep
                }
            },
        );
    let start = || {
        let shared = "[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"";
        receiving(&upstream, &application, shared)
            .env("KEYSIDE_REDIS_URL", &redis.url())
            .start()
    };
    let (one, other) = (start(), start());
    thread::scope(|scope| {
        let first = scope.spawn(|| send(&one, "k", TAGGED));
        assert!(eventually(Duration::from_secs(2), || upstream.arrivals() == 1));
        let meanwhile = send(&other, "k", TAGGED);
        assert_eq!(
            (meanwhile.status, meanwhile.slug()),
            (409, "send_under_way")
        );
        assert_eq!(meanwhile.json()["error"]["keyside"].get("outcome"), None);
        assert_eq!(first.join().unwrap().status, 502);
    });
    let is_unknown =
        || send(&other, "k", TAGGED).json()["error"]["keyside"]["outcome"] == "unknown";
    assert!(eventually(Duration::from_secs(2), is_unknown));
    assert_eq!(
        other
            .event(&status_event(
                "1234567890",
                "15550001234",
                "failed",
                now(),
                "order-7"
            ))
            .status,
        200
    );
    for keyside in [&one, &other] {
        assert!(eventually(Duration::from_secs(2), || send(
            keyside, "k", TAGGED
        )
        .status
            == 200));
        assert_eq!(
            send(keyside, "k", TAGGED).json()["messages"][0]["id"],
            "wamid.TOLD"
        );
    }
    assert_eq!(send(&one, "other", TAGGED).status, 200);
    assert_eq!(upstream.arrivals(), 2);
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn with_on_failure_closed_no_message_with_a_key_goes_out_without_the_server() {
    let (upstream, mut redis) = (counting(), Redis::start());
    let shared = "[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"\non_failure = \"closed\"";
    let keyside = Setup::new(&upstream)
        .env("KEYSIDE_REDIS_URL", &redis.url())
        .more(shared)
        .start();
    assert_eq!(send(&keyside, "k", "{}").status, 200);
    redis.kill();
    assert_eq!(
        send(&keyside, "k", "{}").header("idempotent-replayed"),
        Some("true"),
        "a locally known answer needs no server"
    );
    assert_eq!(
        (send(&keyside, "another", "{}").status, upstream.arrivals()),
        (429, 1)
    );
    redis.restart();
    assert!(eventually(Duration::from_secs(3), || send(
        &keyside, "another", "{}"
    )
    .status
        == 200));
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn without_the_server_each_sidecar_still_sends_once() {
    let (upstream, mut redis) = (counting(), Redis::start());
    let shared = "[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"";
    let keyside = Setup::new(&upstream)
        .env("KEYSIDE_REDIS_URL", &redis.url())
        .more(shared)
        .start();
    redis.kill();
    let first = send(&keyside, "k", "{}");
    assert_eq!(
        (first.status, send(&keyside, "k", "{}").body),
        (200, first.body)
    );
    assert_eq!(upstream.arrivals(), 1);
}
