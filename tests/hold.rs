//! Requests wait for a new secret while the provider refuses every secret at hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, post, upload};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::{MESSAGES, TOKEN, eventually, stretched};

const NEW: &str = "EAASECOND";
const REFUSAL: &str =
    r#"{"error":{"message":"Session has been invalidated","type":"OAuthException","code":190}}"#;

/// A provider that takes a single token.
struct Provider {
    upstream: Upstream,
    good: Arc<Mutex<&'static str>>,
}

impl Provider {
    fn new() -> Self {
        let good = Arc::new(Mutex::new(TOKEN));
        let takes = Arc::clone(&good);
        let upstream = Upstream::answering(move |request| {
            let sent = request.header("authorization").unwrap_or_default();
            if sent == format!("Bearer {}", *takes.lock().unwrap()) {
                json(r#"{"messages":[{"id":"wamid.1"}]}"#)
            } else {
                answer("401 No", &[], REFUSAL.as_bytes())
            }
        });
        Self { upstream, good }
    }

    fn takes(&self, token: &'static str) {
        *self.good.lock().unwrap() = token;
    }

    fn keyside(&self, hold: &str) -> Keyside {
        Setup::new(&self.upstream).hold(hold).watch("100ms").start()
    }
}

/// Sends a message on a thread for each of `count`; returns the statuses and the longest time.
fn send_at_once(keyside: &Keyside, count: usize) -> (Vec<u16>, Duration) {
    let began = Instant::now();
    let statuses = thread::scope(|scope| {
        let sends: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| keyside.post(MESSAGES, "{}").status))
            .collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    });
    (statuses, began.elapsed())
}

#[test]
fn a_gap_shorter_than_the_hold_fails_no_request() {
    let provider = Provider::new();
    let keyside = provider.keyside("10s");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    provider.takes(NEW);
    let before = provider.upstream.arrivals();
    thread::scope(|scope| {
        let early = scope.spawn(|| send_at_once(&keyside, 5).0);
        thread::sleep(Duration::from_millis(500));
        let late = scope.spawn(|| send_at_once(&keyside, 20).0);
        thread::sleep(Duration::from_millis(1000));
        keyside.dir().write("token", NEW);
        assert_eq!(
            early.join().unwrap(),
            [200; 5],
            "sent before the refusal was known"
        );
        assert_eq!(late.join().unwrap(), [200; 20], "sent after it");
    });
    let refused = provider.upstream.arrivals() - before - 25;
    let at_most = 5 + stretched(Duration::from_millis(1500)).as_secs() as usize + 1;
    assert!(
        refused <= at_most,
        "{refused} refused requests went out: probes, not all of them"
    );
}

#[test]
fn after_the_hold_the_application_gets_the_providers_own_answer() {
    let provider = Provider::new();
    provider.takes("nobody's");
    let keyside = provider.keyside("1s");
    let began = Instant::now();
    let first = keyside.post(MESSAGES, "{}");
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "it waits for a new secret"
    );
    let before = provider.upstream.arrivals();
    let (statuses, took) = send_at_once(&keyside, 10);
    assert_eq!(statuses, [401; 10]);
    assert!(took < stretched(Duration::from_secs(3)), "{took:?}");
    let probes = provider.upstream.arrivals() - before;
    assert!(probes <= 4, "{probes} of 10 requests went out");
    for refused in [first, keyside.post(MESSAGES, "{}")] {
        assert_eq!((refused.status, refused.text().as_str()), (401, REFUSAL));
    }
}

#[test]
fn without_a_hold_a_refused_request_goes_out_once_and_is_answered_at_once() {
    let provider = Provider::new();
    provider.takes("nobody's");
    let keyside = provider.keyside("off");
    for _ in 0..3 {
        let before = provider.upstream.arrivals();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 401);
        assert_eq!(provider.upstream.arrivals() - before, 1);
    }
}

#[test]
fn a_wrong_new_secret_of_a_provider_with_one_key_makes_no_request_wait() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream)
        .provider("[provider.test.rotation]\nlive_secrets = 1\n")
        .hold("10s")
        .start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    keyside.dir().write("token", "EAAWRONG");
    assert_eq!(keyside.reload().status, 200);
    let began = Instant::now();
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "the one before is good"
    );
    let took = began.elapsed();
    assert!(took < stretched(Duration::from_secs(1)), "{took:?}");
}

#[test]
fn a_newer_secret_that_is_refused_ends_no_wait() {
    let provider = Provider::new();
    let keyside = provider.keyside("10s");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    provider.takes(NEW);
    thread::scope(|scope| {
        let held = scope.spawn(|| send_at_once(&keyside, 10).0);
        for token in ["EAAWRONG", "EAAWRONGAGAIN", NEW] {
            thread::sleep(Duration::from_millis(500));
            keyside.dir().write("token", token);
        }
        assert_eq!(held.join().unwrap(), [200; 10]);
    });
}

#[test]
fn a_probe_notices_that_the_provider_takes_the_secret_again() {
    let provider = Provider::new();
    provider.takes("nobody's");
    let keyside = provider.keyside("10s");
    thread::scope(|scope| {
        let held = scope.spawn(|| send_at_once(&keyside, 10));
        thread::sleep(Duration::from_millis(500));
        provider.takes(TOKEN);
        let late = scope.spawn(|| send_at_once(&keyside, 3));
        let (statuses, took) = late.join().unwrap();
        assert_eq!(statuses, [200; 3]);
        assert!(took < stretched(Duration::from_secs(3)), "{took:?}");
        let (statuses, took) = held.join().unwrap();
        assert_eq!(statuses, [200; 10]);
        assert!(took < stretched(Duration::from_secs(4)), "{took:?}");
    });
}

#[test]
fn waiters_notice_by_themselves_that_the_provider_takes_the_secret_again() {
    let provider = Provider::new();
    provider.takes("nobody's");
    let keyside = provider.keyside("30s");
    thread::scope(|scope| {
        let held = scope.spawn(|| send_at_once(&keyside, 10));
        thread::sleep(Duration::from_millis(500));
        provider.takes(TOKEN);
        let (statuses, took) = held.join().unwrap();
        assert_eq!(statuses, [200; 10]);
        assert!(took < stretched(Duration::from_secs(4)), "{took:?}");
    });
    assert!(
        provider.upstream.arrivals() <= 10 + 10 + 5,
        "probes, not all of them"
    );
}

#[test]
fn a_waiter_notices_that_the_provider_takes_either_of_two_secrets_again() {
    for back in [NEW, TOKEN] {
        let provider = Provider::new();
        let keyside = provider.keyside("10s");
        keyside.dir().write("token", NEW);
        assert_eq!(keyside.reload().status, 200);
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        assert_eq!(keyside.status()["credentials"][0]["sends"], "previous");
        provider.takes("nobody's");
        thread::scope(|scope| {
            let held = scope.spawn(|| send_at_once(&keyside, 1));
            thread::sleep(Duration::from_millis(500));
            provider.takes(back);
            let (statuses, took) = held.join().unwrap();
            assert_eq!(statuses, [200], "{back}");
            assert!(took < stretched(Duration::from_secs(4)), "{back}: {took:?}");
        });
    }
}

/// A server error may come before the provider has looked at the key.
#[test]
fn a_server_error_does_not_end_the_hold() {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let upstream = Upstream::answering(move |_| match down.load(Ordering::SeqCst) {
        true => answer("500 Down", &[], b"{}"),
        false => answer("401 No", &[], REFUSAL.as_bytes()),
    });
    let keyside = Setup::new(&upstream).hold("3s").start();
    thread::scope(|scope| {
        scope.spawn(|| keyside.post(MESSAGES, "{}"));
        assert!(eventually(Duration::from_secs(1), || upstream.arrivals() == 1));
        thread::sleep(Duration::from_millis(300));
        is_down.store(true, Ordering::SeqCst);
        let late = scope.spawn(|| send_at_once(&keyside, 20).0);
        let statuses = late.join().unwrap();
        let refused = statuses.iter().filter(|status| **status == 401).count();
        assert!(refused > 10, "all but the probes wait: {statuses:?}");
    });
    assert_eq!(keyside.metric("keyside_credential_usable", &[]), 0.0);
}

/// The bytes of an upload are gone after the refusal: no answer proves a refusal of the secret
/// before.
#[test]
fn a_refused_upload_holds_nobody_while_another_secret_is_at_hand() {
    let provider = Provider::new();
    let keyside = provider.keyside("10s");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    keyside.dir().write("token", "EAAWRONG");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.send(&upload(b"bytes")).status, 401);
    let usable = keyside.metric("keyside_credential_usable", &[]);
    assert_eq!(usable, 1.0, "{}", keyside.log());
    let (statuses, took) = send_at_once(&keyside, 5);
    assert_eq!(statuses, [200; 5], "with the secret before");
    assert!(took < stretched(Duration::from_millis(700)), "{took:?}");
    assert_eq!(keyside.send(&upload(b"bytes")).status, 200);
}

#[test]
fn a_refused_upload_closes_the_hold_where_no_other_secret_is_at_hand() {
    let provider = Provider::new();
    provider.takes("nobody's");
    let keyside = provider.keyside("10s");
    let before = provider.upstream.arrivals();
    assert_eq!(keyside.send(&upload(b"bytes")).status, 401);
    assert_eq!(keyside.metric("keyside_credential_usable", &[]), 0.0);
    thread::scope(|scope| {
        let held = scope.spawn(|| send_at_once(&keyside, 5).0);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(provider.upstream.arrivals() - before, 1, "they wait");
        provider.takes(NEW);
        keyside.dir().write("token", NEW);
        assert_eq!(held.join().unwrap(), [200; 5]);
    });
}

/// The host of the bytes of media may refuse one object.
#[test]
fn a_refusal_of_the_host_of_media_concerns_its_own_request_alone() {
    let api = Upstream::ok();
    let media = Upstream::answering(|_| answer("401 No", &[], REFUSAL.as_bytes()));
    let keyside = Setup::new(&api).media(&media).hold("10s").start();
    let began = Instant::now();
    let refused = keyside.get("/whatsapp_business/attachments/?mid=1&ext=2&hash=3");
    assert_eq!((refused.status, refused.text().as_str()), (401, REFUSAL));
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(keyside.metric("keyside_credential_usable", &[]), 1.0);
    let took = began.elapsed();
    assert!(took < stretched(Duration::from_secs(1)), "{took:?}");
}

#[test]
fn a_held_request_whose_application_is_gone_is_not_sent() {
    let provider = Provider::new();
    provider.takes("nobody's");
    let keyside = provider.keyside("5s");
    let mut clients: Vec<_> = (0..5)
        .map(|_| Client::connect(keyside.outbound()).unwrap())
        .collect();
    for client in &mut clients {
        assert!(client.send(&post(MESSAGES, "{\"gone\":1}")));
    }
    assert!(eventually(Duration::from_secs(2), || provider
        .upstream
        .arrivals()
        >= 1));
    thread::sleep(Duration::from_millis(300));
    drop(clients);
    thread::sleep(Duration::from_millis(500));
    let before = provider.upstream.arrivals();
    provider.takes(NEW);
    keyside.dir().write("token", NEW);
    thread::sleep(stretched(Duration::from_secs(1)));
    assert_eq!(provider.upstream.arrivals(), before, "nobody waits for it");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}

/// An upload without a byte is whole on arrival, and waits as a message does.
#[test]
fn a_held_upload_without_a_byte_is_not_sent_for_an_application_that_is_gone() {
    let provider = Provider::new();
    provider.takes("nobody's");
    let keyside = provider.keyside("5s");
    let mut message = Client::connect(keyside.outbound()).unwrap();
    assert!(message.send(&post(MESSAGES, "{}")));
    assert!(eventually(Duration::from_secs(2), || provider
        .upstream
        .arrivals()
        >= 1));
    thread::sleep(Duration::from_millis(300));
    let mut empty = Client::connect(keyside.outbound()).unwrap();
    let head = "POST /v23.0/106/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
                Content-Type: multipart/form-data; boundary=x\r\n\r\n";
    assert!(empty.send(head.as_bytes()));
    thread::sleep(Duration::from_millis(300));
    drop((message, empty));
    thread::sleep(Duration::from_millis(500));
    let before = provider.upstream.arrivals();
    provider.takes(NEW);
    keyside.dir().write("token", NEW);
    thread::sleep(stretched(Duration::from_secs(1)));
    assert_eq!(provider.upstream.arrivals(), before, "nobody waits for it");
    assert_eq!(keyside.send(head.as_bytes()).status, 200);
}
