//! Streams as destinations of a webhook: beside an application, and in order.

use std::process::Command;

use super::redis::durable;
use super::*;
use crate::support::keyside::{Keyside, finish};
use crate::support::redis::{Engine, Redis};
use crate::support::webhook::{
    application, delivered, genuine, message, spooled, spooled_with, to,
};

/// A `[[webhook.to]]` that is the stream `events`, with the URL of its server in a file.
const STREAM: &str = "[[webhook.to]]\nname = \"stream\"\npublish = \"redis-stream:events\"\nserver = \"file:@DIR@/url\"\n";
/// The time for an event to a willing stream.
const SOON: Duration = Duration::from_secs(5);
/// The time for the probes of a destination that was down for long.
const PROBED: Duration = Duration::from_secs(15);

fn url(redis: &Redis) -> String {
    redis.url_through(redis.port())
}

fn send(keyside: &Keyside, number: usize) {
    let answer = keyside.event(&genuine(message(&format!("m{number}"), "user").as_bytes()));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The ids of the messages in a stream, in order, each once.
fn messages(redis: &Redis) -> Vec<String> {
    let entries = redis.ask(&["XRANGE", "events", "-", "+"]);
    let bodies = entries.lines().filter(|line| line.starts_with('{'));
    let mut ids: Vec<_> = bodies
        .flat_map(|body| crate::support::webhook::ids(body.as_bytes()))
        .collect();
    ids.dedup();
    ids
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("m{number}")).collect()
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_stream_gets_every_event_in_order_and_holds_no_application_up_while_it_is_down() {
    let (application, mut redis) = (application(), durable(Engine::Redis));
    let setup = spooled(&(to("app", &application, "") + STREAM)).file("url", url(&redis));
    let keyside = setup.start();
    (0..50).for_each(|number| send(&keyside, number));
    let arrive = |redis: &Redis, count| eventually(SOON, || messages(redis).len() == count);
    assert!(arrive(&redis, 50), "{:?}", messages(&redis));
    let entry = redis.ask(&["XRANGE", "events", "-", "+", "COUNT", "1"]);
    for field in [
        "id",
        "content-type",
        "x-hub-signature-256",
        "keyside-webhook",
        "keyside-event-id",
        "keyside-attempt",
        "keyside-received",
    ] {
        assert!(entry.lines().any(|line| line == field), "{field}: {entry}");
    }

    redis.kill();
    (50..80).for_each(|number| send(&keyside, number));
    assert!(eventually(SOON, || delivered(&application).len() == 80));
    redis.restart();
    assert!(arrive(&redis, 80), "{:?}", messages(&redis));
    assert_eq!(messages(&redis), numbers(0..80));
    let log = keyside.log();
    assert!(
        log.contains("destination is down") && log.contains("accepts events again"),
        "{log}"
    );
    assert!(!log.contains("CANARY"), "{log}");
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_server_that_stays_down_fills_the_spool_with_503_and_gets_every_answered_event_later() {
    let mut redis = durable(Engine::Redis);
    let setup = spooled_with(STREAM, "max_size = \"4MiB\"").file("url", url(&redis));
    let keyside = setup.start();
    redis.kill();
    let large = |number: usize| {
        let body = message(&format!("m{number}"), "user") + &" ".repeat(1 << 20);
        keyside.event(&genuine(body.as_bytes()))
    };
    let stored = (0..8)
        .take_while(|number| large(*number).status == 200)
        .count();
    assert!((1..8).contains(&stored), "{stored} were taken");
    let refused = large(stored);
    assert_eq!((refused.status, refused.slug()), (503, "spool_full"));
    assert!(refused.header("retry-after").is_some());
    redis.restart();
    let has_all = || messages(&redis) == numbers(0..stored);
    assert!(eventually(PROBED, has_all), "{:?}", messages(&redis));
    assert!(eventually(SOON, || large(stored).status == 200));
    let has_more = || messages(&redis) == numbers(0..stored + 1);
    assert!(eventually(SOON, has_more), "{:?}", messages(&redis));
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn entries_that_a_failover_lost_are_published_anew_by_a_replay() {
    let redis = Redis::start();
    let setup = spooled(STREAM).file("url", url(&redis));
    let keyside = setup.start();
    (0..20).for_each(|number| send(&keyside, number));
    let has_all = || messages(&redis) == numbers(0..20);
    assert!(eventually(SOON, has_all), "{:?}", messages(&redis));
    let ids = redis.ids();
    // A replica that was behind is the new master.
    redis.ask(&["DEL", "events"]);
    let mut replay = Command::new(env!("CARGO_BIN_EXE_keyside"));
    let admin = keyside.admin().to_string();
    replay
        .args(["events", "replay", "--since", "1h", "--to", "stream"])
        .args(["--admin", &admin]);
    let replayed = finish(&mut replay, SOON);
    assert_eq!(replayed.code, Some(0), "{}", replayed.output);
    assert!(eventually(SOON, has_all), "{:?}", messages(&redis));
    assert_eq!(redis.ids(), ids, "each event keeps its id");
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_name_that_is_no_stream_pauses_its_destination_and_says_what_to_do() {
    let (application, redis) = (application(), Redis::start());
    redis.ask(&["SET", "events", "x"]);
    let setup = spooled(&(to("app", &application, "") + STREAM)).file("url", url(&redis));
    let keyside = setup.start();
    send(&keyside, 0);
    let says = || keyside.log().contains("choose another name");
    assert!(eventually(SOON, says), "{}", keyside.log());
    assert!(eventually(SOON, || delivered(&application).len() == 1));
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn events_wait_for_the_url_of_their_stream_and_a_reload_brings_it() {
    let (application, redis) = (application(), Redis::start());
    let setup = spooled(&(to("app", &application, "") + STREAM)).file("url", "CANARY://x");
    let keyside = setup.start();
    send(&keyside, 0);
    assert!(eventually(SOON, || delivered(&application).len() == 1));
    let log = keyside.log();
    assert!(log.contains("its events wait for the URL"), "{log}");
    keyside.dir().write("url", url(&redis));
    assert_eq!(keyside.reload().status, 200);
    assert!(
        eventually(SOON, || messages(&redis) == ["m0"]),
        "{}",
        keyside.log()
    );
    // A URL broken later changes no delivery, and the reload reports the fault.
    keyside.dir().write("url", "CANARY://x");
    assert_eq!(keyside.reload().status, 422);
    send(&keyside, 1);
    assert!(
        eventually(SOON, || messages(&redis) == ["m0", "m1"]),
        "{}",
        keyside.log()
    );
    assert!(!keyside.log().contains("CANARY"));
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_stream_over_tls_trusts_the_authority_that_stands_beside_its_server() {
    let (application, redis) = (application(), Redis::over_tls());
    let stream = format!("{STREAM}ca = \"@DIR@/broker.pem\"\n");
    let setup = spooled(&(to("app", &application, "") + &stream))
        .file("url", redis.url())
        .file("broker.pem", Authority::new().pem());
    let keyside = setup.start();
    send(&keyside, 0);
    assert!(eventually(SOON, || delivered(&application).len() == 1));
    let is_down = || keyside.log().contains("destination is down");
    assert!(eventually(SOON, is_down), "{}", keyside.log());
    keyside
        .dir()
        .write("broker.pem", Authority::trusted().pem());
    assert_eq!(keyside.reload().status, 200);
    let has_it = || messages(&redis) == ["m0"];
    assert!(eventually(SOON, has_it), "{}", keyside.log());
}

#[cfg(not(feature = "nats"))]
#[test]
fn a_stream_that_this_build_cannot_publish_to_is_told_with_its_place_and_the_feature() {
    let stream = STREAM.replace("redis-stream:events", "nats:events");
    let setup = spooled(&stream).file("url", "nats://localhost");
    for command in ["run", "check", "check --no-secrets"] {
        let finished = setup.finish(command);
        let told = finished.output.lines().any(|line| {
            line.contains("proxy.toml:")
                && line.contains(": webhook.to.publish: ")
                && line.contains("--features nats")
        });
        assert!(told, "{command}: {}", finished.output);
        assert_eq!(finished.code, Some(78), "{command}");
    }
}
