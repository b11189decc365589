//! Upstreams that cannot be reached, or cannot prove themselves.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::authority::Certificate;
use crate::support::client::{Client, get, post};
use crate::support::keyside::{Keyside, Setup, free_port};
use crate::support::upstream::{After, Upstream, json};
use crate::support::{MEDIA, MESSAGES, eventually};

#[test]
fn an_upstream_that_refuses_connections_is_unreachable_at_once() {
    let port = free_port();
    let keyside = Setup::at(&format!("https://127.0.0.1:{port}")).start();
    for (request, is_post) in [(get(MEDIA), false), (post(MESSAGES, "{}"), true)] {
        let began = Instant::now();
        let answer = keyside.send(&request);
        assert!(
            began.elapsed() < crate::support::stretched(Duration::from_secs(1)),
            "took {:?}",
            began.elapsed()
        );
        assert_eq!(
            (answer.status, answer.slug()),
            (502, "upstream_unreachable")
        );
        answer.must_be_a_refusal("refused connection");
        if is_post {
            assert_ne!(
                answer.json()["error"]["keyside"]["outcome"],
                "unknown",
                "nothing was written"
            );
        }
    }
}

#[test]
fn what_goes_wrong_is_counted_by_its_class() {
    let upstream = Upstream::plain(|_, wire| {
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab");
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let errors = || {
        keyside.metric(
            "keyside_upstream_errors_total",
            &["route=\"acme\"", "class="],
        )
    };
    assert!(errors() < 0.5);
    for _ in 0..3 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    }
    assert!((errors() - 3.0).abs() < 0.1, "{}", keyside.metrics());
    let failed = keyside.metric(
        "keyside_requests_total",
        &["route=\"acme\"", "operation=\"messages\""],
    );
    assert!((failed - 3.0).abs() < 0.1, "{}", keyside.metrics());
}

#[test]
fn a_host_without_an_address_is_unreachable() {
    let keyside = Setup::at("https://nowhere.invalid:443").start();
    let answer = keyside
        .connect()
        .patience(Duration::from_secs(8))
        .ask(&get(MEDIA))
        .unwrap();
    assert_eq!(
        (answer.status, answer.slug()),
        (502, "upstream_unreachable")
    );
    answer.must_be_a_refusal("no address");
}

#[test]
fn an_upstream_that_hangs_holds_up_nobody_else() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.header("x-hang").is_some() {
            wire.hang();
            return After::Cut;
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let mut keyside = Keyside::start(&upstream);
    keyside.leave_connections(
        "the host never answers, and a caller that ends its side may wait for its answer still",
    );
    let hanging = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nX-Hang: 1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let mut waiting: Vec<Client> = (0..50).map(|_| keyside.connect()).collect();
    for client in &mut waiting {
        client.send(hanging.as_bytes());
    }
    assert!(
        upstream.wait_for(50, Duration::from_secs(5)),
        "{} of 50 arrived",
        upstream.heads()
    );
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(keyside.get(MEDIA).status, 200);
        assert!(
            began.elapsed() < crate::support::stretched(Duration::from_secs(1)),
            "took {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_certificate_that_does_not_prove_the_upstream_gets_no_byte_of_a_request() {
    use Certificate::{Expired, NotYetValid, SelfSigned, UnknownAuthority, WrongHost};
    for certificate in [
        Expired,
        NotYetValid,
        WrongHost,
        UnknownAuthority,
        SelfSigned,
    ] {
        let upstream = Upstream::with_certificate(certificate);
        let keyside = Keyside::start(&upstream);
        for request in [get(MEDIA), post(MESSAGES, "{}")] {
            let answer = keyside.send(&request);
            assert_eq!(
                (answer.status, answer.slug()),
                (502, "upstream_tls"),
                "{certificate:?}: {}",
                answer.text()
            );
            answer.must_be_a_refusal("certificate");
            assert_ne!(
                answer.json()["error"]["keyside"]["outcome"],
                "unknown",
                "{certificate:?}: nothing was written"
            );
        }
        assert_eq!(upstream.bytes(), 0, "{certificate:?}");
        assert!(
            upstream.connections() > 0,
            "{certificate:?}: it was never tried"
        );
    }
}

#[test]
fn a_good_certificate_is_accepted_by_name_and_by_address() {
    let upstream = Upstream::ok();
    for host in ["localhost", "127.0.0.1"] {
        let keyside = Setup::at(&format!("https://{host}:{}", upstream.port())).start();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{host}");
        assert_eq!(
            upstream.last().header("host"),
            Some(format!("{host}:{}", upstream.port()))
        );
    }
}

#[test]
fn an_upstream_that_speaks_no_tls_is_a_tls_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let keyside = Setup::at(&format!("https://{}", listener.local_addr().unwrap())).start();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(
        (answer.status, answer.slug()),
        (502, "upstream_tls"),
        "{}",
        answer.text()
    );
    answer.must_be_a_refusal("no TLS");
}

#[test]
fn a_handshake_that_does_not_come_is_a_timeout_with_a_known_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let keyside = Setup::at(&format!("https://{}", listener.local_addr().unwrap())).start();
    let answer = keyside
        .connect()
        .patience(Duration::from_secs(9))
        .ask(&post(MESSAGES, "{}"))
        .unwrap();
    assert_eq!((answer.status, answer.slug()), (504, "upstream_timeout"));
    answer.must_be_a_refusal("handshake");
    assert_ne!(
        answer.json()["error"]["keyside"]["outcome"],
        "unknown",
        "nothing was written"
    );
}

#[test]
fn sending_recovers_as_soon_as_the_upstream_does() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let upstream = Upstream::scripted(move |_, wire| {
        if state.load(Ordering::Relaxed) {
            return After::Reset;
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    for _ in 0..200 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    }
    assert_eq!(upstream.heads(), 200, "one try each");
    broken.store(false, Ordering::Relaxed);
    let healed = eventually(Duration::from_secs(1), || {
        keyside
            .ask(&post(MESSAGES, "{}"))
            .is_ok_and(|answer| answer.status == 200)
    });
    assert!(healed, "still broken after a second");
}
