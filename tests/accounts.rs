//! The account of a credential, such as a key's id in the configuration, belongs to its secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::base64;
use crate::support::client::with_body;
use crate::support::key::SigningKey;
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

/// A message of each provider whose account stands beside a secret, and whose access token is made
/// of both.
const WHATSAPP: &str =
    r#"{"from":"1","to":"2","channel":"whatsapp","message_type":"text","text":"x"}"#;

#[test]
fn a_key_of_sinch_changes_with_its_secret_and_never_without() {
    const SECRETS: [&str; 2] = [
        "oldoldoldoldoldoldoldoldold1",
        "newnewnewnewnewnewnewnewnew2",
    ];
    let is_old_good = Arc::new(AtomicBool::new(true));
    let is_mixed = Arc::new(AtomicBool::new(false));
    let (old_good, mixed) = (Arc::clone(&is_old_good), Arc::clone(&is_mixed));
    let basic =
        |id: &str, secret: &str| format!("Basic {}", base64(format!("{id}:{secret}").as_bytes()));
    let old = basic("key-old", SECRETS[0]);
    let new = basic("key-new", SECRETS[1]);
    let upstream = Upstream::answering(move |request| {
        let sent = request.header("authorization").unwrap_or_default();
        let is_old = old_good.load(Ordering::Relaxed);
        match request.target().contains("/oauth2/token") {
            true if sent == old && is_old => {
                json(r#"{"access_token":"tokenold","expires_in":3600}"#)
            }
            true if sent == new => json(r#"{"access_token":"tokennew","expires_in":3600}"#),
            true => {
                mixed.fetch_or(sent != old, Ordering::Relaxed);
                answer("401 No", &[], b"{}")
            }
            false if sent == "Bearer tokenold" && is_old => json("{}"),
            false if sent == "Bearer tokennew" => json("{}"),
            false => answer("401 No", &[], b"{}"),
        }
    });
    let keyside = Setup::new(&upstream)
        .file("key", SECRETS[0])
        .config(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
             [provider.test]\nextends = \"sinch\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [provider.test.access_token]\nkind = \"exchange\"\nupstream = \"@UPSTREAM@\"\nrequest = \"POST /oauth2/token\"\n\
             inject = [{ header = \"Authorization\", value = \"Basic {key_id:key_secret}\" }, { form = \"grant_type\", value = \"client_credentials\" }]\n\
             expires_in = \"/expires_in\"\n\
             [credential.acme]\nprovider = \"test\"\nhold = \"1s\"\nregion = \"eu\"\nproject_id = \"p\"\nkey_id = \"key-old\"\nkey_secret = \"file:@DIR@/key\"\n\
             [[route]]\ncredential = \"acme\"\n",
        )
        .start();
    let body = br#"{"app_id":"a","recipient":{"identified_by":{"channel_identities":[{"channel":"WHATSAPP","identity":"2"}]}},"message":{"text_message":{"text":"x"}}}"#;
    let send = || {
        let request = with_body(
            "POST",
            "/v1/projects/p/messages:send",
            "application/json",
            body,
        );
        keyside.send(&request).status
    };
    assert_eq!(send(), 200);
    keyside.dir().write("key", SECRETS[1]);
    rename(&keyside, "key-old", "key-new");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(send(), 200);
    is_old_good.store(false, Ordering::Relaxed);
    assert_eq!(send(), 200);
    assert_eq!(
        upstream.last().header("authorization").unwrap(),
        "Bearer tokennew"
    );
    assert!(
        !is_mixed.load(Ordering::Relaxed),
        "a key's id went out with another key's secret"
    );
}

#[test]
fn an_application_of_vonage_changes_with_its_key_and_never_without() {
    let keys = [SigningKey::new(), SigningKey::new()].map(Arc::new);
    let known = keys.clone();
    let is_mixed = Arc::new(AtomicBool::new(false));
    let mixed = Arc::clone(&is_mixed);
    let upstream = Upstream::answering(move |request| {
        let sent = request.header("authorization").unwrap_or_default();
        let jwt = sent.trim_start_matches("Bearer ");
        let signer = known.iter().position(|key| key.has_signed(jwt));
        let Some(signer) = signer else {
            return answer("401 No", &[], b"{}");
        };
        let application = known[signer].claims(jwt)["application_id"].clone();
        let is_pair = application == ["app-old", "app-new"][signer];
        mixed.fetch_or(!is_pair, Ordering::Relaxed);
        match is_pair {
            true => json("{}"),
            false => answer("401 No", &[], b"{}"),
        }
    });
    let keyside = Setup::new(&upstream)
        .file("key", keys[0].pem())
        .config(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
             [provider.test]\nextends = \"vonage\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.acme]\nprovider = \"test\"\nhold = \"1s\"\napplication_id = \"app-old\"\nprivate_key = \"file:@DIR@/key\"\n\
             [[route]]\ncredential = \"acme\"\n",
        )
        .start();
    let application = |keyside: &Keyside| {
        let request = with_body(
            "POST",
            "/v1/messages",
            "application/json",
            WHATSAPP.as_bytes(),
        );
        assert_eq!(keyside.send(&request).status, 200);
        let sent = upstream.last().header("authorization").unwrap();
        let jwt = sent.trim_start_matches("Bearer ").to_owned();
        let signer = keys.iter().find(|key| key.has_signed(&jwt)).unwrap();
        signer.claims(&jwt)["application_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(application(&keyside), "app-old");
    keyside.dir().write("key", keys[1].pem());
    rename(&keyside, "app-old", "app-new");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(application(&keyside), "app-new");
    assert!(
        !is_mixed.load(Ordering::Relaxed),
        "an application went out with another one's key"
    );
}
