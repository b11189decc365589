//! Replays: an event that was accepted is not delivered again, and a provider's own retry is never
//! refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{KeyInit, Mac};
use rustix::process::Signal;

use crate::support::base64;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Upstream};
use crate::support::webhook::{HOOK, application};

const SECRET: &str = "some-secret-of-the-test";
const URL: &str = "https://hooks.example.com/webhooks/whatsapp";

fn signed(message: &str) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    base64(&mac.finalize().into_bytes())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A webhook of a provider, with the secret under `name`.
fn webhook(provider: &str, name: &str, lines: &str, application: &Upstream) -> Keyside {
    Setup::at("http://127.0.0.1:1")
        .file("secret", SECRET)
        .config(&format!(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [credential.acme]\nprovider = \"{provider}\"\n{name} = \"file:@DIR@/secret\"\n{lines}\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/\"\npublic_url = \"{URL}\"\n",
            application.url()
        ))
        .start()
}

fn request(path: &str, kind: &str, lines: &[(&str, &str)], body: &str) -> Vec<u8> {
    let lines: String = lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn sinch(body: &str, nonce: &str, time: u64) -> Vec<u8> {
    let signature = signed(&format!("{body}.{nonce}.{time}"));
    let lines = [
        ("x-sinch-webhook-signature", signature.as_str()),
        ("x-sinch-webhook-signature-nonce", nonce),
        ("x-sinch-webhook-signature-timestamp", &time.to_string()),
        ("x-sinch-webhook-signature-algorithm", "HmacSHA256"),
    ];
    request(HOOK, "application/json", &lines, body)
}

/// An event of Plivo's with a single field, at the spelling of the path in `path`.
fn plivo(path: &str, value: &str, nonce: &str) -> Vec<u8> {
    let signature = signed(&format!("{URL}?Text{value}.{nonce}"));
    let lines = [
        ("X-Plivo-Signature-V3", signature.as_str()),
        ("X-Plivo-Signature-V3-Nonce", nonce),
    ];
    let kind = "application/x-www-form-urlencoded";
    request(path, kind, &lines, &format!("Text={value}"))
}

#[test]
fn a_signed_time_is_held_to_it() {
    let application = application();
    let sinch_hook = webhook(
        "sinch",
        "webhook_secret",
        "key_secret = \"file:@DIR@/secret\"\nkey_id = \"k\"\nproject_id = \"p\"\nregion = \"eu\"",
        &application,
    );
    for (age, status) in [(0, 200), (240, 200), (360, 401), (365 * 24 * 3600, 401)] {
        let event = sinch("{}", &format!("nonce{age}"), now() - age);
        assert_eq!(sinch_hook.event(&event).status, status, "{age} s old");
    }
    assert_eq!(
        sinch_hook.event(&sinch("{}", "ahead", now() + 600)).status,
        401
    );
    assert_eq!(application.heads(), 2);
}

#[test]
fn an_event_that_was_accepted_is_answered_and_not_delivered_again() {
    let application = application();
    let keyside = webhook("plivo", "auth_token", "auth_id = \"MA1\"", &application);
    let event = plivo(HOOK, "hello", "n1");
    assert_eq!(keyside.event(&event).status, 200);
    // The provider may have lost the answer; a spelling of the path makes no other event.
    let spelled = HOOK.replace("hooks", "%68ooks");
    for again in [event.clone(), plivo(&spelled, "hello", "n1")] {
        let answer = keyside.event(&again);
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    assert_eq!(application.heads(), 1);
    assert!((keyside.metric("keyside_webhooks_total", &["repeated"]) - 2.0).abs() < 0.1);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.event(&event).status, 200);
    assert_eq!(application.heads(), 1, "a reload forgets no nonce");
    assert_eq!(
        keyside.event(&plivo(HOOK, "other", "n1")).status,
        401,
        "a nonce used for two events"
    );
    assert_eq!(keyside.event(&plivo(HOOK, "hello", "n2")).status, 200);
    assert_eq!(application.heads(), 2);
}

#[test]
fn a_long_form_is_delivered_when_genuine() {
    let application = application();
    let keyside = webhook("plivo", "auth_token", "auth_id = \"MA1\"", &application);
    let text = "x".repeat(100_000);
    assert_eq!(keyside.event(&plivo(HOOK, &text, "n1")).status, 200);
    assert_eq!(application.last().body.len(), text.len() + "Text=".len());
    let mut forged = plivo(HOOK, &text, "n2");
    *forged.last_mut().unwrap() = b'y';
    assert_eq!(keyside.event(&forged).status, 401);
    assert_eq!(
        keyside
            .event(&plivo(HOOK, &"x".repeat(140_000), "n3"))
            .status,
        413
    );
}

#[test]
fn an_event_that_was_not_accepted_may_be_sent_again_with_its_nonce() {
    let status = Arc::new(AtomicU16::new(500));
    let shared = Arc::clone(&status);
    let application = Upstream::plain(move |_, wire| {
        let status = shared.load(Ordering::Relaxed);
        wire.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
        After::Keep
    });
    let keyside = webhook("plivo", "auth_token", "auth_id = \"MA1\"", &application);
    let event = plivo(HOOK, "hello", "n1");
    for _ in 0..3 {
        assert_eq!(keyside.event(&event).status, 503);
    }
    status.store(204, Ordering::Relaxed);
    assert_eq!(keyside.event(&event).status, 200);
    assert_eq!(application.heads(), 4);
    assert_eq!(keyside.event(&event).status, 200);
    assert_eq!(application.heads(), 4);
}

#[test]
fn an_accepted_event_is_known_after_a_restart_where_there_is_a_state() {
    for (state, delivered) in [("[state]\ndir = \"@DIR@/state\"", 1), ("", 2)] {
        let application = application();
        let lines = format!("auth_id = \"MA1\"\n{state}");
        let mut keyside = webhook("plivo", "auth_token", &lines, &application);
        let event = plivo(HOOK, "hello", "n1");
        assert_eq!(keyside.event(&event).status, 200);
        keyside.end(Signal::TERM);
        keyside.begin();
        assert_eq!(keyside.event(&event).status, 200);
        assert_eq!(application.arrivals(), delivered, "{state}");
        let reused = keyside.event(&plivo(HOOK, "other", "n1")).status;
        assert_eq!(reused, 401, "a second use of the nonce");
    }
}

/// Twilio joins the names and values of a form without a mark in between, so one signature fits
/// several forms.
#[test]
fn a_signature_of_twilio_counts_for_the_first_form_under_it() {
    let application = application();
    let keyside = webhook(
        "twilio",
        "auth_token",
        "account_sid = \"AC1\"",
        &application,
    );
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{URL}BodyxFromy").as_bytes());
    let signature = base64(&mac.finalize().into_bytes());
    let form = |body: &str| {
        let lines = [("X-Twilio-Signature", signature.as_str())];
        request(HOOK, "application/x-www-form-urlencoded", &lines, body)
    };
    assert_eq!(keyside.event(&form("Body=x&From=y")).status, 200);
    for other in ["BodyxFrom=y", "Body=xFrom&y=", "Body=xFromy"] {
        assert_eq!(keyside.event(&form(other)).status, 401, "{other}");
        // Without the padding of Base64 the signature is the same.
        let respelled = signature.trim_end_matches('=');
        let lines = [("X-Twilio-Signature", respelled)];
        let event = request(HOOK, "application/x-www-form-urlencoded", &lines, other);
        assert_eq!(keyside.event(&event).status, 401, "{other}");
    }
    // An equal event is an event of its own: Twilio signs no time.
    assert_eq!(keyside.event(&form("Body=x&From=y")).status, 200);
    assert_eq!(application.heads(), 2);
}
