//! `[[webhook]]` and `[inbound]`, by example.

use std::time::Duration;

use super::{SMALL, faults, parse};
use crate::config::ListenAddress;

/// A complete webhook of Meta's.
pub(super) const WEBHOOK: &str = r#"[credential.acme]
provider = "meta"
app_secret = "file:/run/secrets/acme/app_secret"
verify_token = "file:/run/secrets/acme/verify_token"

[[webhook]]
path = "/webhooks/whatsapp"
credential = "acme"
forward = "http://127.0.0.1:3000/webhooks/whatsapp"
"#;

#[test]
fn a_webhook_has_the_defaults_of_the_contract() {
    let config = parse(WEBHOOK);
    let [webhook] = config.webhooks.as_slice() else {
        unreachable!()
    };
    assert_eq!(
        (webhook.name.as_str(), webhook.path.to_string().as_str()),
        ("acme", "/webhooks/whatsapp")
    );
    assert_eq!(
        webhook.way.ends("acme"),
        [("acme", "http://127.0.0.1:3000/webhooks/whatsapp".to_owned())]
    );
    assert_eq!(
        (webhook.timeout, webhook.reply),
        (Duration::from_secs(10), false)
    );
    assert_eq!(webhook.public_url, None);
    assert_eq!(
        config.inbound.listen,
        [ListenAddress::Tcp("127.0.0.1:8081".parse().unwrap())]
    );
    assert_eq!(
        (config.inbound.max_body, config.inbound.max_in_flight),
        (4 << 20, 6 << 20)
    );
    assert_eq!(config.inbound.tls, None);
    assert_eq!(
        parse(SMALL).inbound.listen,
        [],
        "nothing listens for nobody"
    );
    assert_eq!(config.warnings, []);
}

#[test]
fn events_in_clear_text_on_a_network_are_a_warning() {
    for (forward, is_told) in [
        ("http://127.0.0.1:3000/", false),
        ("http://[::1]:3000/", false),
        ("http://localhost:3000/", false),
        ("unix:/run/app.sock", false),
        ("https://app.example.com/", false),
        ("http://app:3000/", true),
        ("http://10.1.2.3/", true),
    ] {
        let text = WEBHOOK.replace("http://127.0.0.1:3000/webhooks/whatsapp", forward);
        let warnings = parse(&text).warnings;
        let words = "f:9:11: webhook.forward: events, with the text of messages, cross the network in clear text";
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), usize::from(is_told), "{forward}: {told:?}");
        assert!(told.iter().all(|told| told.starts_with(words)), "{told:?}");
    }
}

#[test]
fn a_webhook_goes_to_a_port_or_a_socket() {
    for (written, meant) in [
        ("http://localhost:3000", "http://localhost:3000/"),
        ("http://app:3000/a?b=c", "http://app:3000/a?b=c"),
        ("https://app.internal/hook", "https://app.internal/hook"),
        ("http://[::1]:3000/x", "http://[::1]:3000/x"),
        ("unix:/run/app.sock", "unix:/run/app.sock:/"),
        ("unix:/run/app.sock:/hook", "unix:/run/app.sock:/hook"),
    ] {
        let config = parse(&WEBHOOK.replace("http://127.0.0.1:3000/webhooks/whatsapp", written));
        assert_eq!(config.webhooks[0].way.ends(""), [("", meant.to_owned())]);
    }
    for wrong in [
        "127.0.0.1:3000",
        "ftp://x/",
        "http://",
        "http://app/#x",
        "unix:app.sock",
        "http://app:0/",
    ] {
        let faults = faults(&WEBHOOK.replace("http://127.0.0.1:3000/webhooks/whatsapp", wrong));
        assert!(
            faults.len() == 1 && faults[0].starts_with("f:9:11: webhook.forward: not where"),
            "{wrong}: {faults:?}"
        );
    }
}

#[test]
fn the_url_that_a_provider_was_given_may_have_a_user() {
    for url in [
        "https://user:pass@hooks.example.com/t",
        "https://user@h:8443/t?a=b",
    ] {
        let text = format!("{WEBHOOK}public_url = \"{url}\"\n");
        let webhook = &parse(&text).webhooks[0];
        assert_eq!(webhook.public_url.as_deref(), Some(url));
    }
    let faults = faults(&format!("{WEBHOOK}public_url = \"https://CANARY:x@\"\n"));
    assert!(
        faults.len() == 1 && !faults[0].contains("CANARY"),
        "{faults:?}"
    );
}

#[test]
fn a_destination_with_a_user_is_refused_and_not_repeated() {
    for url in [
        "http://CANARY:CANARY@app/",
        "http://CANARY:CANARY@app:3000/",
        "https://CANARY@app:3000/hook",
    ] {
        let text = WEBHOOK.replace("http://127.0.0.1:3000/webhooks/whatsapp", url);
        let faults = faults(&text);
        let is_of_user = |fault: &String| fault.contains(": a user before the host, expected");
        assert!(
            faults.len() == 1 && faults.iter().all(is_of_user),
            "{faults:?}"
        );
        assert!(!faults[0].contains("CANARY"), "{faults:?}");
    }
}

#[test]
fn the_faults_of_a_webhook_have_their_place() {
    let with = |from: &str, to: &str| faults(&WEBHOOK.replacen(from, to, 1));
    let table = [
        (
            with("path = \"/webhooks/whatsapp\"\n", ""),
            "f:6:1: webhook.path: missing, expected where the provider sends its events, such as \"/webhooks/whatsapp\"",
        ),
        (
            with("\"/webhooks/whatsapp\"", "\"webhooks\""),
            "f:7:8: webhook.path: not a path that a provider could ask for, expected a slash and segments without query, encoded slash, backslash or control characters; a percent begins two hex digits; the last may be {token}",
        ),
        (
            with("\"/webhooks/whatsapp\"", "\"/webhooks/{token}\""),
            "f:6:1: webhook.path: it ends in {token}, and its provider has no token there, expected a plain path",
        ),
        (
            with("credential = \"acme\"", "credential = \"acne\""),
            "f:8:14: webhook.credential: no such credential, expected `acme`",
        ),
        (
            with("app_secret = \"file:/run/secrets/acme/app_secret\"\n", ""),
            "f:1:1: credential.acme: no secret to check events with, expected `app_secret`: a webhook uses this credential",
        ),
        (
            with("forward =", "foward ="),
            "f:9:1: webhook.foward: unknown key, did you mean `forward`?",
        ),
        (
            with("provider = \"meta\"", "provider = \"chat-api\""),
            "f:6:1: webhook.credential: its provider sends no webhooks that Keyside can check, expected another",
        ),
    ];
    for (faults, expected) in table {
        assert!(
            faults.iter().any(|fault| fault.starts_with(expected)),
            "{expected}\n{faults:#?}"
        );
    }
    let twice = format!("{WEBHOOK}{}", WEBHOOK.split_once("\n\n").unwrap().1);
    assert_eq!(
        faults(&twice),
        [
            "f:10:1: webhook: the same name as the webhook at f:6:1, expected another `name`",
            "f:11:8: webhook.path: the same path as the webhook at f:6:1, expected another",
        ]
    );
}

#[test]
fn a_path_is_the_same_however_its_characters_are_written() {
    let path = |written: &str| {
        let text = WEBHOOK.replacen("\"/webhooks/whatsapp\"", &format!("'{written}'"), 1);
        parse(&text).webhooks[0].path.to_string()
    };
    for (written, meant) in [
        ("/a+b", "/a+b"),
        ("/a%2Bb", "/a+b"),
        ("/a%2bb", "/a+b"),
        ("/a b", "/a b"),
        ("/caf\u{e9}", "/caf\u{e9}"),
        ("/caf%C3%A9", "/caf\u{e9}"),
        ("/%77ebhooks", "/webhooks"),
    ] {
        assert_eq!(path(written), meant, "{written}");
    }
    for wrong in [
        "/a%2Fb", "/a%", "/a%2", "/a%zz", "/a%00", "/a%FF", "/%2e%2E", "/a//b", "/a?b", "/a#b",
        "/a\\b",
    ] {
        let text = WEBHOOK.replacen("\"/webhooks/whatsapp\"", &format!("'{wrong}'"), 1);
        let faults = faults(&text);
        assert!(
            faults[0].contains("not a path that a provider could ask for"),
            "{wrong}: {faults:?}"
        );
    }
    let second = WEBHOOK.split_once("\n\n").unwrap().1;
    let second = second.replace("[[webhook]]", "[[webhook]]\nname = \"second\"");
    let twice = format!(
        "{}{}",
        WEBHOOK.replace("/webhooks/whatsapp\"\ncred", "/a+b\"\ncred"),
        second.replace("/webhooks/whatsapp\"\ncred", "/a%2Bb\"\ncred")
    );
    assert_eq!(
        faults(&twice),
        ["f:12:8: webhook.path: the same path as the webhook at f:6:1, expected another"]
    );
}

#[test]
fn a_provider_that_signs_its_url_needs_it() {
    let twilio = "[credential.t]\nprovider = \"twilio\"\nauth_token = \"file:/t\"\n\n[[webhook]]\npath = \"/t\"\ncredential = \"t\"\nforward = \"http://localhost:3000/\"\n";
    assert_eq!(
        faults(twilio),
        [
            "f:5:1: webhook.public_url: missing, expected the whole URL that the provider was given, since it signs it"
        ]
    );
    let whole = format!("{twilio}public_url = \"https://hooks.example.com/t\"\n");
    assert_eq!(faults(&whole), [""; 0], "events need no account");
}

#[test]
fn the_default_of_max_in_flight_follows_max_body() {
    let config = parse(&format!("{WEBHOOK}[inbound]\nmax_body = \"8MiB\"\n"));
    assert_eq!(config.inbound.max_in_flight, 12 << 20);
}

#[test]
fn a_client_name_needs_an_authority_and_max_in_flight_room_for_a_body() {
    let tls = "[inbound]\nmax_in_flight = \"1MiB\"\n[inbound.tls]\ncert = \"/c\"\nclient_name = \"a.b\"\n";
    assert_eq!(
        faults(&format!("{WEBHOOK}{tls}")),
        [
            "f:10:1: inbound: `max_in_flight` is less than `max_body`, expected room for one body at least",
            "f:12:1: inbound.tls.key: missing, expected the file with the certificate's private key, in PEM",
            "f:14:15: inbound.tls.client_name: there is no `client_ca` that could vouch for a client of this name, expected one",
        ]
    );
}
