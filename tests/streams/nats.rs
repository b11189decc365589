//! NATS JetStream.

use std::process::Command;

use async_nats::ConnectOptions;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{self, Context};

use super::*;
use crate::support::keyside::finish;
use crate::support::nats::Nats;
use crate::support::webhook::{genuine, message, spooled};

impl Server for Nats {
    fn stream(&self) -> StreamAddress {
        events()
    }

    fn url_through(&self, port: u16) -> String {
        self.url_of("keyside")
            .replace(&Self::port(self).to_string(), &port.to_string())
    }

    fn port(&self) -> u16 {
        Self::port(self)
    }

    fn ids(&self) -> Vec<String> {
        ids_of(&messages(self))
    }

    fn restart(&mut self) {
        Self::restart(self);
    }

    fn signal(&self, signal: Signal) {
        Self::signal(self, signal);
    }
}

fn events() -> StreamAddress {
    subject("events")
}

fn subject(subject: &str) -> StreamAddress {
    StreamAddress::Nats {
        subject: subject.to_owned(),
    }
}

/// A server with a stream for `events`.
fn with_stream(config: Config) -> Nats {
    let nats = Nats::start();
    let config = Config {
        name: "events".to_owned(),
        ..config
    };
    runtime().block_on(async { context(&nats).await.create_stream(config).await.unwrap() });
    nats
}

async fn context(nats: &Nats) -> Context {
    let login = ConnectOptions::with_user_and_password("keyside".into(), "CANARYnats".into());
    let address = format!("127.0.0.1:{}", nats.port());
    jetstream::new(login.connect(address).await.unwrap())
}

/// The messages of the stream, the oldest first.
fn messages(nats: &Nats) -> Vec<jetstream::message::StreamMessage> {
    runtime().block_on(async {
        let context = context(nats).await;
        let stream = context.get_stream("events").await.unwrap();
        let state = &stream.cached_info().state;
        let mut messages = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            messages.push(stream.get_raw_message(sequence).await.unwrap());
        }
        messages
    })
}

fn ids_of(messages: &[jetstream::message::StreamMessage]) -> Vec<String> {
    let id = |message: &jetstream::message::StreamMessage| {
        message.headers.get("Nats-Msg-Id").unwrap().to_string()
    };
    messages.iter().map(id).collect()
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn a_message_has_the_id_the_headers_and_the_body_of_its_event() {
    let nats = with_stream(Config::default());
    an_event_is_published_once(&nats);
    let message = &messages(&nats)[0];
    assert_eq!(message.payload.as_ref(), b"{}");
    for (name, value) in [
        ("content-type", "application/json"),
        ("keyside-attempt", "1"),
        ("x-hub-signature-256", "sha256=00"),
    ] {
        assert_eq!(message.headers.get(name).unwrap().as_str(), value, "{name}");
    }
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn a_repeat_is_dropped_by_its_id() {
    let nats = with_stream(Config::default());
    let destination = Destination::of(&nats);
    destination.run(async {
        for _ in 0..2 {
            let outcome = destination
                .attempt(&id(0, 0), Bytes::from_static(b"{}"))
                .await;
            assert_eq!(outcome, TAKEN);
        }
    });
    assert_eq!(nats.ids(), [id(0, 0)]);
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn a_nats_that_is_killed_under_load_loses_nothing() {
    a_restart_loses_nothing(&mut with_stream(Config::default()));
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn a_nats_that_hangs_loses_nothing() {
    a_server_that_hangs_loses_nothing(&with_stream(Config::default()));
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn a_connection_to_nats_cut_half_way_loses_nothing() {
    a_connection_cut_half_way_loses_nothing(&with_stream(Config::default()));
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn events_wait_for_room_in_a_full_stream_of_nats() {
    let nats = with_stream(Config {
        max_bytes: 500_000,
        discard: DiscardPolicy::New,
        ..Config::default()
    });
    let destination = Destination::of(&nats);
    let body = || Bytes::from(vec![b'x'; 200_000]);
    destination.run(async {
        for number in 0..2 {
            assert_eq!(destination.attempt(&id(0, number), body()).await, TAKEN);
        }
        let outcome = destination.attempt(&id(0, 2), body()).await;
        assert_eq!(outcome, AttemptOutcome::Published(StreamAnswer::Full));
        let stream = context(&nats).await.get_stream("events").await.unwrap();
        stream.delete_message(1).await.unwrap();
        destination.deliver(&id(0, 2), body()).await;
    });
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn each_refusal_of_nats_has_its_meaning() {
    let nats = with_stream(Config {
        subjects: vec!["events".to_owned(), "small".to_owned()],
        max_message_size: 100_000,
        ..Config::default()
    });
    let url = nats.url_of("keyside");
    assert_answer(&events(), &url, 300_000, StreamAnswer::TooLarge);
    assert_answer(&events(), &url, 150_000, StreamAnswer::TooLarge);
    assert_answer(&subject("nowhere"), &url, 2, StreamAnswer::Missing);
    assert_answer(&events(), &nats.url_of("reader"), 2, StreamAnswer::Denied);
    assert_answer(
        &events(),
        &url.replace("CANARYnats", "CANARYwrong"),
        2,
        StreamAnswer::Denied,
    );
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn a_nats_over_tls_needs_a_certificate_that_is_trusted() {
    let nats = Nats::over_tls();
    // There is no stream: the answer of the server tells that the connection came about.
    let url = nats.url_of("keyside");
    for scheme in ["nats", "tls"] {
        let url = url.replace("nats:", &format!("{scheme}:"));
        let attempt = |authority: &Authority| {
            let destination = Destination::trusting(Some(&authority.pem()), &events(), &url);
            destination.run(destination.attempt(&id(0, 0), Bytes::from_static(b"{}")))
        };
        let missing = AttemptOutcome::Published(StreamAnswer::Missing);
        assert_eq!(attempt(Authority::trusted()), missing, "{scheme}");
        assert_eq!(
            attempt(&Authority::new()),
            AttemptOutcome::Unreachable,
            "{scheme}"
        );
    }
}

#[test]
#[ignore = "needs NATS: tests/run servers"]
fn a_replay_within_the_window_of_repeats_is_in_the_stream_once_more() {
    let nats = with_stream(Config::default());
    let stream = "[[webhook.to]]\nname = \"stream\"\npublish = \"nats:events\"\nserver = \"file:@DIR@/url\"\n";
    let keyside = spooled(stream).file("url", nats.url_of("keyside")).start();
    let answer = keyside.event(&genuine(message("m1", "user").as_bytes()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let holds = |count| eventually(Duration::from_secs(10), || messages(&nats).len() == count);
    assert!(holds(1), "{}", keyside.log());
    let is_noted = || keyside.metric("keyside_spool_events", &["state=\"delivered\""]) > 0.5;
    assert!(eventually(Duration::from_secs(10), is_noted));
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["events", "replay", "--since", "1h"]);
    command.args(["--admin", &keyside.admin().to_string()]);
    let replayed = finish(&mut command, Duration::from_secs(20));
    assert_eq!(replayed.code, Some(0), "{}", replayed.output);
    assert!(holds(2), "{}\n{}", replayed.output, keyside.log());
    let both = messages(&nats);
    let of = |name: &str| -> Vec<String> {
        let of = both.iter().map(|message| message.headers.get(name));
        of.map(|value| value.unwrap().to_string()).collect()
    };
    let ids = of("keyside-event-id");
    assert_eq!(ids[0], ids[1]);
    let names = of("Nats-Msg-Id");
    assert_eq!(names[0], ids[0]);
    assert!(names[1].starts_with(&format!("{}/", ids[0])), "{names:?}");
}
