//! The account of a credential, such as a key's id in the configuration, belongs to its secrets.

use crate::support::base64;
use crate::support::client::with_body;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, answer, json};

const TOKEN: &str = "0123456789abcdef0123456789abcdee01234567";

/// A provider with a single good pair of account and token, in a header of HTTP Basic.
fn provider(account: &str, token: &str) -> Upstream {
    let good = format!("Basic {}", base64(format!("{account}:{token}").as_bytes()));
    Upstream::answering(move |request| match request.header("authorization") {
        Some(sent) if sent == good => json("{}"),
        _ => answer("401 No", &[], b"{}"),
    })
}

fn start(
    upstream: &Upstream,
    preset: &str,
    parameter: &str,
    account: &str,
    token: &str,
) -> Keyside {
    Setup::new(upstream)
        .file("key", token)
        .config(&format!(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [reload]\nwatch = \"off\"\n\
             [provider.test]\nextends = \"{preset}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.acme]\nprovider = \"test\"\nhold = \"1s\"\n{parameter} = \"{account}\"\nauth_token = \"file:@DIR@/key\"\n\
             [[route]]\ncredential = \"acme\"\n"
        ))
        .start()
}

fn rename(keyside: &Keyside, from: &str, to: &str) {
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    keyside.dir().write("proxy.toml", config.replace(from, to));
}

#[test]
fn an_account_that_the_provider_refuses_is_kept_back_with_its_secret() {
    let [old, new] = ["1", "2"].map(|digit| format!("AC{}", digit.repeat(32)));
    let token = &TOKEN[..32];
    let upstream = provider(&old, token);
    let keyside = start(&upstream, "twilio", "account_sid", &old, token);
    let send = || {
        let path = format!("/2010-04-01/Accounts/{old}/Messages.json");
        let form = b"From=whatsapp%3A%2B15550001111&To=whatsapp%3A%2B15550002222&Body=x";
        let kind = "application/x-www-form-urlencoded";
        keyside.send(&with_body("POST", &path, kind, form)).status
    };
    assert_eq!(send(), 200);
    rename(&keyside, &old, &new);
    let refused = keyside.reload();
    let kept_back = "credential.acme: the provider refuses it";
    assert!(refused.text().contains(kept_back), "{}", refused.text());
    assert_eq!(send(), 200);
    assert_eq!(keyside.metric("keyside_credential_kept_back", &[]), 1.0);
}

#[test]
fn an_account_is_sent_with_its_own_secret_after_a_refusal() {
    let upstream = provider("MAOLD0123456789ABCDE", TOKEN);
    let keyside = start(&upstream, "plivo", "auth_id", "MAOLD0123456789ABCDE", TOKEN);
    let send = || {
        let body = br#"{"src":"15550001111","dst":"15550002222","type":"whatsapp","text":"x"}"#;
        let path = "/v1/Account/MAOLD0123456789ABCDE/Message/";
        keyside
            .send(&with_body("POST", path, "application/json", body))
            .status
    };
    assert_eq!(send(), 200);
    rename(&keyside, "\"MAOLD", "\"MANEW");
    // The provider has no question about a credential.
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(send(), 200);
    assert_eq!(keyside.status()["credentials"][0]["sends"], "previous");
}
