//! A webhook of Meta's form: the configuration, the events, the application.

use std::fmt::Write;

use super::keyside::Setup;
use super::upstream::{After, Upstream};
use super::{APP_SECRET, hmac_sha256};

/// The path of the webhook.
pub const HOOK: &str = "/webhooks/whatsapp";
/// The verify token of the handshake.
pub const VERIFY_TOKEN: &str = "verify-token-of-the-test";
/// An event in Meta's spelling, with the escapes that Meta uses.
pub const EVENT: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"value":{"messages":[{"text":{"body":"caf\u00e9 a\u0040b 50\u0025 \u003C\/x>"}}]},"field":"messages"}]}]}"#;

/// An application that answers every event with 200.
pub fn application() -> Upstream {
    answering(200)
}

/// An application that answers every event with `status`.
pub fn answering(status: u16) -> Upstream {
    Upstream::plain(move |_, wire| {
        wire.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
        After::Keep
    })
}

/// A webhook in front of an application.
pub fn setup(application: &Upstream) -> Setup {
    forwarding(&format!("{}/events", application.url()))
}

/// A webhook that forwards to a URL or socket.
pub fn forwarding(forward: &str) -> Setup {
    configured(&format!("forward = \"{forward}\""), "")
}

/// A webhook in front of an application, with more lines in the credential.
pub fn with_credential(application: &Upstream, credential: &str) -> Setup {
    written(
        &format!("forward = \"{}/events\"", application.url()),
        "",
        credential,
    )
}

/// `[inbound]` and one webhook of Meta's, with more lines for each.
pub fn configured(webhook: &str, inbound: &str) -> Setup {
    written(webhook, inbound, "")
}

fn written(webhook: &str, inbound: &str, credential: &str) -> Setup {
    Setup::at("http://127.0.0.1:1").file("app_secret", APP_SECRET).file("verify_token", VERIFY_TOKEN).config(&format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
         [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n{inbound}\n\
         [credential.acme]\nprovider = \"meta\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret_old\"]\n\
         verify_token = \"file:@DIR@/verify_token\"\n{credential}\n\
         [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\n{webhook}\n[log]\nlevel = \"debug\"\n"
    ))
}

/// A route to `upstream`, and a webhook in front of `application`.
pub fn beside(upstream: &Upstream, application: &Upstream) -> Setup {
    Setup::new(upstream)
        .file("app_secret", APP_SECRET)
        .file("verify_token", VERIFY_TOKEN)
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nverify_token = \"file:@DIR@/verify_token\"\n",
        )
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/events\"\n",
            application.url()
        ))
}

/// The header line with Meta's signature.
pub fn signature(secret: &str, body: &[u8]) -> String {
    format!("X-Hub-Signature-256: sha256={}", hmac_sha256(secret, body))
}

/// A POST to the webhook with additional header lines.
pub fn event(lines: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {HOOK} HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json\r\nUser-Agent: facebookexternalua\r\nContent-Length: {}\r\n",
        body.len()
    );
    for line in lines {
        write!(head, "{line}\r\n").unwrap();
    }
    let mut request = head.into_bytes();
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    request
}

/// A POST with a valid signature.
pub fn genuine(body: &[u8]) -> Vec<u8> {
    event(&[&signature(APP_SECRET, body)], body)
}

/// A webhook whose events wait on disk, with lines of the webhook.
pub fn spooled(webhook: &str) -> Setup {
    spooled_with(webhook, "")
}

/// A webhook whose events wait on disk, with lines of the webhook and of `[spool]`.
pub fn spooled_with(webhook: &str, spool: &str) -> Setup {
    configured(
        &format!("{webhook}\n[spool]\ndir = \"@DIR@/spool\"\n{spool}\n"),
        "",
    )
}

/// A `[[webhook.to]]` that goes to an application, with more lines.
pub fn to(name: &str, application: &Upstream, lines: &str) -> String {
    let url = application.url();
    format!("[[webhook.to]]\nname = \"{name}\"\nforward = \"{url}/{name}\"\n{lines}\n")
}

/// An event with one received message, in Meta's form.
pub fn message(id: &str, from: &str) -> String {
    messages(&[(id, from)])
}

/// An event with several received messages, each an id and the user.
pub fn messages(all: &[(&str, &str)]) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    messages_at(all, now.unwrap().as_secs())
}

/// An event with several messages that were received at a time, in seconds since 1970.
pub fn messages_at(all: &[(&str, &str)], time: u64) -> String {
    let messages: Vec<_> = all
        .iter()
        .map(|(id, from)| {
            format!(r#"{{"from":"{from}","id":"{id}","timestamp":"{time}","type":"text","text":{{"body":"caf\u00e9"}}}}"#)
        })
        .collect();
    changes(
        "messages",
        &format!(r#""messages":[{}]"#, messages.join(",")),
    )
}

/// An event with the status of a sent message.
pub fn status(id: &str, status: &str, to: &str) -> String {
    let one = format!(
        r#"{{"id":"{id}","status":"{status}","timestamp":"1749416390","recipient_id":"{to}"}}"#
    );
    changes("messages", &format!(r#""statuses":[{one}]"#))
}

fn changes(field: &str, value: &str) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550783881","phone_number_id":"106540352242922"}},{value}}},"field":"{field}"}}]}}]}}"#
    )
}

/// The ids of the messages and statuses of an event.
pub fn ids(body: &[u8]) -> Vec<String> {
    let event: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let value = &event["entry"][0]["changes"][0]["value"];
    let all = ["messages", "statuses"].into_iter();
    all.filter_map(|kind| value[kind].as_array())
        .flatten()
        .filter_map(|one| Some(one["id"].as_str()?.to_owned()))
        .collect()
}

/// The ids of all messages and statuses that an application has got, in order.
pub fn delivered(application: &Upstream) -> Vec<String> {
    let requests = application.requests();
    let whole = requests.iter().filter(|request| request.complete);
    whole.flat_map(|request| ids(&request.body)).collect()
}
