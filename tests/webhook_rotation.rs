//! App secrets are replaced while events arrive, and none is lost or let through.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::keyside::finish;
use crate::support::webhook::{application, event, setup, signature, with_credential};
use crate::support::{APP_SECRET, eventually};

const NEXT: &str = "the next app secret";
const LAST: &str = "the last app secret";
const RATE: u32 = 500;
const SECONDS: u32 = 4;

#[test]
fn no_event_is_refused_and_no_forgery_accepted_while_the_secret_is_replaced() {
    let application = application();
    let keyside = setup(&application).start();
    let (refused, accepted, sent) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let begin = Instant::now();
    let end = begin + Duration::from_secs(SECONDS.into());
    // The provider now signs with both secrets in turn.
    let both = begin + Duration::from_millis(1500);
    std::thread::scope(|scope| {
        for sender in 0..8_u32 {
            let (keyside, refused, accepted, sent) = (&keyside, &refused, &accepted, &sent);
            scope.spawn(move || {
                let mut client = Client::connect(keyside.inbound()).unwrap();
                let mut due = begin + Duration::from_secs(1) / RATE * sender;
                let mut number = 0;
                while due < end {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    due += Duration::from_secs(1) / RATE * 8;
                    number += 1;
                    let body = format!("event {sender} {number}");
                    if number % 10 == 0 {
                        let forged = event(
                            &[&signature("nobody's secret", body.as_bytes())],
                            body.as_bytes(),
                        );
                        if client.ask(&forged).unwrap().status != 401 {
                            accepted.fetch_add(1, Ordering::Relaxed);
                        }
                        continue;
                    }
                    let secret = if number % 2 == 0 && Instant::now() > both {
                        NEXT
                    } else {
                        APP_SECRET
                    };
                    let genuine = event(&[&signature(secret, body.as_bytes())], body.as_bytes());
                    sent.fetch_add(1, Ordering::Relaxed);
                    if client.ask(&genuine).unwrap().status != 200 {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(700));
        keyside.dir().write("app_secret_old", APP_SECRET);
        keyside.dir().write("app_secret", NEXT);
        keyside.sighup_and_wait();
        assert!(
            Instant::now() < both,
            "the sidecar knows the new secret before the provider signs with it"
        );
    });
    let sent = sent.into_inner();
    assert!(sent > 1500, "{sent}");
    assert_eq!((refused.into_inner(), accepted.into_inner()), (0, 0));
    assert!(
        eventually(Duration::from_secs(2), || application.arrivals() == sent),
        "{} of {sent}",
        application.arrivals()
    );
}

#[test]
fn an_overlap_that_ends_while_events_need_it_is_an_alarm_before_its_end() {
    let application = application();
    let keyside = with_credential(&application, "overlap = \"6s\"").start();
    let is_taken = |secret: &str| {
        let signed = event(&[&signature(secret, b"{}")], b"{}");
        keyside.event(&signed).status == 200
    };
    let told = || keyside.status()["credentials"][0]["overlap_concerns"].to_string();
    keyside.dir().write("app_secret", NEXT);
    assert_eq!(keyside.reload().status, 200);
    assert!(is_taken(APP_SECRET));
    assert_eq!(told(), "[]", "there is time left");
    let is_told = || is_taken(APP_SECRET) && told().contains("events are still signed with it");
    assert!(eventually(Duration::from_secs(6), is_told), "{}", told());
    assert!(is_taken(APP_SECRET), "before the end");
    let log = keyside.log();
    assert!(log.contains("events are still signed with it"), "{log}");
    let mut status = Command::new(env!("CARGO_BIN_EXE_keyside"));
    status.args(["status", "--check", "--admin", &keyside.admin().to_string()]);
    let status = finish(&mut status, Duration::from_secs(10));
    assert_eq!(status.code, Some(1), "{}", status.output);
    let is_over = || !is_taken(APP_SECRET) && told() == "[]";
    assert!(eventually(Duration::from_secs(6), is_over), "{}", told());
}

#[test]
fn the_older_of_two_overlaps_is_an_alarm_before_its_end_as_well() {
    let application = application();
    let keyside = with_credential(&application, "overlap = \"6s\"").start();
    keyside.dir().write("app_secret", NEXT);
    assert_eq!(keyside.reload().status, 200);
    std::thread::sleep(Duration::from_secs(3));
    keyside.dir().write("app_secret", LAST);
    assert_eq!(keyside.reload().status, 200);
    let told = || keyside.status()["credentials"][0]["overlap_concerns"].to_string();
    let signed = event(&[&signature(APP_SECRET, b"{}")], b"{}");
    let is_told = || {
        keyside.event(&signed).status == 200 && told().contains("events are still signed with it")
    };
    assert!(eventually(Duration::from_secs(6), is_told), "{}", told());
    let log = keyside.log();
    assert!(log.contains("events are still signed with it"), "{log}");
}

#[test]
fn an_event_signed_with_a_replaced_secret_passes_until_its_overlap_ends() {
    let application = application();
    let keyside = with_credential(&application, "overlap = \"2s\"").start();
    let status = |secret: &str| {
        keyside
            .event(&event(&[&signature(secret, b"{}")], b"{}"))
            .status
    };
    assert_eq!(status(APP_SECRET), 200);
    keyside.dir().write("app_secret", NEXT);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!((status(APP_SECRET), status(NEXT)), (200, 200));
    assert_eq!(
        keyside.metric("keyside_webhook_secret_used_total", &["which=\"previous\""]),
        1.0
    );
    assert!(
        eventually(Duration::from_secs(5), || status(APP_SECRET) == 401),
        "its time is over"
    );
    assert_eq!(status(NEXT), 200);
}
