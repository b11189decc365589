//! Faults outside of a credential keep no good secret from being used.

use std::time::Duration;

use crate::support::MESSAGES;
use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::{TOKEN, eventually};

const NEW: &str = "EAASECOND0123456789xyz";

/// A provider after the revocation of the leaked token.
fn with_new_token_alone() -> Upstream {
    Upstream::answering(|request| {
        let sent = request.header("authorization").unwrap_or_default();
        match sent == format!("Bearer {NEW}") {
            true => json("{}"),
            false => answer("401 No", &[], br#"{"error":{"message":"no","code":190}}"#),
        }
    })
}

/// Asserts a change to the new token, with the reason for the refusal of the configuration.
fn takes_new_token(keyside: &Keyside, what: &str, reason: &str) {
    keyside.dir().write("token", NEW);
    let refused = keyside.reload();
    assert_eq!(refused.status, 422, "{what}: {}", refused.text());
    for text in [reason, "credential acme: token"] {
        assert!(
            refused.text().contains(text),
            "{what}: {text}: {}",
            refused.text()
        );
    }
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{what}");
    let status = keyside.status();
    assert_eq!(status["reload"]["last_result"], "refused", "{what}");
    assert_eq!(status["credentials"][0]["sends"], "current", "{what}");
}

#[test]
fn a_fault_in_the_configuration_keeps_no_new_secret_away() {
    let upstream = with_new_token_alone();
    let keyside = Setup::new(&upstream).hold("1s").start();
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    keyside
        .dir()
        .write("proxy.toml", format!("{config}\n[nonsense]\nx = 1\n"));
    takes_new_token(&keyside, "a typo", "nonsense");
    keyside.dir().write("proxy.toml", config);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.status()["reload"]["last_result"], "success");
}

#[test]
fn a_new_secret_is_taken_by_the_watch_while_the_configuration_is_refused() {
    let upstream = with_new_token_alone();
    let keyside = Setup::new(&upstream).hold("1s").watch("100ms").start();
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    keyside
        .dir()
        .write("proxy.toml", format!("{config}\n[nonsense]\nx = 1\n"));
    let is_refused = || keyside.status()["reload"]["last_result"] == "refused";
    assert!(eventually(Duration::from_secs(5), is_refused));
    keyside.dir().write("token", NEW);
    let is_sent = || keyside.post(MESSAGES, "{}").status == 200;
    assert!(eventually(Duration::from_secs(5), is_sent));
    let reloads = keyside.reloads();
    std::thread::sleep(Duration::from_millis(500));
    assert!(keyside.reloads() - reloads <= 1.0, "content is tried once");
}

#[test]
fn a_server_of_limits_without_an_address_keeps_nothing_away() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .more("[limits]\nredis = \"file:@DIR@/redis\"\n")
        .start();
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "on_failure decides"
    );
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    assert!(
        keyside
            .log()
            .contains("\"key\":\"limits.redis\",\"reason\":\"`file:"),
        "{}",
        keyside.log()
    );
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let sent = upstream.last().header("authorization").unwrap();
    assert_eq!(sent, format!("Bearer {NEW}"));
    assert!(!sent.contains(TOKEN));
}
