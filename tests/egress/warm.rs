//! Warm connections: a message after silence, bursts, and the end.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::post;
use crate::support::keyside::{Keyside, Setup};
use crate::support::relay::Relay;
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::{MESSAGES, eventually, stretched};

const SECOND: Duration = Duration::from_secs(1);

/// An upstream that closes each connection after a second without a request.
fn impatient() -> Upstream {
    Upstream::raw(|wire| {
        while wire.request_within(SECOND).is_some() {
            wire.write(&json(r#"{"ok":true}"#));
        }
        After::Close
    })
}

#[test]
fn a_message_after_silence_takes_one_round_trip() {
    let upstream = impatient();
    let one_way = Duration::from_millis(50);
    let relay = Relay::to(upstream.port(), one_way);
    let keyside = Setup::at(&format!("https://localhost:{}", relay.port())).start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    // The connection of the message and two that were opened ahead of use are closed by now.
    assert!(eventually(SECOND * 10, || upstream.handshakes() >= 4));
    let opened = upstream.connections();
    let began = Instant::now();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let took = began.elapsed();
    assert!(
        upstream.last().connection <= opened,
        "it was opened for the message"
    );
    // A new connection costs three round trips.
    assert!(took < one_way * 4 + stretched(one_way), "{took:?}");
}

#[test]
fn no_connection_is_opened_ahead_of_the_first_use_or_with_warm_0() {
    let (unused, upstream) = (impatient(), impatient());
    let idle = Keyside::start(&unused);
    let cold = Setup::new(&upstream).more("[egress]\nwarm = 0").start();
    assert_eq!(cold.post(MESSAGES, "{}").status, 200);
    assert!(eventually(SECOND * 5, || upstream.ended() == 1));
    std::thread::sleep(SECOND * 2);
    assert_eq!((unused.connections(), upstream.connections()), (0, 1));
    assert_eq!(idle.post(MESSAGES, "{}").status, 200);
}

#[test]
fn a_reload_changes_the_number_of_warm_connections() {
    let upstream = Upstream::ok();
    let mut keyside = Keyside::start(&upstream);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    keyside.setup().set_more("[egress]\nwarm = 3");
    keyside.setup().write_config();
    assert_eq!(keyside.reload().status, 200);
    assert!(eventually(SECOND * 5, || upstream.connections() == 3));
    std::thread::sleep(SECOND);
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn a_connection_is_not_used_past_the_time_that_the_server_keeps_it() {
    let upstream =
        Upstream::answering(|_| answer("200 OK", &[("Keep-Alive", "timeout=3, max=99")], b"{}"));
    let keyside = Setup::new(&upstream).more("[egress]\nwarm = 0").start();
    for _ in 0..2 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        assert_eq!(upstream.last().connection, 1);
    }
    std::thread::sleep(SECOND * 2 + SECOND / 5);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(upstream.last().connection, 2);
}

#[test]
fn a_connection_is_not_used_past_the_age_that_the_configuration_gives_it() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .more("[egress]\nwarm = 0\nmax_age = \"1s\"")
        .start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(upstream.last().connection, 1);
    std::thread::sleep(SECOND + SECOND / 5);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(upstream.last().connection, 2);
}

#[test]
fn in_a_burst_a_request_takes_whichever_connection_is_free_first() {
    // Only the first connection gets as far as TLS.
    let upstream = Upstream::raw(|wire| {
        if wire.number() > 1 {
            wire.wait(SECOND * 20);
        }
        while wire.request().is_some() {
            wire.write(&json(r#"{"ok":true}"#));
        }
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    let began = Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let sends: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| keyside.post(MESSAGES, "{}").status))
            .collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; 20]);
    assert!(
        began.elapsed() < stretched(SECOND * 3),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_further_connection_resumes_the_tls_session() {
    let upstream = Upstream::scripted(|_, wire| {
        // Announced, so that no message meets the end of a connection.
        wire.write(&answer("200 OK", &[("Connection", "close")], b"{}"));
        After::Close
    });
    let keyside = Setup::new(&upstream).more("[egress]\nwarm = 0").start();
    for _ in 0..3 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    }
    assert_eq!((upstream.handshakes(), upstream.resumed()), (3, 2));
}

#[test]
fn the_drain_closes_idle_connections_at_once() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.body == b"{\"slow\":1}" {
            wire.wait(SECOND * 3);
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let mut keyside = Keyside::start(&upstream);
    let mut slow = keyside.connect().patience(SECOND * 10);
    assert!(slow.send(&post(MESSAGES, "{\"slow\":1}")));
    assert!(upstream.wait_for(1, SECOND * 5));
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!((upstream.connections(), upstream.ended()), (2, 0));
    keyside.signal(Signal::TERM);
    assert!(eventually(SECOND, || upstream.ended() == 1));
    assert_eq!(slow.answer().unwrap().status, 200);
    drop(slow);
    assert!(keyside.wait_exit(SECOND * 10).is_some());
}
