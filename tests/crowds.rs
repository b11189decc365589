//! Crowds at the doors: callers with half of a head, newcomers without a place, callers with an
//! early end of sending.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, get, post, upload};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, json};
use crate::support::webhook::{EVENT, application, beside, genuine};
use crate::support::{MESSAGES, eventually};

/// A listener, with a request that it answers with 200.
struct Door {
    name: &'static str,
    address: SocketAddr,
    request: Vec<u8>,
    /// More connections than the listener has places.
    crowd: usize,
}

fn doors(keyside: &Keyside) -> [Door; 3] {
    let door = |name, address, request, crowd| Door {
        name,
        address,
        request,
        crowd,
    };
    [
        door("admin", keyside.admin(), get("/livez"), 200),
        door("inbound", keyside.inbound(), genuine(EVENT.as_bytes()), 700),
        door("outbound", keyside.outbound(), post(MESSAGES, "{}"), 1200),
    ]
}

#[test]
fn a_crowd_with_half_a_head_keeps_nobody_from_being_served_at_any_listener() {
    let (upstream, application) = (Upstream::ok(), application());
    let keyside = beside(&upstream, &application).level("info").start();
    for door in doors(&keyside) {
        let crowd: Vec<Client> = (0..door.crowd)
            .filter_map(|_| {
                let mut client = Client::connect(door.address).ok()?;
                client.send(b"GET /x HTTP/1.1\r\nHo").then_some(client)
            })
            .collect();
        // A head may take a second from the first byte, and a busy sidecar reads the byte up to two
        // seconds after the crowd sent the head.
        thread::sleep(Duration::from_secs(3));
        for _ in 0..10 {
            let mut patient = Client::connect(door.address).unwrap();
            let answer = patient.ask(&door.request);
            let status = answer.map(|answer| answer.status);
            assert_eq!(status, Ok(200), "{}, a crowd of {}", door.name, crowd.len());
        }
    }
    let log = keyside.log();
    let told = "because the head of its request was not whole";
    assert_eq!(log.matches(told).count(), 3, "once for each listener");
}

#[test]
fn half_a_head_whose_place_is_needed_gets_503_and_a_whole_one_is_served() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .outbound("max_connections = 2")
        .start();
    let request = post(MESSAGES, "{}");
    let (beginning, rest) = request.split_at(20);
    let mut slow: Vec<Client> = (0..2).map(|_| keyside.connect()).collect();
    for client in &mut slow {
        assert!(client.send(beginning));
        thread::sleep(Duration::from_millis(100));
    }
    let mut newcomer = keyside.connect();
    let refused = newcomer.ask(&request).unwrap();
    assert_eq!(refused.status, 503, "a head may take a second");
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let told = slow[0].answer().unwrap();
    told.must_be_a_refusal("a head whose place was needed");
    assert_eq!((told.status, told.slug()), (503, "overloaded"));
    assert_eq!(slow[1].ask(rest).unwrap().status, 200, "the younger one");
}

#[test]
fn every_newcomer_gets_503_while_every_connection_is_at_work() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(Duration::from_secs(3));
        json("{}")
    });
    let keyside = Setup::new(&upstream)
        .outbound("max_connections = 4")
        .start();
    let request = post(MESSAGES, "{}");
    let mut at_work: Vec<Client> = (0..4).map(|_| keyside.connect()).collect();
    for client in &mut at_work {
        assert!(client.send(&request));
    }
    assert!(upstream.wait_for(4, Duration::from_secs(3)));
    // Far more at once than refusals that may take their time.
    let mut newcomers: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = keyside.connect();
            client.send(&request);
            client
        })
        .collect();
    let answers: Vec<_> = newcomers
        .iter_mut()
        .map(|client| {
            let answer = client.answer().ok()?;
            let retry_after = answer.header("retry-after").map(str::to_owned);
            Some((answer.status, answer.slug().to_owned(), retry_after))
        })
        .collect();
    let expected = Some((503, "overloaded".to_owned(), Some("1".to_owned())));
    assert_eq!(answers, vec![expected; 100]);
    for client in &mut at_work {
        assert_eq!(client.answer().map(|answer| answer.status), Ok(200));
    }
    assert_eq!(upstream.heads(), 4, "nothing of a newcomer goes out");
}

#[test]
fn callers_that_end_their_side_while_they_wait_for_their_turn_are_answered_and_those_gone_are_not()
{
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"2/s\"\nmax_wait = \"10s\"")
        .start();
    let request = post(MESSAGES, "{}");
    let patience = Duration::from_secs(12);
    let mut callers: Vec<Client> = (0..8)
        .map(|_| keyside.connect().patience(patience))
        .collect();
    for caller in &mut callers {
        assert!(caller.send(&request));
        caller.half_close();
    }
    // Four of those who wait hang up.
    thread::sleep(Duration::from_millis(200));
    callers.truncate(4);
    for caller in &mut callers {
        let answer = caller.answer();
        assert_eq!(answer.map(|answer| answer.status), Ok(200));
    }
    let ended = eventually(Duration::from_secs(3), || {
        keyside.metric("keyside_connections", &["listener=\"outbound\""]) == 0.0
    });
    assert!(ended, "the gone ones have left");
    assert_eq!(upstream.heads(), 4, "nothing of the gone ones went out");
}

#[test]
fn a_caller_that_ends_its_side_behind_an_upload_gets_its_answer() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(Duration::from_millis(400));
        json("{\"id\":\"1\"}")
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    assert!(client.send(&upload(&vec![b'x'; 300_000])));
    client.half_close();
    assert_eq!(client.answer().map(|answer| answer.status), Ok(200));
}

#[test]
fn an_upload_that_is_cut_off_by_a_caller_that_ends_its_side_is_no_request() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let whole = upload(&vec![b'x'; 300_000]);
    let mut gone = keyside.connect();
    assert!(gone.send(&whole[..200_000]));
    drop(gone);
    let ended = eventually(Duration::from_secs(3), || {
        keyside.metric("keyside_connections", &["listener=\"outbound\""]) == 0.0
    });
    assert!(ended, "a caller that is gone has left");
    let mut silent = keyside.connect().patience(Duration::from_secs(15));
    assert!(silent.send(&whole[..200_000]));
    silent.half_close();
    let answer = silent.answer().unwrap();
    assert_eq!((answer.status, answer.slug()), (400, "bad_request"));
    assert_eq!(upstream.arrivals(), 0, "there is no whole request");
}
