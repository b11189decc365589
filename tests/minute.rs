//! The work that Keyside does by itself once a minute.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::book::Book;
use crate::support::client::post;
use crate::support::keyside::Setup;
use crate::support::upstream::{Upstream, answer, json};
use crate::support::webhook::{HOOK, application, event, signature};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const A_MINUTE: Duration = Duration::from_secs(70);

#[test]
#[ignore = "takes a minute: tests/run servers"]
fn a_token_that_is_good_later_than_it_is_in_the_file_is_taken_without_a_signal() {
    let book = Book::new();
    book.issue(TOKEN, "one");
    let upstream = book.provider();
    let keyside = Setup::new(&upstream)
        .check()
        .file("app_secret", "secret of one")
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nproof = \"classic\"",
        )
        .start();
    keyside.dir().write("token", "EAALATETOKEN");
    assert_eq!(keyside.reload().status, 422);
    book.issue("EAALATETOKEN", "one");
    let is_taken = || {
        assert_eq!(keyside.send(&post(MESSAGES, "{}")).status, 200);
        let sent = upstream.last_to(MESSAGES).header("authorization");
        sent.as_deref() == Some("Bearer EAALATETOKEN")
    };
    assert!(!is_taken());
    assert!(eventually(A_MINUTE, is_taken), "{}", keyside.log());
}

#[test]
#[ignore = "takes a minute: tests/run servers"]
fn a_file_that_can_be_used_again_is_taken_without_a_signal() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    let ca = std::fs::read(keyside.dir().join("ca.pem")).unwrap();
    keyside.dir().write("ca.pem", "nothing");
    assert_eq!(keyside.reload().status, 422);
    let label = "key=\"provider.test.ca\"";
    let is_kept_back = || keyside.metric("keyside_file_kept_back", &[label]) > 0.5;
    assert!(is_kept_back());
    keyside.dir().write("ca.pem", ca);
    assert!(eventually(A_MINUTE, || keyside.status()["unusable_files"]
        == serde_json::json!([])));
    assert_eq!(keyside.send(&post(MESSAGES, "{}")).status, 200);
}

/// Meta has reset the app secret, and only events tell.
#[test]
#[ignore = "takes a minute: tests/run servers"]
fn events_that_are_forged_make_keyside_ask_and_name_the_app_secret() {
    let is_reset = Arc::new(Mutex::new(false));
    let reset = Arc::clone(&is_reset);
    let upstream = Upstream::answering(move |_| {
        match *reset.lock().unwrap() {
        true => answer(
            "400 No",
            &[("Content-Type", "application/json")],
            br#"{"error":{"message":"Invalid appsecret_proof provided in the API argument","code":100}}"#,
        ),
        false => json(
            r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging"]}}"#,
        ),
    }
    });
    let application = application();
    let keyside = Setup::new(&upstream)
        .check()
        .level("info")
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/events\"\n",
            application.url()
        ))
        .start();
    let check = || keyside.status()["credentials"][0]["check"]["result"].clone();
    assert!(eventually(Duration::from_secs(5), || check() == "proved"));
    *is_reset.lock().unwrap() = true;
    let forged = event(&[&signature("the next app secret", b"{}")], b"{}");
    assert_eq!(keyside.event(&forged).status, 401);
    assert!(eventually(A_MINUTE, || check() == "refused"), "{}", check());
    let log = keyside.log();
    for text in [
        "the provider refuses the app secret",
        "events of its webhooks are refused as forged as well",
        "it was probably reset",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
}
