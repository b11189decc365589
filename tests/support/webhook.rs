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
