//! The sandbox of each provider, with Keyside in front, configured with the text that the sandbox
//! prints.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::client::with_body;
use crate::support::keyside::{Directory, Keyside, Setup, free_port};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::Upstream;
use crate::support::webhook::{HOOK, application};
use crate::support::{eventually, hex};

/// Each provider with the path and body of a message without a key, the file of the key, and the
/// proof of events.
#[rustfmt::skip]
const PROVIDERS: [(&str, &str, &str, &str, Events); 24] = [
    ("360dialog", "/v23.0/1/messages", r#"{"messaging_product":"whatsapp","to":"2","text":{"body":"x"}}"#, "api_key", Events::Proved),
    ("infobip", "/whatsapp/1/message/text", r#"{"from":"1","to":"2","content":{"text":"x"}}"#, "api_key", Events::Proved),
    ("twilio", "/2010-04-01/Accounts/AC5a4d6b0e3f2c4e1f8a7b9c0d1e2f3a4b/Messages.json", "From=whatsapp%3A%2B1&To=whatsapp%3A%2B2&Body=x", "auth_token", Events::Proved),
    ("vonage", "/v1/messages", r#"{"from":"1","to":"2","text":"x","channel":"whatsapp"}"#, "private_key.pub", Events::Proved),
    ("bird", "/workspaces/5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b/channels/6b5e7c1f-4a3d-4f2a-9b8c-0d1e2f3a4b5c/messages", "{}", "access_key", Events::Proved),
    ("bird-platform", "/v1/whatsapp/messages", r#"{"from":"+1","to":"+2","text":{"body":"x"}}"#, "api_key", Events::Proved),
    ("messagebird", "/v1/send", r#"{"from":"1","to":"2","type":"text"}"#, "access_key", Events::Proved),
    ("sinch", "/v1/projects/5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b/messages:send", r#"{"app_id":"1"}"#, "key_secret", Events::Proved),
    ("ycloud", "/v2/whatsapp/messages", r#"{"from":"1","to":"2","type":"text"}"#, "api_key", Events::Proved),
    ("telnyx", "/v2/messages/whatsapp", r#"{"from":"+1","to":"+2","whatsapp_message":{}}"#, "api_key", Events::Proved),
    ("wati", "/12345/api/v1/sendTemplateMessage", "{}", "token", Events::InUrl),
    ("zenvia", "/v2/channels/whatsapp/messages", r#"{"from":"1","to":"2","contents":[]}"#, "token", Events::Proved),
    ("cm", "/v1.0/message", r#"{"messages":{"msg":[{"allowedChannels":["WhatsApp"],"from":"1","to":[{"number":"2"}]}]}}"#, "product_token", Events::None),
    ("plivo", "/v1/Account/MAXXXXXXXXXXXXXXXXXX/Message", r#"{"src":"1","dst":"2","text":"x","type":"whatsapp"}"#, "auth_token", Events::Proved),
    ("gupshup", "/wa/api/v1/msg", "source=1&destination=2&message=x", "api_key", Events::InUrl),
    ("wassenger", "/v1/messages", r#"{"phone":"+2","message":"x"}"#, "token", Events::Proved),
    ("clickatell", "/v1/message", r#"{"messages":[{"channel":"whatsapp","to":"2"}]}"#, "api_key", Events::Proved),
    ("haptik", "/v1.0/log_message_from_user", "{}", "token", Events::Proved),
    ("chat-api", "/sendMessage", r#"{"phone":2,"body":"x"}"#, "token", Events::None),
    ("interakt", "/v1/public/message", r#"{"fullPhoneNumber":"2"}"#, "api_key", Events::Proved),
    ("aisensy", "/campaign/t1/api", r#"{"destination":"2"}"#, "api_key", Events::Proved),
    ("kaleyra", "/v1/HXAP0000000000IN/messages", "to=2&channel=WhatsApp&body=x", "api_key", Events::Proved),
    ("respond-io", "/v2/contact/id:1/message", "{}", "token", Events::InUrl),
    ("route-mobile", "/wba/v1/messages", r#"{"phone":"2"}"#, "password", Events::Proved),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Events {
    /// A header proves events.
    Proved,
    /// A token in the callback URL proves events.
    InUrl,
    /// The provider sends no events.
    None,
}

/// Starts the sandbox of a provider, and Keyside with the printed configuration.
fn stand(provider: &str, events: Events, application: &Upstream) -> (Sandbox, Keyside, Directory) {
    stand_for(provider, events, application, "")
}

/// A stand as by [`stand`], with further lines in the table of the route.
fn stand_for(
    provider: &str,
    events: Events,
    application: &Upstream,
    route: &str,
) -> (Sandbox, Keyside, Directory) {
    let dir = Directory::new();
    let inbound = free_port();
    let mut callback = format!("http://127.0.0.1:{inbound}{HOOK}");
    if events == Events::InUrl {
        dir.write("webhook_token", "token-in-the-url");
        callback.push_str("?token=token-in-the-url");
    }
    let sandbox = Sandbox::of(provider, &dir, &["--callback", &callback]);
    let printed = sandbox
        .configuration()
        .replace("http://127.0.0.1:3000", &application.url())
        .replace("[[route]]\n", &format!("[[route]]\n{route}"));
    let keyside = Setup::at(&sandbox.url()).config(&format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[inbound]\nlisten = [\"127.0.0.1:{inbound}\"]\n\
         [admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[log]\nlevel = \"debug\"\n{printed}"
    ));
    (sandbox, keyside.start(), dir)
}

#[test]
fn the_printed_configuration_sends_with_the_key_of_each_provider() {
    for (provider, path, body, key, events) in PROVIDERS {
        let (sandbox, keyside, dir) = stand(provider, events, &application());
        let kind = if body.starts_with('{') {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let answer = keyside.send(&with_body("POST", path, kind, body.as_bytes()));
        assert!(
            (200..300).contains(&answer.status),
            "{provider}: {} {}",
            answer.text(),
            keyside.log()
        );
        let key = std::fs::read_to_string(dir.join(key)).unwrap();
        let sends = sandbox.ask("GET", "sends", &json!({}));
        assert_eq!(
            sends[0]["token"],
            fingerprint(key.trim()),
            "{provider}: {sends}"
        );
    }
}

/// The requests of a preset in `tests/presets`, as an application sends them.
fn requests_of(provider: &str) -> Vec<Vec<u8>> {
    let file = format!(
        "{}/tests/presets/{provider}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(file).unwrap();
    let sections = text.split("=== ");
    let sent = sections.filter_map(|section| section.strip_prefix("application sends\n"));
    sent.map(|section| {
        let (head, body) = section
            .trim_end()
            .split_once("\n\n")
            .unwrap_or((section, ""));
        let body = match head.contains("multipart/") {
            true => body.replace('\n', "\r\n"),
            false => body.to_owned(),
        };
        let head = head.trim_end().replace('\n', "\r\n");
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
    .collect()
}

#[test]
fn the_sandbox_of_each_provider_answers_every_request_of_its_preset() {
    for (provider, _, _, _, events) in PROVIDERS {
        let (_sandbox, keyside, _dir) =
            stand_for(provider, events, &application(), "operations = [\"*\"]\n");
        for request in requests_of(provider) {
            let answer = keyside.send(&request);
            let line = String::from_utf8_lossy(&request);
            let line = line.lines().next().unwrap();
            assert!(
                // Twilio's media is answered with a redirect.
                (200..400).contains(&answer.status),
                "{provider} {line}: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
}

/// A request of each provider other than a message: media, "mark as read", the state of a message.
const OTHERS: [(&str, &str, &str); 14] = [
    (
        "twilio",
        "GET",
        "/2010-04-01/Accounts/any/Messages/SM1.json",
    ),
    (
        "twilio",
        "GET",
        "/2010-04-01/Accounts/any/Messages/MM1/Media/ME1.json",
    ),
    ("vonage", "PATCH", "/v1/messages/1"),
    ("vonage", "GET", "/v3/media/1"),
    (
        "infobip",
        "POST",
        "/whatsapp/1/senders/15550001111/message/1/read",
    ),
    ("infobip", "GET", "/whatsapp/1/senders/15550001111/media/1"),
    ("sinch", "POST", "/v1/projects/any/events:send"),
    ("sinch", "GET", "/v1/projects/any/messages/1"),
    (
        "ycloud",
        "POST",
        "/v2/whatsapp/inboundMessages/1/markAsRead",
    ),
    ("ycloud", "GET", "/v2/whatsapp/messages/1"),
    ("telnyx", "GET", "/v2/messages/1"),
    ("messagebird", "GET", "/v1/messages/1"),
    ("plivo", "GET", "/v1/Account/any/Message/1/"),
    ("wati", "GET", "/api/ext/v3/conversations/messages/file/1"),
];

#[test]
fn the_rest_of_the_job_goes_out_with_the_key_of_each_provider() {
    for (provider, _, _, key, events) in PROVIDERS {
        let mut others = OTHERS
            .iter()
            .filter(|(name, ..)| *name == provider)
            .peekable();
        if others.peek().is_none() {
            continue;
        }
        let (sandbox, keyside, dir) = stand(provider, events, &application());
        let key = std::fs::read_to_string(dir.join(key)).unwrap();
        for (_, method, path) in others {
            let body: &[u8] = if *method == "GET" { b"" } else { b"{}" };
            let answer = keyside.send(&with_body(method, path, "application/json", body));
            assert_eq!(answer.status, 200, "{provider} {path}: {}", answer.text());
            let requests = sandbox.ask("GET", "requests", &json!({}));
            let last = requests.as_array().unwrap().last().unwrap();
            assert_eq!(last["token"], fingerprint(key.trim()), "{provider}: {last}");
        }
    }
}

#[test]
fn events_of_each_provider_are_verified_and_forged_events_refused() {
    for (provider, _, _, _, events) in PROVIDERS
        .into_iter()
        .filter(|(.., events)| *events != Events::None)
    {
        let application = application();
        let (sandbox, keyside, _dir) = stand(provider, events, &application);
        let is_subscribed = || sandbox.ask("GET", "apps", &json!({})) != json!([]);
        assert!(
            eventually(Duration::from_secs(5), is_subscribed),
            "{provider}"
        );
        let order = json!({"text": "Is the café open?", "count": 2});
        assert_eq!(
            sandbox.ask("POST", "events", &order),
            json!({"success": true}),
            "{provider}"
        );
        assert!(
            eventually(Duration::from_secs(5), || statuses(&sandbox) == [200, 200]),
            "{provider}: {}",
            keyside.log()
        );
        assert_eq!(application.requests().len(), 2, "{provider}");
        if events == Events::Proved {
            sandbox.ask("POST", "events", &json!({"forged": true}));
            assert!(
                eventually(Duration::from_secs(5), || statuses(&sandbox).len() == 3),
                "{provider}"
            );
            // Vonage expects a 5xx only for a missing signature, and this signature is wrong.
            assert!(
                statuses(&sandbox).contains(&401),
                "{provider}: {:?}",
                statuses(&sandbox)
            );
            assert_eq!(application.requests().len(), 2, "{provider}");
        }
    }
}

#[test]
fn an_order_for_pictures_is_refused_by_other_providers_than_meta() {
    let dir = Directory::new();
    let sandbox = Sandbox::of("ycloud", &dir, &[]);
    let refused = sandbox.ask("POST", "events", &json!({"type": "image"}));
    assert_eq!(
        refused,
        json!({"error": "expected the type \"text\", or a body"})
    );
}

/// Returns the status of each attempt to deliver an event.
fn statuses(sandbox: &Sandbox) -> Vec<u64> {
    let list = sandbox.ask("GET", "deliveries", &json!({}));
    list.as_array()
        .unwrap()
        .iter()
        .filter_map(|attempt| attempt["status"].as_u64())
        .collect()
}

fn fingerprint(secret: &str) -> Value {
    hex(&Sha256::digest(format!("keyside:{secret}")))[..12].into()
}
