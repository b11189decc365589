//! File descriptors: listeners and upstreams have shares of their own, and what finds none is
//! refused with a reason.

use std::thread;
use std::time::Duration;

use crate::support::client::{Client, get, post};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Upstream, json};
use crate::support::webhook::{self, EVENT, beside, genuine};
use crate::support::{MESSAGES, eventually};

/// A path that goes to the host of media.
const ATTACHMENT: &str = "/whatsapp_business/attachments/?mid=1";

/// An upstream that takes some milliseconds.
fn slow(milliseconds: u64) -> Upstream {
    Upstream::scripted(move |_, wire| {
        thread::sleep(Duration::from_millis(milliseconds));
        wire.write(&json("{}"));
        After::Keep
    })
}

#[test]
fn no_crowd_at_one_listener_starves_another_of_descriptors() {
    let (upstream, application) = (Upstream::ok(), webhook::application());
    let keyside = beside(&upstream, &application)
        .under(&["prlimit", "--nofile=256:256"])
        .start();
    let log = keyside.log();
    assert_eq!(
        log.matches("the limit on open files is 256").count(),
        1,
        "{log}"
    );
    for crowded in [keyside.inbound(), keyside.outbound(), keyside.admin()] {
        let crowd: Vec<Client> = (0..400)
            .map(|_| Client::connect(crowded).unwrap())
            .collect();
        for _ in 0..3 {
            assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
            assert_eq!(keyside.event(&genuine(EVENT.as_bytes())).status, 200);
            assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
        }
        drop(crowd);
    }
}

#[test]
fn the_soft_limit_on_descriptors_is_raised_to_the_hard_limit_and_a_check_warns_of_a_low_one() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .under(&["prlimit", "--nofile=256:8000"])
        .start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", keyside.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.unwrap().split_whitespace().nth(3).unwrap();
    assert_eq!(soft, "8000");
    assert!(!keyside.log().contains("the limit on open files"));
    let low = Setup::new(&upstream)
        .under(&["prlimit", "--nofile=256:256"])
        .finish("check");
    assert_eq!(low.code, Some(0), "{}", low.output);
    assert!(
        low.output
            .contains("warning: the limit on open files is 256"),
        "{}",
        low.output
    );
}

#[test]
fn a_host_that_stalls_leaves_places_and_connections_to_another() {
    let stalled = Upstream::scripted(|_, wire| {
        wire.hang();
        After::Close
    });
    let upstream = Upstream::ok();
    let mut keyside = Setup::new(&upstream)
        .media(&stalled)
        .under(&["prlimit", "--nofile=256:256"])
        .start();
    keyside.leave_connections(
        "the host never answers, and a caller that ends its side may wait for its answer still",
    );
    let mut crowd: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = keyside.connect();
            client.send(&get(ATTACHMENT));
            client
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    }
    let answer = crowd.last_mut().unwrap().answer().unwrap();
    answer.must_be_a_refusal("overloaded");
    assert_eq!((answer.status, answer.slug()), (503, "overloaded"));
    assert!(
        answer.text().contains("nothing was sent"),
        "{}",
        answer.text()
    );
    let log = keyside.log();
    let lines = log.matches("no connection could be opened: every place is taken");
    assert_eq!(lines.count(), 1, "{log}");
    let refused = keyside.metric("keyside_requests_total", &["outcome=\"overloaded\""]);
    assert!(refused >= 1.0, "{refused}");
    assert!(keyside.descriptors() < 256);
}

#[test]
fn idle_connections_to_one_host_make_room_for_connections_to_another() {
    let (upstream, media) = (slow(200), slow(200));
    let keyside = Setup::new(&upstream)
        .media(&media)
        .outbound("max_connections = 32")
        .start();
    let mut callers: Vec<Client> = (0..30).map(|_| keyside.connect()).collect();
    let message = post(MESSAGES, "{}");
    for request in [get(ATTACHMENT), message.clone(), get(ATTACHMENT), message] {
        for caller in &mut callers {
            assert!(caller.send(&request));
        }
        for caller in &mut callers {
            assert_eq!(caller.answer().map(|answer| answer.status), Ok(200));
        }
    }
    // 30 connections of callers, and at most 34 to both hosts.
    let few = eventually(Duration::from_secs(2), || keyside.descriptors() < 100);
    assert!(few, "{}", keyside.descriptors());
    assert!(!keyside.log().contains("no connection could be opened"));
}

#[test]
fn without_a_file_descriptor_for_a_send_idle_connections_to_others_are_closed() {
    let (upstream, media) = (Upstream::ok(), slow(200));
    let keyside = Setup::new(&upstream).media(&media).start();
    let mut callers: Vec<Client> = (0..5).map(|_| keyside.connect()).collect();
    for caller in &mut callers {
        caller.send(&get("/whatsapp_business/attachments/?mid=1"));
    }
    for caller in &mut callers {
        assert_eq!(caller.answer().map(|answer| answer.status), Ok(200));
    }
    assert_eq!((media.connections(), upstream.connections()), (5, 0));
    keyside.leave_no_descriptor();
    let answer = callers[0].ask(&post(MESSAGES, "{}"));
    assert_eq!(answer.map(|answer| answer.status), Ok(200));
    let log = keyside.log();
    assert!(log.contains("all idle connections to providers"), "{log}");
}

#[test]
fn a_name_is_not_blamed_for_a_lack_of_descriptors() {
    let upstream = Upstream::ok();
    let url = format!("https://localhost:{}", upstream.port());
    let keyside = Setup::at(&url).start();
    let mut caller = keyside.connect();
    assert_eq!(
        caller.ask(&get("/nothing")).map(|answer| answer.status),
        Ok(403)
    );
    let before = keyside.leave_no_descriptor();
    let answer = caller.ask(&post(MESSAGES, "{}")).unwrap();
    assert_eq!(
        (answer.status, answer.slug()),
        (503, "overloaded"),
        "{}",
        answer.text()
    );
    keyside.limit_descriptors(before);
    let answer = caller.ask(&post(MESSAGES, "{}"));
    assert_eq!(answer.map(|answer| answer.status), Ok(200));
    assert_eq!(upstream.arrivals(), 1);
}

#[test]
fn without_a_file_descriptor_for_a_caller_the_sidecar_waits_says_so_and_goes_on() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let mut inside = keyside.connect();
    assert_eq!(inside.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    let all = keyside.leave_no_descriptor();
    let mut crowd: Vec<Client> = (0..20).map(|_| keyside.connect()).collect();
    thread::sleep(Duration::from_millis(300));
    let busy = keyside.cpu_ticks();
    thread::sleep(Duration::from_secs(1));
    let busy = keyside.cpu_ticks() - busy;
    assert!(
        busy < 40,
        "{busy} of 100 ticks in a second: the sidecar spins"
    );
    let log = keyside.log();
    let lines = log.matches("a connection cannot be accepted").count();
    assert_eq!(lines, 1, "{log}");
    let answer = inside.ask(&post(MESSAGES, "{}"));
    assert_eq!(answer.map(|answer| answer.status), Ok(200));
    keyside.limit_descriptors(all);
    let mut last = crowd.pop().unwrap();
    let answer = last.ask(&post(MESSAGES, "{}"));
    assert_eq!(answer.map(|answer| answer.status), Ok(200));
    assert_eq!(keyside.ask_admin(&get("/livez")).status, 200);
}
